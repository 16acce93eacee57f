from __future__ import annotations

import numpy as np
import pytest
from behaviour import assert_behaves, assert_worse_and_worse, distort, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd.distortions import make_distortion


def mnru_sample_by_sample(speech: NDArray[np.float64], noise: NDArray[np.float64], q_db: float) -> NDArray[np.float64]:
    """The unit as the reference software of ITU-T G.191 does it, without its output filter, for 8 kHz."""
    result, last_x, last_y = np.zeros(speech.size), 0.0, 0.0
    for index, sample in enumerate(speech):
        last_x, last_y = sample, sample - last_x + 0.985 * last_y
        result[index] = last_y + last_y * noise[index] * 10 ** (-0.05 * q_db)
    return result


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
def test_behaves_as_a_distortion(sampling_rate: int) -> None:
    assert_behaves(make_distortion("mnru"), [35, 20, 5], sampling_rate)


def test_a_lower_q_is_worse() -> None:
    assert_worse_and_worse(make_distortion("mnru"), [35, 34, 20, 10, 5])


@settings(deadline=None, max_examples=15)
@given(q_db=st.floats(0, 40), seed=st.integers(0, 3))
def test_the_ratio_is_the_one_asked_for(q_db: float, seed: int) -> None:
    speech = utterance(seed)
    result, without_noise = distort(make_distortion("mnru"), speech, [q_db, 400.0])
    noise = result.samples - without_noise.samples
    ratio_db = 10 * np.log10(np.mean(without_noise.samples**2) / np.mean(noise**2))
    assert result.measured["q_db"] == pytest.approx(ratio_db, abs=1e-3)
    assert ratio_db == pytest.approx(q_db, abs=1.0)


@pytest.mark.parametrize("q_db", [5, 20])
def test_agrees_with_the_difference_equations_of_the_reference_software(q_db: float) -> None:
    speech = utterance(2, sampling_rate=8000)
    distortion = make_distortion("mnru")
    draw = distortion.draw(np.random.default_rng(5), speech.size, 8000)
    (result,) = distortion.distort(speech, [q_db], draw, 8000)
    expected = mnru_sample_by_sample(speech, draw.values, q_db)
    # They differ in the phase of the lowest frequencies, as the reference filters DC with a causal filter.
    assert np.sum((result.samples - expected) ** 2) < 0.02 * np.sum(expected**2)
    clean = mnru_sample_by_sample(speech, draw.values, np.inf)
    expected_q_db = 10 * np.log10(np.sum(clean**2) / np.sum((expected - clean) ** 2))
    assert result.measured["q_db"] == pytest.approx(expected_q_db, abs=0.05)


def test_the_noise_follows_the_speech_and_is_the_same_at_all_severities() -> None:
    speech = utterance()
    speech[8000:16000] = 0.0
    without_noise, light, heavy = (
        result.samples for result in distort(make_distortion("mnru"), speech, [400, 20, 10])
    )
    noise = light - without_noise
    assert np.abs(noise[10000:14000]).max() < 1e-3 * np.abs(noise).max()
    assert heavy - without_noise == pytest.approx(noise * 10**0.5, abs=1e-9)


def test_a_constant_offset_is_removed_and_not_modulated() -> None:
    speech = utterance()
    (result,) = distort(make_distortion("mnru"), speech, [10])
    (shifted,) = distort(make_distortion("mnru"), speech + 0.2, [10])
    middle = slice(4000, -4000)
    assert shifted.samples[middle] == pytest.approx(result.samples[middle], abs=1e-3)


def test_q_must_be_finite() -> None:
    with pytest.raises(ValueError, match="Q must be finite"):
        distort(make_distortion("mnru"), utterance(), [np.inf])
