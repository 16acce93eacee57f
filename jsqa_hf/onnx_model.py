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

__all__ = ["MODEL_NAME", "OnnxForMOSRegression", "explain_missing", "is_onnx_model", "load_onnx_model"]

MODEL_NAME = "model.onnx"
"""Name of the graph in a folder."""

_OUTPUTS = ("scores", "variances", "embeddings")


def explain_missing() -> str:
    """What to do where the packages are missing."""
    return 'ONNX needs further packages: pip install "jsqa_hf[onnx]"'


def is_onnx_model(model: str | os.PathLike[str]) -> bool:
    """Whether this is a file named `*.onnx`, or a folder that has a graph and no other weights."""
    path = Path(model)
    if path.suffix == ".onnx" and not path.is_dir():
        return True
    has_other_weights = any((path / name).exists() for name in ("model.safetensors", "model.safetensors.index.json"))
    return (path / MODEL_NAME).is_file() and not has_other_weights


def load_onnx_model(
    model: str | os.PathLike[str], threads: int | None = None, providers: Sequence[str] | None = None
) -> OnnxForMOSRegression:
    """Load what `jsqa_hf.onnx_export.export_onnx` wrote.

    Args:
        model: the folder, or the path of the graph, with `config.json` beside it.
        threads: number of threads within an operation; None takes as many as PyTorch does.
        providers: execution providers of ONNX Runtime by name, in order of preference; None runs on the CPU.

    Returns:
        A model for `SpeechQualityPipeline`, `jsqa_hf.scoring` and direct calls.

    Raises:
        ImportError: the extra `onnx` is not installed.
        FileNotFoundError: there is no graph, or no configuration beside it.
        ValueError: the graph can't be loaded, or isn't one of JSQA.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(explain_missing()) from error
    path = Path(model)
    path = path / MODEL_NAME if path.is_dir() else path
    for needed in (path, path.with_name("config.json")):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed}: no such file; `jsqa export` writes the graph and its configuration")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
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
    config = JSQAConfig.from_pretrained(path.parent)
    return OnnxForMOSRegression(config, session, path).eval()


class OnnxForMOSRegression(JSQAForMOSRegression):
    """A `JSQAForMOSRegression` for inference, whose weights are in a graph of ONNX Runtime.

    Args:
        config: of the exported model.
        session: `onnxruntime.InferenceSession`.
        path: of the graph.
    """

    def __init__(self, config: JSQAConfig, session: Any, path: Path) -> None:
        # Past the constructor that makes the weights.
        super(JSQAForMOSRegression, self).__init__(config)
        self.num_labels = len(config.mos_output_names)
        self.session = session
        self.path = path
        self.shortest_samples = int(session.get_modelmeta().custom_metadata_map["shortest_samples"])

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
        if input_values.ndim != 2:
            raise ValueError(f"`input_values` must be (batch, samples), but has shape {tuple(input_values.shape)}")
        if input_values.shape[-1] < self.shortest_samples:
            raise ValueError(
                f"clips of {input_values.shape[-1]} samples are too short: give at least {self.shortest_samples}"
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values, dtype=torch.long)
        inputs = {
            "input_values": input_values.detach().cpu().float().numpy(),
            "attention_mask": attention_mask.detach().cpu().long().numpy(),
        }
        outputs = self.session.run(list(_OUTPUTS), inputs)
        scores, variances, embeddings = (torch.from_numpy(values).to(input_values.device) for values in outputs)
        return JSQAMOSOutput(scores=scores, variances=variances, embeddings=embeddings)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Copy the graph and its configuration into a folder."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.path, folder / MODEL_NAME)
        self.config.to_json_file(folder / "config.json")
