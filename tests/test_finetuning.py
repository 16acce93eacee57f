"""Stage 2 as a script runs it: scales, weights, crops, schedules, learning rates."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import evaluate_mos
import numpy as np
import pytest
import runs
import soundfile
import torch
from finetuning import (
    RATE,
    SAVING,
    arguments,
    corpus,
    resume,
    script,
    start_without_dropout,
    tiny_is_small,
    write_corpus,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from small import small_config

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression
from jsqa_hf.evaluation_data import load_listening_test
from jsqa_hf.training import (
    RunArguments,
    corpus_names,
    load_rated_clips,
    parse_arguments,
    run_script,
    with_vote_weights,
)
from jsqa_hf.training.lengths import BatchesByLength, padding_waste, with_lengths
from jsqa_hf.training.mos import depth
from jsqa_hf.training.mos_collators import MOSCollator

__all__ = ["corpus", "script", "tiny_is_small"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return JSQAForMOSRegression.from_pretrained(folder).state_dict()


NO_DROPOUT = ["--mos_dropout=0"]


def test_ratings_on_another_scale_are_mapped_to_that_of_the_model(script: ModuleType, tmp_path: Path) -> None:
    paths = [write_corpus(tmp_path / "five"), write_corpus(tmp_path / "hundred", (0.0, 100.0))]
    args = script.FinetuningArguments(ratings=[str(path) for path in paths])
    rows = load_rated_clips(args.ratings, args.outputs, args.score_range, score_ranges=[1, 5, 0, 100])
    in_pairs: Any = [(1, 5), (0, 100)]
    same = load_rated_clips(args.ratings, args.outputs, args.score_range, score_ranges=in_pairs)
    assert same["labels"][:] == rows["labels"][:]
    labels = np.array(rows["labels"][:])[:, 0]
    np.testing.assert_allclose(labels[:8], labels[8:], atol=0.01)
    assert rows["corpus_id"][:] == [0] * 8 + [1] * 8
    for ranges in ([1, 5], [1, 5, 100], [1, 5, 100, 0], [1, 5, 3, 3], [1, 5, 0, float("inf")]):
        with pytest.raises(
            ValueError, match=r"--score_ranges .* for each of the sources of ratings \(here 2\), not 1 5"
        ):
            load_rated_clips(args.ratings, args.outputs, args.score_range, score_ranges=ranges)
    with pytest.raises(ValueError, match="outside the scale 1 to 5"):
        load_rated_clips(args.ratings, args.outputs, args.score_range)


def test_ratings_to_evaluate_on_have_their_scale_of_training_or_one_of_their_own(
    script: ModuleType, tmp_path: Path
) -> None:
    five, hundred = (write_corpus(tmp_path / f"to {high}", (low, high)) for low, high in ((1, 5), (0, 100)))

    def evaluated(*given: str) -> list[float]:
        args, training_args = parse_arguments(
            (script.FinetuningArguments, RunArguments),
            ["--split=train", "--eval_split=test", *given, "--use_cpu=true"],
        )
        return np.array(script.build_datasets(args, training_args)[1]["labels"][:])[:, 0]

    words = [f"--output_dir={tmp_path}", f"--ratings={hundred}"]
    expected = evaluated(*words, "--score_ranges", "0", "100")
    np.testing.assert_allclose(expected, [2.714, 5], atol=0.01)
    again = f"--eval_ratings={hundred.parent / '..' / hundred.parent.name / hundred.name}"
    np.testing.assert_array_equal(evaluated(*words, "--score_ranges", "0", "100", again), expected)
    other = [f"--output_dir={tmp_path}", f"--ratings={five}", f"--eval_ratings={hundred}"]
    np.testing.assert_array_equal(evaluated(*other, "--eval_score_ranges", "0", "100"), expected)
    with pytest.raises(ValueError, match="outside the scale 1 to 5; .* --score_ranges or --eval_score_ranges of"):
        evaluated(*other)


def test_durations_in_words_are_left_to_the_headers_of_the_files(tmp_path: Path) -> None:
    paths = [write_corpus(tmp_path / "numbers"), write_corpus(tmp_path / "words")]
    for path, duration in zip(paths, ("2.0", "2.0 s"), strict=True):
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([f"{header},duration_s", *(f"{line},{duration}" for line in lines)]))
    rows = load_rated_clips([str(path) for path in paths], ["mos"], (1, 5))
    assert rows["duration_s"][:] == [2.0] * 8 + [None] * 8
    lengths = with_lengths(rows, None)["length"]
    assert lengths[:8] == [20] * 8 and set(lengths[8:]) != {20}


def test_every_listening_test_can_have_splits_of_its_own(tmp_path: Path) -> None:
    paths = [str(write_corpus(tmp_path / name)) for name in ("first", "second")]
    for splits, rows in ((["train"], 12), (["train", "test"], 8), (["train", "all"], 14), (["train,test"], 16)):
        assert len(load_rated_clips(paths, ["mos"], (1, 5), splits=splits, to_train_on=True)) == rows
    with pytest.raises(ValueError, match="--split or --eval_split has 3 values, but there are 2 sources"):
        load_rated_clips(paths, ["mos"], (1, 5), splits=["train"] * 3)


def test_clips_for_testing_are_trained_on_only_if_named(script: ModuleType, corpus: Path, tmp_path: Path) -> None:
    given = [word for word in arguments(corpus, tmp_path / "run") if not word.startswith("--split")]
    with pytest.raises(ValueError, match=r"ratings\.csv has splits for testing \(test\): name those to train on"):
        script.main(given)
    # The same files by another path.
    (tmp_path / "link").symlink_to(corpus.parent)
    given = [*given, "--split=all", f"--eval_ratings={tmp_path / 'link' / 'ratings.csv'}"]
    with pytest.raises(ValueError, match=r"2 of 2 clips to evaluate on are trained on, too, such as .*3\.wav"):
        script.main(given)


def test_ratings_in_a_column_of_ones_own_are_on_the_scale(script: ModuleType, corpus: Path) -> None:
    corpus.write_text("file,mos,naturalness\n0.wav,3,73\n")
    args = script.FinetuningArguments(ratings=[str(corpus)], outputs=["mos", "naturalness"])
    with pytest.raises(
        ValueError, match=r"naturalness of 0\.wav is 73, outside the scale 1 to 5; correct them, or give the scale"
    ):
        load_rated_clips(args.ratings, args.outputs, args.score_range)
    with pytest.raises(ValueError, match=r"naturalness of 0\.wav is 73, outside"):
        load_listening_test(str(corpus), ["mos", "naturalness"], (1, 5))


def test_errors_of_labels_name_the_table_among_several(corpus: Path) -> None:
    other = corpus.with_name("other.csv")
    other.write_text("file,mos,warmth\n1.wav,3,73\n")
    sources = [str(other), str(corpus)]
    with pytest.raises(
        ValueError, match=r"other\.csv: 1 of 1 rows .* warmth of 1\.wav is 73, outside the scale 1 to 5"
    ):
        load_rated_clips(sources, ["mos", "warmth"], (1, 5))
    with pytest.raises(ValueError, match=r"/ratings\.csv: the labels mos, warmth can't be made"):
        load_rated_clips(sources, ["mos", "warmth"], (0, 100))


def test_corpora_by_name_bring_their_scale(script: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "pstn_train"
    root.mkdir()
    soundfile.write(root / "a.wav", np.zeros(1600), RATE)
    (root / "pstn_train.csv").write_text("filename,MOS,std,95%CI,votes\na.wav,2,0.5,0.4,5\n")
    args = script.FinetuningArguments(ratings=[f"pstn:{root}", f"pstn:{root}"], score_range=[0.0, 100.0])
    rows = load_rated_clips(args.ratings, args.outputs, args.score_range)
    assert rows["labels"][:] == [[25.0], [25.0]] and rows["n_votes"][:] == [5, 5]
    assert corpus_names(args.ratings) == ["pstn", "pstn 2"]
    # Evaluation, too.
    test = load_listening_test(args.ratings[0], args.outputs, args.score_range)
    assert test.labels().tolist() == [[25.0]] and test.clips("mos", [30], [20], [40]).std.tolist() == [12.5]


def test_intervals_are_widened_at_the_end_and_scores_left_alone(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    script.main(arguments(corpus, tmp_path / "as they are"))
    script.main(arguments(corpus, tmp_path / "widened", "--interval_coverage=0.5"))
    before, after = weights(tmp_path / "as they are"), weights(tmp_path / "widened")
    different = {name for name in before if not torch.equal(before[name], after[name])}
    assert different == {"head.output.bias"}
    assert (before["head.output.bias"] == after["head.output.bias"]).tolist() == [True, False]
    with pytest.raises(ValueError, match="interval_coverage needs"):
        script.main(
            [
                *arguments(corpus, tmp_path / "none")[:2],
                *arguments(corpus, tmp_path / "none")[3:],
                "--interval_coverage=0.9",
            ]
        )


def test_intervals_are_fitted_to_all_clips_of_the_evaluation_and_the_card_says_so(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    script.main(arguments(corpus, tmp_path / "run", "--interval_coverage=0.95"))
    card = (tmp_path / "run" / "README.md").read_text()
    assert "the 95 % interval holds 100 % of the ratings" in card
    assert "widened or narrowed to hold 95 % of these very ratings" in card


def test_a_stopped_run_does_not_fit_intervals(
    script: ModuleType, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: object, args: object, state: Any, control: Any, **_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(script, "widen_intervals", lambda *_, **__: pytest.fail("fitted"))
    monkeypatch.setattr(script.HeadFirst, "on_step_end", stop)
    with pytest.raises(SystemExit) as stopped:
        script.main(arguments(corpus, tmp_path / "run", "--interval_coverage=0.5", "--head_only_steps=1"))
    assert stopped.value.code == 128 + signal.SIGTERM


def test_one_rating_to_evaluate_on_costs_its_figures_but_not_the_model(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    rows = corpus.read_text().splitlines()
    corpus.write_text("\n".join(rows[:5]) + "\n")
    metrics = script.main(arguments(corpus, tmp_path / "run", "--save_total_limit=2"))
    assert "eval_loss" in metrics and "eval_pcc" not in metrics
    assert (tmp_path / "run" / "model.safetensors").exists()
    given = json.loads((tmp_path / "run" / "training_args.json").read_text())
    assert given["save_total_limit"] == 2


def test_an_evaluation_that_fails_leaves_the_model(
    script: ModuleType, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise ValueError("no evaluation")

    monkeypatch.setattr(script.MOSTrainer, "evaluate", fail)
    with pytest.raises(ValueError, match="no evaluation"):
        script.main(arguments(corpus, tmp_path / "run"))
    assert JSQAForMOSRegression.from_pretrained(tmp_path / "run").num_labels == 1


def test_figures_that_are_not_defined_are_null(script: ModuleType, corpus: Path, tmp_path: Path) -> None:
    text = corpus.read_text().splitlines()
    corpus.write_text("\n".join(f"{line.split(',')[0]},3,5,{line.split(',')[3]}" for line in text[1:]))
    corpus.write_text(text[0] + "\n" + corpus.read_text() + "\n")
    script.main(arguments(corpus, tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["eval_pcc"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mos_agreement_weight=-1"], "`mos_agreement_weight` must not be below 0"),
        (["--pairs_per_clip=3"], "--pairs_per_clip needs --pairs"),
        (["--mos_dropout=1"], "`mos_dropout` must lie in [0, 1)"),
        (["--outputs", "mos", "n_votes", "--score_range", "1", "20"], "rates mos, not mos, n_votes: give --outputs"),
    ],
)
def test_what_does_not_fit_a_model_is_refused_before_it_is_trained(
    script: ModuleType, corpus: Path, tmp_path: Path, options: list[str], message: str, capsys: Any
) -> None:
    start_without_dropout(tmp_path / "start")
    words = arguments(corpus, tmp_path / "run", f"--model={tmp_path / 'start'}", *options)
    assert run_script(lambda: script.main(words)) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in told
    assert not (tmp_path / "run" / "run.json").exists()


def test_offsets_of_other_listening_tests_are_not_taken_over(script: ModuleType, tmp_path: Path) -> None:
    paths = [write_corpus(tmp_path / name) for name in ("first", "second", "third")]
    start = JSQAForMOSRegression(small_config(mos_corpora=["other", "another"]))
    with torch.no_grad():
        start.corpus_offsets.fill_(1.0)
    start.save_pretrained(tmp_path / "start")
    for count in (2, 3):
        given = list(map(str, paths[:count]))
        args = script.FinetuningArguments(ratings=given, model=str(tmp_path / "start"), corpus_offsets=True)
        offsets = script.build_model(args).corpus_offsets
        assert offsets.shape == (count - 1, 1) and not offsets.any()


def test_the_best_model_by_rank_correlation_is_the_highest(script: ModuleType, tmp_path: Path) -> None:
    for metric, greater in (("mos_kendall_tau", True), ("srcc", True), ("rmse", False), ("loss", False)):
        training_args = RunArguments(output_dir=str(tmp_path), report_to="none", metric_for_best_model=metric)
        script.choose_best_by(script.FinetuningArguments(ratings=["x"]), training_args)
        assert training_args.greater_is_better is greater


@pytest.mark.slow
def test_scale_and_offset_between_corpora_are_found(script: ModuleType, tmp_path: Path) -> None:
    """The second test rates the same clips 0.8 lower, on a scale narrower by 0.7 about its middle."""
    first = write_corpus(tmp_path / "first", (1.5, 4.5))
    second = write_corpus(tmp_path / "second", (3 + 0.7 * -1.5 - 0.8, 3 + 0.7 * 1.5 - 0.8))
    extra = ["--ratings", str(first), str(second), "--corpus_offsets=true", "--freeze_base_model=true"]
    extra += ["--max_steps=300", "--learning_rate=3e-3", *NO_DROPOUT, "--per_device_train_batch_size=12"]
    extra += ["--max_duration_s=0.1"]
    script.main([*arguments(first, tmp_path / "run")[1:], *extra])
    model = JSQAForMOSRegression.from_pretrained(tmp_path / "run")
    assert model.corpus_offsets is not None and model.corpus_log_scales is not None
    assert float(model.corpus_offsets.detach()) == pytest.approx(-0.8, abs=0.1)
    assert float(model.corpus_log_scales.detach().exp()) == pytest.approx(0.7, abs=0.1)


def test_offsets_need_a_reference_that_has_all_outputs(script: ModuleType, tmp_path: Path) -> None:
    paths = [write_corpus(tmp_path / name) for name in ("plain", "detailed")]
    text = paths[1].read_text()
    paths[1].write_text(text.replace("n_votes", "noisiness"))
    extra = ["--ratings", *map(str, paths), "--outputs", "mos", "noisiness", "--score_range", "0", "20"]
    with pytest.raises(ValueError, match="has no rating of noisiness: put one first"):
        script.main([*arguments(paths[0], tmp_path / "run")[1:], *extra, "--corpus_offsets=true"])
    metrics = script.main([*arguments(paths[0], tmp_path / "run")[1:], *extra])
    assert metrics["eval_mos_n"] == 4 and metrics["eval_noisiness_n"] == 2


def test_offsets_of_corpora_are_learned_and_saved(script: ModuleType, tmp_path: Path) -> None:
    paths = [write_corpus(tmp_path / "five"), write_corpus(tmp_path / "hundred", (0.0, 100.0))]
    extra = ["--ratings", *map(str, paths), "--score_ranges", "1", "5", "0", "100", "--corpus_offsets=true"]
    script.main([*arguments(paths[0], tmp_path / "run")[1:], *extra, "--logging_steps=1"])
    logs = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    assert logs[0]["learning_rate"] == 1e-3, "that of the network, and not of the offsets"
    model = JSQAForMOSRegression.from_pretrained(tmp_path / "run")
    assert model.config.mos_corpora == ["ratings", "ratings 2"]
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
    cropping = ["--crop=random", "--max_duration_s=0.3", *SAVING]
    script.main(arguments(corpus, tmp_path / "whole", *cropping))
    script.main(arguments(corpus, tmp_path / "workers", *cropping, "--dataloader_num_workers=2"))
    # In the second of three epochs of three steps.
    resume(script, corpus, tmp_path / "whole", tmp_path / "broken", 4, cropping)
    runs.assert_same_weights(tmp_path / "whole", tmp_path / "workers")
    runs.assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    script.main(arguments(corpus, tmp_path / "start", *cropping[1:]))
    whole = weights(tmp_path / "whole")
    assert any(not torch.equal(whole[name], value) for name, value in weights(tmp_path / "start").items())


def test_workers_that_outlive_an_epoch_crop_for_the_next_one(script: ModuleType, corpus: Path, tmp_path: Path) -> None:
    """Without dropout: such workers change what torch draws in between."""
    start_without_dropout(tmp_path / "start")
    cropping = [f"--model={tmp_path / 'start'}", *NO_DROPOUT, "--crop=random", "--max_duration_s=0.3", "--max_steps=8"]
    script.main(arguments(corpus, tmp_path / "none", *cropping))
    workers = ["--dataloader_num_workers=2", "--dataloader_persistent_workers=true"]
    script.main(arguments(corpus, tmp_path / "workers", *cropping, *workers))
    runs.assert_same_weights(tmp_path / "none", tmp_path / "workers")


def test_an_evaluation_that_a_resumed_run_does_not_repeat_changes_nothing(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    """The checkpoint of the last step of an epoch is written before the epoch is evaluated."""
    evaluating = ["--eval_strategy=epoch", *SAVING]
    script.main(arguments(corpus, tmp_path / "whole", *evaluating))
    resume(script, corpus, tmp_path / "whole", tmp_path / "broken", 3, evaluating)
    runs.assert_same_weights(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("step", [4, 6])
def test_batches_by_length_are_the_same_after_a_break(
    script: ModuleType, corpus: Path, tmp_path: Path, step: int
) -> None:
    """Within the second epoch, and at the end of it."""
    grouping = ["--train_sampling_strategy=group_by_length", *SAVING]
    script.main(arguments(corpus, tmp_path / "whole", *grouping))
    resume(script, corpus, tmp_path / "whole", tmp_path / "broken", step, grouping)
    runs.assert_same_weights(tmp_path / "whole", tmp_path / "broken")


class TestCollator:
    def rows(self, corpus: Path) -> list[dict[str, Any]]:
        # Crops are drawn by `file`, which must not depend on the temporary folder: two draws may coincide.
        return [
            {"audio": {"path": str(corpus.parent / name), "bytes": None}, "file": name, "labels": [3.0]}
            for name in (f"{index}.wav" for index in range(3))
        ]

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

    def test_clips_stay_whole_without_a_crop(self, corpus: Path) -> None:
        batch = MOSCollator(JSQAFeatureExtractor(), 0.2, "none")(self.rows(corpus))
        assert batch["attention_mask"].sum(dim=1).tolist() == [8000, 9600, 11200]

    def test_weights_and_corpora_become_tensors(self, corpus: Path) -> None:
        rows = [row | {"clip_weight": 0.5, "corpus_id": 1} for row in self.rows(corpus)]
        batch = MOSCollator(JSQAFeatureExtractor())(rows)
        assert batch["clip_weights"].tolist() == [0.5, 0.5, 0.5]
        assert batch["corpus_ids"].tolist() == [1, 1, 1]

    @pytest.mark.parametrize("options", [{"crop": "end"}, {"max_duration_s": 0.0}])
    def test_senseless_options_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(options))):
            MOSCollator(JSQAFeatureExtractor(), **options)


class TestVotes:
    @pytest.mark.parametrize(
        ("votes", "half", "expected"),
        [([4, 12, None], 4.0, [0.5, 0.75, 1.0]), ([0, 4, 4], 0.0, [0, 1, 1]), ([0, 12, 4], 4.0, [0, 0.75, 0.5])],
    )
    def test_clips_count_by_their_votes_and_1_on_average(
        self, votes: list[int | None], half: float, expected: list[float]
    ) -> None:
        weights = with_vote_weights(datasets.Dataset.from_dict({"n_votes": votes}), half)["clip_weight"][:]
        assert weights == pytest.approx([3 * weight / sum(expected) for weight in expected])

    def test_numbers_that_are_not_known_count_alike(self) -> None:
        rows = datasets.Dataset.from_dict({"file": ["a.wav", "b.wav"]})
        assert with_vote_weights(rows, 4.0)["clip_weight"][:] == [1, 1]

    def test_a_number_below_0_and_clips_without_any_vote_are_refused(self) -> None:
        rows = datasets.Dataset.from_dict({"n_votes": [0, 0]})
        for half, message in ((-1.0, "must not be below 0"), (4.0, "no clip to train on has a vote")):
            with pytest.raises(ValueError, match=message):
                with_vote_weights(rows, half)

    def test_they_count_the_same_one_clip_at_a_time(self, script: ModuleType, corpus: Path, tmp_path: Path) -> None:
        start_without_dropout(tmp_path / "start")
        # Clips of the same length, as the group norm sees the padding. Adam would hide how large gradients are.
        common = [f"--model={tmp_path / 'start'}", *NO_DROPOUT, "--max_duration_s=0.3", "--max_steps=2"]
        common += ["--optim=sgd", "--learning_rate=0.1"]
        for name, extra in {
            "alike": ["--per_device_train_batch_size=6"],
            "together": ["--per_device_train_batch_size=6", "--votes_of_half_weight=30"],
            "apart": [
                *("--per_device_train_batch_size=1", "--gradient_accumulation_steps=6"),
                "--votes_of_half_weight=30",
            ],
        }.items():
            script.main(arguments(corpus, tmp_path / name, *common, *extra))
        alike, together, apart = (weights(tmp_path / name) for name in ("alike", "together", "apart"))
        for key in together:
            torch.testing.assert_close(together[key], apart[key], rtol=1e-4, atol=1e-5)
        assert max(float((alike[key] - together[key]).abs().max()) for key in together) > 1e-4


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
    assert [depth("jsqa.hubert.encoder.layer_norm.bias", 12, stable) for stable in (False, True)] == [13, 0]


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


def test_a_run_that_was_stopped_early_goes_on_for_more_patience_only(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    stopping = ["--eval_strategy=steps", "--eval_steps=1", "--save_steps=1", "--save_strategy=steps"]
    extra = [*stopping, "--learning_rate=0.5", "--max_steps=12"]
    metrics = [
        script.main(arguments(corpus, tmp_path / "run", *extra, f"--early_stopping_patience={patience}"))
        for patience in (1, 1, 99)
    ]
    assert metrics[0]["train_steps"] == metrics[1]["train_steps"] < metrics[2]["train_steps"] == 12
    assert metrics[0]["eval_rmse"] == metrics[1]["eval_rmse"]


def test_early_stopping_goes_by_the_first_output_or_by_the_loss(script: ModuleType, tmp_path: Path) -> None:
    def chosen(*extra: str, **options: Any) -> tuple[str, bool]:
        options = {"ratings": ["a.csv", "b.csv"], "early_stopping_patience": 3, **options}
        strategy = ["--eval_strategy=epoch", "--save_strategy=epoch", "--use_cpu=true", "--report_to=none"]
        (training_args,) = script.parse_arguments(
            (script.RunArguments,), [f"--output_dir={tmp_path}", *strategy, *extra]
        )
        script.choose_best_by(script.FinetuningArguments(**options), training_args)
        return training_args.metric_for_best_model, training_args.greater_is_better

    assert chosen() == ("rmse", False)
    assert chosen(outputs=["mos", "noisiness"]) == ("mos_rmse", False)
    assert chosen(corpus_offsets=True) == ("loss", False)
    assert chosen("--metric_for_best_model=eval_mos_pcc") == ("eval_mos_pcc", True)
    # Where transformers alone would keep the worst model.
    assert chosen("--metric_for_best_model=rmse", early_stopping_patience=None) == ("rmse", False)


def test_early_stopping_goes_on_counting_after_a_break(
    script: ModuleType, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]

    def metrics(names: Sequence[str]) -> Any:
        remaining = iter(errors)
        return lambda prediction: {"rmse": next(remaining, 3.0)}

    monkeypatch.setattr(script, "compute_mos_metrics", metrics)
    extra = ["--early_stopping_patience=3", "--eval_strategy=steps", "--eval_steps=1", *SAVING]
    assert script.main(arguments(corpus, tmp_path / "whole", *extra))["train_steps"] == 4
    (tmp_path / "broken").mkdir()
    for step in (1, 2):
        (tmp_path / "whole" / f"checkpoint-{step}").rename(tmp_path / "broken" / f"checkpoint-{step}")
    errors[:] = [2.0, 2.0, 2.0, 2.0]
    assert script.main(arguments(corpus, tmp_path / "broken", *extra))["train_steps"] == 4


class TestBatchesByLength:
    def test_padding_is_what_shorter_clips_lack(self) -> None:
        assert padding_waste([2, 4, 3, 3, 1], 2) == pytest.approx(2 / 15)
        assert padding_waste([5, 1], 1) == 0

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5))
    def test_every_clip_is_drawn_once_in_an_order_of_the_epoch(
        self, lengths: list[int], step_size: int, epoch: int
    ) -> None:
        orders = []
        for _ in range(2):
            sampler = BatchesByLength(lengths, step_size, seed=1)
            sampler.epoch = epoch
            torch.rand(1)
            orders.append(list(sampler))
        assert orders[0] == orders[1]
        assert sorted(orders[0]) == list(range(len(sampler)))

    def test_batches_waste_less_on_padding_and_come_in_any_order_of_length(self) -> None:
        lengths = np.random.default_rng(0).integers(10, 300, size=800).tolist()
        sampler = BatchesByLength(lengths, 8)
        drawn = [lengths[index] for index in sampler]
        assert padding_waste(lengths, 8) > 0.3
        assert padding_waste(drawn, 8) < 0.05
        orders = []
        for sampler.epoch in range(10):
            orders.append([lengths[index] for index in sampler])
        assert orders[0] == drawn != orders[1]
        longest = np.array(orders).reshape(10, -1, 8).max(axis=2)
        # Uncorrelated, it has a standard deviation of 0.03.
        assert abs(np.corrcoef(longest.ravel(), np.tile(np.arange(100), 10))[0, 1]) < 0.1

    def test_lengths_come_from_headers_or_from_their_column(self, corpus: Path) -> None:
        paths = [str(corpus.parent / f"{index}.wav") for index in range(3)]
        rows = datasets.Dataset.from_dict({"audio": paths}).cast_column("audio", datasets.Audio(decode=False))
        assert with_lengths(rows, None)["length"][:] == [5, 6, 7]
        assert with_lengths(rows, 0.6)["length"][:] == [5, 6, 6]
        assert with_lengths(rows.add_column("duration_s", [2.0, None, 3.0]), None)["length"][:] == [20, 6, 30]


@pytest.mark.slow
def test_two_processes_give_the_update_of_one(corpus: Path, tmp_path: Path) -> None:
    """Whatever stage 2 adds to the loop, at once; clips of the same length, as the group norm sees the padding."""
    start_without_dropout(tmp_path / "start")
    second = write_corpus(tmp_path / "second", (0.0, 100.0))
    extra = [f"--model={tmp_path / 'start'}", *NO_DROPOUT, "--weight_decay=0.1", "--layer_decay=0.5"]
    extra += ["--ratings", str(corpus), str(second), "--score_ranges", "1", "5", "0", "100", "--corpus_offsets=true"]
    extra += ["--crop=random", "--max_duration_s=0.3", "--train_sampling_strategy=group_by_length"]
    extra += ["--votes_of_half_weight=30"]
    for name, head_only_steps in (("frozen", 4), ("thawed", 2)):
        for processes in (1, 2):
            output = tmp_path / f"{name}{processes}"
            batch = f"--per_device_train_batch_size={4 // processes}"
            given = [*arguments(corpus, output)[1:], *extra, f"--head_only_steps={head_only_steps}", batch]
            # Processes that find no accelerator share the work without being told.
            given.remove("--use_cpu=true")
            done = runs.run_command("finetune_mos", given, processes)
            assert done.returncode == 0, done.stderr[-3000:]
            assert json.loads((output / "run.json").read_text())["starts"][-1]["hardware"]["processes"] == processes
    start = load_file(tmp_path / "start" / "model.safetensors")
    for name in ("frozen", "thawed"):
        one, two = (load_file(tmp_path / f"{name}{number}" / "model.safetensors") for number in (1, 2))
        for key in one:
            torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-5)
        changed = any(not torch.equal(two[key], start[key]) for key in start if key.startswith("jsqa."))
        assert changed == (name == "thawed")
        assert float(two["corpus_offsets"].abs().max()) > 0
    given = [f"--model={tmp_path / 'thawed2'}", f"--ratings={corpus}", f"--output_dir={tmp_path / 'evaluation'}"]
    done = runs.run_command("evaluate_mos", given, processes=2)
    assert done.stdout.splitlines().count("mos") == 1, done.stdout + done.stderr[-3000:]


def test_evaluation_maps_ratings_to_the_scale_of_the_model(corpus: Path, tmp_path: Path) -> None:
    hundred = write_corpus(tmp_path / "hundred", (0.0, 100.0))
    JSQAForMOSRegression(small_config()).save_pretrained(tmp_path / "model")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "model")
    evaluate = evaluate_mos.main
    common = [f"--model={tmp_path / 'model'}", f"--output_dir={tmp_path / 'evaluation'}", "--use_cpu=true"]
    expected = evaluate([*common, f"--ratings={corpus}"])
    mapped = evaluate([*common, f"--ratings={hundred}", "--score_range", "0", "100", "--crop=none"])
    assert mapped["mos"]["rmse"] == pytest.approx(expected["mos"]["rmse"], abs=1e-3)
    with pytest.raises(ValueError, match="start or none"):
        evaluate([*common, f"--ratings={corpus}", "--crop=random"])


def test_the_objective_of_the_arguments_is_the_one_of_the_model(
    script: ModuleType, corpus: Path, tmp_path: Path
) -> None:
    extra = ["--mos_loss=l1", "--mos_agreement_loss=rank", "--mos_agreement_weight=0.2", "--votes_of_half_weight=4"]
    script.main(arguments(corpus, tmp_path / "run", *extra))
    config = JSQAConfig.from_pretrained(tmp_path / "run")
    assert (config.mos_loss, config.mos_agreement_loss, config.mos_agreement_weight) == ("l1", "rank", 0.2)


def test_the_head_can_start_from_the_regression(script: ModuleType, corpus: Path, tmp_path: Path):
    script.main(arguments(corpus, tmp_path / "run", "--fit_head=true", "--learning_rate=0"))
    # The two halves of the line, and nothing of what other hidden units see.
    row = weights(tmp_path / "run")["head.output.weight"][0]
    assert row[:2].tolist() == [1, -1] and not row[2:].any()


def test_the_head_is_fitted_where_the_run_trains(
    script: ModuleType, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Fitted(Exception):
        pass

    def fit(model: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        raise Fitted(next(model.parameters()).device.type)

    device = RunArguments.device.fget
    # The original one sets up the processes.
    monkeypatch.setattr(RunArguments, "device", property(lambda self: device(self) and torch.device("meta")))
    monkeypatch.setattr(script, "fit_head", fit)
    with pytest.raises(Fitted, match="meta"):
        script.main(arguments(corpus, tmp_path / "run", "--fit_head=true"))


def test_a_head_that_the_model_brings_is_not_fitted_again(script: ModuleType, corpus: Path, tmp_path: Path):
    torch.manual_seed(0)
    JSQAForMOSRegression(small_config(mos_panel_std=0.4)).save_pretrained(tmp_path / "rates")
    JSQAForContrastivePretraining(small_config()).save_pretrained(tmp_path / "pretrained")
    options = ["--fit_head=true", "--learning_rate=0"]
    fitted = {}
    for name, extra in (("rates", []), ("pretrained", []), ("scratch", ["--from_scratch=true"])):
        model = tmp_path / ("rates" if name == "scratch" else name)
        script.main(arguments(corpus, tmp_path / f"{name} tuned", f"--model={model}", *options, *extra))
        fitted[name] = weights(tmp_path / f"{name} tuned")["head.output.weight"][0, :2].tolist() == [1, -1]
    assert fitted == {"rates": False, "pretrained": True, "scratch": True}
    assert JSQAConfig.from_pretrained(tmp_path / "rates tuned").mos_panel_std == 0, "its panel is known now"


def test_a_model_saved_in_half_precision_is_trained_in_single(script: ModuleType, corpus: Path, tmp_path: Path):
    torch.manual_seed(0)
    JSQAForMOSRegression(small_config()).half().save_pretrained(tmp_path / "half")
    script.main(arguments(corpus, tmp_path / "run", f"--model={tmp_path / 'half'}"))
    trained = weights(tmp_path / "run")
    assert all(values.dtype == torch.float32 and values.isfinite().all() for values in trained.values())
