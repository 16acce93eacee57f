"""Generate JND pairs from a folder of speech and a folder of noise, and save them as a dataset.

    python training_scripts/generate_jnd_pairs.py --speech LibriSpeech/train-clean-100 --noise DEMAND \\
        --output_dir pairs --duration_s 10 --repetitions 4 --num_proc 8

Options can also come from a YAML file as first argument; the command line overrides it. The result is read by
`datasets.load_from_disk` and by `pretrain_contrastive.py`. Its columns are those of `jsqa_hf.jnd.JNDPairGenerator`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np

from jsqa_hf.data import load_noise_folder, load_speech_folder
from jsqa_hf.jnd import SNR_THRESHOLD, JNDPairGenerator
from jsqa_hf.training import parse_arguments, repeat_with_index


@dataclass
class PairArguments:
    """What to make pairs from, and how."""

    speech: str = field(metadata={"help": "Folder of clean speech, or a CSV file with a column file."})
    noise: str = field(metadata={"help": "Folder of noise, or a CSV file with a column file."})
    output_dir: str = field(metadata={"help": "Folder to save the dataset to."})
    speech_split: str | None = field(
        default=None, metadata={"help": "Value of the column split of the speech to use."}
    )
    noise_split: str | None = field(default=None, metadata={"help": "Value of the column split of the noise to use."})
    repetitions: int = field(default=1, metadata={"help": "Number of ladders made of each utterance."})
    levels: int = field(default=2, metadata={"help": "Number of clearly different SNR levels in a ladder."})
    snr_min: float = field(default=-5.0, metadata={"help": "Lowest SNR in dB."})
    snr_max: float = field(default=40.0, metadata={"help": "Highest SNR in dB."})
    jnd_db: float = field(
        default=SNR_THRESHOLD.just_noticeable, metadata={"help": "Largest SNR difference within a pair in dB."}
    )
    min_step_db: float = field(
        default=SNR_THRESHOLD.clearly_different, metadata={"help": "Smallest SNR difference between levels in dB."}
    )
    duration_s: float | None = field(
        default=None, metadata={"help": "Length of the excerpts in seconds; by default whole utterances."}
    )
    level_dbov_min: float = field(default=-26.0, metadata={"help": "Lowest level of the clips in dBov."})
    level_dbov_max: float = field(default=-26.0, metadata={"help": "Highest level of the clips in dBov."})
    seed: int = field(default=0, metadata={"help": "Seed of all random draws."})
    num_proc: int | None = field(default=None, metadata={"help": "Number of processes."})
    limit: int | None = field(default=None, metadata={"help": "Use the first so many utterances only."})


def main(argv: Sequence[str] | None = None) -> int:
    """Generate and save the pairs; returns the exit code."""
    (arguments,) = parse_arguments((PairArguments,), argv)
    speech, noise = load_sources(arguments)
    generator = JNDPairGenerator(
        noise,
        levels=arguments.levels,
        snr_range=(arguments.snr_min, arguments.snr_max),
        jnd_db=arguments.jnd_db,
        min_step_db=arguments.min_step_db,
        duration_s=arguments.duration_s,
        level_dbov=(arguments.level_dbov_min, arguments.level_dbov_max),
        seed=arguments.seed,
    )
    pairs = speech.map(
        generator,
        batched=True,
        batch_size=64,
        num_proc=arguments.num_proc,
        features=generator.features,
        remove_columns=speech.column_names,
        desc="Generating JND pairs",
    )
    pairs.save_to_disk(arguments.output_dir)
    print(f"{arguments.output_dir}: {summary(pairs)}")
    return 0


def load_sources(arguments: PairArguments) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Load speech and noise, and repeat the speech with a column that counts the repetitions."""
    if arguments.repetitions < 1:
        raise ValueError(f"--repetitions must be at least 1, got {arguments.repetitions}")
    speech = load_speech_folder(arguments.speech, split=arguments.speech_split)
    noise = load_noise_folder(arguments.noise, split=arguments.noise_split)
    if arguments.limit is not None:
        speech = speech.take(min(arguments.limit, len(speech)))
    return repeat_with_index(speech, arguments.repetitions * len(speech)), noise


def summary(pairs: datasets.Dataset) -> str:
    """One line: how much there is, and how its SNRs are distributed."""
    snrs_db = np.concatenate(pairs["snr_db"])
    clips_per_ladder = len(snrs_db) // len(pairs)
    hours = sum(pairs["duration_s"]) * clips_per_ladder / 3600
    edges = np.arange(np.floor(snrs_db.min() / 10), np.ceil(snrs_db.max() / 10) + 1) * 10
    counts, _ = np.histogram(snrs_db, bins=edges)
    histogram = ", ".join(
        f"{low:.0f} to {high:.0f} dB: {count / len(snrs_db):.0%}"
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )
    return f"{len(pairs)} ladders, {len(snrs_db)} clips, {hours:.2f} h; SNR {histogram}"


if __name__ == "__main__":
    sys.exit(main())
