"""Audio files in folders and in CSV tables of any layout, and what every corpus on disk is listed as."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..audio_files import SOUND_EXTENSIONS
from .corpus import read_delimited, split_names, standard_names

NOISE_TABLE = "noise.csv"

_LIBRISPEECH_NAME = re.compile(r"(?P<speaker>\d+)-\d+-\d+")


class Listing(NamedTuple):
    """Clips of a corpus.

    Attributes:
        rows: The path of each clip under `audio` and its other columns.
        from_table: Whether the paths come from a table, so that files may be missing.
    """

    rows: list[dict[str, Any]]
    from_table: bool = False


def audio_files(folder: str | os.PathLike[str]) -> list[str]:
    """Find the audio files of a folder, by their names alone and without opening any; none are containers of video.

    Args:
        folder: Searched with all folders below it, through symbolic links too, but without hidden files and folders.

    Returns:
        Absolute paths, sorted by folder and name; empty where there are none.
    """
    return sorted(_walk(os.path.abspath(folder)), key=lambda path: path.split(os.sep))


def refuse(error: OSError) -> None:
    """For `os.walk`, which leaves out a folder that can't be opened, and says nothing."""
    raise error


def _walk(folder: str) -> Iterator[str]:
    visited: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        # Links may lead in circles.
        visited.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if os.path.splitext(name)[1].lower() in SOUND_EXTENSIONS and not name.startswith("."):
                yield os.path.join(parent, name)


def stem(path: str) -> str:
    """Name of a file without its folders and its suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def list_speech(root: str, *, split: str | None = None, text: bool = False) -> Listing:
    """List speech in a folder, or in a table with the column `file` and optionally `speech_id`, `speaker_id`, `text`.

    Args:
        root: Folder, or CSV or TSV file.
        split: Keep the rows of a table whose column `split` has this value, or one of several joined by commas.
        text: Add the column `text` of a table.
    """
    base, rows, is_table = _entries(root, split, ("text",) if text else ())
    listed = []
    for row in rows:
        name = stem(row["audio"])
        librispeech = _LIBRISPEECH_NAME.fullmatch(name)
        clip = {
            "audio": row["audio"],
            "speech_id": row.get("speech_id") or (name if librispeech else _relative_name(row["audio"], base)),
            "speaker_id": row.get("speaker_id")
            or (librispeech["speaker"] if librispeech else os.path.basename(os.path.dirname(row["audio"]))),
            "corpus": row.get("corpus") or os.path.basename(base),
        }
        if text:
            clip["text"] = row["text"]
        listed.append(clip)
    return Listing(listed, is_table)


def list_noise(root: str, *, split: str | None = None) -> Listing:
    """List noise in a folder, or in a table with the column `file` and optionally `noise_id` and `type`.

    A folder may hold a table `noise.csv`, which gives the types of some or all of its files. Files of the table that
    are not there are counted in a warning.

    Args:
        root: Folder, or CSV or TSV file.
        split: Keep the rows of a table whose column `split` has this value, or one of several joined by commas.
    """
    base, rows, is_table = _entries(root, split)
    types: dict[str, str] = {}
    table = os.path.join(base, NOISE_TABLE)
    if not is_table and os.path.isfile(table):
        types = {_absolute(row["file"], base): row["type"] for row in table_rows(table, split=None, needed=("type",))}
        if absent := sorted(set(types) - {row["audio"] for row in rows}):
            warnings.warn(
                f"{len(absent)} of {len(types)} files in {table} are not there, such as {absent[0]}: name the files "
                "there as they are now, for each to have its type",
                stacklevel=2,
            )
    listed = []
    for row in rows:
        clip = {
            "audio": row["audio"],
            "noise_id": row.get("noise_id") or _relative_name(row["audio"], base),
            "noise_type": row.get("type") or types.get(row["audio"]) or stem(row["audio"]),
            "corpus": row.get("corpus") or os.path.basename(base),
        }
        listed.append(clip)
    return Listing(listed, is_table)


def list_rirs(root: str, *, split: str | None = None) -> Listing:
    """List room impulse responses in a folder, or in a table with the column `file` and optionally `rir_id`, `room`.

    Args:
        root: Folder, or CSV or TSV file.
        split: Keep the rows of a table whose column `split` has this value, or one of several joined by commas.
    """
    base, rows, is_table = _entries(root, split)
    listed = []
    for row in rows:
        clip = {
            "audio": row["audio"],
            "rir_id": row.get("rir_id") or _relative_name(row["audio"], base),
            "room": row.get("room") or os.path.basename(os.path.dirname(row["audio"])),
            "corpus": row.get("corpus") or os.path.basename(base),
        }
        listed.append(clip)
    return Listing(listed, is_table)


def _entries(root: str, split: str | None, needed: tuple[str, ...] = ()) -> tuple[str, list[dict[str, str]], bool]:
    """Folder that paths are relative to, one row per clip with its absolute path, and whether a table lists them."""
    root = os.path.abspath(root)
    if os.path.isfile(root):
        base = os.path.dirname(root)
        rows = table_rows(root, split=split, needed=needed)
        return base, [{**row, "audio": _absolute(row["file"], base)} for row in rows], True
    if not os.path.isdir(root):
        raise FileNotFoundError(f"{root} does not exist: pass a folder of audio files or a CSV file that lists them")
    if split is not None or needed:
        what = "splits" if split is not None else ", ".join(needed)
        raise ValueError(f"{root} is a folder, which has no {what}: pass a CSV file with such a column")
    return root, [{"audio": path} for path in some_audio_files(root)], False


def some_audio_files(folder: str | os.PathLike[str]) -> list[str]:
    """As `audio_files`, but raise FileNotFoundError where there are none."""
    paths = audio_files(folder)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no audio files (searched recursively for FLAC, WAV, MP3 and others)")
    return paths


def table_rows(path: str, *, split: str | None, needed: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Rows of a table with the column `file`, which may be called `filename`, `path` or the like.

    Args:
        path: CSV or TSV file, as of `read_delimited`; its columns are found in any case.
        split: Keep the rows whose column `split` has this value, or one of several joined by commas.
        needed: Further columns that must be there.

    Raises:
        ValueError: If a column is missing or a split has no rows.
    """
    rows = read_delimited(Path(path))
    names = standard_names(list(rows[0]))
    if missing := [name for name in ("file", *needed, *(() if split is None else ("split",))) if name not in names]:
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(rows[0])}")
    rows = [{name: row[column] for name, column in names.items()} for row in rows]
    if split is None:
        return rows
    wanted = split_names(split)
    splits = {row["split"] for row in rows}
    if missing := [name for name in wanted if name not in splits]:
        raise ValueError(
            f"{path} has no rows of split {', '.join(missing)}; its splits are {', '.join(sorted(splits))}"
        )
    return [row for row in rows if row["split"] in wanted]


def _absolute(file: str, base: str) -> str:
    return os.path.normpath(os.path.join(base, file))


def _relative_name(path: str, base: str) -> str:
    inside = path.startswith(base + os.sep)
    relative = path[len(base) + 1 :] if inside else path
    return os.path.splitext(relative)[0].replace(os.sep, "/")
