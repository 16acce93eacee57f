"""Miniature corpora: names and tables as in the originals, without sound."""

from __future__ import annotations

from pathlib import Path


def touch(folder: Path, *names: str) -> None:
    """Empty files, for loaders that look at names alone."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """A table or a transcript."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path
