"""Distortions of speech, each with a severity and the steps of it that listeners do and do not hear."""

from __future__ import annotations

from .band import HighPass, LowPass, TelephoneBand
from .base import Distorted, Distortion, Draw, Stage, make_distortion, register, registered_distortions
from .clipping import Clipping
from .echo import Echo
from .level import Level
from .mnru import MNRU
from .noise import AdditiveNoise, CompetingTalkers
from .packet_loss import BurstLoss, PacketLoss
from .reverberation import DirectToReverberant, Reverberation
from .room import SimulatedRoom

__all__ = [
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
