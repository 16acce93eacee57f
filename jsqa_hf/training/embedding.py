"""Projections and embeddings of the clips of ladders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Subset

from .collators import ContrastiveCollator
from .signals import SteadyWorkers

# Our choice: what is done with the clips takes the square of their number.
MAX_LADDERS = 256


def embed_ladders(
    model: nn.Module, ladders: Any, collator: ContrastiveCollator, *, batch_size: int = 8, workers: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[dict[str, Any]]]:
    """Project and embed the clips of ladders, each process its share.

    The random state of the training does not change.

    Args:
        model: a [`JSQAForContrastivePretraining`].
        ladders: dataset with a length; the first 256 are used.
        collator: makes batches of them.
        batch_size: ladders at once.
        workers: processes that load them.

    Returns:
        Projections (clips, dim), embeddings (clips, dim), and the rows without their clips; the same in all processes.
    """
    state = PartialState()
    count = min(len(ladders), MAX_LADDERS)
    # As many batches in every process, because a sharded model is gathered for each.
    share = -(-count // state.num_processes)
    index = [(state.process_index + state.num_processes * number) % count for number in range(share)]

    def collate(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return collator(rows), [{name: row[name] for name in row if name != "clips"} for row in rows]

    loader = DataLoader(
        Subset(ladders, index),
        batch_size=batch_size,
        collate_fn=SteadyWorkers(collate),
        num_workers=workers,
        generator=torch.Generator(),
    )
    device = next(model.parameters()).device
    parts: list[tuple[int, Any, Any, Any]] = []
    with _evaluating(model):
        for batch, rows in loader:
            inputs = {name: batch[name].to(device) for name in ("input_values", "attention_mask") if name in batch}
            outputs = model(**inputs, return_loss=False, return_dict=True)
            counts = np.cumsum([len(row["severity_jnd"]) for row in rows])[:-1]
            values = [
                np.split(vectors.float().cpu().numpy(), counts)
                for vectors in (outputs.projections, outputs.embeddings)
            ]
            parts += zip(index[len(parts) :], *values, rows, strict=False)
    everything = {part[0]: part[1:] for part in (gather_object(parts) if state.num_processes > 1 else parts)}
    projections, embeddings, rows = zip(*(everything[number] for number in range(count)), strict=True)
    return np.concatenate(projections), np.concatenate(embeddings), list(rows)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
