"""Intervals as wide as the errors on clips that a model was not trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit

from ..modeling_jsqa import JSQAForMOSRegression
from .mos_collators import MOSCollator
from .predictions import Predictions, predict

# Standard deviations on either side of the mean that hold 95 % of a normal distribution.
DEVIATIONS_OF_95_PERCENT = NormalDist().inv_cdf(0.975)
# Of the logit of the variance: a factor of about 1,000 on the standard deviation, more than any model needs.
_LARGEST_SHIFT = 14.0
# Beyond the least shift, so that rounding does not put the last clip that it holds outside again.
_MARGIN = 1e-3


def widen_intervals(
    model: JSQAForMOSRegression, rated: Any, collator: MOSCollator, *, coverage: float = 0.95, batch_size: int = 16
) -> dict[str, float]:
    """Widen or narrow the 95 % interval of each output until it holds that share of the ratings.

    A network is surer of the clips that it was trained on than it may be of others. A constant added to the logit of
    the predicted variance, the bias of the head, mends that on average (after Guo et al., On Calibration of Modern
    Neural Networks, ICML 2017, who scale the logits of classes). Scores stay what they are.

    Args:
        model: its head is changed, nothing else.
        rated: dataset as `collator` takes it, of clips that the model was not trained on.
        collator: makes batches.
        coverage: share of the ratings to hold, in (0, 1).
        batch_size: clips at once.

    Returns:
        By output, what was added to the logit; outputs that nobody rated are left out and left as they are.

    Raises:
        ValueError: if `coverage` is not a share.
    """
    shifts = interval_shifts(model, predict(model, rated, collator, batch_size), coverage)
    shift_intervals(model, shifts)
    return shifts


def interval_shifts(model: JSQAForMOSRegression, predictions: Predictions, coverage: float = 0.95) -> dict[str, float]:
    """What has to be added to the logit of each output's variance, see [`widen_intervals`].

    Raises:
        ValueError: if `coverage` is not a share.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must lie between 0 and 1, got {coverage}")
    span = model.head.high - model.head.low
    errors = np.abs(predictions.scores - predictions.labels) / span
    # The inverse of what the head makes of its output.
    panel = (model.config.mos_panel_std / span) ** 2
    logits = logit(((predictions.variances / span**2 - 1e-4) / (0.25 - 1e-4)).clip(1e-9, 1 - 1e-9))
    shifts = {}
    for column, name in enumerate(model.config.mos_output_names):
        known = np.isfinite(errors[:, column])
        if known.any():
            shifts[name] = _shift(errors[known, column], logits[known, column], coverage, panel)
    return shifts


def shift_intervals(model: JSQAForMOSRegression, shifts: Mapping[str, float]) -> None:
    """Add to the logit of the variance of the outputs named."""
    names = model.config.mos_output_names
    with torch.no_grad():
        for name, shift in shifts.items():
            model.head.output.bias[len(names) + names.index(name)] += shift


def _shift(errors: NDArray[np.float64], logits: NDArray[np.float64], coverage: float, panel: float) -> float:
    """The least shift with which that share of the errors, in units of the range, lies inside.

    `panel` is the variance between panels, in the same units squared, which scores have besides.
    """
    # Of each error, the shift from which on its interval holds it.
    variances = (((errors / DEVIATIONS_OF_95_PERCENT) ** 2 - panel - 1e-4) / (0.25 - 1e-4)).clip(0, 1)
    needed = np.sort((logit(variances) - logits).clip(-_LARGEST_SHIFT, _LARGEST_SHIFT))
    # 0.55 * 100 is a little more than 55.
    return float(needed[math.ceil(coverage * len(needed) - 1e-9) - 1]) + _MARGIN
