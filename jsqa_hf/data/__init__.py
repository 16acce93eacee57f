"""Corpora as `datasets.Dataset`s with standard columns."""

from __future__ import annotations

from .folders import load_noise_folder, load_speech_folder
from .loading import load_noise, load_rirs, load_speech, parse_source
from .mos import load_mos, parse_mos_source
from .ratings import DIMENSIONS, with_labels

__all__ = [
    "DIMENSIONS",
    "load_mos",
    "load_noise",
    "load_noise_folder",
    "load_rirs",
    "load_speech",
    "load_speech_folder",
    "parse_mos_source",
    "parse_source",
    "with_labels",
]
