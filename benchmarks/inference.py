"""How fast clips are rated, against other measures on the same audio, and against what the machine can do at most.

    pip install -e ".[bench,judges,onnx]"
    python benchmarks/inference.py                # wants a machine that does nothing else
    python benchmarks/inference.py --quick true   # minutes, to see that it runs; no figures to quote

Every measure runs in processes of its own, one after the other, in several rounds; a time is the least of the rounds,
so that other work on the machine disturbs it little, and all ratios are of one run. Real-time factors are of clips in
memory, at 1 thread and at all cores. Start-up is from the start of the process to the first score of a file, memory
the peak of the process. Writes `inference.json` and `.md`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from command_cost import peak_mib
from peers import PEERS, SAMPLING_RATE, LoadedPeer, Rate

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "examples" / "data"
# (seconds, batch). Sixteen clips of 60 s are left out: DistillMOS rates them as one batch of 848 segments, for which
# many machines lack the memory.
SIZES = ((3, 1), (10, 1), (60, 1), (3, 16), (10, 16))
QUICK_SIZES = ((3, 1), (3, 4))
SHORT_FILES, QUICK_SHORT_FILES = 500, 12
# Of the measures that take longer per file than this, in s, only the first files are timed.
_SLOW_S, _SLOW_FILES = 0.2, 50


@dataclass
class BenchmarkArguments:
    """What to compare, and how thoroughly."""

    # ViSQOL in Python is so slow that it would take most of the time.
    peers: list[str] = field(
        default_factory=lambda: [name for name in PEERS if name != "visqol"], metadata={"help": "names of measures"}
    )
    rounds: int = field(default=2, metadata={"help": "number of rounds"})
    add: bool = field(
        default=False, metadata={"help": "keep the runs in `output_dir`, and add another of these peers"}
    )
    quick: bool = field(default=False, metadata={"help": "one round, short and few clips"})
    threads: list[int] = field(
        default_factory=lambda: sorted({1, os.cpu_count() or 1}), metadata={"help": "numbers of threads"}
    )
    output_dir: str = field(default=str(REPOSITORY / "docs" / "results"), metadata={"help": "folder to write to"})


@lru_cache
def clean_speech() -> np.ndarray:
    """All clean speech of the repository, one file after the other, (samples,) float32."""
    files = sorted((DATA / "speech").glob("*.flac"))
    return np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files])


def make_speech(seconds: float, clips: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Noisy clips (samples,) of real speech, each from another place, and the clean ones."""
    speech = clean_speech()
    length = round(seconds * SAMPLING_RATE)
    starts = np.linspace(0, len(speech) - length, clips, dtype=int)
    clean = [np.ascontiguousarray(speech[start : start + length]) for start in starts]
    random = np.random.default_rng(0)
    return [(clip + random.normal(0, 0.01, length)).astype(np.float32) for clip in clean], clean


def write_files(folder: Path, count: int) -> None:
    """Noisy clips of 2 to 6 s as WAV, with the clean ones in a folder beside them."""
    random = np.random.default_rng(1)
    for index, seconds in enumerate(random.uniform(2.0, 6.0, count)):
        for name, clips in zip(("noisy", "clean"), make_speech(seconds, 1 + index % 7), strict=True):
            (folder / name).mkdir(exist_ok=True)
            soundfile.write(folder / name / f"{index:04d}.wav", clips[-1], SAMPLING_RATE)


def least_time(rate: Rate, seconds: float, batch: int, budget_s: float) -> float:
    """Seconds of one call, the least of as many as fit into a budget (2 at least; the first warms up, unmeasured)."""
    clips, references = make_speech(seconds, batch)
    rate(clips, references)
    times: list[float] = []
    while not times or sum(times) < budget_s:
        start = time.perf_counter()
        rate(clips, references)
        times.append(time.perf_counter() - start)
    return min(times)


def factor(rate: Rate, seconds: float, batch: int, budget_s: float) -> float | None:
    """The real-time factor; None for clips that the measure refuses, as NISQA long ones."""
    try:
        return least_time(rate, seconds, batch, budget_s) / (seconds * batch)
    except (RuntimeError, ValueError):
        return None


def _read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def rate_folder(peer: LoadedPeer, needs_reference: bool, folder: Path) -> float:
    """Files per second, decoding included; ours as `jsqa score` rates them, the others file by file."""
    paths = sorted((folder / "noisy").iterdir())
    start = time.perf_counter()
    if peer.rater is not None:
        from jsqa_hf.score_engine import rate_paths

        assert all(result.error is None for result in rate_paths(paths, peer.rater))
        return len(paths) / (time.perf_counter() - start)
    for count, path in enumerate(paths, 1):
        peer.rate([_read(path)], [_read(folder / "clean" / path.name)] if needs_reference else [])
        if count == _SLOW_FILES and time.perf_counter() - start > _SLOW_S * count:
            return count / (time.perf_counter() - start)
    return len(paths) / (time.perf_counter() - start)


def work(job: str, name: str, model: str, threads: int, argument: str) -> dict[str, Any]:
    """What one process measures.

    Args:
        job: `"first"` (the score of the file in `argument`), `"memory"` (of `argument` seconds) or `"speed"` (of the
            sizes and of the folder in `argument`).
        name: of the measure.
        model: its file or folder.
        threads: number of threads.
        argument: see `job`.
    """
    peer = PEERS[name].load(model, threads)
    rate = peer.rate
    if job == "first":
        clip = _read(Path(argument))
        return {"score": float(next(iter(rate([clip], [clip]).values()))[0])}
    if job == "memory":
        loaded = peak_mib()
        refused = factor(rate, float(argument), 1, 0.0) is None
        return {"loaded_mib": loaded, "peak_mib": None if refused else peak_mib()}
    options = json.loads(argument)
    factors = {
        f"{seconds} s x {batch}": factor(rate, seconds, batch, options["budget_s"])
        for seconds, batch in options["sizes"]
    }
    return {**factors, "files_per_s": rate_folder(peer, PEERS[name].needs_reference, Path(options["folder"]))}


def run_apart(job: str, name: str, model: str, threads: int, argument: str) -> dict[str, Any]:
    """`work` in a process of its own.

    Raises:
        RuntimeError: the process failed, with its last line.
    """
    command = [sys.executable, str(Path(__file__)), "--work", job, name, model, str(threads), argument]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    elapsed = time.perf_counter() - start
    if process.returncode != 0:
        raise RuntimeError((process.stderr.strip().splitlines() or [f"ended with {process.returncode}"])[-1])
    result = json.loads(process.stdout.strip().splitlines()[-1])
    return {"start_up_s": elapsed} if job == "first" else result


def export_models(folder: Path) -> dict[str, str]:
    """Files of our models by name; those in ONNX are exported."""
    from jsqa_hf import DEFAULT_CHECKPOINT, load_default
    from jsqa_hf.onnx_export import export_onnx

    model = load_default()[0]
    graph = str(export_onnx(model, folder / "float32" / "model.onnx").path)
    return {
        "jsqa": str(DEFAULT_CHECKPOINT),
        "jsqa-bfloat16": str(DEFAULT_CHECKPOINT),
        "jsqa-onnx": graph,
        "jsqa-onnx-alone": str(DEFAULT_CHECKPOINT / "model.onnx"),
        "jsqa-onnx-int8": str(export_onnx(model, folder / "int8" / "model.onnx", int8=True).path),
    }


def merge(rounds: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The best of the rounds: the least, of files per second the most. None stays, for what a measure refuses."""

    def best(key: str) -> float | None:
        values = [value for one in rounds if (value := one[key]) is not None]
        return (max if key == "files_per_s" else min)(values, default=None)

    return {key: best(key) for key in rounds[0]}


def measure(arguments: BenchmarkArguments) -> dict[str, Any]:
    """All measures; one that fails has the reason under `"error"`."""
    sizes = QUICK_SIZES if arguments.quick else SIZES
    threads = [1] if arguments.quick else arguments.threads
    memory_s = "3" if arguments.quick else "60"
    rounds = 1 if arguments.quick else arguments.rounds
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        models = export_models(files / "models")
        write_files(files, QUICK_SHORT_FILES if arguments.quick else SHORT_FILES)
        first = str(files / "noisy" / "0000.wav")
        speed = json.dumps({"sizes": sizes, "budget_s": 0.2 if arguments.quick else 2.0, "folder": folder})
        jobs = [("first", first, max(threads)), ("memory", memory_s, max(threads))]
        jobs += [("speed", speed, number) for number in threads]
        for job, argument, number in jobs:
            collected: dict[str, list[dict[str, Any]]] = {}
            for _ in range(rounds):
                for name in arguments.peers:
                    print(f"{job}, {number} threads: {name}", file=sys.stderr, flush=True)
                    try:
                        result = run_apart(job, name, models.get(name, ""), number, argument)
                        collected.setdefault(name, []).append(result)
                    except RuntimeError as error:
                        results.setdefault(name, {})["error"] = str(error)
            for name, of_rounds in collected.items():
                key = f"speed, threads={number}" if job == "speed" else job
                results.setdefault(name, {})[key] = merge(of_rounds)
    return results


def _cell(value: float | None, form: str) -> str:
    return "refused" if value is None else format(value, form)


def _tables(results: Mapping[str, Any]) -> list[str]:
    measured = {name: results[name] for name in PEERS if name in results and "error" not in results[name]}
    lines: list[str] = []
    for key in sorted({key for result in measured.values() for key in result if key.startswith("speed")}):
        sizes = [f"{seconds} s x {batch}" for seconds, batch in (*QUICK_SIZES, *SIZES)]
        sizes = [size for size in dict.fromkeys(sizes) if size in next(iter(measured.values()))[key]]
        lines += ["", f"Real-time factor (seconds of work per second of audio), {key.partition('=')[2]} threads:", ""]
        lines += ["| | " + " | ".join(sizes) + " | short files per second |", "|---" * (len(sizes) + 2) + "|"]
        for name, result in measured.items():
            cells = [_cell(result[key][size], ".4f") for size in sizes]
            lines.append(
                f"| {PEERS[name].title} | " + " | ".join([*cells, f"{result[key]['files_per_s']:.1f}"]) + " |"
            )
    lines += ["", "| | start-up, s | memory after loading, MiB | peak, MiB |", "|---|---|---|---|"]
    for name, result in measured.items():
        memory = result["memory"]
        lines.append(
            f"| {PEERS[name].title} | {result['first']['start_up_s']:.2f} | {memory['loaded_mib']:.0f} | "
            f"{_cell(memory['peak_mib'], '.0f')} |"
        )
    left_out = [f"Left out: {PEERS[name].title} ({results[name]['error']})" for name in results.keys() - measured]
    return [*lines, "", *left_out]


def as_markdown(runs: Sequence[Mapping[str, Any]], limits: Mapping[str, Any], quick: bool) -> str:
    """Tables of what was measured, run by run."""
    lines = ["# Speed of rating", "", f"On {limits['machine']}. From `benchmarks/inference.py`, which tells how."]
    if quick:
        lines += ["", "**A quick run: no figures to quote.**"]
    for number, results in enumerate(runs, 1):
        lines += ["", f"## Run {number}", *_tables(results)]
    return "\n".join([*lines, "## Against the machine", "", *limits["lines"]]) + "\n"


def main() -> None:
    """Measure and write."""
    from inference_limits import measure_limits

    from jsqa_hf.training import parse_arguments, write_metrics

    (arguments,) = parse_arguments([BenchmarkArguments])
    folder = Path(arguments.output_dir)
    if arguments.add:
        report = json.loads((folder / "inference.json").read_text(encoding="utf-8"))
    else:
        limits = measure_limits(min(arguments.threads), seconds=3.0 if arguments.quick else 10.0)
        report = {"runs": [], "limits": limits, "quick": arguments.quick}
    report["runs"].append(measure(arguments))
    write_metrics(folder / "inference.json", report)
    text = as_markdown(report["runs"], report["limits"], report["quick"])
    (folder / "inference.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(json.dumps(work(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6])))
    else:
        from jsqa_hf.training import run_script

        sys.exit(run_script(main))
