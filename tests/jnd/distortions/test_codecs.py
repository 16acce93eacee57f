"""What holds for every codec; tests of single codecs are in `test_codecs_single.py`."""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile
from behaviour import distort, utterance
from numpy.typing import NDArray
from scipy.signal import butter, correlate, correlation_lags, sosfiltfilt

from jsqa_hf.jnd.distortions import Distortion, make_distortion, registered_distortions
from jsqa_hf.jnd.distortions.codecs import CodecDistortion
from jsqa_hf.jnd.ladders import LadderSampler

SPEECH = Path(__file__).parents[3] / "examples" / "data" / "speech"
CODECS = {name: cls for name, cls in registered_distortions().items() if issubclass(cls, CodecDistortion)}
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            any(importlib.util.find_spec(module) is None for module in cls.requires), reason="package not installed"
        ),
    )
    for name, cls in CODECS.items()
]
WAVEFORM_CODECS = [name for name in NAMES if name.values != ("codec2",)]


def real_speech(name: str = "1183-124566-0000.flac", duration_s: float = 4.0) -> NDArray[np.float64]:
    samples, sampling_rate = soundfile.read(SPEECH / name)
    assert sampling_rate == 16000
    return samples[: round(duration_s * sampling_rate)]


def all_severities(distortion: Distortion) -> list[float]:
    """Those that exist, or five over the range; the lightest first."""
    if distortion.severity_grid:
        severities = list(distortion.severity_grid)
    else:
        low, high = distortion.threshold.position(distortion.severity_range)
        severities = [float(value) for value in distortion.threshold.value(np.linspace(low, high, 5))]
        severities = list(np.clip(severities, *distortion.severity_range))
    return severities[::-1] if distortion.worse == "lower" else severities


def in_telephone_band(samples: NDArray[np.float64], sampling_rate: int = 16000) -> NDArray[np.float64]:
    """300 to 3300 Hz: below, some encoders filter with a shift of phase, above, most codecs have nothing."""
    return sosfiltfilt(butter(4, [300, 3300], "bandpass", fs=sampling_rate, output="sos"), samples)


def lag(speech: NDArray[np.float64], samples: NDArray[np.float64]) -> int:
    lags = correlation_lags(samples.size, speech.size)
    return int(lags[np.argmax(correlate(samples, speech, method="fft"))])


def test_the_codecs_are_these() -> None:
    assert sorted(CODECS) == [
        *("a-law", "aac", "amr-nb", "codec2", "g722", "g723-1", "g726"),
        *("gsm", "lc3", "mp3", "mu-law", "opus", "silk", "vorbis"),
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
def test_result_is_pure_finite_and_as_long_as_the_speech(name: str, sampling_rate: int) -> None:
    distortion = make_distortion(name)
    severities = all_severities(distortion)[::4] if name != "codec2" else [0.7]
    for duration_s in (0.05, 0.3 + 1 / sampling_rate, 1.0):
        speech = utterance(3, 1.0, sampling_rate)[: round(duration_s * sampling_rate)]
        if duration_s == 1.0:
            speech[speech.size // 3 : speech.size // 2] = 0.0
        before = speech.copy()
        results = distort(distortion, speech, severities, sampling_rate)
        again = distort(distortion, speech, severities[::-1], sampling_rate)[::-1]
        assert np.array_equal(speech, before)
        for result, same in zip(results, again, strict=True):
            assert result.samples.shape == speech.shape and result.samples.dtype == np.float64
            assert np.isfinite(result.samples).all() and np.isfinite(list(result.measured.values())).all()
            assert np.array_equal(result.samples, same.samples) and result.measured == same.measured


@pytest.mark.parametrize("name", WAVEFORM_CODECS)
def test_aligned_to_the_sample_at_every_severity(name: str) -> None:
    distortion = make_distortion(name)
    speech = real_speech()
    band = in_telephone_band(speech)
    results = distort(distortion, speech, all_severities(distortion))
    lags = [lag(band, in_telephone_band(result.samples)) for result in results]
    assert all(abs(value) <= 1 for value in lags), lags


@pytest.mark.parametrize("name", WAVEFORM_CODECS)
def test_long_speech_stays_aligned_to_its_end(name: str) -> None:
    distortion = make_distortion(name)
    speech = np.concatenate([real_speech(), real_speech("4340-15220-0000.flac"), real_speech()[:-77]])
    (result,) = distort(distortion, speech, [all_severities(distortion)[0]])
    end = slice(speech.size - 32000, None)
    assert abs(lag(in_telephone_band(speech)[end], in_telephone_band(result.samples)[end])) <= 1


@pytest.mark.parametrize("name", WAVEFORM_CODECS)
def test_worse_severities_are_further_from_the_speech(name: str) -> None:
    distortion = make_distortion(name)
    speech = real_speech()
    band = in_telephone_band(speech)
    ratios_db = []
    for result in distort(distortion, speech, all_severities(distortion)):
        decoded = in_telephone_band(result.samples)
        # Whatever the level: it is not what is asked here.
        decoded = decoded * np.dot(band, decoded) / np.dot(decoded, decoded)
        ratios_db.append(10 * np.log10(np.sum(band**2) / np.sum((band - decoded) ** 2)))
    # Neighbouring modes of AMR-NB can come out the other way round on a single utterance.
    steps = np.diff(ratios_db)
    assert (steps < 0.3).all() and ratios_db[-1] < ratios_db[0] - 1, ratios_db


@pytest.mark.parametrize("name", NAMES)
def test_loud_speech_neither_clips_nor_loses_its_level(name: str) -> None:
    distortion = make_distortion(name)
    severity = all_severities(distortion)[0] if distortion.worse == "lower" else 0.0
    speech = real_speech(duration_s=2.0)
    speech *= 0.6 / np.abs(speech).max()
    (plain,) = distort(distortion, speech, [severity])
    (loud,) = distort(distortion, 10 * speech, [severity])
    ratio = np.sqrt(np.sum(loud.samples**2) / np.sum(plain.samples**2))
    assert ratio == pytest.approx(10, rel=0.05)
    assert np.abs(loud.samples).max() > 3


@pytest.mark.parametrize("name", NAMES)
def test_two_levels_fit_into_the_default_range(name: str) -> None:
    distortion = make_distortion(name)
    ladder = LadderSampler(
        distortion.threshold,
        distortion.severity_range,
        levels=2,
        grid=distortion.severity_grid,
        discrete=distortion.discrete,
        worse=distortion.worse,
    ).sample(np.random.default_rng(0))
    assert ladder.shape == (2, 2)
    assert distortion.threshold.assumption


@pytest.mark.parametrize("name", NAMES)
def test_unknown_modes_and_impossible_bit_rates_are_refused(name: str) -> None:
    distortion = make_distortion(name)
    if distortion.discrete:
        with pytest.raises(ValueError, match=f"{name} has no mode of 5 kbit/s; it has "):
            distort(distortion, utterance(), [5.0])
    elif distortion.worse == "lower":
        with pytest.raises(ValueError, match=name):
            distort(distortion, utterance(), [-1.0])


def decode_everywhere(name: str) -> NDArray[np.float64]:
    distortion = make_distortion(name)
    return distort(distortion, utterance(1, 0.5), [all_severities(distortion)[0]])[0].samples


@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_disturb_each_other(name: str) -> None:
    expected = decode_everywhere(name)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(result, expected) for result in pool.map(decode_everywhere, [name] * 6))


@pytest.mark.slow
def test_worker_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(name.values[0]) for name in NAMES if not name.marks[0].args[0]]
    expected = [decode_everywhere(name) for name in names]
    for method in ("fork", "spawn") if sys.platform == "linux" else ("spawn",):
        with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
            for result, same in zip(pool.map(decode_everywhere, names), expected, strict=True):
                assert np.array_equal(result, same)
