"""Put PESQ-WB of simulated clips onto the scale of listeners.

    python benchmarks/study/map_ratings.py --ratings examples/data/p835/ratings.csv --simulated simulated/ratings.csv

Fits the monotonic third-order mapping of ITU-T P.1401 from PESQ-WB to the ratings of the talkers with `split` = train;
the reference of each is their condition c0. Writes `mapped.csv` beside the simulated ratings, with the mapped value as
`mos`, and prints how well the mapping does on the talkers that were held out. Below the lowest PESQ-WB among the rated
clips it falls in a straight line to 1 at the lowest that PESQ-WB gives, which is an assumption.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pesq
import soxr

from jsqa_hf.audio import decode_audio
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.metrics.mapping import fit_mapping
from jsqa_hf.training import parse_arguments

SAMPLING_RATE = 16000
# ITU-T P.862.2: the mapping of the lowest raw score, -0.5.
WORST_PESQ = 0.999 + 4 / (1 + math.exp(1.3669 * 0.5 + 3.8224))


@dataclass
class MappingArguments:
    """Whose scale, and what to put onto it."""

    ratings: str = field(metadata={"help": "CSV file with the columns file, mos, talker, condition and split"})
    simulated: str = field(metadata={"help": "ratings.csv of simulated_ratings.py"})


def read(path: str) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(path: Path) -> np.ndarray:
    """Mono samples at the rate of PESQ."""
    samples, rate = decode_audio(path)
    return soxr.resample(samples.mean(0), rate, SAMPLING_RATE)


def rate_clips(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PESQ-WB and MOS of each clip, and whether it is held out."""
    rows, folder = read(path), Path(path).parent
    references = {row["talker"]: load(folder / row["file"]) for row in rows if row["condition"] == "c0"}
    scores = [pesq.pesq(SAMPLING_RATE, references[row["talker"]], load(folder / row["file"]), "wb") for row in rows]
    return (
        np.array(scores),
        np.array([float(row["mos"]) for row in rows]),
        np.array([row["split"] != "train" for row in rows]),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, test and apply the mapping; returns the exit code."""
    (args,) = parse_arguments((MappingArguments,), argv)
    scores, mos, held_out = rate_clips(args.ratings)
    mapping = fit_mapping(scores[~held_out], mos[~held_out], 3)
    print("held-out talkers:", mos_metrics(mapping(scores[held_out]), mos[held_out]))
    rows = read(args.simulated)
    simulated = np.array([float(row["pesq"]) for row in rows])
    low, high = scores[~held_out].min(), scores[~held_out].max()
    below = np.interp(simulated, [WORST_PESQ, low], [1.0, mapping(low)])
    mapped = np.where(simulated < low, below, mapping(simulated.clip(low, high)))
    with (Path(args.simulated).parent / "mapped.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "mos": f"{value:.4f}"} for row, value in zip(rows, mapped, strict=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
