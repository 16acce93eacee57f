from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd import active_speech_level, rms_level
from jsqa_hf.jnd.distortions import AdditiveNoise, CompetingTalkers, registered_distortions

SAMPLING_RATE = 16000


def talk(seed: int, seconds: float = 2.0) -> NDArray[np.float64]:
    """Syllables with pauses over a faint background."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    syllables = np.clip(np.sin(2 * np.pi * 4 * time + seed), 0, None) * (np.sin(2 * np.pi * 0.6 * time) > -0.5)
    return (0.05 * syllables + 1e-4) * rng.standard_normal(time.size)


def rows(kind: str, count: int) -> list[dict[str, object]]:
    def row(index: int) -> dict[str, object]:
        audio = {"array": talk(100 + index, 3.0) * 10 ** (-index / 4), "sampling_rate": SAMPLING_RATE}
        names = {"noise_id": f"n{index}", "noise_type": "hum"}
        if kind == "talkers":
            names = {"speech_id": f"s{index}", "speaker_id": f"{index}"}
        return {"audio": audio, **names}

    return [row(index) for index in range(count)]


def test_both_are_registered() -> None:
    assert registered_distortions()["noise"] is AdditiveNoise
    assert registered_distortions()["talkers"] is CompetingTalkers


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), snrs_db=st.lists(st.floats(-20, 60), min_size=1, max_size=4))
def test_noise_has_the_snr_asked_for_and_leaves_the_speech_as_it_is(seed: int, snrs_db: list[float]) -> None:
    speech = talk(seed)
    distortion = AdditiveNoise(rows("noise", 3))
    draw = distortion.draw(np.random.default_rng(seed), speech.size, SAMPLING_RATE)
    for snr_db, result in zip(snrs_db, distortion.distort(speech, snrs_db, draw, SAMPLING_RATE), strict=True):
        noise = result.samples - speech
        realised = active_speech_level(speech, SAMPLING_RATE).level_dbov - rms_level(noise)
        assert realised == pytest.approx(snr_db, abs=1e-3)
        assert result.measured == {"snr_db": snr_db}


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), ratio_db=st.floats(-20, 40), talkers=st.integers(1, 4))
def test_talkers_have_the_ratio_asked_for_measured_as_speech(seed: int, ratio_db: float, talkers: int) -> None:
    speech = talk(seed)
    distortion = CompetingTalkers(rows("talkers", 5), number_of_talkers=(talkers, talkers))
    draw = distortion.draw(np.random.default_rng(seed), speech.size, SAMPLING_RATE)
    assert draw.provenance["number_of_talkers"] == talkers
    (result,) = distortion.distort(speech, [ratio_db], draw, SAMPLING_RATE)
    masker = result.samples - speech
    levels = [active_speech_level(signal, SAMPLING_RATE).level_dbov for signal in (speech, masker)]
    assert levels[0] - levels[1] == pytest.approx(ratio_db, abs=0.01)
    assert result.measured["snr_db"] == pytest.approx(levels[0] - rms_level(masker), abs=0.01)


def test_all_talkers_are_equally_loud_however_they_were_recorded() -> None:
    material = rows("talkers", 5)
    distortion = CompetingTalkers(material, number_of_talkers=(1, 1))
    levels = []
    for seed in range(10):
        draw = distortion.draw(np.random.default_rng(seed), SAMPLING_RATE, SAMPLING_RATE)
        levels.append(active_speech_level(draw.values, SAMPLING_RATE).level_dbov)
    np.testing.assert_allclose(levels, -26.0, atol=1e-4)


def test_the_number_of_talkers_varies_within_its_range() -> None:
    distortion = CompetingTalkers(rows("talkers", 5), number_of_talkers=(2, 4))
    draws = [distortion.draw(np.random.default_rng(seed), 8000, SAMPLING_RATE) for seed in range(30)]
    assert {draw.provenance["number_of_talkers"] for draw in draws} == {2, 3, 4}
    assert all(len(str(draw.provenance["talkers"]).split()) == draw.provenance["number_of_talkers"] for draw in draws)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="number_of_talkers"):
        CompetingTalkers(rows("talkers", 1), number_of_talkers=(0, 2))
    with pytest.raises(ValueError, match="speech_level"):
        AdditiveNoise(rows("noise", 1), speech_level="loudness")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the noise is empty"):
        AdditiveNoise([])
    with pytest.raises(ValueError, match=r"lacks the column\(s\) speech_id, speaker_id"):
        CompetingTalkers(rows("noise", 1))
