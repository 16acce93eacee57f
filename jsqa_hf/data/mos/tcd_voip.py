"""TCD-VoIP (Harte, Gillen and Hines, QoMEX 2015), a corpus for testing only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..corpus import read_delimited
from ..ratings import Row, files_by_name

_SHEET = "Subjective Test Scores"
_WORKBOOK = "tcd voip - test set conditions and mos results.xlsx"
_MOS_COLUMNS = ("sample MOS", "MOS")
# The start of a CSV file with ratings, perhaps behind a byte order mark.
_HEADER = re.compile(rb"(\xef\xbb\xbf)?Filename([,;\t])ConditionID\2")


def read_tcd_voip(root: Path) -> list[Row]:
    """Read the five kinds of degradation of calls over the Internet: chop, clip, compspkr, echo, noise.

    A corpus for testing: keep it out of training, published results assume so.

    The ratings are those of the workbook of the archive (`TCD VOIP - Test Set Conditions and MOS Results.xlsx`, sheet
    `Subjective Test Scores`, with one column per listener), or else of a CSV file with the columns `Filename`,
    `ConditionID` and `MOS` or `sample MOS`, as other distributions have. Tables and clips are looked for in all
    folders below the root, whatever the case of their names; `R_<...>` is the reference of `C_<...>`.

    Args:
        root: Folder of the unpacked archive, or any folder above.

    Returns:
        Rows with `condition` (kind and number, such as `echo_01`), `degradation` (the kind) and the split `test`.

    Raises:
        FileNotFoundError: If there is no folder, or no table in it.
        ValueError: If there are several CSV files with ratings, a table is not of this form, or a clip is there twice.
        ImportError: If there is a workbook, but no `openpyxl` to read it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist: pass the folder of TCD-VoIP")
    files = files_by_name(root)
    table, records = _ratings(root, files)
    listeners = [name for name in records[0] if name.isdigit()]
    mos = next((name for name in _MOS_COLUMNS if name in records[0]), None)
    if mos is None or "ConditionID" not in records[0]:
        raise ValueError(f"{table} needs the columns Filename, ConditionID and MOS; it has {', '.join(records[0])}")
    return [_row(record, mos, listeners, files, root) for record in records]


def _row(record: dict[str, Any], mos: str, listeners: list[str], files: dict[str, list[Path]], root: Path) -> Row:
    name = str(record["Filename"])
    parts = name.split("_")
    if len(parts) != 4 or parts[0].upper() != "C" or not str(record["ConditionID"]).isdigit():
        raise ValueError(
            f"{name} with the ConditionID {record['ConditionID']} is not of TCD-VoIP, such as C_01_ECHO_FA.wav with 1"
        )
    degradation = parts[2].lower()
    reference = files.get("_".join(["r", *parts[1:]]).lower())
    clips = files.get(name.lower(), [root / name])
    if len(clips) > 1:
        raise ValueError(f"{name} is there more than once ({clips[0]}, {clips[1]}): pass the folder of one copy")
    return {
        "audio": str(clips[0]),
        "file": name,
        "mos": record[mos],
        "votes": [record[listener] for listener in listeners],
        "listener": listeners or None,
        "condition": f"{degradation}_{int(record['ConditionID']):02d}",
        "degradation": degradation,
        "split": "test",
        "reference_audio": str(reference[0]) if reference else None,
    }


def _ratings(root: Path, files: dict[str, list[Path]]) -> tuple[Path, list[dict[str, Any]]]:
    if _WORKBOOK in files:
        path = files[_WORKBOOK][0]
        return path, _records(path, _sheet(path))
    tables = [path for name, paths in files.items() if name.endswith(".csv") for path in paths]
    tables = [path for path in tables if _starts_like_ratings(path)]
    if len(tables) > 1:
        raise ValueError(f"{root} holds several tables of ratings: {tables[0]}, {tables[1]}; leave one of them there")
    if not tables:
        raise FileNotFoundError(
            f"{root} holds neither the workbook of TCD-VoIP ({_WORKBOOK}) nor a CSV file with the columns Filename, "
            "ConditionID and MOS (searched in all folders)"
        )
    return tables[0], list(read_delimited(tables[0], ("Filename", "ConditionID")))


def _starts_like_ratings(path: Path) -> bool:
    with path.open("rb") as file:
        return _HEADER.match(file.readline()) is not None


def _sheet(path: Path) -> list[Sequence[Any]]:
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError(f"{path} is an Excel workbook: pip install 'jsqa_hf[data]' to read it (openpyxl)") from error
    workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        if _SHEET not in workbook.sheetnames:
            raise ValueError(f"{path} lacks the sheet {_SHEET!r}; it has {', '.join(workbook.sheetnames)}")
        return list(workbook[_SHEET].iter_rows(values_only=True))
    finally:
        workbook.close()


def _records(path: Path, lines: list[Sequence[Any]]) -> list[dict[str, Any]]:
    """Lines of the sheet below the one that starts with Filename, as dicts."""
    start = next((index for index, line in enumerate(lines) if line and line[0] == "Filename"), None)
    if start is None:
        raise ValueError(f"{path}: the sheet {_SHEET!r} has no line that starts with Filename")
    names = [str(name).strip() if name is not None else "" for name in lines[start]]
    records = [dict(zip(names, line, strict=False)) for line in lines[start + 1 :] if line and line[0]]
    if not records:
        raise ValueError(f"{path}: the sheet {_SHEET!r} lists no files")
    return records
