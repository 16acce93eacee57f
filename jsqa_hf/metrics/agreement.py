"""Agreement of predicted with rated quality: the usual figures, and those of ITU-T P.1401."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ..intervals import rated_clips
from .mapping import Order, fit_mapping
from .p1401 import pcc_interval, rmse, rmse_interval, rmse_star

Floats = NDArray[np.float64]

MAPPINGS: dict[str, Order] = {"first_order": 1, "third_order": 3}


def mos_metrics(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """RMSE, MAE, PCC, SRCC and Kendall's tau over the clips that have a rating.

    Args:
        predictions: (clips,) predicted ratings.
        references: (clips,) ratings on the same scale, NaN where a clip was not rated.

    Returns:
        `rmse` and `mae` in units of the scale, `pcc`, `srcc` and `kendall_tau` (tau-b) in [-1, 1] (NaN where either
        side does not vary), and `n`, the number of rated clips.

    Raises:
        ValueError: if the lengths differ or fewer than two clips are rated.
    """
    predicted, rated = rated_clips(predictions, references, "a correlation")
    error = predicted - rated
    varies = np.ptp(predicted) > 0 and np.ptp(rated) > 0
    correlations = {"pcc": stats.pearsonr, "srcc": stats.spearmanr, "kendall_tau": stats.kendalltau}
    return {
        "rmse": rmse(error),
        "mae": float(np.mean(np.abs(error))),
        **{
            name: float(function(predicted, rated).statistic) if varies else float("nan")
            for name, function in correlations.items()
        },
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
        ValueError: if the lengths differ or fewer than two units have both values.
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
