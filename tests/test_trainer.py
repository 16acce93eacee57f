"""Stage 2 by `Trainer` and `MOSTrainer` from Python, without the script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_config
from transformers import Trainer, TrainingArguments

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
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
        processing_class=JSQAFeatureExtractor(),
        compute_metrics=lambda prediction: {"rated": len(prediction.label_ids)},
    )
    trainer.train()
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [entry["eval_rated"] for entry in evaluated] == [4, 4]
    assert trainer.state.best_metric == pytest.approx(min(entry["eval_loss"] for entry in evaluated))
    prediction = trainer.predict(rows)  # type: ignore[arg-type]
    assert [part.shape for part in prediction.predictions] == [(4, 1), (4, 1)]
    assert prediction.label_ids.ravel().tolist() == [1.0, 2.0, 3.0, 4.0]  # type: ignore[union-attr]
