"""Corpora as `datasets.Dataset`s with standard columns."""

from __future__ import annotations

from .folders import load_noise_folder, load_speech_folder
from .ratings import load_ratings_csv

__all__ = ["load_noise_folder", "load_ratings_csv", "load_speech_folder"]
