"""How far more pretraining helps: budgets of stage 1 times 1 to 16, two sizes of the network.

    python benchmarks/study/scaling.py --speech speech.csv --noise noise.csv --p835 p835.csv \
        --sim_train simulated/mapped.csv --sim_test simulated_test/mapped.csv --output_dir runs/scaling \
        --stage1_steps 50 --seeds 0 1 2 --jobs 2

Every pretrained network is fine-tuned alike, on ratings of listeners with talkers held out and on simulated ones. A
power law, 1 - SRCC = a * steps ** -b, is fitted to each curve, and tells of its residuals and what it expects of more
steps. Writes `scaling.json`, `.md` and `.png`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ablations import test_tables
from jobs import Job, run_jobs
from micro import OBJECTIVE, SHAPES, StudyArguments, execute, finetuning_job, pretraining_job, settings_of
from numpy.typing import ArrayLike
from scaling_report import markdown, plot
from scipy import stats
from statistics_of_runs import agreement

from jsqa_hf.training import parse_arguments, write_metrics

TESTS = ("p835", "simulated")
# Of the largest budget, to which the law is extended.
BEYOND = (2, 4)


@dataclass
class ScalingArguments(StudyArguments):
    """Which budgets and sizes."""

    multiples: list[int] = field(
        default_factory=lambda: [1, 2, 4, 8, 16], metadata={"help": "of --stage1_steps, one budget each"}
    )
    sizes: list[str] = field(default_factory=lambda: list(SHAPES), metadata={"help": "of the network"})
    budget: int = field(default=100, metadata={"help": "simulated clips to train on"})


def plan(args: ScalingArguments) -> tuple[list[Job], dict[tuple[str, str, int, int], Job]]:
    """Jobs of stage 1, and those of stage 2 by size, test, steps of stage 1 (0: from scratch) and seed."""
    stage1, stage2 = [], {}
    tables = test_tables(args, args.budget)
    for size in args.sizes:
        for seed in args.seeds:
            for multiple in args.multiples:
                steps = multiple * args.stage1_steps
                budget = replace(args, stage1_steps=steps)
                # A fixed warm-up would be longer than the shortest run.
                extra = [*OBJECTIVE, f"--warmup_steps={max(1, steps // 10)}"]
                job = pretraining_job(f"stage1/{size}-{steps}-{seed}", budget, seed, extra, size, evaluate=False)
                stage1.append(job)
                model = Path(args.output_dir) / job.name
                # From scratch it takes any model of this size, for its shape.
                for given in [steps, 0] if multiple == args.multiples[0] else [steps]:
                    for test in TESTS:
                        stage2[size, test, given, seed] = finetuning_job(
                            f"stage2/{size}-{test}-{given}-{seed}",
                            args,
                            model,
                            seed,
                            *tables[seed][test],
                            from_scratch=given == 0,
                        )
    return stage1, stage2


def fit_power_law(steps: ArrayLike, srcc: ArrayLike, beyond: Sequence[float]) -> dict[str, Any] | None:
    """Fit 1 - SRCC = a * steps ** -b by least squares of the logarithms.

    Args:
        steps: (runs,) of stage 1, at least two different ones.
        srcc: (runs,), below 1.
        beyond: steps to extend the law to.

    Returns:
        `a`, `b` with its 95 % interval `b_interval`, `r_squared`, `residuals` (runs,) in units of SRCC, and
        `expected`, by steps: `srcc` and the 95 % `interval` in which a further run would lie if the law holds and the
        logarithms of the errors are normally distributed. None for fewer than three runs, or an SRCC that is not
        defined.
    """
    x, rated = np.log(np.asarray(steps, dtype=float)), np.asarray(srcc, dtype=float)
    if len(x) < 3 or not (rated < 1).all():
        return None
    y = np.log(1 - rated)
    line = stats.linregress(x, y)
    freedom = len(x) - 2
    quantile = stats.t.ppf(0.975, freedom)
    spread = np.sqrt(((y - line.intercept - line.slope * x) ** 2).sum() / freedom)
    expected = {}
    for more in beyond:
        centre = line.intercept + line.slope * np.log(more)
        leverage = (np.log(more) - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
        width = quantile * spread * np.sqrt(1 + 1 / len(x) + leverage)
        low, high = 1 - np.exp(centre + width), 1 - np.exp(centre - width)
        expected[str(int(more))] = {"srcc": float(1 - np.exp(centre)), "interval": [float(low), float(high)]}
    return {
        "a": float(np.exp(line.intercept)),
        "b": float(-line.slope),
        "b_interval": [float(-line.slope - quantile * line.stderr), float(-line.slope + quantile * line.stderr)],
        "r_squared": float(line.rvalue**2),
        "residuals": (rated - (1 - np.exp(line.intercept + line.slope * x))).tolist(),
        "expected": expected,
    }


def curve(runs: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """The SRCC of every run by steps of stage 1, with the law that fits them, and one that had not seen the largest.

    Args:
        runs: by steps; 0 is from scratch, and is not fitted.
    """
    steps = sorted(number for number in runs if number)
    x = np.array([number for number in steps for _ in runs[number]])
    y = np.array([value for number in steps for value in runs[number]])
    before = x < steps[-1]
    check = fit_power_law(x[before], y[before], [steps[-1]]) if len(steps) > 2 else None
    return {
        "srcc": {str(number): list(values) for number, values in runs.items()},
        "law": fit_power_law(x, y, [factor * steps[-1] for factor in BEYOND]),
        "check": None
        if check is None
        else {**check["expected"][str(steps[-1])], "measured": float(np.mean(runs[steps[-1]]))},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report; returns the exit code."""
    (args,) = parse_arguments((ScalingArguments,), argv)
    folder = Path(args.output_dir)
    stage1, stage2 = plan(args)
    run_jobs(stage1, folder, execute, args.jobs)
    results = run_jobs(list(stage2.values()), folder, execute, args.jobs)
    curves: dict[str, Any] = {}
    for size in args.sizes:
        for test in TESTS:
            runs: dict[int, list[float]] = {}
            for (of_size, of_test, steps, _), job in stage2.items():
                if (of_size, of_test) == (size, test):
                    made = results[job.name]["predictions"]["test"]
                    (value,) = agreement(made["predicted"]["mos"], made["rated"]["mos"])["srcc"]
                    runs.setdefault(steps, []).append(float(value))
            curves[f"{size}, {test}"] = curve(dict(sorted(runs.items())))
    target = Path(args.results_dir)
    write_metrics(target / "scaling.json", {"settings": settings_of(args), "curves": curves})
    text = markdown(curves)
    (target / "scaling.md").write_text(text, encoding="utf-8")
    plot(curves, target / "scaling.png")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
