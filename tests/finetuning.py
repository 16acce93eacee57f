"""Stage 2 on seconds of noise, for the files that test it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import finetune_mos
import numpy as np
import pytest
import soundfile
import torch
from small import small_config

from jsqa_hf import JSQAConfig, JSQAForMOSRegression

RATE = 16000
SAVING = ["--save_strategy=steps", "--save_steps=1", "--lr_scheduler_type=constant", "--max_steps=8"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return finetune_mos


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


def start_without_dropout(folder: Path) -> None:
    names = ["hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout"]
    torch.manual_seed(0)
    JSQAForMOSRegression(small_config(hubert=dict.fromkeys(names, 0.0))).save_pretrained(folder)


def resume(script: ModuleType, corpus: Path, whole: Path, broken: Path, step: int, extra: Sequence[str]) -> None:
    """Go on, in another folder, from a checkpoint of a run."""
    broken.mkdir()
    (whole / f"checkpoint-{step}").rename(broken / f"checkpoint-{step}")
    script.main(arguments(corpus, broken, *extra))
