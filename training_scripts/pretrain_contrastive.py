"""Stage 1: pretrain an encoder contrastively on JND pairs.

    python training_scripts/pretrain_contrastive.py training_scripts/configs/tiny/pretrain.yaml \
        --speech examples/data/speech/speech.csv --noise examples/data/noise/noise.csv --output_dir runs/pretrained

Runs with `python`, `accelerate launch` and `torchrun`. Started again with the same arguments, it goes on from the last
checkpoint in the output folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import torch
from transformers import AutoConfig, TrainingArguments, set_seed
from transformers.utils import logging

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAModel
from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.jnd import JNDPairGenerator
from jsqa_hf.jnd.selection import make_distortions
from jsqa_hf.training import (
    CardArguments,
    ContrastiveCollator,
    ContrastiveDiagnostics,
    ContrastiveTrainer,
    RunArguments,
    load_pairs,
    parse_arguments,
    prepare_push,
    repeat_with_index,
    run_script,
    run_training,
)

logger = logging.get_logger(__name__)

EVALUATION_SEED_OFFSET = 1_000_000

# What pairs to train on are made of, and how these and those to evaluate on are made.
SOURCE_OPTIONS = ("speech", "speech_split", "noise", "noise_split")
MAKING_OPTIONS = (
    *("distortions", "talkers", "rirs", "levels", "snr_min", "snr_max", "jnd_db", "min_step_db", "duration_s"),
    *("level_dbov_min", "level_dbov_max"),
)


@dataclass
class PretrainingArguments:
    """Data and model of stage 1."""

    pairs: str | None = field(
        default=None,
        metadata={"help": "folder written by generate_jnd_pairs.py; without it, pairs are made on the fly"},
    )
    streaming: bool = field(default=False, metadata={"help": "read `pairs` while training: Parquet, or from the Hub"})
    speech: str | None = field(
        default=None,
        metadata={"help": "clean speech: NAME:PATH such as librispeech:/data/LibriSpeech, a folder, or a CSV file"},
    )
    noise: str | None = field(
        default=None, metadata={"help": "noise: NAME:PATH such as demand:/data/DEMAND, a folder, or a CSV file"}
    )
    speech_split: str | None = field(
        default=None,
        metadata={
            "help": "values of the column `split` to train on, or parts of the corpus, with commas between them; "
            "default of librispeech, libritts and common-voice: train"
        },
    )
    noise_split: str | None = field(default=None, metadata={"help": "value of the column `split` to train on"})
    eval_speech: str | None = field(default=None, metadata={"help": "speech of held-out speakers; same forms"})
    eval_noise: str | None = field(default=None, metadata={"help": "noise of held-out types; same forms"})
    eval_speech_split: str | None = field(default=None, metadata={"help": "as `speech_split`, for evaluation"})
    eval_noise_split: str | None = field(default=None, metadata={"help": "as `noise_split`, for evaluation"})
    eval_ladders: int = field(default=64, metadata={"help": "number of ladders to evaluate on"})
    model_size: str = field(default="tiny", metadata={"help": "tiny (0.2 M parameters) or paper (26 M)"})
    averaged_starts: int | None = field(
        default=None,
        metadata={
            "help": "outside training, embeddings are means over so many starts within a frame; default: as in a JSQA "
            "`backbone`, else 1"
        },
    )
    backbone: str | None = field(
        default=None, metadata={"help": "path or Hub id of a pretrained HuBERT, or of a JSQA model to go on from"}
    )
    loss: str = field(default="nt_xent", metadata={"help": "nt_xent, supervised (contrastive), or none"})
    negatives: str = field(default="all", metadata={"help": "all, or same_content: content-matched negatives alone"})
    false_negatives: str = field(
        default="keep", metadata={"help": "other content at the same quality: keep, mask, or promote to positives"}
    )
    mask_ambiguous: bool = field(
        default=False,
        metadata={"help": "leave out negatives more than one JND apart, but not `clearly_different_jnds`"},
    )
    clearly_different_jnds: float = field(
        default=8 / 3, metadata={"help": "JNDs from which qualities of one distortion are clearly different"}
    )
    temperature: float = field(default=0.1, metadata={"help": "temperature of the loss"})
    learn_temperature: bool = field(default=False, metadata={"help": "learn it, from `temperature` on"})
    jnd_margin_weight: float = field(default=0.0, metadata={"help": "weight of the hinge on distances in JNDs"})
    jnd_preference_weight: float = field(default=0.0, metadata={"help": "weight of telling which of two is better"})
    jnd_distance: float = field(default=0.2, metadata={"help": "embedding distance of one JND, for both"})
    loss_chunk_size: int | None = field(
        default=None, metadata={"help": "clips that go through the model at once; gradients are cached, exactly"}
    )
    distortions: list[str] = field(
        default_factory=lambda: ["noise"],
        metadata={"help": "as of `jsqa pairs`: names, chains such as room+noise+opus, or all"},
    )
    talkers: str | None = field(default=None, metadata={"help": "speech of other speakers, for talkers"})
    rirs: str | None = field(default=None, metadata={"help": "room impulse responses, for measured rooms"})
    levels: int = field(default=2, metadata={"help": "clearly different quality levels per content"})
    snr_min: float = field(default=-5.0, metadata={"help": "lowest SNR in dB"})
    snr_max: float = field(default=40.0, metadata={"help": "highest SNR in dB"})
    jnd_db: float = field(default=3.0, metadata={"help": "largest SNR difference within a pair in dB"})
    min_step_db: float = field(default=8.0, metadata={"help": "smallest SNR difference between levels in dB"})
    duration_s: float = field(default=30.0, metadata={"help": "length of the clips in seconds"})
    level_dbov_min: float = field(default=-26.0, metadata={"help": "lowest level of the clips in dBov"})
    level_dbov_max: float = field(default=-26.0, metadata={"help": "highest level of the clips in dBov"})
    max_delay_s: float = field(
        default=0.0,
        metadata={"help": "clips begin at random up to so many seconds late, half of them with the other sign"},
    )


def build_model(args: PretrainingArguments) -> JSQAForContrastivePretraining:
    """The model at the size, or with the pretrained backbone, that the arguments name."""
    if args.model_size not in {"tiny", "paper"}:
        raise ValueError(f"--model_size must be tiny or paper, but is {args.model_size!r}")
    objective: dict[str, Any] = {
        "temperature": args.temperature,
        "learn_temperature": args.learn_temperature,
        "contrastive_loss": args.loss,
        "contrastive_negatives": args.negatives,
        "false_negatives": args.false_negatives,
        "mask_ambiguous": args.mask_ambiguous,
        "clearly_different_jnds": args.clearly_different_jnds,
        "jnd_margin_weight": args.jnd_margin_weight,
        "jnd_preference_weight": args.jnd_preference_weight,
        "jnd_distance": args.jnd_distance,
    }
    if args.averaged_starts is not None:
        objective["averaged_starts"] = args.averaged_starts
    if args.backbone is None:
        preset = JSQAConfig.tiny if args.model_size == "tiny" else JSQAConfig.paper
        return JSQAForContrastivePretraining(preset(**objective))
    # Whatever precision it was saved in: in half precision the optimiser makes NaN of the weights.
    if isinstance(AutoConfig.from_pretrained(args.backbone), JSQAConfig):
        # A calibration belongs to the projection as it was.
        return JSQAForContrastivePretraining.from_pretrained(
            args.backbone, dtype=torch.float32, **objective, jnd_calibration=None
        )
    base = JSQAModel.from_backbone(args.backbone, JSQAConfig(**objective), dtype=torch.float32)
    model = JSQAForContrastivePretraining(base.config)
    model.jsqa = base
    return model


def build_generator(args: PretrainingArguments, noise: datasets.Dataset | None, seed: int) -> JNDPairGenerator:
    """Ladders as arrays, made when a batch is drawn."""
    sources = {"noise": noise, "talkers": args.talkers and load_speech(*parse_source(args.talkers))}
    sources["rirs"] = args.rirs and load_rirs(*parse_source(args.rirs))
    noise_options = {
        "severity_range": (args.snr_min, args.snr_max),
        "just_noticeable": args.jnd_db,
        "clearly_different": args.min_step_db,
    }
    selection = make_distortions(
        args.distortions,
        {name: rows for name, rows in sources.items() if rows},
        {"noise": noise_options},
        accept=lambda distortion: JNDPairGenerator(distortions=[distortion], levels=args.levels),
    )
    for name, reason in selection.left_out.items():
        logger.warning(f"without {name}: {reason}")
    return JNDPairGenerator(
        distortions=selection.chains,
        levels=args.levels,
        duration_s=args.duration_s,
        level_dbov=(args.level_dbov_min, args.level_dbov_max),
        seed=seed,
        encoding="array",
    )


def idle_options(args: PretrainingArguments) -> list[str]:
    """Options with another value than by default that do nothing, as `pairs` are trained on as they were made."""
    names = SOURCE_OPTIONS if args.eval_speech is not None else SOURCE_OPTIONS + MAKING_OPTIONS
    default = PretrainingArguments()
    return [name for name in names if args.pairs is not None and getattr(args, name) != getattr(default, name)]


def build_datasets(
    args: PretrainingArguments, training_args: TrainingArguments
) -> tuple[datasets.Dataset, datasets.Dataset | None]:
    """Training and evaluation ladders; made on the fly, no pair is seen twice in training."""
    speakers: set[str] = set()
    if idle := idle_options(args):
        logger.warning(f"--pairs are trained on as they were made, without regard to --{', --'.join(idle)}")
    if args.pairs is not None:
        train = load_pairs(args.pairs, training_args, streaming=args.streaming)
        if isinstance(train, datasets.Dataset) and "speaker_id" in train.column_names:
            speakers = set(train["speaker_id"])
        elif args.eval_speech is not None:
            logger.warning("--pairs has no list of its speakers to compare with: see that --eval_speech has others")
    else:
        if args.streaming:
            raise ValueError("--streaming is about --pairs, which isn't given")
        if args.speech is None or training_args.max_steps <= 0:
            raise ValueError("give --pairs, or --speech, --noise and --max_steps to make pairs on the fly")
        batch = training_args.train_batch_size * training_args.gradient_accumulation_steps * training_args.world_size
        speech = load_speech(*parse_source(args.speech), split=args.speech_split)
        speakers = set(speech["speaker_id"])
        train = repeat_with_index(speech, training_args.max_steps * batch)
        noise = args.noise and load_noise(*parse_source(args.noise), split=args.noise_split)
        train.set_transform(build_generator(args, noise, training_args.seed))
    if args.eval_speech is None:
        return train, None
    together = training_args.eval_batch_size * training_args.world_size
    if training_args.world_size > 1 and args.eval_ladders < together:
        raise ValueError(
            f"--eval_ladders must be at least {together}, one batch of evaluation for each of the "
            f"{training_args.world_size} processes, but is {args.eval_ladders}"
        )
    held_out = load_speech(*parse_source(args.eval_speech), split=args.eval_speech_split)
    if shared := speakers & set(held_out["speaker_id"]):
        source = "--speech" if args.pairs is None else "--pairs"
        logger.warning(f"{len(shared)} speakers of --eval_speech are in {source}, too: give splits without them")
    # Corpora are in the order of their speakers, and there may be more utterances than ladders.
    evaluation = repeat_with_index(held_out, args.eval_ladders).shuffle(seed=training_args.seed)
    evaluation = evaluation.select(range(args.eval_ladders))
    eval_noise = args.eval_noise and load_noise(*parse_source(args.eval_noise), split=args.eval_noise_split)
    evaluation.set_transform(build_generator(args, eval_noise, training_args.seed + EVALUATION_SEED_OFFSET))
    return train, evaluation


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Pretrain; returns the metrics."""
    args, card, training_args = parse_arguments((PretrainingArguments, CardArguments, RunArguments), argv)
    if args.eval_speech is None and (training_args.eval_on_start or training_args.eval_strategy != "no"):
        raise ValueError(
            "--eval_on_start and --eval_strategy need held-out speech: give --eval_speech and --eval_noise"
        )
    prepare_push(training_args)
    feature_extractor = JSQAFeatureExtractor()
    # The weights are drawn here; Trainer seeds too late for that.
    set_seed(training_args.seed)
    train, evaluation = build_datasets(args, training_args)
    trainer = ContrastiveTrainer(
        model=build_model(args),
        args=training_args,
        train_dataset=train,
        eval_dataset=evaluation,
        data_collator=ContrastiveCollator(feature_extractor, args.max_delay_s),
        processing_class=feature_extractor,
        loss_chunk_size=args.loss_chunk_size,
        diagnostics=None
        if evaluation is None
        else ContrastiveDiagnostics(evaluation, feature_extractor, args.max_delay_s),
    )
    return run_training(trainer, training_args, args, card)


if __name__ == "__main__":
    sys.exit(run_script(main))
