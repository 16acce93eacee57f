"""Any table of ratings: CSV, TSV or JSON lines, alone or in a folder with the clips."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..corpus import read_delimited, standard_names
from ..ratings import DIMENSIONS, STANDARD_COLUMNS, Row, numbers_or_text, rows_per_clip

Columns = Mapping[str, str | Sequence[str]]

_DELIMITED = (".csv", ".tsv")
_JSON_LINES = (".jsonl", ".ndjson")
_TCD_VOIP = ["Filename", "ConditionID"]
# One row per vote instead of one per clip.
_VOTE = "vote"
_OTHER_NAMES = (
    "; rename them, or tell their names: of ratings with --outputs of jsqa evaluate, of all with "
    "columns={'file': ..., 'mos': ...} in Python"
)
# Columns about the room, by the names that tables give them (ISO 3382-1 quantities; T60 and RT60 mean the same).
_REVERBERATION_COLUMNS = {
    "t60": ("t60", "rt60", "t60_s", "rt60_s"),
    "edt": ("edt", "edt_s"),
    "drr": ("drr", "drr_db"),
    "c50": ("c50", "c50_db"),
    "c80": ("c80", "c80_db"),
    "distance": ("distance", "distance_m"),
    "room": ("room",),
    "rir": ("rir", "rir_id"),
}


def read_csv(
    root: Path, *, columns: Columns | None = None, audio_root: str | os.PathLike[str] | None = None
) -> list[Row]:
    """Read a CSV, TSV or JSON-lines file of ratings.

    A CSV file may have commas, tabs or semicolons between its cells, the latter two also with decimal commas.

    It has a column of files (`file`, `filename`, `path` or the like) and `mos` or another of `DIMENSIONS`, and perhaps
    further standard columns, each under its name in any case. Further columns are kept, as numbers if all their cells
    are (`1_23` and `01` are names); one of a name that a standard column has already, such as `audio` beside `file`
    or `mos` where `columns` names another one for it, is left out.

    Single votes can stand in several columns, in a list (JSON lines), or in rows of their own with the column `vote`
    (for which `mos` will do where there is `listener`, too, and clips have several rows); they are then collected per
    clip by [`rows_per_clip`]. One value in a column `votes` is their number, `n_votes`.

    Args:
        root: Table, of which the suffix tells the format (`.csv`, `.tsv`, `.jsonl`).
        columns: Standard columns (and `vote`) → columns of this table where they have other names, such as
            `{"file": "clip", "mos": "score"}`; for `votes` a list of columns, one per listener.
        audio_root: Folder that files are relative to; default: that of the table.

    Returns:
        Rows whose `corpus` is the name of the folder of the table, unless the table has such a column.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If it is not of these formats or lacks a column, rows of votes on a clip contradict each other, or
            it is the table of TCD-VoIP, which only its own reader keeps for testing.
    """
    if not root.is_file():
        raise FileNotFoundError(
            f"{root} does not exist: pass a CSV, TSV or JSON-lines file with the columns file, mos"
        )
    records = _read_records(root)
    if list(records[0])[:2] == _TCD_VOIP:
        raise ValueError(f"{root} is of TCD-VoIP, a corpus for testing only: pass tcd-voip:{root.parent}")
    try:
        names = _standard_names(list(records[0]), columns or {})
    except ValueError as error:
        raise ValueError(f"{root} {error}") from error
    folder = Path(audio_root) if audio_root is not None else root.parent
    further = _further_columns(records, names)
    rows = [
        {**_row(record, names, folder), **{name: values[index] for name, values in further.items()}}
        for index, record in enumerate(records)
    ]
    return [{**row, "corpus": row.get("corpus") or root.parent.name} for row in _per_clip(rows, root)]


def read_folder(
    root: Path, *, columns: Columns | None = None, audio_root: str | os.PathLike[str] | None = None
) -> list[Row]:
    """Read a folder with exactly one table of ratings, which is told from other tables by its columns.

    Args:
        root: Folder; its own files are looked at, not those of folders in it.
        columns: As in `read_csv`.
        audio_root: As in `read_csv`.

    Returns:
        Rows as of `read_csv`.

    Raises:
        FileNotFoundError: If there is no folder, or no table of ratings in it.
        ValueError: If there are several.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(
            f"{root} {what}: pass a table of ratings, or a folder with clips and one table of ratings"
        )
    tables = [path for path in sorted(root.iterdir()) if path.suffix.lower() in (*_DELIMITED, *_JSON_LINES)]
    ratings, others = [], []
    for path in tables:
        try:
            _standard_names(list(_read_records(path)[0]), columns or {})
            ratings.append(path)
        except ValueError as error:
            others.append(f"{path.name} {error}")
    if len(ratings) > 1:
        raise ValueError(f"{root} holds several tables of ratings: {', '.join(map(str, ratings))}; pass one of them")
    if not ratings:
        found = "; ".join(others) or "it holds no CSV, TSV or JSON-lines file"
        raise FileNotFoundError(f"{root} has no table with the columns file and mos: {found}")
    return read_csv(ratings[0], columns=columns, audio_root=audio_root)


def read_reverb(
    root: Path, *, columns: Columns | None = None, audio_root: str | os.PathLike[str] | None = None
) -> list[Row]:
    """Read a test of reverberant speech: a folder with one table of ratings, which also tells about the rooms.

    No public corpus with such a layout of its own is known to us; this is the folder that one makes of one's own test.

    Args:
        root: Folder, as of `read_folder`, or the table.
        columns: As in `read_csv`; also for the columns below.
        audio_root: As in `read_csv`.

    Returns:
        Rows with those of the columns `t60` and `edt` (s), `drr`, `c50` and `c80` (dB), `distance` (m), `room` and
        `rir` that the table has, under these names (it may say `rt60` or `drr_db`), and all its further columns but
        those that have such a name, where `columns` names another one for it.

    Raises:
        FileNotFoundError: If there is no table of ratings.
        ValueError: If there are several, or the table tells nothing about reverberation.
    """
    own = {name: str(columns[name]) for name in _REVERBERATION_COLUMNS if columns and name in columns}
    standard = {name: column for name, column in (columns or {}).items() if name not in own}
    rows = (read_csv if root.is_file() else read_folder)(root, columns=standard, audio_root=audio_root)
    there = standard_names(list(rows[0]))
    found = {
        name: there[column]
        for name, known in _REVERBERATION_COLUMNS.items()
        for column in known[::-1]
        if column in there
    }
    found |= own
    if not found or set(found.values()) - set(rows[0]):
        needed = ", ".join(own.values() or _REVERBERATION_COLUMNS)
        raise ValueError(f"{root}: the table lacks columns on reverberation ({needed}); it has {', '.join(rows[0])}")
    used = set(found.values())
    return [
        {name: value for name, value in row.items() if name not in used}
        | {name: row.get(column) for name, column in found.items()}
        for row in rows
    ]


def _read_records(path: Path) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix in _DELIMITED:
        return read_delimited(path)
    if suffix not in _JSON_LINES:
        raise ValueError(f"{path} must be a CSV, TSV or JSON-lines file (.csv, .tsv, .jsonl)")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}: line {number} is not a JSON object")
        records.append(record)
    if not records:
        raise ValueError(f"{path} lists no files")
    names = dict.fromkeys(name for record in records for name in record)
    return [{name: record.get(name) for name in names} for record in records]


def _standard_names(header: list[str], columns: Columns) -> dict[str, str | list[str]]:
    """Standard column → column(s) of the table.

    Raises:
        ValueError: With a message that goes on from the name of the table.
    """
    there = standard_names(header)
    known = {*STANDARD_COLUMNS, _VOTE} - {"audio"}
    names: dict[str, str | list[str]] = {name: there[name] for name in known if name in there}
    names |= {name: column if isinstance(column, str) else list(column) for name, column in columns.items()}
    unknown = [name for name in columns if name not in known]
    listed = [column for value in names.values() for column in ([value] if isinstance(value, str) else value)]
    missing = unknown or [column for column in listed if column not in header]
    if "file" not in names:
        missing.append("file")
    if not {*DIMENSIONS, "votes", _VOTE} & set(names):
        missing.append("mos")
    if missing:
        hint = "" if columns else _OTHER_NAMES
        what = "has no standard column(s)" if unknown else "lacks the column(s)"
        raise ValueError(f"{what} {', '.join(missing)}; it has {', '.join(header)}{hint}")
    return names


def _row(record: dict[str, Any], names: Mapping[str, str | list[str]], folder: Path) -> Row:
    row: Row = {}
    for name, column in names.items():
        row[name] = record[column] if isinstance(column, str) else [record[one] for one in column]
    row["file"] = str(row["file"])
    row["audio"] = str(folder / row["file"])
    if row.get("reference_audio"):
        row["reference_audio"] = str(folder / row["reference_audio"])
    if isinstance(names.get("votes"), list):
        row["listener"] = names["votes"]
    elif "votes" in row and not isinstance(row["votes"], list):
        number = row.pop("votes")
        row.setdefault("n_votes", number)
    return row


def _per_clip(rows: list[Row], table: Path) -> list[Row]:
    """One row per clip, of rows that may be single votes."""
    if _VOTE in rows[0]:
        return rows_per_clip(rows, str(table))
    lists = any(isinstance(row.get("listener"), list) for row in rows)
    named = all(row.get("listener") for row in rows)
    if named and not lists and len({row["audio"] for row in rows}) < len(rows):
        return rows_per_clip([{**row, _VOTE: row.pop("mos", None)} for row in rows], str(table))
    return rows if lists else [{name: row[name] for name in row if name != "listener"} for row in rows]


def _further_columns(
    records: list[dict[str, Any]], names: Mapping[str, str | list[str]]
) -> dict[str, list[float | str | None]]:
    used = {column for value in names.values() for column in ([value] if isinstance(value, str) else value)}
    free = [name for name in records[0] if name not in {*used, *names, "audio"}]
    return {name: numbers_or_text([record[name] for record in records]) for name in free}
