"""Layouts of noise corpora as they unpack from their official downloads."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .corpus import corpus_root, read_table, split_names
from .files import Listing, some_audio_files, stem

CHIME3_TYPES = {"BUS": "bus", "CAF": "cafe", "PED": "pedestrian", "STR": "street"}
# All microphones of the tablet face the talker but the second, which faces backwards (chimechallenge.org, CHiME-4).
CHIME3_CHANNELS = range(1, 7)
MUSAN_SUBSETS = ("noise", "music", "speech")

_CHIME3_FOLDERS = ("", "backgrounds", *(f"{above}16kHz/backgrounds" for above in ("", "audio/", "data/audio/")))
_CHIME3_NAME = re.compile(r"BGD_\d+_\d+_(?P<type>BUS|CAF|PED|STR)\.CH(?P<channel>\d)")
_YOUTUBE_ID_LENGTH = 11


def list_chime3(root: str, *, channel: int = 5) -> Listing:
    """List the background noise of CHiME-3 and CHiME-4: `backgrounds/BGD_<date>_<number>_<type>.CH<channel>.wav`.

    These are the only recordings of noise alone in the two corpora: what lies in `isolated/` is noisy speech, or
    speech recorded in a booth.

    Args:
        root: The folder `backgrounds`, or any folder above it that is part of the corpus (`CHiME3`,
            `CHiME3/data/audio/16kHz`, ...).
        channel: Microphone 1 to 6. The second faces away from the talker.
    """
    if channel not in CHIME3_CHANNELS:
        raise ValueError(f"the background noise of CHiME-3 has the channels 1 to 6, got channel={channel}")
    patterns = [os.path.join(folder, "BGD_*.wav") for folder in _CHIME3_FOLDERS]
    base = corpus_root(root, expected=patterns, what="the background noise of CHiME-3")
    folder = next(base / path for path in _CHIME3_FOLDERS if next((base / path).glob("BGD_*.wav"), None))
    rows = []
    for path in some_audio_files(folder):
        name = _CHIME3_NAME.fullmatch(stem(path))
        if name is not None and int(name["channel"]) == channel:
            rows.append({"audio": path, "noise_id": name[0], "noise_type": CHIME3_TYPES[name["type"]]})
    if not rows:
        raise FileNotFoundError(f"{folder} holds no recordings BGD_*.CH{channel}.wav: pass a channel that is there")
    return Listing(rows)


def list_demand(root: str, *, channel: int = 1) -> Listing:
    """List DEMAND: `<environment>/ch<channel>.wav`, or `<environment>_16k/<environment>/ch<channel>.wav`.

    Args:
        root: The folder of the environments (or of one environment).
        channel: Microphone 1 to 16.
    """
    if channel not in range(1, 17):
        raise ValueError(f"DEMAND has the channels 1 to 16, got channel={channel}")
    file = f"ch{channel:02d}.wav"
    # Whole names of folders: a wildcard would match the folder above the corpus as well, and miss half of it.
    patterns = (file, f"*/{file}", f"*_16k/*/{file}", f"*_48k/*/{file}")
    base = corpus_root(root, expected=patterns, what="DEMAND")
    rows = []
    for path in sorted(path for pattern in patterns for path in base.glob(pattern)):
        environment = re.sub(r"_(16|48)k$", "", path.parent.name)
        rows.append({"audio": str(path), "noise_id": f"{environment}/{path.stem}", "noise_type": environment})
    return Listing(rows)


def list_musan(root: str, *, subsets: Sequence[str] = ("noise",)) -> Listing:
    """List MUSAN: `musan/{noise,music,speech}/<source>/<name>.wav`; the type is the name of the subset.

    Args:
        root: The folder `musan` or the folder above it.
        subsets: Any of `"noise"`, `"music"` and `"speech"`.
    """
    _check_subsets(subsets, MUSAN_SUBSETS, "MUSAN")
    # The folder above may have a folder `noise` of its own.
    inside = Path(root) / "musan"
    base = corpus_root(inside if inside.is_dir() else root, expected=subsets, what="MUSAN")
    rows = []
    for subset in subsets:
        for path in some_audio_files(base / subset):
            rows.append({"audio": path, "noise_id": stem(path), "noise_type": subset})
    return Listing(rows)


def list_esc50(root: str, *, folds: Sequence[int] | None = None, exclude: Sequence[str] = ()) -> Listing:
    """List ESC-50: `audio/*.wav` with the table `meta/esc50.csv`; the type is the category.

    Args:
        root: The folder of the repository (`ESC-50-master`) or the folder above it.
        folds: Any of the cross-validation folds 1 to 5, between which no source recording is shared.
        exclude: Categories to leave out.
    """
    base = corpus_root(root, expected=("meta/esc50.csv",), what="ESC-50")
    rows = []
    for entry in read_table(base / "meta" / "esc50.csv", ("filename", "fold", "category")):
        if folds is None or int(entry["fold"]) in folds:
            audio = str(base / "audio" / entry["filename"])
            rows.append({"audio": audio, **labelled_row(stem(audio), [entry["category"]])})
    return Listing(without_labels(rows, exclude, "ESC-50"), from_table=True)


def list_fsd50k(root: str, *, split: str | Sequence[str] | None = None, exclude: Sequence[str] = ()) -> Listing:
    """List FSD50K: `FSD50K.{dev,eval}_audio/<fname>.wav` with `FSD50K.ground_truth/{dev,eval}.csv`.

    The type is the first of the labels of a clip, all of which are in the column `labels`.

    Args:
        root: The folder that holds `FSD50K.ground_truth`, or the folder above it.
        split: `"dev"`, `"eval"`, or the parts of dev, `"train"` and `"val"`, several with commas between them; without
            it, all clips.
        exclude: Labels of which a clip may have none, such as `["Speech", "Music"]`.
    """
    wanted = {"dev", "eval"} if split is None else set(split_names(split))
    _check_subsets(sorted(wanted), ("dev", "eval", "train", "val"), "FSD50K")
    base = corpus_root(root, expected=("FSD50K.ground_truth",), what="FSD50K")
    rows = []
    for part in ("dev", "eval"):
        of_dev = wanted & {"train", "val"} if part == "dev" else set()
        if part in wanted or of_dev:
            needed = ("fname", "labels", *(("split",) if of_dev else ()))
            for entry in read_table(base / "FSD50K.ground_truth" / f"{part}.csv", needed):
                if part in wanted or entry["split"] in of_dev:
                    audio = str(base / f"FSD50K.{part}_audio" / f"{entry['fname']}.wav")
                    rows.append({"audio": audio, **labelled_row(entry["fname"], entry["labels"].split(","))})
    return Listing(without_labels(rows, exclude, "FSD50K"), from_table=True)


def list_audioset(root: str, *, table: str | None = None, exclude: Sequence[str] = ()) -> Listing:
    """List clips of AudioSet, which everyone has to fetch for themselves, with a table of its segments.

    Clips are named after the eleven characters of their YouTube identifier, alone, with a `Y` in front or with `_` and
    times behind. Segments of the table without a clip are passed over, as no copy of AudioSet is complete.

    Args:
        root: Folder of the clips.
        table: CSV file as distributed (`YTID, start_seconds, end_seconds, positive_labels`); without it, all
            `*_segments.csv` in `root`. A file `class_labels_indices.csv` beside it names the labels.
        exclude: Labels of which a clip may have none, such as `["Speech"]`, or their identifiers where unnamed.
    """
    base = Path(root).absolute()
    tables = [Path(table)] if table is not None else sorted(base.glob("*_segments.csv"))
    if not base.is_dir() or not tables:
        raise FileNotFoundError(
            f"{base} is not a folder of AudioSet clips with a table such as balanced_train_segments.csv: put the "
            "table there or pass table="
        )
    labels: dict[str, list[str]] = {}
    for path in tables:
        labels.update(_audioset_labels(path))
    rows, unlabelled = [], []
    for path_of_clip in some_audio_files(base):
        name = stem(path_of_clip)
        found = [key for key in (name[:_YOUTUBE_ID_LENGTH], name[1 : _YOUTUBE_ID_LENGTH + 1]) if key in labels]
        if found:
            rows.append({"audio": path_of_clip, **labelled_row(found[0], labels[found[0]])})
        else:
            unlabelled.append(path_of_clip)
    if not rows:
        raise ValueError(f"none of the {len(unlabelled)} clips in {base} is in {', '.join(map(str, tables))}")
    if unlabelled:
        warnings.warn(f"{len(unlabelled)} clips in {base} are not in the table: {unlabelled[0]} ...", stacklevel=2)
    return Listing(without_labels(rows, exclude, "AudioSet"))


def _audioset_labels(table: Path) -> dict[str, list[str]]:
    """Labels by YouTube identifier; the header of these tables is a comment."""
    if not table.is_file():
        raise FileNotFoundError(f"{table} does not exist: pass the table of AudioSet segments")
    names_table = table.parent / "class_labels_indices.csv"
    names: dict[str, str] = {}
    if names_table.is_file():
        names = {row["mid"]: row["display_name"] for row in read_table(names_table, ("mid", "display_name"))}
    labels = {}
    with table.open(newline="", encoding="utf-8-sig") as file:
        for cells in csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True):
            if not cells or cells[0] == "YTID":
                continue
            if len(cells) != 4:
                raise ValueError(f"{table}: {', '.join(cells)!r} is not YTID, start_seconds, end_seconds, labels")
            labels[cells[0]] = [names.get(label, label) for label in cells[3].split(",")]
    return labels


def labelled_row(noise_id: str, labels: Sequence[str]) -> dict[str, Any]:
    """Columns of a clip with labels, of which the first is its type; `unknown` where there is none."""
    return {"noise_id": noise_id, "noise_type": labels[0] if labels else "unknown", "labels": list(labels)}


def without_labels(rows: list[dict[str, Any]], exclude: Sequence[str], what: str) -> list[dict[str, Any]]:
    """Rows that have none of the labels `exclude`.

    Raises:
        ValueError: If such a label does not occur, or nothing is left.
    """
    unknown = sorted(set(exclude) - {label for row in rows for label in row["labels"]})
    if unknown:
        raise ValueError(f"no clip of {what} has the label(s) {', '.join(unknown)}: correct exclude")
    kept = [row for row in rows if not set(exclude) & set(row["labels"])]
    if not kept:
        raise ValueError(f"no clip of {what} is left without the labels {', '.join(exclude)}")
    return kept


def _check_subsets(given: Sequence[str], known: Sequence[str], what: str) -> None:
    if isinstance(given, str) or set(given) - set(known):
        raise ValueError(f"{what} has {', '.join(known)}; got {given!r}")
