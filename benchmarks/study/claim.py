"""The claim of the paper: does pretraining on JND pairs make stage 2 better?

    python benchmarks/study/claim.py --speech speech.csv --noise noise.csv --p835 p835.csv --slotest ratings.csv \
        --sim_train simulated/mapped.csv --sim_test simulated_test/mapped.csv --output_dir runs/claim --jobs 2

For every seed, the same network learns from the same ratings in the same steps, pretrained and from scratch, each at
a learning rate of its own if these are given: ratings of listeners with talkers and conditions held out (`slotest`,
with the dimensions if they are given), of listeners with talkers held out (`p835`), and labels of measures for 25
clips and more (`simulated`). Writes `claim.json`, `claim.md` and `claim.png`. Started again, it does what is missing.
`reproduce_claim.py` makes these tables first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from claim_report import markdown, plot
from jobs import Job, run_jobs
from micro import (
    OBJECTIVE,
    Row,
    StudyArguments,
    execute,
    finetuning_job,
    of_split,
    pretraining_job,
    read_table,
    settings_of,
    write_table,
)
from statistics_of_runs import compare_arms

from jsqa_hf.training import parse_arguments, run_script, write_metrics

ARMS = ("pretrained", "scratch")
DIMENSIONS = ("noisiness", "coloration", "discontinuity", "loudness")
PARTS = ("slotest", "p835", "simulated")


@dataclass
class ClaimArguments(StudyArguments):
    """What to compare on."""

    slotest: str | None = field(
        default=None, metadata={"help": "CSV file of ratings with the columns file, mos, talker, condition"}
    )
    dimensions: str | None = field(
        default=None, metadata={"help": f"CSV file with the columns talker, condition, {', '.join(DIMENSIONS)}"}
    )
    dimensions_range: list[float] = field(
        default_factory=lambda: [1.0, 5.0], metadata={"help": "lowest and highest value of their scale"}
    )
    budgets: list[int] = field(
        default_factory=lambda: [25, 50, 100, 200, 500, 1000, 0],
        metadata={"help": "numbers of simulated clips to train on; 0 is all"},
    )
    p835_budgets: list[int] = field(
        default_factory=list, metadata={"help": "numbers of clips of P.835 to train on, besides all"}
    )
    parts: list[str] = field(default_factory=lambda: list(PARTS), metadata={"help": "which tables to make"})
    pretrained: list[str] | None = field(
        default=None, metadata={"help": "folders of stage 1, taken in turn by the seeds, instead of pretraining here"}
    )
    objective: list[str] | None = field(
        default=None, metadata={"help": "other options of stage 1 than the study's, as name=value: distortions=noise"}
    )
    trial: bool = field(default=False, metadata={"help": "say in the report that it is one"})


@dataclass(frozen=True)
class Test:
    """A table of results: jobs whose predictions are pooled, by arm and seed."""

    name: str
    outputs: tuple[str, ...]
    jobs: Mapping[tuple[str, int], list[Job]]


def held_out_folds(rows: Sequence[Row], seed: int = 0) -> list[tuple[list[Row], list[Row]]]:
    """Folds to train and to test on that share neither talkers nor conditions.

    As many folds as talkers. Conditions come in an order by kind, so they are shuffled before they are parted.

    Args:
        rows: with `talker` and `condition`.
        seed: of the order of the conditions.
    """
    talkers, conditions = (sorted({row[name] for row in rows}) for name in ("talker", "condition"))
    if len(talkers) < 2 or len(conditions) < len(talkers):
        raise ValueError(
            f"{len(talkers)} talkers and {len(conditions)} conditions: holding both out takes two talkers, and no "
            "fewer conditions than talkers"
        )
    shares = np.array_split(np.random.default_rng(seed).permutation(conditions), len(talkers))
    folds = []
    for talker, share in zip(talkers, shares, strict=True):
        held_out = set(share.tolist())
        test = [row for row in rows if row["talker"] == talker and row["condition"] in held_out]
        train = [row for row in rows if row["talker"] != talker and row["condition"] not in held_out]
        folds.append((train, test))
    return folds


def nested_subsets(rows: Sequence[Row], budgets: Sequence[int], seed: int) -> dict[int, list[Row]]:
    """Random clips by their number, the fewer among the more; 0 stands for all.

    Raises:
        ValueError: if there are fewer than asked for.
    """
    if max(budgets, default=0) > len(rows):
        raise ValueError(f"budgets of {max(budgets)} clips are asked for, but there are {len(rows)}")
    order = np.random.default_rng(seed).permutation(len(rows))
    return {budget: [rows[index] for index in order[: budget or len(rows)]] for budget in budgets}


def with_dimensions(rows: Sequence[Row], path: str, scale: Sequence[float]) -> list[Row]:
    """The rows with the ratings of their dimensions, brought from `scale` to 1..5.

    Raises:
        ValueError: if a clip has none.
    """
    known = {(row["talker"], row["condition"]): row for row in read_table(path)}
    result = []
    for row in rows:
        rated = known.get((row["talker"], row["condition"]))
        if rated is None:
            raise ValueError(f"{path}: no row for talker {row['talker']} in condition {row['condition']}")
        points = {name: 1 + 4 * (float(rated[name]) - scale[0]) / (scale[1] - scale[0]) for name in DIMENSIONS}
        result.append({**row, **{name: f"{value:.4f}" for name, value in points.items()}})
    return result


def plan(args: ClaimArguments) -> tuple[list[Job], list[Test]]:
    """The jobs of stage 1, and the tables with those of stage 2.

    Raises:
        ValueError: if `parts` has one that there is not, or the ratings do not allow a table.
    """
    if unknown := set(args.parts) - set(PARTS):
        raise ValueError(f"--parts has no {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    stage1 = []
    if args.pretrained is None:
        extra = OBJECTIVE if args.objective is None else [f"--{word}" for word in args.objective]
        stage1 = [pretraining_job(f"stage1/{seed}", args, seed, extra) for seed in args.seeds]
    pretrained = args.pretrained or [str(Path(args.output_dir) / job.name) for job in stage1]
    models = {seed: pretrained[number % len(pretrained)] for number, seed in enumerate(args.seeds)}
    tests = []
    for name, outputs, tables in rating_tables(args):
        jobs = {
            (arm, seed): [
                finetuning_job(
                    f"{name}/{arm}-{seed}-{number}",
                    args,
                    models[seed],
                    seed,
                    *pair,
                    from_scratch=arm == "scratch",
                    outputs=outputs,
                )
                for number, pair in enumerate(tables[seed])
            ]
            for seed in args.seeds
            for arm in ARMS
        }
        tests.append(Test(name, outputs, jobs))
    return stage1, tests


def rating_tables(args: ClaimArguments) -> Iterator[tuple[str, tuple[str, ...], dict[int, list[tuple[str, str]]]]]:
    """Write the ratings of each table of results; gives its name, its outputs, and by seed what `write_pairs` does."""
    folder = Path(args.output_dir) / "tables"
    if "slotest" in args.parts and args.slotest:
        rows, outputs = read_table(args.slotest), ("mos",)
        if args.dimensions:
            rows = with_dimensions(rows, args.dimensions, args.dimensions_range)
            outputs += DIMENSIONS
        yield "slotest", outputs, dict.fromkeys(args.seeds, write_pairs(folder / "slotest", held_out_folds(rows)))
    if "p835" in args.parts:
        rows = read_table(args.p835)
        split = (of_split(rows, args.train_split), of_split(rows, args.test_split))
        yield "p835", ("mos",), dict.fromkeys(args.seeds, write_pairs(folder / "p835", [split]))
        for name, tables in tables_of_budgets(folder, "p835", *split, args.p835_budgets, args.seeds):
            yield name, ("mos",), tables
    if "simulated" in args.parts:
        rows, held_out = of_split(read_table(args.sim_train), args.train_split), read_table(args.sim_test)
        for name, tables in tables_of_budgets(folder, "simulated", rows, held_out, args.budgets, args.seeds):
            yield name, ("mos",), tables


def tables_of_budgets(
    folder: Path, part: str, rows: Sequence[Row], held_out: list[Row], budgets: Sequence[int], seeds: Sequence[int]
) -> Iterator[tuple[str, dict[int, list[tuple[str, str]]]]]:
    """Write tables of so many clips to train on; gives the name of each, and by seed what `write_pairs` does."""
    subsets = {seed: nested_subsets(rows, budgets, seed) for seed in seeds}
    for budget in budgets:
        name = f"{part}-{budget or 'all'}"
        yield (
            name,
            {seed: write_pairs(folder / f"{name}-{seed}", [(subsets[seed][budget], held_out)]) for seed in seeds},
        )


def write_pairs(folder: Path, pairs: Sequence[tuple[list[Row], list[Row]]]) -> list[tuple[str, str]]:
    """Write tables to train and to test on; returns their paths."""
    return [
        (write_table(folder / f"{number}-train.csv", train), write_table(folder / f"{number}-test.csv", test))
        for number, (train, test) in enumerate(pairs)
    ]


def evaluate(test: Test, seeds: Sequence[int], results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Both arms compared, by name of the table and the output."""
    tables = {}
    for output in test.outputs:
        predicted: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
        for arm in ARMS:
            for seed in seeds:
                parts = [results[job.name]["predictions"]["test"] for job in test.jobs[arm, seed]]
                predicted[arm].append([value for part in parts for value in part["predicted"][output]])
        rated = [value for part in parts for value in part["rated"][output]]
        groups = [value for part in parts for value in part["condition"]]
        name = test.name if output == "mos" else f"{test.name} {output}"
        tables[name] = {
            "clips": len(rated),
            "seeds": list(seeds),
            "metrics": compare_arms(predicted["pretrained"], predicted["scratch"], rated, groups),
        }
    return tables


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and write the report."""
    (args,) = parse_arguments((ClaimArguments,), argv)
    stage1, tests = plan(args)
    folder = Path(args.output_dir)
    pretraining = run_jobs(stage1, folder, execute, args.jobs)
    jobs = [job for test in tests for of_arm in test.jobs.values() for job in of_arm]
    results = run_jobs(jobs, folder, execute, args.jobs)
    tables: dict[str, Any] = {}
    for test in tests:
        tables |= evaluate(test, args.seeds, results)
    report = {
        "settings": {**settings_of(args), "pretrained_elsewhere": args.pretrained is not None},
        "pretraining": {name: result["metrics"] for name, result in pretraining.items()},
        "tables": tables,
    }
    write_metrics(args.results / "claim.json", report)
    text = markdown(tables, args.trial)
    (args.results / "claim.md").write_text(text, encoding="utf-8")
    plot(tables, args.results / "claim.png")
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
