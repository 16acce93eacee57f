"""Recordings as they are, and after programs that enhance or resynthesise speech, for a teacher to rate.

    pip install -e ".[bench,processed]"
    python benchmarks/study/processed_clips.py --speech speech.csv --noise noise.csv --split train \
        --clips 2000 --output_dir processed --num_proc 2
    python benchmarks/study/teacher_ratings.py --ratings processed/ratings.csv --num_proc 2

The speech need not be clean: a part of the clips is left as recorded, but for its level. The others are noisy, and are
then enhanced by RNNoise (J.-M. Valin, MMSP 2018) or by spectral gating (noisereduce; T. Sainburg, A. Zorea, 2024), or
taken apart and put together again by the WORLD vocoder (M. Morise et al., IEICE 2016) after its parameters were
coarsened. `ratings.csv` has no ratings yet. Clips are drawn from seed and number alone; started again, what is there
already stays.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from held_out import SAMPLING_RATE
from numbered_clips import make_missing
from numpy.typing import NDArray
from workers import require_bench

from jsqa_hf.data import load_noise, load_speech, parse_source
from jsqa_hf.jnd import mix_at_snr
from jsqa_hf.jnd.excerpts import draw_noise, draw_speech
from jsqa_hf.training import parse_arguments, run_script

Clip = NDArray[np.float64]

COLUMNS = ("file", "process", "snr_db", "speech_id", "split")
# All shares and ranges are our choice, so that the teacher's scores fill the scale.
PROCESSES = {"none": 0.4, "rnnoise": 0.2, "gating": 0.2, "world": 0.2}
NOISY_SHARE = {"none": 0.3, "rnnoise": 0.9, "gating": 0.9, "world": 0.2}
SNR_DB = (-5.0, 30.0)
GAIN_DB = (-12.0, 6.0)
SHORTEST_S = 1.5
RNNOISE_RATE = 48000


@dataclass
class ProcessingArguments:
    """What to process."""

    speech: str = field(metadata={"help": "speech: NAME:PATH, a folder, or a CSV file"})
    noise: str = field(metadata={"help": "noise, likewise"})
    output_dir: str = field(metadata={"help": "folder for the clips and ratings.csv"})
    split: str | None = field(default=None, metadata={"help": "value of the columns `split` of speech and noise"})
    clips: int = field(default=1000, metadata={"help": "number of clips"})
    duration_s: float = field(default=6.24, metadata={"help": "length of the longest clips in seconds"})
    seed: int = field(default=0, metadata={"help": "of all draws"})
    num_proc: int = field(default=1, metadata={"help": "number of processes, of one thread each"})


def rnnoise(clip: Clip) -> Clip:
    """Noise suppressed by a recurrent network, at its rate of 48 kHz."""
    from pyrnnoise import rnnoise as library

    upsampled = soxr.resample(clip, SAMPLING_RATE, RNNOISE_RATE)
    samples = np.round(np.clip(upsampled, -1, 1) * 32767).astype(np.int16)
    state = library.create()
    try:
        frames = range(0, samples.size, library.FRAME_SIZE)
        parts = [library.process_mono_frame(state, samples[at : at + library.FRAME_SIZE])[0] for at in frames]
    finally:
        library.destroy(state)
    return soxr.resample(np.concatenate(parts) / 32768, RNNOISE_RATE, SAMPLING_RATE)[: clip.size]


def gate(clip: Clip, rng: np.random.Generator) -> Clip:
    """Noise suppressed by spectral gating, wholly or in part."""
    import noisereduce

    return np.asarray(
        noisereduce.reduce_noise(
            clip,
            SAMPLING_RATE,
            stationary=bool(rng.random() < 0.5),
            prop_decrease=float(rng.uniform(0.5, 1.0)),
            n_std_thresh_stationary=float(rng.uniform(0.5, 2.5)),
        ),
        dtype=np.float64,
    )


def resynthesise(clip: Clip, rng: np.random.Generator) -> Clip:
    """Through the WORLD vocoder, with a spectral envelope of few numbers and an unsteady or monotonous pitch."""
    import pyworld

    period = float(rng.choice([5.0, 10.0, 15.0]))
    clip = np.ascontiguousarray(clip)
    pitch, times = pyworld.harvest(clip, SAMPLING_RATE, frame_period=period)
    envelope = pyworld.cheaptrick(clip, pitch, times, SAMPLING_RATE)
    aperiodicity = pyworld.d4c(clip, pitch, times, SAMPLING_RATE)
    if rng.random() < 0.7:
        size = (envelope.shape[1] - 1) * 2
        coded = pyworld.code_spectral_envelope(envelope, SAMPLING_RATE, int(rng.integers(12, 60)))
        envelope = pyworld.decode_spectral_envelope(np.ascontiguousarray(coded), SAMPLING_RATE, size)
    if rng.random() < 0.5:
        voiced = pitch > 0
        shaken = pitch * np.exp(rng.normal(0, rng.uniform(0, 0.08), pitch.size))
        flat = rng.uniform(0, 1)
        if voiced.any():
            shaken = shaken ** (1 - flat) * np.median(pitch[voiced]) ** flat
        pitch = np.where(voiced, shaken, 0.0)
    if rng.random() < 0.3:
        aperiodicity = aperiodicity ** rng.uniform(0.3, 2.0)
    return pyworld.synthesize(pitch, envelope, aperiodicity, SAMPLING_RATE, period)[: clip.size]


class Processor:
    """Makes clips by their number."""

    def __init__(self, args: ProcessingArguments) -> None:
        self.args = args
        self.speech = load_speech(*parse_source(args.speech), split=args.split)
        self.noise = load_noise(*parse_source(args.noise), split=args.split)

    def __call__(self, number: int) -> dict[str, Any]:
        """Make one clip; returns its row, or why there is none as `error`."""
        rng = np.random.default_rng([self.args.seed, number])
        row = self.speech[int(rng.integers(len(self.speech)))]
        process = str(rng.choice(list(PROCESSES), p=list(PROCESSES.values())))
        try:
            clip = draw_speech(rng, row["audio"], SAMPLING_RATE, self.args.duration_s).samples.astype(np.float64)
            snr_db = self._snr(rng, process)
            if snr_db is not None:
                noise = self.noise[int(rng.integers(len(self.noise)))]["audio"]
                samples = draw_noise(rng, noise, SAMPLING_RATE, clip.size).samples
                clip = mix_at_snr(clip, samples, snr_db, SAMPLING_RATE).astype(np.float64)
            clip = self._processed(rng, process, clip)
            if clip.size < SHORTEST_S * SAMPLING_RATE:
                raise ValueError(f"it lasts less than {SHORTEST_S} s")
        except ValueError as error:
            return {"number": number, "error": str(error)}
        clip = clip * 10 ** (rng.uniform(*GAIN_DB) / 20)
        name = f"clips/{number:06d}.flac"
        soundfile.write(Path(self.args.output_dir) / name, clip / max(1.0, np.abs(clip).max()), SAMPLING_RATE)
        return {
            "number": number,
            "file": name,
            "process": process,
            "snr_db": "" if snr_db is None else f"{snr_db:.2f}",
            "speech_id": row["speech_id"],
            "split": self.args.split or "",
        }

    @staticmethod
    def _snr(rng: np.random.Generator, process: str) -> float | None:
        return float(rng.uniform(*SNR_DB)) if rng.random() < NOISY_SHARE[process] else None

    @staticmethod
    def _processed(rng: np.random.Generator, process: str, clip: Clip) -> Clip:
        # RNNoise takes 16 bits.
        clip = clip / max(1.0, float(np.abs(clip).max()))
        if process == "rnnoise":
            return rnnoise(clip)
        if process == "gating":
            return gate(clip, rng)
        if process == "world":
            return resynthesise(clip, rng)
        return clip


def main(argv: Sequence[str] | None = None) -> None:
    """Make what is missing."""
    (args,) = parse_arguments((ProcessingArguments,), argv)
    require_bench("pyrnnoise", "noisereduce", "pyworld", extra="processed")
    make_missing(Path(args.output_dir), COLUMNS, partial(Processor, args), args.clips, args.num_proc)


if __name__ == "__main__":
    sys.exit(run_script(main))
