"""Stored pairs, in memory-mapped tables or as a stream that is read while training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pyarrow.parquet
from transformers import TrainingArguments

# Ladders that the next one is drawn from at random. Our choice: as FLAC of 250 kbit/s, 64 ladders of four 30-second
# clips take 240 MB in every worker.
SHUFFLE_BUFFER = 64
_READ_ROWS = 16


def load_pairs(
    source: str, training_args: TrainingArguments, *, split: str = "train", streaming: bool = False
) -> datasets.Dataset | datasets.IterableDataset:
    """Load ladders of JND pairs that were stored.

    A stream never ends: one pass follows the other, so the run needs `max_steps`. Every process and every worker
    reads files of its own, so within a pass each ladder is drawn once. The order comes from the seed and the numbers
    of processes and workers. On resuming, a stream is read from its start again, up to where the run was.

    Args:
        source: a folder written by `generate_jnd_pairs.py`, or the id of such a dataset on the Hub.
        training_args: of the run: seed, number of processes, and of workers per process.
        split: the split, where the dataset has several.
        streaming: read while training, which needs neither a download nor space; for folders of Parquet files and for
            the Hub.

    Raises:
        ValueError: if these are no JND pairs, or a stream has no `max_steps`, is not in files that the workers can
            share evenly, or can't be streamed at all.
        FileNotFoundError: if there is no such folder or dataset.
    """
    if (Path(source) / "state.json").is_file() or (Path(source) / "dataset_dict.json").is_file():
        if streaming:
            raise ValueError(f"{source} can't be streamed: make the pairs with --format parquet")
        stored = datasets.load_from_disk(source)
        return _checked(stored[split] if isinstance(stored, datasets.DatasetDict) else stored, source)
    if streaming:
        return _stream(source, training_args, split)
    try:
        pairs = _checked(datasets.load_dataset(source, split=split), source)
    except datasets.exceptions.DatasetGenerationError as error:
        raise ValueError(f"{source} can't be read as a table of JND pairs: make one with `jsqa pairs`") from error
    encoded = isinstance(getattr(pairs.features["clips"], "feature", None), datasets.Audio)
    return pairs.cast_column("clips", datasets.List(datasets.Audio(decode=False))) if encoded else pairs


def _checked(pairs: datasets.Dataset, source: str) -> datasets.Dataset:
    if "clips" not in pairs.column_names:
        raise ValueError(f"{source} has no column `clips`, so no JND pairs: make them with `jsqa pairs`")
    return pairs


def _stream(source: str, training_args: TrainingArguments, split: str) -> datasets.IterableDataset:
    if training_args.max_steps <= 0:
        raise ValueError("a stream has no end: give --max_steps")
    builder = datasets.load_dataset_builder(source)
    files = list((builder.config.data_files or {}).get(split, []))
    if not files or not all(str(file).endswith(".parquet") for file in files):
        raise ValueError(f"{source} has no Parquet files of the split {split!r}, and others can't be streamed")
    workers = max(1, training_args.dataloader_num_workers)
    readers = training_args.world_size * workers
    if len(files) % readers:
        raise ValueError(
            f"{source} has {len(files)} file(s), which {training_args.world_size} process(es) of {workers} worker(s) "
            "each can't share evenly: change --dataloader_num_workers, or store the pairs in another number of files"
        )
    # `datasets` shares a list among processes and workers: each gets one group.
    groups = [[str(file) for file in files[reader::readers]] for reader in range(readers)]
    return datasets.IterableDataset.from_generator(_passes, gen_kwargs={"groups": groups, "seed": training_args.seed})


def _passes(groups: Sequence[Sequence[str]], seed: int) -> Iterator[dict[str, Any]]:
    """The rows of groups of files, again and again, each time in another order.

    `IterableDataset.repeat` would keep the order, and shuffling what it gives would mix the passes.
    """
    files = [file for group in groups for file in group]
    for number in itertools.count():
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(len(files))
        rows = _shuffled(_rows(files[index] for index in order), rng)
        first = next(rows, None)
        if first is None:
            raise ValueError(f"{files[0]} and {len(files) - 1} more files hold no pairs: make some with `jsqa pairs`")
        yield first
        yield from rows


def _rows(files: Iterable[str]) -> Iterator[dict[str, Any]]:
    for file in files:
        with fsspec.open(file, "rb") as opened:
            for batch in pyarrow.parquet.ParquetFile(opened).iter_batches(batch_size=_READ_ROWS):
                yield from batch.to_pylist()


def _shuffled(rows: Iterable[dict[str, Any]], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    waiting: list[dict[str, Any]] = []
    for row in rows:
        if len(waiting) < SHUFFLE_BUFFER:
            waiting.append(row)
            continue
        index = int(rng.integers(SHUFFLE_BUFFER))
        yield waiting[index]
        waiting[index] = row
    yield from (waiting[index] for index in rng.permutation(len(waiting)))
