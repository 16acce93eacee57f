"""Agreement of predicted with rated speech quality; `evaluate.load` takes the class that is imported here."""

from __future__ import annotations

from jsqa_hf.metrics import SpeechQualityMetrics

__all__ = ["SpeechQualityMetrics"]
