"""Regression losses of the MOS head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mos_loss(mean: Tensor, variance: Tensor, labels: Tensor, kind: str = "mse") -> Tensor:
    """Loss of predicted ratings; outputs that a clip was not rated on (NaN labels) do not count.

    Args:
        mean: (batch, outputs) predicted ratings.
        variance: (batch, outputs) predicted variances, above 0.
        labels: (batch, outputs) ratings, NaN where there is none.
        kind: `"mse"`, squared error for the mean plus the Gaussian negative log-likelihood of the variance with the
            mean held fixed; `"gaussian_nll"`, the likelihood for both (Nix and Weigend, ICNN 1994).

    Returns:
        Scalar loss in float32; 0 if no label is rated.
    """
    rated = ~labels.isnan()
    target = torch.where(rated, labels, mean.detach()).float()
    mean, variance = mean.float(), variance.float()
    if kind == "gaussian_nll":
        loss = F.gaussian_nll_loss(mean, target, variance, reduction="none")
    elif kind == "mse":
        likelihood = F.gaussian_nll_loss(mean.detach(), target, variance, reduction="none")
        loss = F.mse_loss(mean, target, reduction="none") + likelihood
    else:
        raise ValueError(f"`kind` must be 'mse' or 'gaussian_nll', but is {kind!r}")
    return (loss * rated).sum() / rated.sum().clamp(min=1)


__all__ = ["mos_loss"]
