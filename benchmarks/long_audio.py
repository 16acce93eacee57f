"""Memory and time for long audio, and how long the windows of a curve should be; writes docs/results/long_audio.json.

python benchmarks/long_audio.py --minutes 60
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from command_cost import cost_of, peak_mib
from peers import SAMPLING_RATE

from jsqa_hf import windows
from jsqa_hf.audio import decode_audio
from jsqa_hf.jnd import active_speech_level
from jsqa_hf.resampling import resample
from jsqa_hf.scoring import load_pipeline
from jsqa_hf.training import run_script

DATA = Path(__file__).parents[1] / "examples" / "data"
RESULT = Path(__file__).parents[1] / "docs" / "results" / "long_audio.json"
# What is measured.
READING = ("decode at once", "read windows")
RATING = ("score", "score with curve", "jsqa score", "jsqa score in PyTorch")
LENGTHS_S = (1.0, 2.0, 4.0, 8.0)
SPEECH_DBOV = -21.0
# Of white noise that goes on in a pause; the last counts as active.
NOISE_DBOV = (-72.0, -66.0, -60.0, -48.0, -44.0, -40.0)


def speech(seconds: float) -> np.ndarray:
    """(time,) at 16 kHz: utterances of different talkers, one after the other, over and over."""
    paths = sorted((DATA / "speech").rglob("*.flac"))
    clips, total = [], 0
    while total < seconds * SAMPLING_RATE:
        clips.append(soundfile.read(paths[len(clips) % len(paths)], dtype="float32")[0])
        total += len(clips[-1])
    return np.concatenate(clips)[: round(seconds * SAMPLING_RATE)]


def write_long_file(path: Path, minutes: int) -> None:
    minute = resample(speech(60.0), SAMPLING_RATE, 44100)
    with soundfile.SoundFile(path, "w", 44100, 2) as file:
        for _ in range(minutes):
            file.write(np.stack([minute, 0.5 * minute], axis=1))


def measure(path: str, how: str) -> None:
    """Print what one way of reading or rating a file costs; run in a process of its own, for the peak of memory."""
    if how == "decode at once":
        tasks = {how: lambda: decode_audio(path).samples.shape[1]}
    else:
        rate = load_pipeline(device="cpu")
        # What libraries allocate once isn't counted, nor what the model needs for a window.
        warm_up = list(rate.preprocess(speech(31.0)))
        if how != "read windows":
            rate.forward(warm_up[0])
        tasks = {
            "read windows": lambda: sum(1 for _ in rate.preprocess(path)),
            "score": lambda: rate(path)["mos"],
            "score with curve": lambda: len(rate(path, curve=True)["curve"]),
        }
    at_rest, cpu, wall = peak_mib(), time.process_time(), time.perf_counter()
    costs = {
        "outcome": tasks[how](),
        "memory_at_rest_mib": round(at_rest, 1),
        "growth_of_peak_memory_mib": round(peak_mib() - at_rest, 1),
        "peak_memory_mib": round(peak_mib(), 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
    }
    print(json.dumps(costs))


def measure_command(path: Path, *options: str) -> dict[str, Any]:
    """What `jsqa score` costs."""
    rows, costs = cost_of("score", str(path), "--format", "csv", *options)
    return {"outcome": float(next(csv.DictReader(io.StringIO(rows)))["mos"]), **costs}


def curve_windows() -> list[dict[str, float]]:
    """How curves of windows of several lengths show noise in clean speech, and how restless they are without."""
    rate = load_pipeline(device="cpu")
    clean = speech(48.0)
    noise_path = sorted((DATA / "noise").rglob("*.flac"))[0]
    noise = np.resize(soundfile.read(noise_path, dtype="float32")[0], len(clean))
    # 5 dB below the speech.
    noise *= 10 ** (-5 / 20) * np.sqrt(np.mean(clean**2) / np.mean(noise**2))
    rows = []
    for length_s in LENGTHS_S:
        windows.CURVE_WINDOW_S = length_s
        row: dict[str, float] = {"window_s": length_s}
        before = _mos_of_curve(rate, clean)
        row["std_over_clean_steps"] = round(float(np.nanstd(before)), 3)
        for defect_s in (2, 4):
            second = np.arange(len(clean)) // SAMPLING_RATE
            noisy = (second % 16 >= 8) & (second % 16 < 8 + defect_s)
            drop = before - _mos_of_curve(rate, clean + noise * noisy)
            inside = noisy[::SAMPLING_RATE][: len(drop)]
            row[f"mean_drop_in_{defect_s}_s_of_noise"] = round(float(np.nanmean(drop[inside])), 3)
            row[f"mean_drop_elsewhere_with_{defect_s}_s"] = round(float(np.nanmean(drop[~inside])), 3)
        rows.append(row)
        print(row, flush=True)
    return rows


def _mos_of_curve(rate: Any, samples: np.ndarray) -> np.ndarray:
    curve = rate(samples, curve=True)["curve"]
    return np.array([np.nan if step["mos"] is None else step["mos"] for step in curve])


def pauses(seconds: float = 60.0) -> list[dict[str, float]]:
    """Scores of speech in white noise, alone and with a pause twice as long, in which the noise goes on."""
    rate = load_pipeline(device="cpu")
    clean = speech(seconds)
    clean *= 10 ** ((SPEECH_DBOV - active_speech_level(clean, SAMPLING_RATE).level_dbov) / 20)
    pause = np.zeros(2 * len(clean), dtype=np.float32)
    rows = []
    for noise_dbov in NOISE_DBOV:
        row: dict[str, float] = {"noise_dbov": noise_dbov}
        signals = {
            "speech_alone": clean,
            "pause_behind": np.concatenate([clean, pause]),
            "pause_in_front": np.concatenate([pause, clean]),
        }
        for name, signal in signals.items():
            noise = np.random.default_rng(0).standard_normal(len(signal), dtype=np.float32)
            row[name] = round(rate(signal + np.float32(10 ** (noise_dbov / 20)) * noise)["mos"], 3)
        rows.append(row)
        print(row, flush=True)
    return rows


def agreement_of_resampling() -> dict[str, float]:
    """Largest difference between windows resampled block by block and at once, in samples and in MOS."""
    rate = load_pipeline(device="cpu")
    audio = resample(speech(46.0), SAMPLING_RATE, 44100)
    whole = resample(audio, 44100, SAMPLING_RATE)
    of_samples, of_mos = 0.0, 0.0
    for window in rate.preprocess({"array": audio, "sampling_rate": 44100}):
        start, samples = round(window["start_s"] * SAMPLING_RATE), window["input_values"][0].numpy()
        at_once = whole[start : start + len(samples)]
        of_samples = max(of_samples, float(np.abs(samples - at_once).max()))
        one, other = (rate.model(torch.from_numpy(clip)[None]).scores.item() for clip in (samples, at_once))
        of_mos = max(of_mos, abs(one - other))
    return {"largest_difference_of_samples": of_samples, "largest_difference_of_mos": of_mos}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=int, default=60, help="length of the file that is read")
    parser.add_argument("--score-minutes", type=int, default=60, help="length of the file that is rated")
    parser.add_argument("--only", choices=[*READING, *RATING], help="measure this, and keep all other figures")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    result: dict[str, Any] = json.loads(RESULT.read_text()) if arguments.only else {}
    result |= {"threads": torch.get_num_threads(), "cores": os.cpu_count()}
    for how in [arguments.only] if arguments.only else [*READING, *RATING]:
        minutes = arguments.minutes if how in READING else arguments.score_minutes
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "long.wav"
            write_long_file(path, minutes)
            if how.startswith("jsqa score"):
                options = ("--dtype", "float32") if how == "jsqa score in PyTorch" else ()
                costs = measure_command(path, *options)
            else:
                command = [sys.executable, __file__, "--measure", str(path), how]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                costs = json.loads(done.stdout.splitlines()[-1])
        result[how] = {"file": f"{minutes} min, 44.1 kHz, 2 channels, 16 bit WAV", **costs}
        print(how, result[how], flush=True)
    if not arguments.only:
        with torch.inference_mode():
            result["resampling_in_blocks"] = agreement_of_resampling()
        print(result["resampling_in_blocks"], flush=True)
        result["pauses"] = pauses()
        result["curve_windows"] = curve_windows()
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
