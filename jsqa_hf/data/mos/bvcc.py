"""BVCC, the main track of the VoiceMOS Challenge 2022 (Cooper and Yamagishi, SSW 2021; Zenodo record 6572573)."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..corpus import corpus_root
from ..ratings import Row, rows_per_clip

# Split: list of single votes, list of means. The challenge says DEVSET and val for the same clips.
_LISTS = {
    "train": ("TRAINSET", "train_mos_list.txt"),
    "dev": ("DEVSET", "val_mos_list.txt"),
    "test": ("TESTSET", "test_mos_list.txt"),
}
_LISTENER = re.compile(r"\{\}_[^_]*_(?P<listener>.+)_[^_]*_[^_]*_[^_]*_[^_]*")


def read_bvcc(root: Path) -> list[Row]:
    """Read synthesized and converted speech with its votes.

    `DATA/sets/TRAINSET`, `DEVSET` and `TESTSET` have no header and one line per vote: system, file, score, a column to
    ignore, and `{}_AGE_LISTENER_GENDER_..._..._HEARING`. Where such a list is missing, the means of
    `DATA/sets/{train,val,test}_mos_list.txt` are taken. The clips of the Blizzard Challenges may not be passed on; the
    scripts of the archive bring them into `DATA/wav`. The out-of-domain track has the same layout.

    Args:
        root: `DATA`, or the folder above it.

    Returns:
        Rows with `system`, `votes`, `listener` and `split` (`train`, `dev`, `test`).

    Raises:
        FileNotFoundError: If no list is there.
        ValueError: If a line of a list is not of its form.
    """
    expected = tuple(f"sets/{name}" for lists in _LISTS.values() for name in lists)
    base = corpus_root(root, expected=expected, what="BVCC (DATA)")
    rows: list[Row] = []
    for split, (votes, means) in _LISTS.items():
        if (base / "sets" / votes).is_file():
            rows += [{**row, "split": split} for row in _clips(base, base / "sets" / votes)]
        elif (base / "sets" / means).is_file():
            lines = _lines(base / "sets" / means, 2, "file,score")
            rows += [{**_clip(base, file), "mos": mos, "split": split} for file, mos, *_ in lines]
    return rows


def _clips(base: Path, path: Path) -> list[Row]:
    lines = _lines(path, 5, "system,file,score,_,listener")
    rows = (
        {**_clip(base, file), "system": system, "vote": score, "listener": _listener(about)}
        for system, file, score, _, about, *_ in lines
    )
    return rows_per_clip(rows, str(path))


def _clip(base: Path, file: str) -> Row:
    # Names are `<system>-<utterance>.wav`.
    return {"audio": str(base / "wav" / file), "file": file, "system": file.split("-")[0]}


def _listener(about: str) -> str:
    found = _LISTENER.fullmatch(about)
    return found["listener"] if found else about


def _lines(path: Path, cells: int, form: str) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    for number, line in enumerate(lines, start=1):
        if len(line) < cells:
            raise ValueError(f"{path}: line {number} is {','.join(line)!r}, but lines have the form {form}")
    return lines
