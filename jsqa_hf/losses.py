"""Training objectives: NT-Xent over JND pairs, and the regression losses of the MOS head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(
    projections: Tensor,
    pair_ids: Tensor,
    temperature: float | Tensor = 0.1,
    content_ids: Tensor | None = None,
) -> Tensor:
    r"""Normalised temperature-scaled cross entropy over JND pairs (Chen et al., SimCLR, ICML 2020).

    With cosine similarity \(s_{ij}\), temperature \(\tau\), the other members \(P(i)\) of clip \(i\)'s pair and its
    negatives \(N(i)\):

    \[ L = \operatorname*{mean}_i \operatorname*{mean}_{p \in P(i)}
       -\log \frac{e^{s_{ip}/\tau}}{e^{s_{ip}/\tau} + \sum_{n \in N(i)} e^{s_{in}/\tau}} \]

    Args:
        projections: (clips, dim), any scale; normalised to unit length here.
        pair_ids: (clips,) integers; clips with the same id are a JND pair, that is, sound equally good.
        temperature: above 0.
        content_ids: (clips,) integers. When given, only clips of the same content (one speech, one noise) at another
            quality are negatives, so that nothing can be told apart by what is said; otherwise every clip outside the
            pair is a negative.

    Returns:
        Scalar loss in float32.

    Raises:
        ValueError: if a clip has no pair mate, or no negative.
    """
    unit = F.normalize(projections.float(), dim=-1)
    similarity = unit @ unit.T / temperature
    same_pair = pair_ids[:, None] == pair_ids[None, :]
    itself = torch.eye(len(pair_ids), dtype=torch.bool, device=pair_ids.device)
    positive = same_pair & ~itself
    negative = ~same_pair
    if content_ids is not None:
        negative = negative & (content_ids[:, None] == content_ids[None, :])
    if not bool(positive.any(dim=1).all()):
        raise ValueError("every clip needs a pair mate in the batch: give both members of a JND pair the same pair id")
    if not bool(negative.any(dim=1).all()):
        raise ValueError("every clip needs a negative in the batch: use at least two quality levels per content")
    negatives = similarity.masked_fill(~negative, float("-inf")).logsumexp(dim=1, keepdim=True)
    per_pair = torch.logaddexp(similarity, negatives) - similarity
    return ((per_pair * positive).sum(dim=1) / positive.sum(dim=1)).mean()


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


__all__ = ["mos_loss", "nt_xent"]
