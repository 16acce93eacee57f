"""Comparing clips in JNDs: two of them, and each of many with every other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SAMPLING_RATE, small_config

import jsqa_hf
from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf import comparison as module
from jsqa_hf.comparison import Comparer, Comparison, compare, load_comparer

# Small enough that clips of the small, untrained model lie on it.
CALIBRATION = {"distances": [0.0, 0.1, 0.4], "jnds": [0.0, 1.0, 7.0], "error_jnds": 0.5}


def noise(seconds: float = 0.5, seed: int = 0, level: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, int(seconds * SAMPLING_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def contrastive() -> JSQAForContrastivePretraining:
    torch.manual_seed(1)
    return JSQAForContrastivePretraining(small_config(jnd_calibration=CALIBRATION)).eval()


@pytest.fixture(scope="module")
def checkpoint(contrastive: JSQAForContrastivePretraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrastive")
    contrastive.save_pretrained(folder)
    JSQAFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rate() -> SpeechQualityPipeline:
    """A MOS model whose scores differ from clip to clip."""
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config()).eval()
    with torch.no_grad():
        model.head.output.weight[0].mul_(50.0)
        model.head.output.bias[1] = -4.0
    return SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), device="cpu")


@pytest.fixture(scope="module")
def comparer(contrastive: JSQAForContrastivePretraining, rate: SpeechQualityPipeline) -> Comparer:
    return Comparer(contrastive, rate)


def test_two_clips_are_as_far_apart_as_the_model_says_on_its_scale(comparer: Comparer) -> None:
    a, b = noise(), noise(0.8, seed=1, level=0.2)
    result = comparer.compare(a, b)
    expected = comparer.model.compare(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    assert float(expected.distances) > 0.01
    assert result.jnds == pytest.approx(float(expected.jnds), abs=1e-4)
    assert result.probability_noticed == pytest.approx(float(expected.probability_noticed), abs=1e-4)
    assert result.jnds_error == 0.5


def test_the_better_clip_is_the_one_that_the_pipeline_rates_higher(
    comparer: Comparer, rate: SpeechQualityPipeline
) -> None:
    a, b = noise(), noise(0.8, seed=1, level=0.2)
    scores = {"a": rate(a), "b": rate(b)}
    result = comparer.compare(a, b)
    assert result.mos_a == pytest.approx(scores["a"]["mos"], abs=1e-6)
    assert result.mos_b == pytest.approx(scores["b"]["mos"], abs=1e-6)
    assert result.better == max(scores, key=lambda name: scores[name]["mos"])
    # Independently, by drawing opinions of both from the Gaussians that the model predicts.
    rng, draws = np.random.default_rng(0), {}
    for name, audio in (("a", a), ("b", b)):
        output = rate.model(torch.from_numpy(audio)[None])
        draws[name] = rng.normal(output.scores.item(), output.variances.item() ** 0.5, 200_000)
    worse = "b" if result.better == "a" else "a"
    assert 0.55 < result.better_confidence < 1
    assert result.better_confidence == pytest.approx(np.mean(draws[result.better] > draws[worse]), abs=0.01)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0.1, 1.2))
def test_the_order_of_the_two_does_not_matter(comparer: Comparer, seed: int, other: int, seconds: float) -> None:
    a, b = noise(0.5, seed), noise(seconds, other, level=0.1)
    forth, back = comparer.compare(a, b), comparer.compare(b, a)
    assert forth.jnds == back.jnds
    assert forth.better != back.better
    assert (forth.mos_a, forth.mos_b) == (back.mos_b, back.mos_a)
    assert forth.better_confidence == back.better_confidence >= 0.5


@pytest.mark.parametrize("seconds", [0.5, 61.0])
def test_a_clip_is_nothing_apart_from_itself(comparer: Comparer, seconds: float) -> None:
    clip = noise(seconds)
    result = comparer.compare(clip, clip.copy())
    assert result.jnds == result.probability_noticed == 0
    assert result.below_one_jnd
    assert result.better_confidence == 0.5


def test_windows_of_a_long_clip_count_by_their_duration(
    comparer: Comparer, contrastive: JSQAForContrastivePretraining, rate: SpeechQualityPipeline
) -> None:
    parts = [noise(1.0, 0), noise(1.0, 1, level=0.3)]
    narrow = SpeechQualityPipeline(
        model=rate.model, feature_extractor=rate.feature_extractor, device="cpu", window_s=1.0
    )
    long = Comparer(contrastive, narrow).project(np.concatenate(parts))
    mean = np.mean([comparer.project(part) for part in parts], axis=0)
    assert np.linalg.norm(long) == pytest.approx(1)
    np.testing.assert_allclose(long, mean / np.linalg.norm(mean), atol=1e-6)
    # The same clip three times sounds like the clip.
    repeated = Comparer(contrastive, narrow).project(np.tile(parts[0], 3))
    np.testing.assert_allclose(repeated, comparer.project(parts[0]), atol=1e-5)


def test_beyond_the_calibration_the_number_of_jnds_is_a_lower_limit(
    contrastive: JSQAForContrastivePretraining, rate: SpeechQualityPipeline
) -> None:
    comparer = Comparer(contrastive, rate)
    a, b = noise(), noise(0.8, seed=1, level=0.2)
    assert not comparer.compare(a, b).beyond_scale
    comparer.scale = replace(comparer.scale, distances=[0.0, 1e-5, 1e-4])
    result = comparer.compare(a, b)
    assert result.beyond_scale
    assert result.jnds == 7.0


def test_files_and_their_samples_compare_alike(checkpoint: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    a, b = noise(), noise(seed=1, level=0.2)
    soundfile.write(tmp_path / "a.wav", a, SAMPLING_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", b, SAMPLING_RATE, subtype="FLOAT")
    result = compare(tmp_path / "a.wav", tmp_path / "b.wav", checkpoint, mos_model=small_checkpoint, device="cpu")
    assert isinstance(result, Comparison)
    assert result == compare(a, b, load_comparer(checkpoint, small_checkpoint, "cpu"))


def test_a_clip_that_can_not_be_used_is_named(comparer: Comparer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    with pytest.raises(ValueError, match=r"silence\.wav.*digital silence"):
        comparer.compare(noise(), tmp_path / "silence.wav")


def test_models_that_can_not_compare_are_refused(
    small_checkpoint: Path, tmp_path: Path, rate: SpeechQualityPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="checkpoint of stage 1"):
        load_comparer(small_checkpoint, rate)
    JSQAForContrastivePretraining(small_config()).save_pretrained(tmp_path / "not-calibrated")
    with pytest.raises(ValueError, match="not-calibrated.*no JND calibration"):
        load_comparer(tmp_path / "not-calibrated", rate)
    with pytest.raises(ValueError, match="no JND calibration"):
        load_comparer(JSQAForContrastivePretraining(small_config()), rate)
    with pytest.raises(ValueError, match="8000 Hz.*16000 Hz"):
        load_comparer(
            JSQAForContrastivePretraining(small_config(jnd_calibration=CALIBRATION, sampling_rate=8000)), rate
        )
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_comparer(tmp_path / "missing", rate)
    monkeypatch.setattr(module, "DEFAULT_COMPARISON_CHECKPOINT", tmp_path / "jsqa-tiny-jnd")
    with pytest.raises(FileNotFoundError, match="jsqa-tiny-jnd is missing"):
        load_comparer(None, rate)


@pytest.mark.skipif(not jsqa_hf.DEFAULT_COMPARISON_CHECKPOINT.is_dir(), reason="no model for comparisons comes along")
def test_the_default_model_is_calibrated() -> None:
    assert load_comparer(device="cpu").scale.pairs > 0
