"""Result tables of the P.808 toolkit (Naderi and Cutler, Interspeech 2020; github.com/microsoft/P.808).

Those that a spreadsheet has saved again are read as well, with semicolons or tabs for commas.
"""

from __future__ import annotations

import itertools
import os
import re
import warnings
from collections import Counter
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ..corpus import read_delimited
from ..ratings import Row, files_by_name, rows_per_clip

# Standard column: how the toolkit calls the scale, in upper case in `MOS_SIG` and in lower case in `std_sig`.
_SCALES = {
    "mos": "ovrl",
    "signal": "sig",
    "background": "bak",
    "noisiness": "noise",
    "coloration": "col",
    "discontinuity": "disc",
    "loudness": "loud",
    "reverberation": "reverb",
}
_PER_CLIP = re.compile(r"(?P<test>.*)_votes_per_clip(_(?P<scale>[a-z]+|all-scales))?\.csv")
_VOTE = re.compile(r"vote_\d+")
_NO_CONDITION = ("Unknown", "vote", "question_type")
_RATINGS_TABLE = "ratings.csv"
# How the toolkit calls overall quality where it names the scale of a vote; DMOS, CMOS and MOS_ECHO are other tests.
_OVERALL_QUALITY = ("MOS", "MOS_OVRL")


def read_p808(root: Path, *, audio_root: str | os.PathLike[str] | None = None) -> list[Row]:
    """Read absolute category ratings on one scale (ITU-T P.808).

    `<test>_votes_per_clip.csv` has one line per clip: `file_url`, `n`, `MOS`, `std`, `95%CI`, `short_file_name`, the
    keys of the condition and `Unknown` where a condition pattern was set, and `vote_1`, `vote_2`, ... The table
    `<test>_votes_per_worker_.csv` has one line per vote, with `workerid`, `file` and `vote`; pass its path to have the
    listeners.

    Args:
        root: One of these tables, or a folder with tables of the first kind, one for each test.
        audio_root: Folder of the clips; default: that of the table. In it a clip lies at the end of its URL
            (`enhanced/c1.wav`, or `c1.wav` alone), as long as no other clip of the table ends like that, or at the
            whole of it in any folder. A file of that name in other folders is that of another system.

    Returns:
        Rows with `n_votes`, `mos_std`, `votes` and, where there are any, `condition` and `listener`; of several tests
        with `corpus`, the `<test>` that the name of the table starts with.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If a table lacks a column or has votes on another scale, or a clip could be several files.
    """
    tests = {test: tables[None] for test, tables in _tests(root).items() if None in tables}
    if root.is_file():
        tests = {"": root}
    if not tests:
        raise FileNotFoundError(f"{root} is neither a table nor a folder with <test>_votes_per_clip.csv")
    return _with_audio(_of_tests({test: _one_scale(table) for test, table in tests.items()}), root, audio_root)


def read_p835(root: Path, *, audio_root: str | os.PathLike[str] | None = None) -> list[Row]:
    """Read ratings on several scales: signal, background and overall quality (ITU-T P.835), or also those of P.804.

    `<test>_votes_per_clip_sig.csv`, `_bak.csv`, `_ovrl.csv` and so on have one line per clip: `file_url`, `n`,
    `MOS_SIG`, `std_sig`, `95%CI_sig`, `short_file_name`, ..., `vote_1`, ... `<test>_votes_per_clip_all-scales.csv` has
    all scales, but no votes, and is read where the others are missing. A `ratings.csv` has the columns `file`,
    `ovrl_mos`, `ovrl_std`, `sig_mos`, ... and perhaps `n_votes`, `condition` and `split`.

    Args:
        root: A folder with such tables, of one or several tests, or the path of one.
        audio_root: As in `read_p808`.

    Returns:
        Rows with `mos` (overall), `signal`, `background`, `noisiness`, `coloration`, `discontinuity`, `loudness` and
        `reverberation` as far as rated, their standard deviations, `n_votes` and `votes` (overall), `condition`, and
        `corpus` as of `read_p808`.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If a table lacks a column, or a clip could be several files.
    """
    tests = {
        test: {scale: path for scale, path in tables.items() if scale is not None}
        for test, tables in _tests(root).items()
    }
    rows = _of_tests({test: _joined(tables) for test, tables in tests.items() if tables})
    table = root if root.is_file() else root / _RATINGS_TABLE
    if not rows and not table.is_file():
        raise FileNotFoundError(
            f"{root} is neither a table nor a folder with {_RATINGS_TABLE} or <test>_votes_per_clip_ovrl.csv etc."
        )
    rows = rows or [_row(record) for record in read_delimited(table)]
    if not any(row.get(name) for row in rows for name in _SCALES):
        raise ValueError(f"{table} has no ratings: it needs columns such as MOS_OVRL, MOS_SIG, MOS_BAK or ovrl_mos")
    return _with_audio(rows, root, audio_root)


def _tests(root: Path) -> dict[str, dict[str | None, Path]]:
    """The tables per clip in a folder, of each test by their scales."""
    tests: dict[str, dict[str | None, Path]] = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        match = _PER_CLIP.fullmatch(path.name)
        # `<test>_all_votes_per_clip.csv` is named like them, but has one line per vote of all scales.
        if match and not match["test"].endswith("_all"):
            tests.setdefault(match["test"], {})[match["scale"]] = path
    return tests


def _of_tests(tests: dict[str, list[Row]]) -> list[Row]:
    """All rows, each with its test if there are several: they may have clips in common and name conditions alike."""
    for (one, rows), (other, same) in itertools.combinations(tests.items(), 2):
        if rows == same:
            raise ValueError(f"the tables of {one} and {other} are the same: remove one of them")
    return [row | ({"corpus": test} if len(tests) > 1 else {}) for test, rows in tests.items() for row in rows]


def _one_scale(table: Path) -> list[Row]:
    records = read_delimited(table)
    if "vote" in records[0]:
        return _from_single_votes(table)
    return [_row(record) for record in read_delimited(table, ("file_url", "MOS"))]


def _joined(tables: dict[str, Path]) -> list[Row]:
    """Rows of one test; where the tables of its scales differ, as in the number of votes, overall quality decides."""
    scales = {scale: path for scale, path in tables.items() if scale != "all-scales"} or tables
    clips: dict[str, Row] = {}
    for scale in sorted(scales, key=lambda name: name == _SCALES["mos"]):
        for record in read_delimited(scales[scale], ("file_url",)):
            row = _row(record)
            given = {name: value for name, value in row.items() if value is not None}
            clips.setdefault(row["file"], {}).update(given)
    return list(clips.values())


def _row(record: dict[str, str]) -> Row:
    cells = {name.lower(): value for name, value in record.items()}
    row: Row = {"file": cells.get("file_url") or cells.get("file") or ""}
    if not row["file"]:
        raise ValueError(f"a table of ratings needs the column file_url or file; it has {', '.join(record)}")
    for name, scale in _SCALES.items():
        row[name] = _first(cells, f"mos_{scale}", f"{scale}_mos", name)
        row[f"{name}_std"] = _first(cells, f"std_{scale}", f"{scale}_std", f"{name}_std")
    row["mos_std"] = _first(cells, "std_ovrl", "ovrl_std", "mos_std", "std")
    row["n_votes"] = _first(cells, "n", "n_votes")
    # The tables of signal and background have votes as well, but on those.
    row["votes"] = [value for name, value in cells.items() if _VOTE.fullmatch(name)] if row["mos"] else None
    row["condition"] = cells.get("condition") or _condition(record)
    row["split"] = cells.get("split")
    return row


def _first(cells: dict[str, str], *names: str) -> str | None:
    return next((cells[name] for name in names if cells.get(name)), None)


def _condition(record: dict[str, str]) -> str | None:
    """The keys of the condition stand behind the short name, with the votes; `Unknown` marks a name without any."""
    names = list(record)
    if "short_file_name" not in names:
        return None
    behind = names[names.index("short_file_name") + 1 :]
    keys = [name for name in behind if not _VOTE.fullmatch(name) and name not in _NO_CONDITION]
    return "_".join(record[key] for key in keys if record[key]) or None


def _from_single_votes(table: Path) -> list[Row]:
    records = read_delimited(table, ("workerid", "file", "vote"))
    scales = {record.get("question_type") or "MOS" for record in records}
    if len(scales) > 1 or not scales <= set(_OVERALL_QUALITY):
        raise ValueError(
            f"{table} has votes on {', '.join(sorted(scales))}: pass the table of one test on overall quality "
            f"({' or '.join(_OVERALL_QUALITY)}); those of P.835 and P.804 come from the tables per clip (p835)"
        )
    rows = (
        {
            "audio": record["file"],
            "file": record["file"],
            "vote": record["vote"],
            "listener": record["workerid"],
            "condition": _condition(record),
        }
        for record in records
    )
    return rows_per_clip(rows, str(table))


def _with_audio(rows: list[Row], root: Path, audio_root: str | os.PathLike[str] | None) -> list[Row]:
    """The rows with the paths of their clips, found as [`read_p808`] tells."""
    folder = Path(audio_root) if audio_root is not None else root if root.is_dir() else root.parent
    addresses = [_folders_and_name(row["file"]) for row in rows]
    # Systems are told apart by their folders alone: `noisy/c1.wav` and `enhanced/c1.wav`.
    clips = Counter(address[start:] for address in set(addresses) for start in range(len(address)))
    names: dict[str, list[Path]] = {}
    elsewhere: list[str] = []
    for row, address in zip(rows, addresses, strict=True):
        ends = [address[start:] for start in range(len(address)) if start == 0 or clips[address[start:]] == 1]
        clip = next((path for path in (folder.joinpath(*end) for end in ends) if path.is_file()), None)
        if clip is None and clips[address] == 1:
            names = names or files_by_name(folder)
            named = names.get(address[-1].lower(), [])
            clip = _at_address(named, address, row["file"])
            if named and clip is None and clips[address[-1:]] == 1:
                elsewhere.append(f"{named[0]} for {row['file']}")
        # One that is missing is named by where it belongs.
        row["audio"] = str(clip or folder.joinpath(*address))
    if elsewhere:
        warnings.warn(
            f"{len(elsewhere)} clips are missing, but files of their names lie in other folders than their URLs have, "
            f"such as {elsewhere[0]}: if these are the clips, put the table beside them or pass audio_root",
            stacklevel=2,
        )
    return rows


def _folders_and_name(file: str) -> tuple[str, ...]:
    path = PurePosixPath(unquote(urlsplit(file).path) if "://" in file else file)
    return tuple(part for part in path.parts if part != "/")


def _at_address(paths: list[Path], address: tuple[str, ...], file: str) -> Path | None:
    """The one of the paths that ends with the whole address of a file, in upper or lower case."""
    end = [part.lower() for part in address]
    same = [path for path in paths if [part.lower() for part in path.parts[-len(end) :]] == end]
    if len(same) > 1:
        raise ValueError(f"{file} could be {same[0]} or {same[1]}: pass the folder of one as audio_root")
    return same[0] if same else None
