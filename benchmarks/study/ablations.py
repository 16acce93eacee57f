"""What in stage 1 helps: variants of its pairs and of its objective, judged by the same small runs of stage 2.

    python benchmarks/study/ablations.py --speech speech.csv --noise noise.csv --p835 p835.csv \
        --sim_train simulated/mapped.csv --sim_test simulated_test/mapped.csv --output_dir runs/ablations \
        --seeds 0 1 --jobs 2

Every variant differs in the options of `VARIANTS` from the paper's: noise, pairs within 3 dB, all other clips of the
batch as negatives. It is judged by ratings of listeners with talkers held out, by simulated ones after training on 100
clips, and by its distances on ladders of held-out speech, in unseen kinds of noise and under unseen distortions.
Writes `ablations.json`, `.md` and `.png`. Left out: contrast between excerpts, as a ladder is of one excerpt.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ablations_report import markdown, plot
from claim import nested_subsets
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
from statistics_of_runs import compare_arms

from jsqa_hf.data import load_noise, load_rirs, parse_source
from jsqa_hf.jnd.selection import make_distortions
from jsqa_hf.training import parse_arguments, run_script, write_metrics

BASE = "paper"
SCRATCH = "scratch"
# Families of their own: no band limit, no lost packet and no clipping is heard in training.
HELD_OUT = ("low-pass", "high-pass", "telephone-band", "packet-loss", "burst-loss", "clipping")
SEEN = "{seen}"
KINDS = re.compile(r"--noise=\{(\d+) kinds\}")

# Options of pretrain_contrastive.py by variant. Twice 11 dB, and a larger step between, is the most that fits into the
# range of the SNR.
VARIANTS: dict[str, list[str]] = {
    BASE: [],
    # Nothing below a JND is heard; the smallest step that there is stands for none.
    "pairs within 0 dB": ["--jnd_db=0.001"],
    "pairs within 1 dB": ["--jnd_db=1"],
    "pairs within 6 dB": ["--jnd_db=6"],
    "pairs within 11 dB": ["--jnd_db=11", "--min_step_db=12"],
    "negatives of the same content": ["--negatives=same_content"],
    "false negatives masked": ["--false_negatives=mask"],
    "false negatives promoted": ["--false_negatives=promote"],
    "1 kind of noise": ["--noise={1 kinds}"],
    "4 kinds of noise": ["--noise={4 kinds}"],
    "20 kinds of noise": ["--noise={20 kinds}"],
    "100 kinds of noise": ["--noise={100 kinds}"],
    "preferences": ["--loss=none", "--jnd_preference_weight=1"],
    "more distortions": ["--distortions", SEEN],
    "more distortions, false negatives promoted, JND margin": [
        *("--distortions", SEEN),
        *("--false_negatives=promote", "--mask_ambiguous=true", "--jnd_margin_weight=1"),
    ],
    "more distortions, package's objective": [*OBJECTIVE, "--distortions", SEEN],
    # Views whose SNRs differ by up to 30 dB: content alone tells what belongs together, as in SimCLR.
    "any SNR of the same content": [
        "--levels=1",
        "--jnd_db=30",
        "--min_step_db=31",
        "--per_device_train_batch_size=16",
    ],
    "severity, supervised": [],
    "masked prediction": [],
    "all distortions, paper's objective": ["--distortions", "all"],
    "all distortions, package's objective": OBJECTIVE,
    "all distortions, masked prediction": OBJECTIVE,
    "all distortions, masked prediction and package's objective": OBJECTIVE,
    "all distortions, masked levels and package's objective": OBJECTIVE,
}
# The objectives, see `objectives.py`, of those whose options do not say it.
KIND_OF_JOB = {
    "severity, supervised": "severity",
    "masked prediction": "masked",
    "all distortions, masked prediction": "masked",
    "all distortions, masked prediction and package's objective": "masked-beside",
    "all distortions, masked levels and package's objective": "levels-beside",
}


@dataclass
class AblationArguments(StudyArguments):
    """Which variants, and how they are judged."""

    variants: list[str] = field(default_factory=lambda: list(VARIANTS), metadata={"help": "default: all"})
    budget: int = field(default=100, metadata={"help": "simulated clips to train on"})
    pairs: str | None = field(
        default=None,
        metadata={"help": "folder of `jsqa pairs --distortions all`, for all distortions; default: on the fly"},
    )


@dataclass(frozen=True)
class Plan:
    """Jobs of a variant (`stage1`, `judges`) and of the tests of stage 2, by seed."""

    stage1: dict[tuple[str, int], Job]
    judges: dict[tuple[str, int, str], Job]
    tests: dict[tuple[str, int, str], Job]


def noise_of_kinds(args: StudyArguments, kinds: int, seed: int) -> str:
    """Write a table of noise with one recording of each of so many kinds, none of them in the test split.

    The fewer are among the more, and the order depends on the seed.

    Raises:
        ValueError: if there are not as many kinds.
    """
    rows = read_table(args.noise)
    unseen = {row["type"] for row in rows if row["split"] == args.test_split}
    by_kind: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row["split"] == args.train_split and row["type"] not in unseen:
            by_kind.setdefault(row["type"], []).append(row)
    if len(by_kind) < kinds:
        raise ValueError(f"{args.noise} has {len(by_kind)} kinds of noise to train on, and {kinds} are asked for")
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(by_kind))
    chosen = {kind: by_kind[kind][int(rng.integers(len(by_kind[kind])))] for kind in order.tolist()}
    path = Path(args.output_dir) / "tables" / f"noise-{kinds}-{seed}.csv"
    return write_table(path, list(chosen.values())[:kinds])


def seen_distortions(args: StudyArguments) -> list[str]:
    """Names of all distortions that can be made of what is there, without those held out."""
    material: dict[str, Any] = {"noise": load_noise(*parse_source(args.noise))}
    if args.rirs:
        material["rirs"] = load_rirs(*parse_source(args.rirs))
    chains = make_distortions("all", material).chains  # type: ignore[arg-type]
    return [one.name for (one,) in chains if one.name not in HELD_OUT]


def options(variant: str, args: StudyArguments, seed: int, seen: Sequence[str]) -> list[str]:
    """The options of a variant, with names and paths in the place of what stands for them."""
    words: list[str] = []
    for word in VARIANTS[variant]:
        if (kinds := KINDS.fullmatch(word)) is not None:
            words.append(f"--noise={noise_of_kinds(args, int(kinds[1]), seed)}")
        else:
            words += seen if word == SEEN else [word]
    return [*words, f"--pairs={args.pairs}"] if args.pairs and "all" in words else words


def plan(args: AblationArguments) -> Plan:
    """All jobs."""
    if unknown := [name for name in args.variants if name not in VARIANTS]:
        raise ValueError(f"there is no variant {unknown[0]!r}; there are: {', '.join(VARIANTS)}")
    folder = Path(args.output_dir)
    variants = list(dict.fromkeys([BASE, *args.variants]))
    seen = seen_distortions(args) if any(SEEN in VARIANTS[name] for name in variants) else []
    jobs = Plan({}, {}, {})
    tables = test_tables(args, args.budget)
    for variant in variants:
        for seed in args.seeds:
            slug = "".join(letter if letter.isalnum() else "-" for letter in variant)
            extra = options(variant, args, seed, seen)
            kind = KIND_OF_JOB.get(variant, "pretrain")
            job = pretraining_job(f"stage1/{slug}-{seed}", args, seed, extra, evaluate=False, kind=kind)
            jobs.stage1[variant, seed] = job
            # The same ladders for all, whatever they were trained on.
            for name, distortions in (("noise", ["noise"]), ("unseen distortions", list(HELD_OUT))):
                base = pretraining_job("", args, args.seeds[0], ["--distortions", *distortions]).arguments
                needs = {"model": str(folder / job.name)}
                jobs.judges[variant, seed, name] = Job(f"judge/{slug}-{seed}-{name}", "judge", base, needs)
            for name, pair in tables[seed].items():
                model = folder / job.name
                stage2 = finetuning_job(f"stage2/{slug}-{seed}-{name}", args, model, seed, *pair)
                jobs.tests[variant, seed, name] = stage2
                if variant == BASE:
                    own = f"stage2/{SCRATCH}-{seed}-{name}"
                    jobs.tests[SCRATCH, seed, name] = finetuning_job(own, args, model, seed, *pair, from_scratch=True)
    return jobs


def test_tables(args: StudyArguments, budget: int) -> dict[int, dict[str, tuple[str, str]]]:
    """Tables of stage 2 to train on and to test on, by seed and name."""
    folder = Path(args.output_dir) / "tables"
    rated, simulated = read_table(args.p835), of_split(read_table(args.sim_train), args.train_split)
    listeners = tuple(
        write_table(folder / f"p835-{split}.csv", of_split(rated, split))
        for split in (args.train_split, args.test_split)
    )
    held_out = write_table(folder / "simulated-test.csv", read_table(args.sim_test))
    tables = {}
    for seed in args.seeds:
        clips = nested_subsets(simulated, [budget], seed)[budget]
        train = write_table(folder / f"simulated-{budget}-{seed}.csv", clips)
        tables[seed] = {"p835": (listeners[0], listeners[1]), "simulated": (train, held_out)}
    return tables


def compare(
    treated: Sequence[Job], control: Sequence[Job], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Two arms of stage 2 by metric, see `compare_arms`."""
    arms = [[results[job.name]["predictions"]["test"] for job in arm] for arm in (treated, control)]
    predicted = [[part["predicted"]["mos"] for part in arm] for arm in arms]
    return compare_arms(predicted[0], predicted[1], arms[0][0]["rated"]["mos"], arms[0][0]["condition"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and write the report."""
    (args,) = parse_arguments((AblationArguments,), argv)
    jobs, folder = plan(args), Path(args.output_dir)
    run_jobs(list(jobs.stage1.values()), folder, execute, args.jobs)
    judged = run_jobs(list(jobs.judges.values()), folder, execute, args.jobs)
    results = run_jobs(list(jobs.tests.values()), folder, execute, args.jobs)
    report: dict[str, Any] = {}
    for variant in dict.fromkeys(name for name, _, _ in jobs.tests):
        tests = {}
        for test in ("p835", "simulated"):
            arms = {name: [jobs.tests[name, seed, test] for seed in args.seeds] for name in (variant, BASE, SCRATCH)}
            tests[test] = {other: compare(arms[variant], arms[other], results) for other in (BASE, SCRATCH)}
        distances = {
            name: [judged[jobs.judges[variant, seed, name].name]["metrics"] for seed in args.seeds]
            for name in ("noise", "unseen distortions")
            if (variant, args.seeds[0], name) in jobs.judges
        }
        report[variant] = {"tests": tests, "distances": distances}
    target = args.results
    write_metrics(target / "ablations.json", {"settings": settings_of(args), "variants": report})
    text = markdown(report, len(args.seeds))
    (target / "ablations.md").write_text(text, encoding="utf-8")
    plot(report, target / "ablations.png")
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
