"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECORD_NAME = "jsqa_pairs.json"
# What `Dataset.save_to_disk` leaves, for datasets that were written before there were records.
_SAVED_DATASET = ("state.json", "dataset_info.json")


def check_target(folder: Path, *, overwrite: bool) -> None:
    """See that a folder may be written.

    Raises:
        FileExistsError: If it is a file or holds something; with `overwrite`, only if that is no dataset of pairs.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a new folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{folder} is not empty: name a new folder, or replace the dataset with --overwrite")
    if not (folder / RECORD_NAME).is_file() and not all((folder / name).is_file() for name in _SAVED_DATASET):
        raise FileExistsError(f"{folder} holds something else than a dataset of pairs: remove it yourself")


@contextmanager
def new_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write into a temporary folder, which takes the final name at the end and is removed if anything fails.

    Args:
        folder: Final path. It is replaced only at the end, and only with `overwrite`.
        overwrite: See `check_target`.

    Yields:
        The temporary folder: beside the final one, or in it if that is there and empty, as a mounted one would be.

    Raises:
        FileExistsError: See `check_target`.
        OSError: If the folder cannot be written.
    """
    check_target(folder, overwrite=overwrite)
    inside = folder.is_dir() and not any(folder.iterdir())
    unfinished = (folder if inside else folder.parent) / f".{folder.name}.unfinished-{os.getpid()}"
    try:
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise type(error)(error.errno, f"cannot be written ({error.strerror})", str(folder)) from error
    try:
        yield unfinished
        if inside:
            for path in sorted(unfinished.iterdir()):
                path.rename(folder / path.name)
            unfinished.rmdir()
        else:
            _replace(folder, unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _replace(folder: Path, unfinished: Path) -> None:
    if not folder.exists():
        unfinished.rename(folder)
        return
    old = unfinished.with_name(f".{folder.name}.replaced-{os.getpid()}")
    folder.rename(old)
    unfinished.rename(folder)
    shutil.rmtree(old)
