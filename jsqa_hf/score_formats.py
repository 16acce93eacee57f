"""How the results of `jsqa score` are written: a table for the eye, CSV and JSON lines for programs.

Rows are flushed one by one, so that an interrupted run keeps all that was finished.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from .scoring import FileScore

__all__ = ["FORMATS", "make_writer", "printable"]

FORMATS = ("table", "csv", "jsonl")


def make_writer(format_name: str, stream: TextIO, output_names: Sequence[str]) -> Callable[[FileScore], None]:
    """Start a file of results: write what comes before the first row.

    - `csv`: the columns `file`, `mos`, `mos_low`, `mos_high`, `duration_s`, the same three for each further output of
      the model, and `error`; numbers with 4 decimals, empty where there is none.
    - `jsonl`: one object per line with the keys of those columns, null where there is no value. ASCII only; bytes of
      a file name that aren't UTF-8 are lone surrogates, as `os.fsencode` takes them.
    - `table`: numbers with 3 decimals in columns, `-` where there is none, and the file last.

    Args:
        format_name: one of `FORMATS`.
        stream: where to write, opened with `newline=""`.
        output_names: names of the model's outputs, among them `"mos"`.

    Returns:
        A function that writes one result and flushes.
    """
    further = [name for name in output_names if name != "mos"]
    if format_name == "jsonl":
        return lambda result: _write_line(stream, json.dumps(_record(result, further)))
    if format_name == "csv":
        return _csv_writer(stream, further)
    names = ["mos", "mos_low", "mos_high", "duration_s", *further]
    _write_line(stream, " ".join(f"{name:>10}" for name in names) + "  file")
    return lambda result: _write_line(stream, _table_row(result, names))


def printable(text: str) -> str:
    """Text with what a terminal would act on (line breaks, escape sequences) or can't show as `\\` escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _write_line(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def _columns(further: Sequence[str]) -> list[str]:
    """Names of the columns with numbers."""
    triples = [[name, f"{name}_low", f"{name}_high"] for name in ("mos", *further)]
    return [*triples[0], "duration_s", *(name for triple in triples[1:] for name in triple)]


def _numbers(result: FileScore) -> dict[str, float]:
    duration = {} if result.duration_s is None else {"duration_s": result.duration_s}
    return {**result.scores, **duration}


def _record(result: FileScore, further: Sequence[str]) -> dict[str, str | float | None]:
    numbers = {name: round(value, 4) for name, value in _numbers(result).items()}
    return {"file": result.file, **{name: numbers.get(name) for name in _columns(further)}, "error": result.error}


def _csv_writer(stream: TextIO, further: Sequence[str]) -> Callable[[FileScore], None]:
    columns = _columns(further)

    def write(result: FileScore) -> None:
        numbers = {name: f"{value:.4f}" for name, value in _numbers(result).items()}
        _write_line(stream, _csv_row([result.file, *(numbers.get(name, "") for name in columns), result.error or ""]))

    _write_line(stream, _csv_row(["file", *columns, "error"]))
    return write


def _csv_row(cells: Sequence[str]) -> str:
    # Python's writer quotes a carriage return in a file name only if the line ends with one.
    row = io.StringIO(newline="")
    csv.writer(row, lineterminator="\r\n").writerow(cells)
    return row.getvalue().removesuffix("\r\n")


def _table_row(result: FileScore, names: Sequence[str]) -> str:
    numbers = _numbers(result)
    cells = [f"{numbers[name]:.3f}" if name in numbers else "-" for name in names]
    aligned = [f"{cell:>{max(10, len(name))}}" for cell, name in zip(cells, names, strict=True)]
    return " ".join(aligned) + f"  {printable(result.file)}"
