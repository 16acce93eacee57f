"""Stage 2: fine-tune a pretrained encoder, or train one from scratch, to predict mean opinion scores.

    python training_scripts/finetune_mos.py training_scripts/configs/tiny/finetune.yaml --model runs/pretrained \
        --ratings examples/data/p835/ratings.csv --split train --eval_split test --output_dir runs/mos

Runs with `python`, `accelerate launch` and `torchrun`. Started again with the same arguments, it goes on from the last
checkpoint in the output folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
from transformers import AutoConfig, HubertConfig, Trainer, set_seed

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression, JSQAModel
from jsqa_hf.data import load_mos, parse_mos_source, with_labels
from jsqa_hf.training import (
    MOSCollator,
    RunArguments,
    compute_mos_metrics,
    parse_arguments,
    run_script,
    run_training,
)


@dataclass
class FinetuningArguments:
    """Data and model of stage 2."""

    ratings: list[str] = field(
        metadata={"help": "tables of ratings, folders with one, or NAME:PATH such as nisqa:/data/NISQA_Corpus"}
    )
    split: str | None = field(default=None, metadata={"help": "value of the column `split` to train on"})
    eval_ratings: list[str] | None = field(default=None, metadata={"help": "default: `ratings`, if eval_split is set"})
    eval_split: str | None = field(default=None, metadata={"help": "value of the column `split` to evaluate on"})
    outputs: list[str] = field(default_factory=lambda: ["mos"], metadata={"help": "columns of the ratings to learn"})
    score_range: list[float] = field(
        default_factory=lambda: [1.0, 5.0], metadata={"help": "lowest and highest value of the rating scale"}
    )
    model: str | None = field(
        default=None, metadata={"help": "path or Hub id of a JSQA model, or of a HuBERT; without it, `model_size`"}
    )
    model_size: str = field(default="tiny", metadata={"help": "tiny (5.6 M parameters) or paper (26 M)"})
    from_scratch: bool = field(default=False, metadata={"help": "take the shape of `model`, but not its weights"})
    mos_loss: str = field(default="mse", metadata={"help": "mse or gaussian_nll"})
    mos_dropout: float = field(default=0.1, metadata={"help": "dropout of the MOS head"})
    freeze_feature_encoder: bool = field(default=False, metadata={"help": "keep the convolutions as they are"})
    freeze_base_model: bool = field(default=False, metadata={"help": "train the MOS head alone"})
    max_duration_s: float = field(default=30.0, metadata={"help": "longer clips are cut, in seconds"})


def build_model(args: FinetuningArguments) -> JSQAForMOSRegression:
    """The model that the arguments name, with a MOS head for their outputs and scale."""
    head = {
        "mos_output_names": args.outputs,
        "mos_score_range": args.score_range,
        "mos_loss": args.mos_loss,
        "mos_dropout": args.mos_dropout,
    }
    if args.model is None:
        if args.model_size not in {"tiny", "paper"}:
            raise ValueError(f"--model_size must be tiny or paper, but is {args.model_size!r}")
        preset = JSQAConfig.tiny if args.model_size == "tiny" else JSQAConfig.paper
        return JSQAForMOSRegression(preset(**head))
    config = AutoConfig.from_pretrained(args.model)
    if isinstance(config, HubertConfig):
        base = JSQAModel.from_backbone(args.model, JSQAConfig(**head))
        model = JSQAForMOSRegression(base.config)
        if not args.from_scratch:
            model.jsqa = base
        return model
    if args.from_scratch:
        return JSQAForMOSRegression(JSQAConfig.from_pretrained(args.model, **head))
    return JSQAForMOSRegression.from_pretrained(args.model, **head)


def load_ratings(sources: Sequence[str], split: str | None, args: FinetuningArguments) -> datasets.Dataset:
    """The rated clips of all listening tests, one after the other."""
    low, high = args.score_range
    parts = [load_mos(*parse_mos_source(source), split=split, score_range=(low, high)) for source in sources]
    labelled = [with_labels(part, args.outputs).select_columns(["audio", "file", "labels"]) for part in parts]
    return datasets.concatenate_datasets(labelled)


def check_rated(train: datasets.Dataset, outputs: Sequence[str]) -> None:
    """Refuse outputs that no clip is rated on: they would stay what chance made them."""
    unrated = np.isnan(np.array(train["labels"][:])).all(axis=0)
    names = [name for name, missing in zip(outputs, unrated, strict=True) if missing]
    if names:
        raise ValueError(f"no clip to train on has a rating of {', '.join(names)}: leave it out of --outputs")


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Fine-tune; returns the metrics."""
    args, training_args = parse_arguments((FinetuningArguments, RunArguments), argv)
    training_args.remove_unused_columns = False
    training_args.label_names = ["labels"]
    train = load_ratings(args.ratings, args.split, args)
    check_rated(train, args.outputs)
    evaluation = None
    if args.eval_ratings or args.eval_split:
        evaluation = load_ratings(args.eval_ratings or args.ratings, args.eval_split, args)
    # The head, and a model from scratch, draw their weights here; Trainer seeds too late for that.
    set_seed(training_args.seed)
    model = build_model(args)
    if args.freeze_base_model:
        model.freeze_base_model()
    if args.freeze_feature_encoder:
        model.freeze_feature_encoder()
    feature_extractor = JSQAFeatureExtractor()
    trainer = Trainer(
        model=model,
        args=training_args,
        train_dataset=train,
        eval_dataset=evaluation,
        data_collator=MOSCollator(feature_extractor, args.max_duration_s),
        processing_class=feature_extractor,
        compute_metrics=compute_mos_metrics(args.outputs),
    )
    return run_training(trainer, training_args, args)


if __name__ == "__main__":
    sys.exit(run_script(main))
