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
from transformers import AutoConfig, EarlyStoppingCallback, HubertConfig, TrainerCallback, TrainingArguments, set_seed

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression, JSQAModel
from jsqa_hf.data import load_mos, parse_mos_source, with_labels
from jsqa_hf.training import (
    CardArguments,
    CropByEpoch,
    HeadFirst,
    MOSCollator,
    MOSTrainer,
    RunArguments,
    compute_mos_metrics,
    parse_arguments,
    prepare_push,
    run_script,
    run_training,
    with_lengths,
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
    score_ranges: list[float] | None = field(
        default=None,
        metadata={"help": "one such pair per entry of `ratings`, where scales differ; mapped to `score_range`"},
    )
    corpus_offsets: bool = field(
        default=False,
        metadata={"help": "learn scale and offset of every entry of `ratings` against the first, whose scale is kept"},
    )
    model: str | None = field(
        default=None, metadata={"help": "path or Hub id of a JSQA model, or of a HuBERT; without it, `model_size`"}
    )
    model_size: str = field(default="tiny", metadata={"help": "tiny (5.6 M parameters) or paper (26 M)"})
    from_scratch: bool = field(default=False, metadata={"help": "take the shape of `model`, but not its weights"})
    mos_loss: str = field(default="mse", metadata={"help": "mse, l1 or gaussian_nll"})
    mos_agreement_loss: str = field(default="none", metadata={"help": "further term: none, rank or concordance"})
    mos_agreement_weight: float = field(default=0.5, metadata={"help": "weight of that term"})
    votes_of_half_weight: float | None = field(
        default=None,
        metadata={"help": "votes at which a clip counts half as much as one with very many; default: all count alike"},
    )
    mos_dropout: float = field(default=0.1, metadata={"help": "dropout of the MOS head"})
    freeze_feature_encoder: bool = field(default=False, metadata={"help": "keep the convolutions as they are"})
    freeze_base_model: bool = field(default=False, metadata={"help": "train the MOS head alone"})
    head_only_steps: int = field(default=0, metadata={"help": "steps in which the head alone learns, before all do"})
    layer_decay: float = field(default=1.0, metadata={"help": "factor of the learning rate per layer downwards"})
    max_duration_s: float = field(default=30.0, metadata={"help": "longer clips are cut, in seconds; 0: whole clips"})
    crop: str = field(default="start", metadata={"help": "part of longer clips to train on: start or random"})
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "evaluations without a better `metric_for_best_model` (default: rmse) after which to stop"},
    )


def build_model(args: FinetuningArguments) -> JSQAForMOSRegression:
    """The model that the arguments name, with a MOS head for their outputs and scale."""
    head = {
        "mos_output_names": args.outputs,
        "mos_score_range": args.score_range,
        "mos_loss": args.mos_loss,
        "mos_agreement_loss": args.mos_agreement_loss,
        "mos_agreement_weight": args.mos_agreement_weight,
        "mos_corpora": args.ratings if args.corpus_offsets else [],
        # Of the projection head, which stage 2 does not have.
        "jnd_calibration": None,
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


def load_ratings(
    sources: Sequence[str], split: str | None, args: FinetuningArguments, score_ranges: Sequence[float] | None = None
) -> datasets.Dataset:
    """The rated clips of all listening tests, one after the other, on the scale of the model.

    Args:
        sources: of ratings.
        split: of them.
        args: outputs and scale.
        score_ranges: lowest and highest value of each source's scale; that of the model if None.

    Raises:
        ValueError: if there is not one scale per source.
    """
    ranges = np.reshape(score_ranges or list(args.score_range) * len(sources), (-1, 2)).tolist()
    if len(ranges) != len(sources):
        raise ValueError(f"--score_ranges has {len(ranges)} scales, but there are {len(sources)} sources of ratings")
    parts = []
    for number, (source, (low, high)) in enumerate(zip(sources, ranges, strict=True)):
        rated = with_labels(load_mos(*parse_mos_source(source), split=split, score_range=(low, high)), args.outputs)
        columns = {"corpus_id": [number] * len(rated), "labels": on_scale(rated["labels"], low, high, args)}
        if "n_votes" in rated.column_names:
            columns["n_votes"] = rated["n_votes"][:]
        part = rated.select_columns(["audio", "file"])
        for name, values in columns.items():
            part = part.add_column(name, values)
        parts.append(part)
    return datasets.concatenate_datasets(parts)


def on_scale(
    labels: Sequence[Sequence[float]], low: float, high: float, args: FinetuningArguments
) -> list[list[float]]:
    """Ratings mapped linearly from their own scale to that of the model."""
    lowest, highest = args.score_range
    if (low, high) == (lowest, highest):
        return list(labels)
    return (lowest + (np.array(labels[:]) - low) * (highest - lowest) / (high - low)).tolist()


def check_rated(train: datasets.Dataset, outputs: Sequence[str]) -> None:
    """Refuse outputs that no clip is rated on: they would stay what chance made them."""
    unrated = np.isnan(np.array(train["labels"][:])).all(axis=0)
    names = [name for name, missing in zip(outputs, unrated, strict=True) if missing]
    if names:
        raise ValueError(f"no clip to train on has a rating of {', '.join(names)}: leave it out of --outputs")


def build_callbacks(
    args: FinetuningArguments, training_args: TrainingArguments, collator: MOSCollator
) -> list[TrainerCallback]:
    """Crops by epoch, the head first, and early stopping, as far as they are asked for.

    Raises:
        ValueError: if early stopping has no evaluations to go by.
    """
    callbacks: list[TrainerCallback] = [CropByEpoch(collator)]
    if args.head_only_steps:
        callbacks.append(HeadFirst(args.head_only_steps))
        # While the head learns alone, nothing below it gets a gradient.
        training_args.ddp_find_unused_parameters = True
    if args.early_stopping_patience is not None:
        if training_args.eval_strategy == "no" or training_args.eval_strategy != training_args.save_strategy:
            raise ValueError(
                "early stopping needs --eval_strategy steps or epoch, the same --save_strategy, and evaluation data"
            )
        training_args.metric_for_best_model = training_args.metric_for_best_model or "rmse"
        training_args.greater_is_better = training_args.metric_for_best_model.rpartition("_")[2] in ("pcc", "srcc")
        training_args.load_best_model_at_end = True
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    return callbacks


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Fine-tune; returns the metrics."""
    args, card, training_args = parse_arguments((FinetuningArguments, CardArguments, RunArguments), argv)
    prepare_push(training_args)
    training_args.remove_unused_columns = False
    training_args.label_names = ["labels"]
    train = load_ratings(args.ratings, args.split, args, args.score_ranges)
    check_rated(train, args.outputs)
    evaluation = None
    if args.eval_ratings or args.eval_split:
        same = args.score_ranges if args.eval_ratings is None else None
        evaluation = load_ratings(args.eval_ratings or args.ratings, args.eval_split, args, same)
        if args.eval_ratings is not None:
            # Other listening tests than those that were trained on: the scale of the model itself.
            evaluation = evaluation.remove_columns("corpus_id")
    if training_args.train_sampling_strategy == "group_by_length":
        train = with_lengths(train, args.max_duration_s or None)
        evaluation = evaluation and with_lengths(evaluation, args.max_duration_s or None)
    # The head, and a model from scratch, draw their weights here; Trainer seeds too late for that.
    set_seed(training_args.seed)
    model = build_model(args)
    if args.freeze_base_model:
        model.freeze_base_model()
    if args.freeze_feature_encoder:
        model.freeze_feature_encoder()
    feature_extractor = JSQAFeatureExtractor()
    collator = MOSCollator(
        feature_extractor,
        args.max_duration_s or None,
        args.crop,  # type: ignore[arg-type]
        args.votes_of_half_weight,
        training_args.seed,
    )
    trainer = MOSTrainer(
        model=model,
        args=training_args,
        train_dataset=train,
        eval_dataset=evaluation,
        data_collator=collator,
        processing_class=feature_extractor,
        compute_metrics=compute_mos_metrics(args.outputs),
        callbacks=build_callbacks(args, training_args, collator),
        layer_decay=args.layer_decay,
        eval_collator=MOSCollator(feature_extractor, args.max_duration_s or None),
    )
    return run_training(trainer, training_args, args, card)


if __name__ == "__main__":
    sys.exit(run_script(main))
