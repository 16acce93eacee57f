"""Speech under the degradations of `degradations.py`, kept, for a teacher that is too slow to rate as training goes.

    python benchmarks/study/degraded_clips.py --speech speech.csv --noise noise.csv --rirs rirs --split train \
        --clips 2000 --output_dir degraded --num_proc 2
    python benchmarks/study/teacher_ratings.py --ratings degraded/ratings.csv --num_proc 2
    python benchmarks/study/map_ratings.py --ratings examples/data/p835/ratings.csv --simulated degraded/ratings.csv

The clips are those that `distill.py` draws: clean speech, or the package's own distortions, under up to four further
degradations; utterances that it holds out are not used. `ratings.csv` has no ratings yet. Batches are drawn from seed
and number alone; started again, what is there already stays.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from degradations import Bank, BatchDegrader
from distill import held_out, to_tensor
from growing_table import growing_table, read_rows
from held_out import SAMPLING_RATE
from simulated_ratings import Degrader, SimulationArguments
from torch import Tensor
from tqdm import tqdm
from workers import map_with

from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.training import parse_arguments, run_script

# Clips that are degraded together: other talkers come from the same batch.
BATCH = 32


@dataclass
class DegradationArguments:
    """What to degrade, and how much of it."""

    speech: str = field(metadata={"help": "clean speech: NAME:PATH, a folder, or a CSV file"})
    noise: str = field(metadata={"help": "noise, likewise"})
    output_dir: str = field(metadata={"help": "folder for the clips and ratings.csv"})
    rirs: str | None = field(default=None, metadata={"help": "room impulse responses"})
    split: str | None = field(default=None, metadata={"help": "value of the columns `split` of speech and noise"})
    clips: int = field(default=1024, metadata={"help": f"number of clips, rounded up to batches of {BATCH}"})
    duration_s: float = field(default=6.24, metadata={"help": "length of the clips in seconds"})
    degraded_share: float = field(default=0.45, metadata={"help": "how many start from the package's distortions"})
    seed: int = field(default=0, metadata={"help": "of all draws"})
    num_proc: int = field(default=1, metadata={"help": "number of processes, of one thread each"})


class Maker:
    """Makes batches by their number."""

    def __init__(self, args: DegradationArguments) -> None:
        torch.set_num_threads(1)
        self.args, self.samples = args, round(args.duration_s * SAMPLING_RATE)
        speech = load_speech(*parse_source(args.speech), split=args.split)
        self.speech = Bank([to_tensor(row["audio"]) for row in speech if not held_out(row["speech_id"])], "cpu")
        noise = load_noise(*parse_source(args.noise), split=args.split)
        self.noise = Bank([to_tensor(row["audio"]) for row in noise], "cpu")
        rirs = load_rirs(*parse_source(args.rirs)) if args.rirs else []
        self.rirs = [to_tensor(row["audio"]).float() for row in rirs]
        options = SimulationArguments(args.speech, args.noise, args.output_dir, rirs=args.rirs, seed=args.seed)
        options.speech_split = options.noise_split = args.split
        options.duration_s = args.duration_s
        self.distortions = Degrader(options)

    def __call__(self, batch: int) -> list[str]:
        """Write the clips of a batch; returns their names."""
        rng = np.random.default_rng([self.args.seed, batch])
        seed = int(rng.integers(2**31))
        clips = self.speech.draw(torch.Generator().manual_seed(seed), BATCH, self.samples)
        for index in np.flatnonzero(rng.random(BATCH) < self.args.degraded_share):
            distorted = self.distorted(batch * BATCH + int(index))
            if distorted is not None:
                clips[int(index)] = distorted
        clips = BatchDegrader(self.noise, self.rirs, seed + 1, "cpu")(clips)
        names = [f"clips/{batch * BATCH + index:06d}.flac" for index in range(BATCH)]
        for name, clip in zip(names, clips, strict=True):
            soundfile.write(Path(self.args.output_dir) / name, clip.numpy(), SAMPLING_RATE)
        return names

    def distorted(self, number: int) -> Tensor | None:
        """Speech under the package's distortions, repeated if short; None where they failed or it is held out."""
        rng, row = self.distortions.draw(number)
        if held_out(row["speech_id"]):
            return None
        try:
            samples, _ = self.distortions.degrade(rng, self.distortions.excerpt(rng, row))
        except ValueError:
            return None
        return torch.from_numpy(np.resize(samples, self.samples)).float()


def main(argv: Sequence[str] | None = None) -> None:
    """Make what is missing."""
    (args,) = parse_arguments((DegradationArguments,), argv)
    folder = Path(args.output_dir)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    table = folder / "ratings.csv"
    rows = read_rows(table)
    # The last batch may have been written in part.
    done = len(rows) // BATCH
    batches = range(done, -(-args.clips // BATCH))
    with (
        growing_table(table, ("file", "split"), rows[: done * BATCH]) as write,
        map_with(partial(Maker, args), batches, args.num_proc) as made,
    ):
        for names in tqdm(made, total=len(batches)):
            write({"file": name, "split": args.split or ""} for name in names)


if __name__ == "__main__":
    sys.exit(run_script(main))
