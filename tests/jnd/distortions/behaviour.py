"""What must hold for every distortion, and a synthetic utterance to try it on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate, lfilter

from jsqa_hf.jnd import active_speech_level
from jsqa_hf.jnd.distortions import Distorted, Distortion, registered_distortions


def utterance(seed: int = 0, duration_s: float = 2.0, sampling_rate: int = 16000) -> NDArray[np.float64]:
    """Voiced syllables with a gliding pitch over faint noise, at -26 dBov, its spectrum falling as that of speech."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * sampling_rate)) / sampling_rate
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 0.6 * time + rng.uniform(0, 6)))
    pulses = np.diff(np.floor(np.cumsum(pitch) / sampling_rate), prepend=0.0)
    pole = np.exp(-2 * np.pi * 400 / sampling_rate)
    voiced = lfilter([1.0], [1, -2 * pole * np.cos(2 * np.pi * 500 / sampling_rate), pole**2], pulses)
    syllables = np.clip(np.sin(2 * np.pi * 3 * time + rng.uniform(0, 6)), 0.0, None)
    samples = syllables * (voiced + 0.05 * rng.standard_normal(time.size)) + 1e-3 * rng.standard_normal(time.size)
    return samples * 10 ** ((-26 - active_speech_level(samples, sampling_rate).level_dbov) / 20)


def distort(
    distortion: Distortion, speech: NDArray[np.float64], severities: Sequence[float], sampling_rate: int = 16000
) -> list[Distorted]:
    """Distort with the draw of seed 1."""
    draw = distortion.draw(np.random.default_rng(1), speech.size, sampling_rate)
    return distortion.distort(speech, severities, draw, sampling_rate)


def sdr_db(speech: NDArray[np.float64], distorted: Distorted) -> float:
    """Ratio of the power of the speech to that of the difference; infinite if there is none."""
    error = np.sum((distorted.samples - speech) ** 2)
    return float(10 * np.log10(np.sum(speech**2) / error)) if error else np.inf


def assert_behaves(distortion: Distortion, severities: Sequence[float], sampling_rate: int = 16000) -> None:
    """Registered, pure, finite, as long as the speech and aligned with it, for short, odd and long utterances.

    Args:
        distortion: Any.
        severities: From light to heavy; the lighter half must leave the utterance recognisable.
        sampling_rate: In Hz.
    """
    assert registered_distortions()[distortion.name] is type(distortion)
    for duration_s in (0.3, 1 + 1 / sampling_rate, 12.0):
        speech = utterance(3, duration_s, sampling_rate)
        before = speech.copy()
        results = distort(distortion, speech, severities, sampling_rate)
        assert np.array_equal(speech, before)
        again = distort(distortion, speech, severities[::-1], sampling_rate)[::-1]
        assert len(results) == len(severities)
        for result, same in zip(results, again, strict=True):
            assert result.samples.shape == speech.shape and result.samples.dtype == np.float64
            assert np.isfinite(result.samples).all() and np.isfinite(list(result.measured.values())).all()
            assert np.array_equal(result.samples, same.samples) and result.measured == same.measured
        for result in results[: (len(results) + 1) // 2]:
            assert int(np.argmax(correlate(result.samples, speech))) == speech.size - 1


def assert_worse_and_worse(distortion: Distortion, severities: Sequence[float], seed: int = 0) -> None:
    """From light to heavy, the result is further and further from the speech."""
    assert (severities[0] < severities[-1]) == (distortion.worse == "higher")
    speech = utterance(seed)
    distances = [sdr_db(speech, result) for result in distort(distortion, speech, severities)]
    assert all(heavier < lighter for lighter, heavier in zip(distances, distances[1:], strict=False)), distances
