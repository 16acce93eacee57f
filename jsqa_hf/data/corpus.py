"""From a corpus on disk to a `datasets.Dataset`: its folder, its tables, its files, its ids.

What every loader shares. A row is a dict with the path of a clip under `audio` and plain values beside it.
"""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import datasets

from ..audio import AudioDecodingError, decode_audio

OnError = Literal["raise", "skip"]
Check = Literal["exists", "decode"]

_NAMES_IN_MESSAGE = 3
_DECIMAL_COMMA = re.compile(r"^(-?\d+),(\d+)$")
# How tables call the column of the clips.
_FILE_COLUMNS = ("file", "filename", "file_name", "filepath", "path", "audio", "wav")


def corpus_root(root: str | os.PathLike[str], *, expected: Sequence[str], what: str) -> Path:
    """Find the folder of a corpus, whether its path or that of the folder above it was passed.

    Args:
        root: Folder that holds at least one of `expected`, or in which exactly one folder does.
        expected: Names or patterns (`*`, `?`, `[...]`, `/`) of files and folders, relative to the folder looked for.
        what: Name of the corpus, for the error.

    Returns:
        Absolute path of the folder that holds what is expected.

    Raises:
        FileNotFoundError: If the folder does not exist or neither it nor a folder in it holds any of `expected`; says
            what was looked for and what is there.
        ValueError: If several folders in it do.
    """
    path = Path(root).absolute()
    if not path.is_dir():
        state = "is a file" if path.is_file() else "does not exist"
        raise FileNotFoundError(f"{path} {state}: pass the folder of {what}, which holds {_listing(expected)}")
    if _holds_any(path, expected):
        return path
    inside = sorted(Path(entry.path) for entry in os.scandir(path) if entry.is_dir())
    roots = [folder for folder in inside if _holds_any(folder, expected)]
    if len(roots) > 1:
        raise ValueError(f"{path} holds {what} more than once: pass one of {_listing(roots)}")
    if not roots:
        found = sorted(os.listdir(path))
        raise FileNotFoundError(
            f"{path} is not the folder of {what}: looked for {_listing(expected, None)} in it and in its folders, "
            f"found {_listing(found) if found else 'nothing in it'}"
        )
    return roots[0]


def split_names(split: str | Sequence[str]) -> list[str]:
    """Names of one or several splits; a text joins them with commas."""
    return [name.strip() for name in split.split(",")] if isinstance(split, str) else list(split)


def read_table(
    path: str | os.PathLike[str], needed: Sequence[str], *, delimiter: str = ",", encoding: str = "utf-8-sig"
) -> list[dict[str, str]]:
    """Read a table with a header line.

    Args:
        path: CSV or TSV file. In a file with tabs as delimiters quotation marks are ordinary characters.
        needed: Columns that must be there.
        delimiter: One character; spaces behind it are dropped.
        encoding: Of the file; the default is UTF-8 with or without a byte order mark.

    Returns:
        One dict per line, in the order of the file; cells that a line lacks are empty. Lines without any content, as
        spreadsheets leave them at the end, are left out.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not text in this encoding, lacks a needed column, has a column twice, or has no lines, or
            if a line has more cells than the header.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: it is the table with the columns {', '.join(needed)}")
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    try:
        with path.open(newline="", encoding=encoding) as file:
            reader = csv.DictReader(file, delimiter=delimiter, restval="", quoting=quoting, skipinitialspace=True)
            columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
    except (UnicodeError, csv.Error) as error:
        raise ValueError(
            f"{path} can't be read as a table in the encoding {encoding}: {error}; save it in this encoding, from a "
            "spreadsheet as CSV UTF-8"
        ) from error
    if twice := [column for column in dict.fromkeys(columns) if column and columns.count(column) > 1]:
        raise ValueError(f"{path} has the column(s) {', '.join(twice)} more than once: rename all but one of each")
    missing = [column for column in needed if column not in columns]
    if missing:
        found = ", ".join(columns) or "no columns"
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; it has {found}")
    filled = {number: row for number, row in enumerate(rows, start=1) if any(map(_has_content, row.values()))}
    if not filled:
        raise ValueError(f"{path} lists no files")
    for number, row in filled.items():
        if None in row:
            raise ValueError(f"{path}: row {number} has more cells than the header; is the delimiter {delimiter!r}?")
    return list(filled.values())


def _has_content(cells: str | list[str]) -> bool:
    """Whether there is more than spaces in a cell, or in those beyond the header."""
    return any(cell.strip() for cell in ([cells] if isinstance(cells, str) else cells))


def read_delimited(path: Path, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table of any origin: commas, semicolons or tabs, whichever its header has most of.

    Spreadsheets do not write commas where the decimal point is one; such numbers get a point.

    Args:
        path: CSV or TSV file.
        needed: As in `read_table`.

    Returns:
        As of `read_table`.

    Raises:
        FileNotFoundError: As in `read_table`.
        ValueError: As in `read_table`.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    delimiter = max("\t,;" if path.suffix.lower() == ".tsv" else ",;\t", key=header.count)
    rows = read_table(path, needed, delimiter=delimiter)
    if delimiter == ",":
        return rows
    return [{name: _DECIMAL_COMMA.sub(r"\1.\2", cell) for name, cell in row.items()} for row in rows]


def standard_names(header: Sequence[str]) -> dict[str, str]:
    """Names in lower case → columns of a table; `file` is the column of clips, however it is called.

    Of columns that differ in case alone, that in lower case is taken, else the first.
    """
    names = {name.lower(): name for name in reversed(header)}
    names |= {name: name for name in names if name in header}
    file = next((names[name] for name in _FILE_COLUMNS if name in names), None)
    return names if file is None else {**names, "file": file}


def existing_rows(
    rows: list[dict[str, Any]], *, what: str, on_error: OnError, check: Check | None = "exists"
) -> list[dict[str, Any]]:
    """Keep the rows whose clip is there.

    Args:
        rows: Each with the path of its clip under `audio`.
        what: Name of the corpus or table, for messages.
        on_error: `"raise"` raises for the clips that are missing or unreadable; `"skip"` leaves them out and says in
            one warning how many and which.
        check: `"exists"` looks whether each file exists, `"decode"` decodes each, `None` keeps all rows unseen.

    Returns:
        The rows that passed, in their order.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If files can't be decoded, nothing is left, or an argument is none of its values.
    """
    if on_error not in ("raise", "skip") or check not in ("exists", "decode", None):
        raise ValueError(
            f"on_error must be 'raise' or 'skip', and check 'exists', 'decode' or None; got {on_error!r} and {check!r}"
        )
    reasons = {index: reason for index, row in enumerate(rows) if (reason := _problem(row["audio"], check))}
    if not reasons:
        return rows
    paths = [f"{rows[index]['audio']} ({reason})" for index, reason in reasons.items()]
    problem = f"{what}: {len(reasons)} of {len(rows)} clips are missing or unreadable"
    if on_error == "raise":
        absent = any(reason == _ABSENT for reason in reasons.values())
        message = f"{problem}: {_listing(paths)}; bring them in, or leave them out with on_error='skip'"
        raise (FileNotFoundError if absent else ValueError)(message)
    if len(reasons) == len(rows):
        raise ValueError(f"{problem}, so nothing is left: {_listing(paths)}")
    warnings.warn(f"{problem} and left out: {_listing(paths)}", stacklevel=2)
    return [row for index, row in enumerate(rows) if index not in reasons]


def unique_rows(
    rows: list[dict[str, Any]], key: str, *, what: str, on_error: OnError, hint: str = "", within: str | None = None
) -> list[dict[str, Any]]:
    """Keep the first row of each id.

    Args:
        rows: Each with its id under `key` and the path of its clip under `audio`.
        key: Column that must be unique.
        what: Name of the corpus or table, for messages.
        on_error: `"raise"` raises for a repeated id; `"skip"` keeps its first row and says in one warning how many
            rows and which were left out.
        hint: How to mend it, at the end of the error.
        within: Column; an id may occur once for each of its values.

    Returns:
        Rows with different ids, in their order.

    Raises:
        ValueError: If an id occurs twice.
    """

    def identity(row: dict[str, Any]) -> tuple[Any, Any]:
        return row[key], None if within is None else row.get(within)

    first: dict[Any, dict[str, Any]] = {}
    repeated = [row for row in rows if first.setdefault(identity(row), row) is not row]
    if not repeated:
        return rows
    names = [
        row[key] if key == "audio" else f"{row[key]!r} ({first[identity(row)]['audio']} and {row['audio']})"
        for row in repeated
    ]
    if on_error == "raise":
        raise ValueError(f"{what}: {key} must be unique, but {len(names)} rows repeat one: {_listing(names)}{hint}")
    warnings.warn(f"{what}: {len(names)} rows that repeat a {key} left out: {_listing(names)}", stacklevel=2)
    return list(first.values())


def to_dataset(rows: Sequence[dict[str, Any]], features: datasets.Features | None = None) -> datasets.Dataset:
    """Make a dataset of rows, with undecoded audio.

    Args:
        rows: At least one, all with the same keys; clips by their paths.
        features: Of all columns; those of type `Audio` become `Audio(decode=False)` and may hold `None`. Without
            `features`, `audio` is the column of clips and the types of the others follow from their values.

    Returns:
        Dataset with the columns of `features`, or else of the rows, in that order.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("a dataset needs at least one row")
    names = list(features or rows[0])
    audio = [name for name in names if (isinstance(features[name], datasets.Audio) if features else name == "audio")]
    # Strings are cast afterwards: encoding them as Audio right away would need torchcodec.
    plain = features and datasets.Features(
        {name: datasets.Value("string") if name in audio else features[name] for name in names}
    )
    dataset = datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in names}, features=plain)
    for name in audio:
        dataset = dataset.cast_column(name, datasets.Audio(decode=False))
    return dataset


_ABSENT = "no such file"


def _problem(path: str, check: Check | None) -> str | None:
    if check is not None and not os.path.isfile(path):
        return _ABSENT
    if check == "decode":
        try:
            decode_audio(path)
        except AudioDecodingError as error:
            return error.reason
    return None


def _holds_any(folder: Path, expected: Sequence[str]) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in expected)


def _listing(names: Sequence[object], limit: int | None = _NAMES_IN_MESSAGE) -> str:
    shown = ", ".join(str(name) for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if limit is not None and len(names) > limit else shown
