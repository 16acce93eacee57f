"""Add the scores of a no-reference measure to a table of clips, as labels for stage 2.

    python benchmarks/study/teacher_ratings.py --ratings simulated/ratings.csv --measure distillmos --num_proc 2

Writes `teacher_<measure>.csv` beside the table, with the columns `file` and `<measure>`. Labels of a model that ships
may only come from measures whose licence allows that: DistillMOS and DNSMOS (MIT), not NISQA, whose weights are
CC BY-NC-SA. Started again, what is there already stays.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from growing_table import growing_table, read_rows
from tqdm import tqdm

from jsqa_hf.audio import decode_audio
from jsqa_hf.resampling import resample
from jsqa_hf.training import parse_arguments
from jsqa_hf.waveforms import to_mono

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from peers import PEERS, SAMPLING_RATE, Rate  # noqa: E402 - it is a script beside this folder


@dataclass
class TeacherArguments:
    """What to rate, and by what."""

    ratings: str = field(metadata={"help": "CSV file with the column `file`, relative to its folder"})
    measure: str = field(default="distillmos", metadata={"help": "name of a measure that needs no reference"})
    num_proc: int = field(default=1, metadata={"help": "number of processes, of one thread each"})


_rate: Rate


def _start(measure: str) -> None:
    global _rate
    _rate = PEERS[measure].load("", 1).rate


def _score(path: str) -> float:
    samples, rate = decode_audio(path)
    clip = resample(to_mono(samples), rate, SAMPLING_RATE).astype(np.float32)
    return float(next(iter(_rate([clip], []).values()))[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Rate what is missing; returns the exit code."""
    (args,) = parse_arguments((TeacherArguments,), argv)
    if PEERS[args.measure].needs_reference:
        raise ValueError(f"--measure {args.measure} needs a reference")
    folder = Path(args.ratings).parent
    table = folder / f"teacher_{args.measure}.csv"
    with open(args.ratings, newline="", encoding="utf-8") as file:
        files = [row["file"] for row in csv.DictReader(file)]
    known = read_rows(table)
    done = {row["file"] for row in known}
    todo = [file for file in files if file not in done]
    with (
        growing_table(table, ("file", args.measure), known) as write,
        get_context("spawn").Pool(args.num_proc, _start, (args.measure,)) as pool,
    ):
        scores = pool.imap(_score, [str(folder / name) for name in todo], chunksize=4)
        for name, score in zip(todo, tqdm(scores, total=len(todo)), strict=True):
            write([{"file": name, args.measure: f"{score:.4f}"}])
    return 0


if __name__ == "__main__":
    sys.exit(main())
