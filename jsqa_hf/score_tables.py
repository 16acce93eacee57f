"""Files of results as whole tables: reading them back, however they ended, and writing them in one go."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .score_engine import FileScore
from .score_formats import make_writer, number_columns, record

__all__ = ["file_key", "read_scores", "whole_size", "write_scores"]

# Our choice: rows of a group in a Parquet file, which are in memory together.
_GROUP_ROWS = 10_000


def file_key(file: str, format_name: str) -> str:
    """The name of a file as it stands in a file of results; Parquet holds only text, so other bytes are escaped."""
    if format_name != "parquet":
        return file
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def read_scores(path: str | os.PathLike[str], format_name: str) -> Iterator[FileScore]:
    """Read results, row by row. A last row that was cut off, by a kill or a full disk, is left out.

    Args:
        path: what `jsqa score` wrote.
        format_name: `"csv"`, `"jsonl"` or `"parquet"`.

    Raises:
        ValueError: a row can't be read; the message names the file and the row.
        OSError: the file can't be read.
    """
    rows = _parquet_rows(path) if format_name == "parquet" else _text_rows(path, format_name)
    read = 0
    try:
        for row in rows:
            yield _file_score(row)
            read += 1
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: row {read + 1} is damaged; mend or remove it") from error


def whole_size(path: str | os.PathLike[str], format_name: str) -> int:
    """Size in bytes of the rows of a file of `"csv"` or `"jsonl"` that are whole."""
    return sum(map(len, _whole_rows(path, format_name)))


def write_scores(
    path: str | os.PathLike[str], format_name: str, results: Iterable[FileScore], names: Sequence[str], curve: bool
) -> None:
    """Write results as a file that is there as a whole or not at all.

    Args:
        path: replaced if it exists.
        format_name: `"csv"`, `"jsonl"` or `"parquet"`.
        results: any number; a group of them is in memory.
        names: of the model's outputs.
        curve: whether there is a column `curve`.
    """
    draft = Path(f"{os.fspath(path)}.tmp")
    if format_name == "parquet":
        _write_parquet(draft, results, names, curve)
    else:
        with open(draft, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            write = make_writer(format_name, stream, names, curve=curve)
            for result in results:
                write(result)
    os.replace(draft, path)


def _whole_rows(path: str | os.PathLike[str], format_name: str) -> Iterator[bytes]:
    """Lines up to the last that ends. In CSV, a name in quotes can go over several."""
    with open(path, "rb") as stream:
        row = b""
        for line in stream:
            row += line
            if row.endswith(b"\n") and (format_name == "jsonl" or row.count(b'"') % 2 == 0):
                yield row
                row = b""


def _text_rows(path: str | os.PathLike[str], format_name: str) -> Iterator[dict[str, Any]]:
    rows = _whole_rows(path, format_name)
    if format_name == "jsonl":
        for row in rows:
            yield json.loads(row)
        return
    header = _cells(next(rows, b""))
    for row in rows:
        yield dict(zip(header, _cells(row), strict=True))


def _cells(row: bytes) -> list[str]:
    return next(csv.reader(io.StringIO(row.decode("utf-8", "surrogateescape"), newline="")), [])


def _file_score(row: dict[str, Any]) -> FileScore:
    known = {name: value for name, value in row.items() if name not in ("file", "error", "curve")}
    numbers = {name: float(value) for name, value in known.items() if value not in (None, "")}
    duration_s = numbers.pop("duration_s", None)
    return FileScore(row["file"], numbers, duration_s, row["error"] or None, row.get("curve"))


def _parquet_rows(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as table:
        for group in table.iter_batches(_GROUP_ROWS):
            yield from group.to_pylist()


def _write_parquet(path: Path, results: Iterable[FileScore], names: Sequence[str], curve: bool) -> None:
    import pyarrow
    import pyarrow.parquet

    numbers = [(name, pyarrow.float64()) for name in number_columns(names)]
    step = [(name, pyarrow.float64()) for name in ("start_s", "end_s", *number_columns(names), "speech_s")]
    step = [(name, kind) for name, kind in step if name != "duration_s"]
    curves = [("curve", pyarrow.list_(pyarrow.struct(step)))] if curve else []
    schema = pyarrow.schema([("file", pyarrow.string()), *numbers, *curves, ("error", pyarrow.string())])
    rows = ({**record(r, names, curve), "file": file_key(r.file, "parquet")} for r in results)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for first in rows:
            group = [first, *islice(rows, _GROUP_ROWS - 1)]
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
