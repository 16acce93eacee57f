"""Compare the predictions of a MOS model with human ratings.

    python training_scripts/evaluate_mos.py --model runs/mos --ratings examples/data/p835/ratings.csv --split test \
        --output_dir runs/evaluation

Writes `metrics.json`, with the figures per clip of those outputs that are rated in this test, `evaluation.json`, with
those per condition and corpus and the residuals, and `predictions.csv`. Runs with `python`, `accelerate launch` and
`torchrun`. `jsqa evaluate` gives the same figures, without batches of the Trainer, for clips of up to 30 s: longer
ones it rates in windows, where this script cuts them or, with `--crop none`, rates them at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import Trainer

from jsqa_hf import DEFAULT_CHECKPOINT, JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.evaluation import RatedClips, evaluate_outputs, summary, write_json, write_predictions
from jsqa_hf.evaluation_data import ListeningTest, load_listening_test
from jsqa_hf.scoring import load_whole_model
from jsqa_hf.training import MOSCollator, RunArguments, parse_arguments, run_script
from jsqa_hf.windowed_scores import interval_ends


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
    split: str | None = field(
        default=None, metadata={"help": "value of the column `split` to evaluate on, or several: dev,test"}
    )
    on_error: Literal["raise", "skip"] = field(
        default="raise", metadata={"help": "skip leaves out clips that are missing and ratings that can't be used"}
    )
    outputs: list[str] | None = field(
        default=None, metadata={"help": "columns with the ratings, in the order of the model's outputs"}
    )
    score_range: list[float] | None = field(
        default=None,
        metadata={
            "help": "lowest and highest rating of their scale, mapped to the model's; default: that of a corpus by "
            "name, else the model's"
        },
    )
    batch_size: int = field(default=8, metadata={"help": "clips per device and batch"})
    max_duration_s: float = field(default=30.0, metadata={"help": "longer clips are cut, in seconds"})
    crop: str = field(default="start", metadata={"help": "part of longer clips to rate: start, or none: all of it"})
    use_cpu: bool = field(default=False, metadata={"help": "do not use an accelerator"})


def rated_clips(
    test: ListeningTest, scores: np.ndarray, variances: np.ndarray, config: JSQAConfig
) -> dict[str, RatedClips]:
    """Ratings and predictions of the rated outputs, from (clips, outputs) scores and variances."""
    low, high = interval_ends(scores, variances, config.mos_score_range, 0.95, config.mos_panel_std)
    columns = {name: column for column, name in enumerate(test.output_names)}
    return {
        name: test.clips(name, scores[:, columns[name]], low[:, columns[name]], high[:, columns[name]])
        for name in test.rated_outputs()
    }


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, Any] | None]:
    """Evaluate; returns the figures per clip of every output, None where too few are rated."""
    (args,) = parse_arguments((EvaluationArguments,), argv)
    model = load_whole_model(JSQAForMOSRegression, args.model, "the MOS model", "it hasn't been fine-tuned on ratings")
    names = model.config.mos_output_names
    if args.crop == "random":
        raise ValueError("--crop must be start or none: a random part would not be the same twice")
    test = load_listening_test(
        args.ratings,
        names,
        model.config.mos_score_range,
        columns=args.outputs,
        split=args.split,
        score_range=args.score_range,
        on_error=args.on_error,
    )
    output = Path(args.output_dir)
    trainer = Trainer(
        model=model,
        args=RunArguments(
            output_dir=str(output),
            report_to="none",
            per_device_eval_batch_size=args.batch_size,
            use_cpu=args.use_cpu,
            dataloader_pin_memory=False,
        ),
        data_collator=MOSCollator(
            JSQAFeatureExtractor.from_pretrained(args.model),
            args.max_duration_s,
            args.crop,  # type: ignore[arg-type]
        ),
    )
    scores, variances = trainer.predict(test.dataset).predictions[:2]
    outputs = rated_clips(test, scores, variances, model.config)
    if trainer.is_world_process_zero():
        write_predictions(output / "predictions.csv", outputs)
    by, groups = test.groups()
    results = evaluate_outputs(outputs, groups, args.ratings, tell=warnings.warn)
    metrics = {name: None if result is None else result["clips"] for name, result in results.items()}
    if trainer.is_world_process_zero():
        write_json(output / "evaluation.json", results)
        write_json(output / "metrics.json", metrics)
        for name, result in results.items():
            if result is not None:
                print(f"{name}\n{summary(result, result['residuals'], by)}")
    return metrics


if __name__ == "__main__":
    sys.exit(run_script(main))
