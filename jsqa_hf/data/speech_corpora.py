"""Layouts of speech corpora as they unpack from their official downloads."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .corpus import corpus_root, read_table, split_names
from .files import Listing, some_audio_files, stem

_PARTS = ("train-*", "dev-*", "test-*")
_LIBRISPEECH_NAME = re.compile(r"(?P<speaker>\d+)-\d+-\d+")
_LIBRITTS_NAME = re.compile(r"(?P<speaker>\d+)_\d+_\d+_\d+")
_VCTK_NAME = re.compile(r"(?P<id>(?P<speaker>[ps]\d+)_\d+)(?:_mic(?P<mic>\d))?")


def list_librispeech(root: str, *, split: str | Sequence[str] | None = None, text: bool = False) -> Listing:
    """List LibriSpeech: `<part>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac`.

    Args:
        root: The folder `LibriSpeech`, the folder above it, or one of its parts.
        split: Parts such as `"train-clean-100"`, several with commas between them, or `"train"`, `"dev"` or `"test"`
            for all of a kind; without it, `"train"`, or the one part that is the root.
        text: Add the column `text` from the files `*.trans.txt`, one per chapter.
    """
    folders = _part_folders(root, split, "LibriSpeech", _LIBRISPEECH_NAME)
    transcripts = _transcripts(folders, ".trans.txt", " ", 1) if text else None
    return _list_parts(folders, "LibriSpeech", _LIBRISPEECH_NAME, transcripts)


def list_libritts(root: str, *, split: str | Sequence[str] | None = None, text: bool = False) -> Listing:
    """List LibriTTS or LibriTTS-R: `<part>/<speaker>/<chapter>/<speaker>_<chapter>_<paragraph>_<sentence>.wav`.

    Args:
        root: The folder `LibriTTS`, the folder above it, or one of its parts.
        split: Parts such as `"train-clean-100"`, several with commas between them, or `"train"`, `"dev"` or `"test"`
            for all of a kind; without it, `"train"`, or the one part that is the root.
        text: Add the column `text`, the normalised text from the files `*.trans.tsv`, one per chapter.
    """
    folders = _part_folders(root, split, "LibriTTS", _LIBRITTS_NAME)
    transcripts = _transcripts(folders, ".trans.tsv", "\t", 2) if text else None
    return _list_parts(folders, "LibriTTS", _LIBRITTS_NAME, transcripts)


def list_vctk(root: str, *, mic: int = 1, text: bool = False) -> Listing:
    """List VCTK 0.92, `wav48_silence_trimmed/<speaker>/<speaker>_<number>_mic<mic>.flac`, or the older `wav48/`.

    Args:
        root: The folder that holds `wav48_silence_trimmed` or `wav48`, or the folder above it.
        mic: 1, the omnidirectional microphone, or 2, which a few speakers of 0.92 and the older releases lack.
        text: Add the column `text` from `txt/<speaker>/<speaker>_<number>.txt`, empty where there is none.
    """
    if mic not in (1, 2):
        raise ValueError(f"VCTK has the microphones 1 and 2, got mic={mic}")
    base = corpus_root(root, expected=("wav48_silence_trimmed", "wav48"), what="VCTK")
    trimmed = base / "wav48_silence_trimmed"
    rows = []
    for path in some_audio_files(trimmed if trimmed.is_dir() else base / "wav48"):
        name = _parsed(_VCTK_NAME, path, "VCTK")
        if int(name["mic"] or 1) == mic:
            row = {"audio": path, "speech_id": name["id"], "speaker_id": name["speaker"]}
            if text:
                row["text"] = _text_of(base / "txt" / name["speaker"] / f"{name['id']}.txt")
            rows.append(row)
    if not rows:
        raise FileNotFoundError(f"{base} holds no recordings of microphone {mic}")
    return Listing(rows)


def list_common_voice(root: str, *, split: str | Sequence[str] = "train", text: bool = False) -> Listing:
    """List one language of Common Voice: `<language>/{clips/, train.tsv, validated.tsv, ...}`.

    Args:
        root: The folder of the language, or the folder above it if it holds one language only.
        split: Names of tables, several with commas between them: `"train"`, `"dev"` and `"test"`, `"validated"`, which
            holds the clips of these three and more, `"other"` or `"invalidated"`.
        text: Add the column `text`, the sentence that was to be read.
    """
    base = corpus_root(root, expected=("clips",), what="one language of Common Voice")
    tables = [base / f"{name}.tsv" for name in split_names(split)]
    if missing := [str(table) for table in tables if not table.is_file()]:
        found = ", ".join(sorted(path.stem for path in base.glob("*.tsv") if _lists_clips(path))) or "none"
        raise FileNotFoundError(f"{', '.join(missing)}: no such table; name as the split what is there ({found})")
    needed = ("path", "client_id", *(("sentence",) if text else ()))
    rows = []
    for entry in (entry for table in tables for entry in read_table(table, needed, delimiter="\t")):
        # The first releases name the clips without their suffix.
        file = entry["path"] if os.path.splitext(entry["path"])[1] else f"{entry['path']}.mp3"
        row = {"audio": str(base / "clips" / file), "speech_id": stem(file), "speaker_id": entry["client_id"]}
        if text:
            row["text"] = entry["sentence"]
        rows.append(row)
    return Listing(rows, from_table=True)


def _lists_clips(table: Path) -> bool:
    """Others are about durations, reports and sentences."""
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        return {"path", "client_id"} <= set(file.readline().rstrip("\n").split("\t"))


def _part_folders(root: str, split: str | Sequence[str] | None, what: str, name: re.Pattern[str]) -> list[Path]:
    try:
        # What lies in a part: the archive `train-clean-100.tar.gz` is named like one.
        base = corpus_root(root, expected=[f"{part}/*" for part in _PARTS], what=what)
    except FileNotFoundError:
        path = Path(root).absolute()
        # A part holds folders of speakers, whose names are numbers, or, where someone flattened it, the files.
        inside = path.iterdir() if path.is_dir() else ()
        if not any(entry.name.isdigit() or name.fullmatch(entry.stem) for entry in inside):
            raise
        if split is not None and not all(_is_of(path, part) for part in split_names(split)):
            raise ValueError(f"{path} is one part of {what}: pass the folder above it to choose parts") from None
        return [path]
    found = sorted(folder for pattern in _PARTS for folder in base.glob(pattern) if folder.is_dir())
    wanted = split_names(split or "train")
    if missing := [part for part in wanted if not any(_is_of(folder, part) for folder in found)]:
        names = ", ".join(folder.name for folder in found)
        raise FileNotFoundError(
            f"{base} lacks the part(s) {', '.join(missing)} of {what}: name as the split what is there ({names})"
        )
    return [folder for folder in found if any(_is_of(folder, part) for part in wanted)]


def _is_of(folder: Path, part: str) -> bool:
    return part in (folder.name, folder.name.split("-")[0])


def _list_parts(
    folders: Sequence[Path], what: str, pattern: re.Pattern[str], transcripts: dict[str, str] | None
) -> Listing:
    rows = []
    for folder in folders:
        for path in some_audio_files(folder):
            name = _parsed(pattern, path, what)
            row = {"audio": path, "speech_id": name[0], "speaker_id": name["speaker"]}
            if transcripts is not None:
                row["text"] = transcripts.get(name[0], "")
            rows.append(row)
    return Listing(rows)


def _parsed(pattern: re.Pattern[str], path: str, what: str) -> re.Match[str]:
    name = pattern.fullmatch(stem(path))
    if name is None:
        raise ValueError(f"{path} isn't named as the files of {what} are: move it away, or load it all as 'folder'")
    return name


def _transcripts(folders: Sequence[Path], suffix: str, delimiter: str, column: int) -> dict[str, str]:
    texts = {}
    for folder in folders:
        # Archives packed on a Mac hold a second file of each name, `._84_121123.trans.tsv`, which is no text.
        for path in sorted(folder.rglob(f"[!.]*{suffix}")):
            for line in path.read_text(encoding="utf-8").split("\n"):
                cells = line.split(delimiter, column)
                texts[cells[0]] = cells[-1]
    return texts


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
