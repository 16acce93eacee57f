"""How fast JND pairs are made, against merely decoding the same files and against other augmentation libraries.

    pip install -e ".[bench]"
    python benchmarks/pair_generation.py
    python benchmarks/pair_generation.py --speech librispeech:/data/LibriSpeech --noise demand:/data/DEMAND

All ratios come from one run on the same files. Times are processor seconds of one core, the least of several rounds
in which the candidates take turns, so that other work on the machine disturbs them little; only the scaling over
processes, and the cost of each distortion, some of which run programs of their own, are measured by the clock. Writes
`pair_generation.json` and `.md`.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import soundfile
from peers import SAMPLING_RATE

from jsqa_hf.audio import decode_audio
from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.jnd import JNDPairGenerator, load_mono, make_distortion, registered_distortions
from jsqa_hf.training import parse_arguments, repeat_with_index, run_script, write_metrics

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "examples" / "data"
ROUNDS = 5
MIXES = {
    "one pair, as arrays": {"levels": 1, "encoding": "array"},
    "one pair, as WAV": {"levels": 1, "encoding": "wav"},
    "one pair, as FLAC": {"levels": 1, "encoding": "flac"},
    "two pairs (a ladder), as arrays": {"levels": 2, "encoding": "array"},
    "two pairs (a ladder), as FLAC": {"levels": 2, "encoding": "flac"},
    "two pairs of 3 s, as arrays": {"levels": 2, "encoding": "array", "duration_s": 3.0},
}


@dataclass
class BenchmarkArguments:
    """What to make pairs from, and how many."""

    speech: str = field(default=str(DATA / "speech" / "speech.csv"), metadata={"help": "source of speech"})
    noise: str = field(default=str(DATA / "noise" / "noise.csv"), metadata={"help": "source of noise"})
    rirs: str | None = field(default=None, metadata={"help": "source of room impulse responses"})
    files: int = field(default=60, metadata={"help": "number of utterances to time"})
    rows: int = field(default=20_000, metadata={"help": "rows of the larger stream whose memory is measured"})
    scaling_rows: int = field(default=2_000, metadata={"help": "rows of the maps that are timed by the clock"})
    output_dir: str = field(default=str(REPOSITORY / "docs" / "results"), metadata={"help": "folder to write to"})


def least_times(candidates: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Processor seconds of each candidate, the least of `ROUNDS` rounds; the first round, unmeasured, warms up."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS + 1):
        for name, candidate in candidates.items():
            gc.collect()
            start = time.process_time()
            candidate()
            times[name].append(time.process_time() - start)
    return {name: min(values[1:]) for name, values in times.items()}


def against_decoding(batch: Mapping[str, Sequence[Any]], noise: datasets.Dataset) -> dict[str, dict[str, float]]:
    """Each way of making pairs, and decoding the very files that it read."""
    results = {}
    paths = {row["noise_id"]: row["audio"]["path"] for row in noise}
    for name, options in MIXES.items():
        generator = JNDPairGenerator(noise, **options)  # type: ignore[arg-type]
        made = generator(batch)
        read = [audio["path"] for audio in batch["audio"]] + [paths[noise_id] for noise_id in made["noise_id"]]
        times = least_times(
            {
                "generate": lambda generator=generator: generator(batch),
                "decode": lambda read=read: [decode_audio(path) for path in read],
            }
        )
        pairs = len(made["content_id"]) * int(options["levels"])  # type: ignore[call-overload]
        results[name] = {
            "times_decoding": times["generate"] / times["decode"],
            "pairs_per_second": pairs / times["generate"],
            "decoding_pairs_per_second": pairs / times["decode"],
        }
    return results


def distortion_costs(
    batch: Mapping[str, Sequence[Any]], material: Mapping[Any, datasets.Dataset]
) -> dict[str, float | str]:
    """Seconds of audio that each distortion makes in a second: one clip at a time, levels and all, as arrays."""
    costs: dict[str, float | str] = {}
    for name, distortion in registered_distortions().items():
        if distortion.material is not None and distortion.material not in material:
            costs[name] = f"no {distortion.material} given"
            continue
        try:
            generator = JNDPairGenerator(distortions=[make_distortion(name, material)], encoding="array")
        except ImportError as error:
            costs[name] = str(error)
            continue
        few = {column: values[:4] for column, values in batch.items()}
        generator({column: values[:1] for column, values in batch.items()})
        start = time.perf_counter()
        made = generator(few)
        elapsed = time.perf_counter() - start
        costs[name] = sum(made["duration_s"]) * len(made["severity"][0]) / elapsed
    return costs


def scaling(speech: datasets.Dataset, noise: datasets.Dataset, rows: int) -> dict[str, float]:
    """Seconds by the clock that `Dataset.map` takes with one process and with two."""
    repeated = repeat_with_index(speech, rows).select(range(rows))
    generator = JNDPairGenerator(noise)
    seconds = {}
    for processes in (1, 2):
        with tempfile.TemporaryDirectory() as cache:
            start = time.perf_counter()
            repeated.map(
                generator,
                batched=True,
                batch_size=32,
                num_proc=processes if processes > 1 else None,
                features=generator.features,
                remove_columns=repeated.column_names,
                cache_file_name=str(Path(cache) / "pairs.arrow"),
                load_from_cache_file=False,
            )
            seconds[f"{processes}_processes_s"] = time.perf_counter() - start
    return seconds | {"speed_up": seconds["1_processes_s"] / seconds["2_processes_s"]}


def _stream(arguments: BenchmarkArguments, rows: int, queue: Any) -> None:
    """Draw a stream of pairs in a process of its own, and report its largest memory in MiB."""
    speech, noise = _load(arguments)
    repeated = repeat_with_index(speech, rows).to_iterable_dataset(num_shards=4).take(rows)
    generator = JNDPairGenerator(noise, levels=1, duration_s=1.0, encoding="array")
    stream = repeated.map(generator, batched=True, batch_size=16, remove_columns=repeated.column_names)
    count = sum(1 for _ in stream)
    queue.put((count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def streaming_memory(arguments: BenchmarkArguments) -> dict[str, float]:
    """Largest memory of a process that draws a stream of pairs, and of one that draws a tenth of it."""
    context = multiprocessing.get_context("spawn")
    results = {}
    for rows in (arguments.rows // 10, arguments.rows):
        queue = context.Queue()
        process = context.Process(target=_stream, args=(arguments, rows, queue))
        process.start()
        count, memory = queue.get()
        process.join()
        results[f"{count}_rows_mib"] = memory
    return results


def against_peers(batch: Mapping[str, Sequence[Any]], noise: datasets.Dataset) -> dict[str, dict[str, Any]]:
    """The same job for all: decode an utterance, mix it twice with noise from a folder at SNRs from -5 to 40 dB."""
    paths = [audio["path"] for audio in batch["audio"]]
    with tempfile.TemporaryDirectory() as folder:
        # WAV at the rate of the clips, the one format that all of them read.
        rows = []
        for index, row in enumerate(noise):
            path = Path(folder) / f"{index}.wav"
            soundfile.write(path, load_mono(row["audio"], SAMPLING_RATE), SAMPLING_RATE)
            rows.append({"audio": str(path), "noise_id": path.stem, "noise_type": row["noise_type"]})
        generator = JNDPairGenerator(rows, levels=1, encoding="array")
        candidates: dict[str, Callable[[], Any]] = {"jsqa_hf": lambda: generator(batch)}
        notes: dict[str, str] = {}
        for name, make in (("audiomentations", _audiomentations), ("torch-audiomentations", _torch_audiomentations)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    augment = make(folder)
                    augment(decode_audio(paths[0]).samples)
            except Exception as error:
                notes[name] = f"{type(error).__name__}: {error}"
                continue
            candidates[name] = lambda augment=augment: [  # type: ignore[misc]
                [augment(samples) for _ in range(2)] for samples in (decode_audio(path).samples for path in paths)
            ]
        times = least_times(candidates)
    ratios: dict[str, dict[str, Any]] = {
        name: {"pairs_per_second": len(paths) / seconds, "times_jsqa_hf": seconds / times["jsqa_hf"]}
        for name, seconds in times.items()
    }
    return ratios | {name: {"error": note} for name, note in notes.items()}


def _audiomentations(folder: str) -> Callable[[np.ndarray], Any]:
    import audiomentations

    augment = audiomentations.AddBackgroundNoise(folder, min_snr_db=-5, max_snr_db=40, p=1.0)
    return lambda samples: augment(samples[0], sample_rate=SAMPLING_RATE)


def _torch_audiomentations(folder: str) -> Callable[[np.ndarray], Any]:
    import torch
    import torchaudio

    # Gone from torchaudio 2.9 on, and torch-audiomentations 0.12 still calls them.
    if not hasattr(torchaudio, "info"):
        torchaudio.info = _info
        torchaudio.load = _load_with_soundfile
    import torch_audiomentations

    torch.set_num_threads(1)
    augment = torch_audiomentations.AddBackgroundNoise(
        folder, min_snr_in_db=-5, max_snr_in_db=40, p=1.0, sample_rate=SAMPLING_RATE, output_type="dict"
    )
    return lambda samples: augment(torch.from_numpy(samples)[None], sample_rate=SAMPLING_RATE).samples


class _Info:
    def __init__(self, path: str) -> None:
        info = soundfile.info(path)
        self.num_frames, self.sample_rate, self.num_channels = info.frames, info.samplerate, info.channels


def _info(path: str, **options: Any) -> _Info:
    return _Info(path)


def _load_with_soundfile(path: Any, frame_offset: int = 0, num_frames: int = -1, **options: Any) -> Any:
    import torch

    samples, rate = soundfile.read(path, frames=num_frames, start=frame_offset, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def _load(arguments: BenchmarkArguments) -> tuple[datasets.Dataset, datasets.Dataset]:
    return load_speech(*parse_source(arguments.speech)), load_noise(*parse_source(arguments.noise))


def as_markdown(results: Mapping[str, Any]) -> str:
    """The results as tables."""
    lines = [
        "# Speed of pair generation",
        "",
        f"{results['utterances']} utterances of {results['mean_utterance_s']:.1f} s on average; processor time of one "
        f"core. Made by `python benchmarks/pair_generation.py`.",
        "",
        "| additive noise | x decoding the same files | pairs/s | decoding alone, pairs/s |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['times_decoding']:.2f} | {row['pairs_per_second']:.0f} | "
            f"{row['decoding_pairs_per_second']:.0f} |"
            for name, row in results["against_decoding"].items()
        ),
        "",
        "| the same job | pairs/s | x the time of jsqa_hf |",
        "|---|---|---|",
        *_peer_rows(results["against_peers"].items()),
        "",
        f"Two processes are {results['scaling']['speed_up']:.2f} times as fast as one "
        f"({results['scaling']['1_processes_s']:.1f} s and {results['scaling']['2_processes_s']:.1f} s by the clock).",
        "",
        "Largest memory of a stream: "
        + ", ".join(f"{memory:.0f} MiB for {name.split('_')[0]} rows" for name, memory in results["memory"].items())
        + ".",
        "",
        "| distortion | seconds of audio per second |",
        "|---|---|",
        *(
            f"| {name} | {cost if isinstance(cost, str) else format(cost, '.0f')} |"
            for name, cost in results["distortions"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _peer_rows(peers: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterable[str]:
    for name, row in peers:
        if "error" in row:
            yield f"| {name} | - | {row['error']} |"
        else:
            yield f"| {name} | {row['pairs_per_second']:.0f} | {row['times_jsqa_hf']:.2f} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    (arguments,) = parse_arguments((BenchmarkArguments,), argv)
    datasets.disable_progress_bars()
    speech, noise = _load(arguments)
    material: dict[str, datasets.Dataset] = {"noise": noise, "talkers": speech}
    if arguments.rirs is not None:
        material["rirs"] = load_rirs(*parse_source(arguments.rirs))
    batch = speech[: arguments.files]
    seconds = [load_mono(audio, SAMPLING_RATE).size / SAMPLING_RATE for audio in batch["audio"]]
    results: dict[str, Any] = {"utterances": len(seconds), "mean_utterance_s": float(np.mean(seconds))}
    results["against_decoding"] = against_decoding(batch, noise)
    results["against_peers"] = against_peers(batch, noise)
    results["distortions"] = distortion_costs(batch, material)
    results["scaling"] = scaling(speech, noise, arguments.scaling_rows)
    results["memory"] = streaming_memory(arguments)
    folder = Path(arguments.output_dir)
    write_metrics(folder / "pair_generation.json", results)
    table = as_markdown(results)
    (folder / "pair_generation.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    sys.exit(run_script(main))
