"""The objective of stage 1 as the configuration, the collator, the model and the script make it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub.errors import StrictDataclassError
from small import SMALL_HUBERT, small_config

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.configuration_jsqa import LOWEST_TEMPERATURE
from jsqa_hf.losses import LadderLabels, contrastive_loss
from jsqa_hf.training import ContrastiveCollator

REPOSITORY = Path(__file__).resolve().parents[1]
RATE = 16000


def row(content: str, chain: str, distortion: str, severities: list[float]) -> dict[str, Any]:
    clips = [np.full(800, 0.1, dtype=np.float32)] * len(severities)
    return {
        "clips": clips,
        "content_id": content,
        "chain": chain,
        "distortion": distortion,
        "severity_jnd": severities,
    }


def labels_of(rows: list[dict[str, Any]]) -> LadderLabels:
    batch = ContrastiveCollator(JSQAFeatureExtractor())(rows)
    return LadderLabels(batch["pair_ids"], batch["content_ids"], batch["quality"], batch["distortion_ids"])


def test_severities_compare_within_a_distortion_and_in_chains_within_a_content() -> None:
    labels = labels_of(
        [
            row("a", "noise", "noise", [0.0, 0.5, 4.0, 4.5]),
            row("b", "noise", "noise", [0.2, 0.6, 4.0, 4.5]),
            row("c", "opus", "opus", [0.0, 0.5, 4.0, 4.5]),
            row("d", "noise+opus", "noise", [0.0, 0.5, 4.0, 4.5]),
            row("e", "noise+opus", "noise", [0.0, 0.5, 4.0, 4.5]),
        ]
    )
    assert labels.distortion_ids is not None and labels.quality is not None
    a, b, c, d, e = labels.distortion_ids.reshape(5, 4)
    assert torch.equal(a, b)
    assert len({int(ids[0]) for ids in (a, c, d, e)}) == 4
    assert all(len(set(ids.tolist())) == 1 for ids in (a, b, c, d, e))
    torch.testing.assert_close(labels.quality[4:8], torch.tensor([0.2, 0.6, 4.0, 4.5]))


def test_chains_of_other_content_are_no_false_negatives() -> None:
    severities = [0.0, 0.5, 4.0, 4.5]
    projections = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    chains = labels_of([row(content, "noise+opus", "noise", severities) for content in "ab"])
    alone = labels_of([row(content, "noise", "noise", severities) for content in "ab"])
    keep = contrastive_loss(projections, chains, 0.1)
    torch.testing.assert_close(contrastive_loss(projections, chains, 0.1, false_negatives="mask"), keep)
    assert contrastive_loss(projections, alone, 0.1, false_negatives="mask") < keep


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("encoded", [True, False])
def test_the_contrastive_collator_brings_clips_to_the_rate_of_the_model(rate: int, encoded: bool) -> None:
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate)
    clip = tone.astype(np.float32).tolist()
    if encoded:
        buffer = io.BytesIO()
        soundfile.write(buffer, tone, rate, format="FLAC")
        clip = {"bytes": buffer.getvalue(), "path": None}
    batch = ContrastiveCollator(JSQAFeatureExtractor())([{"clips": [clip, clip], "sampling_rate": rate}])
    assert batch["input_values"].shape == (2, 8000)
    assert batch["input_values"][1].numpy()[500:7500] == pytest.approx(
        0.1 * np.sin(2 * np.pi * 1000 * np.arange(500, 7500) / 16000), abs=0.002
    )


def test_clips_out_of_step_begin_later_or_have_the_other_sign_whatever_batch_they_are_in() -> None:
    rng = np.random.default_rng(0)
    clips = list(rng.normal(size=(40, 4000)).astype(np.float32))
    longest = round(0.04 * RATE)

    def collated(*rows: list[np.ndarray]) -> list[np.ndarray]:
        batch = ContrastiveCollator(JSQAFeatureExtractor(), max_delay_s=0.04)([{"clips": row} for row in rows])
        lengths = batch["attention_mask"].sum(dim=1)
        return [clip[:length].numpy() for clip, length in zip(batch["input_values"], lengths, strict=True)]

    changed = collated(clips)
    starts, signs = [], []
    for before, after in zip(clips, changed, strict=True):
        starts.append(len(before) - len(after))
        signs.append(float(np.sign(before[starts[-1]] * after[0])))
        np.testing.assert_array_equal(after, signs[-1] * before[starts[-1] :])
    assert 0 <= min(starts) < longest / 4 and 3 / 4 * longest < max(starts) <= longest
    assert set(signs) == {-1, 1}
    again = collated(clips[20:], clips[:20])
    assert all(np.array_equal(one, other) for one, other in zip(changed, again[20:] + again[:20], strict=True))


def test_half_of_a_clip_shorter_than_the_delay_stays() -> None:
    collator = ContrastiveCollator(JSQAFeatureExtractor(), max_delay_s=10.0)
    clips = list(np.random.default_rng(0).normal(size=(20, 1600)).astype(np.float32))
    assert int(collator([{"clips": clips}])["attention_mask"].sum(dim=1).min()) >= 800


@pytest.mark.parametrize("delay", [-0.1, float("nan")])
def test_a_delay_below_zero_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="max_delay_s"):
        ContrastiveCollator(JSQAFeatureExtractor(), delay)


def test_a_learned_temperature_starts_at_that_of_the_configuration_and_is_saved(tmp_path: Path) -> None:
    model = JSQAForContrastivePretraining(small_config(temperature=0.2, learn_temperature=True))
    assert float(model.temperature().detach()) == pytest.approx(0.2)
    with torch.no_grad():
        model.log_temperature.add_(0.5)
    model.save_pretrained(tmp_path)
    loaded = JSQAForContrastivePretraining.from_pretrained(tmp_path)
    assert float(loaded.temperature().detach()) == pytest.approx(0.2 * np.exp(0.5))
    fixed = JSQAForContrastivePretraining(small_config(temperature=0.2))
    assert fixed.temperature() == 0.2
    assert "log_temperature" not in fixed.state_dict()


def test_a_learned_temperature_stops_at_its_limit_and_comes_back() -> None:
    model = JSQAForContrastivePretraining(small_config(learn_temperature=True))
    with torch.no_grad():
        model.log_temperature.fill_(-20.0)
    temperature = model.temperature()
    assert float(temperature.detach()) == pytest.approx(LOWEST_TEMPERATURE, rel=1e-5)
    temperature.backward()
    assert float(model.log_temperature.grad) > 0
    with pytest.raises(StrictDataclassError, match="temperature"):
        small_config(temperature=0.001, learn_temperature=True)


def test_a_checkpoint_without_a_temperature_can_go_on_with_a_learned_one(tmp_path: Path) -> None:
    JSQAForContrastivePretraining(small_config(temperature=0.07)).save_pretrained(tmp_path)
    model = JSQAForContrastivePretraining.from_pretrained(tmp_path, learn_temperature=True)
    assert float(model.temperature().detach()) == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"contrastive_loss": "triplet"}, "contrastive_loss"),
        ({"contrastive_negatives": "some"}, "contrastive_negatives"),
        ({"false_negatives": "drop"}, "false_negatives"),
        ({"clearly_different_jnds": 1.0}, "clearly_different_jnds"),
        ({"jnd_margin_weight": -1.0}, "jnd_margin_weight"),
        ({"jnd_preference_weight": -1.0}, "jnd_preference_weight"),
        ({"mos_points_per_jnd": 0.0}, "mos_points_per_jnd"),
        ({"contrastive_loss": "none"}, "nothing else is learned"),
        ({"jnd_distance": 0.0}, "jnd_distance"),
        ({"jnd_distance": 0.9, "jnd_margin_weight": 1.0}, "at most 0.75"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(StrictDataclassError, match=named):
        small_config(**values)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    for folder in ("speech", "noise"):
        (root / folder).mkdir()
    for index in range(4):
        speech = 0.1 * np.sin(2 * np.pi * (120 + 40 * index) * time) * (rng.random(10) > 0.2).repeat(RATE // 10)
        soundfile.write(root / "speech" / f"talker{index}.wav", speech, RATE)
        soundfile.write(root / "noise" / f"noise{index}.wav", rng.normal(0, 0.05, RATE), RATE)
    return root


def start(corpus: Path, output: Path, *extra: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run the script of stage 1 on a small backbone with all switches set."""
    JSQAForContrastivePretraining(JSQAConfig(hubert_config=SMALL_HUBERT)).jsqa.hubert.save_pretrained(
        corpus / "hubert"
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        sys.executable,
        *(launcher if processes > 1 else []),
        str(REPOSITORY / "training_scripts" / "pretrain_contrastive.py"),
        f"--backbone={corpus / 'hubert'}",
        f"--speech={corpus / 'speech'}",
        f"--noise={corpus / 'noise'}",
        f"--talkers={corpus / 'speech'}",
        f"--output_dir={output}",
        *["--distortions", "noise", "talkers", "low-pass"],
        *["--loss=supervised", "--false_negatives=promote", "--mask_ambiguous", "--learn_temperature"],
        *["--jnd_margin_weight=0.1", "--jnd_preference_weight=0.1", "--jnd_distance=0.1", "--loss_chunk_size=3"],
        *["--duration_s=0.5", "--max_steps=2", "--per_device_train_batch_size=2", "--learning_rate=1e-3"],
        *["--save_strategy=no", "--use_cpu=true", "--dataloader_pin_memory=false", "--report_to=none"],
        *extra,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_the_script_takes_all_switches_in_two_processes(corpus: Path, tmp_path: Path) -> None:
    held_out = [f"--eval_speech={corpus / 'speech'}", f"--eval_noise={corpus / 'noise'}"]
    held_out += ["--per_device_eval_batch_size=2", "--eval_ladders=5"]
    done = start(corpus, tmp_path / "run", *held_out, processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["train_steps"] == 2
    assert np.isfinite(metrics["eval_loss"])
    model = JSQAForContrastivePretraining.from_pretrained(tmp_path / "run")
    assert model.config.false_negatives == "promote"
    assert float(model.temperature().detach()) != pytest.approx(0.1, rel=1e-6)
    done = start(corpus, tmp_path / "refused", *held_out, "--eval_ladders=3", processes=2)
    assert done.returncode != 0
    assert "--eval_ladders must be at least 4" in done.stderr
