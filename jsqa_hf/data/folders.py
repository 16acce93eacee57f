"""Former names of the loaders of folders and tables; `load_speech` and `load_noise` replace them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .loading import load_noise, load_speech


def load_speech_folder(path: str | Path, *, split: str | None = None) -> Any:
    """`load_speech` of a folder or a CSV file."""
    return load_speech("csv" if os.path.isfile(path) else "folder", path, split=split)


def load_noise_folder(path: str | Path, *, split: str | None = None) -> Any:
    """`load_noise` of a folder or a CSV file."""
    return load_noise("csv" if os.path.isfile(path) else "folder", path, split=split)
