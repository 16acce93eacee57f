"""Export of MOS models to ONNX, checked against PyTorch, and their quantisation to 8 bits."""

from __future__ import annotations

import copy
import logging
import math
import os
import shlex
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression, modeling_jsqa
from .fingerprint import model_fingerprint
from .onnx_graph import MODEL_NAME
from .onnx_model import OnnxForMOSRegression, load_onnx_model

__all__ = ["MAXIMUM_DIFFERENCE", "ExportedModel", "export_onnx", "largest_difference"]

MAXIMUM_DIFFERENCE = 1e-4
"""How far scores and variances of the graph may be from PyTorch's, see `largest_difference` (our choice)."""

# Inputs of the check: lengths in s (our choice) around those of utterances, and levels from the quantisation noise of
# 16-bit audio up to full scale.
_CHECK_BATCHES = 12
_CHECK_LONGEST_S = 6.0
_CHECK_LOWEST_RMS = 1e-5


@dataclass(frozen=True)
class ExportedModel:
    """What an export wrote.

    Attributes:
        path: of the graph. `config.json` and `preprocessor_config.json` are beside it.
        size: bytes of the graph.
        difference: largest difference of a score or variance from PyTorch's, see `largest_difference`.
    """

    path: Path
    size: int
    difference: float


def export_onnx(
    model: JSQAForMOSRegression, output: str | os.PathLike[str], int8: bool = False, seed: int = 0
) -> ExportedModel:
    """Write a model as an ONNX graph that takes batches of any size and clips of any length.

    The graph maps `input_values` (batch, samples) float32 and `attention_mask` (batch, samples) int64 to `scores` and
    `variances` (batch, outputs) and `embeddings` (batch, embedding), all float32. Its metadata tell `sampling_rate`,
    `shortest_samples`, `mos_output_names`, `mos_score_range` and `mos_panel_std`, for programs that read nothing else,
    and unless it is quantised the `fingerprint` of the model: the scores are the same, so one results file takes
    either.

    Args:
        model: any MOS model; it is left as it is.
        output: a folder, for `model.onnx` in it, or the path of a file that ends in `.onnx`. The configurations are
            written beside it.
        int8: quantise the weights of the Transformer's matrix products to 8 bits, and what they are multiplied by on
            the fly. Convolutions, the spectrum and the MOS head stay float32.
        seed: of the clips of the check.

    Raises:
        ImportError: the extra `onnx` is not installed.
        ValueError: the model is an export itself, or an output has a comma in its name.
        FileExistsError: there is a checkpoint of PyTorch in that folder, whose configuration would be overwritten.
        RuntimeError: the graph's results are further from PyTorch's than `MAXIMUM_DIFFERENCE`, or with `int8` aren't
            finite. Nothing is written then.
    """
    if find_spec("onnxscript") is None:
        raise ImportError('writing ONNX graphs needs further packages: pip install "jsqa_hf[onnx]"')
    if isinstance(model, OnnxForMOSRegression):
        raise ValueError(f"{model.graph.path}: is an ONNX graph already; export the checkpoint that it was made from")
    # What the metadata separates names by.
    if any("," in name for name in model.config.mos_output_names):
        raise ValueError(
            f"`mos_output_names` are {model.config.mos_output_names}: rename those with a comma, which separates them "
            "in the graph's metadata"
        )
    path = _graph_path(output)
    model = copy.deepcopy(model).cpu().float().eval()
    extractor = JSQAFeatureExtractor(sampling_rate=model.config.sampling_rate)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # Written whole before it is put in place, so that no half graph is ever found under the name.
        graph = Path(folder) / path.name
        _write_graph(model, graph, None if int8 else model_fingerprint(model, extractor))
        if int8:
            _quantise(graph)
        _write_configurations(model, extractor, graph.parent)
        exported = load_onnx_model(graph)
        difference = largest_difference(model, exported, seed)
        # NaN is never allowed.
        if not difference <= (math.inf if int8 else MAXIMUM_DIFFERENCE):
            raise RuntimeError(
                f"the exported graph differs from PyTorch by up to {difference:.2g}; please report this with the "
                "versions of torch, onnxscript and onnxruntime"
            )
        for written in graph.parent.iterdir():
            written.replace(path.parent / written.name)
    return ExportedModel(path, path.stat().st_size, difference)


def largest_difference(model: JSQAForMOSRegression, other: OnnxForMOSRegression, seed: int = 0) -> float:
    """Largest difference of scores and variances between a model and its export.

    Args:
        model: in PyTorch, float32, in evaluation mode, on the CPU.
        other: its export.
        seed: of the clips: noise of random lengths, from the shortest that the model takes, and of random levels, in
            batches of 1 to 4 padded with more noise, which must change nothing.

    Returns:
        As on a scale from 1 to 5, in its units (variances: squared), whatever the model's own scale is: a longer one
        has larger numbers, and with them larger roundings.
    """
    random = np.random.default_rng(seed)
    shortest = model.jsqa.receptive_field
    lowest, highest = model.config.mos_score_range
    unit = (highest - lowest) / 4
    differences = []
    for _ in range(_CHECK_BATCHES):
        longest = math.exp(random.uniform(math.log(shortest), math.log(_CHECK_LONGEST_S * model.config.sampling_rate)))
        lengths = random.integers(shortest, round(longest) + 1, size=random.integers(1, 5))
        level = np.exp(random.uniform(math.log(_CHECK_LOWEST_RMS), 0.0, size=(len(lengths), 1)))
        values = torch.from_numpy(level * random.normal(size=(len(lengths), lengths.max()))).float()
        mask = (torch.arange(lengths.max()) < torch.from_numpy(lengths)[:, None]).long()
        with torch.inference_mode():
            expected, got = (each(values, attention_mask=mask, return_dict=True) for each in (model, other))
        differences.append((got.scores - expected.scores).abs().max() / unit)
        differences.append((got.variances - expected.variances).abs().max() / unit**2)
    # NaN counts as the largest.
    return float(torch.stack(differences).max())


def _graph_path(output: str | os.PathLike[str]) -> Path:
    path = Path(output)
    path = path if path.suffix == ".onnx" else path / MODEL_NAME
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (path.parent / name).exists():
            raise FileExistsError(
                f"{path.parent}: holds a checkpoint of PyTorch, whose configuration the export would overwrite; name "
                f"another folder (this checkpoint is exported by: jsqa export {shlex.quote(str(path.parent))} OUTPUT)"
            )
    configuration = path.with_name("config.json")
    if configuration.exists() and f'"{JSQAConfig.model_type}"' not in configuration.read_text(errors="replace"):
        raise FileExistsError(
            f"{configuration}: is not one of JSQA, and the export would overwrite it; name another folder"
        )
    return path


class _Graph(nn.Module):
    """The model with tensors in and out, as the exporter wants it."""

    def __init__(self, model: JSQAForMOSRegression) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: Tensor, attention_mask: Tensor) -> tuple[Tensor | None, ...]:
        outputs = self.model(input_values, attention_mask=attention_mask, return_dict=True)
        return outputs.scores, outputs.variances, outputs.embeddings


def _write_graph(model: JSQAForMOSRegression, path: Path, fingerprint: str | None) -> None:
    config = model.config
    # The other implementations make masks and products that the exporter spells out in many more operations.
    implementation = config.hubert_config._attn_implementation
    model.set_attn_implementation("eager")
    batch = torch.export.Dim("batch", min=1)
    samples = torch.export.Dim("samples", min=model.jsqa.receptive_field)
    length = 2 * config.sampling_rate
    mask = torch.ones(2, length, dtype=torch.long)
    names = ["input_values", "attention_mask"]
    with torch.no_grad(), _spectrum_by_convolution(model), _silent_exporter():
        program: Any = torch.onnx.export(
            _Graph(model).eval(),
            (torch.zeros(2, length), mask),
            input_names=names,
            output_names=["scores", "variances", "embeddings"],
            dynamic_shapes={name: {0: batch, 1: samples} for name in names},
            dynamo=True,
            verbose=False,
        )
    model.set_attn_implementation(implementation)
    program.model.metadata_props.update(
        sampling_rate=str(config.sampling_rate),
        shortest_samples=str(model.jsqa.receptive_field),
        mos_output_names=",".join(config.mos_output_names),
        mos_score_range=",".join(f"{end:g}" for end in config.mos_score_range),
        mos_panel_std=f"{config.mos_panel_std:g}",
        **({} if fingerprint is None else {"fingerprint": fingerprint}),
    )
    # The exporter notes from where in which file every node comes, with the folders of this machine.
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    program.save(path)


@contextmanager
def _spectrum_by_convolution(model: JSQAForMOSRegression) -> Iterator[None]:
    """Let the levels of frames come from a convolution with cosines and sines.

    The FFT of ONNX Runtime took a ninth of the whole time. The sum of power and floor is formed in units of the floor,
    because the exporter's optimiser takes a constant as small as the floor for 0 and drops it.
    """
    base = model.jsqa
    if not base.config.level_bands:
        yield
        return
    window, filters = base.level_filters
    frame_length, floor = len(window), modeling_jsqa._SILENCE_POWER
    phases = torch.outer(torch.arange(frame_length // 2 + 1), torch.arange(frame_length)).double()
    phases = phases.remainder(frame_length) * (2 * math.pi / frame_length)
    bases = (torch.cat([phases.cos(), phases.sin()]) * window.double()).float()[:, None]
    weights = torch.cat([filters, filters]).T[..., None] / floor

    def band_levels(input_values: Tensor, hop_length: int, *_: Tensor) -> Tensor:
        spectrum = F.conv1d(input_values[:, None], bases, stride=hop_length)
        power = F.conv1d(spectrum.square(), weights).transpose(1, 2)
        return (10.0 * torch.log10(power + 1.0) + 10.0 * math.log10(floor) + 60.0) / 20.0

    with mock.patch.object(modeling_jsqa, "band_levels", band_levels):
        yield


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """Keep the exporter's remarks from the terminal; what matters is checked on the result."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _quantise(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logger = logging.getLogger()
    level = logger.level
    # It advises on the root logger to do what is done here.
    logger.setLevel(logging.ERROR)
    try:
        quant_pre_process(path, path, skip_symbolic_shape=True, skip_optimization=True)
        quantize_dynamic(path, path, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logger.setLevel(level)


def _write_configurations(model: JSQAForMOSRegression, extractor: JSQAFeatureExtractor, folder: Path) -> None:
    config = copy.deepcopy(model.config)
    # They name code that would have to lie beside it.
    for name in ("auto_map", "custom_pipelines"):
        if hasattr(config, name):
            delattr(config, name)
    config.to_json_file(folder / "config.json")
    extractor.to_json_file(folder / "preprocessor_config.json")
