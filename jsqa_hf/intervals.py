"""How sure the figures of an evaluation are: bootstrap intervals of metrics, calibration of predicted variances."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Our choice: the figures of 240 clips then take some seconds.
RESAMPLES = 1000
# Our choice, by simulation: with fewer, 95 % intervals of an RMSE hold the truth too seldom (docs/evaluation.md).
LEAST_UNITS = 20

Floats = NDArray[np.float64]


def bootstrap_intervals(
    statistic: Callable[[NDArray[np.int64]], Mapping[str, float]],
    clips: int,
    groups: Sequence[Any] | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Confidence intervals of any figures by the percentile bootstrap over clips, or over groups of clips.

    The bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993) takes these for independent.

    Args:
        statistic: from (chosen,) indices of clips, of which some come more than once, to figures by name.
        clips: number of clips.
        groups: (clips,) clips of the same group, such as those of one condition or talker, are drawn together, since
            they are not independent; default: each by itself.
        resamples: number of them; 0 gives no intervals.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling.

    Returns:
        Lower and upper end by name; without those that are not finite in every resample. Empty for fewer than
        `LEAST_UNITS` (20) clips or groups, of which a bootstrap can't tell how sure a figure is.
    """
    members: dict[Any, list[int]] = {}
    for clip, group in enumerate(range(clips) if groups is None else groups):
        members.setdefault(group, []).append(clip)
    units = [np.array(indices) for indices in members.values()]
    if not resamples or len(units) < LEAST_UNITS:
        return {}
    rng = np.random.default_rng(seed)
    draws: list[Mapping[str, float]] = []
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        # What is not defined is left out below.
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(resamples):
            chosen = rng.integers(len(units), size=len(units))
            draws.append(statistic(np.concatenate([units[unit] for unit in chosen])))
    values = {name: np.array([draw[name] for draw in draws]) for name in draws[0]}
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    ends = {name: np.quantile(drawn, tails) for name, drawn in values.items() if np.isfinite(drawn).all()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def interval_calibration(
    predictions: Any, variances: Any, references: Any, levels: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
) -> dict[str, Any]:
    """How well predicted variances tell the size of the errors, taking errors for normally distributed.

    Args:
        predictions: (clips,) predicted ratings, NaN where there is none.
        variances: (clips,) their predicted variances, in squared units of the scale.
        references: (clips,) ratings, NaN where a clip was not rated.
        levels: nominal coverage of the intervals to check, in (0, 1).

    Returns:
        `coverage`: share of the ratings within the interval of each level, by level; `width_95`: mean width of the
        95 % interval, in units of the scale; `error_ratio`: root mean square of the errors divided by their predicted
        standard deviation: 1 if calibrated, above 1 if the model is too sure.

    Raises:
        ValueError: as of [`rated_clips`].
    """
    predicted, rated, used = rated_clips(predictions, references)
    deviations = np.sqrt(np.asarray(variances, dtype=float)[used])
    errors = np.abs(predicted - rated) / deviations
    coverage = {level: float(np.mean(errors <= stats.norm.ppf(0.5 + level / 2))) for level in levels}
    return {
        "coverage": coverage,
        "width_95": float(2 * stats.norm.ppf(0.975) * deviations.mean()),
        "error_ratio": float(np.sqrt(np.mean(errors**2))),
    }


def rated_clips(
    predictions: Any, references: Any, needed_by: str = "an interval"
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Predictions and ratings of the clips that have both (neither is NaN), at least two, and which clips these are.

    Args:
        predictions, references: (clips,) each.
        needed_by: what needs them, for the message.

    Raises:
        ValueError: if the shapes differ, fewer than two clips have both, or any of these is infinite.
    """
    predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
    if predicted.shape != rated.shape or predicted.ndim != 1:
        raise ValueError(f"{predicted.shape} predictions do not fit {rated.shape} ratings: give one of each per clip")
    used = ~np.isnan(predicted) & ~np.isnan(rated)
    if used.sum() < 2:
        raise ValueError(
            f"{used.sum()} clips, or conditions, have a rating and a prediction, but {needed_by} needs at least 2"
        )
    predicted, rated = predicted[used], rated[used]
    for name, values in (("predictions", predicted), ("ratings", rated)):
        if infinite := np.count_nonzero(np.isinf(values)):
            raise ValueError(f"{infinite} of {len(values)} {name} are infinite: give NaN for clips that have none")
    return predicted, rated, used
