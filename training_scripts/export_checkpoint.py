"""Reduce a trained model of either stage to the folder that ships with the package: half-precision weights, no code.

    python training_scripts/export_checkpoint.py --model runs/mos --output_dir jsqa_hf/checkpoints/jsqa-tiny

The weights are stored in 16 bits and loaded in 32. A MOS model gets an ONNX graph of them (extra `onnx`), with which
the command line rates. The code stays out, since the package has it; `save_pretrained` writes folders for the Hub,
which carry it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression
from jsqa_hf.onnx_export import export_onnx
from jsqa_hf.scoring import load_whole_model
from jsqa_hf.training import parse_arguments, run_script


@dataclass
class ExportArguments:
    """What to export, and where to."""

    model: str = field(metadata={"help": "path or Hub id of a trained model of stage 1 or 2"})
    output_dir: str = field(metadata={"help": "folder to write"})


def main(argv: Sequence[str] | None = None) -> int:
    """Export; returns the exit code."""
    (args,) = parse_arguments((ExportArguments,), argv)
    is_mos_model = "JSQAForMOSRegression" in (JSQAConfig.from_pretrained(args.model).architectures or ())
    model_class = JSQAForMOSRegression if is_mos_model else JSQAForContrastivePretraining
    head = "the MOS head" if is_mos_model else "the projection head"
    model: Any = load_whole_model(model_class, args.model, head, "nothing is exported")
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config
    config.architectures = [type(model).__name__]
    config.dtype = torch.float32
    # Both name code beside the weights, without which nothing would load.
    for name in ("auto_map", "custom_pipelines"):
        if hasattr(config, name):
            delattr(config, name)
    config.to_json_file(folder / "config.json")
    JSQAFeatureExtractor(sampling_rate=config.sampling_rate).to_json_file(folder / "preprocessor_config.json")
    # safetensors makes files that only their owner can read.
    (folder / "model.safetensors").chmod(0o644)
    if is_mos_model:
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            graph = export_onnx(JSQAForMOSRegression.from_pretrained(folder), beside).path
            graph.replace(folder / graph.name)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{folder}: {sum(tensor.numel() for tensor in weights.values()):,} parameters, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
