"""Where the time of the model goes, and what share of the machine's arithmetic it gets."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import SAMPLING_RATE
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jsqa_hf import JSQAForMOSRegression, load_default, modeling_jsqa

_CALLS = 15
_MATRIX_SIZE = 2048


def machine_name() -> str:
    """Processor, number of cores and versions."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [
            line.partition(":")[2].strip() for line in information.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def matrix_product_flops() -> float:
    """Floating-point operations per second of a large matrix product in float32, the best of several."""
    first = torch.randn(_MATRIX_SIZE, _MATRIX_SIZE)
    return 2 * _MATRIX_SIZE**3 / _least_time(lambda: first @ first)


def _least_time(function: Callable[[], Any]) -> float:
    times = []
    for _ in range(_CALLS + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times[1:])


class _Stopwatch:
    """Adds up time and operations between the start and the end of parts of the model."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.started = 0.0

    def watch(self, module: nn.Module, part: str) -> None:
        def start(*_: Any) -> None:
            self.started = time.perf_counter()

        def stop(*_: Any) -> None:
            self.seconds.setdefault(part, []).append(time.perf_counter() - self.started)

        module.register_forward_pre_hook(start)
        module.register_forward_hook(stop)


def parts_of(model: JSQAForMOSRegression) -> list[tuple[nn.Module, str]]:
    """The modules that do the work, none within another, with the part that each belongs to."""
    base: Any = model.jsqa
    encoder = base.hubert.encoder
    convolutions = list(base.hubert.feature_extractor.conv_layers)
    parts = [(convolutions[0], "front end, first convolution")]
    parts += [(layer, "front end, other convolutions") for layer in convolutions[1:]]
    parts += [(base.hubert.feature_projection, "projection"), (encoder.pos_conv_embed.conv, "positional convolution")]
    for layer in encoder.layers:
        parts += [(layer.attention, "attention"), (layer.feed_forward, "feed-forward")]
    return [*parts, (base.pooling, "pooling and MOS head"), (model.head, "pooling and MOS head")]


@contextmanager
def _timed_levels(watch: _Stopwatch) -> Any:
    original = modeling_jsqa.band_levels

    def band_levels(*args: Any, **kwargs: Any) -> torch.Tensor:
        start = time.perf_counter()
        levels = original(*args, **kwargs)
        watch.seconds.setdefault("levels", []).append(time.perf_counter() - start)
        return levels

    modeling_jsqa.band_levels = band_levels
    try:
        yield
    finally:
        modeling_jsqa.band_levels = original


def operations_by_part(model: JSQAForMOSRegression, values: torch.Tensor) -> dict[str, float]:
    """Floating-point operations of matrix products and convolutions in each part, and in `"all"`."""
    parts = parts_of(model)
    names = {f"{type(model).__name__}.{name}": module for name, module in model.named_modules()}
    # The fused attention isn't counted on every platform; the plain one is the same arithmetic.
    implementation = model.config.hubert_config._attn_implementation
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False, depth=20) as counter, torch.no_grad():
        model(values)
    model.set_attn_implementation(implementation)
    counts = {key: float(sum(value.values())) for key, value in counter.get_flop_counts().items()}
    operations: dict[str, float] = {"all": counts["Global"]}
    for module, part in parts:
        key = next(name for name, candidate in names.items() if candidate is module)
        operations[part] = operations.get(part, 0.0) + counts.get(key, 0.0)
    return operations


def compilation(model: JSQAForMOSRegression, values: torch.Tensor) -> dict[str, float]:
    """Seconds that `torch.compile` takes for clips of any length, and of a call afterwards."""
    start = time.perf_counter()
    compiled = torch.compile(model, dynamic=True)
    for length in (values.shape[-1], values.shape[-1] // 2):
        compiled(values[:, :length])
    compiling_s = time.perf_counter() - start
    return {"compiling_s": compiling_s, "compiled_s": _least_time(lambda: compiled(values))}


def measure_limits(threads: int, seconds: float) -> dict[str, Any]:
    """The share of a large matrix product's speed that the model reaches, in all and by part.

    Args:
        threads: number of threads of both.
        seconds: length of the clip.

    Returns:
        `machine`, `matrix_product_gflops`, `model_gflops`, `share`, `seconds` and `gflop` by part, what
        `torch.compile` takes and gains, and the same as `lines` of Markdown.
    """
    torch.set_num_threads(threads)
    model = load_default()[0]
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, (1, round(SAMPLING_RATE * seconds)))).float()
    operations = operations_by_part(model, values)
    peak = matrix_product_flops()
    with torch.inference_mode():
        total = _least_time(lambda: model(values))
        watch = _Stopwatch()
        for module, part in parts_of(model):
            watch.watch(module, part)
        with _timed_levels(watch):
            for _ in range(_CALLS):
                model(values)
        # A model of its own: the stopwatch stays on the other.
        compiled = compilation(load_default()[0], values)
    of_parts = {part: _least_sum(times) for part, times in watch.seconds.items()}
    of_parts["masks, layer mix and the rest"] = max(0.0, total - sum(of_parts.values()))
    reached = operations["all"] / total
    rows = {part: {"seconds": spent, "gflop": operations.get(part, 0.0) / 1e9} for part, spent in of_parts.items()}
    lines = [
        f"A clip of {seconds:g} s, {threads} thread{'s' * (threads > 1)}: {operations['all'] / 1e9:.2f} GFLOP in "
        f"{1000 * total:.0f} ms, {reached / 1e9:.1f} GFLOP/s; a product of {_MATRIX_SIZE} x {_MATRIX_SIZE} matrices "
        f"reaches {peak / 1e9:.1f} GFLOP/s, so the share is {reached / peak:.0%}.",
        "",
        "| part | share of the time | share of the operations | GFLOP/s |",
        "|---|---|---|---|",
    ]
    for part, row in sorted(rows.items(), key=lambda item: -item[1]["seconds"]):
        shares = row["seconds"] / total, 1e9 * row["gflop"] / operations["all"]
        lines.append(
            f"| {part} | {shares[0]:.1%} | {shares[1]:.1%} | {row['gflop'] / max(row['seconds'], 1e-9):.1f} |"
        )
    lines += [
        "",
        f"`torch.compile` takes {compiled['compiling_s']:.0f} s, and then {compiled['compiled_s'] / total:.2f} "
        "times as long per clip.",
    ]
    return {
        "machine": machine_name(),
        "matrix_product_gflops": peak / 1e9,
        "model_gflops": reached / 1e9,
        "share": reached / peak,
        "parts": rows,
        "torch_compile": compiled,
        "lines": lines,
    }


def _least_sum(times: list[float]) -> float:
    """The least time of one call of the model, from the times of all modules of a part over `_CALLS` calls."""
    return float(np.array(times).reshape(_CALLS, -1).sum(axis=1).min())
