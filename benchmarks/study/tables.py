"""The tables that the study trains and tests on, made of recordings and ratings in folders.

    python benchmarks/study/tables.py --data DATA --output_dir runs/tables

`DATA` has the folders `librispeech/train-clean-100`, `librispeech/test-other`, `picovoice`, `noise` (with
`noise.csv`: `file`, `type`), `p835` (with `ratings.csv`: `file`, `band`, `talker`, `condition`, `ovrl_mos`) and, where
it is at hand, `slotest` (with `ratings.csv`: `file`, `talker`, `condition`, `mos` from 1 to 7). Writes `speech.csv`,
`noise.csv`, `p835.csv` (the wideband clips, their overall rating) and `slotest.csv` (from 1 to 7 to 1 to 5), all with
absolute paths and the column `split`. Between `train` and `test` no talker and no kind of noise is shared.

Where they are from:

- LibriSpeech: openslr.org/12, `train-clean-100` (the study had one utterance of each speaker) and `test-other`.
- Picovoice: `data/speech/clean` of github.com/Picovoice/speech-to-intent-benchmark, as FLAC, where it is at hand.
- Noise: github.com/karoldvl/ESC-10, the background noise of Speech Commands v0.01, 100 Nonspeech Sounds of G. Hu, and
  others; any noise will do, if `type` tells its kind and some kinds are among `TEST_NOISE_TYPES`.
- P.835: `p835_reference_conditions` of github.com/microsoft/P.808, also in `examples/data/p835` of this repository.
- SLOTest: github.com/WafaaWardah/SLOTest_2023.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from micro import Row, write_table

from jsqa_hf.data.corpus import read_table
from jsqa_hf.training import parse_arguments, run_script

# Kinds of noise and talkers that only test. Those of the example data are among them; of the 100 sounds of one author,
# which are each of a kind, the last 20. Our choice.
TEST_NOISE_TYPES = {
    "coffee_shop",
    "helicopter",
    "running_tap",
    "summer_night",
    "train",
    *(f"n{i}" for i in range(81, 101)),
}
TEST_NOISE_FILES = {"berlin_2"}
TEST_TALKERS = {"p835": {"f3", "m3"}, "slotest": {"F2", "M2"}}


@dataclass
class TableArguments:
    """From where to where."""

    data: str = field(metadata={"help": "folder of the recordings"})
    output_dir: str = field(metadata={"help": "folder for the tables"})


def speech_rows(data: Path) -> list[Row]:
    """LibriSpeech by its splits, and the requests of Picovoice, whose speakers are not told, to train on."""
    rows = []
    for folder, split in (("librispeech/train-clean-100", "train"), ("librispeech/test-other", "test")):
        rows += [_speech(path, path.stem.split("-")[0], split) for path in sorted((data / folder).rglob("*.flac"))]
    return rows + [_speech(path, "picovoice", "train") for path in sorted((data / "picovoice").glob("*.flac"))]


def _speech(path: Path, speaker: str, split: str) -> Row:
    return {"file": str(path.resolve()), "speech_id": path.stem, "speaker_id": speaker, "split": split}


def noise_rows(data: Path) -> list[Row]:
    """Noise by kind."""
    rows = []
    for row in read_table(data / "noise" / "noise.csv", ("file", "type")):
        name = Path(row["file"]).stem
        held_out = row["type"] in TEST_NOISE_TYPES or name in TEST_NOISE_FILES
        # The recordings of one city are of several kinds.
        kind = name if row["type"] == "city_recording" else row["type"]
        path = str((data / "noise" / row["file"]).resolve())
        rows.append({"file": path, "noise_id": name, "type": kind, "split": "test" if held_out else "train"})
    return rows


def p835_rows(data: Path) -> list[Row]:
    """The overall ratings of the wideband clips."""
    rows = read_table(data / "p835" / "ratings.csv", ("file", "band", "talker", "condition", "ovrl_mos"))
    return [_rated(data / "p835", row, row["ovrl_mos"], "p835") for row in rows if row["band"] == "wb"]


def slotest_rows(data: Path) -> list[Row]:
    """The overall ratings, from 1 to 5."""
    rows = read_table(data / "slotest" / "ratings.csv", ("file", "talker", "condition", "mos"))
    return [_rated(data / "slotest", row, f"{1 + 4 * (float(row['mos']) - 1) / 6:.4f}", "slotest") for row in rows]


def _rated(folder: Path, row: Row, mos: str, corpus: str) -> Row:
    path = str((folder / row["file"]).resolve())
    split = "test" if row["talker"] in TEST_TALKERS[corpus] else "train"
    return {"file": path, "mos": mos, "talker": row["talker"], "condition": row["condition"], "split": split}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables."""
    (args,) = parse_arguments((TableArguments,), argv)
    data, target = Path(args.data), Path(args.output_dir)
    tables = {"speech": speech_rows(data), "noise": noise_rows(data), "p835": p835_rows(data)}
    if (data / "slotest").is_dir():
        tables["slotest"] = slotest_rows(data)
    for name, rows in tables.items():
        if missing := {"train", "test"} - {row["split"] for row in rows}:
            raise ValueError(f"{data} has no {name} to {' or to '.join(sorted(missing))} on; see the top of tables.py")
        write_table(target / f"{name}.csv", rows)
        test = sum(row["split"] == "test" for row in rows)
        print(f"{name}: {len(rows) - test} to train on, {test} to test on")


if __name__ == "__main__":
    sys.exit(run_script(main))
