"""Stage 2: fine-tune a pretrained encoder, or train one from scratch, to predict mean opinion scores.

    python training_scripts/finetune_mos.py training_scripts/configs/tiny/finetune.yaml --model runs/pretrained \
        --ratings examples/data/p835/ratings.csv --split train --eval_split test --output_dir runs/mos

Runs with `python`, `accelerate launch` and `torchrun`. Started again with the same arguments, it goes on from the last
checkpoint in the output folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import datasets
import torch
from torch import nn
from transformers import AutoConfig, EarlyStoppingCallback, TrainerCallback, TrainingArguments, set_seed

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression, JSQAModel
from jsqa_hf.data import parse_mos_source
from jsqa_hf.training import (
    CardArguments,
    HeadFirst,
    LadderedMOSCollator,
    MOSCollator,
    MOSTrainer,
    RunArguments,
    check_rated,
    compute_mos_metrics,
    corpus_names,
    fit_head,
    load_pairs,
    load_rated_clips,
    parse_arguments,
    prepare_push,
    rating_scales,
    refuse_clips_of_both,
    run_script,
    run_training,
    widen_intervals,
    with_lengths,
    with_vote_weights,
)


@dataclass
class FinetuningArguments:
    """Data and model of stage 2."""

    ratings: list[str] = field(
        metadata={"help": "tables of ratings, folders with one, or NAME:PATH such as nisqa:/data/NISQA_Corpus"}
    )
    split: list[str] | None = field(
        default=None,
        metadata={
            "help": "values of the column `split` to train on, with commas between them, or all: one for all of "
            "`ratings`, or one per entry. Default: all, but not of ratings with splits for testing"
        },
    )
    eval_ratings: list[str] | None = field(default=None, metadata={"help": "default: `ratings`, if eval_split is set"})
    eval_split: list[str] | None = field(
        default=None, metadata={"help": "the same to evaluate on, per entry of `eval_ratings`; default: all"}
    )
    on_error: Literal["raise", "skip"] = field(
        default="raise", metadata={"help": "skip leaves out clips that are missing and ratings that can't be used"}
    )
    outputs: list[str] = field(default_factory=lambda: ["mos"], metadata={"help": "columns of the ratings to learn"})
    score_range: list[float] = field(
        default_factory=lambda: [1.0, 5.0], metadata={"help": "lowest and highest value of the rating scale"}
    )
    score_ranges: list[float] | None = field(
        default=None,
        metadata={
            "help": "one such pair per entry of `ratings`; mapped to `score_range`. Default: the scale of a corpus by "
            "name, `score_range` for others"
        },
    )
    eval_score_ranges: list[float] | None = field(
        default=None,
        metadata={
            "help": "the same per entry of `eval_ratings`. Default: that of the same path among `ratings`, for others "
            "as above"
        },
    )
    corpus_offsets: bool = field(
        default=False,
        metadata={"help": "learn scale and offset of every entry of `ratings` against the first, whose scale is kept"},
    )
    corpus_learning_rate: float = field(
        default=0.01, metadata={"help": "learning rate of these, in points of the rating scale per step"}
    )
    model: str | None = field(
        default=None, metadata={"help": "path or Hub id of a JSQA model, or of a HuBERT; without it, `model_size`"}
    )
    model_size: str = field(default="tiny", metadata={"help": "tiny (0.2 M parameters) or paper (26 M)"})
    from_scratch: bool = field(default=False, metadata={"help": "take the shape of `model`, but not its weights"})
    mos_loss: str = field(default="mse", metadata={"help": "mse, l1 or gaussian_nll"})
    mos_agreement_loss: str = field(default="none", metadata={"help": "further term: none, rank or concordance"})
    mos_agreement_weight: float = field(default=0.5, metadata={"help": "weight of that term"})
    votes_of_half_weight: float | None = field(
        default=None,
        metadata={"help": "votes at which a clip counts half as much as one with very many; default: all count alike"},
    )
    mos_dropout: float = field(default=0.0, metadata={"help": "dropout of the MOS head"})
    freeze_feature_encoder: bool = field(default=False, metadata={"help": "keep the convolutions as they are"})
    freeze_base_model: bool = field(default=False, metadata={"help": "train the MOS head alone"})
    fit_head: bool = field(
        default=False,
        metadata={
            "help": "start the MOS head from the linear regression on the embeddings; one that `model` brings stays"
        },
    )
    head_only_steps: int = field(default=0, metadata={"help": "steps in which the head alone learns, before all do"})
    layer_decay: float = field(default=1.0, metadata={"help": "factor of the learning rate per layer downwards"})
    pairs: str | None = field(
        default=None,
        metadata={"help": "folder of `jsqa pairs`: learn to tell which of two clips is better, too, without ratings"},
    )
    pairs_per_clip: float = field(default=0.5, metadata={"help": "ladders of `pairs` for every rated clip"})
    jnd_preference_weight: float = field(default=0.1, metadata={"help": "weight of telling which is better"})
    mos_points_per_jnd: float = field(
        default=0.1, metadata={"help": "points of the scale that one JND is worth at least, to tell"}
    )
    max_duration_s: float = field(default=30.0, metadata={"help": "longer clips are cut, in seconds"})
    crop: str = field(
        default="start",
        metadata={"help": "part of longer clips to train on: start, random, or none, which leaves all clips whole"},
    )
    interval_coverage: float | None = field(
        default=None,
        metadata={"help": "at the end, widen or narrow the 95 %% intervals to hold this share of eval_ratings"},
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "evaluations without a better `metric_for_best_model` after which to stop, with the best model. "
            "Default of that: rmse of the first output; loss with corpus_offsets, as it is on the scale of each corpus"
        },
    )

    def __post_init__(self) -> None:
        if self.interval_coverage is not None and not 0 < self.interval_coverage < 1:
            raise ValueError(f"--interval_coverage must lie between 0 and 1, but is {self.interval_coverage}")
        for name in ("pairs_per_clip", "jnd_preference_weight", "mos_points_per_jnd"):
            if self.pairs is None and getattr(self, name) != getattr(FinetuningArguments, name):
                raise ValueError(f"--{name} needs --pairs")


def build_datasets(
    args: FinetuningArguments, training_args: TrainingArguments
) -> tuple[datasets.Dataset, datasets.Dataset | None]:
    """Clips to train on, and to evaluate on if there are any."""
    options: dict[str, Any] = {"outputs": args.outputs, "score_range": args.score_range, "on_error": args.on_error}
    train = load_rated_clips(
        args.ratings, splits=args.split, score_ranges=args.score_ranges, to_train_on=True, **options
    )
    check_rated(train, args.outputs, args.corpus_offsets)
    if args.votes_of_half_weight is not None:
        train = with_vote_weights(train, args.votes_of_half_weight)
    evaluation = None
    if args.eval_ratings or args.eval_split:
        sources = args.eval_ratings or args.ratings
        evaluation = load_rated_clips(
            sources, splits=args.eval_split, score_ranges=evaluation_score_ranges(args), **options
        )
        refuse_clips_of_both(train, evaluation)
        if args.eval_ratings is not None:
            # Other listening tests than those that were trained on: the scale of the model itself.
            evaluation = evaluation.remove_columns("corpus_id")
    needs = {
        "early stopping": args.early_stopping_patience,
        "interval_coverage": args.interval_coverage,
        "eval_score_ranges": args.eval_score_ranges,
    }
    for name, asked in needs.items():
        if asked is not None and evaluation is None:
            raise ValueError(f"{name} needs --eval_split or --eval_ratings")
    if training_args.train_sampling_strategy == "group_by_length":
        longest = None if args.crop == "none" else args.max_duration_s
        train = with_lengths(train, longest)
        evaluation = evaluation and with_lengths(evaluation, longest)
    return train, evaluation


def evaluation_score_ranges(args: FinetuningArguments) -> list[float] | None:
    """Ends of the scales to evaluate on; one that is not given is that of the same ratings in training."""
    if args.eval_score_ranges is not None or args.eval_ratings is None:
        return args.eval_score_ranges or args.score_ranges

    def places(sources: Sequence[str]) -> list[tuple[str, str]]:
        return [(name, os.path.realpath(root)) for name, root in map(parse_mos_source, sources)]

    scales = rating_scales(args.ratings, args.score_range, args.score_ranges)
    trained = dict(zip(places(args.ratings), scales, strict=True))
    own = rating_scales(args.eval_ratings, args.score_range)
    places_and_scales = zip(places(args.eval_ratings), own, strict=True)
    return [end for place, scale in places_and_scales for end in trained.get(place, scale)]


def build_model(args: FinetuningArguments) -> JSQAForMOSRegression:
    """The model that the arguments name, with a MOS head for their outputs and scale."""
    head = {
        "mos_output_names": args.outputs,
        "mos_score_range": args.score_range,
        "mos_loss": args.mos_loss,
        "mos_agreement_loss": args.mos_agreement_loss,
        "mos_agreement_weight": args.mos_agreement_weight,
        "mos_corpora": corpus_names(args.ratings) if args.corpus_offsets else [],
        # Of the projection head, which stage 2 does not have.
        "jnd_calibration": None,
        "mos_dropout": args.mos_dropout,
        # The panel is known now: its ratings are what is learned.
        "mos_panel_std": 0.0,
    }
    if args.pairs is not None:
        head |= {
            "jnd_preference_weight": args.jnd_preference_weight,
            "mos_points_per_jnd": args.mos_points_per_jnd,
        }
    model = start_model(args, head)
    if args.freeze_base_model:
        model.freeze_base_model()
    if args.freeze_feature_encoder:
        model.freeze_feature_encoder()
    return model


def start_model(args: FinetuningArguments, head: dict[str, Any]) -> JSQAForMOSRegression:
    """What training starts from: random weights, a HuBERT, or a JSQA model; `head` goes into its configuration."""
    if args.model is None:
        if args.model_size not in {"tiny", "paper"}:
            raise ValueError(f"--model_size must be tiny or paper, but is {args.model_size!r}")
        preset = JSQAConfig.tiny if args.model_size == "tiny" else JSQAConfig.paper
        return JSQAForMOSRegression(preset(**head))
    config = AutoConfig.from_pretrained(args.model)
    # Whatever precision it was saved in: in half precision the optimiser makes NaN of the weights.
    if not isinstance(config, JSQAConfig):
        base = JSQAModel.from_backbone(args.model, JSQAConfig(**head), dtype=torch.float32)
        model = JSQAForMOSRegression(base.config)
        if not args.from_scratch:
            model.jsqa = base
        return model
    if args.from_scratch:
        return JSQAForMOSRegression(JSQAConfig.from_pretrained(args.model, **head))
    if brings_head(args) and list(config.mos_output_names) != list(args.outputs):
        raise ValueError(
            f"{args.model} rates {', '.join(config.mos_output_names)}, not {', '.join(args.outputs)}: give --outputs "
            "as they are there, or start from a model of stage 1"
        )
    model = JSQAForMOSRegression.from_pretrained(args.model, dtype=torch.float32, ignore_mismatched_sizes=True, **head)
    if list(config.mos_corpora) != head["mos_corpora"]:
        # Offsets of other listening tests than those of this run say nothing, whatever their number.
        for parameter in (model.corpus_log_scales, model.corpus_offsets):
            if parameter is not None:
                nn.init.zeros_(parameter)
    return model


def brings_head(args: FinetuningArguments) -> bool:
    """Whether the MOS head that training starts with has been trained before."""
    if args.model is None or args.from_scratch:
        return False
    architectures = AutoConfig.from_pretrained(args.model).architectures or []
    return JSQAForMOSRegression.__name__ in architectures


def choose_best_by(args: FinetuningArguments, training_args: TrainingArguments) -> None:
    """Settle by which metric the best model is chosen, and that early stopping has evaluations to go by.

    Raises:
        ValueError: if there are none, or not those that a checkpoint would be kept of.
    """
    if args.early_stopping_patience is not None:
        steps = training_args.eval_strategy == "steps" and training_args.save_strategy == "steps"
        if (
            training_args.eval_strategy == "no"
            or training_args.save_strategy not in (training_args.eval_strategy, "best")
            or (steps and training_args.save_steps % training_args.eval_steps)
        ):
            raise ValueError(
                "early stopping needs --eval_strategy steps or epoch and the same --save_strategy, and --save_steps "
                "that are a multiple of --eval_steps"
            )
        first = "rmse" if len(args.outputs) == 1 else f"{args.outputs[0]}_rmse"
        offsets = args.corpus_offsets and len(args.ratings) > 1 and args.eval_ratings is None
        training_args.metric_for_best_model = training_args.metric_for_best_model or ("loss" if offsets else first)
        training_args.load_best_model_at_end = True
        # Evaluations without a better one go on being counted after a break.
        training_args.restore_callback_states_from_checkpoint = True
    if training_args.metric_for_best_model is not None:
        # What transformers takes for better is right for `loss` alone.
        training_args.greater_is_better = training_args.metric_for_best_model.endswith(("pcc", "srcc", "kendall_tau"))


def build_callbacks(args: FinetuningArguments, training_args: TrainingArguments) -> list[TrainerCallback]:
    """The head first, and early stopping, as far as they are asked for."""
    callbacks: list[TrainerCallback] = []
    if args.head_only_steps:
        callbacks.append(HeadFirst(args.head_only_steps))
        # While the head learns alone, nothing below it gets a gradient.
        training_args.ddp_find_unused_parameters = True
    if args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    return callbacks


def build_collator(
    args: FinetuningArguments, training_args: TrainingArguments, feature_extractor: JSQAFeatureExtractor
) -> MOSCollator:
    """Makes the batches to train on."""
    options: dict[str, Any] = {
        "feature_extractor": feature_extractor,
        "max_duration_s": args.max_duration_s,
        "crop": args.crop,
        "seed": training_args.seed,
    }
    if args.pairs is None:
        return MOSCollator(**options)
    ladders = load_pairs(args.pairs, training_args)
    return LadderedMOSCollator(ladders, args.pairs_per_clip, **options)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Fine-tune; returns the metrics."""
    args, card, training_args = parse_arguments((FinetuningArguments, CardArguments, RunArguments), argv)
    prepare_push(training_args)
    train, evaluation = build_datasets(args, training_args)
    choose_best_by(args, training_args)
    # The head, and a model from scratch, draw their weights here; Trainer seeds too late for that.
    set_seed(training_args.seed)
    model = build_model(args)
    feature_extractor = JSQAFeatureExtractor()
    collator = build_collator(args, training_args, feature_extractor)
    whole_or_start = MOSCollator(feature_extractor, args.max_duration_s, "none" if args.crop == "none" else "start")
    if args.fit_head and not brings_head(args):
        # Trainer moves it only later.
        model.to(training_args.device)
        fit_head(model, train, whole_or_start, seed=training_args.seed)
    trainer = MOSTrainer(
        model=model,
        args=training_args,
        train_dataset=train,
        eval_dataset=evaluation,
        data_collator=collator,
        processing_class=feature_extractor,
        compute_metrics=compute_mos_metrics(args.outputs),
        callbacks=build_callbacks(args, training_args),
        layer_decay=args.layer_decay,
        corpus_learning_rate=args.corpus_learning_rate,
        eval_collator=whole_or_start,
    )
    widen = None
    if args.interval_coverage is not None:
        options = {"coverage": args.interval_coverage, "batch_size": training_args.eval_batch_size}
        widen = partial(widen_intervals, model, evaluation, whole_or_start, **options)
    return run_training(trainer, training_args, args, card, before_saving=widen)


if __name__ == "__main__":
    sys.exit(run_script(main))
