"""MOS models that ONNX Runtime runs, in place of PyTorch, under the same pipeline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils.generic import can_return_tuple

from . import JSQAConfig, JSQAForMOSRegression, JSQAMOSOutput
from .onnx_graph import MODEL_NAME, OnnxGraph, open_graph

__all__ = ["OnnxForMOSRegression", "load_onnx_model"]


def load_onnx_model(
    model: str | os.PathLike[str], threads: int | None = None, providers: Sequence[str] | None = None
) -> OnnxForMOSRegression:
    """Load what `jsqa_hf.onnx_export.export_onnx` wrote.

    Args:
        model: the folder, or the path of the graph, with `config.json` beside it; where the graph's metadata tell
            otherwise, they count.
        threads: number of threads within an operation; None takes as many as PyTorch does.
        providers: execution providers of ONNX Runtime by name, in order of preference; None runs on the CPU.

    Returns:
        A model for `SpeechQualityPipeline`, `jsqa_hf.scoring` and direct calls.

    Raises:
        FileNotFoundError: there is no graph, or no configuration beside it.
        ValueError: the graph can't be loaded, or isn't one of JSQA.
    """
    graph = open_graph(model, torch.get_num_threads() if threads is None else threads, providers)
    # An export of another model into the same folder has replaced the file.
    config = JSQAConfig.from_pretrained(graph.path.parent, **graph.settings())
    return OnnxForMOSRegression(config, graph).eval()


class OnnxForMOSRegression(JSQAForMOSRegression):
    """A `JSQAForMOSRegression` for inference, whose weights are in a graph of ONNX Runtime.

    Args:
        config: of the exported model.
        graph: its weights.
    """

    def __init__(self, config: JSQAConfig, graph: OnnxGraph) -> None:
        # Past the constructor that makes the weights.
        super(JSQAForMOSRegression, self).__init__(config)
        self.num_labels = len(config.mos_output_names)
        self.graph = graph

    @property
    def shortest_samples(self) -> int:
        """Length of the shortest clip that the graph takes."""
        return self.graph.shortest_samples

    @property
    def device(self) -> torch.device:
        """Where inputs are wanted; whatever providers run the graph."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs and outputs."""
        return torch.float32

    @can_return_tuple
    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> JSQAMOSOutput | tuple[Tensor, ...]:
        """Rate clips.

        Args:
            input_values: (batch, samples) mono at `config.sampling_rate`, full scale 1, padded on the right.
            attention_mask: (batch, samples), 1 for samples of the clip and 0 for padding; all 1 if not given.
            kwargs: `return_dict`. Labels are refused, since the graph can't be trained, and so are hidden states.

        Returns:
            `JSQAMOSOutput` with scores, variances and embeddings, on the device of the input.

        Raises:
            ValueError: for input that is not (batch, samples), too short a clip, or an argument that isn't supported.
        """
        wanted = sorted(name for name, value in kwargs.items() if value is not None and value is not False)
        if wanted:
            raise ValueError(f"a model in ONNX only rates; it doesn't take {', '.join(wanted)}")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values, dtype=torch.long)
        outputs = self.graph.run(
            input_values.detach().cpu().float().numpy(), attention_mask.detach().cpu().long().numpy()
        )
        scores, variances, embeddings = (torch.from_numpy(values).to(input_values.device) for values in outputs)
        return JSQAMOSOutput(scores=scores, variances=variances, embeddings=embeddings)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Copy the graph and its configuration into a folder."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        if self.graph.path.resolve() != (folder / MODEL_NAME).resolve():
            shutil.copyfile(self.graph.path, folder / MODEL_NAME)
        self.config.to_json_file(folder / "config.json")
