"""Degradations of batches, distillation from a teacher, and the average of weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import average_weights
import distill
import numpy as np
import panels
import pytest
import runs
import torch
from degradations import COUNTS, Bank, BatchDegrader, active_level
from hypothesis import given, settings
from hypothesis import strategies as st
from ladders import ladder_rows
from small import small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression

RATE = 16000


def tones(count: int = 6, samples: int = 24000) -> torch.Tensor:
    """Bursts of harmonic tones with pauses that are almost silent, (count, samples)."""
    time = torch.arange(samples) / RATE
    pitch = torch.linspace(100, 220, count)[:, None]
    voiced = (torch.arange(samples) // 2400 % 3 != 2).float()
    speech = 0.1 * voiced * sum((2 * torch.pi * k * pitch * time).sin() / k for k in range(1, 12))
    return speech + 1e-3 * torch.randn(speech.shape, generator=torch.Generator().manual_seed(5))


def degrader(seed: int = 0, rirs: tuple[torch.Tensor, ...] = ()) -> BatchDegrader:
    noise = Bank([torch.randn(20000, generator=torch.Generator().manual_seed(9)) * 0.1], "cpu")
    return BatchDegrader(noise, rirs, seed, "cpu")


DEGRADATIONS = [function.__name__ for _, function in degrader().degradations]


def test_excerpts_come_from_one_recording_and_repeat_what_is_short():
    bank = Bank([torch.arange(5.0), torch.arange(100.0, 1100.0)], "cpu")
    excerpts = bank.draw(torch.Generator().manual_seed(0), 40, 12)
    short = excerpts[excerpts[:, 0] < 5]
    assert 0 < len(short) < 40
    assert all(torch.equal(one.diff() % 5, torch.ones(11)) for one in short)
    assert all(torch.equal(one.diff(), torch.ones(11)) for one in excerpts[excerpts[:, 0] >= 5])
    with pytest.raises(ValueError, match="no recording"):
        Bank([], "cpu")


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_every_degradation_changes_clips_and_keeps_their_shape(name: str):
    clips = tones()
    changed = getattr(degrader(1), name)(clips.clone())
    assert changed.shape == clips.shape
    assert changed.isfinite().all()
    assert not torch.allclose(changed, clips, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(ratio=st.floats(-10, 50), seed=st.integers(0, 99))
def test_noise_is_mixed_at_the_ratio_that_is_asked_for(ratio: float, seed: int):
    clips = tones(2)
    noise = torch.randn(clips.shape, generator=torch.Generator().manual_seed(seed))
    added = degrader(seed).mix(clips, noise, ratio, ratio) - clips
    measured = 20 * torch.log10(active_level(clips)[:, 0] / added.square().mean(-1).sqrt())
    assert torch.allclose(measured, torch.full((2,), ratio), atol=0.1)


def test_the_active_level_leaves_pauses_out():
    clips = tones(1, 48000)
    spoken = torch.cat([clips[:, 2400 * k : 2400 * (k + 1)] for k in range(20) if k % 3 != 2], -1)
    assert active_level(clips).item() == pytest.approx(spoken.square().mean().sqrt().item(), rel=0.05)


def test_batches_depend_on_the_seed_alone_and_stay_within_full_scale():
    clips = tones(12)
    first, again, other = (degrader(seed, (torch.eye(1, 400)[0],))(clips) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.abs().max() <= 1
    assert sum(COUNTS) == pytest.approx(1)


def test_lost_packets_leave_the_others_as_they_are():
    clips = tones(8)
    same = degrader(2).lose_packets(clips) == clips
    assert 0.5 < same.float().mean() < 1


def small_model(bias: float) -> JSQAForMOSRegression:
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config())
    torch.nn.init.constant_(model.head.output.bias, bias)
    return model


def test_weights_are_averaged_by_their_share():
    for share in (0.0, 0.25, 1.0):
        before, after = small_model(0.0), small_model(1.0)
        average_weights.average(before, after, share)
        assert torch.allclose(after.head.output.bias, torch.full((2,), share))
        assert torch.allclose(after.head.dense.weight, before.head.dense.weight)
    with pytest.raises(ValueError, match="between 0 and 1"):
        average_weights.average(small_model(0.0), small_model(1.0), 1.5)
    with pytest.raises(ValueError, match="not the same shape"):
        average_weights.average(JSQAForMOSRegression(small_config(mos_hidden_size=8)), small_model(1.0), 0.5)


def test_an_averaged_model_is_saved_with_its_figures(tmp_path: Path):
    corpus = runs.write_corpus(tmp_path / "corpus")
    for name, bias in (("before", 0.0), ("after", 1.0)):
        small_model(bias).half().save_pretrained(tmp_path / name)
        JSQAFeatureExtractor().save_pretrained(tmp_path / name)
    ratings, output = corpus / "rated" / "ratings.csv", tmp_path / "averaged"
    words = [f"--before={tmp_path / 'before'}", f"--after={tmp_path / 'after'}", f"--ratings={ratings}"]
    average_weights.main([*words, "--split=test", f"--output_dir={output}", "--panel_std=0.4"])
    report = json.loads((output / "averaging.json").read_text())
    assert report["held_out"]["mos"]["n"] == 4
    model = JSQAForMOSRegression.from_pretrained(output)
    assert model.dtype == torch.float32 and model.config.mos_panel_std == 0.4
    assert model.head.output.bias[0].item() == pytest.approx(0.5, abs=1e-3)


@given(st.integers(0, 1000), st.floats(-1.0, 1.0), st.floats(0.5, 1.5))
@settings(max_examples=30, deadline=None)
def test_the_error_of_a_scale_is_never_overestimated(seed: int, offset: float, slope: float):
    rng = np.random.default_rng(seed)
    rated = rng.uniform(1, 5, 500)
    predicted = {
        "on another scale": offset + slope * (rated + rng.normal(0, 0.5, 500)),
        "fitted": rated + rng.normal(0, 0.2, 500),
    }
    figures = {
        name: (float(np.mean((one - rated) ** 2)), float(np.corrcoef(one, rated)[0, 1]))
        for name, one in predicted.items()
    }
    line = np.polynomial.Polynomial.fit(predicted["on another scale"], rated, 1)
    explained = figures["on another scale"][0] - np.mean((line(predicted["on another scale"]) - rated) ** 2)
    found = panels.error_of_scale(figures, "on another scale")
    # Too low by no more than the limit to the variance is above it.
    assert 0 <= found <= explained + 1e-9
    assert found == pytest.approx(explained, abs=0.05)


def test_ladders_are_ranked_rightly_by_a_model_that_goes_by_level():
    class Level(torch.nn.Module):
        def forward(self, clips: torch.Tensor, mask: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(scores=clips.square().mean(-1, keepdim=True))

    rows = ladder_rows(4, clips=True, distortions=("noise", "level"))
    shares = average_weights.ranked_rightly(Level(), rows, JSQAFeatureExtractor())
    assert shares == {"all": 1.0, "level": 1.0, "noise": 1.0}
    backwards = [{**row, "severity_jnd": [-jnds for jnds in row["severity_jnd"]]} for row in rows[:1]]
    assert average_weights.ranked_rightly(Level(), backwards + rows[1:2], JSQAFeatureExtractor())["all"] == 0.5


@pytest.mark.slow
def test_networks_learn_from_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Loudness:
        """A teacher that is easy to follow."""

        def __init__(self, device: str) -> None:
            pass

        def __call__(self, clips: torch.Tensor) -> torch.Tensor:
            return 1 + 4 * (1 + (20 * active_level(clips)[:, 0].log10() + 12) / 30).clamp(0, 1)

    monkeypatch.setattr(distill, "Teacher", Loudness)
    monkeypatch.setattr(distill, "held_out", lambda speech_id: speech_id.endswith("3"))
    monkeypatch.setattr(distill, "DURATIONS_S", (0.64,))
    corpus = runs.write_corpus(tmp_path / "corpus")
    words = [f"--speech={corpus / 'speech'}", f"--noise={corpus / 'noise'}", f"--output_dir={tmp_path / 'out'}"]
    steps = ["--stage1_steps=4", "--steps=60", "--batch_size=16", "--degraded_clips=16", "--log_steps=20"]
    distill.main([*words, *steps, "--validation_clips=32"])
    report = json.loads((tmp_path / "out" / "distillation.json").read_text())
    first, last = report["history"][0]["agreement"]["tiny"], report["history"][-1]["agreement"]["tiny"]
    assert last["rmse"] < report["teacher"]["standard_deviation"]
    assert last["rmse"] < first["rmse"]
    assert JSQAForMOSRegression.from_pretrained(tmp_path / "out" / "tiny").num_parameters() < 300_000
    assert not any("/" in str(value) for value in report["settings"].values())


def test_a_shape_that_does_not_exist_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no shape 'huge'"):
        distill.main(["--speech=x", "--noise=y", f"--output_dir={tmp_path}", "--shapes", "huge"])
