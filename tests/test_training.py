"""Arguments, collators, metrics, and both stages through the scripts as a user runs them."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import evaluate_mos
import finetune_mos
import generate_jnd_pairs
import numpy as np
import pretrain_contrastive
import pytest
import scipy.stats
import soundfile
import torch
from runs import COMMON, RATE, SCRIPTS, environment, finetuning, pretraining, write_corpus
from safetensors.torch import load_file
from small import SMALL_HUBERT, small_config
from transformers import WavLMConfig, WavLMModel

from jsqa_hf import (
    DEFAULT_COMPARISON_CHECKPOINT,
    JSQAConfig,
    JSQAFeatureExtractor,
    JSQAForContrastivePretraining,
    JSQAForMOSRegression,
    JSQAModel,
)
from jsqa_hf.data import load_mos, with_labels
from jsqa_hf.metrics import SpeechQualityMetrics, mos_metrics
from jsqa_hf.training import (
    ContrastiveCollator,
    MOSCollator,
    RunArguments,
    parse_arguments,
    repeat_with_index,
)


@dataclass
class ExampleArguments:
    needed: str = field(metadata={"help": "must be given"})
    number: int = 3
    names: list[str] = field(default_factory=lambda: ["mos"])


def test_arguments_come_from_a_yaml_file_and_the_command_line_overrides_it(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("needed: file\nnumber: 4\nnames: [mos, noisiness]\n")
    (args,) = parse_arguments((ExampleArguments,), [str(config), "--number", "5"])
    assert (args.needed, args.number, args.names) == ("file", 5, ["mos", "noisiness"])


def test_one_value_of_several_in_a_yaml_file_needs_no_brackets(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"ratings: nisqa:/data/X\noutput_dir: {tmp_path}\nscore_ranges:\n")
    args, _ = parse_arguments((finetune_mos.FinetuningArguments, RunArguments), [str(config)])
    assert args.ratings == ["nisqa:/data/X"]
    assert args.score_ranges is None


def test_an_unknown_key_or_flag_is_refused(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("needed: file\nnumbr: 4\n")
    for argv, named in (
        ([str(config)], "numbr"),
        (["--needed", "x", "--numbr", "4"], "--numbr"),
        (["--number", "4"], "--needed"),
    ):
        with pytest.raises(SystemExit):
            parse_arguments((ExampleArguments,), argv)
        assert named in capsys.readouterr().err


def test_the_contrastive_collator_numbers_pairs_and_contents():
    clips = [np.full(1600, 0.01 * i, dtype=np.float32) for i in range(4)]
    rows = [{"clips": clips}, {"clips": [clip[:800] for clip in clips]}]
    batch = ContrastiveCollator(JSQAFeatureExtractor())(rows)
    assert batch["pair_ids"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert batch["content_ids"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert batch["attention_mask"].sum(-1).tolist() == [1600] * 4 + [800] * 4
    torch.testing.assert_close(batch["input_values"][3], torch.full((1600,), 0.03))


def test_repeating_numbers_the_passes():
    repeated = repeat_with_index(datasets.Dataset.from_dict({"x": ["a", "b", "c"]}), 7)
    assert repeated["x"][:] == ["a", "b", "c"] * 3
    assert repeated["repetition"][:] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_metrics_agree_with_scipy_and_the_evaluate_metric():
    rng = np.random.default_rng(0)
    rated = rng.uniform(1, 5, 50)
    predicted = rated + rng.normal(0, 0.5, 50)
    metrics = mos_metrics(predicted, rated)
    assert metrics["pcc"] == pytest.approx(np.corrcoef(predicted, rated)[0, 1])
    assert metrics["srcc"] == pytest.approx(
        np.corrcoef(scipy.stats.rankdata(predicted), scipy.stats.rankdata(rated))[0, 1]
    )
    assert metrics["rmse"] == pytest.approx(np.linalg.norm(predicted - rated) / np.sqrt(50))
    assert metrics["mae"] == pytest.approx(np.abs(predicted - rated).sum() / 50)
    assert SpeechQualityMetrics().compute(predictions=predicted, references=rated) == pytest.approx(metrics)


def test_metrics_leave_out_unrated_clips_and_refuse_the_impossible():
    assert mos_metrics([1.0, 2.0, 9.0], [1.0, 2.0, math.nan])["n"] == 2
    assert math.isnan(mos_metrics([3.0, 3.0], [1.0, 2.0])["pcc"])
    with pytest.raises(ValueError, match="at least 2"):
        mos_metrics([1.0], [1.0])
    with pytest.raises(ValueError, match="do not fit"):
        mos_metrics([1.0, 2.0], [1.0])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def tiny_is_small(monkeypatch):
    monkeypatch.setattr(JSQAConfig, "tiny", classmethod(lambda cls, **kwargs: small_config(**kwargs)))


def evaluated_pretraining(corpus: Path, output: Path, *extra: str) -> list[str]:
    """Arguments of stage 1: three steps, judged before and after them."""
    return pretraining(
        corpus,
        output,
        f"--eval_speech={corpus / 'speech'}",
        f"--eval_noise={corpus / 'noise'}",
        "--eval_ladders=2",
        "--eval_on_start=true",
        "--max_steps=3",
        *extra,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return JSQAModel.from_pretrained(folder).state_dict()


def test_both_stages_end_in_a_folder_that_loads_and_scores(corpus, tmp_path):
    metrics = pretrain_contrastive.main(evaluated_pretraining(corpus, tmp_path / "pretrained"))
    assert metrics["train_steps"] == 3
    assert metrics["eval_loss"] != metrics["initial_eval_loss"]
    assert json.loads((tmp_path / "pretrained" / "metrics.json").read_text()) == pytest.approx(metrics)
    JSQAForContrastivePretraining.from_pretrained(tmp_path / "pretrained")

    options = [f"--model={tmp_path / 'pretrained'}", "--eval_split=test", "--num_train_epochs=1"]
    metrics = finetune_mos.main(finetuning(corpus, tmp_path / "mos", *options))
    assert metrics["eval_n"] == 4
    model = JSQAForMOSRegression.from_pretrained(tmp_path / "mos")
    assert JSQAFeatureExtractor.from_pretrained(tmp_path / "mos").sampling_rate == 16000
    assert model(torch.zeros(1, 8000)).scores.shape == (1, 1)

    evaluated = evaluate_mos.main(
        [
            f"--model={tmp_path / 'mos'}",
            f"--ratings={corpus / 'rated' / 'ratings.csv'}",
            "--split=test",
            f"--output_dir={tmp_path / 'evaluation'}",
            "--use_cpu=true",
        ]
    )
    assert evaluated["mos"]["rmse"] == pytest.approx(metrics["eval_rmse"], rel=1e-4)
    with open(tmp_path / "evaluation" / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"clip{index}.wav" for index in (3, 7, 11, 15)]
    error = [float(row["mos"]) - float(row["mos_predicted"]) for row in rows]
    assert math.sqrt(np.mean(np.square(error))) == pytest.approx(evaluated["mos"]["rmse"], abs=1e-3)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(corpus, tmp_path):
    main = pretrain_contrastive.main
    for name, seed in (("first", 3), ("second", 3), ("third", 4)):
        main(evaluated_pretraining(corpus, tmp_path / name, f"--seed={seed}"))
    first, second, third = (weights(tmp_path / name) for name in ("first", "second", "third"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], third[key]) for key in first)


def test_the_number_of_data_workers_changes_nothing(corpus, tmp_path):
    main = pretrain_contrastive.main
    main(evaluated_pretraining(corpus, tmp_path / "none"))
    main(evaluated_pretraining(corpus, tmp_path / "two", "--dataloader_num_workers=2"))
    none, two = weights(tmp_path / "none"), weights(tmp_path / "two")
    assert all(torch.equal(none[key], two[key]) for key in none)


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(corpus, tmp_path):
    main = pretrain_contrastive.main
    main(evaluated_pretraining(corpus, tmp_path / "whole", "--max_steps=4"))
    interrupted = tmp_path / "interrupted"
    # The state after step 2, as a run leaves it that is killed later on.
    (tmp_path / "whole" / "checkpoint-2").rename(tmp_path / "kept")
    interrupted.mkdir()
    (tmp_path / "kept").rename(interrupted / "checkpoint-2")
    main(evaluated_pretraining(corpus, interrupted, "--max_steps=4"))
    whole, resumed = weights(tmp_path / "whole"), weights(interrupted)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_run_that_stopped_at_the_end_of_an_epoch_goes_on_as_if_it_had_evaluated_it(corpus, tmp_path):
    """The evaluation of that epoch is not made again, so it may draw nothing from training's random numbers."""
    generate_jnd_pairs.main(
        [
            f"--speech={corpus / 'speech'}",
            f"--noise={corpus / 'noise'}",
            "--duration_s=0.5",
            f"--output_dir={tmp_path / 'pairs'}",
        ]
    )
    extra = [f"--pairs={tmp_path / 'pairs'}", "--eval_strategy=epoch", "--save_steps=1"]
    extra += ["--max_steps=-1", "--num_train_epochs=2", "--lr_scheduler_type=constant"]
    main = pretrain_contrastive.main
    metrics = main(evaluated_pretraining(corpus, tmp_path / "whole", *extra))
    end = f"checkpoint-{metrics['train_steps'] // 2}"
    (tmp_path / "broken").mkdir()
    (tmp_path / "whole" / end).rename(tmp_path / "broken" / end)
    main(evaluated_pretraining(corpus, tmp_path / "broken", *extra))
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_pretraining_reads_pairs_that_were_saved(corpus, tmp_path):
    generate_jnd_pairs.main(
        [
            f"--speech={corpus / 'speech'}",
            f"--noise={corpus / 'noise'}",
            "--duration_s=0.5",
            f"--output_dir={tmp_path / 'pairs'}",
        ]
    )
    metrics = pretrain_contrastive.main(
        [
            f"--pairs={tmp_path / 'pairs'}",
            "--num_train_epochs=1",
            f"--output_dir={tmp_path / 'run'}",
            *COMMON,
        ]
    )
    assert metrics["train_loss"] > 0


@pytest.mark.parametrize(
    ("speaker", "extra", "message"),
    [
        ("speech", [], "1 speakers of --eval_speech are in --pairs, too"),
        ("someone else", [], ""),
        ("speech", ["--streaming", "--max_steps=1"], "--pairs has no list of its speakers"),
    ],
)
def test_speakers_of_stored_pairs_are_told_from_those_to_evaluate_on(
    corpus, tmp_path, caplog, speaker, extra, message
):
    stored = datasets.Dataset.from_dict({"clips": [[]], "speaker_id": [speaker]})
    (stored.to_parquet(tmp_path / "train.parquet") if extra else stored.save_to_disk(tmp_path))
    options = [f"--pairs={tmp_path}", f"--eval_speech={corpus / 'speech'}", f"--eval_noise={corpus / 'noise'}"]
    options += ["--eval_ladders=2", f"--output_dir={tmp_path / 'run'}", *COMMON, *extra]
    args, training_args = parse_arguments((pretrain_contrastive.PretrainingArguments, RunArguments), options)
    pretrain_contrastive.build_datasets(args, training_args)
    assert message in caplog.text if message else "speakers" not in caplog.text


@pytest.mark.parametrize(
    ("evaluating", "idle"), [(False, "--speech, --noise, --levels, --duration_s"), (True, "--speech, --noise")]
)
def test_options_that_stored_pairs_make_idle_are_named(corpus, tmp_path, caplog, evaluating, idle):
    datasets.Dataset.from_dict({"clips": [[]], "speaker_id": ["someone"]}).save_to_disk(tmp_path / "pairs")
    extra = [f"--pairs={tmp_path / 'pairs'}", "--levels=3"]
    extra += [f"--eval_speech={corpus / 'speech'}", f"--eval_noise={corpus / 'noise'}"] if evaluating else []
    options = pretraining(corpus, tmp_path / "run", *extra)
    args, training_args = parse_arguments((pretrain_contrastive.PretrainingArguments, RunArguments), options)
    pretrain_contrastive.build_datasets(args, training_args)
    (message,) = (record.message for record in caplog.records if "as they were made" in record.message)
    assert message.endswith(f"without regard to {idle}")


def test_streaming_without_stored_pairs_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="--streaming is about --pairs"):
        pretrain_contrastive.main(pretraining(corpus, tmp_path / "run", "--streaming=true"))


@pytest.mark.parametrize("option", ["--eval_on_start=true", "--eval_strategy=epoch"])
def test_an_evaluation_without_speech_is_refused_before_the_model_is_made(option, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_contrastive, "build_model", None)
    with pytest.raises(ValueError, match="need held-out speech: give --eval_speech"):
        pretrain_contrastive.main(pretraining(corpus, tmp_path / "run", option))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(("given", "kept"), [(None, 4), (2, 2)])
def test_pretraining_keeps_the_averaged_starts_of_what_it_goes_on_from_unless_they_are_given(given, kept, tmp_path):
    JSQAForContrastivePretraining(small_config(averaged_starts=4)).save_pretrained(tmp_path)
    args = pretrain_contrastive.PretrainingArguments(backbone=str(tmp_path), averaged_starts=given)
    assert pretrain_contrastive.build_model(args).config.averaged_starts == kept


def test_pretraining_without_data_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match="--pairs, or --speech, --noise and --max_steps"):
        pretrain_contrastive.main([f"--output_dir={tmp_path}"])


def finetuning_model(**kwargs):
    torch.manual_seed(0)
    return finetune_mos.build_model(finetune_mos.FinetuningArguments(ratings=["unused.csv"], **kwargs))


def test_from_scratch_differs_in_nothing_but_the_weights(corpus, tmp_path):
    pretrained = JSQAForContrastivePretraining(small_config(pooling="mean"))
    pretrained.save_pretrained(tmp_path)
    tuned = finetuning_model(model=str(tmp_path))
    scratch = finetuning_model(model=str(tmp_path), from_scratch=True)
    settings = [model.config.to_dict() for model in (tuned, scratch)]
    for setting in settings:
        # Where the settings come from, and the number format of weights that were loaded, are no settings.
        for key in ("_name_or_path", "architectures", "auto_map", "dtype"):
            setting.pop(key, None)
        setting["hubert_config"].pop("dtype")
    assert settings[0] == settings[1]
    key = "jsqa.hubert.encoder.layers.0.attention.q_proj.weight"
    assert torch.equal(tuned.state_dict()[key], pretrained.state_dict()[key])
    assert not torch.equal(scratch.state_dict()[key], pretrained.state_dict()[key])


def test_fine_tuning_can_start_from_a_pretrained_hubert(corpus, tmp_path):
    hubert = JSQAModel(JSQAConfig(hubert_config=SMALL_HUBERT)).hubert
    hubert.save_pretrained(tmp_path)
    model = finetuning_model(model=str(tmp_path), outputs=["mos", "noisiness"])
    assert model.config.mos_output_names == ["mos", "noisiness"]
    for name, parameter in hubert.state_dict().items():
        torch.testing.assert_close(model.jsqa.hubert.state_dict()[name], parameter)


def write_ratings(folder: Path, text: str) -> Path:
    soundfile.write(folder / "a.wav", np.zeros(1600), RATE)
    soundfile.write(folder / "b.wav", np.zeros(1600), RATE)
    (folder / "ratings.csv").write_text(text)
    return folder / "ratings.csv"


def test_ratings_keep_missing_values_and_read_a_byte_order_mark(tmp_path):
    path = write_ratings(tmp_path, "\ufefffile,mos,noisiness\na.wav,3.5,\nb.wav,2,4\n")
    rated = with_labels(load_mos("csv", path), ["mos", "noisiness"])
    np.testing.assert_array_equal(rated["labels"][:], [[3.5, math.nan], [2.0, 4.0]])
    batch = MOSCollator(JSQAFeatureExtractor())([rated[0], rated[1]])
    assert batch["input_values"].shape == (2, 1600)
    assert bool(batch["labels"][0, 1].isnan())


def test_rows_of_ones_own_may_have_paths_missing_ratings_and_tensors(tmp_path):
    write_ratings(tmp_path, "")
    path = str(tmp_path / "a.wav")
    samples, rate = soundfile.read(path, dtype="float32")
    decoded = {"array": torch.from_numpy(samples), "sampling_rate": torch.tensor(rate)}
    given = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    rows = [{"audio": Path(path), "labels": [3.5, None]}, {"audio": decoded, "file": "a.wav", "labels": given}]
    batch = MOSCollator(JSQAFeatureExtractor(), max_duration_s=0.06, crop="random")(rows)
    assert batch["input_values"].shape == (2, 960)
    np.testing.assert_array_equal(batch["labels"], [[3.5, math.nan], [1, 1]])
    ratings = MOSCollator(JSQAFeatureExtractor())([{"audio": path, "labels": label} for label in (None, [4.0], 2)])
    np.testing.assert_array_equal(ratings["labels"], [[math.nan], [4], [2]])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("file,mos\na.wav,80\n", ValueError, r"a\.wav is 80, outside the scale 1 to 5"),
        ("file,mos\nmissing.wav,3\n", FileNotFoundError, r"missing\.wav"),
        ("file,noisiness\na.wav,3\n", ValueError, "labels mos can't be made: the columns with numbers are noisiness"),
    ],
)
def test_bad_ratings_are_refused_before_training(tmp_path, text, error, message):
    path = write_ratings(tmp_path, text)
    with pytest.raises(error, match=message):
        finetune_mos.main([f"--ratings={path}", f"--output_dir={tmp_path / 'run'}", *COMMON])


def test_an_output_without_any_rating_is_refused(tmp_path):
    path = write_ratings(tmp_path, "file,mos\na.wav,3\nb.wav,2\n")
    arguments = [f"--ratings={path}", "--outputs", "mos", "noisiness", f"--output_dir={tmp_path / 'run'}", *COMMON]
    with pytest.raises(ValueError, match="no clip to train on has a rating of noisiness"):
        finetune_mos.main(arguments)


def test_a_listening_test_by_name_is_evaluated_on_what_it_rates(corpus, tmp_path):
    """Its root is a folder; the model's second output is not rated in it."""
    root = tmp_path / "pstn_train"
    root.mkdir()
    lines = ["filename,MOS,std,95%CI,votes"]
    for index in range(3):
        soundfile.write(root / f"{index}.wav", np.random.default_rng(index).normal(0, 0.1, 8000), 8000)
        lines.append(f"{index}.wav,{2 + index / 2},0.5,0.4,5")
    (root / "pstn_train.csv").write_text("\n".join(lines))
    model = small_config(mos_output_names=["mos", "noisiness"])
    JSQAForMOSRegression(model).save_pretrained(tmp_path / "model")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "model")
    evaluated = evaluate_mos.main(
        [
            f"--model={tmp_path / 'model'}",
            f"--ratings=pstn:{root}",
            f"--output_dir={tmp_path / 'evaluation'}",
            "--use_cpu=true",
        ]
    )
    assert list(evaluated) == ["mos"]
    assert evaluated["mos"]["n"] == 3


def test_a_model_that_was_not_fine_tuned_on_ratings_is_not_evaluated(tmp_path):
    """Its head would be random."""
    path = write_ratings(tmp_path, "file,mos\na.wav,3\n")
    with pytest.raises(ValueError, match=r"lacks 4 weights of the MOS model.*hasn't been fine-tuned"):
        evaluate_mos.main(
            [
                f"--model={DEFAULT_COMPARISON_CHECKPOINT}",
                f"--ratings={path}",
                f"--output_dir={tmp_path / 'evaluation'}",
            ]
        )


def test_an_output_with_one_rated_clip_has_no_figures_and_the_other_has_them(tmp_path):
    rows = ["file,mos,noisiness", "0.wav,2,3", "1.wav,3,", "2.wav,4,"]
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", np.random.default_rng(index).normal(0, 0.1, 8000), 8000)
    path = write_ratings(tmp_path, "\n".join(rows))
    JSQAForMOSRegression(small_config(mos_output_names=["mos", "noisiness"])).save_pretrained(tmp_path / "model")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "model")
    arguments = [f"--model={tmp_path / 'model'}", f"--ratings={path}", f"--output_dir={tmp_path / 'evaluation'}"]
    with pytest.warns(UserWarning, match=r"ratings\.csv: no figures of noisiness, which take 2 clips"):
        evaluated = evaluate_mos.main([*arguments, "--use_cpu=true"])
    assert (evaluated["mos"]["n"], evaluated["noisiness"]) == (3, None)
    assert json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["noisiness"] is None


def test_an_unusable_clip_is_named(tmp_path):
    path = write_ratings(tmp_path, "file,mos\na.wav,3\n")
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    rated = with_labels(load_mos("csv", path), ["mos"])
    with pytest.raises(ValueError, match=r"a\.wav.*50 ms"):
        MOSCollator(JSQAFeatureExtractor())([rated[0]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [["torch.distributed.run", "--nproc-per-node=2"], ["accelerate.commands.launch", "--cpu"]]
)
def test_the_scripts_run_under_a_launcher(launcher, corpus, tmp_path):
    """accelerate starts a single process with --cpu, torchrun two."""
    command = [sys.executable, "-m", *launcher, str(SCRIPTS / "pretrain_contrastive.py")]
    arguments = [*evaluated_pretraining(corpus, tmp_path / "run", "--max_steps=1", "--per_device_eval_batch_size=1")]
    done = subprocess.run([*command, *arguments], env=environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("script", "arguments", "options"),
    [
        (pretrain_contrastive, pretrain_contrastive.PretrainingArguments, ["--backbone={}"]),
        (finetune_mos, finetune_mos.FinetuningArguments, ["--model={}", "--ratings="]),
        (finetune_mos, finetune_mos.FinetuningArguments, ["--model={}", "--ratings=", "--from_scratch=true"]),
    ],
)
def test_a_start_that_is_neither_of_jsqa_nor_a_hubert_is_refused(script, arguments, options, tmp_path):
    WavLMModel(WavLMConfig(**SMALL_HUBERT)).save_pretrained(tmp_path)
    (args,) = parse_arguments((arguments,), [option.format(tmp_path) for option in options])
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: is a model of type 'wavlm'.*HuBERT"):
        script.build_model(args)


def test_a_model_saved_in_half_precision_is_pretrained_in_single(corpus, tmp_path):
    torch.manual_seed(0)
    JSQAModel(small_config()).half().save_pretrained(tmp_path / "half")
    options = evaluated_pretraining(corpus, tmp_path / "run", f"--backbone={tmp_path / 'half'}")
    pretrain_contrastive.main(options)
    trained = load_file(tmp_path / "run" / "model.safetensors")
    assert all(values.dtype == torch.float32 and values.isfinite().all() for values in trained.values())
