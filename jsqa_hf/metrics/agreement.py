"""Agreement of predicted with rated quality: the usual figures, and those of ITU-T P.1401."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ..intervals import RESAMPLES, bootstrap_intervals, rated_clips
from .mapping import Order, fit_mapping
from .p1401 import Conditions, pcc_interval, rmse, rmse_interval, rmse_star

Floats = NDArray[np.float64]

MAPPINGS: dict[str, Order] = {"first_order": 1, "third_order": 3}


def mos_metrics(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """RMSE, MAE, PCC, SRCC and Kendall's tau over the clips that have a rating and a prediction.

    Args:
        predictions: (clips,) predicted ratings, NaN where there is none.
        references: (clips,) ratings on the same scale, NaN where a clip was not rated.

    Returns:
        `rmse` and `mae` in units of the scale, `pcc`, `srcc` and `kendall_tau` (tau-b) in [-1, 1] (NaN where either
        side does not vary), and `n`, the number of clips with both.

    Raises:
        ValueError: if the lengths differ, fewer than two clips have both, or any of these is infinite.
    """
    predicted, rated, _ = rated_clips(predictions, references, "a correlation")
    error = predicted - rated
    varies = np.ptp(predicted) > 0 and np.ptp(rated) > 0
    nan = float("nan")
    return {
        "rmse": rmse(error),
        "mae": float(np.mean(np.abs(error))),
        # By numpy, as scipy also computes p-values, which takes most of the time of a bootstrap.
        "pcc": float(np.corrcoef(predicted, rated)[0, 1]) if varies else nan,
        "srcc": float(np.corrcoef(stats.rankdata(predicted), stats.rankdata(rated))[0, 1]) if varies else nan,
        "kendall_tau": float(stats.kendalltau(predicted, rated).statistic) if varies else nan,
        "n": len(rated),
    }


def p1401_metrics(predictions: ArrayLike, references: ArrayLike, ci95: ArrayLike | None = None) -> dict[str, Any]:
    """The figures of [`mos_metrics`] and those of ITU-T P.1401, with its intervals.

    Clips (or conditions) without a rating or without a prediction are left out, and counted. RMSE* is computed from
    those with an interval of the rating; mappings are fitted to all.

    Args:
        predictions: (units,) predicted ratings of clips, or their means over the clips of a condition; NaN where
            there is none.
        references: (units,) ratings on the same scale, NaN where there is none.
        ci95: (units,) half widths of the 95 % intervals of the ratings, such as [`rating_ci95`] gives; NaN where they
            aren't known.

    Returns:
        - `n`, `n_unrated`, `n_unpredicted` (rated, but without prediction): numbers of units;
        - `rmse`, `mae`, `pcc`, `srcc`, `kendall_tau`: as of [`mos_metrics`];
        - `rmse_first_order`, `rmse_third_order`: RMSE after a monotonic mapping to the ratings, with as many degrees
          of freedom less as it has coefficients;
        - `rmse_star`, `rmse_star_first_order`, `rmse_star_third_order`: RMSE*, and `n_rmse_star`, the number of units
          with an interval;
        - `intervals_p1401`: 95 % intervals of `pcc` and of the three RMSE;
        - `mapping_first_order`, `mapping_third_order`: coefficients, from the constant on.

        NaN, and an empty list of coefficients, where there are too few units or no intervals of ratings.

    Raises:
        ValueError: if the lengths differ, fewer than two units have both values, or any of these is infinite.
    """
    predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
    widths = np.full(rated.shape, np.nan) if ci95 is None else np.asarray(ci95, dtype=float)
    if not predicted.shape == rated.shape == widths.shape:
        raise ValueError(f"{predicted.shape} predictions, {rated.shape} ratings and {widths.shape} widths don't fit")
    has_rating, has_prediction = ~np.isnan(rated), ~np.isnan(predicted)
    used = has_rating & has_prediction
    predicted, rated, widths = predicted[used], rated[used], widths[used]
    metrics: dict[str, Any] = {
        "n": 0,
        "n_unrated": int((~has_rating).sum()),
        "n_unpredicted": int((has_rating & ~has_prediction).sum()),
        **mos_metrics(predicted, rated),
    }
    n = metrics["n"]
    mapped = {"": (predicted - rated, 0)}
    coefficients: dict[str, list[float]] = {}
    for name, order in MAPPINGS.items():
        coefficients[f"mapping_{name}"] = []
        errors = np.full(n, np.nan)
        if n > order:
            mapping = fit_mapping(predicted, rated, order)
            coefficients[f"mapping_{name}"] = [float(value) for value in mapping.convert().coef]
            errors = mapping(predicted) - rated
        mapped[f"_{name}"] = (errors, order + 1)
        metrics[f"rmse_{name}"] = rmse(errors, order + 1)
    for suffix, (errors, number) in mapped.items():
        metrics[f"rmse_star{suffix}"] = rmse_star(errors, widths, number)
    metrics["n_rmse_star"] = int((~np.isnan(widths)).sum())
    metrics["intervals_p1401"] = {"pcc": list(pcc_interval(metrics["pcc"], n))}
    for suffix, (_, number) in mapped.items():
        name = f"rmse{suffix}"
        metrics["intervals_p1401"][name] = list(rmse_interval(metrics[name], n, number))
    return {**metrics, **coefficients}


def condition_metrics(means: Conditions) -> dict[str, Any]:
    """The figures of [`p1401_metrics`] of means per condition.

    Without `n_unrated` and `n_unpredicted`, as every condition here has a rating and a prediction.

    Raises:
        ValueError: if there are fewer than two conditions, or a mean is infinite.
    """
    metrics = p1401_metrics(means.predicted, means.rated, means.ci95)
    return {name: value for name, value in metrics.items() if name not in ("n_unrated", "n_unpredicted")}


def metric_intervals(
    predictions: ArrayLike,
    references: ArrayLike,
    ci95: ArrayLike | None = None,
    groups: Iterable[Any] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the figures of [`mos_metrics`], and of RMSE*, by [`jsqa_hf.intervals.bootstrap_intervals`].

    Not of figures after mapping: a mapping that is fitted to resamples, in which units come twice, errs too little.

    Args:
        predictions, references, ci95: see [`p1401_metrics`].
        groups: (units,) units of the same group are drawn together, since they are not independent, such as clips of
            one condition; default: each by itself.
        resamples: of the bootstrap; 0 gives no intervals.
        seed: of the bootstrap.

    Returns:
        Lower and upper end of `rmse`, `mae`, `pcc`, `srcc`, `kendall_tau` and `rmse_star`; without those that are not
        defined in every resample. Empty for fewer than 20 units or groups with a rating and a prediction.
    """
    predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
    widths = np.full(rated.shape, np.nan) if ci95 is None else np.asarray(ci95, dtype=float)
    used = np.flatnonzero(~np.isnan(predicted) & ~np.isnan(rated))

    def figures(chosen: NDArray[np.int64]) -> dict[str, float]:
        units = used[chosen]
        metrics = mos_metrics(predicted[units], rated[units])
        del metrics["n"]
        return {**metrics, "rmse_star": rmse_star(predicted[units] - rated[units], widths[units])}

    # In a list, since a pandas Series would be indexed by its labels.
    names = None if groups is None else list(groups)
    of_used = None if names is None else [names[unit] for unit in used.tolist()]
    return bootstrap_intervals(figures, len(used), of_used, resamples=resamples, seed=seed)
