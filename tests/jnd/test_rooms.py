"""Tests of the measures of impulse responses, against closed forms and another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd import rooms

RATES = st.sampled_from([8000, 16000, 48000])


def exponential(t60_s: float, sampling_rate: int, seconds: float) -> NDArray[np.float64]:
    """A decay of 60 dB in `t60_s`, all samples positive."""
    return 10 ** (-3 * np.arange(int(seconds * sampling_rate)) / sampling_rate / t60_s)


def decaying_noise(
    seed: int, t60_s: float, sampling_rate: int, direct: float = 8.0, noise_db: float | None = None
) -> NDArray[np.float64]:
    """A direct sound 50 samples after the start, then exponentially decaying noise over stationary noise."""
    rng = np.random.default_rng(seed)
    decay = exponential(t60_s, sampling_rate, 1.5 * t60_s + 0.3)
    rir = np.concatenate([np.zeros(50), [direct], decay * rng.standard_normal(decay.size)])
    return rir if noise_db is None else rir + 10 ** (noise_db / 20) * rng.standard_normal(rir.size)


@settings(deadline=None, max_examples=30)
@given(t60_s=st.floats(0.15, 3), sampling_rate=RATES)
def test_measures_of_a_pure_exponential_are_those_of_the_closed_forms(t60_s: float, sampling_rate: int) -> None:
    rir = exponential(t60_s, sampling_rate, 2 * t60_s + 0.1)
    early = 1 - 10 ** (-6 * round(0.05 * sampling_rate) / sampling_rate / t60_s)
    direct = 1 - 10 ** (-6 * round(0.0025 * sampling_rate) / sampling_rate / t60_s)
    assert rooms.c50(rir, sampling_rate) == pytest.approx(10 * math.log10(early / (1 - early)), abs=0.01)
    assert rooms.drr(rir, sampling_rate) == pytest.approx(10 * math.log10(direct / (1 - direct)), abs=0.01)
    assert rooms.t60(rir, sampling_rate) == pytest.approx(t60_s, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    t60_s=st.floats(0.25, 2),
    sampling_rate=RATES,
    noise_db=st.one_of(st.none(), st.floats(-80, -50)),
)
def test_reverberation_time_of_decaying_noise_is_that_of_its_envelope(
    seed: int, t60_s: float, sampling_rate: int, noise_db: float | None
) -> None:
    rir = decaying_noise(seed, t60_s, sampling_rate, noise_db=noise_db)
    # The envelope of noise is known only as well as noise can be averaged: 3 standard deviations over 35 dB of it.
    scatter = 12 / math.sqrt(0.5 * t60_s * sampling_rate)
    assert rooms.t60(rir, sampling_rate) == pytest.approx(t60_s, rel=0.02 + scatter)


@pytest.mark.parametrize("t60_s", [0.2, 0.7, 1.5])
def test_reverberation_time_is_that_of_pyroomacoustics(t60_s: float) -> None:
    rt60 = pytest.importorskip("pyroomacoustics.experimental.rt60")
    rir = decaying_noise(3, t60_s, 16000)
    expected = rt60.measure_rt60(rir[50:], fs=16000, decay_db=30)
    assert rooms.t60(rir, 16000) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("noise_db", [-40.0, -50.0, -60.0])
def test_noise_begins_where_the_decay_has_sunk_to_its_level(noise_db: float) -> None:
    rir = decaying_noise(1, 0.8, 16000, noise_db=noise_db)
    crossing_s = 0.8 * -noise_db / 60
    assert (rooms.noise_limit(rir, 16000) - 50) / 16000 == pytest.approx(crossing_s, rel=0.1)
    assert rooms.decay_curve(rir, 16000).size == rooms.noise_limit(rir, 16000) - rooms.direct_sound(rir, 16000)


def test_a_longer_noise_floor_does_not_change_the_reverberation_time() -> None:
    rng = np.random.default_rng(0)
    rir = decaying_noise(2, 0.5, 16000, noise_db=-55)
    longer = np.concatenate([rir, 10 ** (-55 / 20) * rng.standard_normal(16000)])
    assert rooms.t60(longer, 16000) == pytest.approx(rooms.t60(rir, 16000), rel=0.01)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6), delay=st.integers(0, 3000), gain=st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-3)
)
def test_neither_delay_nor_gain_nor_polarity_matter(seed: int, delay: int, gain: float) -> None:
    rir = decaying_noise(seed, 0.4, 16000)
    moved = np.concatenate([np.zeros(delay), gain * rir])
    assert rooms.direct_sound(moved, 16000) == rooms.direct_sound(rir, 16000) + delay
    for measure in (rooms.c50, rooms.drr, rooms.t60):
        assert measure(moved, 16000) == pytest.approx(measure(rir, 16000))


def test_direct_sound_is_the_first_arrival_even_if_a_reflection_is_stronger() -> None:
    rir = np.zeros(1000)
    rir[[198, 200, 203, 400]] = [0.002, 0.2, -0.3, 1.0]
    assert rooms.direct_sound(rir, 16000) == 203


def test_ratios_of_a_few_reflections_are_those_of_their_energies() -> None:
    rir = np.zeros(4000)
    rir[[100, 300, 1500, 3000]] = [1.0, 0.5, 0.4, 0.3]
    assert rooms.drr(rir, 16000) == pytest.approx(10 * math.log10(1 / (0.25 + 0.16 + 0.09)))
    assert rooms.c50(rir, 16000) == pytest.approx(10 * math.log10(1.25 / (0.16 + 0.09)))


def test_the_place_of_the_direct_sound_can_be_given() -> None:
    rir = np.zeros(4000)
    rir[[100, 1500]] = [0.01, 1.0]
    assert rooms.direct_sound(rir, 16000) == 1500
    assert rooms.c50(rir, 16000, direct=100) == rooms.drr(rir, 16000, direct=100) == pytest.approx(-40)


def test_without_anything_later_the_ratios_are_infinite() -> None:
    rir = np.zeros(100)
    rir[10] = 1
    assert rooms.c50(rir, 16000) == rooms.drr(rir, 16000) == math.inf


def test_a_response_that_hardly_rises_above_its_noise_has_no_reverberation_time() -> None:
    rir = decaying_noise(0, 0.5, 16000, direct=2.0, noise_db=-20)
    with pytest.raises(ValueError, match="but a reverberation time takes 35 dB"):
        rooms.t60(rir, 16000)


def test_noise_shows_no_decay() -> None:
    for noise in (np.ones(8000), np.random.default_rng(0).standard_normal(8000)):
        with pytest.raises(ValueError, match="no decay above its noise"):
            rooms.t60(noise, 16000)


def test_fewer_decibels_above_the_noise_give_t20_instead_of_t30() -> None:
    for noise_db in (-38, -60):
        rir = decaying_noise(5, 0.6, 16000, direct=1.0, noise_db=noise_db)
        assert rooms.t60(rir, 16000) == pytest.approx(0.6, rel=0.1)


@pytest.mark.parametrize(
    ("rir", "sampling_rate", "message"),
    [
        (np.zeros(0), 16000, "time > 0"),
        (np.ones((2, 10)), 16000, r"shape \(2, 10\)"),
        (np.zeros(10), 16000, "all zero"),
        (np.array([1.0, np.nan]), 16000, "NaN"),
        (np.ones(10), 0, "sampling_rate"),
    ],
)
def test_what_is_no_impulse_response_is_refused(rir: NDArray[np.float64], sampling_rate: int, message: str) -> None:
    for measure in (rooms.direct_sound, rooms.noise_limit, rooms.c50, rooms.drr, rooms.t60):
        with pytest.raises(ValueError, match=message):
            measure(rir, sampling_rate)


def test_a_single_click_has_no_decay_time() -> None:
    with pytest.raises(ValueError):
        rooms.t60(np.array([1.0, 0.0, 0.0]), 16000)
