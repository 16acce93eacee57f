"""Changes of a clip that leave its quality as it is, or nearly so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import soxr
from held_out import SAMPLING_RATE, Clip

# Length of the padding. Our choice.
PADDING_S = 1.0


def through(sampling_rate: int) -> Callable[[Clip], Clip]:
    """Resampling to a rate and back."""

    def change(clip: Clip) -> Clip:
        there = soxr.resample(clip, SAMPLING_RATE, sampling_rate)
        back = soxr.resample(there, sampling_rate, SAMPLING_RATE)[: len(clip)]
        return np.pad(back, (0, len(clip) - len(back)))

    return change


def swap_halves(clip: Clip) -> Clip:
    """The second part before the first, cut where the middle third is quietest over 20 ms."""
    window = SAMPLING_RATE // 50
    start = len(clip) // 3
    powers = np.convolve(np.square(clip[start : 2 * start], dtype=np.float64), np.ones(window), mode="valid")
    cut = start + int(powers.argmin()) + window // 2
    return np.concatenate([clip[cut:], clip[:cut]])


def gain(gain_db: float) -> Callable[[Clip], Clip]:
    """Amplification; nothing is clipped, even beyond full scale."""
    return lambda clip: (clip * 10 ** (gain_db / 20)).astype(np.float32)


def _pad(before: float, after: float) -> Callable[[Clip], Clip]:
    return lambda clip: np.pad(clip, (round(before * SAMPLING_RATE), round(after * SAMPLING_RATE)))


CHANGES: dict[str, Callable[[Clip], Clip]] = {
    "1 s of silence before": _pad(PADDING_S, 0),
    "1 s of silence after": _pad(0, PADDING_S),
    "gain of -20 dB": gain(-20),
    "gain of -10 dB": gain(-10),
    "gain of +6 dB": gain(6),
    "through 8 kHz and back": through(8000),
    "through 22.05 kHz and back": through(22050),
    "through 44.1 kHz and back": through(44100),
    "through 48 kHz and back": through(48000),
    "halves swapped": swap_halves,
}
