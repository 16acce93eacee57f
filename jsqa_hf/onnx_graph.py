"""Graphs that `jsqa export` writes, run by ONNX Runtime. Nothing here needs torch or transformers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MODEL_NAME", "OnnxGraph", "is_onnx_model", "open_graph"]

MODEL_NAME = "model.onnx"
"""Name of the graph in a folder."""

_OUTPUTS = ("scores", "variances", "embeddings")


def is_onnx_model(model: str | os.PathLike[str]) -> bool:
    """Whether this is a file named `*.onnx`, or a folder that has a graph and no other weights."""
    path = Path(model)
    if path.suffix == ".onnx" and not path.is_dir():
        return True
    has_other_weights = any((path / name).exists() for name in ("model.safetensors", "model.safetensors.index.json"))
    return (path / MODEL_NAME).is_file() and not has_other_weights


@dataclass(frozen=True)
class OnnxGraph:
    """A graph that is ready to run, see `open_graph`.

    Attributes:
        path: of its file.
        session: `onnxruntime.InferenceSession`.
        metadata: what `jsqa export` wrote into it: `sampling_rate`, `shortest_samples`, `mos_output_names`,
            `mos_score_range` and `mos_panel_std`, as text, and unless it is quantised the `fingerprint` of the model.
    """

    path: Path
    session: Any
    metadata: dict[str, str]

    @property
    def shortest_samples(self) -> int:
        """Length of the shortest clip that it takes."""
        return int(self.metadata["shortest_samples"])

    def settings(self) -> dict[str, Any]:
        """The settings of `JSQAConfig` that its metadata hold; they count, whatever lies beside the graph.

        Raises:
            ValueError: one is missing, or can't be read.
        """
        try:
            lowest, highest = self.metadata["mos_score_range"].split(",")
            return {
                "sampling_rate": int(self.metadata["sampling_rate"]),
                "mos_output_names": self.metadata["mos_output_names"].split(","),
                "mos_score_range": [float(lowest), float(highest)],
                "mos_panel_std": float(self.metadata["mos_panel_std"]),
            }
        except (KeyError, ValueError) as error:
            raise ValueError(f"{self.path}: lacks metadata that `jsqa export` writes; export it again") from error

    def run(self, input_values: NDArray[np.float32], attention_mask: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Rate clips, those of a quantised graph one by one, so that no score depends on the batch.

        Args:
            input_values: (batch, samples) mono at the model's rate, full scale 1, padded on the right.
            attention_mask: (batch, samples), 1 for samples of the clip and 0 for padding.

        Returns:
            Scores and variances, (batch, outputs), and embeddings, (batch, embedding).

        Raises:
            ValueError: for input that is not (batch, samples), or is too short.
        """
        if input_values.ndim != 2:
            raise ValueError(f"`input_values` must be (batch, samples), but has shape {tuple(input_values.shape)}")
        if input_values.shape[-1] < self.shortest_samples:
            raise ValueError(
                f"clips of {input_values.shape[-1]} samples are too short: give at least {self.shortest_samples}"
            )
        if "fingerprint" in self.metadata or not len(input_values):
            return self._run(input_values, attention_mask)
        # A quantised one rounds by the range of values in the batch: each clip goes alone, and without its padding.
        lengths = np.maximum(attention_mask.sum(axis=1), self.shortest_samples)
        clips = [
            self._run(input_values[row, None, :n], attention_mask[row, None, :n]) for row, n in enumerate(lengths)
        ]
        return [np.concatenate(values) for values in zip(*clips, strict=True)]

    def _run(self, input_values: NDArray[np.float32], attention_mask: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        return self.session.run(list(_OUTPUTS), {"input_values": input_values, "attention_mask": attention_mask})

    def fingerprint(self) -> str:
        """The hash of the model that it was exported from, whose scores it gives; if quantised, of its own file."""
        return self.metadata.get("fingerprint") or hashlib.sha256(self.path.read_bytes()).hexdigest()


def open_graph(model: str | os.PathLike[str], threads: int, providers: Sequence[str] | None = None) -> OnnxGraph:
    """Load what `jsqa_hf.onnx_export.export_onnx` wrote.

    Args:
        model: the folder, or the path of the graph, with `config.json` beside it.
        threads: number of threads within an operation.
        providers: execution providers of ONNX Runtime by name, in order of preference; None runs on the CPU.

    Raises:
        FileNotFoundError: there is no graph, or no configuration beside it.
        ValueError: the graph can't be loaded, or isn't one of JSQA.
    """
    import onnxruntime

    path = Path(model)
    path = path / MODEL_NAME if path.is_dir() else path
    for needed in (path, path.with_name("config.json")):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed}: no such file; `jsqa export` writes the graph and its configuration")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Warnings about the graph are nothing that a user could mend.
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=list(providers or ["CPUExecutionProvider"])
        )
    except Exception as error:
        raise ValueError(f"{path}: ONNX Runtime can't load it ({' '.join(str(error).split())})") from error
    names = tuple(output.name for output in session.get_outputs())
    if names != _OUTPUTS:
        raise ValueError(f"{path}: has the outputs {names}, not {_OUTPUTS} as `jsqa export` writes them")
    return OnnxGraph(path, session, dict(session.get_modelmeta().custom_metadata_map))
