"""Evaluation of a model on a listening test: figures per clip, condition and corpus, and residuals by distortion."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .intervals import RESAMPLES
from .metrics import Conditions, condition_means, condition_metrics, metric_intervals, p1401_metrics, rating_ci95, rmse

__all__ = [
    "RatedClips",
    "condition_names",
    "evaluate_clips",
    "evaluate_outputs",
    "residual_table",
    "summary",
    "write_json",
    "write_predictions",
]

Floats = NDArray[np.float64]

# Shown, in this order.
FIGURES = (
    "rmse",
    "mae",
    "pcc",
    "srcc",
    "kendall_tau",
    "rmse_first_order",
    "rmse_third_order",
    "rmse_star",
    "rmse_star_first_order",
    "rmse_star_third_order",
)


@dataclass(frozen=True)
class RatedClips:
    """Clips of listening tests with what a model predicts for one of its outputs, all on one scale.

    Attributes:
        files: (clips,) names.
        predicted: (clips,) predictions, NaN where a clip could not be rated.
        low, high: (clips,) ends of the 95 % intervals of the predictions.
        rated: (clips,) ratings, NaN where there is none.
        std: (clips,) sample standard deviations of the votes, NaN where not known.
        n_votes: (clips,) numbers of votes, NaN where not known.
        conditions: (clips,) name of the condition of each clip, None where not known.
        corpora: (clips,) name of the listening test of each clip.
    """

    files: Sequence[str]
    predicted: Floats
    low: Floats
    high: Floats
    rated: Floats
    std: Floats
    n_votes: Floats
    conditions: Sequence[str | None]
    corpora: Sequence[str]

    def choose(self, clips: NDArray[np.int64]) -> RatedClips:
        """Those with the given indices."""
        chosen: dict[str, Any] = {
            name: values[clips] if isinstance(values, np.ndarray) else [values[clip] for clip in clips]
            for name, values in vars(self).items()
        }
        return replace(self, **chosen)

    def usable(self) -> NDArray[np.int64]:
        """Indices of the clips that have a rating and a prediction."""
        return np.flatnonzero(~np.isnan(self.rated) & ~np.isnan(self.predicted))

    def condition_means(self) -> Conditions:
        """Means over the usable clips of each condition of each corpus; clips without condition are left out."""
        names = condition_names(self.corpora, self.conditions)
        return condition_means(names, self.predicted, self.rated, self.std, self.n_votes)


def condition_names(corpora: Sequence[str], conditions: Sequence[str | None]) -> list[str | None]:
    """Names of the conditions, with that of the listening test before it where there are several tests.

    Args:
        corpora: (clips,) name of the listening test of each clip.
        conditions: (clips,) name of its condition within that test, None where not known.
    """
    several = len(set(corpora)) > 1
    return [
        f"{corpus}: {condition}" if several and condition is not None else condition
        for corpus, condition in zip(corpora, conditions, strict=True)
    ]


def evaluate_outputs(
    outputs: Mapping[str, RatedClips],
    groups: Sequence[str | None],
    source: str,
    *,
    tell: Callable[[str], None],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Any] | None]:
    """All figures and residuals of every output of a model.

    Args:
        outputs: clips by name of the output.
        groups: see [`residual_table`].
        source: of the ratings, for messages.
        tell: takes a line about each output that is left out.
        resamples, seed: of the bootstrap.

    Returns:
        By name, what [`evaluate_clips`] returns, with `residuals`, of [`residual_table`]; None for an output of which
        fewer than two clips have a rating and a prediction.

    Raises:
        ValueError: if that holds for all.
    """
    results: dict[str, dict[str, Any] | None] = {}
    for name, clips in outputs.items():
        results[name] = None
        if (usable := len(clips.usable())) < 2:
            tell(f"{source}: no figures of {name}, which take 2 clips with both a rating and a score, not {usable}")
            continue
        results[name] = {
            **evaluate_clips(clips, resamples=resamples, seed=seed),
            "residuals": residual_table(clips, groups),
        }
    if not any(results.values()):
        raise ValueError(f"{source}: no output has 2 clips with both a rating and a score: rate more of them")
    return results


def evaluate_clips(clips: RatedClips, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """All figures of one output of a model.

    Rules for what is missing: clips without rating or prediction are left out and counted; clips without condition
    count per clip only; RMSE* needs the number of votes and their standard deviation.

    Args:
        clips: of one or several listening tests.
        resamples: of the bootstrap; 0 leaves its intervals out.
        seed: of the bootstrap.

    Returns:
        - `clips`: [`jsqa_hf.metrics.p1401_metrics`] per clip, with `interval_coverage_95`, the share of the ratings
          within the predicted intervals, `n_independent`, the number of conditions, in which each clip without one
          counts as one of its own (or of clips, where all are of one condition), and `intervals_bootstrap`,
          [`jsqa_hf.metrics.metric_intervals`] over these;
        - `conditions`: the same of the means per condition, or None if there are fewer than two;
        - `corpora`: both of each corpus, if there are several; None for those with fewer than two usable clips.

    Raises:
        ValueError: if fewer than two clips have a rating and a prediction.
    """
    result = _of_one(clips, resamples, seed)
    names = sorted(set(clips.corpora))
    if len(names) > 1:
        members = {name: np.array([i for i, corpus in enumerate(clips.corpora) if corpus == name]) for name in names}
        parts = {name: clips.choose(indices) for name, indices in members.items()}
        result["corpora"] = {
            name: _of_one(part, resamples, seed) if len(part.usable()) > 1 else None for name, part in parts.items()
        }
    return result


def _of_one(clips: RatedClips, resamples: int, seed: int) -> dict[str, Any]:
    widths = rating_ci95(clips.std, clips.n_votes)
    per_clip = p1401_metrics(clips.predicted, clips.rated, widths)
    used = clips.usable()
    inside = (clips.low[used] <= clips.rated[used]) & (clips.rated[used] <= clips.high[used])
    per_clip["interval_coverage_95"] = float(inside.mean())
    groups = [
        (corpus, clip if condition is None else condition)
        for clip, (corpus, condition) in enumerate(zip(clips.corpora, clips.conditions, strict=True))
    ]
    independent = len({groups[clip] for clip in used})
    per_clip["n_independent"] = independent if independent > 1 else len(used)
    per_clip["intervals_bootstrap"] = metric_intervals(
        clips.predicted, clips.rated, widths, groups if independent > 1 else None, resamples=resamples, seed=seed
    )
    means = clips.condition_means()
    per_condition = None
    if len(means.names) > 1:
        per_condition = condition_metrics(means)
        per_condition["n_independent"] = per_condition["n"]
        per_condition["intervals_bootstrap"] = metric_intervals(
            means.predicted, means.rated, means.ci95, resamples=resamples, seed=seed
        )
    return {"clips": per_clip, "conditions": per_condition}


def residual_table(clips: RatedClips, groups: Sequence[str | None]) -> list[dict[str, Any]]:
    """Where a model errs: residuals, predicted minus rated, by distortion or any other property of the clips.

    Args:
        clips: their usable ones count.
        groups: (clips,) the property, None where it is not known.

    Returns:
        One row per group, the largest RMSE first: `group`, `n`, `rated` and `predicted` (means), `bias` (mean
        residual, positive where the model is too kind), `bias_ci95` (half width of its 95 % interval by Student's t),
        `residual_std`, `rmse`, and `pcc` within the group. None where there are too few clips.
    """
    members: dict[str, list[int]] = {}
    for clip in clips.usable():
        members.setdefault("(not known)" if groups[clip] is None else str(groups[clip]), []).append(int(clip))
    rows = [_residuals(name, clips.predicted[indices], clips.rated[indices]) for name, indices in members.items()]
    return sorted(rows, key=lambda row: -row["rmse"])


def _residuals(group: str, predicted: Floats, rated: Floats) -> dict[str, Any]:
    residuals = predicted - rated
    n = len(residuals)
    spread = float(np.std(residuals, ddof=1)) if n > 1 else None
    varies = n > 2 and np.ptp(predicted) > 0 and np.ptp(rated) > 0
    return {
        "group": group,
        "n": n,
        "rated": float(rated.mean()),
        "predicted": float(predicted.mean()),
        "bias": float(residuals.mean()),
        "bias_ci95": None if spread is None else float(rating_ci95(spread, n)),
        "residual_std": spread,
        "rmse": rmse(residuals),
        "pcc": float(stats.pearsonr(predicted, rated).statistic) if varies else None,
    }


def summary(result: Mapping[str, Any], residuals: Sequence[Mapping[str, Any]] = (), by: str = "group") -> str:
    """A table of the figures, with their intervals, and one of the residuals, for the eye.

    The intervals are those of the bootstrap. For other figures, and for fewer than 20 conditions or independent clips,
    they are those of P.1401, but for clips of several conditions none: these clips are not independent.

    Args:
        result: of [`evaluate_clips`].
        residuals: of [`residual_table`].
        by: what residuals are grouped by.

    Returns:
        Lines with columns that are aligned.
    """
    parts = {"clips": result["clips"], "conditions": result["conditions"]}
    for corpus, figures in result.get("corpora", {}).items():
        parts |= {f"{corpus}, {level}": (figures or {}).get(level) for level in ("clips", "conditions")}
    levels = {name: metrics for name, metrics in parts.items() if metrics is not None}
    rows = [["", *levels], ["n", *(str(metrics["n"]) for metrics in levels.values())]]
    rows += [[name, *(_with_interval(metrics, name) for metrics in levels.values())] for name in FIGURES]
    lines = _aligned(rows)
    clips = result["clips"]
    lines.append(
        f"{clips['interval_coverage_95']:.0%} of the ratings lie within the predicted 95 % intervals; "
        f"{clips['n_unrated']} clips without rating, {clips['n_unpredicted']} without prediction"
    )
    if residuals:
        columns = ("n", "rated", "predicted", "bias", "bias_ci95", "residual_std", "rmse", "pcc")
        table = [[by, *columns]]
        table += [[row["group"], str(row["n"]), *(_number(row[name]) for name in columns[1:])] for row in residuals]
        lines += ["", *_aligned(table)]
    return "\n".join(lines)


def _with_interval(metrics: Mapping[str, Any], name: str) -> str:
    ends = metrics["intervals_bootstrap"].get(name)
    if ends is None and metrics["n_independent"] == metrics["n"]:
        ends = metrics["intervals_p1401"].get(name)
    interval = "" if ends is None or math.isnan(ends[0]) else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    return _number(metrics[name]) + interval


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def write_json(path: Path, content: Any, *, sort_keys: bool = False) -> None:
    """Write JSON, with null for what is not a finite number, which JSON does not have.

    Bytes of file names that aren't UTF-8 come back from it as `os.fsdecode` gave them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, sort_keys=sort_keys)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_predictions(path: Path, outputs: Mapping[str, RatedClips]) -> None:
    """Write one row per clip as CSV: file, then rating, prediction and its 95 % interval of every output.

    Args:
        path: of the file.
        outputs: the same clips in the same order, by name of the output.
    """
    first = next(iter(outputs.values()))
    header = [f"{name}{part}" for name in outputs for part in ("", "_predicted", "_predicted_low", "_predicted_high")]
    columns = [
        column for clips in outputs.values() for column in (clips.rated, clips.predicted, clips.low, clips.high)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *header])
        for name, *values in zip(first.files, *columns, strict=True):
            writer.writerow([name, *("" if math.isnan(value) else f"{value:.4f}" for value in values)])
