from __future__ import annotations

import numpy as np
import pytest
from behaviour import assert_behaves, assert_worse_and_worse, distort, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, oaconvolve, sosfilt

from jsqa_hf.jnd import rooms
from jsqa_hf.jnd.distortions import make_distortion
from jsqa_hf.jnd.distortions.room import HIGH_PASS_HZ, SPEED_OF_SOUND, image_sources

BOX = np.array([5.1, 4.2, 2.7]), np.array([1.1, 1.3, 1.6]), np.array([3.2, 2.9, 1.2])


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
def test_behaves_as_a_distortion(sampling_rate: int) -> None:
    # Short enough to stay recognisable for the cross-correlation.
    assert_behaves(make_distortion("room", severity_range=(0.1, 0.2)), [0.1, 0.12, 0.2], sampling_rate)


def test_a_longer_reverberation_is_worse() -> None:
    assert_worse_and_worse(make_distortion("room"), [0.2, 0.21, 0.4, 0.8, 1.0])


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10**6), t60_s=st.floats(0.2, 1.0))
def test_reverberation_time_is_the_one_asked_for(seed: int, t60_s: float) -> None:
    distortion = make_distortion("room")
    click = np.zeros(16000)
    click[0] = 1.0
    draw = distortion.draw(np.random.default_rng(seed), click.size, 8000)
    (result,) = distortion.distort(click, [t60_s], draw, 8000)
    # 1 % as a rule, up to 3 % where a strong reflection lies at the edge of the evaluated range.
    assert result.measured["t60_s"] == pytest.approx(t60_s, rel=0.03)
    end = np.flatnonzero(np.abs(result.samples) > 1e-12)[-1] + 1
    assert rooms.t60(result.samples[:end], 8000) == pytest.approx(result.measured["t60_s"], rel=0.02)
    assert rooms.c50(result.samples, 8000, direct=0) == pytest.approx(result.measured["c50_db"], abs=0.01)
    assert rooms.drr(result.samples, 8000, direct=0) == pytest.approx(result.measured["drr_db"], abs=0.01)
    assert result.samples[0] == pytest.approx(1.0)


def test_images_of_a_box_are_those_of_pyroomacoustics() -> None:
    pra = pytest.importorskip("pyroomacoustics")
    dimensions, source, receiver = BOX
    orders = 4
    box = pra.ShoeBox(dimensions, fs=16000, materials=pra.Material(0.0), max_order=orders)
    box.add_source(source)
    box.add_microphone(receiver)
    box.image_source_model()
    images = box.sources[0]
    paths = np.linalg.norm(images.images.T - receiver, axis=1)
    distance = np.linalg.norm(source - receiver)
    expected = np.zeros((orders + 1, 16000))
    times = np.rint((paths - distance) / SPEED_OF_SOUND * 16000).astype(int)
    np.add.at(expected, (images.orders, times), distance / paths)
    ours = image_sources(dimensions, source, receiver, 0.25, 16000)
    # The low frequencies are filtered off, so compare what is left of them both.
    sos = butter(2, HIGH_PASS_HZ, "highpass", fs=16000, output="sos")
    np.testing.assert_array_equal(ours[0], np.eye(1, ours.shape[1])[0])
    np.testing.assert_allclose(ours[1 : orders + 1], sosfilt(sos, expected[1:], axis=1)[:, : ours.shape[1]], atol=1e-6)


def test_reverberation_times_are_those_of_pyroomacoustics() -> None:
    """A whole response at one absorption, built by another simulator and measured by another estimator."""
    pra = pytest.importorskip("pyroomacoustics")
    dimensions, source, receiver = BOX
    absorption = 0.3
    box = pra.ShoeBox(dimensions, fs=16000, materials=pra.Material(absorption), max_order=45)
    box.add_source(source)
    box.add_microphone(receiver)
    box.compute_rir()
    theirs = box.rir[0][0]
    reflections = image_sources(dimensions, source, receiver, 0.4, 16000)
    ours = np.sqrt(1 - absorption) ** np.arange(len(reflections)) @ reflections
    start = rooms.direct_sound(theirs, 16000)
    measured = pra.experimental.measure_rt60(theirs[start : start + ours.size], fs=16000, decay_db=30)
    assert rooms.t60(ours, 16000) == pytest.approx(measured, rel=0.05)
    assert rooms.c50(ours, 16000) == pytest.approx(rooms.c50(theirs, 16000), abs=0.5)
    assert rooms.drr(ours, 16000) == pytest.approx(rooms.drr(theirs, 16000), abs=1.0)


def test_speech_is_convolved_with_the_response() -> None:
    distortion = make_distortion("room", severity_range=(0.2, 0.5))
    click = np.zeros(24000)
    click[0] = 1.0
    speech = utterance(duration_s=1.5)
    (rir,), (reverberant,) = distort(distortion, click, [0.5]), distort(distortion, speech, [0.5])
    np.testing.assert_allclose(reverberant.samples, oaconvolve(speech, rir.samples)[: speech.size], atol=1e-9)


def test_the_response_changes_smoothly_with_the_reverberation_time() -> None:
    distortion = make_distortion("room", severity_range=(0.2, 0.6))
    speech = utterance(duration_s=1.0)
    a, b, c = (r.samples for r in distort(distortion, speech, [0.5, 0.5 * 1.001, 0.5 * 1.1]))
    assert 0 < np.sum((b - a) ** 2) < 1e-3 * np.sum((c - a) ** 2)


def test_talker_and_microphone_lie_in_the_room_and_apart() -> None:
    distortion = make_distortion("room", severity_range=(0.2, 0.3))
    for seed in range(10):
        provenance = distortion.draw(np.random.default_rng(seed), 100, 8000).provenance
        size, talker, microphone = (
            np.array(str(provenance[name]).split(), dtype=float) for name in ("room_m", "talker_m", "microphone_m")
        )
        for place in (talker, microphone):
            assert (place >= 0.5 - 1e-3).all() and (place <= size - 0.5 + 1e-3).all()
        assert np.linalg.norm(talker - microphone) >= 1 - 1e-3


@pytest.mark.parametrize("severity_range", [(0.0, 1.0), (0.2, 2.0), (-1.0, 0.5)])
def test_ranges_that_cannot_be_simulated_are_refused(severity_range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="up to 1.5 s"):
        make_distortion("room", severity_range=severity_range)


@pytest.mark.parametrize("severity", [0.1, 0.4, np.nan])
def test_reverberation_times_outside_of_the_range_are_refused(severity: float) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        distort(make_distortion("room", severity_range=(0.2, 0.3)), utterance(), [severity])
