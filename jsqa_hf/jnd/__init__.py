"""Just-noticeable-difference (JND) pairs: levels, thresholds, distortions and pair generation."""

from __future__ import annotations

from .distortions import Distortion, make_distortion, registered_distortions
from .excerpts import load_mono
from .ladders import LadderSampler
from .levels import ActiveSpeechLevel, active_speech_level, rms_level
from .mixing import Levelled, add_at_snrs, bring_to_level, loop_to_length, mix_at_snr
from .pairs import JNDPairGenerator
from .thresholds import SNR_THRESHOLD, Threshold

__all__ = [
    "SNR_THRESHOLD",
    "ActiveSpeechLevel",
    "Distortion",
    "JNDPairGenerator",
    "LadderSampler",
    "Levelled",
    "Threshold",
    "active_speech_level",
    "add_at_snrs",
    "bring_to_level",
    "load_mono",
    "loop_to_length",
    "make_distortion",
    "mix_at_snr",
    "registered_distortions",
    "rms_level",
]
