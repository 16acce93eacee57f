"""Degraded speech with ratings of full-reference measures, for stage 2 where ratings of listeners are few.

    pip install -e ".[bench,degrade]"
    python benchmarks/study/simulated_ratings.py --speech librispeech:/data/LibriSpeech --noise demand:/data/DEMAND \
        --clips 2000 --output_dir simulated --num_proc 4

Every clip is an excerpt of clean speech under none to three of the registered distortions, over all their ranges; lost
packets are concealed in some and silent in others. Those that lack a module or recordings are told and left out.
PESQ-WB (ITU-T P.862.2) and Zimtohrli compare it with the excerpt. `ratings.csv` has both, and as `mos` their mean;
they are no listeners, which belongs into the card of any model that is trained on it. Clips are drawn from seed and
number alone; started again, what is there already stays.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from growing_table import read_rows
from held_out import SAMPLING_RATE
from numbered_clips import make_missing
from numpy.typing import NDArray
from workers import require_bench

from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.jnd import bring_to_level
from jsqa_hf.jnd.distortions.base import Distortion
from jsqa_hf.jnd.distortions.packet_loss import BurstLoss, PacketLoss
from jsqa_hf.jnd.excerpts import draw_speech
from jsqa_hf.jnd.selection import make_distortions
from jsqa_hf.training import parse_arguments, run_script

COLUMNS = ("file", "mos", "pesq", "zimtohrli", "distortion", "severity", "speech_id", "speaker_id", "split")
# Shares of clips with none, one, two and three distortions. Our choice.
DISTORTION_COUNTS = (0.04, 0.6, 0.26, 0.1)
# PESQ levels what it compares, so that it does not rate the level.
UNRATED = "level"


@dataclass
class SimulationArguments:
    """What to degrade, and how much of it."""

    speech: str = field(metadata={"help": "clean speech: NAME:PATH, a folder, or a CSV file"})
    noise: str = field(metadata={"help": "noise, likewise"})
    output_dir: str = field(metadata={"help": "folder for the clips and ratings.csv"})
    speech_split: str | None = field(default=None, metadata={"help": "value of the column `split`"})
    noise_split: str | None = field(default=None, metadata={"help": "value of the column `split`"})
    talkers: str | None = field(default=None, metadata={"help": "speech of other speakers, for talkers"})
    rirs: str | None = field(default=None, metadata={"help": "room impulse responses, for measured rooms"})
    distortions: list[str] = field(default_factory=lambda: ["all"], metadata={"help": "as of `jsqa pairs`"})
    clips: int = field(default=1000, metadata={"help": "number of clips"})
    duration_s: float = field(default=6.0, metadata={"help": "length of the excerpts in seconds"})
    level_dbov_min: float = field(default=-32.0, metadata={"help": "lowest level of the clips in dBov"})
    level_dbov_max: float = field(default=-20.0, metadata={"help": "highest level of the clips in dBov"})
    split: str = field(default="train", metadata={"help": "what to write into the column `split`"})
    seed: int = field(default=0, metadata={"help": "of all draws"})
    num_proc: int = field(default=1, metadata={"help": "number of processes"})


class Degrader:
    """Makes clips by their number."""

    def __init__(self, args: SimulationArguments) -> None:
        self.args = args
        self.speech = load_speech(*parse_source(args.speech), split=args.speech_split)
        material: dict[str, Any] = {"noise": load_noise(*parse_source(args.noise), split=args.noise_split)}
        if args.talkers:
            material["talkers"] = load_speech(*parse_source(args.talkers), split=args.speech_split)
        if args.rirs:
            material["rirs"] = load_rirs(*parse_source(args.rirs))
        chains, left_out = make_distortions(args.distortions, material, sampling_rate=SAMPLING_RATE)
        for name, reason in left_out.items():
            print(f"without {name}: {reason}", file=sys.stderr)
        self.distortions = [one for chain in chains for one in chain if one.name != UNRATED]
        losses = [one for one in self.distortions if isinstance(one, (PacketLoss, BurstLoss))]
        self.distortions += [type(loss)(concealment="none") for loss in losses]

    def draw(self, number: int) -> tuple[np.random.Generator, dict[str, Any]]:
        """The random numbers of a clip, and the row of its speech."""
        rng = np.random.default_rng([self.args.seed, number])
        return rng, self.speech[int(rng.integers(len(self.speech)))]

    def excerpt(self, rng: np.random.Generator, row: Mapping[str, Any]) -> NDArray[np.float64]:
        """Clean speech at the nominal level."""
        speech = draw_speech(rng, row["audio"], SAMPLING_RATE, self.args.duration_s).samples.astype(np.float64)
        (speech,) = bring_to_level([speech], sampling_rate=SAMPLING_RATE).clips
        return speech.astype(np.float64)

    def degrade(
        self, rng: np.random.Generator, speech: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], dict[str, float]]:
        """At most one distortion of each stage, in the order of the stages; also their severities by label."""
        count = int(rng.choice(len(DISTORTION_COUNTS), p=DISTORTION_COUNTS))
        chosen: list[Distortion] = []
        for index in rng.permutation(len(self.distortions)):
            distortion = self.distortions[int(index)]
            if len(chosen) < count and distortion.stage not in {one.stage for one in chosen}:
                chosen.append(distortion)
        applied = {}
        for distortion in sorted(chosen, key=lambda one: one.stage):
            applied[label(distortion)] = severity = draw_severity(rng, distortion)
            draw = distortion.draw(rng, speech.size, SAMPLING_RATE)
            speech = distortion.distort(speech, [severity], draw, SAMPLING_RATE)[0].samples.astype(np.float64)
        return speech, applied


class Simulator(Degrader):
    """Makes and rates clips by their number."""

    def __init__(self, args: SimulationArguments) -> None:
        import pesq

        super().__init__(args)
        self.pesq = pesq

    def __call__(self, number: int) -> dict[str, Any]:
        """Make one clip; returns its row, or why there is none as `error`."""
        rng, row = self.draw(number)
        try:
            speech = self.excerpt(rng, row)
            samples, applied = self.degrade(rng, speech)
            (compared,) = bring_to_level([samples], sampling_rate=SAMPLING_RATE).clips
            ratings = self._rate(speech, compared)
            level = rng.uniform(self.args.level_dbov_min, self.args.level_dbov_max)
            (samples,) = bring_to_level([samples], level, SAMPLING_RATE).clips
        except (ValueError, self.pesq.PesqError) as error:
            return {"number": number, "error": f"{type(error).__name__}: {error}"}
        name = f"clips/{number:06d}.flac"
        soundfile.write(Path(self.args.output_dir) / name, samples, SAMPLING_RATE)
        return {
            "number": number,
            "file": name,
            **{measure: f"{value:.4f}" for measure, value in ratings.items()},
            "distortion": "+".join(applied),
            "severity": "+".join(f"{severity:.6g}" for severity in applied.values()),
            "speech_id": row["speech_id"],
            "speaker_id": row["speaker_id"],
            "split": self.args.split,
        }

    def _rate(self, clean: NDArray[Any], degraded: NDArray[Any]) -> Mapping[str, float]:
        pesq = float(self.pesq.pesq(SAMPLING_RATE, clean, degraded, "wb"))
        zimtohrli = zimtohrli_mos(clean, degraded)
        return {"mos": (pesq + zimtohrli) / 2, "pesq": pesq, "zimtohrli": zimtohrli}


def zimtohrli_mos(clean: NDArray[Any], degraded: NDArray[Any]) -> float:
    """MOS of Zimtohrli, of clips at `SAMPLING_RATE`."""
    import zimtohrli

    first, second = (soxr.resample(clip, SAMPLING_RATE, 48000).astype(np.float32) for clip in (clean, degraded))
    return float(zimtohrli.mos_from_zimtohrli(_hearing().distance(first, second)))


@lru_cache
def _hearing() -> Any:
    import zimtohrli

    return zimtohrli.Pyohrli()


def label(distortion: Distortion) -> str:
    """The name, which tells gaps that are silent from those that are concealed."""
    silent = getattr(distortion, "concealment", None) == "none"
    return f"{distortion.name}-unconcealed" if silent else distortion.name


def draw_severity(rng: np.random.Generator, distortion: Distortion) -> float:
    """Evenly over the range, counted in JNDs; of a grid, each value alike."""
    if distortion.severity_grid is not None:
        return distortion.severity_grid[int(rng.integers(len(distortion.severity_grid)))]
    low, high = distortion.threshold.position(distortion.severity_range)
    return float(distortion.threshold.value(rng.uniform(low, high)))


def main(argv: Sequence[str] | None = None) -> None:
    """Make what is missing."""
    (args,) = parse_arguments((SimulationArguments,), argv)
    require_bench("pesq", "zimtohrli")
    folder = Path(args.output_dir)
    failed = make_missing(folder, COLUMNS, partial(Simulator, args), args.clips, args.num_proc)
    print(f"{len(read_rows(folder / 'ratings.csv'))} clips, {failed} could not be made")


if __name__ == "__main__":
    sys.exit(run_script(main))
