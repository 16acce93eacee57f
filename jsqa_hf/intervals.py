"""How sure the figures of an evaluation are: bootstrap intervals of metrics, calibration of predicted variances."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Our choice; the ends of a 95 % interval then vary by a few percent of its width from seed to seed.
RESAMPLES = 2000
# Values that are held at once while resampling, so that memory does not grow with the number of clips.
_VALUES_AT_ONCE = 2_000_000

Floats = NDArray[np.float64]


def metric_intervals(
    predictions: Any, references: Any, *, confidence: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Confidence intervals of the figures of [`jsqa_hf.metrics.mos_metrics`], by the percentile bootstrap over clips.

    The bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993) takes clips for independent. Clips of
    one talker or of one condition are not, and then the intervals are too narrow.

    Args:
        predictions: (clips,) predicted ratings.
        references: (clips,) ratings on the same scale, NaN where a clip was not rated.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling.

    Returns:
        Lower and upper end of `rmse`, `mae`, `pcc` and `srcc`; without those that are not defined in every resample,
        as happens with very few clips.

    Raises:
        ValueError: if the lengths differ or fewer than two clips are rated.
    """
    predicted, rated = rated_clips(predictions, references)
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        # What is not defined is left out below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (predicted, rated),
            _metrics,
            n_resamples=RESAMPLES,
            batch=max(1, _VALUES_AT_ONCE // len(rated)),
            vectorized=True,
            paired=True,
            confidence_level=confidence,
            method="percentile",
            random_state=np.random.default_rng(seed),
        )
    low, high = np.atleast_1d(result.confidence_interval.low), np.atleast_1d(result.confidence_interval.high)
    ends = zip(("rmse", "mae", "pcc", "srcc"), low, high, strict=True)
    return {name: (float(first), float(last)) for name, first, last in ends if np.isfinite([first, last]).all()}


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

    Args:
        statistic: from (chosen,) indices of clips, of which some come more than once, to figures by name.
        clips: number of clips.
        groups: (clips,) clips of the same group, such as those of one condition or talker, are drawn together, since
            they are not independent; default: each by itself.
        resamples: number of them.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling.

    Returns:
        Lower and upper end by name; without those that are not finite in every resample.

    Raises:
        ValueError: if there are fewer than two clips or groups.
    """
    members: dict[Any, list[int]] = {}
    for clip, group in enumerate(range(clips) if groups is None else groups):
        members.setdefault(group, []).append(clip)
    units = [np.array(indices) for indices in members.values()]
    if len(units) < 2:
        raise ValueError(f"{len(units)} independent groups of clips, but an interval needs at least 2")
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
        predictions: (clips,) predicted ratings.
        variances: (clips,) their predicted variances, in squared units of the scale.
        references: (clips,) ratings, NaN where a clip was not rated.
        levels: nominal coverage of the intervals to check, in (0, 1).

    Returns:
        `coverage`: share of the ratings within the interval of each level, by level; `width_95`: mean width of the
        95 % interval, in units of the scale; `error_ratio`: root mean square of the errors divided by their predicted
        standard deviation: 1 if calibrated, above 1 if the model is too sure.

    Raises:
        ValueError: if the lengths differ or fewer than two clips are rated.
    """
    predicted, rated = rated_clips(predictions, references)
    known = ~np.isnan(np.asarray(references, dtype=float))
    deviations = np.sqrt(np.asarray(variances, dtype=float)[known])
    errors = np.abs(predicted - rated) / deviations
    coverage = {level: float(np.mean(errors <= stats.norm.ppf(0.5 + level / 2))) for level in levels}
    return {
        "coverage": coverage,
        "width_95": float(2 * stats.norm.ppf(0.975) * deviations.mean()),
        "error_ratio": float(np.sqrt(np.mean(errors**2))),
    }


def rated_clips(predictions: Any, references: Any, needed_by: str = "an interval") -> tuple[Floats, Floats]:
    """Predictions and ratings of the clips that have a rating (not NaN), at least two.

    Args:
        predictions, references: (clips,) each.
        needed_by: what needs them, for the message.

    Raises:
        ValueError: if the shapes differ or fewer than two clips are rated.
    """
    predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
    if predicted.shape != rated.shape or predicted.ndim != 1:
        raise ValueError(f"{predicted.shape} predictions do not fit {rated.shape} ratings: give one of each per clip")
    known = ~np.isnan(rated)
    if known.sum() < 2:
        raise ValueError(f"{known.sum()} clips are rated, but {needed_by} needs at least 2")
    return predicted[known], rated[known]


def _metrics(predicted: Floats, rated: Floats, axis: int = -1) -> Floats:
    """RMSE, MAE, PCC and SRCC along an axis, stacked along a new first one."""
    errors = predicted - rated
    return np.stack(
        [
            np.sqrt(np.mean(errors**2, axis=axis)),
            np.mean(np.abs(errors), axis=axis),
            _correlation(predicted, rated, axis),
            _correlation(stats.rankdata(predicted, axis=axis), stats.rankdata(rated, axis=axis), axis),
        ]
    )


def _correlation(first: Floats, second: Floats, axis: int) -> Floats:
    first, second = (values - values.mean(axis=axis, keepdims=True) for values in (first, second))
    scale = np.sqrt((first**2).sum(axis=axis) * (second**2).sum(axis=axis))
    return (first * second).sum(axis=axis) / scale
