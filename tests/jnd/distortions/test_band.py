from __future__ import annotations

import numpy as np
import pytest
from behaviour import assert_behaves, assert_worse_and_worse, distort, sdr_db, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd.distortions import make_distortion


def gains_db(name: str, severity: float, sampling_rate: int = 16000, **options) -> tuple[NDArray, NDArray]:
    """Frequencies and gains, from the response to a click in the middle of 2 s."""
    click = np.zeros(2 * sampling_rate)
    click[sampling_rate] = 1.0
    (result,) = distort(make_distortion(name, **options), click, [severity], sampling_rate)
    frequencies = np.fft.rfftfreq(click.size, 1 / sampling_rate)
    return frequencies, 20 * np.log10(np.abs(np.fft.rfft(result.samples)) + 1e-12)


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
@pytest.mark.parametrize(
    ("name", "severities"),
    [("low-pass", [3500, 2000, 1000]), ("high-pass", [100, 150, 1500]), ("telephone-band", [3.5, 3, 2])],
)
def test_behaves_as_a_distortion(name: str, severities: list[float], sampling_rate: int) -> None:
    assert_behaves(make_distortion(name), severities, sampling_rate)


@pytest.mark.parametrize(
    ("name", "severities"),
    [
        ("low-pass", [7000, 6900, 4000, 2000, 1000]),
        ("high-pass", [100, 101, 200, 1000, 2000]),
        ("telephone-band", [7, 6.9, 5, 3.5, 2]),
    ],
)
def test_a_narrower_band_is_worse(name: str, severities: list[float]) -> None:
    assert_worse_and_worse(make_distortion(name), severities)


@settings(deadline=None, max_examples=10)
@given(cut_off=st.floats(200, 7000), sampling_rate=st.sampled_from([16000, 48000]))
def test_pass_and_low_pass_and_high_pass_meet_at_the_cut_off(cut_off: float, sampling_rate: int) -> None:
    frequencies, low = gains_db("low-pass", cut_off, sampling_rate)
    _, high = gains_db("high-pass", cut_off, sampling_rate)
    assert np.interp(cut_off, frequencies, low) == pytest.approx(-6.02, abs=0.1)
    assert np.interp(cut_off, frequencies, high) == pytest.approx(-6.02, abs=0.1)
    below, above = frequencies < 0.8 * cut_off, frequencies > 1.25 * cut_off
    assert low[below] == pytest.approx(0.0, abs=0.3) and (low[above] < -25).all()
    assert high[above] == pytest.approx(0.0, abs=0.3) and (high[below] < -25).all()


@pytest.mark.parametrize(
    ("octaves", "low_hz", "high_hz"),
    [(np.log2(7000 / 50), 50, 7000), (np.log2(3400 / 300), 300, 3400), (2.0, 632, 2528)],
)
def test_the_telephone_band_runs_through_the_bands_of_the_recommendations(
    octaves: float, low_hz: float, high_hz: float
) -> None:
    frequencies, gains = gains_db("telephone-band", octaves)
    passed = frequencies[gains > -6.1]
    assert passed.min() == pytest.approx(low_hz, rel=0.02)
    assert passed.max() == pytest.approx(high_hz, rel=0.02)
    assert np.log2(passed.max() / passed.min()) == pytest.approx(octaves, abs=0.03)


@pytest.mark.parametrize(("name", "severity"), [("low-pass", 1500), ("high-pass", 500), ("telephone-band", 3)])
def test_what_was_removed_is_measured(name: str, severity: float) -> None:
    speech = utterance()
    (result,) = distort(make_distortion(name), speech, [severity])
    assert result.measured["removed_db"] == pytest.approx(-sdr_db(speech, result))


def test_an_edge_above_half_the_sampling_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="edge at 4500 Hz.*between 0 and 4000 Hz.*severity_range"):
        distort(make_distortion("low-pass"), utterance(sampling_rate=8000), [4500], 8000)
    with pytest.raises(ValueError, match="not between 0"):
        distort(make_distortion("high-pass"), utterance(), [0])
    with pytest.raises(ValueError, match="not between 0"):
        distort(make_distortion("low-pass"), utterance(), [np.nan])
