from __future__ import annotations

import numpy as np
import pytest
from behaviour import assert_behaves, assert_worse_and_worse, distort, sdr_db, utterance
from hypothesis import given, settings
from hypothesis import strategies as st

from jsqa_hf.jnd import active_speech_level
from jsqa_hf.jnd.distortions import make_distortion


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
def test_behaves_as_a_distortion(sampling_rate: int) -> None:
    assert_behaves(make_distortion("clipping"), [12, 5, 0, -6], sampling_rate)


def test_a_lower_limit_is_worse() -> None:
    assert_worse_and_worse(make_distortion("clipping"), [10, 9.5, 5, 0, -5, -10])


@settings(deadline=None, max_examples=20)
@given(limit_db=st.floats(-10, 20), gain_db=st.floats(-30, 10), seed=st.integers(0, 3))
def test_only_samples_beyond_the_limit_change(limit_db: float, gain_db: float, seed: int) -> None:
    speech = utterance(seed) * 10 ** (gain_db / 20)
    (result,) = distort(make_distortion("clipping"), speech, [limit_db])
    limit = 10 ** ((active_speech_level(speech, 16000).level_dbov + limit_db) / 20)
    beyond = np.abs(speech) > limit
    assert np.array_equal(result.samples[~beyond], speech[~beyond])
    assert result.samples[beyond] == pytest.approx(np.where(speech[beyond] > 0, limit, -limit))
    assert result.measured["clipped_percent"] == pytest.approx(100 * np.count_nonzero(beyond) / speech.size)
    assert result.measured["sdr_db"] == pytest.approx(min(150.0, sdr_db(speech, result)))


def test_a_sine_is_clipped_as_much_as_geometry_says() -> None:
    sine = 0.1 * np.sin(2 * np.pi * 101 * np.arange(32000) / 16000)
    (result,) = distort(make_distortion("clipping"), sine, [0.0])
    # At the RMS amplitude, half of each quarter period is above. The measured active level of a steady sine is off by
    # the 0.1 s in which the envelope of P.56 rises.
    assert result.measured["clipped_percent"] == pytest.approx(50, abs=2)


def test_loud_speech_without_a_peak_above_the_limit_is_unchanged() -> None:
    speech = utterance()
    (result,) = distort(make_distortion("clipping"), speech, [40.0])
    assert np.array_equal(result.samples, speech)
    assert result.measured == {"clipped_percent": 0.0, "sdr_db": 150.0}


def test_limits_must_be_finite() -> None:
    with pytest.raises(ValueError, match="clipping limits must be finite"):
        distort(make_distortion("clipping"), utterance(), [np.inf])
