"""Add the scores of a no-reference measure to a table of clips, as labels for stage 2.

    pip install -e ".[bench]"
    python benchmarks/study/teacher_ratings.py --ratings simulated/ratings.csv --measure distillmos --num_proc 2

Writes `teacher_<measure>.csv` beside the table, with the columns `file` and `<measure>`. Labels of a model that ships
may only come from measures whose licence allows that: DistillMOS and DNSMOS (MIT), not NISQA, whose weights are
CC BY-NC-SA. Started again, what is there already stays. On a processor with AMX, DistillMOS takes a quarter of the
time with `--bfloat16 true`; on 40 simulated clips its scores moved by 0.006 on average, by 0.021 at most.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from growing_table import growing_table, read_rows
from tqdm import tqdm
from workers import map_with

from jsqa_hf.data.corpus import read_table
from jsqa_hf.training import parse_arguments, run_script

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from peers import PEERS  # noqa: E402 - it is a script beside this folder
from rated_sets import read_clip  # noqa: E402


@dataclass
class TeacherArguments:
    """What to rate, and by what."""

    ratings: str = field(metadata={"help": "CSV file with the column `file`, relative to its folder"})
    measure: str = field(default="distillmos", metadata={"help": "name of a measure that needs no reference"})
    num_proc: int = field(default=1, metadata={"help": "number of processes, of one thread each"})
    bfloat16: bool = field(
        default=False, metadata={"help": "networks of torch in half precision, faster on processors made for it"}
    )


class Teacher:
    """A measure that rates files."""

    def __init__(self, measure: str, bfloat16: bool) -> None:
        self.rate = PEERS[measure].load("", 1).rate
        self.bfloat16 = bfloat16

    def __call__(self, path: str) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            scores = self.rate([read_clip(path)], [])
        return float(next(iter(scores.values()))[0])


def main(argv: Sequence[str] | None = None) -> None:
    """Rate what is missing."""
    (args,) = parse_arguments((TeacherArguments,), argv)
    measures = [name for name, peer in PEERS.items() if not (peer.ours or peer.needs_reference)]
    if args.measure not in measures:
        raise ValueError(f"--measure {args.measure}: it must be one of {', '.join(measures)}")
    folder = Path(args.ratings).parent
    table = folder / f"teacher_{args.measure}.csv"
    files = [row["file"] for row in read_table(args.ratings, ("file",))]
    known = read_rows(table)
    done = {row["file"] for row in known}
    todo = [file for file in files if file not in done]
    paths = [str(folder / name) for name in todo]
    with (
        growing_table(table, ("file", args.measure), known) as write,
        map_with(partial(Teacher, args.measure, args.bfloat16), paths, args.num_proc) as scores,
    ):
        for name, score in zip(todo, tqdm(scores, total=len(todo)), strict=True):
            write([{"file": name, args.measure: f"{score:.4f}"}])


if __name__ == "__main__":
    sys.exit(run_script(main))
