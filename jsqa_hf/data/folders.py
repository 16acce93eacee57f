"""Folders and CSV lists of audio files as `datasets.Dataset`s with the columns that the pair generation expects.

Audio stays undecoded: the columns are `Audio(decode=False)` and hold absolute paths.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import datasets

AUDIO_SUFFIXES = (".flac", ".wav")
NOISE_LIST = "noise.csv"

_LIBRISPEECH_NAME = re.compile(r"(?P<speaker>\d+)-\d+-\d+")


def load_speech_folder(path: str | Path, *, split: str | None = None) -> datasets.Dataset:
    """List the speech of a folder or of a CSV file.

    A folder is searched recursively for FLAC and WAV files. A CSV file has a column `file` (paths relative to the CSV
    file, or absolute) and optionally `speech_id`, `speaker_id` and `split`.

    Files named as in LibriSpeech, `SPEAKER-CHAPTER-UTTERANCE`, give both ids by their name. For others, and where the
    CSV file does not say, `speech_id` is the path relative to the folder (or the CSV file) without its suffix, and
    `speaker_id` the name of the folder that the file lies in.

    Args:
        path: Folder or CSV file.
        split: Keep only the rows of a CSV file whose column `split` has this value.

    Returns:
        Dataset with the columns `audio`, `speech_id` and `speaker_id`, for a folder sorted by path.

    Raises:
        FileNotFoundError: If the path or a listed file does not exist, or there are no audio files.
        ValueError: If a needed column is missing, a split is empty, or two files have the same id.
    """
    root, rows = _rows(Path(path), split)
    columns: dict[str, list[str]] = {"audio": [], "speech_id": [], "speaker_id": []}
    for row in rows:
        file = root / row["file"]
        librispeech = _LIBRISPEECH_NAME.fullmatch(file.stem)
        speech_id = file.stem if librispeech else _relative_name(file, root)
        speaker_id = librispeech["speaker"] if librispeech else file.parent.name
        columns["audio"].append(str(file))
        columns["speech_id"].append(row.get("speech_id") or speech_id)
        columns["speaker_id"].append(row.get("speaker_id") or speaker_id)
    return _dataset(columns, "speech_id", path)


def load_noise_folder(path: str | Path, *, split: str | None = None) -> datasets.Dataset:
    """List the noise of a folder or of a CSV file.

    A folder is searched recursively for FLAC and WAV files; a file `noise.csv` in it gives their types by its columns
    `file` and `type`. A CSV file as `path` has a column `file` (paths relative to the CSV file, or absolute) and
    optionally `noise_id`, `type` and `split`.

    Where no CSV file says otherwise, `noise_id` is the path relative to the folder (or the CSV file) without its
    suffix, and `noise_type` the name of the file without its suffix.

    Args:
        path: Folder or CSV file.
        split: Keep only the rows of a CSV file whose column `split` has this value.

    Returns:
        Dataset with the columns `audio`, `noise_id` and `noise_type`, for a folder sorted by path.

    Raises:
        FileNotFoundError: If the path or a listed file does not exist, or there are no audio files.
        ValueError: If a needed column is missing, a split is empty, or two files have the same id.
    """
    root, rows = _rows(Path(path), split)
    types: dict[Path, str] = {}
    if Path(path).is_dir() and (root / NOISE_LIST).is_file():
        types = {root / row["file"]: row["type"] for row in _read_csv(root / NOISE_LIST, ("file", "type"))}
    columns: dict[str, list[str]] = {"audio": [], "noise_id": [], "noise_type": []}
    for row in rows:
        file = root / row["file"]
        columns["audio"].append(str(file))
        columns["noise_id"].append(row.get("noise_id") or _relative_name(file, root))
        columns["noise_type"].append(row.get("type") or types.get(file) or file.stem)
    return _dataset(columns, "noise_id", path)


def _rows(path: Path, split: str | None) -> tuple[Path, list[dict[str, str]]]:
    """Return the folder that files are relative to, and one row per file with at least the column `file`."""
    path = path.absolute()
    if path.is_file():
        return path.parent, listed_files(path, split)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist: pass a folder of audio files or a CSV file that lists them")
    if split is not None:
        raise ValueError(f"{path} is a folder, which has no splits: pass a CSV file with a column split")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
    if not files:
        raise FileNotFoundError(f"{path} holds no audio files (searched recursively for {', '.join(AUDIO_SUFFIXES)})")
    return path, [{"file": str(file)} for file in files]


def listed_files(path: Path, split: str | None, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a CSV file that lists audio files, all of which exist.

    Args:
        path: CSV file with the column `file` (relative to the CSV file, or absolute) and the `needed` columns.
        split: Keep only the rows whose column `split` has this value.
        needed: Further columns that must be there.

    Raises:
        FileNotFoundError: If a listed file does not exist.
        ValueError: If a column is missing, or no row is left.
    """
    rows = _read_csv(path, ("file", *needed) if split is None else ("file", "split", *needed))
    if split is not None:
        splits = sorted({row["split"] for row in rows})
        rows = [row for row in rows if row["split"] == split]
        if not rows:
            raise ValueError(f"{path} has no rows of split {split!r}; its splits are {', '.join(splits)}")
    missing = [row["file"] for row in rows if not (path.parent / row["file"]).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} lists {len(missing)} of {len(rows)} files that do not exist, the first is "
            f"{path.parent / missing[0]}"
        )
    return rows


def _read_csv(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = [column for column in needed if column not in (reader.fieldnames or ())]
    if missing:
        found = ", ".join(reader.fieldnames or ()) or "no columns"
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; it has {found}")
    if not rows:
        raise ValueError(f"{path} lists no files")
    return rows


def _relative_name(file: Path, root: Path) -> str:
    relative = file.relative_to(root) if file.is_relative_to(root) else file
    return relative.with_suffix("").as_posix()


def _dataset(columns: dict[str, list[str]], id_column: str, path: str | Path) -> datasets.Dataset:
    (most_common, count), *_ = Counter(columns[id_column]).most_common(1)
    if count > 1:
        files = [file for file, name in zip(columns["audio"], columns[id_column], strict=True) if name == most_common]
        raise ValueError(
            f"{path}: {count} files have the {id_column} {most_common!r} ({files[0]}, {files[1]}); ids must be unique"
        )
    # Strings are cast afterwards: encoding them as Audio right away would need torchcodec.
    return datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))
