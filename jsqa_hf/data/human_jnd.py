"""Pairs of clips that listeners called the same or different: the answers behind PerceptualAudio (DPAM)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

from .corpus import corpus_root, to_dataset

# File of each subset, in https://github.com/pranaymanocha/PerceptualAudio/tree/master/dataset.
FILES = {subset: f"dataset_{subset}.txt" for subset in ("linear", "eq", "reverb", "combined")}

_NAME = re.compile(
    r"(?P<levels>(?:-?[\d.]+(?:e-?\d+)?_)+)(?P<content>(?P<speaker>[mf]\d+)_script\d+_\w+?_[\d.]+)\.wav(?:_(?P<room>.+))?"
)
_TEXT, _NUMBER = datasets.Value("string"), datasets.Value("float64")
_FEATURES = datasets.Features(
    {
        "subset": _TEXT,
        "distortion": _TEXT,
        "noise_type": _TEXT,
        "room": _TEXT,
        "quantity": _TEXT,
        "severity": datasets.List(_NUMBER),
        "levels": datasets.List(datasets.List(_NUMBER)),
        "different": datasets.Value("int64"),
        "speech_id": _TEXT,
        "speaker_id": _TEXT,
    }
)


def load_human_jnd(
    root: str | os.PathLike[str],
    *,
    subsets: Sequence[str] = tuple(FILES),
    audio_root: str | os.PathLike[str] | None = None,
) -> datasets.Dataset:
    """Load the answers of PerceptualAudio (Manocha et al., Interspeech 2020; CC BY 4.0).

    One row per answer of a listener who heard two clips of the same words. Columns:

    - `subset`: file that the answer is from;
    - `distortion`: `"noise"`, `"mp3"`, `"equalisation"`, `"reverberation"` or `"combined"`;
    - `noise_type`, `room`: what was added, `""` where it is not told;
    - `severity` and its `quantity`: the two values of that which differs. Noise has its level in dB relative to that
      of the file used, MP3 its bit rate in kbit/s, equalisation the attenuation of a band in dB. `[]` and `""` if more
      or less than one thing differs (always so for reverberation) or if its unit is not known;
    - `levels`: for both clips all the numbers in its name;
    - `different`: 1 if the listener heard a difference, else 0;
    - `speech_id`, `speaker_id`;
    - `clips`, only with `audio_root`: both clips, undecoded, or none where a file is missing.

    Rows of `eq` whose clips have the same name are left out: listeners call 4 in 10 of them different, so the name
    does not tell everything that was changed. In the other subsets such pairs are true repetitions, and the share of
    "different" is the guess rate of the listeners.

    Args:
        root: Folder with the label files, or the folder above it.
        subsets: Which of `FILES` to read.
        audio_root: Folder with the recordings, unpacked.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If there is no such subset, or a line does not have the form expected; the message names it.
    """
    unknown = [subset for subset in subsets if subset not in FILES]
    if unknown or not subsets:
        raise ValueError(f"subsets must be some of {', '.join(FILES)}, got {list(subsets)}")
    folder = corpus_root(root, expected=list(FILES.values()), what="the answers of PerceptualAudio")
    rows = [row for subset in subsets for row in _read(folder / FILES[subset], subset)]
    if audio_root is None:
        return to_dataset([{name: row[name] for name in _FEATURES} for row in rows], _FEATURES)
    if not Path(audio_root).is_dir():
        raise FileNotFoundError(f"{audio_root} does not exist: pass the folder of the recordings of PerceptualAudio")
    for row in rows:
        paths = [Path(audio_root) / file for file in row["files"]]
        row["clips"] = [str(path) for path in paths] if all(path.is_file() for path in paths) else []
    features = datasets.Features({**_FEATURES, "clips": datasets.List(_TEXT)})
    dataset = to_dataset([{name: row[name] for name in features} for row in rows], features)
    return dataset.cast_column("clips", datasets.List(datasets.Audio(decode=False)))


def _read(path: Path, subset: str) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: bring it in, or leave {subset!r} out of subsets")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = _parsed([cell.strip() for cell in line.split("\t")], subset)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if subset != "eq" or row["levels"][0] != row["levels"][1]:
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} lists no answers")
    return rows


def _parsed(cells: list[str], subset: str) -> dict[str, Any]:
    if len(cells) != (4 if subset == "linear" else 3) or cells[2] not in ("0", "1"):
        columns = "first, second, 0 or 1" + (", noise" if subset == "linear" else "")
        raise ValueError(f"expected {columns}, separated by tabs, got {cells}")
    names = [_NAME.fullmatch(cell.split("/")[-1]) for cell in cells[:2]]
    if names[0] is None or names[1] is None or names[0]["content"] != names[1]["content"]:
        raise ValueError(f"expected two names with levels in front and the same words, got {cells[0]} and {cells[1]}")
    levels = [[float(level) for level in name["levels"].strip("_").split("_")] for name in names if name]
    if len(levels[0]) != len(levels[1]):
        raise ValueError(f"expected equally many levels, got {cells[0]} and {cells[1]}")
    noise_type = cells[3] if subset == "linear" else ""
    distortion = _distortion(subset, noise_type)
    quantity, severity = _severity(distortion, levels)
    folder = f"{noise_type}_list/" if noise_type else ""
    return {
        "subset": subset,
        "distortion": distortion,
        "noise_type": noise_type if distortion == "noise" else "",
        "room": (names[0]["room"] or "").removesuffix(".wav"),
        "quantity": quantity,
        "severity": severity,
        "levels": levels,
        "different": int(cells[2]),
        "speech_id": names[0]["content"],
        "speaker_id": names[0]["speaker"],
        "files": [folder + cell for cell in cells[:2]],
    }


def _distortion(subset: str, noise_type: str) -> str:
    if subset == "linear":
        return {"mp3": "mp3", "reverb_noise": "reverberation"}.get(noise_type, "noise")
    return {"eq": "equalisation", "reverb": "reverberation"}.get(subset, subset)


def _severity(distortion: str, levels: list[list[float]]) -> tuple[str, list[float]]:
    """Name and values of what differs, if it is one thing whose unit is known."""
    differing = [index for index, (first, second) in enumerate(zip(*levels, strict=True)) if first != second]
    if distortion in ("noise", "mp3") and not differing:
        differing = [0]
    if len(differing) != 1:
        return "", []
    first, second = (numbers[differing[0]] for numbers in levels)
    if distortion == "noise":
        return "noise level in dB", [20 * math.log10(first), 20 * math.log10(second)]
    if distortion == "mp3":
        return "bit rate in kbit/s", [first, second]
    if distortion == "equalisation":
        # 20 dB at level 100, by create_space/sample.py of the same repository.
        band = ("below 500 Hz", "500 to 1000 Hz", "above 1000 Hz")[differing[0]]
        return f"attenuation {band} in dB", [first / 5, second / 5]
    return "", []
