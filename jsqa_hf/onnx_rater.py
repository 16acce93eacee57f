"""Rating with an exported graph and nothing but NumPy around it: starts in a fraction of the time that torch takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .onnx_graph import OnnxGraph, open_graph
from .waveforms import prepare_clip
from .window_rater import WindowRater, available_cores

__all__ = ["OnnxRater", "load_onnx_rater"]


class OnnxRater(WindowRater):
    """Rates audio on the CPU with a graph of ONNX Runtime, as `SpeechQualityPipeline` does with the same graph.

    Args:
        graph: of a model that has an output named `"mos"`.
        cores: how many cores to rate on.

    Raises:
        ValueError: the graph doesn't tell what its outputs are, or none is the MOS.
    """

    _uses_torchaudio = False

    def __init__(self, graph: OnnxGraph, cores: int) -> None:
        self.graph = graph
        self._cores = cores
        settings = graph.settings()
        self.sampling_rate, self.output_names = settings["sampling_rate"], settings["mos_output_names"]
        self.score_range, self.panel_std = tuple(settings["mos_score_range"]), settings["mos_panel_std"]
        if "mos" not in self.output_names:
            raise ValueError(
                f"none of the model's outputs {self.output_names} is named 'mos'; name the overall quality so in "
                "`mos_output_names` of its configuration"
            )

    @property
    def cores(self) -> int:
        """See `WindowRater`."""
        return self._cores

    def limit_cores(self, cores: int) -> None:
        """Of no effect: the threads of a graph are set when it is loaded, and shared by all who run it."""

    def extract(self, samples: NDArray[Any], sampling_rate: int) -> Mapping[str, NDArray[Any]]:
        """See `WindowRater`."""
        values = prepare_clip(samples, sampling_rate, self.sampling_rate, torchaudio=False)
        padding = (0, max(0, self.graph.shortest_samples - len(values)))
        mask = np.ones(len(values), np.int64)
        return {"input_values": np.pad(values, padding)[None], "attention_mask": np.pad(mask, padding)[None]}

    def rate_windows(self, windows: Sequence[Mapping[str, Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `WindowRater`."""
        longest = max(window["input_values"].shape[-1] for window in windows)
        values, mask = (
            np.concatenate([np.pad(window[key], ((0, 0), (0, longest - window[key].shape[-1]))) for window in windows])
            for key in ("input_values", "attention_mask")
        )
        scores, variances, _ = self.graph.run(values, mask)
        return scores.astype(np.float64), variances.astype(np.float64)


def load_onnx_rater(model: str | os.PathLike[str]) -> OnnxRater:
    """Load what `jsqa export` wrote.

    Args:
        model: see `jsqa_hf.onnx_graph.open_graph`.

    Returns:
        A rater for `jsqa_hf.score_engine`, on as many cores as `OMP_NUM_THREADS` or the system allows.

    Raises:
        FileNotFoundError, ValueError: see `jsqa_hf.onnx_graph.open_graph` and [`OnnxRater`].
    """
    cores = available_cores()
    return OnnxRater(open_graph(model, cores), cores)
