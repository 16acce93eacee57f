"""Intervals as wide as the errors on clips that a model was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..modeling_jsqa import JSQAForMOSRegression
from .mos import MOSCollator

# Standard deviations on either side of the mean that hold 95 % of a normal distribution.
DEVIATIONS_OF_95_PERCENT = 1.96
# Of the logit of the variance: a factor of about 1,000 on the standard deviation, more than any model needs.
_LARGEST_SHIFT = 14.0


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
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must lie between 0 and 1, got {coverage}")
    errors, logits = _errors_and_logits(model, rated, collator, batch_size)
    names, span = model.config.mos_output_names, model.head.high - model.head.low
    shifts = {}
    for column, name in enumerate(names):
        known = np.isfinite(errors[:, column])
        if not known.any():
            continue
        shift = _shift(errors[known, column] / span, logits[known, column], coverage)
        with torch.no_grad():
            model.head.output.bias[len(names) + column] += shift
        shifts[name] = shift
    return shifts


def _errors_and_logits(
    model: JSQAForMOSRegression, rated: Any, collator: MOSCollator, batch_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Size of the errors, NaN where there is no rating, and logits of the variances: (clips, outputs) each."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    errors, variances = [], []
    for start in range(0, len(rated), batch_size):
        batch = collator([rated[index] for index in range(start, min(start + batch_size, len(rated)))])
        audio = {name: batch[name].to(device) for name in ("input_values", "attention_mask") if name in batch}
        with torch.inference_mode():
            output = model(**audio)
        errors.append((output.scores.double().cpu() - batch["labels"].double()).abs().numpy())
        variances.append(output.variances.double().cpu().numpy())
    model.train(training)
    shares = np.concatenate(variances) / (model.head.high - model.head.low) ** 2
    # The inverse of what the head makes of its output.
    return np.concatenate(errors), logit(((shares - 1e-4) / (0.25 - 1e-4)).clip(1e-9, 1 - 1e-9))


def _shift(errors: NDArray[np.float64], logits: NDArray[np.float64], coverage: float) -> float:
    """The least shift with which that share of the errors, in units of the range, lies inside."""

    def covered(shift: float) -> float:
        deviations = np.sqrt(1e-4 + (0.25 - 1e-4) * expit(logits + shift))
        return float(np.mean(errors <= DEVIATIONS_OF_95_PERCENT * deviations))

    low, high = -_LARGEST_SHIFT, _LARGEST_SHIFT
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if covered(middle) >= coverage else (middle, high)
    return high


class WidenIntervals(TrainerCallback):
    """Does so when training ends, before the model is saved; after a resumed run it comes to the same.

    Args:
        rated: dataset of clips that are not trained on.
        collator: for them.
        coverage: share of the ratings to hold.
    """

    def __init__(self, rated: Any, collator: MOSCollator, coverage: float) -> None:
        if not 0 < coverage < 1:
            raise ValueError(f"interval_coverage must lie between 0 and 1, got {coverage}")
        self.rated, self.collator, self.coverage = rated, collator, coverage

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        widen_intervals(
            kwargs["model"], self.rated, self.collator, coverage=self.coverage, batch_size=args.eval_batch_size
        )
