"""Average a model with the one that it was fine-tuned from, so that it keeps what it knew of other recordings.

    python benchmarks/study/average_weights.py --before runs/distilled/tiny --after runs/mos --share 0.5 \
        --ratings ratings.csv --split val --output_dir runs/averaged

The weights are averaged one by one (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). The 95 %
intervals are then fitted anew to held-out clips. Writes the model, and `averaging.json` with its figures on these.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.data import load_mos, parse_mos_source, with_labels
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.training import MOSCollator, parse_arguments, widen_intervals, write_metrics
from jsqa_hf.training.predictions import predict

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


def main(argv: Sequence[str] | None = None) -> int:
    """Average, fit the intervals, save; returns the exit code."""
    (args,) = parse_arguments((AveragingArguments,), argv)
    before, model = (
        JSQAForMOSRegression.from_pretrained(path, dtype=torch.float32) for path in (args.before, args.after)
    )
    average(before, model, args.share)
    extractor = JSQAFeatureExtractor.from_pretrained(args.after)
    outputs = model.config.mos_output_names
    rated = with_labels(load_mos(*parse_mos_source(args.ratings), split=args.split), outputs)
    collator = MOSCollator(extractor)
    shifts = widen_intervals(model.eval(), rated, collator, coverage=args.coverage, batch_size=BATCH_SIZE)
    scores, _, _, ratings = predict(model, rated, collator, BATCH_SIZE)
    figures = {name: mos_metrics(scores[:, column], ratings[:, column]) for column, name in enumerate(outputs)}
    model.save_pretrained(args.output_dir)
    extractor.save_pretrained(args.output_dir)
    write_metrics(
        Path(args.output_dir) / "averaging.json", {"share": args.share, "interval_shift": shifts, "held_out": figures}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
