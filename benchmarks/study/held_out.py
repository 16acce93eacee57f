"""Held-out speech under the registered distortions at chosen severities, for studies of what models make of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.intervals import RESAMPLES
from jsqa_hf.jnd import Distortion, bring_to_level, make_distortion
from jsqa_hf.jnd.excerpts import draw_speech
from jsqa_hf.jnd.mixing import NOMINAL_LEVEL_DBOV
from jsqa_hf.jnd.selection import make_distortions

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "examples" / "data"
SAMPLING_RATE = 16000

Clip = NDArray[np.float32]
Rate = Callable[[Sequence[Clip]], NDArray[np.float64]]
"""Clips to their scores, higher is better."""


@dataclass
class MaterialArguments:
    """What is judged: by default the speakers and noises of the repository that no model was trained on."""

    speech: str = field(
        default=str(DATA / "speech" / "speech.csv"),
        metadata={"help": "clean speech of at least two speakers: NAME:PATH, a folder, or a CSV file"},
    )
    noise: str = field(default=str(DATA / "noise" / "noise.csv"), metadata={"help": "noise, likewise"})
    rirs: str | None = field(
        default=None, metadata={"help": "room impulse responses; without, measured rooms are left out"}
    )
    speech_split: str | None = field(default="test", metadata={"help": "value of the column `split`"})
    noise_split: str | None = field(default="test", metadata={"help": "value of the column `split`"})
    distortions: list[str] = field(default_factory=lambda: ["all"], metadata={"help": "names, or all"})
    speakers: int | None = field(default=None, metadata={"help": "at most so many utterances, each of a speaker"})
    duration_s: float = field(default=4.0, metadata={"help": "length of the excerpts in seconds"})
    seed: int = field(default=0, metadata={"help": "of all draws"})


@dataclass(frozen=True)
class Material:
    """Speech, and what it can be distorted by.

    Attributes:
        rows: of the speech, one utterance per speaker.
        speech: (samples,) each, at the nominal level.
        noise: rows of the noise.
        distortions: by name.
        left_out: why others are not there, by name.
        seed: of all draws.
    """

    rows: list[Mapping[str, Any]]
    speech: list[NDArray[np.float64]]
    noise: Sequence[Mapping[str, Any]]
    distortions: dict[str, Distortion]
    left_out: dict[str, str]
    seed: int

    def degrade(self, name: str, speaker: int, severities: Sequence[float], repetition: int = 0) -> list[Clip]:
        """Clips of one speaker at severities of one distortion, all else being the same.

        They are as loud as each other, unless the level is what is changed, as in pairs of the pretraining.

        Args:
            name: of the distortion.
            speaker: number of the utterance.
            severities: in the unit of the distortion.
            repetition: another one draws another noise, room or pattern of losses.
        """
        distortion, row = self.distortions[name], self.rows[speaker]
        if distortion.material == "talkers":
            others = [other for other in self.rows if other["speaker_id"] != row["speaker_id"]]
            distortion = make_distortion(name, {"talkers": others})
        rng = generator(self.seed, row["speech_id"], name, repetition)
        speech = self.speech[speaker]
        draw = distortion.draw(rng, speech.size, SAMPLING_RATE)
        results = distortion.distort(speech, severities, draw, SAMPLING_RATE)
        level = None if distortion.sets_level else NOMINAL_LEVEL_DBOV
        return bring_to_level([result.samples for result in results], level, SAMPLING_RATE).clips


def generator(seed: int, *key: Any) -> np.random.Generator:
    """Random numbers that depend on the seed and on what they are for, and on nothing else."""
    return np.random.default_rng([seed, zlib.crc32(repr(key).encode())])


def load_material(args: MaterialArguments) -> Material:
    """Load speech, noise and distortions.

    Raises:
        ValueError: If there are fewer than two speakers.
    """
    by_speaker: dict[Any, Mapping[str, Any]] = {}
    for row in load_speech(*parse_source(args.speech), split=args.speech_split):
        by_speaker.setdefault(row["speaker_id"], row)
    rows = list(by_speaker.values())[: args.speakers]
    if len(rows) < 2:
        raise ValueError(f"{args.speech} gives {len(rows)} speaker(s), but at least two are needed")
    noise = load_noise(*parse_source(args.noise), split=args.noise_split)
    recordings: dict[Any, Any] = {"noise": noise, "talkers": rows}
    if args.rirs:
        recordings["rirs"] = load_rirs(*parse_source(args.rirs))
    chains, left_out = make_distortions(args.distortions, recordings, sampling_rate=SAMPLING_RATE)
    speech = []
    for row in rows:
        rng = generator(args.seed, row["speech_id"])
        excerpt = draw_speech(rng, row["audio"], SAMPLING_RATE, args.duration_s).samples.astype(np.float64)
        (clip,) = bring_to_level([excerpt], sampling_rate=SAMPLING_RATE).clips
        speech.append(clip.astype(np.float64))
    distortions = {chain[0].name: chain[0] for chain in chains}
    return Material(rows, speech, noise, distortions, left_out, args.seed)


def clip_input(clip: Clip) -> dict[str, Any]:
    """A clip as models take it."""
    return {"array": clip, "sampling_rate": SAMPLING_RATE}


def rate_with(pipeline: Any) -> Rate:
    """The MOS by a `SpeechQualityPipeline`, clip after clip."""
    return lambda clips: np.array([pipeline(clip_input(clip))["mos"] for clip in clips], dtype=float)


def mean_with_interval(values: Any, groups: Sequence[Any], seed: int = 0) -> dict[str, Any]:
    """Mean, and its interval by the percentile bootstrap over groups such as speakers, meant to be of 95 %.

    It is too narrow for few groups: with 8 of them, of 3 normally distributed values each, 1500 simulated intervals
    held the mean in 88 %.

    Args:
        values: (n,), finite.
        groups: (n,) values of the same group depend on each other.
        seed: of the resampling.

    Returns:
        `mean`, `interval` (None with fewer than two groups) and `n`.
    """
    values = np.asarray(values, dtype=float)
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    counts, sums = np.bincount(members), np.bincount(members, weights=values)
    interval = None
    if len(counts) > 1:
        # As `jsqa_hf.intervals.bootstrap_intervals`, which asks for more groups, all resamples at once.
        chosen = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
        means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
        interval = np.round(np.quantile(means, [0.025, 0.975]), 4).tolist()
    return {"mean": round(float(values.mean()), 4), "interval": interval, "n": len(values)}


def model_name(given: str | None, default: str) -> str:
    """What to call a model in results: the name of its folder."""
    return Path(given).name if given else default
