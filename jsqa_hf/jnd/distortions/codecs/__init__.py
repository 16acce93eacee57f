"""Real codecs."""

from __future__ import annotations

from .base import BitRateCodec, CodecDistortion, SingleRateCodec
from .general_audio import AAC, MP3, Opus, Vorbis
from .optional import LC3, SILK, Codec2
from .telephony import AMRNB, G722, G726, G7231, GSM, ALaw, MuLaw

__all__ = [
    "AAC",
    "AMRNB",
    "BitRateCodec",
    "Codec2",
    "CodecDistortion",
    "G722",
    "G7231",
    "G726",
    "GSM",
    "LC3",
    "MP3",
    "SILK",
    "ALaw",
    "MuLaw",
    "Opus",
    "SingleRateCodec",
    "Vorbis",
]
