from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd import (
    SNR_THRESHOLD,
    Threshold,
    active_speech_level,
    add_at_snrs,
    bring_to_level,
    loop_to_length,
    mix_at_snr,
    rms_level,
)

SAMPLING_RATE = 16000


def signals(seed: int, seconds: float = 1.0, crest: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bursts as speech, and noise which is the more impulsive the greater `crest`."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    speech = rng.standard_normal(time.size) * (np.sin(2 * np.pi * 1.5 * time) > 0)
    noise = rng.standard_normal(time.size)
    noise = np.sign(noise) * np.abs(noise) ** crest
    return (
        (10 ** rng.uniform(-4, 0) * speech).astype(np.float32),
        (10 ** rng.uniform(-4, 0) * noise).astype(np.float32),
    )


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10**6),
    crest=st.floats(1, 4),
    snr_db=st.floats(-20, 60),
    level_dbov=st.one_of(st.none(), st.floats(-60, -5)),
    method=st.sampled_from(["p56", "rms"]),
)
def test_mixture_has_the_snr_asked_for_and_stays_within_full_scale(
    seed: int, crest: float, snr_db: float, level_dbov: float | None, method: str
) -> None:
    speech, noise = signals(seed, crest=crest)
    mixtures, (noise_gain_db,) = add_at_snrs(speech, noise, [snr_db], SAMPLING_RATE, speech_level=method)
    (samples,), (reached_dbov,), (gain_db,) = bring_to_level(mixtures, level_dbov, SAMPLING_RATE, speech_level=method)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1
    speech_part = speech * 10 ** (gain_db / 20)
    noise_part = samples - speech_part
    level = active_speech_level(speech_part, SAMPLING_RATE).level_dbov if method == "p56" else rms_level(speech_part)
    assert level - rms_level(noise_part) == pytest.approx(snr_db, abs=0.05)
    measure = rms_level if method == "rms" else lambda part: active_speech_level(part, SAMPLING_RATE).level_dbov
    assert reached_dbov == pytest.approx(measure(samples), abs=1e-3)
    assert rms_level(noise_part) == pytest.approx(rms_level(noise) + noise_gain_db + gain_db, abs=0.05)
    attenuated = gain_db < 0 if level_dbov is None else reached_dbov < level_dbov - 1e-3
    if attenuated:
        # Just enough: the largest sample is at full scale.
        assert np.abs(samples).max() == pytest.approx(1, abs=1e-4)
    mixed = mix_at_snr(speech, noise, snr_db, SAMPLING_RATE, speech_level=method, level_dbov=level_dbov)
    assert np.array_equal(mixed, samples)


def test_snr_of_a_mixture_does_not_depend_on_the_level_of_the_noise() -> None:
    speech, noise = signals(0)
    quiet, loud = (mix_at_snr(speech, gain * noise, 7.0) for gain in (1e-3, 10.0))
    np.testing.assert_allclose(quiet, loud, atol=1e-6)


def test_mixtures_sit_at_minus_26_dbov_by_default_whatever_the_snr() -> None:
    speech, noise = signals(0)
    for snr_db in (-5.0, 20.0, 40.0):
        samples = mix_at_snr(speech, noise, snr_db)
        assert active_speech_level(samples, SAMPLING_RATE).level_dbov == pytest.approx(-26.0, abs=1e-3)


def test_without_a_level_the_speech_is_left_as_it_is() -> None:
    speech, noise = signals(3)
    speech = speech * np.float32(0.1 / np.abs(speech).max())
    assert rms_level(mix_at_snr(speech, noise, 20.0, level_dbov=None) - speech) == pytest.approx(
        active_speech_level(speech, SAMPLING_RATE).level_dbov - 20.0, abs=0.01
    )


def test_clips_brought_to_a_level_have_the_same_level_even_if_one_must_be_attenuated() -> None:
    speech, noise = signals(1, crest=3)
    mixtures, _ = add_at_snrs(speech, noise, [30.0, -20.0])
    clips, (first_dbov, second_dbov), _ = bring_to_level(mixtures, level_dbov=-1.0)
    assert second_dbov < -1
    assert first_dbov == pytest.approx(second_dbov)
    assert max(np.abs(clip).max() for clip in clips) == pytest.approx(1, abs=1e-4)


def test_a_level_measured_before_gives_the_same_mixture() -> None:
    speech, noise = signals(2)
    level = active_speech_level(speech, SAMPLING_RATE).level_dbov
    expected = mix_at_snr(speech, noise, 5.0)
    assert np.array_equal(mix_at_snr(speech, noise, 5.0, speech_level=level), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": np.ones(10)}, "same length"),
        ({"noise": np.zeros(SAMPLING_RATE)}, "silence"),
        ({"speech": np.zeros(SAMPLING_RATE)}, "silence"),
        ({"speech": np.full(SAMPLING_RATE, np.nan), "speech_level": -20.0}, "NaN"),
        ({"snr_db": np.nan}, "SNRs must be finite"),
        ({"speech_level": "loudness"}, "p56"),
    ],
)
def test_bad_arguments_are_refused(change: dict, message: str) -> None:
    speech, noise = signals(0)
    with pytest.raises(ValueError, match=message):
        mix_at_snr(**{"speech": speech, "noise": noise, "snr_db": 0.0, **change})


@given(size=st.integers(1, 50), offset=st.integers(0, 120), length=st.integers(0, 200))
def test_looping_repeats_the_noise_from_the_offset_on(size: int, offset: int, length: int) -> None:
    noise = np.arange(size)
    expected = np.tile(noise, 400)[offset : offset + length]
    assert np.array_equal(loop_to_length(noise, offset, length), expected)


@pytest.mark.parametrize(
    ("noise", "offset", "length"),
    [(np.ones(0), 0, 5), (np.ones((2, 5)), 0, 5), (np.ones(5), -1, 5), (np.ones(5), 0, -1)],
)
def test_looping_refuses_empty_noise_and_negative_positions(noise: NDArray, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="noise must|must not be negative"):
        loop_to_length(noise, offset, length)


def test_thresholds_are_ordered() -> None:
    assert (SNR_THRESHOLD.just_noticeable, SNR_THRESHOLD.clearly_different) == (3.0, 8.0)
    with pytest.raises(ValueError, match="level"):
        Threshold("level", "dB", 3.0, 1.0, "nowhere")
