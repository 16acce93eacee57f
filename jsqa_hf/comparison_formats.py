"""How the results of `jsqa compare` are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from .score_formats import csv_row, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .comparison import Comparison
    from .jnd_matrix import GroupedFile, ProjectedFiles

__all__ = ["as_text", "write_groups", "write_matrix", "write_pair"]


def write_pair(format_name: str, stream: TextIO, a: str, b: str, result: Comparison) -> None:
    """Write how two files compare.

    Args:
        format_name: `text`, sentences; `csv`, a header and a row; `json`, an object. The columns and keys are `a` and
            `b`, the files, and the fields of `Comparison`; numbers have 4 decimals.
        stream: where to, opened with `newline=""`.
        a, b: the files.
        result: of these.
    """
    if format_name == "text":
        stream.write(as_text(a, b, result) + "\n")
        return
    record = {"a": a, "b": b, **{name: _rounded(value) for name, value in asdict(result).items()}}
    if format_name == "json":
        stream.write(json.dumps(record, indent=2) + "\n")
    else:
        _write_table(stream, list(record), [list(record.values())])


def as_text(a: str, b: str, result: Comparison) -> str:
    """How two files compare, in a few lines.

    Args:
        a, b: names of the files.
        result: of these.
    """
    # Beyond the scale both numbers are lower limits, and nothing is known of how far off they are.
    at_least = "at least " if result.beyond_scale else ""
    known_error = result.jnds_error is not None and not result.beyond_scale
    error = f" (typical error {result.jnds_error:.1f})" if known_error else ""
    # More than that, few pairs could bear out.
    confidence = "above 99%" if result.better_confidence > 0.99 else f"{result.better_confidence:.0%}"
    better = "neither" if confidence == "50%" else f"{result.better}, confidence {confidence}"
    lines = [
        f"a: {printable(a)}",
        f"b: {printable(b)}",
        f"difference: {at_least}{result.jnds:.1f} JNDs{error}; "
        f"{at_least}{result.probability_noticed:.0%} of listeners are expected to notice it",
        f"better: {better} (MOS {result.mos_a:.2f} of a, {result.mos_b:.2f} of b)",
    ]
    if result.below_one_jnd:
        lines.append("The clips are less than one just-noticeable difference apart: few will hear which is better.")
    return "\n".join(lines)


def write_matrix(
    format_name: str, stream: TextIO, projected: ProjectedFiles, rows: Iterable[NDArray[Any]], largest_jnds: float
) -> None:
    """Write the matrix of JNDs row by row.

    Args:
        format_name: `csv`, the files in the first column and the first row; or `json`, an object with `files`,
            `largest_jnds`, `jnds` (a list of rows) and `errors` (the reason for each file that couldn't be compared).
        stream: where to, opened with `newline=""`.
        projected: the files.
        rows: (files,) JNDs each.
        largest_jnds: end of the scale; as many JNDs are a lower limit. CSV has no place for it.
    """
    if format_name == "csv":
        cells = ([file, *map(_rounded, row.tolist())] for file, row in zip(projected.files, rows, strict=True))
        _write_table(stream, ["file", *projected.files], cells)
        return
    stream.write(f'{{"files": {json.dumps(projected.files)},\n"largest_jnds": {_rounded(largest_jnds)},\n"jnds": [')
    for number, row in enumerate(rows):
        stream.write(f"{',' if number else ''}\n{json.dumps([_rounded(value) for value in row.tolist()])}")
    stream.write(f'],\n"errors": {json.dumps(projected.errors)}}}\n')


def write_groups(format_name: str, stream: TextIO, rows: Sequence[GroupedFile], errors: Mapping[str, str]) -> None:
    """Write how files compare with the others of their groups.

    Args:
        format_name: `csv`, with the fields of `GroupedFile` as columns; or `json`, an object with `files` (a list of
            such objects) and `errors` (the reason for each file that couldn't be compared).
        stream: where to, opened with `newline=""`.
        rows: one for each file.
        errors: reason by file.
    """
    records = [{name: _rounded(value) for name, value in asdict(row).items()} for row in rows]
    if format_name == "json":
        stream.write(json.dumps({"files": records, "errors": dict(errors)}, indent=2) + "\n")
    else:
        columns = ["file", "group", "median_jnds", "robust_z", "is_outlier"]
        _write_table(stream, columns, ([record[name] for name in columns] for record in records))


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _write_table(stream: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    # One by one, because the rows may be made as they are written.
    stream.write(csv_row(columns) + "\n")
    for cells in rows:
        stream.write(csv_row([_cell(value) for value in cells]) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4f}" if isinstance(value, float) else str(value)
