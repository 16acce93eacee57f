"""How finely predictions tell quality apart: pairs ranked rightly, and scores that rise although quality falls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas
from numpy.typing import ArrayLike, NDArray


class RankingAccuracy(NamedTuple):
    """Attributes:
    accuracy: share of the pairs that are ranked as rated, in [0, 1], ties of predictions counting half; 0.5 is
        guessing; NaN without pairs.
    n_pairs: number of pairs.
    """

    accuracy: float
    n_pairs: int


class MonotonicityViolations(NamedTuple):
    """Attributes:
    rate: share of the steps in severity at which the score rises, in [0, 1]; NaN without steps.
    series_rate: share of the series with at least one such step.
    largest_rise: greatest rise of the score at a step, in units of the scale; 0 if it never rises.
    n_steps, n_series: number of steps, and of series with at least one.
    """

    rate: float
    series_rate: float
    largest_rise: float
    n_steps: int
    n_series: int


def pair_ranking_accuracy(
    predictions: ArrayLike,
    references: ArrayLike,
    groups: Sequence[Any] | None = None,
    *,
    difference: tuple[float, float] = (0.0, float("inf")),
) -> RankingAccuracy:
    """Share of the pairs of clips that predictions rank as ratings (or known qualities) do.

    Args:
        predictions: (clips,) predicted ratings; pairs with NaN are left out.
        references: (clips,) ratings, higher is better; pairs with NaN are left out.
        groups: (clips,) only clips of the same group make pairs, such as those of one talker; clips without one (None,
            NaN or what else pandas takes for missing) make none. Default: all are of one.
        difference: pairs count whose ratings differ by more than the first and by at most the second, in units of the
            scale. `(0, 0.5)` are fine differences.

    Returns:
        Accuracy and number of pairs.

    Raises:
        ValueError: if the lengths differ.
    """
    predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
    right, pairs = 0.0, 0
    for clips in _members(groups, predicted, rated):
        # Row by row, so that memory stays linear in the number of clips.
        for place, clip in enumerate(clips[:-1]):
            others = clips[place + 1 :]
            rated_step, predicted_step = rated[others] - rated[clip], predicted[others] - predicted[clip]
            # 2.2 - 1.7 is not 0.5 in binary.
            size = np.round(np.abs(rated_step), 9)
            counted = (size > difference[0]) & (size <= difference[1])
            agreement = np.sign(rated_step[counted]) * np.sign(predicted_step[counted])
            right += float(((agreement + 1) / 2).sum())
            pairs += int(counted.sum())
    return RankingAccuracy(right / pairs if pairs else float("nan"), pairs)


def monotonicity_violations(
    scores: ArrayLike, severities: ArrayLike, series: Sequence[Any] | None = None, *, tolerance: float = 0.0
) -> MonotonicityViolations:
    """How often the score rises from one severity of a distortion to the next greater one.

    Args:
        scores: (clips,) predicted quality, higher is better; clips with NaN are left out.
        severities: (clips,) of the distortion, greater is worse; clips with NaN are left out. Scores of the same
            severity in a series are averaged.
        series: (clips,) clips of the same series are one content at several severities; clips without one are left
            out. Default: all are of one.
        tolerance: rises up to this, in units of the scale, don't count.

    Returns:
        Shares and counts.

    Raises:
        ValueError: if the lengths differ or the tolerance is negative.
    """
    if tolerance < 0:
        raise ValueError(f"`tolerance` must be at least 0, but is {tolerance}")
    predicted, severity = np.asarray(scores, dtype=float), np.asarray(severities, dtype=float)
    rises = [_rises(predicted[clips], severity[clips]) for clips in _members(series, predicted, severity)]
    rises = [steps for steps in rises if len(steps)]
    if not rises:
        return MonotonicityViolations(float("nan"), float("nan"), 0.0, 0, 0)
    steps = np.concatenate(rises)
    return MonotonicityViolations(
        rate=float(np.mean(steps > tolerance)),
        series_rate=float(np.mean([np.any(one > tolerance) for one in rises])),
        largest_rise=float(max(steps.max(), 0.0)),
        n_steps=len(steps),
        n_series=len(rises),
    )


def _rises(scores: NDArray[np.float64], severities: NDArray[np.float64]) -> NDArray[np.float64]:
    _, level = np.unique(severities, return_inverse=True)
    return np.diff(np.bincount(level, weights=scores) / np.bincount(level)) if len(scores) else np.empty(0)


def _members(
    groups: Sequence[Any] | None, first: NDArray[np.float64], second: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Indices of the clips of each group that have both values."""
    labels = [0] * len(first) if groups is None else list(groups)
    if not len(first) == len(second) == len(labels):
        raise ValueError(f"{len(first)}, {len(second)} and {len(labels)} values don't fit: give one of each per clip")
    members: dict[Any, list[int]] = {}
    for clip in np.flatnonzero(~np.isnan(first) & ~np.isnan(second)):
        if not pandas.isna(labels[clip]):
            members.setdefault(labels[clip], []).append(int(clip))
    return [np.array(clips) for clips in members.values()]
