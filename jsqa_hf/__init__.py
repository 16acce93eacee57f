"""JSQA: speech quality assessment without a reference, pretrained on just-noticeable-difference pairs.

Importing the package makes the Auto classes and `pipeline` of transformers know `model_type = "jsqa"`.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

DEFAULT_CHECKPOINT = Path(__file__).parent / "checkpoints" / "jsqa-tiny"
"""Folder of the model that comes with the package."""

DEFAULT_COMPARISON_CHECKPOINT = Path(__file__).parent / "checkpoints" / "jsqa-tiny-jnd"
"""Folder of the contrastive model, with a JND calibration, that comparisons use."""

__all__ = [
    "DEFAULT_CHECKPOINT",
    "DEFAULT_COMPARISON_CHECKPOINT",
    "JSQAConfig",
    "JSQAContrastiveOutput",
    "JSQAFeatureExtractor",
    "JSQAForContrastivePretraining",
    "JSQAForMOSRegression",
    "JSQAMOSOutput",
    "JSQAModel",
    "JSQAModelOutput",
    "SpeechQualityPipeline",
    "__version__",
    "load_default",
]


def load_default() -> tuple[JSQAForMOSRegression, JSQAFeatureExtractor]:
    """The model that comes with the package, ready to rate clips.

    Returns:
        The model, in evaluation mode and float32, and its feature extractor.
    """
    module = sys.modules[__name__]
    model = module.JSQAForMOSRegression.from_pretrained(DEFAULT_CHECKPOINT)
    return model.eval(), module.JSQAFeatureExtractor.from_pretrained(DEFAULT_CHECKPOINT)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _register()
    return globals()[name]


def _register() -> None:
    """Register the Auto classes and import the public classes into this namespace."""
    # First, before transformers looks for torchaudio.
    importlib.import_module(".torchaudio_guard", __name__)
    importlib.import_module(".auto", __name__)
    for name in ("configuration_jsqa", "feature_extraction_jsqa", "modeling_jsqa", "pipeline_jsqa"):
        module = importlib.import_module(f".{name}", __name__)
        globals().update({public: getattr(module, public) for public in module.__all__ if public in __all__})


def _is_command_line() -> bool:
    """True while Python starts `jsqa` or `python -m jsqa_hf`: `--help` must not wait for torch."""
    if sys.argv[:1] == ["-m"]:
        # Python is looking for the module, which may be another that imports this one.
        module = re.search(r"\s-\w*m\s?([\w.]+)", " ".join(sys.orig_argv))
        return module is not None and module[1].partition(".")[0] == __name__
    return Path(sys.argv[0] if sys.argv else "").name in {"jsqa", "jsqa.exe"}


if TYPE_CHECKING:
    from .configuration_jsqa import JSQAConfig
    from .feature_extraction_jsqa import JSQAFeatureExtractor
    from .modeling_jsqa import (
        JSQAContrastiveOutput,
        JSQAForContrastivePretraining,
        JSQAForMOSRegression,
        JSQAModel,
        JSQAModelOutput,
        JSQAMOSOutput,
    )
    from .pipeline_jsqa import SpeechQualityPipeline
elif not _is_command_line():
    _register()
