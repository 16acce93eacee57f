"""Stage 2 by `Trainer` and `MOSTrainer` from Python, without the script."""

from __future__ import annotations

import copy
import io
import json
import math
import sys
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import HfApi, ModelCard
from ladders import ladder_rows
from safetensors.torch import load_file
from small import SAMPLING_RATE, small_config
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    dynamic_module_utils,
)

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.training import (
    ContrastiveCollator,
    ContrastiveTrainer,
    HeadFirst,
    LadderedMOSCollator,
    MOSCollator,
    MOSTrainer,
    compute_mos_metrics,
    run_training,
)
from jsqa_hf.training.hub import files_to_push
from jsqa_hf.training.predictions import predict

EXTRACTOR = JSQAFeatureExtractor()


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=options.pop("max_steps", 2),
        save_strategy=options.pop("save_strategy", "no"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )


def small_model(**kwargs: Any) -> JSQAForMOSRegression:
    torch.manual_seed(0)
    return JSQAForMOSRegression(small_config(**kwargs))


def test_a_trainer_that_stopped_early_trains_again(tmp_path: Path) -> None:
    stopping = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "loss", "max_steps": 9}
    rows = rated_rows(8)
    trainer = mos_trainer(
        tmp_path,
        # So large a learning rate that things get worse soon.
        settings={**stopping, "learning_rate": 0.5, "load_best_model_at_end": False},
        train_dataset=datasets.Dataset.from_list(rows),
        eval_dataset=datasets.Dataset.from_list(rows),
        callbacks=[EarlyStoppingCallback(1)],
    )
    for _ in range(2):
        trainer.train()
        assert 0 < trainer.state.global_step < 9


def test_trainer_evaluates_labels_and_finds_the_best_model_without_being_told_their_name(tmp_path: Path) -> None:
    rows = [{"input_values": 0.05 * torch.randn(4000), "labels": [1.0 + index]} for index in range(4)]
    trainer = Trainer(
        small_model(),
        arguments(
            tmp_path,
            save_strategy="steps",
            save_steps=1,
            eval_strategy="steps",
            eval_steps=1,
            load_best_model_at_end=True,
        ),
        train_dataset=rows,  # type: ignore[arg-type]
        eval_dataset=rows,  # type: ignore[arg-type]
        processing_class=EXTRACTOR,
        compute_metrics=lambda prediction: {"rated": len(prediction.label_ids)},
    )
    trainer.train()
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [entry["eval_rated"] for entry in evaluated] == [4, 4]
    assert trainer.state.best_metric == pytest.approx(min(entry["eval_loss"] for entry in evaluated))
    prediction = trainer.predict(rows)  # type: ignore[arg-type]
    assert [part.shape for part in prediction.predictions] == [(4, 1), (4, 1)]
    assert prediction.label_ids.ravel().tolist() == [1.0, 2.0, 3.0, 4.0]  # type: ignore[union-attr]


def rated_rows(count: int, lowest: float = 1.0) -> list[dict[str, Any]]:
    """Noise of 0.5 s with ratings from `lowest` on, a tenth apart."""
    rng = np.random.default_rng(round(10 * lowest))
    rows = []
    for index in range(count):
        file = io.BytesIO()
        soundfile.write(file, 0.05 * rng.standard_normal(8000), SAMPLING_RATE, format="WAV")
        audio = {"bytes": file.getvalue(), "path": None}
        rows.append({"audio": audio, "file": f"{index}.wav", "labels": [lowest + 0.1 * index]})
    return rows


def mos_trainer(folder: Path, model: Any = None, settings: dict[str, Any] | None = None, **options: Any) -> MOSTrainer:
    return MOSTrainer(
        model=small_model() if model is None else model,
        args=arguments(folder, **{"remove_unused_columns": False, **(settings or {})}),
        data_collator=options.pop("data_collator", MOSCollator(EXTRACTOR)),
        processing_class=EXTRACTOR,
        **options,
    )


@pytest.mark.parametrize("method", ["predict", "evaluate"])
def test_predictions_and_evaluations_are_of_the_clips_that_the_collator_to_evaluate_makes(
    tmp_path: Path, method: str
) -> None:
    """Not of random crops, and not of the ladders that a batch to train on holds besides."""
    rows, whole = rated_rows(4), MOSCollator(EXTRACTOR, crop="none")
    laddered = LadderedMOSCollator(ladder_rows(2, clips=True), 1.0, EXTRACTOR, 0.2, "random")
    seen = []
    trainer = mos_trainer(
        tmp_path,
        data_collator=laddered,
        eval_collator=whole,
        compute_metrics=lambda prediction: seen.append(prediction.predictions[0]) or {},
    )
    getattr(trainer, method)(rows)
    expected = predict(trainer.model, rows, whole).scores  # type: ignore[arg-type]
    assert np.concatenate(seen) == pytest.approx(expected, abs=1e-5)
    assert trainer.data_collator is laddered


def test_the_card_tells_of_the_evaluation_and_not_of_what_was_predicted_after_it(tmp_path: Path) -> None:
    trainer = mos_trainer(tmp_path, eval_dataset=rated_rows(8), compute_metrics=lambda prediction: {})
    trainer.evaluate()
    trainer.create_model_card()
    card = (tmp_path / "README.md").read_text()
    trainer.predict(rated_rows(8, lowest=4.0))  # type: ignore[arg-type]
    trainer.evaluate(rated_rows(8, lowest=3.0), metric_key_prefix="other")  # type: ignore[arg-type]
    trainer.create_model_card()
    assert figures((tmp_path / "README.md").read_text()) == figures(card) != []


def test_a_card_tells_which_step_its_figures_are_of_if_that_is_not_the_step_of_the_weights(tmp_path: Path) -> None:
    trainer = mos_trainer(tmp_path, eval_dataset=rated_rows(8), compute_metrics=lambda prediction: {})
    trainer.state.global_step, trainer.state.max_steps = 5, 12
    trainer.evaluate()
    cards = []
    for trainer.state.global_step in (5, 6):
        trainer.create_model_card(finished=False)
        cards.append(ModelCard.load(tmp_path / "README.md"))
    assert figures(cards[0].text) == figures(cards[1].text) != []
    assert [card.data.eval_results is None for card in cards] == [False, True]
    assert ["of the weights of step 5, and not of these" in card.text for card in cards] == [False, True]


def test_the_best_model_is_pushed_with_its_own_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, values = rated_rows(8), iter([3.0, 2.0, 1.0, 0.0])
    monkeypatch.setattr(HfApi, "create_commit", lambda *_, **__: None)
    best = {"load_best_model_at_end": True, "metric_for_best_model": "value", "greater_is_better": True}
    trainer = mos_trainer(
        tmp_path,
        settings={"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "learning_rate": 0.3, **best}
        | {"eval_strategy": "steps", "eval_steps": 1},
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda prediction: {"value": next(values)},
    )
    trainer.train()
    assert trainer.state.best_global_step == 1
    trainer.hub_model_id = "user/model"
    trainer.push_to_hub()
    card = ModelCard.load(tmp_path / "README.md")
    scores = predict(trainer.model, rows, MOSCollator(EXTRACTOR)).scores[:, 0]  # type: ignore[arg-type]
    rmse = mos_metrics(scores, [row["labels"][0] for row in rows])["rmse"]
    assert card.data.eval_results[0].metric_value == pytest.approx(rmse, abs=1e-4)
    assert "not of these" not in card.text


def figures(card: str) -> list[str]:
    """The rows of the tables of agreement."""
    return [line for line in card.splitlines() if line.startswith("| mos")]


def card_of_run(folder: Path, model: Any, **options: Any) -> ModelCard:
    """The card after training and evaluation from Python."""
    output = folder / "run"
    trainer = mos_trainer(
        output, model, train_dataset=rated_rows(2), **{"compute_metrics": lambda prediction: {}, **options}
    )
    run_training(trainer, trainer.args)
    return ModelCard.load(output / "README.md")


def test_the_card_of_a_run_from_python_tells_what_the_model_rates_and_started_from(tmp_path: Path) -> None:
    small_model(mos_output_names=["noisiness"]).save_pretrained(tmp_path / "start")
    model = JSQAForMOSRegression.from_pretrained(tmp_path / "start")
    text = card_of_run(tmp_path, model, eval_dataset=rated_rows(4)).text
    assert "Outputs: noisiness." in text
    assert "pipeline(" not in text
    assert "Started from the local folder start." in text
    assert "\nIn brackets" in text


def test_nothing_is_said_of_the_start_of_a_model_that_was_made_in_python(tmp_path: Path) -> None:
    assert "Started from" not in card_of_run(tmp_path, small_model()).text


def test_the_card_has_the_agreement_on_each_of_several_sets(tmp_path: Path) -> None:
    sets = {"quiet": rated_rows(6), "loud": rated_rows(5, lowest=3.0)}
    card = card_of_run(tmp_path, small_model(), eval_dataset=sets)
    assert [line.split("|")[1:3] for line in figures(card.text)] == [
        [" mos on quiet ", " 6 "],
        [" mos on loud ", " 5 "],
    ]
    assert {result.dataset_config for result in card.data.eval_results} == {"mos on quiet", "mos on loud"}


def test_clips_of_several_sets_are_counted_and_the_figures_of_all_are_kept(tmp_path: Path) -> None:
    sets = {"quiet": rated_rows(6), "loud": rated_rows(5, lowest=3.0)}
    text = card_of_run(tmp_path, small_model(), eval_dataset=sets, compute_metrics=None).text
    assert "On 11 held-out clips." in text
    assert "| quiet\\_loss |" in text and "| loud\\_loss |" in text


def test_a_model_whose_code_came_with_its_folder_is_saved_as_a_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where another test has loaded code of a folder, that is where Python would look.
    elsewhere = dynamic_module_utils.HF_MODULES_CACHE
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != elsewhere])
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)
    start = tmp_path / "start"
    small_model().save_pretrained(start)
    kind: Any = dynamic_module_utils.get_class_from_dynamic_module("modeling_jsqa.JSQAForMOSRegression", str(start))
    kind.register_for_auto_class("AutoModel")
    model = kind.from_pretrained(start)
    assert not isinstance(model, JSQAForMOSRegression)
    text = card_of_run(tmp_path, model, eval_dataset=rated_rows(4)).text
    assert "Rates the quality of speech" in text
    assert len(figures(text)) == 1
    assert "custom_pipelines" in json.loads((tmp_path / "run" / "config.json").read_text())
    assert {"pipeline_jsqa.py", "modeling_jsqa.py"} <= files_to_push(tmp_path / "run").keys()


@pytest.mark.parametrize("method", ["predict", "evaluate"])
def test_outputs_can_be_left_out(tmp_path: Path, method: str) -> None:
    seen = []
    trainer = mos_trainer(tmp_path, compute_metrics=lambda prediction: seen.append(prediction.predictions) or {})
    getattr(trainer, method)(rated_rows(4), ignore_keys=["variances", "embeddings"])
    assert [part.shape for part in seen] == [(4, 1)]


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("left_out", [[], ["variances", "embeddings"]])
def test_the_metrics_are_the_same_with_outputs_left_out_and_batches_one_by_one(
    tmp_path: Path, left_out: list[str], joined: bool
) -> None:
    rows = rated_rows(5)
    settings = {"eval_do_concat_batches": joined, "per_device_eval_batch_size": 2}
    trainer = mos_trainer(tmp_path, None, settings, compute_metrics=compute_mos_metrics(["mos"]))
    metrics = trainer.evaluate(rows, ignore_keys=left_out)  # type: ignore[arg-type]
    expected = mos_metrics(predict(trainer.model, rows, MOSCollator(EXTRACTOR)).scores[:, 0], [1, 1.1, 1.2, 1.3, 1.4])  # type: ignore[arg-type]
    assert {name: metrics[f"eval_{name}"] for name in expected} == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_figures_are_nan_where_a_score_is_not_finite(score: float) -> None:
    """Those of the other clips would make it the best model of a run."""
    scores = np.array([[score], [2.0], [3.0]])
    compute = compute_mos_metrics(["mos"])
    assert np.isnan(compute(EvalPrediction((scores,), np.array([[1.0], [2.0], [3.0]])))["rmse"])
    of_an_unrated_clip = compute(EvalPrediction((scores,), np.array([[math.nan], [2.0], [4.0]])))
    assert (of_an_unrated_clip["mae"], of_an_unrated_clip["n"]) == (0.5, 2)


def test_ratings_may_be_plain_numbers(tmp_path: Path) -> None:
    lists = rated_rows(6)
    numbers = [{**row, "labels": row["labels"][0]} for row in lists]
    batches = [MOSCollator(EXTRACTOR)(rows) for rows in (lists, numbers)]
    torch.testing.assert_close(batches[1], batches[0])
    plain = [
        {"input_values": clip, "labels": row["labels"]}
        for clip, row in zip(batches[0]["input_values"], numbers, strict=True)
    ]
    results = []
    for rows, collator in ((lists, MOSCollator(EXTRACTOR)), (plain, None)):
        trainer = mos_trainer(tmp_path, data_collator=collator, compute_metrics=compute_mos_metrics(["mos"]))
        metrics = trainer.evaluate(rows)  # type: ignore[arg-type]
        results.append({name: metrics[f"eval_{name}"] for name in ("loss", "rmse", "pcc")})
        assert [part.shape for part in trainer._predictions[""]] == [(6, 1)] * 3
    assert results[1] == pytest.approx(results[0])


def test_clips_without_ratings_are_predicted(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "labels"} for row in rated_rows(3)]
    prediction = mos_trainer(tmp_path).predict(rows)  # type: ignore[arg-type]
    assert prediction.predictions[0].shape == (3, 1) and prediction.label_ids is None


def test_clips_may_be_decoded(tmp_path: Path) -> None:
    rows = rated_rows(3)
    decoded = []
    for row in rows:
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
        decoded.append({**row, "audio": {"array": np.stack([samples, samples], axis=1), "sampling_rate": rate}})
    collate = MOSCollator(EXTRACTOR, 0.3)
    torch.testing.assert_close(collate(decoded), collate(rows))


def test_a_plain_trainer_that_removes_the_audio_is_told_how_to_keep_it(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list(rated_rows(3))
    trainer = Trainer(small_model(), arguments(tmp_path), data_collator=MOSCollator(EXTRACTOR), train_dataset=rows)
    with pytest.raises(ValueError, match="no audio, only labels: set remove_unused_columns=False"):
        trainer.train()


@pytest.mark.parametrize("of_list", [True, False])
def test_trainers_take_the_default_arguments_and_any_dataset(tmp_path: Path, of_list: bool) -> None:
    rated = [{**row, "length": 8000 + index} for index, row in enumerate(rated_rows(4))]
    ladders = [{**row, "clips": [list(clip) for clip in row["clips"]]} for row in ladder_rows(4, clips=True)]
    rated, ladders = (rows if of_list else datasets.Dataset.from_list(rows) for rows in (rated, ladders))
    trainers = [
        MOSTrainer(
            small_model(),
            arguments(tmp_path, train_sampling_strategy="group_by_length"),
            data_collator=MOSCollator(EXTRACTOR),
            train_dataset=rated,
        ),
        ContrastiveTrainer(
            JSQAForContrastivePretraining(small_config()),
            arguments(tmp_path),
            data_collator=ContrastiveCollator(EXTRACTOR),
            train_dataset=ladders,
        ),
    ]
    for trainer in trainers:
        trainer.train()
        assert trainer.state.global_step == 2


def test_a_search_for_hyperparameters_goes_by_the_loss_and_not_by_the_samples_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objectives: list[Any] = []
    monkeypatch.setattr(
        Trainer, "hyperparameter_search", lambda self, space, objective, **_: objectives.append(objective)
    )
    rows = rated_rows(2)
    trainer = mos_trainer(tmp_path, None, {"include_num_input_tokens_seen": "non_padding"}, train_dataset=rows)
    trainer.hyperparameter_search(n_trials=1)
    trainer.hyperparameter_search(compute_objective=max, n_trials=1)
    trainer.train()
    metrics = trainer.evaluate(rows)  # type: ignore[arg-type]
    assert metrics["num_input_tokens_seen"] > 0
    assert objectives[0](metrics) == metrics["eval_loss"]
    assert objectives[1] is max


class Overflow(TrainerCallback):
    """Makes the third step so large that no weight is finite after it."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            for group in kwargs["optimizer"].param_groups:
                group["lr"] = 1e38


@pytest.mark.parametrize(
    ("save_strategy", "last_step", "kept", "told"),
    [
        ("steps", 3, ["checkpoint-2"], r"last good checkpoint is \S+/checkpoint-2\."),
        ("epoch", 3, ["checkpoint-2"], r"last good checkpoint is \S+/checkpoint-2\."),
        ("no", 4, [], "has no checkpoint"),
    ],
)
def test_weights_that_are_no_longer_finite_end_the_run_and_leave_the_last_good_checkpoint(
    tmp_path: Path, save_strategy: str, last_step: int, kept: list[str], told: str
) -> None:
    settings = {
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "save_strategy": save_strategy,
        "save_steps": 1,
        "save_total_limit": 1,
        "lr_scheduler_type": "constant",
    }
    rows, seen = rated_rows(4), []
    trainer = mos_trainer(
        tmp_path,
        None,
        settings,
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda prediction: seen.append(prediction) or {},
        callbacks=[Overflow()],
    )
    with pytest.raises(ValueError, match=rf"after step {last_step}, .* NaN or infinite.* {told}.*--learning_rate"):
        run_training(trainer, trainer.args)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == kept
    assert not (tmp_path / "model.safetensors").exists() and not seen
    assert json.loads((tmp_path / "run.json").read_text())["starts"][-1]["status"] == "failed"


def test_an_evaluation_in_half_precision_leaves_the_weights_that_are_saved(tmp_path: Path) -> None:
    rows = rated_rows(2)
    trainer = mos_trainer(tmp_path, None, {"bf16_full_eval": True}, train_dataset=rows, eval_dataset=rows)
    assert "eval_loss" in run_training(trainer, trainer.args)
    weights = load_file(tmp_path / "model.safetensors")
    assert {values.dtype for values in weights.values()} == {torch.float32}
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize("word", [True, "true"])
def test_to_resume_from_a_checkpoint_without_naming_one_is_what_is_done_anyway(
    tmp_path: Path, word: bool | str
) -> None:
    for steps in (1, 2):
        settings = {"max_steps": steps, "save_strategy": "steps", "save_steps": 1, "resume_from_checkpoint": word}
        trainer = mos_trainer(tmp_path, None, settings, train_dataset=rated_rows(4))
        run_training(trainer, trainer.args)
    starts = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert [start["status"] for start in starts] == ["finished", "finished"]
    assert starts[-1]["resumed_from"].endswith("checkpoint-1")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a Linear holds no JSQAForMOSRegression"):
        mos_trainer(tmp_path, nn.Linear(1, 1)).create_optimizer()


class Adapter(nn.Module):
    """Wraps a model as PEFT does."""

    def __init__(self, model: JSQAForMOSRegression) -> None:
        super().__init__()
        self.base_model = model

    def forward(self, **inputs: Any) -> Any:
        return self.base_model(**inputs)


def test_a_wrapped_model_learns_its_head_first_and_at_rates_by_layer(tmp_path: Path) -> None:
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    trainer = mos_trainer(
        tmp_path, Adapter(model), train_dataset=rated_rows(4), callbacks=[HeadFirst(2)], layer_decay=0.5
    )
    trainer.train()
    changed = {name for name, values in model.state_dict().items() if not torch.equal(values, before[name])}
    assert changed and all(name.startswith("head.") for name in changed)
    rates = {group["initial_lr"] / trainer.args.learning_rate for group in trainer.optimizer.param_groups}  # type: ignore[union-attr]
    # The head, two layers, and what lies below them.
    assert rates == {1.0, 0.5, 0.25, 0.125}


def test_the_card_of_a_wrapped_model_is_that_of_a_rater_and_tells_what_was_saved(tmp_path: Path) -> None:
    text = card_of_run(tmp_path, Adapter(small_model())).text
    assert "Rates the quality of speech" in text
    assert "without its configuration" in text
    assert "```python" not in text


def test_bare_weights_are_not_pushed_and_that_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="push_to_hub: a Adapter is saved as bare weights"):
        MOSTrainer(model=Adapter(small_model()), args=arguments(tmp_path, push_to_hub=True))


@pytest.mark.parametrize("strategy", ["checkpoint", "all_checkpoints"])
def test_pickles_are_not_pushed_and_that_is_said_before_training(tmp_path: Path, strategy: str) -> None:
    settings = {"push_to_hub": True, "hub_strategy": strategy}
    with pytest.raises(ValueError, match="pickles are never pushed: choose end or every_save"):
        mos_trainer(tmp_path, settings=settings)


def test_pushes_in_the_background_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = []

    def push(seconds: float, message: str) -> None:
        time.sleep(seconds)
        pushed.append(message)

    def create_commit(hub: HfApi, *_: Any, commit_message: str, **__: Any) -> Any:
        return hub.run_as_future(push, 0.5 if commit_message.endswith("step 1") else 0.0, commit_message)

    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    trainer = mos_trainer(tmp_path / "run", settings={"hub_always_push": True})
    trainer.hub_model_id = "user/model"
    trainer.save_model(str(tmp_path / "checkpoint"))
    for trainer.state.global_step in (1, 2):
        trainer._push_from_checkpoint(str(tmp_path / "checkpoint"))
    wait(trainer._pushes)
    assert pushed == ["Training in progress, step 1", "Training in progress, step 2"]


def test_an_adapter_of_peft_is_pushed_as_one_and_its_card_tells_how_to_load_it(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    small_model().save_pretrained(tmp_path / "start")
    settings = peft.LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["head"])
    model = peft.get_peft_model(JSQAForMOSRegression.from_pretrained(tmp_path / "start"), settings)
    text = card_of_run(tmp_path, model, eval_dataset=rated_rows(4)).text
    assert "Rates the quality of speech" in text
    assert len(figures(text)) == 1
    pushed = files_to_push(tmp_path / "run").keys()
    assert {"adapter_config.json", "adapter_model.safetensors"} <= pushed
    assert not {"config.json", "pipeline_jsqa.py"} & pushed
    code = text.partition("```python")[2].partition("```")[0]
    code = code.replace("path/to/the/base/model", str(tmp_path / "start"))
    loaded: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", str(tmp_path / "run")), loaded)
    clip = 0.05 * torch.randn(1, 8000)
    with torch.no_grad():
        expected = model.eval()(input_values=clip).scores
        assert torch.equal(loaded["model"].eval()(input_values=clip).scores, expected)
        merged = loaded["model"].merge_and_unload()
        assert merged(clip).scores.item() == pytest.approx(expected.item(), abs=1e-5)
