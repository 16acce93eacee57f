"""Clips with more votes count more."""

from __future__ import annotations

import datasets
import torch

from ..mos_losses import vote_weights


def with_vote_weights(rated: datasets.Dataset, votes_of_half_weight: float) -> datasets.Dataset:
    """Add the column `clip_weight`: how much each clip counts by its votes, 1 on average.

    On average over all clips, and not over those of a batch: what a clip counts depends neither on the clips beside it
    nor on the number of processes.

    Args:
        rated: clips to train on, perhaps with the column `n_votes`; where a number is not known, it counts as very
            many.
        votes_of_half_weight: number of votes at which a clip counts half as much as one with very many, see
            [`jsqa_hf.mos_losses.vote_weights`].

    Raises:
        ValueError: if `votes_of_half_weight` is below 0, or nobody has voted on any clip.
    """
    if not votes_of_half_weight >= 0:
        raise ValueError(f"votes_of_half_weight must not be below 0, got {votes_of_half_weight}")
    counts = rated["n_votes"][:] if "n_votes" in rated.column_names else [None] * len(rated)
    votes = torch.tensor([float("nan") if count is None else float(count) for count in counts])
    weights = vote_weights(votes, votes_of_half_weight)
    if not weights.any():
        raise ValueError("votes_of_half_weight: no clip to train on has a vote in the column n_votes")
    return rated.add_column("clip_weight", (weights / weights.mean()).tolist())
