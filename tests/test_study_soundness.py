"""The studies of soundness and of fine discrimination: what they say of raters and observers that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fine_discrimination as fine
import harmless_changes
import listeners
import numpy as np
import pytest
import soundness
import torch
from held_out import (
    SAMPLING_RATE,
    Material,
    MaterialArguments,
    load_material,
    mean_with_interval,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression
from jsqa_hf.intervals import bootstrap_intervals
from jsqa_hf.jnd import active_speech_level, make_distortion, registered_distortions, rms_level
from jsqa_hf.jnd_scale import HALF_NOTICED_JNDS, JNDScale

PLAIN = [name for name, kind in registered_distortions().items() if kind.material is None and not kind.requires]
ROWS = [{"audio": {"array": np.ones(10), "sampling_rate": SAMPLING_RATE}, "noise_id": "a", "noise_type": "a"}]
SMALL = ["--speakers", "2", "--duration_s", "1", "--distortions", "noise", "mnru", "level"]


class Told(Material):
    """Clips that tell their quality in JNDs instead of being audio."""

    def degrade(self, name: str, speaker: int, severities: Sequence[float], repetition: int = 0) -> list[Any]:
        distortion = self.distortions[name]
        sign = 1 if distortion.worse == "lower" else -1
        return [np.full(1, sign * distortion.threshold.position(severity)) for severity in severities]


class Ear:
    """An observer that hears so many times the JNDs that there are."""

    def __init__(self, sharpness: float = 1.0) -> None:
        self.sharpness = sharpness
        self.scale = JNDScale([0.0, 100.0], [0.0, 100.0])

    def project(self, audio: Any) -> np.ndarray:
        return self.sharpness * np.asarray(audio["array"], dtype=float)[:1]

    def distances(self, projection: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.linalg.norm(others - projection, axis=-1)


def follow(clips: Sequence[Any]) -> np.ndarray:
    return np.array([float(clip[0]) for clip in clips])


def reverse(clips: Sequence[Any]) -> np.ndarray:
    return -follow(clips)


def constant(clips: Sequence[Any]) -> np.ndarray:
    return np.full(len(clips), 3.0)


def silence_between(clips: Sequence[Any]) -> np.ndarray:
    """Minus the power of the quietest twentieth of the frames in dB: of clips of the same level it tells the SNR."""
    frames = [np.asarray(clip)[: len(clip) // 320 * 320].reshape(-1, 320) for clip in clips]
    return np.array([-10 * np.log10(np.quantile((frame**2).mean(1), 0.05)) for frame in frames])


@pytest.fixture(scope="module")
def told() -> Told:
    distortions = {name: make_distortion(name) for name in ("mnru", "low-pass", "g726", "level")}
    distortions["noise"] = make_distortion("noise", {"noise": ROWS})
    rows = [{"speech_id": str(number), "speaker_id": str(number)} for number in range(4)]
    return Told(rows, [np.zeros(SAMPLING_RATE)] * 4, ROWS, distortions, {}, 0)


@pytest.fixture(scope="module")
def material() -> Material:
    return load_material(
        MaterialArguments(distortions=["noise", "talkers", "mnru", "level"], speakers=2, duration_s=2)
    )


# Clips.


def test_clips_of_a_content_are_the_same_each_time_and_equally_loud(material: Material) -> None:
    clips = material.degrade("noise", 0, [0.0, 10.0, 20.0])
    for clip, again in zip(clips, material.degrade("noise", 0, [0.0, 10.0, 20.0]), strict=True):
        np.testing.assert_array_equal(clip, again)
    levels = [active_speech_level(clip, SAMPLING_RATE).level_dbov for clip in clips]
    assert np.ptp(levels) < 0.1
    assert not np.array_equal(clips[0], material.degrade("noise", 0, [0.0], 1)[0])
    quiet, loud = material.degrade("level", 0, [-46.0, -26.0])
    assert rms_level(loud) - rms_level(quiet) == pytest.approx(20, abs=0.1)


def test_competing_talkers_are_other_speakers(material: Material) -> None:
    alone = load_material(MaterialArguments(distortions=["talkers"], speakers=2, duration_s=2))
    # Of two speakers the only other one: taking his row away leaves nobody.
    alone.rows[1] = {**alone.rows[1], "speaker_id": alone.rows[0]["speaker_id"]}
    with pytest.raises(ValueError, match="competing talker is empty"):
        alone.degrade("talkers", 0, [0.0])
    assert len(material.degrade("talkers", 0, [0.0])) == 1


def test_one_speaker_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two"):
        load_material(MaterialArguments(speakers=1, distortions=["mnru"]))


def test_intervals_are_over_groups() -> None:
    values = [0.0] * 50 + [1.0] * 50
    apart = mean_with_interval(values, range(100))
    together = mean_with_interval(values, [0] * 50 + [1] * 50)
    assert apart["mean"] == together["mean"] == 0.5
    assert together["interval"] == [0.0, 1.0]
    assert 0.35 < apart["interval"][0] < apart["interval"][1] < 0.65
    assert mean_with_interval(values, [0] * 100)["interval"] is None
    rng = np.random.default_rng(0)
    uneven, groups = rng.random(60), rng.integers(30, size=60)
    expected = bootstrap_intervals(lambda index: {"mean": uneven[index].mean()}, 60, groups.tolist(), seed=1)["mean"]
    assert mean_with_interval(uneven, groups)["interval"] == pytest.approx(expected, abs=0.01)


# Fine discrimination.


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", [*PLAIN, "noise"])
def test_pairs_are_as_far_apart_as_they_say(name: str, seed: int) -> None:
    distortion = make_distortion(name, {"noise": ROWS})
    severities, pairs = fine.draw_pairs(distortion, np.random.default_rng(seed))
    low, high = fine.SNR_RANGE_DB if name == "noise" else distortion.severity_range
    assert pairs
    assert {place for pair in pairs for place in pair[1:]} == set(range(len(severities)))
    for pair in pairs:
        better, worse = severities[pair.better], severities[pair.worse]
        assert low <= min(better, worse) < max(better, worse) <= high
        assert (better > worse) == (distortion.worse == "lower")
        tolerance = fine.GRID_TOLERANCE if distortion.discrete else 1e-6
        assert distortion.threshold.jnds_between(better, worse) == pytest.approx(pair.step, rel=tolerance)
        if name == "noise":
            assert better - worse == pytest.approx(3 * pair.step)
        if distortion.discrete:
            assert {better, worse} <= set(distortion.severity_grid or ())


def test_who_follows_the_quality_ranks_all_pairs_and_who_does_not_guesses(told: Told) -> None:
    raters = {"follows": follow, "reverses": reverse, "constant": constant}
    rows = fine.judge_pairs(told, raters, Ear())
    for values in fine.by_step(rows).values():
        right = {name: share["mean"] for name, share in values["ranked_rightly"].items()}
        assert right == {"follows": 1.0, "reverses": 0.0, "constant": 0.5}
    rows = fine.judge_pairs(told, {"guesses": lambda clips: np.random.default_rng(0).random(len(clips))}, Ear())
    assert all(row["distortion"] in told.distortions for row in rows)
    noise = [row for row in rows if row["distortion"] == "noise"]
    assert len(noise) == 3 * 4 * len(fine.STEPS)


def test_an_observer_with_the_hearing_of_listeners_notices_what_they_notice(told: Told) -> None:
    listeners = fine.listeners_by_step(None)
    for step, values in fine.by_step(fine.judge_pairs(told, {}, Ear())).items():
        assert values["jnds"]["mean"] == pytest.approx(float(step), rel=fine.GRID_TOLERANCE)
    noise = [row for row in fine.judge_pairs(told, {}, Ear()) if row["distortion"] == "noise"]
    for step, values in fine.by_step(noise).items():
        assert values["probability"]["mean"] == pytest.approx(listeners[step]["expected"], abs=1e-3)
        assert values["noticed"]["mean"] == (float(step) > 1.7)
    deaf = fine.summarize(fine.judge_pairs(told, {}, Ear(0.0)))
    assert deaf["noticed"]["mean"] == deaf["probability"]["mean"] == 0


def test_clips_without_scores_are_left_out(told: Told) -> None:
    def sometimes(clips: Sequence[Any]) -> np.ndarray:
        scores = follow(clips)
        scores[0] = np.nan
        return scores

    rows = [row for row in fine.judge_pairs(told, {"rater": sometimes}, Ear()) if row["distortion"] == "noise"]
    assert fine.summarize(rows)["ranked_rightly"] == {}
    never = fine.judge_pairs(told, {"rater": lambda clips: np.full(len(clips), np.nan)}, Ear())
    assert fine.summarize(never)["ranked_rightly"] == {}


def test_real_clips_in_noise_are_told_apart_by_the_noise_between_words(material: Material) -> None:
    only = Material(material.rows, material.speech, material.noise, {"noise": material.distortions["noise"]}, {}, 0)
    rows = fine.judge_pairs(only, {"pauses": silence_between}, Ear(), noise_repetitions=2)
    assert fine.summarize(rows)["ranked_rightly"]["pauses"]["mean"] == 1.0


def test_shares_count_answers_with_wilson_intervals() -> None:
    first, second = listeners.answer_shares([0.5, 1.0, 1.5, 2.0, 9.0], [0, 1, 1, 1, 0], edges=[0, 1, 2, 3])
    assert (first.low, first.high, first.answers, first.share) == (0, 1, 2, 0.5)
    # By hand: centre (n p + z^2 / 2) / (n + z^2), half width z sqrt(n p q + z^2 / 4) / (n + z^2).
    z = 1.959964
    half = z * np.sqrt(2 * 0.25 + z**2 / 4) / (2 + z**2)
    assert first.interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)
    assert (second.answers, second.share) == (2, 1.0)


@pytest.mark.parametrize(
    ("answers", "edges", "reason"),
    [([2], [0, 1], "0 .same. or 1"), ([1, 0], [0, 1], "one answer per change"), ([1], [1, 0], "edges must increase")],
)
def test_shares_refuse_what_they_cannot_count(answers: list[int], edges: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        listeners.answer_shares([1.0], answers, edges=edges)


def test_guesses_are_taken_out_of_what_listeners_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fifth calls equal clips different; of steps of 6 dB, 3 in 5 do, so that half noticed them.
    answers = {"noise, same clips twice": ([0.0] * 5, [1, 0, 0, 0, 0]), "noise": ([6.0] * 5, [1, 1, 1, 0, 0])}
    monkeypatch.setattr(listeners, "listener_curves", lambda labels: answers)
    results = fine.listeners_by_step("labels")
    assert results["2.00"]["answered"] == pytest.approx(0.5)
    assert results["2.00"]["answers"] == 5
    assert "answered" not in results["1.00"]
    assert results["1.00"]["expected"] < 0.5 < results["2.00"]["expected"]


def test_unfit_peers_are_refused() -> None:
    for name in ("pesq", "jsqa", "nothing"):
        with pytest.raises(SystemExit, match="--peers"):
            fine.load_raters(None, [name], 1)
    assert list(fine.load_raters(None, ["none"], 1)) == ["jsqa"]


# Soundness.


def test_the_curve_of_an_observer_with_the_hearing_of_listeners_is_theirs(told: Told) -> None:
    results = soundness.distance_curve(told, Ear())
    for values in results["steps"].values():
        assert values["probability"]["mean"] == pytest.approx(values["listeners"], abs=1e-4)
    assert results["slope_at_jnd"] == pytest.approx(results["slope_at_jnd_of_listeners"], abs=1e-4)
    assert results["rank_correlation"]["mean"] == pytest.approx(1.0)
    half = results["half_noticed_db_of_listeners"]
    curve = JNDScale([0.0, 1.0], [0.0, 1.0])
    assert curve.probability_noticed(half / 3) == pytest.approx(0.5, abs=1e-3)
    assert half / 3 > HALF_NOTICED_JNDS
    assert 4.5 <= results["half_noticed_db"] <= 6.0
    sharp, dull = soundness.distance_curve(told, Ear(2.0)), soundness.distance_curve(told, Ear(0.0))
    assert sharp["half_noticed_db"] < 4.5
    assert sharp["slope_at_jnd"] > results["slope_at_jnd"]
    assert (dull["half_noticed_db"], dull["slope_at_jnd"], dull["rank_correlation"]["mean"]) == (None, 0, 0)


@pytest.mark.parametrize("rate, wrong, rank", [(follow, 0.0, 1.0), (reverse, 1.0, -1.0), (constant, 0.0, 0.0)])
def test_monotonicity_of_known_raters(told: Told, rate: Any, wrong: float, rank: float) -> None:
    results = soundness.monotonicity(told, rate)
    assert set(results["distortions"]) == set(told.distortions)
    for values in [*results["distortions"].values()]:
        assert values["wrong_steps"] == wrong
        assert values["rank_correlation"] == pytest.approx(rank)
    assert results["all"]["wrong_steps"]["mean"] == wrong


def test_a_guessing_rater_goes_wrong_half_of_the_time(told: Told) -> None:
    rng = np.random.default_rng(0)
    results = soundness.monotonicity(told, lambda clips: rng.random(len(clips)), contents=8, levels=30)
    assert results["all"]["wrong_steps"]["mean"] == pytest.approx(0.5, abs=0.06)
    assert results["all"]["rank_correlation"]["mean"] == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("name", PLAIN)
def test_severities_are_equally_many_jnds_apart(name: str) -> None:
    distortion = make_distortion(name)
    severities = soundness.severity_steps(distortion, 6)
    if distortion.discrete:
        assert tuple(severities) == distortion.severity_grid
    else:
        assert (severities[0], severities[-1]) == pytest.approx(distortion.severity_range)
        steps = np.diff(distortion.threshold.position(severities))
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6)


def test_changes_do_what_they_are_called() -> None:
    time = np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
    low, high = (0.1 * np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (1000, 6000))
    middle = slice(1000, -1000)
    for rate in (8000, 22050, 44100, 48000):
        change = harmless_changes.through(rate)
        assert change(low).shape == low.shape
        np.testing.assert_allclose(change(low)[middle], low[middle], atol=1e-3)
        assert (np.abs(change(high)[middle]).max() < 1e-3) == (rate == 8000)
    clip = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLING_RATE).astype(np.float32)
    clip[26000:27000] = 0
    swapped = harmless_changes.swap_halves(clip)
    cut = len(clip) - int(np.flatnonzero(swapped == clip[0])[0])
    assert 26000 <= cut <= 27000
    np.testing.assert_array_equal(np.roll(swapped, cut), clip)
    for name, change in harmless_changes.CHANGES.items():
        result = change(clip)
        assert result.dtype == np.float32
        assert len(result) == len(clip) + ("silence" in name) * SAMPLING_RATE
    assert not harmless_changes.CHANGES["1 s of silence before"](clip)[:SAMPLING_RATE].any()
    assert not harmless_changes.CHANGES["1 s of silence after"](clip)[-SAMPLING_RATE:].any()


def test_robustness_of_known_raters(material: Material) -> None:
    def level(clips: Sequence[Any]) -> np.ndarray:
        return np.array([rms_level(clip) for clip in clips])

    results = soundness.robustness(material, level, Ear())
    assert set(results) == set(harmless_changes.CHANGES)
    for gain_db in (-20, -10, 6):
        values = results[f"gain of {gain_db:+d} dB"]
        assert values["mean_change"]["mean"] == values["largest_change"] == pytest.approx(gain_db, abs=1e-3)
        assert values["mean_absolute_change"] == pytest.approx(abs(gain_db), abs=1e-3)
    # A second of silence after two of speech.
    assert results["1 s of silence after"]["mean_change"]["mean"] == pytest.approx(10 * np.log10(2 / 3), abs=1e-3)
    assert results["halves swapped"]["largest_change"] == pytest.approx(0, abs=1e-3)
    unmoved = soundness.robustness(material, constant, Ear())
    assert all(values["largest_change"] == 0 for values in unmoved.values())


# The commands.


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments for small, untrained models."""
    folders = [tmp_path_factory.mktemp(name) for name in ("mos", "contrastive")]
    calibration = {"distances": [0.0, 0.1, 0.4], "jnds": [0.0, 1.0, 7.0]}
    torch.manual_seed(0)
    JSQAForMOSRegression(small_config()).save_pretrained(folders[0])
    JSQAForContrastivePretraining(small_config(jnd_calibration=calibration)).save_pretrained(folders[1])
    for folder in folders:
        JSQAFeatureExtractor().save_pretrained(folder)
    return ["--mos_model", str(folders[0]), "--contrastive_model", str(folders[1])]


FINE = [*SMALL, "--peers", "none", "--noise_repetitions", "1", "--contents", "1"]
SOUND = [*SMALL, "--noise_repetitions", "1", "--contents", "1", "--levels", "3", "--ladders", "4"]


def run(module: Any, arguments: list[str], folder: Path) -> tuple[dict[str, Any], str]:
    """Results and Markdown of a command."""
    module.main([*arguments, "--output_dir", str(folder)])
    name = module.__name__
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / f"{name}.json").read_text()), (folder / f"{name}.md").read_text()


def test_fine_discrimination_from_start_to_end(models: list[str], tmp_path: Path) -> None:
    results, text = run(fine, [*models, *FINE], tmp_path)
    assert list(results["noise"]) == [fine.step_name(step) for step in fine.STEPS]
    assert set(results["distortions"]) == {"mnru", "level"}
    assert results["noise"]["1.00"]["noticed"]["n"] == 2
    assert "| 3.0 dB |" in text
    assert "| level |" in text


def test_shares_of_measures_that_are_not_asked_for_stay_if_the_pairs_are_as_many(tmp_path: Path) -> None:
    def results(count: int, **others: float) -> dict[str, Any]:
        shares = {name: {"mean": mean, "n": count} for name, mean in {"jsqa": 0.9, **others}.items()}
        return {"noise": {"1.00": {"ranked_rightly": shares}}, "others": {}, "distortions": {}}

    path = tmp_path / "fine_discrimination.json"
    assert fine.with_earlier(results(24), path) == results(24)
    path.write_text(json.dumps(results(24, jsqa=0.5, dnsmos=0.8)))
    assert fine.with_earlier(results(24), path) == results(24, dnsmos=0.8)
    assert fine.with_earlier(results(12), path) == results(12)


def test_soundness_from_start_to_end(models: list[str], tmp_path: Path) -> None:
    results, text = run(soundness, [*models, *SOUND], tmp_path)
    assert results["content"]["clips"] == 24
    assert results["content"]["speaker_accuracy"] is None
    assert set(results["monotonicity"]["distortions"]) == {"noise", "mnru", "level"}
    assert len(results["monotonicity"]["distortions"]["mnru"]["mos"]) == 3
    for title in ("Distance and SNR difference", "Content", "Monotonicity", "Robustness"):
        assert f"## {title}" in text
    assert "| halves swapped |" in text


@pytest.mark.slow
@pytest.mark.parametrize("module, arguments", [(fine, FINE), (soundness, SOUND)])
def test_results_are_the_same_each_time(module: Any, arguments: list[str], models: list[str], tmp_path: Path) -> None:
    first = run(module, [*models, *arguments], tmp_path / "a")
    assert run(module, [*models, *arguments], tmp_path / "b") == first
