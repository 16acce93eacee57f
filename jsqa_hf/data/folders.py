"""Former names of the loaders of folders and tables; `load_speech` and `load_noise` replace them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import datasets

from .corpus import existing_rows
from .files import table_rows
from .loading import load_noise, load_speech


def load_speech_folder(path: str | Path, *, split: str | None = None) -> datasets.Dataset:
    """`load_speech` of a folder or a CSV file."""
    return load_speech("csv" if os.path.isfile(path) else "folder", path, split=split)


def load_noise_folder(path: str | Path, *, split: str | None = None) -> datasets.Dataset:
    """`load_noise` of a folder or a CSV file."""
    return load_noise("csv" if os.path.isfile(path) else "folder", path, split=split)


def listed_files(path: Path, split: str | None, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a CSV file that lists audio files, all of which exist."""
    rows = table_rows(str(path), split=split, needed=tuple(needed))
    existing_rows([{"audio": str(path.parent / row["file"])} for row in rows], what=str(path), on_error="raise")
    return rows
