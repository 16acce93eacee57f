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
from scaling_report import markdown, plot
from scipy import stats
from statistics_of_runs import agreement

from jsqa_hf.training import parse_arguments, run_script, write_metrics

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


def fit_power_law(runs: Mapping[int, Sequence[float]], beyond: Sequence[int]) -> dict[str, Any] | None:
    """Fit 1 - SRCC = a * steps ** -b by least squares of the logarithms, with an `a` of its own for every seed.

    Runs of one seed share their first weights and their labelled clips, so that they err together.

    Args:
        runs: SRCC, below 1, by steps of stage 1; of the same seeds in the same order for all steps.
        beyond: steps to extend the law to.

    Returns:
        `a`, the geometric mean over the seeds, `b` with its 95 % interval `b_interval`, `r_squared`, the share of the
        variance within seeds, `residuals` (steps * seeds,) in units of SRCC, and `expected`, by steps: `srcc`, the
        mean over these seeds, and the 95 % `interval` in which it would lie if the law holds and the logarithms of
        the errors are normally distributed. None for too few runs, or an SRCC that is not defined.
    """
    rated = np.array([runs[steps] for steps in runs], dtype=float)
    if len(runs) < 2 or (freedom := rated.size - rated.shape[1] - 1) < 1 or not (rated < 1).all():
        return None
    number, seeds = rated.shape
    x, y = np.log(np.array(list(runs), dtype=float)), np.log(1 - rated)
    away = x - x.mean()
    slope = float(away @ y.mean(axis=1) / (away @ away))
    residuals = y - y.mean(axis=0) - slope * away[:, None]
    margin = stats.t.ppf(0.975, freedom) * np.sqrt((residuals**2).sum() / freedom / seeds)
    expected = {}
    for more in beyond:
        further = np.log(more) - x.mean()
        centre = y.mean() + slope * further
        # Of the mean of one further run of each seed.
        width = margin * np.sqrt(1 + 1 / number + further**2 / (away @ away))
        low, high = 1 - np.exp(centre + width), 1 - np.exp(centre - width)
        expected[str(more)] = {"srcc": float(1 - np.exp(centre)), "interval": [float(low), float(high)]}
    error = float(margin / np.sqrt(away @ away))
    return {
        "a": float(np.exp(y.mean() - slope * x.mean())),
        "b": -slope,
        "b_interval": [-slope - error, -slope + error],
        "r_squared": float(1 - (residuals**2).sum() / ((y - y.mean(axis=0)) ** 2).sum()),
        "residuals": (rated - (1 - np.exp(y - residuals))).ravel().tolist(),
        "expected": expected,
    }


def mean_srcc(values: Sequence[float]) -> float:
    """The mean over seeds as the law has it: that of the logarithms of 1 - SRCC."""
    return float(1 - np.exp(np.log(1 - np.asarray(values, dtype=float)).mean()))


def curve(runs: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """The SRCC of every run by steps of stage 1, with the law that fits them, and one that had not seen the largest.

    Args:
        runs: by steps; 0 is from scratch, and is not fitted. Of the same seeds in the same order for all steps.
    """
    pretrained = {steps: runs[steps] for steps in sorted(runs) if steps}
    most = max(pretrained)
    check = fit_power_law({steps: values for steps, values in pretrained.items() if steps != most}, [most])
    return {
        "srcc": {str(number): list(values) for number, values in runs.items()},
        "law": fit_power_law(pretrained, [factor * most for factor in BEYOND]),
        "check": None if check is None else {**check["expected"][str(most)], "measured": mean_srcc(runs[most])},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and write the report."""
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
    target = args.results
    write_metrics(target / "scaling.json", {"settings": settings_of(args), "curves": curves})
    text = markdown(curves)
    (target / "scaling.md").write_text(text, encoding="utf-8")
    plot(curves, target / "scaling.png")
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
