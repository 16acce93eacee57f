"""Measures of room impulse responses after ISO 3382-1, broadband: clarity, reverberation time, direct sound.

All times count from the direct sound, which is the largest sample within a millisecond of the onset; the onset is the
first sample that comes within 20 dB of the largest one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# ISO 3382-1 takes as onset where the response leaves the background noise, while still 20 dB or more below its peak.
ONSET_DB = 20.0
# Our choice: long enough for the filters of a loudspeaker to reach their peak, too short for most reflections.
PEAK_SEARCH_S = 0.001
EARLY_S = 0.05
# As irStats of the IoSR toolbox takes it, after Zahorik (JASA 2002): about the length of a head-related response.
DIRECT_S = 0.0025

# Evaluation ranges of the decay curve in dB, with the headroom of 10 dB above the noise that ISO 3382-1 asks for.
_T30_DB, _T20_DB = (-5.0, -35.0), (-5.0, -25.0)
_HEADROOM_DB = 10.0
# Three points for a straight line with a residue.
_FEWEST_BLOCKS = 3


def direct_sound(rir: NDArray[Any], sampling_rate: int) -> int:
    """Find the direct sound in a room impulse response.

    Args:
        rir: Shape `(time,)`, in any unit.
        sampling_rate: In Hz.

    Returns:
        Index of its peak.

    Raises:
        ValueError: If the response is empty, not one-dimensional, not finite, or all zero, or if the sampling rate is
            not positive.
    """
    magnitude = np.abs(_checked(rir, sampling_rate))
    onset = int((magnitude >= magnitude.max() * 10 ** (-ONSET_DB / 20)).argmax())
    return onset + int(magnitude[onset : onset + round(PEAK_SEARCH_S * sampling_rate) + 1].argmax())


def c50(rir: NDArray[Any], sampling_rate: int, *, direct: int | None = None) -> float:
    """Clarity: the energy up to 50 ms after the direct sound relative to all that comes later, in dB.

    C50 = 10 lg (E(..., 50 ms) / E(50 ms, ...)) with E the sum of the squared samples.

    Args:
        rir: Shape `(time,)`.
        sampling_rate: In Hz.
        direct: Index of the direct sound where it is known; `direct_sound` finds it otherwise.

    Returns:
        In dB; infinite if nothing follows.

    Raises:
        ValueError: As `direct_sound`.
    """
    return _ratio_db(rir, sampling_rate, EARLY_S, direct)


def drr(rir: NDArray[Any], sampling_rate: int, *, direct: int | None = None) -> float:
    """Direct-to-reverberant ratio: the energy up to 2.5 ms after the direct sound relative to all later, in dB.

    Arguments, result and errors are those of `c50`.
    """
    return _ratio_db(rir, sampling_rate, DIRECT_S, direct)


def t60(rir: NDArray[Any], sampling_rate: int) -> float:
    """Reverberation time: how long the decay takes for 60 dB, extrapolated from a part of it.

    The slope is that of a straight line through the decay curve (see `decay_curve`) from -5 to -35 dB (T30). Where the
    noise leaves less than 10 dB below that, it is taken from -5 to -25 dB (T20).

    Args:
        rir: Shape `(time,)`.
        sampling_rate: In Hz.

    Returns:
        In seconds.

    Raises:
        ValueError: As `direct_sound`, or if the response decays by less than 35 dB before it ends or its noise begins.
    """
    curve = decay_curve(rir, sampling_rate)
    for evaluated in (_T30_DB, _T20_DB):
        if curve[-1] <= evaluated[1] - _HEADROOM_DB:
            return _decay_time(curve, sampling_rate, evaluated)
    raise ValueError(
        f"the impulse response decays by {-curve[-1]:.0f} dB before it ends or its noise begins, but a reverberation "
        f"time takes {_HEADROOM_DB - _T20_DB[1]:.0f} dB: use a longer or less noisy one"
    )


def decay_curve(rir: NDArray[Any], sampling_rate: int) -> NDArray[np.float64]:
    """Schroeder's backward integration of the squared response from the direct sound on.

    It ends where the decay sinks into the noise (see `noise_limit`). The energy that the decay would have had after
    that is added, as ISO 3382-1 asks for.

    Args:
        rir: Shape `(time,)`.
        sampling_rate: In Hz.

    Returns:
        Shape `(time,)`, in dB relative to its first value.

    Raises:
        ValueError: As `direct_sound`, or if nothing decays above the noise.
    """
    energy = np.square(_checked(rir, sampling_rate)[direct_sound(rir, sampling_rate) :])
    end, remainder = _noise_limit(energy, sampling_rate)
    if remainder is None:
        raise ValueError("the impulse response shows no decay above its noise: use a less noisy one")
    remaining = np.cumsum(energy[:end][::-1])[::-1] + remainder
    return 10 * np.log10(np.maximum(remaining / remaining[0], np.finfo(np.float64).tiny))


def noise_limit(rir: NDArray[Any], sampling_rate: int) -> int:
    """Find where the decay of a measured response sinks into the background noise.

    The iterative method of Lundeby, Vigran, Bietz and Vorländer (Acustica 1995): the crossing of a straight line,
    fitted to the level of short blocks, with the level of the noise, which is estimated after it.

    Args:
        rir: Shape `(time,)`.
        sampling_rate: In Hz.

    Returns:
        Index of the first sample to be taken as noise; near the length of the response if it holds no noise.

    Raises:
        ValueError: As `direct_sound`.
    """
    start = direct_sound(rir, sampling_rate)
    return start + _noise_limit(np.square(_checked(rir, sampling_rate)[start:]), sampling_rate)[0]


def _checked(rir: NDArray[Any], sampling_rate: int) -> NDArray[np.float64]:
    rir = np.asarray(rir, dtype=np.float64)
    if sampling_rate <= 0:
        raise ValueError(f"sampling_rate must be positive, got {sampling_rate}")
    if rir.ndim != 1 or rir.size == 0:
        raise ValueError(f"an impulse response must have shape (time,) with time > 0, got shape {rir.shape}")
    if not np.isfinite(rir).all():
        raise ValueError("the impulse response contains NaN or infinite samples")
    if not rir.any():
        raise ValueError("the impulse response is all zero")
    return rir


def _ratio_db(rir: NDArray[Any], sampling_rate: int, boundary_s: float, direct: int | None) -> float:
    energy = np.square(_checked(rir, sampling_rate))
    start = direct_sound(rir, sampling_rate) if direct is None else direct
    boundary = start + round(boundary_s * sampling_rate)
    late = float(energy[boundary:].sum())
    return 10 * (math.log10(energy[:boundary].sum()) - math.log10(late)) if late > 0 else math.inf


def _decay_time(curve: NDArray[np.float64], sampling_rate: int, evaluated_db: tuple[float, float]) -> float:
    high, low = evaluated_db
    start, stop = int((curve <= high).argmax()), int((curve < low).argmax())
    if stop - start < 2:
        raise ValueError("the impulse response decays within a sample or two, so it has no decay time")
    slope = np.polyfit(np.arange(stop - start) / sampling_rate, curve[start:stop], 1)[0]
    return float(-60 / slope)


def _noise_limit(energy: NDArray[np.float64], sampling_rate: int) -> tuple[int, float | None]:
    """Where the noise begins, and the energy that the decay without noise would have after it; None without a decay.

    Block lengths and ranges are within those that Lundeby et al. state. Their blocks of 10 to 50 ms are too long for
    the driest rooms, so the first ones become shorter where the decay is.
    """
    energy = energy[: int(np.flatnonzero(energy)[-1]) + 1]
    tail = max(1, energy.size // 10)
    noise = float(energy[-tail:].mean())
    for first_s in (0.01, 0.005, 0.002, 0.001):
        block = max(1, round(first_s * sampling_rate))
        levels, noise_db = _block_levels(energy, block), 10 * math.log10(noise)
        start, stop = _decaying_part(levels, noise_db + 10)
        if stop - start >= _FEWEST_BLOCKS:
            break
    limit, decay_db = min(stop * block, energy.size), 0.0
    for _ in range(6):
        if stop - start < _FEWEST_BLOCKS:
            break
        slope, level_db = np.polyfit(np.arange(start, stop) + 0.5, levels[start:stop], 1)
        if slope >= 0:
            break
        decay_db = -slope / block
        limit = int(np.clip((noise_db - level_db) / slope * block, 1, energy.size))
        # Five blocks in 10 dB of decay; noise is what lies 7 dB of decay later, or the last tenth.
        block = int(np.clip(2 / decay_db, 1, tail))
        noise = float(energy[min(limit + round(7 / decay_db), energy.size - tail) :].mean())
        levels, noise_db = _block_levels(energy, block), 10 * math.log10(noise)
        start, stop = _decaying_part(levels, noise_db + 5)
        # The last 20 dB only, where the decay may be slower than at first.
        start += int((levels[start:stop] <= levels[stop - 1] + 20).argmax())
    if decay_db == 0.0:
        return limit, None
    return limit, noise / -math.expm1(-decay_db * math.log(10) / 10)


def _decaying_part(levels: NDArray[np.float64], lowest_db: float) -> tuple[int, int]:
    """From the loudest block to the last one before the level first falls to `lowest_db`."""
    loudest = int(levels.argmax())
    above = levels[loudest:] > lowest_db
    return loudest, loudest + max(1, above.size if above.all() else int(above.argmin()))


def _block_levels(energy: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    blocks = energy[: energy.size // block * block].reshape(-1, block).mean(axis=1)
    return 10 * np.log10(np.maximum(blocks, np.finfo(np.float64).tiny))
