"""A run of scores that later runs are held against, and the test whether a run has become worse."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .groups import mean_interval
from .score_formats import FILE_FORMATS

__all__ = ["Baseline", "BaselineComparison", "compare_with_baseline", "read_baseline", "write_baseline"]

_FORMAT = "jsqa-baseline-1"

# Our choice; the Monte Carlo error of a p-value of 0.05 is then 0.002. With up to 13 files the test is exact.
_RESAMPLES = 9999
# Signs that are held at once, so that memory doesn't grow with the number of files.
_VALUES_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Baseline:
    """A stored run.

    Attributes:
        mos: by file, named relative to the folder of the run, with `/`.
        fingerprint: of the model, see `jsqa_hf.score_results.describe_model`; None if the file doesn't tell.
    """

    mos: dict[str, float]
    fingerprint: str | None = None


@dataclass(frozen=True)
class BaselineComparison:
    """How a run does beside a baseline. Differences are MOS now minus MOS then, so that drops are below 0.

    Attributes:
        differences: by file, for the files that both runs have scores of.
        added: files that only this run has.
        missing: files of the baseline that this run doesn't have.
        mean_difference: mean over the files.
        interval: its 95 % interval by Student's t over the files, (low, high); None for one file.
        effect_size: mean difference in standard deviations of the differences (Cohen's d of paired samples); None if
            they are all the same.
        p_value: of the hypothesis that the mean difference is not below `-max_drop`.
        max_drop: drop of the mean MOS that is put up with.
        is_worse: `p_value` is below alpha.
        can_tell: whether so few files could give a p-value below alpha at all.
    """

    differences: dict[str, float]
    added: list[str]
    missing: list[str]
    mean_difference: float
    interval: tuple[float, float] | None
    effect_size: float | None
    p_value: float
    max_drop: float
    alpha: float
    is_worse: bool
    can_tell: bool


def compare_with_baseline(
    mos: Mapping[str, float | None], baseline: Baseline, *, max_drop: float, alpha: float, seed: int = 0
) -> BaselineComparison:
    r"""Test whether the mean MOS has dropped by more than is put up with.

    The null hypothesis is that the differences are symmetric about a mean of `-max_drop` or more. It is tested by
    flipping their signs (Fisher's randomisation test for pairs, The Design of Experiments, 1935), one-sided: exact for
    up to 13 files, with 9999 random sets of signs for more. Files count as independent; clips of one talker, or of one
    recording cut into pieces, are not, and then a drop is found too easily. What is tested is the mean of the model's
    scores over files like these; the errors of the model itself are not in it.

    Args:
        mos: scores of this run by file, None for a file that couldn't be rated.
        baseline: the other run.
        max_drop: in MOS, 0 or more, finite.
        alpha: level of significance, in (0, 1).
        seed: of the random signs.

    Raises:
        ValueError: no file is in both, or a parameter is out of range.
    """
    if not 0 <= max_drop < math.inf:
        raise ValueError(f"`max_drop` must not be below 0, and be finite, but is {max_drop}")
    if not 0 < alpha < 1:
        raise ValueError(f"`alpha` must lie between 0 and 1, such as 0.05, but is {alpha}")
    # Baselines are stored with 4 decimals: an equal run is to have no differences.
    differences = {
        name: round(round(value, 4) - baseline.mos[name], 4)
        for name, value in mos.items()
        if value is not None and name in baseline.mos
    }
    if not differences:
        raise ValueError("no file of this run is in the baseline: files are matched by their names in the folder")
    values = np.array(list(differences.values()))
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    p_value = _sign_flip_test(values + max_drop, seed)
    return BaselineComparison(
        differences=differences,
        added=[name for name in mos if name not in baseline.mos],
        missing=[name for name in baseline.mos if name not in mos],
        mean_difference=float(values.mean()),
        interval=mean_interval(values),
        effect_size=float(values.mean() / deviation) if deviation > 1e-9 else None,
        p_value=p_value,
        max_drop=max_drop,
        alpha=alpha,
        is_worse=p_value < alpha,
        # Even a drop of every file leaves one set of signs that is as extreme, the observed one.
        can_tell=max(0.5 ** len(values), 1 / (_RESAMPLES + 1)) < alpha,
    )


def _sign_flip_test(values: NDArray[np.float64], seed: int) -> float:
    """p-value of a mean of 0 or more."""
    if len(values) == 1:
        # scipy wants two. Of the two signs, both give a sum as low as one that isn't below 0.
        return 0.5 if values[0] < 0 else 1.0
    result = stats.permutation_test(
        (values,),
        lambda sample, axis: np.mean(sample, axis=axis),
        permutation_type="samples",
        alternative="less",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _VALUES_AT_ONCE // len(values)),
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def write_baseline(path: str | os.PathLike[str], mos: Mapping[str, float], fingerprint: str) -> None:
    """Store a run; the file is there as a whole or not at all.

    Args:
        path: of the JSON file, whose name must not end as those of results do, by which `read_baseline` goes.
        mos: by file, named relative to the folder of the run; stored with 4 decimals.
        fingerprint: of the model.

    Raises:
        OSError: the file can't be written.
    """
    content = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "mos": {name: round(value, 4) for name, value in mos.items()},
    }
    # Of a link, the file that it points to: the link stays.
    path = os.path.realpath(path)
    draft = Path(f"{path}.tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path)


def read_baseline(
    path: str | os.PathLike[str], names: Iterable[str], folder: str | os.PathLike[str] | None = None
) -> Baseline:
    """Read a baseline.

    Args:
        path: what `write_baseline` wrote, or results of `jsqa score` (`.csv`, `.jsonl` or `.parquet`), of which the
            columns `file` and `mos` are needed. In results, files are named as they were given there; the folder in
            front of the names of this run is taken off.
        names: files of this run, relative to its folder.
        folder: of this run, which tells what was meant where results hold files of these names in several folders.

    Raises:
        ValueError: it is neither, holds no scores, one that is not finite or a file twice, or does not tell which of
            several folders is that of this run.
        OSError: the file can't be read.
    """
    path = Path(path)
    format_name = path.suffix.lower().removeprefix(".")
    if format_name in FILE_FORMATS:
        # Here, as it brings all of jsqa report, which a gate seldom needs.
        from .report import read_results

        scored = {result.file: result.scores.get("mos") for result in read_results(path).files}
        mos = {PurePath(file).as_posix(): value for file, value in scored.items() if value is not None}
        where = None if folder is None else PurePath(os.path.abspath(folder)).as_posix()
        try:
            baseline = Baseline(_without_folder(mos, set(names), where), _fingerprint_beside(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    else:
        baseline = _read_json(path)
    if not baseline.mos:
        raise ValueError(f"{path}: holds no scores")
    for name, value in baseline.mos.items():
        if not math.isfinite(value):
            raise ValueError(f"{path}: the score of {name} is {value}, with which none can be compared")
    return baseline


def _read_json(path: Path) -> Baseline:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(content["format"])
        return Baseline({name: float(value) for name, value in content["mos"].items()}, content["fingerprint"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is neither a baseline of jsqa check nor a .csv of jsqa score") from error


def _fingerprint_beside(path: Path) -> str | None:
    """What `jsqa score` notes about the model beside its results."""
    try:
        about: Any = json.loads(Path(f"{path}.meta.json").read_text(encoding="utf-8"))
        return about["model"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _without_folder(mos: dict[str, float], names: set[str], folder: str | None) -> dict[str, float]:
    """Names relative to the folder of this run, else to the one with which most of them are names of this run."""
    folders: Counter[str] = Counter()
    for file in mos:
        parts = file.split("/")
        for depth in range(len(parts)):
            if "/".join(parts[depth:]) in names:
                folders["".join(f"{part}/" for part in parts[:depth])] += 1
    if not folders:
        return mos
    this = [name for name in folders if folder is not None and name and f"{folder}/".endswith(f"/{name.lstrip('/')}")]
    # Or is that a folder of the same name in it, because the run was made there? Then more names fit as they are.
    this = [
        name
        for name in this
        if folders[""] <= folders[name] or not any(file.startswith(name) and file in names for file in mos)
    ]
    if not this:
        most = max(folders.values())
        this = sorted((name for name in folders if folders[name] == most), key=len)
        if any(not name.startswith(this[0]) for name in this):
            there = ", ".join(name or "." for name in sorted(this))
            raise ValueError(
                f"files of these names are there in several folders, {there}, of which none is the one that is "
                "checked: keep the rows of one"
            )
        this = this[:1]
    chosen = max(this, key=len)
    return {file.removeprefix(chosen): value for file, value in mos.items() if file.startswith(chosen)}
