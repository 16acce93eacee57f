"""A hash of all that the scores of a model depend on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from .feature_extraction_jsqa import JSQAFeatureExtractor
from .modeling_jsqa import JSQAForMOSRegression

__all__ = ["model_fingerprint"]

# What tells how a model was saved and loaded, not what it does. The weights tell their type themselves.
_PASSING = ("_name_or_path", "transformers_version", "architectures", "auto_map", "dtype", "torch_dtype")


def model_fingerprint(model: JSQAForMOSRegression, feature_extractor: JSQAFeatureExtractor) -> str:
    """Hash weights with their number formats, and the configurations as far as they differ from the defaults.

    Args:
        model: on any device.
        feature_extractor: that goes with it.

    Returns:
        64 hexadecimal digits, the same wherever the model is loaded from.
    """
    settings = [_lasting(part) for part in (model.config.to_diff_dict(), feature_extractor.to_dict())]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weights in model.state_dict().items():
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(weights.detach().cpu().contiguous().flatten().view(dtype=torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _lasting(settings: dict[str, Any]) -> dict[str, Any]:
    parts = {name: value for name, value in settings.items() if name not in _PASSING}
    return {name: _lasting(value) if isinstance(value, dict) else value for name, value in parts.items()}
