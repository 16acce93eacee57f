"""Reading the results that `jsqa score` wrote, so that nothing is scored twice."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..audio_files import path_key
from ..score_engine import FileScore
from ..score_tables import read_rows

__all__ = ["Results", "read_results"]


class Results(NamedTuple):
    """Scores of files, with what else is known of them.

    Attributes:
        files: in any order; the path of each can be opened.
        metadata: by the path of a file, its text columns by their names. May lack files.
    """

    files: list[FileScore]
    metadata: dict[str, dict[str, str]]


def read_results(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Results:
    """Read a file of results, as `jsqa score --output` writes it.

    Args:
        path: a CSV file, or JSON lines or Parquet if its name ends in `.jsonl` or `.parquet`. Needed are the columns
            `file` and `mos`. Columns that come with an interval (`noi`, `noi_low`, `noi_high`) are further scores,
            `duration_s`, `error` and `curve` are what they are in `FileScore`, and all others are metadata. Of rows
            of one file with the same scores the first counts.
        root: folder that the names in the column `file` start from. Names that lead to no file there, but do from the
            current folder, are taken from there. None for the current folder.

    Returns:
        The results, with paths that start with `root`.

    Raises:
        ValueError: a column is missing, a file is there twice with other scores, or a number or a step of a curve
            can't be read; the message names the file, the line and the mend.
        OSError: the file can't be read.
    """
    name = os.fspath(path)
    files: list[FileScore] = []
    metadata: dict[str, dict[str, str]] = {}
    rows: dict[str, FileScore] = {}
    for place, row in _rows(name):
        file = _locate(_text(row["file"]), root)
        scores = _scores(row, place)
        error = _text(row.get("error")) or None
        if "mos" not in scores:
            scores, error = {}, error or "has no score in the file of results"
        duration_s = _number(row, "duration_s", place)
        curve = row.get("curve")
        steps = [_step(step, place) for step in curve] if isinstance(curve, list) else None
        result = FileScore(file, scores, duration_s, error, steps)
        first = rows.setdefault(path_key(file), result)
        if first is not result:
            if (first.scores, first.error) != (scores, error):
                raise ValueError(f"{place}: {file} is there twice, with other scores; keep one row for every file")
            continue
        files.append(result)
        known = {"file", "error", "duration_s", "curve", *_score_columns(row)}
        metadata[file] = {key: _text(value) for key, value in row.items() if key not in known}
    if not files:
        raise ValueError(f"{name}: holds no results; write them with jsqa score DIR --output {name}")
    return Results(files, metadata)


def _rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows that have what is needed, each with its place for messages."""
    suffix = os.path.splitext(name)[1].lower()
    format_name = suffix[1:] if suffix in (".jsonl", ".parquet") else "csv"
    for line, row in read_rows(name, format_name):
        place = f"{name}, line {line}"
        if not isinstance(row, dict):
            raise ValueError(f"{place}: must be an object with the keys 'file' and 'mos'")
        missing = [column for column in ("file", "mos") if column not in row]
        if missing:
            # None is csv's name for cells beyond the columns.
            columns = sorted(str(column) for column in row if column is not None)
            raise ValueError(
                f"{place}: the column {missing[0]!r} is missing among {columns}; jsqa score --output "
                "writes files with the columns that are needed, separated by commas"
            )
        if None in row:
            raise ValueError(f"{place}: has more cells than the first line has columns")
        if format_name == "csv" and None in row.values():
            raise ValueError(f"{place}: has fewer cells than the first line has columns; was it cut off? Remove it")
        yield place, row


def _score_columns(row: dict[str, Any]) -> list[str]:
    names = [name for name in row if name == "mos" or (f"{name}_low" in row and f"{name}_high" in row)]
    return [column for name in names for column in (name, f"{name}_low", f"{name}_high")]


def _scores(row: dict[str, Any], place: str) -> dict[str, float]:
    numbers = {column: _number(row, column, place) for column in _score_columns(row)}
    return {column: number for column, number in numbers.items() if number is not None}


def _number(row: dict[str, Any], column: str, place: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        mend = "write numbers with a decimal point"
        raise ValueError(f"{place}: {column} is {value!r}, not a number; {mend}") from error
    if not math.isfinite(number):
        raise ValueError(f"{place}: {column} is {value!r}; leave it empty where there is no score")
    return number


def _step(step: Any, place: str) -> dict[str, float | None]:
    """A step of a curve, with None for the scores that it lacks."""
    if isinstance(step, dict):
        keys = ("start_s", "end_s", "mos", "mos_low", "mos_high")
        numbers = {key: _number(step, key, f"{place}: curve") for key in keys}
        has_half_an_interval = (numbers["mos_low"] is None) != (numbers["mos_high"] is None)
        if "mos" in step and None not in (numbers["start_s"], numbers["end_s"]) and not has_half_an_interval:
            return {**step, **numbers}
    raise ValueError(
        f"{place}: curve must be a list of objects with start_s, end_s and mos, and with both or none of mos_low and "
        "mos_high; jsqa score --curve writes such"
    )


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def _locate(file: str, root: str | os.PathLike[str] | None) -> str:
    if root is None:
        return file
    below = str(Path(os.fspath(root), file))
    return file if not os.path.lexists(below) and os.path.lexists(file) else below
