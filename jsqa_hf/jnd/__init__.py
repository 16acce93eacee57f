"""Just-noticeable-difference (JND) pairs: levels, thresholds, mixing and pair generation."""

from __future__ import annotations

from .levels import ActiveSpeechLevel, active_speech_level, rms_level
from .mixing import Mixture, loop_to_length, mix_at_snr, mix_at_snrs
from .pairs import JNDPairGenerator, sample_ladder_snrs
from .thresholds import SNR_THRESHOLD, Threshold

__all__ = [
    "SNR_THRESHOLD",
    "ActiveSpeechLevel",
    "JNDPairGenerator",
    "Mixture",
    "Threshold",
    "active_speech_level",
    "loop_to_length",
    "mix_at_snr",
    "mix_at_snrs",
    "rms_level",
    "sample_ladder_snrs",
]
