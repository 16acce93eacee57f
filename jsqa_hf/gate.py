"""The quality gate: whether scored files are good enough, and not worse than a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from .baseline import Baseline, BaselineComparison, compare_with_baseline
from .score_engine import FileScore

__all__ = ["CheckedFile", "GateOptions", "GateResult", "Verdict", "check_scores"]

# Our choices. A model's scores differ by up to 1e-4 or so between devices and versions of torch, in one direction for
# all files, which a test would find significant: a drop that matters to nobody must not fail a gate.
DEFAULT_MAX_DROP = 0.05
DEFAULT_ALPHA = 0.05


@dataclass(frozen=True)
class GateOptions:
    """What is asked of the files. None: not asked.

    Attributes:
        min_mos: lowest MOS of every file.
        fail_under: lowest mean MOS of all files, and with `by_folder` of every folder's.
        by_folder: whether folders are looked at one by one.
        max_drop: drop of the mean MOS against a baseline that is put up with, see `compare_with_baseline`.
        alpha: level of significance of that.
    """

    min_mos: float | None = None
    fail_under: float | None = None
    by_folder: bool = False
    max_drop: float = DEFAULT_MAX_DROP
    alpha: float = DEFAULT_ALPHA


@dataclass(frozen=True)
class CheckedFile:
    """A file and why it fails.

    Attributes:
        name: relative to the folder of the run.
        score: what came out of scoring.
        failure: why the file is not good enough, or None.
        seconds: time that scoring it took.
    """

    name: str
    score: FileScore
    failure: str | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the file could be rated and is good enough."""
        return self.failure is None and self.score.error is None

    @property
    def folder(self) -> str:
        """The folder it lies in, relative to that of the run; `.` for that itself."""
        return self.name.rpartition("/")[0] or "."


@dataclass(frozen=True)
class Verdict:
    """What became of a check of all files or of a folder.

    Attributes:
        name: what was checked.
        message: what was found.
        passed: whether that is good enough.
    """

    name: str
    message: str
    passed: bool


@dataclass(frozen=True)
class GateResult:
    """What became of a run.

    Attributes:
        files: all of them, in order.
        verdicts: of the checks beyond single files.
        comparison: with the baseline, if there is one.
    """

    files: list[CheckedFile]
    verdicts: list[Verdict] = field(default_factory=list)
    comparison: BaselineComparison | None = None

    @property
    def passed(self) -> bool:
        """Whether all files and all checks passed."""
        return all(file.passed for file in self.files) and all(verdict.passed for verdict in self.verdicts)

    @property
    def mos(self) -> dict[str, float]:
        """MOS by name, of the files that could be rated."""
        return _rated(self.files)


def check_scores(
    scored: Iterable[tuple[str, FileScore, float]], options: GateOptions, baseline: Baseline | None = None
) -> GateResult:
    """Hold scores against what is asked.

    A file passes if it could be rated and its MOS, rounded to the 4 decimals that are reported, is not below
    `min_mos`. A mean passes if it is not below `fail_under`. Thresholds are held against the scores as they are,
    whatever their intervals.

    Args:
        scored: for each file its name relative to the folder of the run, what came out, and the seconds it took.
        options: what is asked.
        baseline: a run that this one must not be worse than.

    Raises:
        ValueError: there are files with scores, but none of them is in the baseline.
    """
    files = [_check_file(name, score, seconds, options.min_mos) for name, score, seconds in scored]
    verdicts = []
    if options.fail_under is not None:
        verdicts.append(_check_mean("mean MOS", files, options.fail_under))
        if options.by_folder:
            folders: dict[str, list[CheckedFile]] = {}
            for file in files:
                folders.setdefault(file.folder, []).append(file)
            verdicts += [
                _check_mean(f"mean MOS of folder {folder}", members, options.fail_under)
                for folder, members in folders.items()
            ]
    comparison = None
    if baseline is not None and _rated(files):
        mos = {file.name: file.score.scores.get("mos") for file in files}
        comparison = compare_with_baseline(mos, baseline, max_drop=options.max_drop, alpha=options.alpha)
        verdicts.append(_check_drop(comparison))
    return GateResult(files, verdicts, comparison)


def _check_file(name: str, score: FileScore, seconds: float, min_mos: float | None) -> CheckedFile:
    mos = score.scores.get("mos")
    too_low = min_mos is not None and mos is not None and round(mos, 4) < min_mos
    return CheckedFile(name, score, f"MOS {mos:.4f} is below {min_mos:g}" if too_low else None, seconds)


def _check_mean(name: str, files: list[CheckedFile], fail_under: float) -> Verdict:
    values = list(_rated(files).values())
    if not values:
        return Verdict(name, "no file could be rated", False)
    mean = round(fmean(values), 4)
    passed = mean >= fail_under
    return Verdict(name, f"{mean:.4f} is {'not ' if passed else ''}below {fail_under:g}", passed)


def _check_drop(comparison: BaselineComparison) -> Verdict:
    count = len(comparison.differences)
    interval = comparison.interval
    message = (
        f"{comparison.mean_difference:+.4f} MOS over {count} file{'s' if count > 1 else ''}"
        + (f" (95 % interval {interval[0]:+.4f} to {interval[1]:+.4f})" if interval else "")
        + f"; p = {comparison.p_value:.4f} for a drop of more than {comparison.max_drop:g}, "
        + (f"{'' if comparison.is_worse else 'not '}significant at {comparison.alpha:g}")
        + ("" if comparison.can_tell else ", which so few files can't be")
    )
    return Verdict("mean MOS against the baseline", message, not comparison.is_worse)


def _rated(files: Iterable[CheckedFile]) -> dict[str, float]:
    return {file.name: file.score.scores["mos"] for file in files if file.score.error is None}
