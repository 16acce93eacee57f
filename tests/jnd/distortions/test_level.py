from __future__ import annotations

import numpy as np
import pytest
from behaviour import assert_behaves, assert_worse_and_worse, distort, utterance
from hypothesis import given, settings
from hypothesis import strategies as st

from jsqa_hf.jnd import active_speech_level
from jsqa_hf.jnd.distortions import make_distortion


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
def test_behaves_as_a_distortion(sampling_rate: int) -> None:
    assert_behaves(make_distortion("level"), [-26, -30, -46], sampling_rate)


def test_lower_is_worse() -> None:
    assert_worse_and_worse(make_distortion("level"), [-26, -26.5, -30, -40, -46])


@settings(deadline=None, max_examples=20)
@given(before=st.floats(-60, -5), asked=st.floats(-60, -5), seed=st.integers(0, 3))
def test_the_result_has_the_level_asked_for(before: float, asked: float, seed: int) -> None:
    speech = utterance(seed) * 10 ** ((before + 26) / 20)
    (result,) = distort(make_distortion("level"), speech, [asked])
    assert active_speech_level(result.samples, 16000).level_dbov == pytest.approx(asked, abs=1e-6)
    assert result.measured["input_level_dbov"] == pytest.approx(before, abs=1e-6)
    assert np.corrcoef(result.samples, speech)[0, 1] == pytest.approx(1.0)


def test_the_level_is_kept_when_clips_are_made_equally_loud() -> None:
    assert make_distortion("level").sets_level


def test_levels_must_be_finite() -> None:
    with pytest.raises(ValueError, match="levels must be finite"):
        distort(make_distortion("level"), utterance(), [np.nan])
