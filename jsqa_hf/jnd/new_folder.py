"""A folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECORD_NAME = "jsqa_pairs.json"
# What `Dataset.save_to_disk` leaves, for datasets that were written before there were records.
_SAVED_DATASET = ("state.json", "dataset_info.json")
_UNFINISHED = ".{}.unfinished-"


def check_target(folder: Path, *, overwrite: bool) -> None:
    """See that a folder may be written.

    Raises:
        FileExistsError: If it is a file or holds something; with `overwrite`, only if that is no dataset of pairs.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a new folder")
    if not folder.is_dir() or not _contents(folder):
        return
    if not overwrite:
        raise FileExistsError(f"{folder} is not empty: name a new folder, or replace the dataset with --overwrite")
    if not (folder / RECORD_NAME).is_file() and not _holds_saved_pairs(folder):
        raise FileExistsError(f"{folder} holds something else than a dataset of pairs: remove it yourself")


def _contents(folder: Path) -> list[Path]:
    """What is in a folder, but for what a killed run left of itself."""
    return [path for path in folder.iterdir() if not path.name.startswith(_UNFINISHED.format(folder.name))]


def _holds_saved_pairs(folder: Path) -> bool:
    if not all((folder / name).is_file() for name in _SAVED_DATASET):
        return False
    try:
        return "clips" in json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))["features"]
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def new_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write into a temporary folder, which takes the final name at the end and is removed if anything fails.

    Args:
        folder: Final path. It is replaced only at the end, and only with `overwrite`.
        overwrite: See `check_target`.

    Yields:
        The temporary folder: beside the final one, or in it if that is there and empty, as a mounted one would be.

    Raises:
        FileExistsError: See `check_target`. If that comes about only while it is written into the temporary folder,
            this is left as it is.
        OSError: If the folder cannot be written.
    """
    check_target(folder, overwrite=overwrite)
    inside = folder.is_dir() and not _contents(folder)
    parent = folder if inside else folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED.format(folder.name), dir=parent))
        # As any folder that is made, and not for its owner alone, as temporary ones are.
        unfinished.chmod(0o777 & ~_umask())
    except OSError as error:
        raise type(error)(error.errno, f"cannot be written ({error.strerror})", str(folder)) from error
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    try:
        # What was empty must be so still: it holds the temporary folder, and can't be replaced by it.
        check_target(folder, overwrite=overwrite and not inside)
    except FileExistsError as error:
        raise FileExistsError(f"{error}. It came about meanwhile; what was made is in {unfinished}") from error
    if inside:
        for path in sorted(unfinished.iterdir()):
            path.rename(folder / path.name)
        unfinished.rmdir()
    else:
        _replace(folder, unfinished)


def _umask() -> int:
    # There is no way to read it but to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _replace(folder: Path, unfinished: Path) -> None:
    if not folder.exists():
        unfinished.rename(folder)
        return
    old = unfinished.with_name(unfinished.name.replace("unfinished", "replaced"))
    folder.rename(old)
    unfinished.rename(folder)
    shutil.rmtree(old)
