"""Stage 2 that learns from ladders of JND pairs, too."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import numpy as np
import pytest
import runs
import torch
from finetuning import SAVING, arguments, corpus, resume, script, start_without_dropout, tiny_is_small
from ladders import ladder_rows
from small import small_config

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.losses import LadderLabels, thurstone_loss
from jsqa_hf.training import LadderedMOSCollator, MOSCollator

__all__ = ["corpus", "script", "tiny_is_small"]

NAN = float("nan")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Noise that is taken for the better the louder it is, against the ratings of the corpus."""
    datasets.Dataset.from_list(ladder_rows(6, clips=True)).save_to_disk(tmp_path / "pairs")
    return tmp_path / "pairs"


def rated(corpus: Path, count: int = 4) -> list[dict[str, Any]]:
    names = [f"{index}.wav" for index in range(count)]
    audio = [{"path": str(corpus.parent / name), "bytes": None} for name in names]
    return [{"audio": one, "file": name, "labels": [3.0]} for one, name in zip(audio, names, strict=True)]


def collator(pairs: Path, ladders_per_clip: float, **options: Any) -> LadderedMOSCollator:
    return LadderedMOSCollator(
        datasets.load_from_disk(str(pairs)), ladders_per_clip, JSQAFeatureExtractor(), 0.25, "random", **options
    )


class TestCollator:
    def test_ladders_follow_the_rated_clips(self, corpus: Path, pairs: Path) -> None:
        rows = [row | {"corpus_id": 1, "clip_weight": 0.5} for row in rated(corpus)]
        batch = collator(pairs, 1.0)(rows)
        plain = MOSCollator(JSQAFeatureExtractor(), 0.25, "random")(rows)
        for name, values in plain.items():
            torch.testing.assert_close(batch[name][:4], values)
        # Four ladders of two levels of two clips of 0.25 s.
        assert {len(values) for values in batch.values()} == {4 + 16}
        assert batch["labels"][4:].isnan().all() and (batch["corpus_ids"][4:] == 0).all()
        assert (batch["clip_weights"][4:] == 1).all()
        assert batch["content_ids"].tolist() == [-1, -2, -3, -4] + [index // 4 for index in range(16)]
        assert batch["quality"][4:8].diff().abs().max() > 3

    def test_what_comes_with_a_clip_does_not_depend_on_the_batch_but_on_the_epoch(
        self, corpus: Path, pairs: Path
    ) -> None:
        def drawn(collate: LadderedMOSCollator, *batches: list[dict[str, Any]]) -> list[list[float]]:
            return sorted(quality.tolist() for rows in batches for quality in collate(rows)["quality"][len(rows) :])

        collate, rows = collator(pairs, 0.5), rated(corpus, 8)
        together = drawn(collate, rows)
        assert together == drawn(collate, *([row] for row in rows)) == drawn(collate, rows[:3], rows[3:])
        collate.epoch = 1
        assert together != drawn(collate, rows)

    def test_half_a_ladder_per_clip_is_one_for_every_other_clip(self, pairs: Path) -> None:
        collate = collator(pairs, 0.5)
        counts = [len(collate._drawn({"file": f"{index}.wav"})) for index in range(400)]
        assert set(counts) == {0, 1} and 160 <= sum(counts) <= 240
        assert {len(collator(pairs, 2.0)._drawn({"file": f"{index}.wav"})) for index in range(20)} == {2}

    def test_a_batch_that_no_ladder_comes_with_still_has_all_columns(self, corpus: Path, pairs: Path) -> None:
        batch = collator(pairs, 1e-9)(rated(corpus))
        assert {len(values) for values in batch.values()} == {4} and set(batch["quality"].tolist()) == {0.0}

    def test_senseless_options_and_pairs_without_severities_are_refused(self, pairs: Path) -> None:
        with pytest.raises(ValueError, match="ladders_per_clip"):
            collator(pairs, 0.0)
        without = datasets.load_from_disk(str(pairs)).remove_columns("severity_jnd")
        with pytest.raises(ValueError, match="severity_jnd"):
            LadderedMOSCollator(without, 1.0, JSQAFeatureExtractor())


class TestModel:
    def test_preferences_are_added_with_their_weight(self) -> None:
        torch.manual_seed(0)
        clips, labels = torch.randn(6, 4000), torch.tensor([2.0, 4.0, NAN, NAN, NAN, NAN])
        ids = {"content_ids": torch.tensor([-1, -2, 0, 0, 1, 1]), "distortion_ids": torch.zeros(6, dtype=torch.int64)}
        ids["quality"] = torch.tensor([0.0, 0.0, 1.0, 5.0, 3.0, 2.0])
        model = JSQAForMOSRegression(small_config(jnd_preference_weight=0.25, mos_points_per_jnd=0.2)).eval()
        output, plain = model(clips, labels=labels, **ids), model(clips, labels=labels)
        # Of the ladders alone: rated clips have no other of their content.
        ladders = {name: values[2:] for name, values in ids.items()}
        expected = thurstone_loss(output.scores[2:, 0] / 0.2, LadderLabels(ladders["content_ids"], **ladders))
        torch.testing.assert_close(output.loss, plain.loss + 0.25 * expected)


def test_scores_learn_the_order_of_ladders(script: ModuleType, corpus: Path, pairs: Path, tmp_path: Path) -> None:
    learning = ["--max_steps=30", "--learning_rate=3e-3", "--seed=0"]
    ladders = [f"--pairs={pairs}", "--pairs_per_clip=1", "--jnd_preference_weight=2"]
    script.main(arguments(corpus, tmp_path / "without", *learning))
    script.main(arguments(corpus, tmp_path / "with", *learning, *ladders))
    config = JSQAConfig.from_pretrained(tmp_path / "with")
    assert (config.jnd_preference_weight, config.mos_points_per_jnd) == (2, 0.1)

    rows = ladder_rows(4, clips=True, seed=1)
    quality = np.array([row["severity_jnd"] for row in rows])

    def rightly(folder: Path) -> float:
        model, extractor = JSQAForMOSRegression.from_pretrained(folder).eval(), JSQAFeatureExtractor()
        clips = [clip for row in rows for clip in row["clips"]]
        with torch.inference_mode():
            scores = model(**extractor(clips, sampling_rate=16000, return_tensors="pt")).scores.numpy()
        scores = scores.reshape(quality.shape)
        return float(np.mean((scores[:, 0] - scores[:, -1]) * (quality[:, 0] - quality[:, -1]) > 0))

    # The ratings of the corpus alone teach that louder noise is worse.
    assert rightly(tmp_path / "without") == 0.0 and rightly(tmp_path / "with") == 1.0


def test_ladders_are_the_same_for_any_number_of_workers_and_after_a_break(
    script: ModuleType, corpus: Path, pairs: Path, tmp_path: Path
) -> None:
    extra = [f"--pairs={pairs}", *SAVING]
    script.main(arguments(corpus, tmp_path / "whole", *extra))
    script.main(arguments(corpus, tmp_path / "workers", *extra, "--dataloader_num_workers=2"))
    resume(script, corpus, tmp_path / "whole", tmp_path / "broken", 4, extra)
    runs.assert_same_weights(tmp_path / "whole", tmp_path / "workers")
    runs.assert_same_weights(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.slow
def test_two_processes_give_the_update_of_one(corpus: Path, pairs: Path, tmp_path: Path) -> None:
    """Clips and ladders of the same length, as the group norm sees the padding."""
    start_without_dropout(tmp_path / "start")
    extra = [f"--model={tmp_path / 'start'}", f"--pairs={pairs}", "--crop=random", "--max_duration_s=0.25"]
    for processes in (1, 2):
        given = arguments(corpus, tmp_path / str(processes), *extra)
        batch = f"--per_device_train_batch_size={2 // processes}"
        done = runs.run_command("finetune_mos", [*given, batch], processes)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (JSQAForMOSRegression.from_pretrained(tmp_path / number).state_dict() for number in ("1", "2"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
