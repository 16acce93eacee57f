"""How the results of `jsqa score` are written and read: a table for the eye, CSV, JSON lines and Parquet for programs.

Rows of text are flushed one by one, so that an interrupted run keeps all that was finished.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from .score_engine import FileScore

__all__ = ["FILE_FORMATS", "FORMATS", "csv_row", "make_writer", "number_columns", "printable", "record"]

# Also the suffixes by which files of results are known.
FILE_FORMATS = ("csv", "jsonl", "parquet")
FORMATS = ("table", *FILE_FORMATS)


def make_writer(
    format_name: str, stream: TextIO, output_names: Sequence[str], *, curve: bool = False, header: bool = True
) -> Callable[[FileScore], None]:
    """Start a file of results: write what comes before the first row.

    - `csv`: the columns `file`, `mos`, `mos_low`, `mos_high`, `duration_s`, the same three for each further output of
      the model, and `error`; numbers with 4 decimals, empty where there is none.
    - `jsonl`: one object per line with the keys of those columns, null where there is no value. ASCII only; bytes of
      a file name that aren't UTF-8 are lone surrogates, as `os.fsencode` takes them.
    - `table`: numbers with 3 decimals in columns, `-` where there is none, and the file last.

    Args:
        format_name: `"table"`, `"csv"` or `"jsonl"`.
        stream: where to write, opened with `newline=""`.
        output_names: names of the model's outputs, among them `"mos"`.
        curve: whether objects have the key `curve`; of no effect in a table and in CSV.
        header: whether to write what comes before the first row; False to go on with a file.

    Returns:
        A function that writes one result and flushes.
    """
    further = [name for name in output_names if name != "mos"]
    if format_name == "jsonl":
        return lambda result: _write_line(stream, json.dumps(record(result, output_names, curve)))
    if format_name == "csv":
        return _csv_writer(stream, output_names, header)
    names = ["mos", "mos_low", "mos_high", "duration_s", *further]
    if header:
        _write_line(stream, " ".join(f"{name:>10}" for name in names) + "  file")
    return lambda result: _write_line(stream, _table_row(result, names))


def printable(text: str) -> str:
    """Text with what a terminal would act on (line breaks, escape sequences) or can't show as `\\` escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _write_line(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def number_columns(output_names: Sequence[str]) -> list[str]:
    """Names of the columns with numbers, for the names of a model's outputs."""
    further = [name for name in output_names if name != "mos"]
    triples = [[name, f"{name}_low", f"{name}_high"] for name in ("mos", *further)]
    return [*triples[0], "duration_s", *(name for triple in triples[1:] for name in triple)]


def record(result: FileScore, output_names: Sequence[str], curve: bool = False) -> dict[str, Any]:
    """A result as an object for JSON, with 4 decimals.

    Args:
        result: of any file.
        output_names: names of the model's outputs.
        curve: whether to add the key `curve`.
    """
    numbers = {name: round(value, 4) for name, value in _numbers(result).items()}
    row = {"file": result.file, **{name: numbers.get(name) for name in number_columns(output_names)}}
    steps = {"curve": None if result.curve is None else [_rounded(step) for step in result.curve]} if curve else {}
    return {**row, **steps, "error": result.error}


def _rounded(step: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in step.items()}


def _numbers(result: FileScore) -> dict[str, float]:
    duration = {} if result.duration_s is None else {"duration_s": result.duration_s}
    return {**result.scores, **duration}


def _csv_writer(stream: TextIO, output_names: Sequence[str], header: bool) -> Callable[[FileScore], None]:
    columns = number_columns(output_names)

    def write(result: FileScore) -> None:
        numbers = {name: f"{value:.4f}" for name, value in _numbers(result).items()}
        _write_line(stream, csv_row([result.file, *(numbers.get(name, "") for name in columns), result.error or ""]))

    if header:
        _write_line(stream, csv_row(["file", *columns, "error"]))
    return write


def csv_row(cells: Sequence[str]) -> str:
    """A row of CSV, without the end of the line."""
    # Python's writer quotes a carriage return in a file name only if the line ends with one.
    row = io.StringIO(newline="")
    csv.writer(row, lineterminator="\r\n").writerow(cells)
    return row.getvalue().removesuffix("\r\n")


def _table_row(result: FileScore, names: Sequence[str]) -> str:
    numbers = _numbers(result)
    cells = [f"{numbers[name]:.3f}" if name in numbers else "-" for name in names]
    aligned = [f"{cell:>{max(10, len(name))}}" for cell, name in zip(cells, names, strict=True)]
    return " ".join(aligned) + f"  {printable(result.file)}"
