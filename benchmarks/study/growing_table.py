"""CSV files whose rows take long to make: what is written stays, and a second start adds what is missing."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsqa_hf.score_tables import read_rows as rows_of_file

Write = Callable[[Iterable[Mapping[str, Any]]], None]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, none if there is no such file. A last line that a break cut off is left out."""
    if not path.exists() or path.stat().st_size == 0:
        return []
    rows = [row for _, row in rows_of_file(path, "csv")]
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        is_whole = file.read() == b"\n"
    return rows if is_whole else rows[:-1]


@contextmanager
def growing_table(path: Path, columns: Sequence[str], kept: Iterable[Mapping[str, Any]] = ()) -> Iterator[Write]:
    """A table to add rows to, each on disk as soon as it is written.

    Args:
        path: of the CSV file; replaced at once, so that a break loses nothing.
        columns: other values of a row are left out.
        kept: rows to begin with.

    Yields:
        A function that adds rows.
    """
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")

        def write(rows: Iterable[Mapping[str, Any]]) -> None:
            writer.writerows(rows)
            file.flush()

        writer.writeheader()
        write(kept)
        partial.replace(path)
        yield write
