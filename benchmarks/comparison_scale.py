"""Fit the JND scale of the contrastive model that `jsqa compare` uses, after its training.

    python benchmarks/comparison_scale.py --speech speech.csv --noise noise.csv --rirs rirs

Makes ladders of held-out speech and noise under all distortions, of levels like those of the training; utterances of
the example data, on which the comparison is judged, are left out. Writes the scale into the `config.json` of the model
and its error to `docs/results/jsqa-tiny-jnd/scale.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jsqa_hf import DEFAULT_COMPARISON_CHECKPOINT, JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.data.corpus import read_table
from jsqa_hf.jnd import JNDPairGenerator
from jsqa_hf.jnd.selection import make_distortions
from jsqa_hf.training import calibrate_model, parse_arguments, repeat_with_index, run_script, write_metrics

REPOSITORY = Path(__file__).resolve().parents[1]
JUDGED = REPOSITORY / "examples" / "data" / "speech" / "speech.csv"


@dataclass
class ScaleArguments:
    """What to fit on."""

    speech: str = field(metadata={"help": "clean speech: NAME:PATH, a folder, or a CSV file"})
    noise: str = field(metadata={"help": "noise, likewise"})
    rirs: str | None = field(default=None, metadata={"help": "room impulse responses, for measured rooms"})
    split: str = field(default="test", metadata={"help": "value of the column `split` of speech and noise"})
    model: str = field(default=str(DEFAULT_COMPARISON_CHECKPOINT), metadata={"help": "folder of the model"})
    ladders: int = field(default=256, metadata={"help": "number of ladders, at most 256"})
    levels: int = field(default=2, metadata={"help": "clearly different levels in a ladder"})
    duration_s: float = field(default=4.0, metadata={"help": "length of the clips in seconds"})
    max_delay_s: float = field(default=0.04, metadata={"help": "as in the training"})
    seed: int = field(default=0, metadata={"help": "of all draws"})
    report: str = field(
        default=str(REPOSITORY / "docs" / "results" / "jsqa-tiny-jnd" / "scale.json"),
        metadata={"help": "JSON file for the error"},
    )


def make_ladders(args: ScaleArguments) -> Any:
    """The dataset of ladders; each is made when it is read."""
    judged = {row["speech_id"] for row in read_table(JUDGED, ("speech_id",))}
    speech = load_speech(*parse_source(args.speech), split=args.split)
    speech = speech.select([number for number, name in enumerate(speech["speech_id"]) if name not in judged])
    material: dict[str, Any] = {"noise": load_noise(*parse_source(args.noise), split=args.split)}
    if args.rirs:
        material["rirs"] = load_rirs(*parse_source(args.rirs))
    selection = make_distortions(
        "all", material, accept=lambda distortion: JNDPairGenerator(distortions=[distortion], levels=args.levels)
    )
    generator = JNDPairGenerator(
        distortions=selection.chains,
        levels=args.levels,
        duration_s=args.duration_s,
        seed=args.seed,
        encoding="array",
    )
    ladders = repeat_with_index(speech, args.ladders)
    ladders.set_transform(generator)
    return ladders


def main(argv: Sequence[str] | None = None) -> None:
    """Fit and write."""
    (args,) = parse_arguments((ScaleArguments,), argv)
    torch.manual_seed(args.seed)
    model = JSQAForContrastivePretraining.from_pretrained(args.model).eval()
    scale = calibrate_model(model, JSQAFeatureExtractor(), make_ladders(args), max_delay_s=args.max_delay_s)
    path = Path(args.model) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"jnd_calibration": asdict(scale)}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    figures = {
        "error_jnds": scale.error_jnds,
        "pairs": scale.pairs,
        "contents": scale.contents,
        "distance_of_one_jnd": float(np.interp(1, scale.jnds, scale.distances)),
        "largest_jnds": scale.jnds[-1],
    }
    write_metrics(Path(args.report), figures)
    print(figures)


if __name__ == "__main__":
    sys.exit(run_script(main))
