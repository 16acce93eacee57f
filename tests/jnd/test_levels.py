from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import resample_poly

from jsqa_hf.jnd import active_speech_level, rms_level

SAMPLING_RATE = 16000


def bursts(activity: float, period_s: float = 20.0, periods: int = 2, amplitude: float = 0.1) -> NDArray[np.float64]:
    """White noise switched on for a share of each period; the pauses are digital silence."""
    rng = np.random.default_rng(0)
    time = np.arange(int(periods * period_s * SAMPLING_RATE)) / SAMPLING_RATE
    return amplitude * rng.standard_normal(time.size) * (time % period_s < activity * period_s)


def talk(seed: int, duration_s: float = 2.0) -> NDArray[np.float64]:
    """Noise with the slow level changes of speech, over a faint background."""
    rng = np.random.default_rng(seed)
    length = int(duration_s * SAMPLING_RATE)
    knots = rng.uniform(-45, 0, size=int(duration_s * 6) + 2)
    envelope_db = np.interp(np.linspace(0, knots.size - 1, length), np.arange(knots.size), knots)
    return 0.2 * 10 ** (envelope_db / 20) * rng.standard_normal(length)


def p56_sample_by_sample(samples: NDArray[np.float64], sampling_rate: int, thresholds_per_octave: int = 1) -> float:
    """The text of P.56, method B, one sample after the other: linear between thresholds at powers of two.

    More of them to an octave make the interpolation exact.
    """
    g = math.exp(-1 / (0.03 * sampling_rate))
    hangover = math.ceil(0.2 * sampling_rate)
    steps = range(-12 * thresholds_per_octave, 1)
    thresholds = [2.0 ** (step / thresholds_per_octave) for step in steps]
    activity, hang = [0] * len(thresholds), [hangover] * len(thresholds)
    p = q = energy = 0.0
    for sample in samples.tolist():
        energy += sample * sample
        p = g * p + (1 - g) * abs(sample)
        q = g * q + (1 - g) * p
        for index, threshold in enumerate(thresholds):
            if q >= threshold:
                activity[index] += 1
                hang[index] = 0
            elif hang[index] < hangover:
                activity[index] += 1
                hang[index] += 1
    points = [
        (10 * math.log10(energy / count), 20 * math.log10(threshold))
        for count, threshold in zip(activity, thresholds, strict=True)
        if count
    ]
    for (lower, lower_threshold), (upper, upper_threshold) in zip(points, points[1:], strict=False):
        before, after = lower - lower_threshold - 15.9, upper - upper_threshold - 15.9
        if after <= 0:
            return lower + (upper - lower) * before / (before - after)
    raise AssertionError("no threshold fits")


def test_square_wave_at_full_scale_has_0_dbov_and_sine_3_db_less() -> None:
    time = np.arange(SAMPLING_RATE) / SAMPLING_RATE
    sine = np.sin(2 * np.pi * 100 * time)
    assert rms_level(np.sign(sine + 1e-9)) == pytest.approx(0.0, abs=1e-9)
    assert rms_level(sine) == pytest.approx(-3.0103, abs=1e-3)


def test_steady_noise_is_wholly_active() -> None:
    level = active_speech_level(bursts(1.0), SAMPLING_RATE)
    assert level.level_dbov == pytest.approx(-20.0, abs=0.1)
    assert level.rms_dbov == pytest.approx(rms_level(bursts(1.0)))
    assert level.activity_factor > 0.99


@pytest.mark.parametrize("activity", [0.25, 0.5, 0.75])
def test_level_and_activity_of_bursts_between_long_pauses(activity: float) -> None:
    samples = bursts(activity)
    level = active_speech_level(samples, SAMPLING_RATE)
    assert level.level_dbov == pytest.approx(rms_level(samples[samples != 0]), abs=0.5)
    assert level.rms_dbov == pytest.approx(-20 + 10 * math.log10(activity), abs=0.1)
    # Each burst is prolonged by the hangover and by the decay of the envelope (two averages of 30 ms).
    assert activity < level.activity_factor < activity + (0.2 + 0.15) / 20.0


def test_pauses_shorter_than_the_hangover_count_as_speech() -> None:
    assert active_speech_level(bursts(0.5, period_s=0.3, periods=40), SAMPLING_RATE).activity_factor > 0.97


@settings(deadline=None, max_examples=30)
@given(gain_db=st.floats(-70, 20), seed=st.integers(0, 5))
def test_gain_moves_the_level_by_exactly_the_gain(gain_db: float, seed: int) -> None:
    samples = talk(seed)
    before = active_speech_level(samples, SAMPLING_RATE)
    after = active_speech_level(samples * 10 ** (gain_db / 20), SAMPLING_RATE)
    assert after.level_dbov - before.level_dbov == pytest.approx(gain_db, abs=1e-6)
    assert after.rms_dbov - before.rms_dbov == pytest.approx(gain_db, abs=1e-6)
    assert after.activity_factor == pytest.approx(before.activity_factor, abs=1e-6)


@pytest.mark.parametrize(("up", "down"), [(1, 2), (3, 1), (441, 160)])
def test_level_does_not_depend_on_the_sampling_rate(up: int, down: int) -> None:
    # Band-limited to 4 kHz, so that every rate holds the whole signal.
    samples = resample_poly(resample_poly(talk(7), 1, 4), 4, 1)
    resampled = resample_poly(samples, up, down)
    expected = active_speech_level(samples, SAMPLING_RATE)
    measured = active_speech_level(resampled, SAMPLING_RATE * up // down)
    assert measured.level_dbov == pytest.approx(expected.level_dbov, abs=0.05)
    assert measured.activity_factor == pytest.approx(expected.activity_factor, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_sample_by_sample_implementation_with_many_thresholds(seed: int) -> None:
    samples = talk(seed)
    expected = p56_sample_by_sample(samples, SAMPLING_RATE, thresholds_per_octave=20)
    assert active_speech_level(samples, SAMPLING_RATE).level_dbov == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gain_db", [0.0, -3.0])
def test_interpolation_between_thresholds_6_db_apart_is_near(seed: int, gain_db: float) -> None:
    samples = talk(seed) * 10 ** (gain_db / 20)
    expected = p56_sample_by_sample(samples, SAMPLING_RATE)
    assert active_speech_level(samples, SAMPLING_RATE).level_dbov == pytest.approx(expected, abs=0.5)


def test_leading_and_trailing_silence_does_not_move_the_active_level() -> None:
    samples = bursts(1.0, periods=1, period_s=8.0)
    padded = np.concatenate([np.zeros(5 * SAMPLING_RATE), samples, np.zeros(20 * SAMPLING_RATE)])
    expected = active_speech_level(samples, SAMPLING_RATE).level_dbov
    assert active_speech_level(padded, SAMPLING_RATE).level_dbov == pytest.approx(expected, abs=0.3)


def test_click_in_silence_gives_a_finite_level_above_the_long_term_level() -> None:
    samples = np.zeros(10 * SAMPLING_RATE)
    samples[SAMPLING_RATE] = 1.0
    level = active_speech_level(samples, SAMPLING_RATE)
    assert level.rms_dbov + 10 < level.level_dbov < 0
    assert 0 < level.activity_factor < 0.1


def test_a_sound_too_short_for_any_threshold_counts_as_a_whole() -> None:
    level = active_speech_level(0.1 * np.sin(np.arange(160)), SAMPLING_RATE)
    assert level.level_dbov == level.rms_dbov
    assert level.activity_factor == 1


@pytest.mark.parametrize("measure", [rms_level, lambda samples: active_speech_level(samples, SAMPLING_RATE)])
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(1000), "digital silence"),
        (np.zeros(0), "time > 0"),
        (np.ones((2, 1000)), r"shape \(time,\)"),
        (np.array([0.1, np.nan]), "NaN"),
        (np.array([0.1, np.inf]), "NaN or infinite"),
    ],
)
def test_signals_without_a_level_are_refused(measure, samples: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(samples)


def test_sampling_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match="sampling_rate"):
        active_speech_level(np.ones(10), 0)


def test_the_jnd_engine_itself_does_not_import_torch_or_transformers() -> None:
    # Importing jsqa_hf registers the model with transformers, so an empty package stands in for it.
    code = (
        "import importlib.util, sys, types; package = types.ModuleType('jsqa_hf'); "
        "package.__path__ = importlib.util.find_spec('jsqa_hf').submodule_search_locations; "
        "sys.modules['jsqa_hf'] = package; import jsqa_hf.jnd; "
        "sys.exit(', '.join({'torch', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""
