"""The claim of the paper with seeds of your own, from recordings to report, in one command.

    pip install -e ".[bench,degrade]"
    python benchmarks/study/reproduce_claim.py --data DATA --output_dir runs/claim --seeds 7 8 --jobs 2

`DATA` is as `tables.py` takes it, which tells where it is from, with impulse responses of rooms in `rir` where they
are at hand. Makes and rates the simulated clips anew (`simulated_ratings.py`, `teacher_ratings.py`,
`map_ratings.py`), then does what `claim.py` does, with the settings of `docs/results/study/claim.*`; without
`DATA/slotest`, all but that part. The report is in `OUTPUT_DIR/results`, and those of further learning rates from
scratch are in `results-RATE`: `--stage1_steps 3200 --scratch_learning_rate 2e-3 5e-4` gives what the README's table is
of, whose rows of 1,000 clips and more are at 5e-4. Started again, it does what is missing.

That is long work for two cores: 2,200 clips that DistillMOS rates, and for each seed stage 1 and 24 runs of stage 2.
`--quick true` is a trial, to see that everything runs: the simulated part with few clips and few steps.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workers import require_bench

from jsqa_hf.training import parse_arguments, run_script

# Of `docs/results/study/claim.*`.
CLIPS = {"train": 1900, "test": 300}
STAGE2 = ["--fit_head=true", "--learning_rate=5e-4"]
QUICK_CLIPS = {"train": 24, "test": 16}
QUICK_CLAIM = ["--stage1_steps=4", "--steps=4", "--budgets", "12", "0", "--eval_ladders=4", "--trial=true"]


@dataclass
class ReproductionArguments:
    """Data and seeds."""

    data: str = field(metadata={"help": "folder of the recordings, as tables.py takes it"})
    output_dir: str = field(metadata={"help": "folder for all that is made; the report is in its folder results"})
    seeds: list[int] = field(metadata={"help": "of the runs, such as 7 8; those of the kept figures are 0 to 6"})
    jobs: int = field(default=1, metadata={"help": "processes at a time, of one thread each"})
    quick: bool = field(default=False, metadata={"help": "a trial of minutes, which gives no figures to quote"})
    stage1_steps: int = field(default=800, metadata={"help": "optimiser steps of pretraining; 3200 gain more"})
    scratch_learning_rate: list[float] = field(
        default_factory=lambda: [2e-3],
        metadata={"help": "of stage 2 from scratch; at any but the first, with simulated clips and the same stage 1"},
    )


Step = tuple[str, list[str]]
"""Name of a script of this folder, and its command line."""


def plan(args: ReproductionArguments) -> list[Step]:
    """All steps, in their order; each knows what of it was done before."""
    data, folder = Path(args.data), Path(args.output_dir)
    tables, clips = folder / "tables", QUICK_CLIPS if args.quick else CLIPS
    speech, noise, p835, slotest = (str(tables / f"{name}.csv") for name in ("speech", "noise", "p835", "slotest"))
    source = [f"--speech={speech}", f"--noise={noise}"]
    source += [f"--rirs={data / 'rir'}"] if (data / "rir").is_dir() else []
    rated = [p835, slotest] if (data / "slotest").is_dir() and not args.quick else [p835]
    simulated = {split: folder / f"simulated-{split}" / "ratings.csv" for split in clips}
    steps: list[Step] = [("tables", [f"--data={data}", f"--output_dir={tables}"])]
    for seed, (split, path) in enumerate(simulated.items()):
        words = [*source, f"--speech_split={split}", f"--noise_split={split}", f"--split={split}", f"--seed={seed}"]
        words += [f"--clips={clips[split]}", f"--output_dir={path.parent}", f"--num_proc={args.jobs}"]
        steps.append(("simulated_ratings", words))
    for table in [*rated, *map(str, simulated.values())]:
        steps.append(("teacher_ratings", [f"--ratings={table}", f"--num_proc={args.jobs}"]))
    for path in simulated.values():
        steps.append(("map_ratings", ["--ratings", *rated, f"--simulated={path}"]))
    mapped = {split: path.with_name("mapped.csv") for split, path in simulated.items()}
    words = [*source, f"--p835={p835}", f"--sim_train={mapped['train']}", f"--sim_test={mapped['test']}", *STAGE2]
    words += QUICK_CLAIM if args.quick else [f"--stage1_steps={args.stage1_steps}", "--steps=240"]
    if slotest in rated:
        words += [f"--slotest={slotest}", f"--dimensions={data / 'slotest' / 'ratings.csv'}"]
        words += ["--dimensions_range", "1", "7"]
    return [*steps, *claim_steps(args, words)]


def claim_steps(args: ReproductionArguments, words: Sequence[str]) -> list[Step]:
    """The claim at every learning rate from scratch; only the first pretrains, in its folder `runs`."""
    folder, steps = Path(args.output_dir), list[Step]()
    words = [*words, "--seeds", *map(str, args.seeds), f"--jobs={args.jobs}"]
    pretrained = [str(folder / "runs" / "stage1" / str(seed)) for seed in args.seeds]
    for number, rate in enumerate(args.scratch_learning_rate):
        suffix = f"-{rate:g}" if number else ""
        folders = [f"--output_dir={folder / 'runs'}{suffix}", f"--results_dir={folder / 'results'}{suffix}"]
        parts = ["--parts", "simulated"] if number or args.quick else []
        given = ["--pretrained", *pretrained] if number else []
        steps.append(("claim", [*words, f"--scratch_learning_rate={rate:g}", *folders, *parts, *given]))
    return steps


def main(argv: Sequence[str] | None = None) -> None:
    """Do what is missing."""
    (args,) = parse_arguments((ReproductionArguments,), argv)
    require_bench("pesq", "zimtohrli", "distillmos", "matplotlib")
    # Without these two codecs the clips would not be those of the claim.
    require_bench("lc3", "pycodec2", extra="degrade")
    steps = plan(args)
    for number, (script, words) in enumerate(steps, 1):
        print(f"[step {number} of {len(steps)}] {script}", flush=True)
        importlib.import_module(script).main(words)


if __name__ == "__main__":
    sys.exit(run_script(main))
