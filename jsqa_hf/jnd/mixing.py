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


class Mixture(NamedTuple):
    """Speech and noise added up: `samples = speech * 10**(gain_db / 20) + noise * 10**(noise_gain_db / 20)`.

    Attributes:
        samples: Shape `(time,)`, float32, within [-1, 1].
        snr_db: Level of the speech minus level of the noise, in dB.
        level_dbov: Level of the mixture in dBov, measured as that of the speech. Below the level asked for if the
            mixture had to be attenuated to stay within full scale.
        gain_db: Gain that was applied to the speech.
        noise_gain_db: Gain that was applied to the noise.
    """

    samples: NDArray[np.float32]
    snr_db: float
    level_dbov: float
    gain_db: float
    noise_gain_db: float


def mix_at_snr(
    speech: NDArray[Any],
    noise: NDArray[Any],
    snr_db: float,
    sampling_rate: int = 16000,
    *,
    speech_level: SpeechLevel | float = "p56",
    level_dbov: float | None = NOMINAL_LEVEL_DBOV,
) -> Mixture:
    """Mix one speech signal with noise at one SNR. `mix_at_snrs` has the arguments, the result and the errors."""
    return mix_at_snrs(speech, noise, [snr_db], sampling_rate, speech_level=speech_level, level_dbov=level_dbov)[0]


def mix_at_snrs(
    speech: NDArray[Any],
    noise: NDArray[Any],
    snrs_db: Sequence[float],
    sampling_rate: int = 16000,
    *,
    speech_level: SpeechLevel | float = "p56",
    level_dbov: float | None = NOMINAL_LEVEL_DBOV,
) -> list[Mixture]:
    """Mix one speech signal with one noise at several SNRs, all mixtures being equally loud.

    The SNR is the active speech level of the speech (ITU-T P.56) minus the long-term RMS level of the noise. The noise
    is scaled to it. Then each whole mixture is scaled to `level_dbov`: were the speech equally loud instead, the SNR
    could be told from the loudness alone. If any sample of any mixture would exceed full scale, all mixtures are
    attenuated by the same gain, just enough: nothing is clipped, and SNRs and equal levels stay.

    Args:
        speech: Shape `(time,)`, full scale at 1.0.
        noise: Shape `(time,)`, as long as `speech`; `loop_to_length` makes it so.
        snrs_db: SNRs in dB.
        sampling_rate: Of both signals, in Hz.
        speech_level: How the level of the speech is measured: `"p56"` (active level) or `"rms"` (long-term level,
            pauses included). Or the level of `speech` in dBov, if it was measured before.
        level_dbov: Level of the mixtures in dBov, measured as that of the speech (by P.56 if that was given as a
            number); by default the nominal level of listening-test material. `None` keeps the speech as it is.

    Returns:
        One mixture per SNR, in the same order.

    Raises:
        ValueError: If the lengths differ, an SNR or a sample is not finite, a signal is digital silence, or
            `speech_level` is unknown.
    """
    speech = np.asarray(speech, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    if speech.shape != noise.shape:
        raise ValueError(
            f"speech and noise must have the same length, got shapes {speech.shape} and {noise.shape}; "
            "loop_to_length fits the noise"
        )
    if not np.isfinite(snrs_db).all():
        raise ValueError(f"SNRs must be finite, got {list(snrs_db)}")
    measured_dbov = _measure_speech(speech, sampling_rate, speech_level)
    noise_gains_db = measured_dbov - rms_level(noise) - np.asarray(snrs_db, dtype=np.float64)
    mixtures = speech + _amplitude(noise_gains_db)[:, np.newaxis] * noise
    if mixtures.size == 0 or not np.isfinite(mixtures).all():
        raise ValueError("the speech contains NaN or infinite samples, or has no samples")
    method: SpeechLevel = "rms" if speech_level == "rms" else "p56"
    levels_dbov = np.array([_measure_speech(mixture, sampling_rate, method) for mixture in mixtures])
    gains_db = np.zeros(len(mixtures)) if level_dbov is None else level_dbov - levels_dbov
    peak = float((np.abs(mixtures).max(axis=1) * _amplitude(gains_db)).max())
    gains_db = gains_db + min(0.0, float(20 * np.log10(FULL_SCALE / peak)))
    # Only rounding is left to clip.
    scaled = np.clip(mixtures * _amplitude(gains_db)[:, np.newaxis], -FULL_SCALE, FULL_SCALE).astype(np.float32)
    return [
        Mixture(samples, float(snr_db), float(level + gain), float(gain), float(noise_gain + gain))
        for samples, snr_db, level, gain, noise_gain in zip(
            scaled, snrs_db, levels_dbov, gains_db, noise_gains_db, strict=True
        )
    ]


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
    return noise[np.arange(offset, offset + length) % noise.size]


def _measure_speech(speech: NDArray[np.float64], sampling_rate: int, speech_level: SpeechLevel | float) -> float:
    if speech_level == "p56":
        return active_speech_level(speech, sampling_rate).level_dbov
    if speech_level == "rms":
        return rms_level(speech)
    if isinstance(speech_level, str):
        raise ValueError(f'speech_level must be "p56", "rms" or a level in dBov, got {speech_level!r}')
    return float(speech_level)


def _amplitude(gain_db: Any) -> Any:
    return 10.0 ** (np.asarray(gain_db) / 20)
