"""Stored pairs, in memory-mapped tables or as a stream that is read while training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import TrainingArguments

# Rows that are drawn from at random: those of a few minutes of training. Our choice.
SHUFFLE_BUFFER = 256


def load_pairs(
    source: str, training_args: TrainingArguments, *, split: str = "train", streaming: bool = False
) -> datasets.Dataset | datasets.IterableDataset:
    """Load ladders of JND pairs that were stored.

    A stream never ends: one pass follows the other. Every process and every worker reads shards of its own, so within
    a pass each ladder is drawn once. The order comes from the seed and the numbers of processes and workers. On
    resuming, a stream is read from its start again, up to where the run was.

    Args:
        source: a folder written by `generate_jnd_pairs.py`, or the id of such a dataset on the Hub.
        training_args: of the run: seed, number of processes, and of workers per process.
        split: the split, where the dataset has several.
        streaming: read while training, which needs neither a download nor space; for folders of Parquet files and for
            the Hub.

    Raises:
        ValueError: if a stream is not in shards that the workers can share evenly, or a folder can't be streamed.
        FileNotFoundError: if there is no such folder or dataset.
    """
    if (Path(source) / "state.json").is_file() or (Path(source) / "dataset_dict.json").is_file():
        if streaming:
            raise ValueError(f"{source} can't be streamed: make the pairs with --format parquet")
        stored = datasets.load_from_disk(source)
        return stored[split] if isinstance(stored, datasets.DatasetDict) else stored
    pairs = datasets.load_dataset(source, split=split, streaming=streaming)
    pairs = pairs.cast_column("clips", datasets.List(datasets.Audio(decode=False)))
    if not streaming:
        return pairs
    readers = training_args.world_size * max(1, training_args.dataloader_num_workers)
    if pairs.num_shards % readers:
        raise ValueError(
            f"{source} has {pairs.num_shards} shard(s), which {training_args.world_size} process(es) with "
            f"{training_args.dataloader_num_workers} worker(s) each can't share evenly: take a number of workers, or "
            "of files, that fits"
        )
    # `datasets` shares a list among processes and workers: each gets one group.
    groups = [list(range(reader, pairs.num_shards, readers)) for reader in range(readers)]
    return datasets.IterableDataset.from_generator(
        _passes, gen_kwargs={"groups": groups, "pairs": pairs, "seed": training_args.seed}
    )


def _passes(groups: Sequence[Sequence[int]], pairs: datasets.IterableDataset, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of a group of shards, again and again, each time in another order.

    `IterableDataset.repeat` would keep the order, and shuffling what it gives would mix the passes.
    """
    (shards,) = groups
    parts = [pairs.shard(pairs.num_shards, index) for index in shards]
    for number in itertools.count():
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(len(parts))
        rows = datasets.concatenate_datasets([parts[index] for index in order])
        yield from rows.shuffle(generator=rng, buffer_size=SHUFFLE_BUFFER)
