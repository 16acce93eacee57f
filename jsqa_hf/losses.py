"""The contrastive objective over JND pairs, exact over any number of processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from .configuration_jsqa import CLEARLY_DIFFERENT_JNDS

# The quantile of the normal distribution below which 75 % lie.
_OF_75_PERCENT = 0.6745

FalseNegatives = Literal["keep", "mask", "promote"]


@dataclass
class LadderLabels:
    """What is known of the clips of a batch of ladders.

    Attributes:
        pair_ids: (clips,) integers; clips with the same id are a JND pair, that is, sound equally good.
        content_ids: (clips,) integers; clips of the same speech and the same noise, room or codec have the same id.
        quality: (clips,) severities in JNDs, rising towards the better, which can be compared among clips of the same
            distortion.
        distortion_ids: (clips,) integers; which distortion the severity is one of.
    """

    pair_ids: Tensor
    content_ids: Tensor | None = None
    quality: Tensor | None = None
    distortion_ids: Tensor | None = None

    def gather(self) -> LadderLabels:
        """Those of all processes, in the order of their ranks, with ids that differ between processes."""
        # 64 bits, as the offsets need them whatever the ids came in.
        ranks = [torch.full_like(self.pair_ids, rank, dtype=torch.int64) for rank in range(world_size())]
        offsets = torch.cat(ranks) * 2**32
        pair_ids = gather_with_gradient(self.pair_ids) + offsets
        content_ids = None if self.content_ids is None else gather_with_gradient(self.content_ids) + offsets
        quality, distortion_ids = (
            None if values is None else gather_with_gradient(values) for values in (self.quality, self.distortion_ids)
        )
        return LadderLabels(pair_ids, content_ids, quality, distortion_ids)

    def part(self, start: int, length: int) -> LadderLabels:
        """Those of some consecutive clips."""
        values = (self.pair_ids, self.content_ids, self.quality, self.distortion_ids)
        return LadderLabels(*(None if one is None else one[start : start + length] for one in values))  # type: ignore[arg-type]


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


class _Gather(torch.autograd.Function):
    """Concatenate a tensor of every process; the gradient goes back to where each part came from."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.length = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # A copy, as others may hold the gradient that comes in.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[rank() * ctx.length : (rank() + 1) * ctx.length]


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Concatenate a tensor of every process along the first dimension.

    Each process then computes the loss of its own clips against all. As data parallelism takes the mean of the
    gradients over the processes, and the gradient that comes back here is the sum over them, the update is that of one
    process with the whole batch.

    Args:
        tensor: (batch, ...), of the same shape in every process.

    Returns:
        (processes * batch, ...), in the order of the ranks; the tensor itself where there is one process.
    """
    return tensor if world_size() == 1 else _Gather.apply(tensor)  # type: ignore[no-any-return]


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
    labels = LadderLabels(pair_ids, content_ids)
    return contrastive_loss(projections, labels, temperature, same_content_negatives=content_ids is not None)


def contrastive_loss(
    projections: Tensor,
    labels: LadderLabels,
    temperature: float | Tensor = 0.1,
    *,
    same_content_negatives: bool = False,
    false_negatives: FalseNegatives = "keep",
    ambiguous_jnds: float | None = None,
    supervised: bool = False,
) -> Tensor:
    r"""NT-Xent over JND pairs, with a choice of positives and negatives. The loss of this process's clips against all.

    The formula is that of [`nt_xent`]. `supervised` takes the one of Khosla et al. (Supervised Contrastive Learning,
    NeurIPS 2020, equation 2), in which the other positives of a clip stand in the denominator, too:

    \[ L = \operatorname*{mean}_i \operatorname*{mean}_{p \in P(i)}
       -\log \frac{e^{s_{ip}/\tau}}{\sum_{a \in P(i) \cup N(i)} e^{s_{ia}/\tau}} \]

    Args:
        projections: (clips, dim) of this process, any scale.
        labels: of this process's clips.
        temperature: above 0.
        same_content_negatives: only clips of the same content are negatives.
        false_negatives: what to do about clips of other content that sound as good (the same distortion, at most one
            JND apart): `"keep"` them as negatives, `"mask"` them out, or `"promote"` them to positives, which with
            `supervised` is supervised-contrastive learning over quality levels.
        ambiguous_jnds: clips of the same distortion that are more than one JND apart, and less than this, are neither
            positives nor negatives, as listeners do not agree on them; None keeps them as negatives.
        supervised: see above.

    Returns:
        Scalar loss in float32, the mean over the clips of this process.

    Raises:
        ValueError: if labels that are needed are missing, a clip has no pair mate, or no negative.
    """
    everything = labels.gather()
    start = rank() * len(projections)
    positive, negative = _positives_and_negatives(
        everything.part(start, len(projections)), everything, same_content_negatives, false_negatives, ambiguous_jnds
    )
    # No clip is its own positive.
    positive.diagonal(start).fill_(False)
    if not bool(positive.any(dim=1).all()):
        raise ValueError("every clip needs a pair mate in the batch: give both members of a JND pair the same pair id")
    if not bool(negative.any(dim=1).all()):
        raise ValueError("every clip needs a negative in the batch: use at least two quality levels per content")
    # Similarities over a low temperature need the precision.
    with torch.autocast(projections.device.type, enabled=False):
        unit = F.normalize(projections.float(), dim=-1)
        similarity = unit @ gather_with_gradient(unit).T / temperature
        if supervised:
            others = similarity.masked_fill(~(positive | negative), float("-inf")).logsumexp(dim=1, keepdim=True)
            per_pair = others - similarity
        else:
            others = similarity.masked_fill(~negative, float("-inf")).logsumexp(dim=1, keepdim=True)
            per_pair = torch.logaddexp(similarity, others) - similarity
        return ((per_pair * positive).sum(dim=1) / positive.sum(dim=1)).mean()


def _positives_and_negatives(
    own: LadderLabels,
    others: LadderLabels,
    same_content_negatives: bool,
    false_negatives: FalseNegatives,
    ambiguous_jnds: float | None,
) -> tuple[Tensor, Tensor]:
    """Which of the other clips are positives and which negatives of one's own, (own, others) bool each."""
    positive = _equal(own.pair_ids, others.pair_ids)
    negative = ~positive
    if not same_content_negatives and false_negatives == "keep" and ambiguous_jnds is None:
        return positive, negative
    if own.content_ids is None or others.content_ids is None:
        raise ValueError("content-matched and false negatives need `content_ids`")
    same_content = _equal(own.content_ids, others.content_ids)
    if false_negatives != "keep":
        equally_good = _same_distortion(own, others) & (_jnds_apart(own, others) <= 1) & ~same_content
        negative = negative & ~equally_good
        if false_negatives == "promote":
            positive = positive | equally_good
    if ambiguous_jnds is not None:
        apart = _jnds_apart(own, others)
        negative = negative & ~(_same_distortion(own, others) & (apart > 1) & (apart < ambiguous_jnds))
    if same_content_negatives:
        negative = negative & same_content
    return positive, negative


def jnd_margin_loss(
    projections: Tensor,
    labels: LadderLabels,
    jnd_distance: float | Tensor,
    clearly_different_jnds: float = CLEARLY_DIFFERENT_JNDS,
) -> Tensor:
    r"""Hinge on embedding distances in JND units, between clips of the same content.

    With distance \(d_{ij}\) of the unit vectors, the distance \(u\) of one JND, and severities \(q\) in JNDs:

    \[ L = \operatorname*{mean}_{|q_i - q_j| \le 1} \max(0, d_{ij}/u - 1)^2
         + \operatorname*{mean}_{|q_i - q_j| > 1} \max(0, \min(m, |q_i - q_j|) - d_{ij}/u)^2 \]

    so that what listeners cannot tell apart lies within one JND of the embedding, and what they clearly can lies
    beyond the just-meaningful difference \(m\), or as far as they are apart where that is less. Contrastive hinges go
    back to Hadsell, Chopra and LeCun (CVPR 2006).

    Args:
        projections: (clips, dim), any scale; normalised to unit length here.
        labels: with content, quality and distortion.
        jnd_distance: distance of one JND between unit vectors, which are at most 2 apart.
        clearly_different_jnds: \(m\).

    Returns:
        Scalar loss in float32, whose mean over the processes is the loss of all clips; 0 for a mean over nothing.

    Raises:
        ValueError: if labels are missing.
    """
    if labels.content_ids is None:
        raise ValueError("the JND margin needs `content_ids`")
    apart = _jnds_apart(labels, labels)
    related = _equal(labels.content_ids, labels.content_ids) & _same_distortion(labels, labels)
    related.fill_diagonal_(False)
    with torch.autocast(projections.device.type, enabled=False):
        unit = F.normalize(projections.float(), dim=-1)
        # From differences: products would leave four digits of a small distance. The gradient of equal clips is 0.
        jnds = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist") / jnd_distance
        attraction = (jnds - 1).clamp(min=0).square()
        repulsion = (apart.clamp(max=clearly_different_jnds) - jnds).clamp(min=0).square()
        return _masked_mean(attraction, related & (apart <= 1)) + _masked_mean(repulsion, related & (apart > 1))


def jnd_preference_loss(projections: Tensor, labels: LadderLabels, jnd_distance: float | Tensor) -> Tensor:
    r"""Which of two clips of the same content a listener prefers, told by the first coordinate of their projections.

    The contrastive terms know how far apart two clips are, but not which one is better. This is [`thurstone_loss`] of
    that coordinate, in units of the distance of one JND.

    Args:
        projections: (clips, dim), any scale; normalised to unit length here.
        labels: with content, quality and distortion.
        jnd_distance: distance of one JND between unit vectors, which are at most 2 apart.

    Returns:
        Scalar loss in float32, whose mean over the processes is the loss of all clips; 0 for a mean over nothing.

    Raises:
        ValueError: if labels are missing.
    """
    return thurstone_loss(F.normalize(projections.float(), dim=-1)[:, 0] / jnd_distance, labels)


def thurstone_loss(places: Tensor, labels: LadderLabels) -> Tensor:
    r"""Which of two clips of the same content a listener prefers, told by a place for each on one scale.

    In Thurstone's model of comparisons (A Law of Comparative Judgment, Psychological Review 34, 1927) the share of
    listeners that prefer clip \(i\) is the normal distribution function of the difference of qualities \(q\), and one
    JND is the difference that 75 % name rightly, so that \(p_{ij} = \Phi(0.674\,(q_i - q_j))\). The places \(z\) have
    to predict it by the same function:

    \[ L = -\operatorname*{mean}_{i \ne j} \left[ p_{ij} \log \Phi(0.674\,(z_i - z_j))
         + (1 - p_{ij}) \log \Phi(0.674\,(z_j - z_i)) \right] \]

    Args:
        places: (clips,) in JNDs, rising towards the better.
        labels: with content, quality and distortion. Only clips of one content and distortion are compared.

    Returns:
        Scalar loss in float32, whose mean over the processes is the loss of all clips; 0 for a mean over nothing.

    Raises:
        ValueError: if labels are missing.
    """
    if labels.content_ids is None or labels.quality is None:
        raise ValueError("preferences need `content_ids` and `quality`")
    related = _equal(labels.content_ids, labels.content_ids) & _same_distortion(labels, labels)
    related.fill_diagonal_(False)
    with torch.autocast(places.device.type, enabled=False):
        places, quality = places.float(), labels.quality.float()
        preferred = torch.special.ndtr(_OF_75_PERCENT * (quality[:, None] - quality[None, :]))
        predicted = _OF_75_PERCENT * (places[:, None] - places[None, :])
        likelihood = preferred * torch.special.log_ndtr(predicted) + (1 - preferred) * torch.special.log_ndtr(
            -predicted
        )
        return _masked_mean(-likelihood, related)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over what the mask holds in all processes, as far as this process has part in it."""
    count = mask.sum().to(values.dtype)
    if world_size() > 1:
        distributed.all_reduce(count)
        count = count / world_size()
    return (values * mask).sum() / count.clamp(min=1 / world_size())


def _equal(ids: Tensor, others: Tensor) -> Tensor:
    return ids[:, None] == others[None, :]


def _jnds_apart(own: LadderLabels, others: LadderLabels) -> Tensor:
    if own.quality is None or others.quality is None:
        raise ValueError("this objective needs `quality`, the severity of each clip in JNDs")
    return (own.quality[:, None] - others.quality[None, :]).abs()


def _same_distortion(own: LadderLabels, others: LadderLabels) -> Tensor:
    if own.distortion_ids is None or others.distortion_ids is None:
        raise ValueError("this objective needs `distortion_ids`, as only severities of one distortion compare")
    return _equal(own.distortion_ids, others.distortion_ids)


__all__ = [
    "CLEARLY_DIFFERENT_JNDS",
    "LadderLabels",
    "contrastive_loss",
    "gather_with_gradient",
    "jnd_margin_loss",
    "jnd_preference_loss",
    "nt_xent",
    "thurstone_loss",
]
