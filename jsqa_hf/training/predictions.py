"""What a MOS model gives for the clips of a dataset."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..modeling_jsqa import JSQAForMOSRegression
from .mos_collators import MOSCollator

__all__ = ["Predictions", "predict"]


class Predictions(NamedTuple):
    """Of clips, in double precision.

    Attributes:
        scores, variances: (clips, outputs) on the rating scale; variances squared.
        embeddings: (clips, dim).
        labels: (clips, outputs) ratings, NaN where there is none.
    """

    scores: NDArray[np.float64]
    variances: NDArray[np.float64]
    embeddings: NDArray[np.float64]
    labels: NDArray[np.float64]


def predict(model: JSQAForMOSRegression, rated: Any, collator: MOSCollator, batch_size: int = 16) -> Predictions:
    """Rate all clips, without dropout.

    Args:
        model: on any device; left as it is.
        rated: dataset as `collator` takes it, with at least one row.
        collator: makes batches.
        batch_size: clips at once.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    parts = []
    for start in range(0, len(rated), batch_size):
        batch = collator([rated[index] for index in range(start, min(start + batch_size, len(rated)))])
        audio = {name: batch[name].to(device) for name in ("input_values", "attention_mask") if name in batch}
        with torch.inference_mode():
            output = model(**audio, return_dict=True)
        parts.append((output.scores, output.variances, output.embeddings, batch["labels"]))
    model.train(training)
    return Predictions(*(torch.cat(part).double().cpu().numpy() for part in zip(*parts, strict=True)))
