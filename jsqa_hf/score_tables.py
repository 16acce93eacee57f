"""Files of results as whole tables: reading them back, mending how they ended, and writing them in one go."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from .score_engine import FileScore
from .score_formats import make_writer, number_columns, record

__all__ = ["drop_cut_row", "file_key", "read_rows", "read_scores", "write_scores"]

# Our choice: rows of a group in a Parquet file, which are in memory together.
_GROUP_ROWS = 10_000


def file_key(file: str, format_name: str) -> str:
    """The name of a file as it stands in a file of results; Parquet holds only text, so other bytes are escaped."""
    if format_name != "parquet":
        return file
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def read_scores(path: str | os.PathLike[str], format_name: str) -> Iterator[FileScore]:
    """Read results, row by row.

    Args:
        path: what `jsqa score` wrote.
        format_name: `"csv"`, `"jsonl"` or `"parquet"`.

    Raises:
        ValueError: a row can't be read; the message names the file and the row.
        OSError: the file can't be read.
    """
    read = 0
    try:
        for _, row in read_rows(path, format_name):
            if format_name == "csv" and None in (*row, *row.values()):
                raise ValueError("has more or fewer cells than there are columns")
            yield _file_score(row)
            read += 1
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: row {read + 1} is damaged; mend or remove it") from error


def read_rows(path: str | os.PathLike[str], format_name: str) -> Iterator[tuple[int, dict[Any, Any]]]:
    """Read the rows of a file of results as they stand there, whoever wrote it.

    Args:
        path: of the file; a byte order mark, which spreadsheets put in front, is skipped.
        format_name: `"csv"`, `"jsonl"` or `"parquet"`.

    Yields:
        The number of the line on which a row ends (in Parquet that of the row) and its cells by column. In CSV cells
        are text; missing ones are None, and those that are too many a list with the key None, as `csv.DictReader` has
        it. What JSON lines hold need not be a dict.

    Raises:
        ValueError: a line is neither CSV nor JSON, or the file not Parquet; the message names the file and the line.
        OSError: the file can't be read.
    """
    if format_name == "parquet":
        yield from enumerate(_parquet_rows(path), start=1)
        return
    with open(path, "rb") as stream:
        decoded = (line.decode("utf-8", "surrogateescape") for line in stream)
        texts = chain([next(decoded, "").removeprefix("\ufeff")], decoded)
        if format_name == "csv":
            reader = csv.DictReader(texts)
            try:
                for row in reader:
                    yield reader.line_num, row
            except csv.Error as error:
                raise ValueError(f"{os.fspath(path)}, line {reader.line_num}: is not CSV ({error})") from error
            return
        for number, text in enumerate(texts, start=1):
            if text.strip():
                yield number, _parsed(text, f"{os.fspath(path)}, line {number}")


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place}: is not JSON ({error}); a name that ends in .jsonl promises JSON lines") from error


def drop_cut_row(path: str | os.PathLike[str], format_name: str) -> None:
    """Take a last row without an end, which a kill or a full disk cut off, from a file of `"csv"` or `"jsonl"`.

    Raises:
        OSError: the file can't be read or written.
    """
    size = read = quotes = 0
    with open(path, "rb") as stream:
        for line in stream:
            read += len(line)
            quotes += line.count(b'"')
            # In CSV, a name in quotes can go over several lines.
            if line.endswith(b"\n") and (format_name == "jsonl" or quotes % 2 == 0):
                size = read
    os.truncate(path, size)


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


def _file_score(row: dict[str, Any]) -> FileScore:
    known = {name: value for name, value in row.items() if name not in ("file", "error", "curve")}
    numbers = {name: float(value) for name, value in known.items() if value not in (None, "")}
    duration_s = numbers.pop("duration_s", None)
    return FileScore(row["file"], numbers, duration_s, row["error"] or None, row.get("curve"))


def _parquet_rows(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for group in table.iter_batches(_GROUP_ROWS):
                yield from group.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{os.fspath(path)}: is not Parquet ({error})") from error


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
