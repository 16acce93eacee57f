"""Errors and intervals of ITU-T P.1401 (2020): of ratings (7.4), RMSE (7.5.1), PCC (7.5.3) and RMSE* (7.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


class Conditions(NamedTuple):
    """Means over the clips of each condition.

    Attributes:
        names: (conditions,) in the order of their first clips.
        predicted: (conditions,) mean predictions, rounded to 9 decimals, as the ratings are, so that equal ones tie.
        rated: (conditions,) mean ratings; each clip counts the same.
        ci95: (conditions,) half widths of the 95 % intervals of the ratings, NaN where they aren't known.
        predicted_ci95: (conditions,) the same of the mean predictions over clips, NaN for a single clip.
        n_clips: (conditions,) numbers of clips.
    """

    names: list[Any]
    predicted: Floats
    rated: Floats
    ci95: Floats
    predicted_ci95: Floats
    n_clips: NDArray[np.int64]


def rating_ci95(std: ArrayLike, n_votes: ArrayLike) -> Floats:
    """Half width of the 95 % interval of a mean opinion score, by Student's t.

    Args:
        std: sample standard deviation of the votes, in units of the scale.
        n_votes: number of votes, of the same shape.

    Returns:
        Array of that shape; NaN where either is NaN, a deviation is negative or there are fewer than 2 votes.
    """
    deviation, votes = _not_negative(std), np.asarray(n_votes, dtype=float)
    votes = np.where(votes >= 2, votes, np.nan)
    return stats.t.ppf(0.975, votes - 1) * deviation / np.sqrt(votes)


def rmse(errors: ArrayLike, mapping_coefficients: float = 0) -> float:
    """Root mean square of errors, with the degrees of freedom that a mapping leaves.

    Args:
        errors: (units,) predicted minus rated, after the mapping.
        mapping_coefficients: of the mapping that was fitted to the same ratings: 2 of the first and 4 of the third
            order, or their share in a part of these units. 0 without mapping divides by the number of units, as
            published results do, and not by one less, as P.1401 has it.

    Returns:
        In units of the scale; NaN where there are no more units than coefficients.
    """
    values = np.asarray(errors, dtype=float)
    freedom = len(values) - mapping_coefficients
    return float(np.sqrt(np.sum(values**2) / freedom)) if freedom > 0 else float("nan")


def rmse_star(errors: ArrayLike, ci95: ArrayLike, mapping_coefficients: int = 0) -> float:
    """RMSE*: only what of an error exceeds the 95 % interval of the rating counts.

    Args:
        errors: (units,) predicted minus rated, after the mapping, of all units that it was fitted to.
        ci95: (units,) half widths of the intervals; units with NaN are left out, and with them their share of the
            degrees of freedom that the mapping takes.
        mapping_coefficients: see [`rmse`].

    Returns:
        In units of the scale; NaN where there are no more units than coefficients.
    """
    values, widths = np.asarray(errors, dtype=float), np.asarray(ci95, dtype=float)
    known = ~np.isnan(widths)
    share = known.sum() / max(1, len(known))
    return rmse(np.maximum(np.abs(values[known]) - widths[known], 0.0), mapping_coefficients * share)


def rmse_interval(
    value: float, n: int, mapping_coefficients: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of an RMSE by the chi-square distribution, which takes errors for normal and independent.

    Args:
        value: the RMSE.
        n: number of units that it was computed from.
        mapping_coefficients: see [`rmse`].
        confidence: in (0, 1).

    Returns:
        Lower and upper end; NaN where there are no more units than coefficients.
    """
    freedom = n - mapping_coefficients
    if freedom < 1:
        return float("nan"), float("nan")
    ends = stats.chi2.ppf([(1 + confidence) / 2, (1 - confidence) / 2], freedom)
    low, high = value * np.sqrt(freedom / ends)
    return float(low), float(high)


def pcc_interval(pcc: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a Pearson correlation by Fisher's z transformation.

    Args:
        pcc: the correlation.
        n: number of units that it was computed from.
        confidence: in (0, 1).

    Returns:
        Lower and upper end in [-1, 1]; NaN for fewer than 4 units.
    """
    if n < 4:
        return float("nan"), float("nan")
    half = stats.norm.ppf(0.5 + confidence / 2) / np.sqrt(n - 3)
    with np.errstate(divide="ignore"):
        z = np.arctanh(pcc)
    return float(np.tanh(z - half)), float(np.tanh(z + half))


def condition_means(
    conditions: Iterable[Any],
    predicted: ArrayLike,
    rated: ArrayLike,
    std: ArrayLike | None = None,
    n_votes: ArrayLike | None = None,
) -> Conditions:
    """Means over the clips of each condition, with the intervals of the ratings from all votes on the condition.

    Args:
        conditions: (clips,) which condition a clip is of, any hashable values; clips without one (None, NaN or what
            else pandas takes for missing) are left out.
        predicted: (clips,) predictions; clips with NaN are left out.
        rated: (clips,) ratings, likewise.
        std: (clips,) sample standard deviations of the votes on each clip.
        n_votes: (clips,) numbers of votes. A condition has an interval if both are known of all its clips.

    Returns:
        One value of each kind per condition that any clip is left of.
    """
    predicted, rated = np.asarray(predicted, dtype=float), np.asarray(rated, dtype=float)
    used = ~np.isnan(predicted) & ~np.isnan(rated)
    members: dict[Any, list[int]] = {}
    for clip, name in enumerate(conditions):
        if used[clip] and not pandas.isna(name):
            members.setdefault(name, []).append(clip)
    nothing = np.full(len(predicted), np.nan)
    deviations = nothing if std is None else _not_negative(std)
    votes = nothing if n_votes is None else np.asarray(n_votes, float)
    n_clips = np.array([len(clips) for clips in members.values()], dtype=int)
    spreads = np.array([np.std(predicted[clips], ddof=1) if len(clips) > 1 else np.nan for clips in members.values()])
    return Conditions(
        names=list(members),
        # In binary, the means of 1.1, 2.2, 3.3 and of 2.2, 2.2, 2.2 differ; no rank is to hang on that.
        predicted=np.array([predicted[clips].mean() for clips in members.values()]).round(9),
        rated=np.array([rated[clips].mean() for clips in members.values()]).round(9),
        ci95=np.array([_pooled_ci95(rated[clips], deviations[clips], votes[clips]) for clips in members.values()]),
        predicted_ci95=rating_ci95(spreads, n_clips),
        n_clips=n_clips,
    )


def _not_negative(std: ArrayLike) -> Floats:
    """Deviations, NaN for -1 and the like, which stand for one that isn't known."""
    values = np.asarray(std, dtype=float)
    return np.where(values >= 0, values, np.nan)


def _pooled_ci95(rated: Floats, std: Floats, n_votes: Floats) -> float:
    """From the votes of several clips, of which mean, deviation and number are known."""
    total = n_votes.sum()
    # A clip with one vote has no deviation, and adds none.
    within = np.where(n_votes == 1, 0.0, (n_votes - 1) * std**2).sum()
    between = (n_votes * (rated - (n_votes * rated).sum() / total) ** 2).sum() if total > 0 else np.nan
    return float(rating_ci95(np.sqrt((within + between) / (total - 1)) if total > 1 else np.nan, total))
