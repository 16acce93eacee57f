"""Both stages with a network that trains in minutes on one core of a CPU, as jobs of `jobs.py`."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jobs import Job

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression, JSQAModel
from jsqa_hf.audio import decode_audio
from jsqa_hf.data import corpus

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "training_scripts"

# Our choice; what is not named is as in `JSQAConfig.tiny`, 0.2 M parameters, about as many as NISQA has. The others
# have 0.9 and 5.2 M.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 512, "initializer_range": 0.07},
    "medium": {
        **{"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 1024},
        **{"conv_dim": (256,), "initializer_range": 0.05},
    },
}

# Batches of 8 ladders of 4 clips of 2.5 s and of 8 clips of at most 3 s. Our choice, as is the learning rate.
STAGE1 = [
    *("--levels=2", "--duration_s=2.5", "--level_dbov_min=-32", "--level_dbov_max=-20"),
    *("--per_device_train_batch_size=8", "--per_device_eval_batch_size=8"),
    *("--learning_rate=2e-3", "--lr_scheduler_type=cosine", "--warmup_steps=40", "--weight_decay=0.01"),
]
STAGE2 = [
    *("--max_duration_s=3", "--crop=random", "--per_device_train_batch_size=8"),
    *("--lr_scheduler_type=cosine", "--warmup_steps=40", "--weight_decay=0.01"),
]
MACHINE = [
    *("--use_cpu=true", "--dataloader_pin_memory=false", "--save_strategy=no"),
    *("--report_to=none", "--disable_tqdm=true", "--logging_steps=50"),
]
# The pretraining of the package's own model: every distortion, and which of two clips is better, in JNDs.
OBJECTIVE = ["--distortions", "all", "--loss=none", "--jnd_preference_weight=1"]

Row = dict[str, str]


@dataclass
class StudyArguments:
    """What the parts of the study share."""

    output_dir: str = field(metadata={"help": "folder for the runs; what is finished there is not done again"})
    speech: str = field(metadata={"help": "clean speech with the column split: a CSV file, a folder, or NAME:PATH"})
    noise: str = field(metadata={"help": "noise, likewise"})
    p835: str = field(metadata={"help": "CSV file of ratings with the columns file, mos, condition, split by talker"})
    sim_train: str = field(metadata={"help": "mapped.csv of map_ratings.py, to train on"})
    sim_test: str = field(metadata={"help": "mapped.csv of other speakers and noise, to test on"})
    rirs: str | None = field(default=None, metadata={"help": "room impulse responses for stage 1"})
    train_split: str = field(default="train", metadata={"help": "value of the columns split to train on"})
    test_split: str = field(default="test", metadata={"help": "value of the columns split to test on"})
    results_dir: str | None = field(
        default=None, metadata={"help": "folder for JSON, Markdown and plot; default: results in --output_dir"}
    )
    seeds: list[int] = field(default_factory=lambda: list(range(5)), metadata={"help": "runs of every kind"})
    stage1_steps: int = field(default=400, metadata={"help": "optimiser steps of pretraining"})
    steps: int = field(default=240, metadata={"help": "optimiser steps of stage 2, whatever the number of clips"})
    learning_rate: float = field(default=2e-3, metadata={"help": "of stage 2, pretrained"})
    scratch_learning_rate: float = field(default=2e-3, metadata={"help": "of stage 2, from scratch"})
    fit_head: bool = field(default=False, metadata={"help": "start the head of both from the regression"})
    eval_ladders: int = field(
        default=48, metadata={"help": "ladders of held-out speech and noise to judge stage 1 by"}
    )
    size: str = field(default="tiny", metadata={"help": f"of the network: {' or '.join(SHAPES)}"})
    bf16: bool = field(
        default=False,
        metadata={"help": "half precision: faster where the processor has it built in, slower elsewhere"},
    )
    jobs: int = field(default=1, metadata={"help": "runs at a time, each in a process of one thread"})

    @property
    def results(self) -> Path:
        """Where the report goes; unless asked for, not among the figures of the repository."""
        return Path(self.output_dir) / "results" if self.results_dir is None else Path(self.results_dir)


def settings_of(args: object) -> dict[str, Any]:
    """What a report says of its runs: the options, a dataclass, that change them, without paths."""
    return {name: value for name, value in vars(args).items() if name != "jobs" and os.sep not in str(value)}


def read_table(path: str | Path) -> list[Row]:
    """Rows of a CSV file of ratings, with absolute paths."""
    folder = Path(path).parent
    return [{**row, "file": str((folder / row["file"]).resolve())} for row in corpus.read_table(path, ("file",))]


def write_table(path: Path, rows: Sequence[Row]) -> str:
    """Write what [`read_table`] reads; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def of_split(rows: Iterable[Row], split: str) -> list[Row]:
    """The rows of a split; all, where rows have none."""
    return [row for row in rows if row.get("split", split) == split]


def shape_of(size: str) -> dict[str, Any]:
    """Configuration of the HuBERT backbone of that size."""
    return JSQAConfig.tiny().hubert_config.to_dict() | SHAPES[size]


def write_start(folder: Path, size: str, seed: int) -> str:
    """Save a model of random weights, in the shape of that name, as `--backbone` takes it; returns the folder."""
    path = folder / "starts" / f"{size}-{seed}"
    if not (path / "config.json").exists():
        torch.manual_seed(seed)
        JSQAModel(JSQAConfig(hubert_config=shape_of(size))).save_pretrained(path)
    return str(path)


def pretraining_job(
    name: str,
    args: StudyArguments,
    seed: int,
    extra: Sequence[str] = OBJECTIVE,
    size: str | None = None,
    *,
    evaluate: bool = True,
    kind: str = "pretrain",
) -> Job:
    """Stage 1 on the training split.

    Args:
        name: of the job; the model is in the folder of that name.
        args: data and steps.
        seed: of weights and data.
        extra: more arguments of `pretrain_contrastive.py`, which override those of here.
        size: of the network, one of `SHAPES`; default: that of `args`.
        evaluate: afterwards, on the test split.
        kind: see [`execute`].
    """
    held_out = [
        *(f"--eval_speech={args.speech}", f"--eval_speech_split={args.test_split}"),
        *(f"--eval_noise={args.noise}", f"--eval_noise_split={args.test_split}"),
        f"--eval_ladders={args.eval_ladders}",
    ]
    arguments = [
        *(f"--backbone={write_start(Path(args.output_dir), size or args.size, seed)}", f"--seed={seed}"),
        *(f"--speech={args.speech}", f"--speech_split={args.train_split}"),
        *(f"--noise={args.noise}", f"--noise_split={args.train_split}"),
        *([f"--rirs={args.rirs}"] if args.rirs else []),
        *(held_out if evaluate else []),
        f"--max_steps={args.stage1_steps}",
        *STAGE1,
        *MACHINE,
        f"--bf16={args.bf16}",
        *extra,
    ]
    return Job(name, kind, arguments)


def finetuning_job(
    name: str,
    args: StudyArguments,
    model: Path | str,
    seed: int,
    train: str,
    test: str,
    *,
    from_scratch: bool = False,
    outputs: Sequence[str] = ("mos",),
) -> Job:
    """Stage 2 on a table of ratings, and predictions for another.

    Args:
        name: of the job.
        args: steps.
        model: folder of stage 1.
        seed: of head, order and crops, and of all weights if `from_scratch`.
        train, test: CSV files.
        from_scratch: take the shape of `model` alone.
        outputs: columns to learn.
    """
    arguments = [
        *(f"--model={model}", f"--from_scratch={from_scratch}", f"--seed={seed}"),
        # Whatever the column `split` says, the table was made to train on.
        *(f"--ratings={train}", "--split=all"),
        *("--outputs", *outputs, f"--max_steps={args.steps}", f"--fit_head={args.fit_head}"),
        f"--learning_rate={args.scratch_learning_rate if from_scratch else args.learning_rate}",
        *STAGE2,
        *MACHINE,
        f"--bf16={args.bf16}",
    ]
    return Job(name, "finetune", arguments, {"test": test})


def execute(job: Job, folder: Path) -> dict[str, Any]:
    """Do a job; what it prints goes into a file beside its result.

    Returns:
        The metrics of stage 1 (`pretrain`, or one of the `TRAINERS` of `objectives.py`), of a model of stage 1 on
        other data (`judge`), or of stage 2 (`finetune`), there also `predictions` by test.
    """
    sys.path.insert(0, str(SCRIPTS))
    model = folder / job.name
    model.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(f"{model}.log", "w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        kinds = {"pretrain": _pretrain, "judge": _judge, "finetune": _finetune}
        return kinds.get(job.kind, _pretrain_on)(job, model)


def _pretrain(job: Job, model: Path) -> dict[str, Any]:
    import pretrain_contrastive

    return {"metrics": pretrain_contrastive.main([*job.arguments, f"--output_dir={model}"])}


def _pretrain_on(job: Job, model: Path) -> dict[str, Any]:
    from objectives import pretrain_on

    return {"metrics": pretrain_on(job.kind, [*job.arguments, f"--output_dir={model}"])}


def _judge(job: Job, model: Path) -> dict[str, Any]:
    from objectives import judge

    return {"metrics": judge(job.tests["model"], [*job.arguments, f"--output_dir={model}"])}


def _finetune(job: Job, model: Path) -> dict[str, Any]:
    import finetune_mos

    metrics = finetune_mos.main([*job.arguments, f"--output_dir={model}"])
    predictions = {name: predict(model, path) for name, path in job.tests.items()}
    # Hundreds of models would fill the disk, and nothing needs them.
    shutil.rmtree(model)
    return {"metrics": metrics, "predictions": predictions}


def predict(folder: Path, table: str) -> dict[str, Any]:
    """Scores and ratings of whole clips.

    Returns:
        `file` (clips,) names, `condition` (clips,) their conditions or else names, and `predicted` and `rated`, both
        (clips,) lists by output.
    """
    model = JSQAForMOSRegression.from_pretrained(folder).eval()
    extractor = JSQAFeatureExtractor()
    rows = read_table(table)
    scores = []
    for row in rows:
        samples, sampling_rate = decode_audio(row["file"])
        with torch.inference_mode():
            scores.append(model(**extractor(samples, sampling_rate=sampling_rate, return_tensors="pt")).scores[0])
    names = model.config.mos_output_names
    return {
        "file": [Path(row["file"]).name for row in rows],
        "condition": [row.get("condition") or Path(row["file"]).name for row in rows],
        "predicted": {name: [float(score[column]) for score in scores] for column, name in enumerate(names)},
        "rated": {name: [float(row[name]) for row in rows] for name in names},
    }
