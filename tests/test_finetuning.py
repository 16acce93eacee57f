"""Stage 2 as a script runs it: scales, weights, crops, schedules, learning rates."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from small import small_config

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.training.mos import MOSCollator, depth, padding_waste

RATE = 16000
SCRIPT = Path(__file__).parents[1] / "training_scripts" / "finetune_mos.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finetune_mos", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def tiny_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JSQAConfig, "tiny", classmethod(lambda cls, **kwargs: small_config(**kwargs)))


def write_corpus(folder: Path, scale: tuple[float, float] = (1.0, 5.0), clips: int = 8) -> Path:
    """Noise, the better rated the softer it is; clips of 0.5 to 1.2 s."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with open(folder / "ratings.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "mos", "n_votes", "split"])
        for index in range(clips):
            soundfile.write(
                folder / f"{index}.wav", rng.normal(0, 0.1 * (clips - index) / clips, 8000 + 1600 * index), RATE
            )
            rating = scale[0] + (scale[1] - scale[0]) * index / (clips - 1)
            writer.writerow([f"{index}.wav", f"{rating:.3f}", 5 + index, "test" if index % 4 == 3 else "train"])
    return folder / "ratings.csv"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


def arguments(corpus: Path, output: Path, *extra: str) -> list[str]:
    return [
        f"--ratings={corpus}",
        "--split=train",
        "--eval_split=test",
        "--max_steps=4",
        "--per_device_train_batch_size=2",
        f"--output_dir={output}",
        "--learning_rate=1e-3",
        "--save_strategy=no",
        "--use_cpu=true",
        "--report_to=none",
        "--disable_tqdm=true",
        "--dataloader_pin_memory=false",
        *extra,
    ]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return JSQAForMOSRegression.from_pretrained(folder).state_dict()


def test_ratings_on_another_scale_are_mapped_to_that_of_the_model(script: ModuleType, tmp_path: Path) -> None:
    paths = [write_corpus(tmp_path / "five"), write_corpus(tmp_path / "hundred", (0.0, 100.0))]
    args = script.FinetuningArguments(ratings=[str(path) for path in paths])
    rows = script.load_ratings(args.ratings, None, args, [1, 5, 0, 100])
    labels = np.array(rows["labels"][:])[:, 0]
    np.testing.assert_allclose(labels[:8], labels[8:], atol=0.01)
    assert rows["corpus_id"][:] == [0] * 8 + [1] * 8
    with pytest.raises(ValueError, match="1 scales, but there are 2 sources"):
        script.load_ratings(args.ratings, None, args, [1, 5])
    with pytest.raises(ValueError, match="outside the scale 1 to 5"):
        script.load_ratings(args.ratings, None, args)


def test_offsets_of_corpora_are_learned_and_saved(script: ModuleType, tmp_path: Path) -> None:
    paths = [write_corpus(tmp_path / "five"), write_corpus(tmp_path / "hundred", (0.0, 100.0))]
    extra = ["--ratings", *map(str, paths), "--score_ranges", "1", "5", "0", "100", "--corpus_offsets=true"]
    script.main([*arguments(paths[0], tmp_path / "run")[1:], *extra])
    model = JSQAForMOSRegression.from_pretrained(tmp_path / "run")
    assert model.config.mos_corpora == [str(path) for path in paths]
    assert model.corpus_offsets is not None and float(model.corpus_offsets.detach().abs().max()) > 0


def test_head_first_leaves_the_rest_as_it_is_and_then_trains_all(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    for name, steps in (("frozen", 4), ("thawed", 2), ("never", 0)):
        script.main(arguments(corpus, tmp_path / name, f"--head_only_steps={steps}", "--weight_decay=0.1"))
    torch.manual_seed(42)
    initial = JSQAForMOSRegression(small_config()).state_dict()
    frozen, thawed, never = (weights(tmp_path / name) for name in ("frozen", "thawed", "never"))
    base = [name for name in initial if name.startswith("jsqa.")]
    assert all(torch.equal(frozen[name], initial[name]) for name in base)
    assert any(not torch.equal(frozen[name], initial[name]) for name in initial)
    assert any(not torch.equal(thawed[name], initial[name]) for name in base)
    assert any(not torch.equal(thawed[name], never[name]) for name in base)


def test_head_first_resumes_in_its_phase(script: ModuleType, corpus: Path, tmp_path: Path) -> None:
    saving = ["--head_only_steps=3", "--save_strategy=steps", "--save_steps=1", "--lr_scheduler_type=constant"]
    script.main(arguments(corpus, tmp_path / "whole", *saving))
    (tmp_path / "broken").mkdir()
    (tmp_path / "whole" / "checkpoint-2").rename(tmp_path / "broken" / "checkpoint-2")
    script.main(arguments(corpus, tmp_path / "broken", *saving))
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_random_crops_are_the_same_for_any_number_of_workers_and_after_a_break(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    cropping = ["--crop=random", "--max_duration_s=0.3", "--save_strategy=steps", "--save_steps=1"]
    cropping += ["--lr_scheduler_type=constant", "--max_steps=8"]
    script.main(arguments(corpus, tmp_path / "whole", *cropping))
    script.main(arguments(corpus, tmp_path / "workers", *cropping, "--dataloader_num_workers=2"))
    (tmp_path / "broken").mkdir()
    # In the second of three epochs of three steps.
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "broken" / "checkpoint-4")
    script.main(arguments(corpus, tmp_path / "broken", *cropping))
    whole, workers, broken = (weights(tmp_path / name) for name in ("whole", "workers", "broken"))
    assert all(torch.equal(whole[name], workers[name]) for name in whole)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    script.main(arguments(corpus, tmp_path / "start", *cropping[1:]))
    assert any(not torch.equal(whole[name], value) for name, value in weights(tmp_path / "start").items())


class TestCollator:
    def rows(self, corpus: Path) -> list[dict[str, Any]]:
        paths = [str(corpus.parent / f"{index}.wav") for index in range(3)]
        return [{"audio": {"path": path, "bytes": None}, "file": path, "labels": [3.0]} for path in paths]

    def test_crops_differ_between_epochs_files_and_seeds_and_lie_within_the_clip(self, corpus: Path) -> None:
        starts = set()
        for seed, epoch in ((0, 0), (0, 1), (1, 0)):
            collator = MOSCollator(JSQAFeatureExtractor(), 0.25, "random", seed=seed)
            collator.epoch = epoch
            for row in self.rows(corpus):
                start = collator._start(row, 4000)
                assert 0 <= start <= 4000 and start == collator._start(row, 4000)
                starts.add(start)
            assert collator(self.rows(corpus))["input_values"].shape == (3, 4000)
        assert len(starts) == 9

    def test_clips_stay_whole_without_a_limit(self, corpus: Path) -> None:
        batch = MOSCollator(JSQAFeatureExtractor(), None)(self.rows(corpus))
        assert batch["attention_mask"].sum(dim=1).tolist() == [8000, 9600, 11200]

    def test_votes_and_corpora_become_tensors(self, corpus: Path) -> None:
        rows = [
            row | {"n_votes": votes, "corpus_id": 1}
            for row, votes in zip(self.rows(corpus), (4, 12, None), strict=True)
        ]
        batch = MOSCollator(JSQAFeatureExtractor(), votes_of_half_weight=4.0)(rows)
        assert batch["label_weights"].tolist() == pytest.approx([0.5, 0.75, 1.0])
        assert batch["corpus_ids"].tolist() == [1, 1, 1]

    @pytest.mark.parametrize("options", [{"crop": "end"}, {"max_duration_s": 0.0}, {"votes_of_half_weight": -1.0}])
    def test_senseless_options_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(options))):
            MOSCollator(JSQAFeatureExtractor(), **options)


def test_learning_rates_fall_from_the_head_to_the_front_end(
    script: ModuleType, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {}
    original = script.MOSTrainer.create_optimizer

    def create(self: Any, model: Any = None) -> Any:
        kept["model"], kept["optimizer"] = self.model, original(self, model)
        return kept["optimizer"]

    monkeypatch.setattr(script.MOSTrainer, "create_optimizer", create)
    script.main(arguments(corpus, tmp_path / "run", "--layer_decay=0.5", "--weight_decay=0.1"))
    names = {id(parameter): name for name, parameter in kept["model"].named_parameters()}
    rates = {}
    for group in kept["optimizer"].param_groups:
        for parameter in group["params"]:
            name = names.pop(id(parameter))
            rates[name] = group["initial_lr"]
            assert group["weight_decay"] == (0.0 if name.endswith("bias") or "norm" in name else 0.1), name
    assert not names
    assert rates["head.output.weight"] == rates["jsqa.layer_weights"] == 1e-3
    assert rates["jsqa.hubert.encoder.layers.1.attention.q_proj.weight"] == pytest.approx(0.5e-3)
    assert rates["jsqa.hubert.encoder.layers.0.attention.q_proj.weight"] == pytest.approx(0.25e-3)
    assert rates["jsqa.hubert.feature_extractor.conv_layers.0.conv.weight"] == pytest.approx(0.125e-3)
    assert rates["jsqa.level_projection.weight"] == pytest.approx(0.125e-3)


def test_depth_counts_from_the_head_down() -> None:
    assert [depth(f"jsqa.hubert.encoder.layers.{index}.x", 12) for index in (11, 0)] == [1, 12]
    assert (
        depth("jsqa.hubert.encoder.pos_conv_embed.conv.bias", 12) == depth("jsqa.hubert.masked_spec_embed", 12) == 13
    )
    assert depth("head.dense.bias", 12) == depth("jsqa.pooling.attention.0.weight", 12) == 0


def test_early_stopping_keeps_the_best_model(script: ModuleType, corpus: Path, tmp_path: Path) -> None:
    stopping = ["--early_stopping_patience=1", "--eval_strategy=steps", "--eval_steps=1", "--save_steps=1"]
    # So large a learning rate that things get worse soon.
    extra = [*stopping, "--save_strategy=steps", "--learning_rate=0.5", "--max_steps=50"]
    metrics = script.main(arguments(corpus, tmp_path / "run", *extra))
    assert metrics["train_steps"] < 50
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    evaluated = [log["eval_rmse"] for log in state["log_history"] if "eval_rmse" in log]
    assert float(metrics["eval_rmse"]) == pytest.approx(min(map(float, evaluated)), rel=1e-4)
    with pytest.raises(ValueError, match="early stopping needs"):
        script.main(arguments(corpus, tmp_path / "other", "--early_stopping_patience=1"))


def test_grouping_by_length_wastes_less_on_padding(script: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.uniform(1, 30, size=200).tolist()
    assert padding_waste(lengths, 8) > 0.3
    assert padding_waste(sorted(lengths), 8) < 0.05
    corpus = write_corpus(tmp_path / "corpus")
    script.main(arguments(corpus, tmp_path / "run", "--train_sampling_strategy=group_by_length"))
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_the_objective_of_the_arguments_is_the_one_of_the_model(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    extra = ["--mos_loss=l1", "--mos_agreement_loss=rank", "--mos_agreement_weight=0.2", "--votes_of_half_weight=4"]
    script.main(arguments(corpus, tmp_path / "run", *extra))
    config = JSQAConfig.from_pretrained(tmp_path / "run")
    assert (config.mos_loss, config.mos_agreement_loss, config.mos_agreement_weight) == ("l1", "rank", 0.2)
