"""One run of training: from its arguments to the saved model and its metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import EvalPrediction, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from ..metrics import mos_metrics


def compute_mos_metrics(output_names: Sequence[str]) -> Any:
    """A `compute_metrics` function for Trainer: [`mos_metrics`] per rated output, under its name if several."""

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        scores, labels = prediction.predictions[0], np.asarray(prediction.label_ids)
        results: dict[str, float] = {}
        for column, name in enumerate(output_names):
            if np.isnan(labels[:, column]).all():
                continue
            metrics = mos_metrics(scores[:, column], labels[:, column])
            prefix = "" if len(output_names) == 1 else f"{name}_"
            results.update({f"{prefix}{key}": value for key, value in metrics.items()})
        return results

    return compute


def run_training(trainer: Trainer, args: TrainingArguments) -> dict[str, float]:
    """Train, resuming from the last checkpoint in the output folder if there is one; save the model and the metrics.

    Returns:
        All metrics, also in `metrics.json` in the output folder.
    """
    output = Path(str(args.output_dir))
    last_checkpoint = get_last_checkpoint(str(output)) if output.is_dir() else None
    metrics = trainer.train(resume_from_checkpoint=last_checkpoint).metrics
    metrics["train_steps"] = trainer.state.global_step
    evaluations = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    # There is none where `dataloader_drop_last` leaves no whole batch to evaluate on.
    if args.eval_on_start and evaluations:
        metrics["initial_eval_loss"] = evaluations[0]
    if trainer.eval_dataset is not None:
        metrics |= trainer.evaluate()
    trainer.save_model()
    trainer.save_state()
    if trainer.is_world_process_zero():
        write_metrics(output / "metrics.json", metrics)
    return metrics


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(metrics), indent=2, sort_keys=True) + "\n", encoding="utf-8")
