from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from behaviour import assert_behaves, assert_worse_and_worse, distort, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd import rooms
from jsqa_hf.jnd.distortions import make_distortion

SCALED = ["reverberation", "direct-to-reverberant"]


def measured_room(seed: int = 0, t60_s: float = 0.5, sampling_rate: int = 16000, direct: float = 20) -> dict[str, Any]:
    """A row with a delay, a direct sound of three samples, decaying noise from 3 ms on, and measurement noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(1.5 * t60_s * sampling_rate)) / sampling_rate
    tail = rng.standard_normal(time.size) * 10 ** (-3 * time / t60_s)
    onset = -direct * np.array([0.2, 1.0, 0.1])
    rir = np.concatenate(
        [np.zeros(300), onset, np.zeros(sampling_rate * 3 // 1000), tail, np.zeros(sampling_rate // 4)]
    )
    rir += 10 ** (-65 / 20) * rng.standard_normal(rir.size)
    return {"audio": {"array": rir, "sampling_rate": sampling_rate}, "rir_id": f"rir{seed}", "room": "office"}


def impulse_responses(name: str, severities: list[float], seed: int = 0) -> list[NDArray[np.float64]]:
    """What the distortion makes of a click."""
    click = np.zeros(32000)
    click[1000] = 1.0
    return [r.samples for r in distort(make_distortion(name, {"rirs": [measured_room(seed)]}), click, severities)]


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
@pytest.mark.parametrize("name", SCALED)
def test_behaves_as_a_distortion(name: str, sampling_rate: int) -> None:
    assert_behaves(make_distortion(name, {"rirs": [measured_room()]}), [25, 15, 5], sampling_rate)


@pytest.mark.parametrize("name", SCALED)
def test_a_lower_ratio_is_worse(name: str) -> None:
    assert_worse_and_worse(make_distortion(name, {"rirs": [measured_room()]}), [25, 24.5, 15, 7, 1])


@settings(deadline=None, max_examples=15)
@given(severity=st.floats(0, 25), seed=st.integers(0, 1000))
def test_clarity_is_the_one_asked_for(severity: float, seed: int) -> None:
    (rir,) = impulse_responses("reverberation", [severity], seed)
    energy = rir**2
    assert 10 * np.log10(energy[:1800].sum() / energy[1800:].sum()) == pytest.approx(severity, abs=0.05)
    assert rooms.c50(rir, 16000) == pytest.approx(severity, abs=0.05)


@settings(deadline=None, max_examples=15)
@given(severity=st.floats(-10, 25), seed=st.integers(0, 1000))
def test_direct_to_reverberant_ratio_is_the_one_asked_for(severity: float, seed: int) -> None:
    (rir,) = impulse_responses("direct-to-reverberant", [severity], seed)
    energy = rir**2
    assert 10 * np.log10(energy[:1040].sum() / energy[1040:].sum()) == pytest.approx(severity, abs=0.05)


@pytest.mark.parametrize("name", SCALED)
def test_measured_ratios_are_those_of_the_response(name: str) -> None:
    distortion = make_distortion(name, {"rirs": [measured_room()]})
    click = np.zeros(32000)
    click[100] = 1.0
    for severity, result in zip([12.0, 6.0], distort(distortion, click, [12.0, 6.0]), strict=True):
        assert result.measured["c50_db"] == pytest.approx(rooms.c50(result.samples, 16000), abs=1e-6)
        assert result.measured["drr_db"] == pytest.approx(rooms.drr(result.samples, 16000), abs=1e-6)
        assert severity == pytest.approx(result.measured["c50_db" if name == "reverberation" else "drr_db"], abs=1e-4)


def test_the_direct_sound_keeps_level_and_place_and_the_late_sound_its_decay() -> None:
    for name in SCALED:
        for rir in impulse_responses(name, [3.0, 9.0, 20.0]):
            assert rooms.direct_sound(rir, 16000) == 1000
            assert rir[1000] == pytest.approx(1.0, abs=1e-6)
            assert not rir[: 1000 - 16].round(9).any()
            assert rooms.t60(np.append(1e-9, rir[2000:]), 16000) == pytest.approx(0.5, rel=0.1)


def test_early_sound_is_scaled_evenly_so_that_the_decay_has_no_step() -> None:
    light, heavy = impulse_responses("reverberation", [20.0, 5.0])
    gains_db = 20 * np.log10(heavy[1100:1800] / light[1100:1800])
    np.testing.assert_allclose(np.diff(gains_db), (gains_db[-1] - gains_db[0]) / 699, atol=0.01)
    late_db = 20 * np.log10(heavy[1800:3000] / light[1800:3000])
    np.testing.assert_allclose(late_db, late_db[0], atol=0.01)
    assert 0 < late_db[0] - gains_db[-1] < 0.1


def test_measurement_noise_is_not_convolved_with_the_speech() -> None:
    row = measured_room()
    recorded = row["audio"]["array"]
    limit = rooms.noise_limit(recorded, 16000) - rooms.direct_sound(recorded, 16000)
    for rir in impulse_responses("reverberation", [3.0]):
        assert limit < 16000 and not rir[1000 + limit + 1 :].round(9).any()


@pytest.mark.parametrize("name", SCALED)
def test_provenance_names_the_response_and_its_reverberation_time(name: str) -> None:
    distortion = make_distortion(name, {"rirs": [measured_room(t60_s=0.7)]})
    provenance = distortion.draw(np.random.default_rng(0), 1000, 16000).provenance
    assert provenance["rir_id"] == "rir0" and provenance["room"] == "office"
    assert provenance["rir_t60_s"] == pytest.approx(0.7, rel=0.05)


def test_a_response_at_another_rate_in_a_file_will_do(tmp_path: Path) -> None:
    row = measured_room(sampling_rate=48000)
    soundfile.write(tmp_path / "office.wav", row["audio"]["array"] / 10, 48000)
    rows = [{"audio": str(tmp_path / "office.wav"), "rir_id": "office", "room": "office"}]
    (result,) = distort(make_distortion("reverberation", {"rirs": rows}), utterance(), [10.0])
    assert result.measured["c50_db"] == pytest.approx(10.0, abs=1e-3)


def test_what_cannot_reach_the_worst_severity_is_passed_over() -> None:
    dry = measured_room(seed=1, t60_s=0.15, direct=90.0)
    distortion = make_distortion("reverberation", {"rirs": [dry, measured_room(seed=2)]})
    drawn = {distortion.draw(np.random.default_rng(seed), 100, 16000).provenance["rir_id"] for seed in range(8)}
    assert drawn == {"rir2"}
    with pytest.raises(ValueError, match="'rir1': its C50 of .* dB cannot be lowered to 0 dB"):
        make_distortion("reverberation", {"rirs": [dry]}).draw(np.random.default_rng(0), 100, 16000)
    in_reach = make_distortion("reverberation", {"rirs": [dry]}, severity_range=(25, 45))
    assert in_reach.draw(np.random.default_rng(0), 100, 16000).provenance["rir_id"] == "rir1"


@pytest.mark.parametrize("name", SCALED)
def test_a_response_without_reverberation_is_refused_by_name(name: str) -> None:
    rir = np.zeros(4000)
    rir[10] = 1.0
    rows = [{"audio": {"array": rir, "sampling_rate": 16000}, "rir_id": "click", "room": "none"}]
    with pytest.raises(ValueError, match="no suitable room impulse response .*'click'"):
        make_distortion(name, {"rirs": rows}).draw(np.random.default_rng(0), 100, 16000)


def test_a_missing_file_is_named() -> None:
    rows = [{"audio": "/nowhere/rir.wav", "rir_id": "lost", "room": "none"}]
    with pytest.raises(ValueError, match="'lost'.*/nowhere/rir.wav"):
        make_distortion("reverberation", {"rirs": rows}).draw(np.random.default_rng(0), 100, 16000)


@pytest.mark.parametrize("name", SCALED)
def test_bad_arguments_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        make_distortion(name, {"rirs": []})
    with pytest.raises(ValueError, match="lacks the column"):
        make_distortion(name, {"rirs": [{"audio": "a.wav"}]})
    with pytest.raises(ValueError, match="needs recordings"):
        make_distortion(name)
    with pytest.raises(ValueError, match="must be finite"):
        distort(make_distortion(name, {"rirs": [measured_room()]}), utterance(), [np.nan])


def test_a_response_shorter_than_that_of_any_room_is_refused() -> None:
    rows = [measured_room(t60_s=0.05, direct=1.0)]
    with pytest.raises(ValueError, match="reverberation time of 0.05. s is below 0.1 s"):
        make_distortion("direct-to-reverberant", {"rirs": rows}).draw(np.random.default_rng(0), 100, 16000)


def test_noise_instead_of_a_response_is_refused() -> None:
    noise = np.random.default_rng(0).standard_normal(8000)
    rows = [{"audio": {"array": noise, "sampling_rate": 16000}, "rir_id": "hiss", "room": "none"}]
    with pytest.raises(ValueError, match="no suitable room impulse response .*'hiss'.*no decay above its noise"):
        make_distortion("reverberation", {"rirs": rows}).draw(np.random.default_rng(0), 100, 16000)
