"""Distortions of speech, each with a severity and the steps of it that listeners do and do not hear."""

from __future__ import annotations

from .base import Distorted, Distortion, Draw, Stage, make_distortion, register, registered_distortions

__all__ = [
    "Distorted",
    "Distortion",
    "Draw",
    "Stage",
    "make_distortion",
    "register",
    "registered_distortions",
]
