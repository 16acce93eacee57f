"""Clips of similar length in the same batch, which saves padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..jnd.excerpts import Recording

# Our choice: more would save more padding, but put the same clips together in every epoch.
_SORTED_STEPS = 4


class BatchesByLength(Sampler[int]):
    """Draws all clips once in random order, but so that those of one step have similar lengths.

    Unlike the sampler that `Trainer` has for this, the order depends on seed and epoch alone, so that it is the same
    for all processes and after a break; and steps of long and short clips alternate at random.

    Args:
        lengths: of all clips, in any unit.
        step_size: number of clips of an optimiser step, over all processes.
        seed: of the order.

    Attributes:
        epoch: counted from 0; whoever iterates sets it.
    """

    def __init__(self, lengths: Sequence[int], step_size: int, seed: int = 0) -> None:
        self.lengths = list(lengths)
        self.step_size = step_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        # Sorted within groups of so many steps: as transformers has it, but in small datasets that is one step alone.
        steps = min(max(len(self.lengths) // (4 * self.step_size), _SORTED_STEPS), 50)
        order = get_length_grouped_indices(self.lengths, self.step_size, steps, generator=generator)
        whole = len(order) // self.step_size * self.step_size
        for step in torch.randperm(whole // self.step_size, generator=generator).tolist():
            yield from order[step * self.step_size : (step + 1) * self.step_size]
        # Anywhere but at the end, a step that is not full would shift the limits of the others.
        yield from order[whole:]


def with_lengths(dataset: datasets.Dataset, max_duration_s: float | None) -> datasets.Dataset:
    """Add the column `length`, in tenths of a second, by which `group_by_length` sorts clips into batches.

    Taken from the column `duration_s` where there is one. Otherwise most formats tell their length in the header;
    others are decoded once.

    Args:
        dataset: with the column `audio`, and perhaps `duration_s`, in seconds.
        max_duration_s: to which longer clips are cut; None if they are not.

    Raises:
        ValueError: if a clip cannot be read; the message names it.
    """
    known = dataset["duration_s"][:] if "duration_s" in dataset.column_names else [None] * len(dataset)
    durations = [_duration_s(audio) if s is None else s for audio, s in zip(dataset["audio"], known, strict=True)]
    longest = float("inf") if max_duration_s is None else max_duration_s
    return dataset.add_column("length", [round(10 * min(duration, longest)) for duration in durations])


def padding_waste(lengths: Sequence[float], batch_size: int) -> float:
    """Share of padding in batches of consecutive clips.

    Args:
        lengths: of the clips, in the order in which they are drawn.
        batch_size: number of clips in a batch.
    """
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    return 1 - sum(lengths) / sum(max(batch) * len(batch) for batch in batches)


def _duration_s(audio: Mapping[str, Any]) -> float:
    with Recording(audio) as recording:
        return recording.length / recording.sampling_rate
