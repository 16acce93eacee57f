"""The same network, ratings and steps with and without JND pretraining, over several seeds.

    python benchmarks/pretraining_gain.py --pretrained runs/pretrained --ratings ratings.csv [more.csv] \
        --output_dir runs/gain

Trains on the rows with `split` = train, tests on those with `split` = test and on sweeps of unheard noise (see
`default_model.py`). Writes `comparison.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "training_scripts"))

import finetune_mos  # noqa: E402
from default_model import noise_sweeps  # noqa: E402

from jsqa_hf.scoring import load_pipeline  # noqa: E402
from jsqa_hf.training import parse_arguments, write_metrics  # noqa: E402

CONFIG = REPOSITORY / "training_scripts" / "configs" / "tiny" / "finetune.yaml"


@dataclass
class GainArguments:
    """What to compare on which ratings."""

    pretrained: str = field(metadata={"help": "folder of stage 1"})
    ratings: list[str] = field(metadata={"help": "CSV files with the columns file, mos and split"})
    output_dir: str = field(metadata={"help": "folder for the models and comparison.json"})
    seeds: list[int] = field(default_factory=lambda: [0, 1], metadata={"help": "one run of each kind per seed"})
    extra: list[str] = field(default_factory=list, metadata={"help": "more arguments for stage 2, as name=value"})


def run(args: GainArguments, seed: int, from_scratch: bool) -> dict[str, float]:
    """One run of stage 2, and how well its scores follow the SNR in unheard noise."""
    folder = Path(args.output_dir) / f"{'scratch' if from_scratch else 'pretrained'}-{seed}"
    metrics = finetune_mos.main(
        [
            str(CONFIG),
            f"--model={args.pretrained}",
            f"--from_scratch={from_scratch}",
            "--ratings",
            *args.ratings,
            "--split=train",
            "--eval_split=test",
            f"--seed={seed}",
            f"--output_dir={folder}",
            *(f"--{item}" for item in args.extra),
        ]
    )
    sweeps = noise_sweeps(load_pipeline(folder))
    return {**metrics, "noise_srcc_within_sweep": sweeps["srcc_within_sweep"], "noise_srcc": sweeps["srcc_overall"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run and write the comparison; returns the exit code."""
    (args,) = parse_arguments((GainArguments,), argv)
    results: dict[str, Any] = {"seeds": args.seeds, "scratch": [], "pretrained": []}
    for seed in args.seeds:
        results["scratch"].append(run(args, seed, from_scratch=True))
        results["pretrained"].append(run(args, seed, from_scratch=False))
        write_metrics(Path(args.output_dir) / "comparison.json", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
