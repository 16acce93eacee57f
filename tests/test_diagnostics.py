"""Diagnostics of stage 1: each measure against another computation, and against embeddings that are known to fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ladders import ladder_rows
from scipy.stats import kendalltau, rankdata
from small import small_config
from transformers import TrainingArguments

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.training import ContrastiveCollator, ContrastiveDiagnostics, ContrastiveTrainer, run_training
from jsqa_hf.training.diagnostics import contrastive_diagnostics, describe_problems
from jsqa_hf.training.embedding import embed_ladders
from jsqa_hf.training.embedding_measures import (
    PROBE_PENALTY,
    ClipTable,
    alignment,
    content_preference,
    effective_rank,
    pairwise_distances,
    quality_correlations,
    retrieval,
    speaker_leakage,
    spread,
    uniformity,
)

WORKER = Path(__file__).with_name("diagnostics_worker.py")


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_vectors(clips: ClipTable, dimensions: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((len(clips), dimensions)))


def quality_vectors(clips: ClipTable) -> np.ndarray:
    """Points on an arc, by quality alone."""
    angle = 0.1 * clips.position
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def content_vectors(clips: ClipTable, seed: int = 0) -> np.ndarray:
    """A direction per content, and next to nothing else."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((clips.content.max() + 1, 16))
    return unit(directions[clips.content] + 0.01 * rng.standard_normal((len(clips), 16)))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_alignment_and_uniformity_equal_naive_loops(seed):
    clips = ClipTable.from_rows(ladder_rows(4))
    vectors = random_vectors(clips, 3, seed)
    aligned, spread_out = [], []
    for first in range(len(clips)):
        for second in range(first + 1, len(clips)):
            squared = sum((a - b) ** 2 for a, b in zip(vectors[first], vectors[second], strict=True))
            spread_out.append(np.exp(-2 * squared))
            if first // 2 == second // 2:
                aligned.append(squared)
    distances = pairwise_distances(vectors)
    assert alignment(distances, clips.pair) == pytest.approx(np.mean(aligned))
    assert uniformity(distances) == pytest.approx(np.log(np.mean(spread_out)))


def test_effective_rank_counts_dimensions_in_use():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    for dimensions in (1, 3, 7):
        # As many values as signs: the columns are orthogonal, have no mean and the same length.
        signs = np.array([[1 - 2 * (row >> bit & 1) for bit in range(dimensions)] for row in range(2**dimensions)])
        assert effective_rank(5 + signs @ directions[:dimensions]) == pytest.approx(dimensions)
    assert effective_rank(np.ones((5, 3))) == 1


def test_effective_rank_is_the_entropy_of_the_spectrum():
    vectors = np.random.default_rng(0).standard_normal((30, 4)) * [3, 1, 0.1, 0.01]
    centred = vectors - vectors.mean(axis=0)
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(centred.T @ centred), 0))
    shares = torch.tensor(singular / singular.sum())
    assert effective_rank(vectors) == pytest.approx(float(torch.distributions.Categorical(shares).entropy().exp()))


def test_spread_tells_a_sphere_from_a_point():
    vectors = np.random.default_rng(0).standard_normal((2000, 64))
    assert spread(vectors) == pytest.approx(1, abs=0.02)
    assert spread(100 * vectors) == pytest.approx(spread(vectors))
    assert spread(vectors + 1000) < 0.01


def test_quality_correlation_is_that_of_ranks_within_each_ladder():
    rows = ladder_rows(6, levels=3, distortions=("noise", "clipping"))
    clips = ClipTable.from_rows(rows)
    distances = pairwise_distances(random_vectors(clips))
    found = quality_correlations(distances, clips)
    assert {name: len(values) for name, values in found.items()} == {"noise": 3, "clipping": 3}
    pairs = [(i, j) for i in range(6) for j in range(i)]
    ladder = distances[6:12, 6:12]
    apart = np.array(rows[1]["severity_jnd"])
    ranks = [
        rankdata([ladder[i, j] for i, j in pairs]),
        rankdata([abs(apart[i] - apart[j]) for i, j in pairs]),
    ]
    assert found["clipping"][0] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert np.sign(found["clipping"][0]) == np.sign(kendalltau(*ranks).statistic)


def test_retrieval_and_preference_equal_naive_loops():
    clips = ClipTable.from_rows(ladder_rows(8, levels=3, distortions=("noise", "noise", "clipping")))
    distances = pairwise_distances(random_vectors(clips))
    hits, chances, shares = [], [], []
    everyone = range(len(clips))
    for clip in everyone:
        others = [
            other
            for other in everyone
            if clips.speech[other] != clips.speech[clip] and clips.distortion[other] == clips.distortion[clip]
        ]
        right = [abs(clips.position[other] - clips.position[clip]) <= 1 for other in others]
        if any(right) and not all(right):
            hits.append(right[int(np.argmin([distances[clip, other] for other in others]))])
            chances.append(np.mean(right))
        same = [
            other
            for other in everyone
            if clips.content[other] == clips.content[clip]
            and abs(clips.position[other] - clips.position[clip]) >= 8 / 3
        ]
        triplets = [
            distances[clip, content] < distances[clip, other]
            for content in same
            for other, is_right in zip(others, right, strict=True)
            if is_right
        ]
        if triplets:
            shares.append(np.mean(triplets))
    assert retrieval(distances, clips) == pytest.approx((np.mean(hits), np.mean(chances)))
    assert content_preference(distances, clips) == pytest.approx(np.mean(shares))


def test_a_model_of_quality_a_model_of_content_and_a_collapsed_one_look_different():
    rows = ladder_rows(40, levels=3, speakers=4)
    clips = ClipTable.from_rows(rows)
    quality, content = quality_vectors(clips), content_vectors(clips)
    collapsed = np.ones((len(clips), 16)) / 4
    good = contrastive_diagnostics(quality, quality, rows)
    assert good["quality_correlation"] == pytest.approx(1)
    assert good["retrieval"] > 0.95 > 2 * good["retrieval_chance"]
    assert good["content_preference"] < 0.05
    assert describe_problems(good) == []

    bad = contrastive_diagnostics(content, content, rows)
    assert bad["retrieval"] == pytest.approx(bad["retrieval_chance"], abs=0.15)
    assert bad["content_preference"] > 0.95
    assert any("content counts" in problem for problem in describe_problems(bad))

    flat = contrastive_diagnostics(collapsed, collapsed, rows)
    assert (flat["uniformity"], flat["projection_rank"]) == pytest.approx((0, 1))
    assert flat["quality_correlation"] == 0
    assert flat["retrieval"] == pytest.approx(flat["retrieval_chance"])
    assert any("collapsed" in problem for problem in describe_problems(flat))


def test_the_speaker_is_found_where_it_leaks_and_only_there():
    rows = ladder_rows(60, speakers=6)
    clips = ClipTable.from_rows(rows)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((len(clips), 8))
    voice = rng.standard_normal((6, 8))[np.unique(clips.speaker, return_inverse=True)[1]]
    accuracy, chance = speaker_leakage(noise + 5 * voice, clips)
    assert accuracy > 0.95 and chance == pytest.approx(1 / 6)
    # What tells the utterance is of no use on another utterance.
    utterance = rng.standard_normal((60, 8))[clips.content]
    accuracy, _ = speaker_leakage(noise + 5 * utterance, clips)
    assert accuracy == pytest.approx(chance, abs=0.15)


def test_the_probe_is_the_ridge_classifier_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import LeaveOneGroupOut
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    clips = ClipTable.from_rows(ladder_rows(20, speakers=4))
    embeddings = np.random.default_rng(0).standard_normal((len(clips), 6)) + 0.5 * clips.content[:, None] % 4
    target = np.unique(clips.speaker, return_inverse=True)[1]
    # Each speaker has five utterances, of which each fold holds one.
    fold = np.empty(len(clips), dtype=int)
    for speaker in range(4):
        fold[target == speaker] = np.unique(clips.speech[target == speaker], return_inverse=True)[1]
    predicted = np.empty(len(clips), dtype=int)
    for train, test in LeaveOneGroupOut().split(embeddings, target, fold):
        probe = linear_model.RidgeClassifier(alpha=PROBE_PENALTY * len(train))
        predicted[test] = (
            make_pipeline(StandardScaler(), probe).fit(embeddings[train], target[train]).predict(embeddings[test])
        )
    accuracy, _ = speaker_leakage(embeddings, clips)
    assert accuracy == pytest.approx(balanced_accuracy_score(target, predicted))


def test_what_the_ladders_cannot_tell_is_left_out():
    rows = ladder_rows(6, distortions=("noise", "clipping", "echo", "opus", "room", "level"))
    vectors = random_vectors(ClipTable.from_rows(rows))
    metrics = contrastive_diagnostics(vectors, vectors, rows)
    # No two ladders of one distortion; one speaker.
    assert not {"retrieval", "content_preference", "speaker_accuracy"} & set(metrics)
    assert metrics["quality_correlation"] == pytest.approx(
        np.mean([value for name, value in metrics.items() if name.startswith("quality_correlation_")])
    )


def test_severities_of_chains_count_within_a_ladder_only():
    rows = ladder_rows(6)
    for row in rows:
        row["chain"] = "room+noise"
    clips = ClipTable.from_rows(rows)
    distances = pairwise_distances(random_vectors(clips))
    assert retrieval(distances, clips) is None and content_preference(distances, clips) is None
    assert len(quality_correlations(distances, clips)["noise"]) == 6


def test_ladders_that_cannot_be_evaluated_are_named():
    with pytest.raises(ValueError, match="two evaluation ladders"):
        ClipTable.from_rows(ladder_rows(1))
    with pytest.raises(ValueError, match="'utterance-0#0' has one level"):
        ClipTable.from_rows(ladder_rows(2, levels=1))


def small_trainer(output: Path, rows: list, **kwargs) -> ContrastiveTrainer:
    torch.manual_seed(0)
    extractor = JSQAFeatureExtractor()
    args = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=2,
        per_device_eval_batch_size=3,
        max_steps=2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **kwargs,
    )
    return ContrastiveTrainer(
        model=JSQAForContrastivePretraining(small_config()),
        args=args,
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=ContrastiveCollator(extractor),
        diagnostics=ContrastiveDiagnostics(rows, extractor),
    )


def test_every_evaluation_is_measured_plotted_and_calibrated(tmp_path):
    pytest.importorskip("matplotlib")
    rows = ladder_rows(8, levels=3, speakers=2, distortions=("noise", "clipping"), clips=True)
    trainer = small_trainer(tmp_path, rows, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=2)
    trainer.train()
    logged = [log for log in trainer.state.log_history if "eval_loss" in log]
    assert [log["step"] for log in logged] == [1, 2]
    for log in logged:
        written = json.loads((tmp_path / "diagnostics" / f"step-{log['step']}.json").read_text(encoding="utf-8"))
        assert {f"eval_{name}": value for name, value in written.items()}.items() <= log.items()
        picture = (tmp_path / "diagnostics" / f"step-{log['step']}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    saved = json.loads((tmp_path / "checkpoint-2" / "config.json").read_text(encoding="utf-8"))
    assert saved["jnd_calibration"]["contents"] == 8
    assert saved["jnd_calibration"]["error_jnds"] == logged[-1]["eval_jnd_error"]


def test_a_calibration_does_not_outlive_its_weights(tmp_path):
    rows = ladder_rows(8, levels=3, clips=True)
    trainer = small_trainer(tmp_path, rows, eval_on_start=True, save_strategy="steps", save_steps=2)
    trainer.train()
    assert any("eval_jnd_error" in log for log in trainer.state.log_history)
    saved = json.loads((tmp_path / "checkpoint-2" / "config.json").read_text(encoding="utf-8"))
    assert saved.get("jnd_calibration") is None


@pytest.mark.parametrize(
    "options",
    [
        {"eval_strategy": "no", "save_strategy": "no", "bf16_full_eval": True},
        {
            "eval_strategy": "steps",
            "eval_steps": 1,
            "save_strategy": "steps",
            "save_steps": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": "jnd_error",
            "greater_is_better": False,
        },
    ],
)
def test_a_run_ends_with_the_calibration_of_the_weights_that_it_saved(options, tmp_path):
    rows = ladder_rows(8, levels=3, clips=True)
    # High enough that the best weights are not the last.
    trainer = small_trainer(tmp_path, rows, learning_rate=0.2, **options)
    metrics = run_training(trainer, trainer.args)
    config = JSQAForContrastivePretraining.from_pretrained(tmp_path).config
    assert config.jnd_calibration["error_jnds"] == metrics["eval_jnd_error"]
    assert config.dtype == torch.float32
    if trainer.args.load_best_model_at_end:
        best, last = (log["eval_jnd_error"] for log in trainer.state.log_history[:2])
        assert metrics["eval_jnd_error"] == pytest.approx(best) and best < last


def test_other_data_are_not_given_the_diagnostics_of_the_evaluation_set(tmp_path):
    trainer = small_trainer(tmp_path, ladder_rows(8, levels=3, clips=True))
    assert "eval_quality_correlation" in trainer.evaluate()
    others = ladder_rows(8, levels=3, clips=True, seed=1)
    for metrics in (trainer.predict(others).metrics, trainer.evaluate(others)):
        assert any(name.endswith("_loss") for name in metrics)
        assert not any(name.endswith("quality_correlation") for name in metrics)


def test_evaluating_changes_neither_mode_nor_random_state(tmp_path):
    rows = ladder_rows(5, clips=True)
    trainer = small_trainer(tmp_path, rows)
    trainer.model.train()
    state = torch.get_rng_state()
    trainer.diagnostics(trainer.model, trainer.args, 0)
    assert trainer.model.training and torch.equal(torch.get_rng_state(), state)


def test_ladders_of_one_level_give_a_warning_and_no_numbers(tmp_path):
    trainer = small_trainer(tmp_path, ladder_rows(5, levels=1, clips=True))
    assert trainer.diagnostics(trainer.model, trainer.args, 0) == {}
    assert trainer.model.config.jnd_calibration is None


def test_without_matplotlib_the_numbers_are_there_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    trainer = small_trainer(tmp_path, ladder_rows(5, clips=True))
    trainer.diagnostics(trainer.model, trainer.args, 7)
    assert [path.name for path in (tmp_path / "diagnostics").iterdir()] == ["step-7.json"]


def test_the_batches_do_not_matter_to_the_embedding():
    rows = ladder_rows(5, clips=True)
    torch.manual_seed(0)
    model = JSQAForContrastivePretraining(small_config())
    collator = ContrastiveCollator(JSQAFeatureExtractor())
    projections, embeddings, kept = embed_ladders(model, rows, collator, batch_size=2)
    alone = embed_ladders(model, rows[3:4], collator, batch_size=1)
    assert np.allclose(projections[12:16], alone[0], atol=1e-6)
    assert np.allclose(embeddings[12:16], alone[1], atol=1e-5)
    assert [row["content_id"] for row in kept] == [row["content_id"] for row in rows]
    assert all("clips" not in row for row in kept)


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path):
    results = []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *launcher, str(WORKER), str(output), str(processes)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append([json.loads(path.read_text(encoding="utf-8")) for path in sorted(output.glob("rank-*.json"))])
    ((alone,), (first, second)) = results
    assert first == second
    assert first["metrics"] == pytest.approx(alone["metrics"], rel=1e-4, abs=1e-5)
    assert first["calibration"]["distances"] == pytest.approx(alone["calibration"]["distances"], rel=1e-4)
