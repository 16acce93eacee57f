"""Which learning rate of stage 2 suits a network from scratch, and which a pretrained one.

    python benchmarks/study/learning_rates.py --speech speech.csv --noise noise.csv --p835 p835.csv \
        --sim_train simulated/mapped.csv --sim_test simulated_test/mapped.csv --output_dir runs/rates \
        --seeds 0 --jobs 2

Both arms of the claim at every rate, with a random head and with one from the regression, judged on clips of
`--sim_train` that are held back: nothing that the claim is tested on takes part. Writes `learning_rates.json` and
`.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from claim import ARMS, nested_subsets
from jobs import Job, run_jobs
from micro import (
    OBJECTIVE,
    StudyArguments,
    execute,
    finetuning_job,
    of_split,
    pretraining_job,
    read_table,
    settings_of,
    write_table,
)
from statistics_of_runs import agreement

from jsqa_hf.training import parse_arguments, run_script, write_metrics

HEADS = {"random head": False, "head from the regression": True}

Setting = tuple[str, str, float, int]
"""Arm, head, learning rate, and number of clips to train on."""


@dataclass
class RateArguments(StudyArguments):
    """Which rates, on how many clips."""

    rates: list[float] = field(default_factory=lambda: [2e-3, 5e-4, 2e-4], metadata={"help": "to choose from"})
    budgets: list[int] = field(
        default_factory=lambda: [100, 1000], metadata={"help": "numbers of simulated clips to train on"}
    )
    held_back: int = field(default=200, metadata={"help": "simulated clips to judge by"})
    pretrained: list[str] | None = field(
        default=None, metadata={"help": "folders of stage 1, one per seed, instead of pretraining here"}
    )


def plan(args: RateArguments) -> tuple[list[Job], dict[tuple[Setting, int], Job]]:
    """Jobs of stage 1, and those of stage 2 by setting and seed.

    Raises:
        ValueError: if there are not as many clips, or folders of stage 1.
    """
    folder = Path(args.output_dir)
    stage1 = []
    if args.pretrained is None:
        stage1 = [pretraining_job(f"stage1/{seed}", args, seed, OBJECTIVE, evaluate=False) for seed in args.seeds]
    models = args.pretrained or [str(folder / job.name) for job in stage1]
    if len(models) != len(args.seeds):
        raise ValueError(f"--pretrained has {len(models)} folders for {len(args.seeds)} seeds")
    rows = of_split(read_table(args.sim_train), args.train_split)
    # The same for all seeds; clips were made in no order.
    held_back = write_table(folder / "tables" / "held-back.csv", rows[: args.held_back])
    stage2 = {}
    for seed, model in zip(args.seeds, models, strict=True):
        for budget, clips in nested_subsets(rows[args.held_back :], args.budgets, seed).items():
            train = write_table(folder / "tables" / f"{budget}-{seed}.csv", clips)
            for head, fitted in HEADS.items():
                for rate in args.rates:
                    given = replace(args, fit_head=fitted, learning_rate=rate, scratch_learning_rate=rate)
                    for arm in ARMS:
                        name = f"stage2/{arm}-{head.replace(' ', '-')}-{rate:g}-{budget}-{seed}"
                        stage2[(arm, head, rate, budget), seed] = finetuning_job(
                            name, given, model, seed, train, held_back, from_scratch=arm == "scratch"
                        )
    return stage1, stage2


def judge(
    stage2: Mapping[tuple[Setting, int], Job], results: Mapping[str, Mapping[str, Any]]
) -> dict[Setting, dict[str, float]]:
    """Mean RMSE, MAE, PCC and SRCC over the seeds, by setting."""
    figures = {}
    for setting in dict.fromkeys(setting for setting, _ in stage2):
        parts = [results[job.name]["predictions"]["test"] for (of, _), job in stage2.items() if of == setting]
        runs = agreement([part["predicted"]["mos"] for part in parts], parts[0]["rated"]["mos"])
        figures[setting] = {metric: float(np.mean(values)) for metric, values in runs.items()}
    return figures


def best_rates(figures: Mapping[Setting, Mapping[str, float]]) -> dict[tuple[str, str], float]:
    """The rate of lowest RMSE, on average over the numbers of clips, by arm and head."""
    errors: dict[tuple[str, str], dict[float, list[float]]] = {}
    for (arm, head, rate, _), metrics in figures.items():
        errors.setdefault((arm, head), {}).setdefault(rate, []).append(metrics["rmse"])
    return {of: min(by_rate, key=lambda rate: float(np.mean(by_rate[rate]))) for of, by_rate in errors.items()}


def markdown(figures: Mapping[Setting, Mapping[str, float]], best: Mapping[tuple[str, str], float]) -> str:
    """A row per arm, head and rate."""
    budgets = list(dict.fromkeys(budget for *_, budget in figures))
    columns = [f"{budget} clips: RMSE | SRCC" for budget in budgets]
    lines = ["# Learning rates of stage 2", "", "On simulated clips that were held back. Bold: lowest mean RMSE.", ""]
    lines += [f"| arm | head | learning rate | {' | '.join(columns)} |", "|---" * (3 + 2 * len(budgets)) + "|"]
    for arm, head, rate in dict.fromkeys(setting[:3] for setting in figures):
        cells = [arm, head, f"**{rate:g}**" if best[arm, head] == rate else f"{rate:g}"]
        for budget in budgets:
            metrics = figures[arm, head, rate, budget]
            cells += [f"{metrics[name]:.3f}" for name in ("rmse", "srcc")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and write the report."""
    (args,) = parse_arguments((RateArguments,), argv)
    stage1, stage2 = plan(args)
    folder, target = Path(args.output_dir), args.results
    run_jobs(stage1, folder, execute, args.jobs)
    figures = judge(stage2, run_jobs(list(stage2.values()), folder, execute, args.jobs))
    best = best_rates(figures)
    names = ("arm", "head", "learning_rate", "clips")
    report = {
        "settings": {**settings_of(args), "pretrained_elsewhere": args.pretrained is not None},
        "runs": [dict(zip(names, setting, strict=True)) | metrics for setting, metrics in figures.items()],
        "best": [{"arm": arm, "head": head, "learning_rate": rate} for (arm, head), rate in best.items()],
    }
    write_metrics(target / "learning_rates.json", report)
    text = markdown(figures, best)
    (target / "learning_rates.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
