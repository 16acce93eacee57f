"""Regression losses of the MOS head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = torch.finfo(torch.float32).tiny


def mos_loss(
    mean: Tensor, variance: Tensor, labels: Tensor, kind: str = "mse", weights: Tensor | None = None
) -> Tensor:
    """Loss of predicted ratings; outputs that a clip was not rated on (NaN labels) do not count.

    Args:
        mean: (batch, outputs) predicted ratings.
        variance: (batch, outputs) predicted variances, above 0.
        labels: (batch, outputs) ratings, NaN where there is none.
        kind: `"mse"` and `"l1"`, squared and absolute error for the mean plus the Gaussian negative log-likelihood of
            the variance with the mean held fixed; `"gaussian_nll"`, the likelihood for both (Nix and Weigend, ICNN
            1994).
        weights: (batch,), how much each clip counts, 0 or above, and 1 on average over the training set; 1 if None.

    Returns:
        Scalar loss in float32; 0 if no label is rated. The weighted sum is divided by the number of rated labels, and
        not by the sum of their weights: the mean over batches of as many ratings is the loss of all of them at once.

    Raises:
        ValueError: for an unknown kind.
    """
    rated = ~labels.isnan()
    target = torch.where(rated, labels, mean.detach()).float()
    mean, variance = mean.float(), variance.float()
    if kind == "gaussian_nll":
        loss = F.gaussian_nll_loss(mean, target, variance, reduction="none")
    elif kind in ("mse", "l1"):
        error = F.mse_loss if kind == "mse" else F.l1_loss
        likelihood = F.gaussian_nll_loss(mean.detach(), target, variance, reduction="none")
        loss = error(mean, target, reduction="none") + likelihood
    else:
        raise ValueError(f"`kind` must be 'mse', 'l1' or 'gaussian_nll', but is {kind!r}")
    counted = rated.float() if weights is None else rated * weights.float()[:, None]
    return (loss * counted).sum() / rated.sum().clamp(min=1)


def rank_loss(mean: Tensor, labels: Tensor, scale: float = 1.0, weights: Tensor | None = None) -> Tensor:
    r"""Logistic loss of the order of all pairs of a batch (RankNet, Burges et al., ICML 2005).

    For each output, over the pairs of clips \(i, j\) with ratings \(y_i > y_j\):

    \[ L = \operatorname{mean} \log \left( 1 + e^{-(s_i - s_j) / c} \right) \]

    Args:
        mean: (batch, outputs) predicted ratings \(s\).
        labels: (batch, outputs) ratings \(y\), NaN where there is none.
        scale: \(c\), in units of the rating scale.
        weights: (batch,), how much each clip counts, 0 or above; a pair counts by their product. All the same if None.

    Returns:
        Scalar loss in float32; 0 if no two clips are rated differently.
    """
    above = (labels[:, None] > labels[None, :]).float()
    if weights is not None:
        above = above * (weights[:, None] * weights[None, :]).float()[..., None]
    difference = (mean[:, None] - mean[None, :]).float() / scale
    return (F.softplus(-difference) * above).sum() / above.sum().clamp(min=_TINY)


def concordance_loss(mean: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""One minus the concordance correlation coefficient (Lin, Biometrics 1989), averaged over the outputs.

    \[ \rho_c = \frac{2 \sigma_{sy}}{\sigma_s^2 + \sigma_y^2 + (\mu_s - \mu_y)^2} \]

    with the moments of the clips of a batch that are rated on an output.

    Args:
        mean: (batch, outputs) predicted ratings \(s\).
        labels: (batch, outputs) ratings \(y\), NaN where there is none.
        weights: (batch,), how much each clip counts, 0 or above; all the same if None.

    Returns:
        Scalar loss in float32, from 0 to 2; 0 for outputs of which less than two different ratings are there.
    """
    shares = (~labels.isnan()).float()
    if weights is not None:
        shares = shares * weights.float()[:, None]
    labels = labels.float().where(shares > 0, torch.nan)
    shares = shares / shares.sum(dim=0).clamp(min=_TINY)
    mean, target = mean.float(), labels.nan_to_num(0.0)
    centre, target_centre = (mean * shares).sum(dim=0), (target * shares).sum(dim=0)
    deviation, target_deviation = mean - centre, target - target_centre
    covariance = (deviation * target_deviation * shares).sum(dim=0)
    squares = (deviation.square() + target_deviation.square()) * shares
    spread = squares.sum(dim=0) + (centre - target_centre).square()
    # Not by their variance, which rounding leaves above 0 where all are the same.
    known = labels.nan_to_num(-torch.inf).amax(dim=0) > labels.nan_to_num(torch.inf).amin(dim=0)
    losses = 1 - 2 * covariance / torch.where(known, spread, torch.ones_like(spread))
    return (losses * known).sum() / known.sum().clamp(min=1)


def vote_weights(votes: Tensor, votes_of_half_weight: float) -> Tensor:
    r"""Weights of mean ratings by the number of votes behind them, up to 1.

    Inverse-variance weights with a variance between clips, as in random-effects meta-analysis (DerSimonian and Laird,
    Controlled Clinical Trials 1986): the mean of \(n\) votes of variance \(\sigma^2\) that a model misses by a
    variance of \(\tau^2\) anyway weighs \(1 / (\tau^2 + \sigma^2 / n)\), which is proportional to
    \(n / (n + \sigma^2 / \tau^2)\).

    Args:
        votes: numbers of votes, 0 or above; NaN where it is not known, which weighs 1.
        votes_of_half_weight: \(\sigma^2 / \tau^2\).

    Returns:
        As `votes`, from 0, for a clip that nobody voted on, to 1.
    """
    weights = torch.where(votes.isnan(), torch.ones_like(votes), votes / (votes + votes_of_half_weight))
    # No votes are none, also where a single one has the full weight.
    return torch.where(votes == 0, torch.zeros_like(votes), weights)


__all__ = ["concordance_loss", "mos_loss", "rank_loss", "vote_weights"]
