"""Corpora as `datasets.Dataset`s with standard columns."""

from __future__ import annotations

from .folders import load_noise_folder, load_speech_folder
from .loading import load_noise, load_rirs, load_speech, parse_source
from .ratings import load_ratings_csv

__all__ = [
    "load_noise",
    "load_noise_folder",
    "load_ratings_csv",
    "load_rirs",
    "load_speech",
    "load_speech_folder",
    "parse_source",
]
