"""The figures of the model card, on the data that ships with the repository.

    python benchmarks/default_model.py                       # the model of the package
    python benchmarks/default_model.py --model runs/mos --output_dir runs/figures

Human ratings of two held-out talkers, and real speech of held-out speakers in held-out kinds of noise at rising SNR:
does the score follow? And what moves it that nobody hears, or hardly? Writes `evaluation.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
from peers import SAMPLING_RATE
from rated_sets import DATA, held_out, noise_mixtures, read_clip
from scipy import stats
from tqdm import tqdm

from jsqa_hf import DEFAULT_CHECKPOINT, SpeechQualityPipeline
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.scoring import load_pipeline
from jsqa_hf.training import parse_arguments, run_script, write_metrics

REPOSITORY = Path(__file__).resolve().parents[1]
SNRS_DB = tuple(range(-5, 41, 5))
GAIN_DB = -20.0
# Within the 40 ms of a frame of jsqa-tiny, and beside the 10 ms of its starts.
DELAYS_MS = tuple(range(0, 40, 5))


@dataclass
class BenchmarkArguments:
    """Which model, and where to."""

    model: str = field(default=str(DEFAULT_CHECKPOINT), metadata={"help": "path or Hub id"})
    output_dir: str = field(
        default=str(REPOSITORY / "docs" / "results" / "jsqa-tiny"), metadata={"help": "folder for evaluation.json"}
    )


def human_ratings(rate: SpeechQualityPipeline) -> dict[str, float]:
    """Agreement with people on the P.835 clips of talkers f3 and m3, and how often the 95 % interval holds them."""
    rated = held_out("p835/ratings.csv")
    results = [rate(str(DATA / "p835" / row["file"])) for row in tqdm(rated, desc="human ratings")]
    mos = np.array([float(row["mos"]) for row in rated])
    low, high = (np.array([result[key] for result in results]) for key in ("mos_low", "mos_high"))
    metrics = mos_metrics([result["mos"] for result in results], mos)
    return {
        **metrics,
        "interval_coverage_95": float(((low <= mos) & (mos <= high)).mean()),
        "interval_width_95": float((high - low).mean()),
    }


def noise_sweeps(rate: SpeechQualityPipeline) -> dict[str, object]:
    """Scores of every held-out speaker in every held-out noise over the SNRs of `SNRS_DB`."""
    sweeps = tqdm(noise_mixtures(SNRS_DB), desc="noise sweeps")
    scores = np.array(
        [[rate({"array": clip, "sampling_rate": SAMPLING_RATE})["mos"] for clip in mixtures] for _, mixtures in sweeps]
    )
    steps = np.diff(scores, axis=1)
    return {
        "sweeps": len(scores),
        "snr_db": list(SNRS_DB),
        "mean_score": scores.mean(0).tolist(),
        "least_score": scores.min(0).tolist(),
        "largest_score": scores.max(0).tolist(),
        "srcc_within_sweep": float(np.mean([stats.spearmanr(SNRS_DB, row).statistic for row in scores])),
        "srcc_overall": float(stats.spearmanr(np.tile(SNRS_DB, len(scores)), scores.ravel()).statistic),
        "wrong_way_steps": float((steps < 0).mean()),
        "largest_wrong_way_step": float(max(0.0, -steps.min())),
    }


def gain_sensitivity(rate: SpeechQualityPipeline) -> dict[str, float]:
    """How far 20 dB less gain moves the score of clean speech."""
    changes = []
    for row in tqdm(held_out("speech/speech.csv"), desc="gain"):
        speech, sampling_rate = soundfile.read(DATA / "speech" / row["file"])
        loud, quiet = (
            rate({"array": gain * speech, "sampling_rate": sampling_rate})["mos"]
            for gain in (1.0, 10 ** (GAIN_DB / 20))
        )
        changes.append(quiet - loud)
    return {"gain_db": GAIN_DB, "mean_change": float(np.mean(changes)), "largest_change": float(np.abs(changes).max())}


def delay_sensitivity(rate: SpeechQualityPipeline) -> dict[str, object]:
    """How far the score of a P.835 clip moves, from the lowest to the highest, as its first milliseconds are cut off.

    With the means over starts of the configuration, and without.
    """
    clips = [read_clip(DATA / "p835" / row["file"]) for row in held_out("p835/ratings.csv")]
    config = rate.model.config
    as_configured = config.averaged_starts
    figures: dict[str, object] = {"delays_ms": list(DELAYS_MS)}
    for name, starts in (("as_configured", as_configured), ("of_one_start", 1)):
        config.averaged_starts = starts
        spreads = []
        for clip in tqdm(clips, desc=f"delays, {starts} start(s)"):
            later = [clip[delay * SAMPLING_RATE // 1000 :] for delay in DELAYS_MS]
            spreads.append(np.ptp([rate({"array": part, "sampling_rate": SAMPLING_RATE})["mos"] for part in later]))
        figures[name] = {"mean_spread": float(np.mean(spreads)), "largest_spread": float(np.max(spreads))}
    config.averaged_starts = as_configured
    return figures


def half_precision_sensitivity(model: str) -> dict[str, float]:
    """How far half precision on a CPU moves the scores of the wideband P.835 clips at most: by dtype, or autocast."""
    clips = [str(path) for path in sorted((DATA / "p835" / "wb").glob("*.flac"))]
    exact = load_pipeline(model, "cpu", "float32")
    scores = np.array([exact(clip)["mos"] for clip in clips])
    raters = {dtype: load_pipeline(model, "cpu", dtype) for dtype in ("bfloat16", "float16")}
    changes = {}
    for name, rate in {**raters, "autocast to bfloat16": exact}.items():
        with torch.autocast("cpu", torch.bfloat16, enabled=rate is exact):
            changes[name] = float(np.abs([rate(clip)["mos"] for clip in clips] - scores).max())
    return {"clips": len(clips), **changes}


def main(argv: Sequence[str] | None = None) -> None:
    """Compute and write the figures."""
    (args,) = parse_arguments((BenchmarkArguments,), argv)
    rate = load_pipeline(args.model)
    figures = {
        "p835_wideband_held_out_talkers": human_ratings(rate),
        "held_out_speakers_in_held_out_noise": noise_sweeps(rate),
        "clean_speech_at_lower_gain": gain_sensitivity(rate),
        "p835_clips_begun_later": delay_sensitivity(rate),
        "largest_change_in_half_precision": half_precision_sensitivity(args.model),
    }
    write_metrics(Path(args.output_dir) / "evaluation.json", figures)
    print((Path(args.output_dir) / "evaluation.json").read_text())


if __name__ == "__main__":
    sys.exit(run_script(main))
