"""Mixing speech and noise at a defined signal-to-noise ratio (SNR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .levels import active_speech_level, rms_level

# Largest positive sample of 16-bit PCM, so that a mixture at this limit survives quantisation unclipped.
FULL_SCALE = 32767 / 32768

# The conventional active level of material for listening tests in the manner of ITU-T P.800.
NOMINAL_LEVEL_DBOV = -26.0

SpeechLevel = Literal["p56", "rms"]


def mix_at_snr(
    speech: NDArray[Any],
    noise: NDArray[Any],
    snr_db: float,
    sampling_rate: int = 16000,
    *,
    speech_level: SpeechLevel | float = "p56",
    level_dbov: float | None = NOMINAL_LEVEL_DBOV,
) -> NDArray[np.float32]:
    """Mix speech and noise at one SNR, the mixture as loud as asked for.

    Were the speech equally loud instead of the mixture, the SNR could be told from the loudness alone.

    Args:
        speech, noise, sampling_rate, speech_level: As in `add_at_snrs`.
        snr_db: In dB.
        level_dbov: Level of the mixture, see `bring_to_level`, measured as that of the speech (by P.56 if that was
            given as a number); by default the nominal level of listening-test material.

    Returns:
        Shape `(time,)`, within [-1, 1].

    Raises:
        ValueError: As in `add_at_snrs`.
    """
    mixtures, _ = add_at_snrs(speech, noise, [snr_db], sampling_rate, speech_level=speech_level)
    method: SpeechLevel = "rms" if speech_level == "rms" else "p56"
    return bring_to_level(mixtures, level_dbov, sampling_rate, speech_level=method).clips[0]


def add_at_snrs(
    speech: NDArray[Any],
    noise: NDArray[Any],
    snrs_db: Sequence[float],
    sampling_rate: int = 16000,
    *,
    speech_level: SpeechLevel | float = "p56",
) -> tuple[list[NDArray[Any]], list[float]]:
    """Add one noise to one speech signal at several SNRs; the speech keeps its level.

    The SNR is the active speech level of the speech (ITU-T P.56) minus the long-term RMS level of the noise. The noise
    is scaled to it.

    Args:
        speech: Shape `(time,)`, full scale at 1.0.
        noise: Shape `(time,)`, as long as `speech`; `loop_to_length` makes it so.
        snrs_db: SNRs in dB.
        sampling_rate: Of both signals, in Hz.
        speech_level: How the level of the speech is measured: `"p56"` (active level) or `"rms"` (long-term level,
            pauses included). Or the level of `speech` in dBov, if it was measured before.

    Returns:
        The mixtures, each of shape `(time,)`, in single precision if both signals are, which may exceed full scale;
        and the gains of the noise in dB.

    Raises:
        ValueError: If the lengths differ, an SNR or a sample is not finite, a signal is digital silence, or
            `speech_level` is unknown.
    """
    speech, noise = _floating(speech), _floating(noise)
    if speech.shape != noise.shape:
        raise ValueError(
            f"speech and noise must have the same length, got shapes {speech.shape} and {noise.shape}; "
            "loop_to_length fits the noise"
        )
    if not np.isfinite(snrs_db).all():
        raise ValueError(f"SNRs must be finite, got {list(snrs_db)}")
    measured_dbov = measure_speech(speech, sampling_rate, speech_level)
    if not np.isfinite(measured_dbov):
        raise ValueError(f"the level of the speech must be finite, got {measured_dbov}")
    noise_gains_db = [float(measured_dbov - rms_level(noise) - snr_db) for snr_db in snrs_db]
    mixtures = [noise * _amplitude(gain_db) for gain_db in noise_gains_db]
    for mixture in mixtures:
        mixture += speech
    return mixtures, noise_gains_db


class Levelled(NamedTuple):
    """Clips brought to one level.

    Attributes:
        clips: Each of shape `(time,)`, float32, within [-1, 1].
        levels_dbov: Their levels, all the same up to rounding (unless `level_dbov` was None).
        gains_db: Gains that were applied.
    """

    clips: list[NDArray[np.float32]]
    levels_dbov: list[float]
    gains_db: list[float]


def bring_to_level(
    clips: Sequence[NDArray[Any]],
    level_dbov: float | None = NOMINAL_LEVEL_DBOV,
    sampling_rate: int = 16000,
    *,
    speech_level: SpeechLevel = "p56",
) -> Levelled:
    """Bring clips of one content to one level within full scale.

    If any sample of any clip would exceed full scale, all are attenuated by the same gain, just enough: nothing is
    clipped, and differences of level stay.

    Args:
        clips: Each of shape `(time,)`, not silent, finite.
        level_dbov: Level in dBov; `None` keeps the levels.
        sampling_rate: In Hz.
        speech_level: How the level is measured.

    Raises:
        ValueError: If a clip is silent or not finite.
    """
    levels_dbov = [measure_speech(clip, sampling_rate, speech_level) for clip in clips]
    gains_db = [0.0 if level_dbov is None else level_dbov - level for level in levels_dbov]
    peaks = [max(clip.max(), -clip.min()) * _amplitude(gain) for clip, gain in zip(clips, gains_db, strict=True)]
    excess_db = max(0.0, 20 * float(np.log10(max(peaks) / FULL_SCALE)))
    gains_db = [gain - excess_db for gain in gains_db]
    scaled = [
        (clip * _amplitude(gain)).astype(np.float32, copy=False) for clip, gain in zip(clips, gains_db, strict=True)
    ]
    if excess_db > 0:
        # Only rounding is left to clip.
        scaled = [np.clip(clip, -FULL_SCALE, FULL_SCALE) for clip in scaled]
    return Levelled(scaled, [level + gain for level, gain in zip(levels_dbov, gains_db, strict=True)], gains_db)


def loop_to_length(noise: NDArray[Any], offset: int, length: int) -> NDArray[Any]:
    """Cut `length` samples out of a noise that is repeated without end.

    Args:
        noise: Shape `(time,)`, not empty.
        offset: First sample to take, from 0 on; beyond the end of the noise it wraps around.
        length: Number of samples to take.

    Returns:
        Shape `(length,)`, a copy.

    Raises:
        ValueError: If the noise is empty or not one-dimensional, or `offset` or `length` is negative.
    """
    noise = np.asarray(noise)
    if noise.ndim != 1 or noise.size == 0:
        raise ValueError(f"noise must have shape (time,) with time > 0, got shape {noise.shape}")
    if offset < 0 or length < 0:
        raise ValueError(f"offset and length must not be negative, got {offset} and {length}")
    start = offset % noise.size
    pieces = [noise[start : start + length]]
    missing = length - pieces[0].size
    pieces += [noise] * (missing // noise.size) + [noise[: missing % noise.size]]
    return np.concatenate(pieces)


def measure_speech(speech: NDArray[Any], sampling_rate: int, speech_level: SpeechLevel | float) -> float:
    """Level of speech in dBov by the method that `speech_level` names, or `speech_level` itself if it is a number."""
    if speech_level == "p56":
        return active_speech_level(speech, sampling_rate).level_dbov
    if speech_level == "rms":
        return rms_level(speech)
    if isinstance(speech_level, str):
        raise ValueError(f'speech_level must be "p56", "rms" or a level in dBov, got {speech_level!r}')
    return float(speech_level)


def _amplitude(gain_db: float) -> float:
    return 10.0 ** (gain_db / 20)


def _floating(samples: NDArray[Any]) -> NDArray[Any]:
    samples = np.asarray(samples)
    return samples if samples.dtype in (np.float32, np.float64) else samples.astype(np.float64)
