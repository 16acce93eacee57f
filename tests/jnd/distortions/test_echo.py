from __future__ import annotations

import numpy as np
import pytest
from behaviour import assert_behaves, assert_worse_and_worse, distort, utterance
from hypothesis import given, settings
from hypothesis import strategies as st

from jsqa_hf.jnd.distortions import make_distortion


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
def test_behaves_as_a_distortion(sampling_rate: int) -> None:
    assert_behaves(make_distortion("echo"), [35, 20, 5], sampling_rate)


def test_a_louder_echo_is_worse() -> None:
    assert_worse_and_worse(make_distortion("echo"), [35, 34, 20, 10, 5])


@settings(deadline=None, max_examples=20)
@given(attenuation_db=st.floats(0, 40), seed=st.integers(0, 1000))
def test_a_click_comes_back_once(attenuation_db: float, seed: int) -> None:
    click = np.zeros(16000)
    click[100] = 0.5
    distortion = make_distortion("echo")
    draw = distortion.draw(np.random.default_rng(seed), click.size, 16000)
    (result,) = distortion.distort(click, [attenuation_db], draw, 16000)
    first, second = np.flatnonzero(result.samples)
    assert first == 100
    assert 50 - 0.1 <= (second - first) / 16 <= 400 + 0.1
    assert draw.provenance["delay_ms"] == pytest.approx((second - first) / 16)
    assert 20 * np.log10(0.5 / result.samples[second]) == pytest.approx(attenuation_db)
    assert result.measured["echo_attenuation_db"] == pytest.approx(attenuation_db)


def test_measured_attenuation_is_that_of_the_echo_within_the_clip() -> None:
    speech = utterance()
    (result,) = distort(make_distortion("echo"), speech, [12])
    echo = result.samples - speech
    assert result.measured["echo_attenuation_db"] == pytest.approx(
        10 * np.log10(np.sum(speech**2) / np.sum(echo**2)), abs=1e-6
    )
    assert 12 <= result.measured["echo_attenuation_db"] < 14


def test_the_delay_can_be_chosen_and_is_at_most_half_of_the_speech() -> None:
    distortion = make_distortion("echo", delay_range_ms=(200, 200))
    assert distortion.draw(np.random.default_rng(0), 16000, 16000).provenance == {"delay_ms": 200.0}
    assert distortion.draw(np.random.default_rng(0), 4800, 16000).provenance == {"delay_ms": 150.0}


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="delay_range_ms"):
        make_distortion("echo", delay_range_ms=(100, 50))
    with pytest.raises(ValueError, match="must be finite"):
        distort(make_distortion("echo"), utterance(), [np.nan])
    with pytest.raises(ValueError, match="second half"):
        distort(make_distortion("echo"), np.append(np.zeros(16000), 1.0), [10])
