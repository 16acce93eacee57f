"""Compare the predictions of a MOS model with human ratings.

    python training_scripts/evaluate_mos.py --model runs/mos --ratings examples/data/p835/ratings.csv --split test \
        --output_dir runs/evaluation

Writes `metrics.json`, with those outputs that are rated in this test, and `predictions.csv`. Runs with `python`,
`accelerate launch` and `torchrun`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
from transformers import Trainer, TrainingArguments

from jsqa_hf import DEFAULT_CHECKPOINT, JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.data import load_mos, parse_mos_source, with_labels
from jsqa_hf.metrics import SpeechQualityMetrics
from jsqa_hf.training import MOSCollator, on_scale, parse_arguments, write_metrics

# Two-sided 95 % quantile of the normal distribution, as in the intervals of the pipeline.
NORMAL_QUANTILE_95 = 1.959964


@dataclass
class EvaluationArguments:
    """What to evaluate on which ratings."""

    ratings: str = field(
        metadata={"help": "a table of ratings, a folder with one, or NAME:PATH such as tcd-voip:/data/TCD-VOIP"}
    )
    output_dir: str = field(metadata={"help": "folder for metrics.json and predictions.csv"})
    model: str = field(
        default=str(DEFAULT_CHECKPOINT), metadata={"help": "path or Hub id; default: the model of the package"}
    )
    split: str | None = field(default=None, metadata={"help": "value of the column `split` to evaluate on"})
    outputs: list[str] | None = field(
        default=None, metadata={"help": "columns with the ratings, in the order of the model's outputs"}
    )
    score_range: list[float] | None = field(
        default=None,
        metadata={"help": "lowest and highest rating of their scale, mapped to the model's; default: the model's"},
    )
    batch_size: int = field(default=8, metadata={"help": "clips per device and batch"})
    max_duration_s: float = field(default=30.0, metadata={"help": "longer clips are cut, in seconds"})
    crop: str = field(default="start", metadata={"help": "part of longer clips to rate: start, or none: all of it"})
    use_cpu: bool = field(default=False, metadata={"help": "do not use an accelerator"})


def load_rated(args: EvaluationArguments, names: Sequence[str], model_range: Sequence[float]) -> datasets.Dataset:
    """The rated clips, with labels on the scale of the model."""
    if args.score_range is not None and not (len(args.score_range) == 2 and args.score_range[0] < args.score_range[1]):
        raise ValueError(f"--score_range must be the lowest and the highest value, but is {args.score_range}")
    given = None if args.score_range is None else (args.score_range[0], args.score_range[1])
    rated = load_mos(*parse_mos_source(args.ratings), split=args.split, score_range=given)
    rated = with_labels(rated, args.outputs or names)
    if given is None:
        return rated
    labels = on_scale(rated["labels"][:], given, (model_range[0], model_range[1]))
    return rated.remove_columns("labels").add_column("labels", labels)


def evaluate_output(scores: np.ndarray, variances: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Metrics of one output, and the share of ratings inside the 95 % interval; (clips,) each."""
    rated = ~np.isnan(labels)
    scores, variances, labels = scores[rated], variances[rated], labels[rated]
    metrics = SpeechQualityMetrics().compute(predictions=scores, references=labels)
    inside = np.abs(scores - labels) <= NORMAL_QUANTILE_95 * np.sqrt(variances)
    return {**metrics, "interval_coverage_95": float(inside.mean())}


def write_predictions(
    path: Path,
    files: Sequence[str],
    names: Sequence[str],
    scores: np.ndarray,
    variances: np.ndarray,
    labels: np.ndarray,
) -> None:
    """One row per clip: file, then rating, prediction and variance of every output."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(f"{name}{part}" for name in names for part in ("", "_predicted", "_variance"))])
        columns = np.stack([labels, scores, variances], axis=-1).reshape(len(files), -1)
        writer.writerows([name, *(f"{value:.4f}" for value in row)] for name, row in zip(files, columns, strict=True))


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Evaluate; returns the metrics of every output."""
    (args,) = parse_arguments((EvaluationArguments,), argv)
    model = JSQAForMOSRegression.from_pretrained(args.model)
    names = model.config.mos_output_names
    if args.outputs is not None and len(args.outputs) != len(names):
        raise ValueError(f"the model has the outputs {names}: give one column for each in --outputs")
    if args.crop == "random":
        raise ValueError("--crop must be start or none: a random part would not be the same twice")
    rated = load_rated(args, names, model.config.mos_score_range)
    output = Path(args.output_dir)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(output),
            per_device_eval_batch_size=args.batch_size,
            remove_unused_columns=False,
            label_names=["labels"],
            use_cpu=args.use_cpu,
            dataloader_pin_memory=False,
        ),
        data_collator=MOSCollator(
            JSQAFeatureExtractor.from_pretrained(args.model),
            args.max_duration_s,
            args.crop,  # type: ignore[arg-type]
        ),
    )
    prediction = trainer.predict(rated)
    scores, variances = prediction.predictions[:2]
    labels = prediction.label_ids
    metrics = {
        name: evaluate_output(scores[:, column], variances[:, column], labels[:, column])
        for column, name in enumerate(names)
        if not np.isnan(labels[:, column]).all()
    }
    if trainer.is_world_process_zero():
        write_metrics(output / "metrics.json", metrics)
        write_predictions(output / "predictions.csv", rated["file"], names, scores, variances, labels)
        for name, values in metrics.items():
            print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items()))
    return metrics


if __name__ == "__main__":
    main()
    sys.exit(0)
