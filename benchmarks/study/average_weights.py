"""Average a model with the one that it was fine-tuned from, so that it keeps what it knew of other recordings.

    python benchmarks/study/average_weights.py --before runs/distilled/tiny --after runs/mos --share 0.5 \
        --ratings ratings.csv --split val --output_dir runs/averaged

The weights are averaged one by one (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022); so can be
those of two runs of a fine-tuning. The 95 % intervals are then fitted anew to held-out clips, and allow for a panel of
listeners with a scale of its own (`--panel_std`, from `panels.py`). Writes the model, and `averaging.json` with its
figures.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.data import load_mos, parse_mos_source, with_labels
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.training import ContrastiveCollator, MOSCollator, parse_arguments, run_script, write_metrics
from jsqa_hf.training.interval_width import interval_shifts, shift_intervals
from jsqa_hf.training.predictions import Predictions, predict

BATCH_SIZE = 16


@dataclass
class AveragingArguments:
    """What to average, and the clips for the intervals."""

    before: str = field(metadata={"help": "model that the fine-tuning started from"})
    after: str = field(metadata={"help": "the fine-tuned model; its configuration is kept"})
    ratings: str = field(metadata={"help": "ratings that no model was trained on, as of finetune_mos.py"})
    output_dir: str = field(metadata={"help": "folder for the model"})
    split: str | None = field(default=None, metadata={"help": "value of the column `split`"})
    share: float = field(default=0.5, metadata={"help": "of the fine-tuned weights, from 0 to 1"})
    coverage: float = field(default=0.95, metadata={"help": "share of the ratings that the intervals shall hold"})
    panel_std: float = field(
        default=0.0, metadata={"help": "standard deviation, in points, of the difference between the scales of panels"}
    )
    ladders: str | None = field(
        default=None, metadata={"help": "JND pairs of held-out speech, to tell which is better"}
    )


def average(before: JSQAForMOSRegression, after: JSQAForMOSRegression, share: float) -> None:
    """Move the weights of `after` towards those of `before`, in place.

    Raises:
        ValueError: if the models differ in shape, or `share` lies outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"--share must lie between 0 and 1, but is {share}")
    old, new = before.state_dict(), after.state_dict()
    if {name: one.shape for name, one in old.items()} != {name: one.shape for name, one in new.items()}:
        raise ValueError("the two models have not the same shape")
    after.load_state_dict({name: torch.lerp(old[name].float(), new[name].float(), share) for name in new})


def figures(predictions: Predictions, outputs: Sequence[str]) -> dict[str, dict[str, float]]:
    """Agreement with the ratings, by output."""
    pairs = zip(outputs, predictions.scores.T, predictions.labels.T, strict=True)
    return {name: mos_metrics(scores, ratings) for name, scores, ratings in pairs}


def ranked_rightly(
    model: JSQAForMOSRegression, ladders: Sequence[dict[str, Any]], extractor: JSQAFeatureExtractor
) -> dict[str, float]:
    """Share of the pairs of clips of a ladder, more than one JND apart, of which the better one has the higher score.

    Args:
        model: whose first output counts.
        ladders: rows of `JNDPairGenerator`, of two levels or more.
        extractor: of the model.

    Returns:
        By distortion, or chain of them, and under `all` their mean.
    """
    collate, shares = ContrastiveCollator(extractor), defaultdict[str, list[bool]](list)
    for row in ladders:
        batch = collate([row])
        with torch.inference_mode():
            scores = model(batch["input_values"], batch["attention_mask"]).scores[:, 0]
        apart = batch["quality"][:, None] - batch["quality"]
        shares[row["chain"]] += ((scores[:, None] - scores)[apart > 1] > 0).tolist()
    by_distortion = {name: float(np.mean(shares[name])) for name in sorted(shares)}
    return {"all": float(np.mean(list(by_distortion.values()))), **by_distortion}


def main(argv: Sequence[str] | None = None) -> None:
    """Average, fit the intervals, save."""
    (args,) = parse_arguments((AveragingArguments,), argv)
    before, model = (
        JSQAForMOSRegression.from_pretrained(path, dtype=torch.float32) for path in (args.before, args.after)
    )
    average(before, model, args.share)
    extractor = JSQAFeatureExtractor.from_pretrained(args.after)
    outputs = model.config.mos_output_names
    rated = with_labels(load_mos(*parse_mos_source(args.ratings), split=args.split), outputs)
    collator = MOSCollator(extractor)
    predictions = predict(model.eval(), rated, collator, BATCH_SIZE)
    shifts = interval_shifts(model, predictions, args.coverage)
    shift_intervals(model, shifts)
    model.config.mos_panel_std = args.panel_std
    report: dict[str, Any] = {
        **{name: getattr(args, name) for name in ("share", "coverage", "panel_std")},
        "interval_shift": shifts,
        "held_out": figures(predictions, outputs),
    }
    if args.ladders is not None:
        report["ranked_rightly"] = ranked_rightly(model, datasets.load_from_disk(args.ladders), extractor)
    model.save_pretrained(args.output_dir)
    extractor.save_pretrained(args.output_dir)
    write_metrics(Path(args.output_dir) / "averaging.json", report)


if __name__ == "__main__":
    sys.exit(run_script(main))
