"""Distortions of speech, each with a severity and the steps of it that listeners do and do not hear."""

from __future__ import annotations

from .band import HighPass, LowPass, TelephoneBand
from .base import Distorted, Distortion, Draw, Stage, make_distortion, register, registered_distortions
from .clipping import Clipping
from .codecs import AAC, AMRNB, G722, G726, G7231, GSM, LC3, MP3, SILK, ALaw, Codec2, MuLaw, Opus, Vorbis
from .echo import Echo
from .level import Level
from .mnru import MNRU
from .noise import AdditiveNoise, CompetingTalkers
from .packet_loss import BurstLoss, PacketLoss
from .reverberation import DirectToReverberant, Reverberation
from .room import SimulatedRoom

__all__ = [
    "AAC",
    "AMRNB",
    "G722",
    "G726",
    "G7231",
    "GSM",
    "LC3",
    "MP3",
    "SILK",
    "ALaw",
    "Codec2",
    "MuLaw",
    "Opus",
    "Vorbis",
    "AdditiveNoise",
    "CompetingTalkers",
    "BurstLoss",
    "Clipping",
    "DirectToReverberant",
    "Distorted",
    "Distortion",
    "Draw",
    "Echo",
    "HighPass",
    "Level",
    "LowPass",
    "MNRU",
    "PacketLoss",
    "Reverberation",
    "SimulatedRoom",
    "Stage",
    "TelephoneBand",
    "make_distortion",
    "register",
    "registered_distortions",
]
