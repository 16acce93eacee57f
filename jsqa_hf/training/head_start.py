"""A MOS head that starts from the linear regression on the embeddings, instead of from random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Subset

from ..modeling_jsqa import JSQAForMOSRegression
from .mos_collators import MOSCollator
from .predictions import predict

# Our choices: clips to fit on, how near to the ends of the scale ratings may be, and strengths of the regularisation.
MOST_CLIPS = 4000
MARGIN = 0.02
STRENGTHS = 10.0 ** np.arange(-1, 6, 0.5)


def fit_head(
    model: JSQAForMOSRegression, rated: Any, collator: MOSCollator, *, batch_size: int = 16, seed: int = 0
) -> list[float]:
    r"""Set the MOS head to the ridge regression of the ratings on the embeddings of their clips.

    Fine-tuning from a random head moves the network before the head tells it where to; starting from the best linear
    head is the recipe of Kumar et al. (Fine-Tuning can Distort Pretrained Features, ICLR 2022). The head is not
    linear, but \(\mathrm{gelu}(x) - \mathrm{gelu}(-x) = x\): two hidden units for each output make up the regression,
    on the logit of the rating, and the output starts without the others, which see standardised embeddings. The
    predicted variance starts at that of the errors, which leave-one-out finds, as it does the strength.

    Args:
        model: its head is changed, nothing else.
        rated: dataset as `collator` takes it; at most 4000 clips of it, drawn at random, are used.
        collator: makes batches; without random crops the result depends on data and seed alone.
        batch_size: clips at once.
        seed: of the choice.

    Returns:
        RMSE of each output on the rating scale, leave-one-out.

    Raises:
        ValueError: if the head has fewer than two hidden units per output, or an output fewer than two ratings.
    """
    names, head = model.config.mos_output_names, model.head
    if head.dense.out_features < 2 * len(names):
        raise ValueError(f"mos_hidden_size must be at least {2 * len(names)}, two per output, to fit the head")
    chosen = np.random.default_rng(seed).permutation(len(rated))[:MOST_CLIPS]
    predictions = predict(model, Subset(rated, chosen.tolist()), collator, batch_size)
    embeddings, ratings = predictions.embeddings, predictions.labels
    mean, deviation = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
    inputs = (embeddings - mean) / deviation
    dense = torch.randn(head.dense.weight.shape, generator=torch.Generator().manual_seed(seed)).numpy()
    dense, shift = dense / np.sqrt(inputs.shape[1]), np.zeros(len(dense))
    output, bias, errors = np.zeros(head.output.weight.shape), np.zeros(2 * len(names)), []
    span = head.high - head.low
    for column, name in enumerate(names):
        known = np.isfinite(ratings[:, column])
        if known.sum() < 2:
            raise ValueError(f"fitting the head takes at least two ratings of {name!r}, but there are {known.sum()}")
        shares = ((ratings[known, column] - head.low) / span).clip(MARGIN, 1 - MARGIN)
        weights, intercept, left_out = _ridge(inputs[known], np.log(shares / (1 - shares)))
        rows = (2 * column, 2 * column + 1)
        for row, sign in zip(rows, (1, -1), strict=True):
            dense[row], output[column, row], shift[row] = sign * weights, sign, 0.0
        bias[column] = intercept
        error = float(np.sqrt(np.mean((head.low + span / (1 + np.exp(-left_out)) - ratings[known, column]) ** 2)))
        variance = ((error / span) ** 2 - 1e-4) / (0.25 - 1e-4)
        variance = min(max(variance, 1e-3), 1 - 1e-3)
        bias[len(names) + column] = np.log(variance / (1 - variance))
        errors.append(error)
    scaled = dense / deviation
    _assign(head.dense, scaled, shift - scaled @ mean)
    _assign(head.output, output, bias)
    return errors


def _ridge(
    inputs: NDArray[np.float64], targets: NDArray[np.float64], strengths: Sequence[float] | NDArray[Any] = STRENGTHS
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Weights, intercept and leave-one-out predictions of the strength with the smallest error of these."""
    centre, mean = inputs.mean(axis=0), targets.mean()
    left, values, right = np.linalg.svd(inputs - centre, full_matrices=False)
    projected = left.T @ (targets - mean)
    best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for strength in strengths:
        kept = values**2 / (values**2 + strength)
        # What a clip has in its own prediction, by the intercept and by the weights.
        leverage = (1 / len(targets) + (left**2) @ kept).clip(max=1 - 1e-9)
        residual = (targets - mean - left @ (kept * projected)) / (1 - leverage)
        error = float(np.mean(residual**2))
        if best is None or error < best[0]:
            best = error, right.T @ (values / (values**2 + strength) * projected), targets - residual
    assert best is not None
    _, weights, left_out = best
    return weights, float(mean - centre @ weights), left_out


def _assign(layer: torch.nn.Linear, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
