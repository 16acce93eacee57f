"""Corpora as `datasets.Dataset`s with standard columns."""

from __future__ import annotations

from .human_jnd import load_human_jnd
from .loading import load_noise, load_rirs, load_speech, parse_source
from .mos import load_mos, parse_mos_source
from .ratings import DIMENSIONS, with_labels

__all__ = [
    "DIMENSIONS",
    "load_human_jnd",
    "load_mos",
    "load_noise",
    "load_rirs",
    "load_speech",
    "parse_mos_source",
    "parse_source",
    "with_labels",
]
