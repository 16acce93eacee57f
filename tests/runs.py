"""The training scripts on a corpus of seconds, in this process or in their own."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file
from small import SMALL_HUBERT
from transformers import HubertConfig, HubertModel

from jsqa_hf import JSQAConfig, JSQAModel

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "training_scripts"
RATE = 16000


def write_corpus(root: Path) -> Path:
    """Bursts of tones as speech, noise, rated clips of two rates, and a small HuBERT that draws random numbers."""
    rng = np.random.default_rng(0)
    for folder in ("speech", "noise", "rated"):
        (root / folder).mkdir(parents=True)
    time = np.arange(RATE) / RATE
    for index in range(4):
        bursts = np.repeat(rng.random(10) > 0.3, RATE // 10)
        bursts[:1600] = True
        soundfile.write(root / "speech" / f"talker{index}.wav", 0.1 * np.sin(750 * (index + 1) * time) * bursts, RATE)
        soundfile.write(root / "noise" / f"noise{index}.wav", rng.normal(0, 0.05, RATE), RATE)
    with open(root / "rated" / "ratings.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "mos", "split"])
        for index in range(16):
            rate = RATE if index % 2 else 24000
            soundfile.write(root / "rated" / f"clip{index}.wav", rng.normal(0, 0.1, rate // 2), rate)
            writer.writerow([f"clip{index}.wav", f"{1 + index / 4:.2f}", "test" if index % 4 == 3 else "train"])
    torch.manual_seed(0)
    # Dropout and masking draw random numbers in every step: a run that loses count of them ends elsewhere.
    dropping = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "apply_spec_augment": True, "mask_time_prob": 0.05}
    HubertModel(HubertConfig(**SMALL_HUBERT)).save_pretrained(root / "hubert")
    JSQAModel(JSQAConfig(hubert_config={**SMALL_HUBERT, **dropping})).save_pretrained(root / "start")
    return root


COMMON = [
    "--learning_rate=1e-2",
    "--use_cpu=true",
    "--disable_tqdm=true",
    "--report_to=none",
    "--dataloader_pin_memory=false",
    "--save_steps=2",
    "--per_device_train_batch_size=2",
]


def pretraining(corpus: Path, output: Path, *extra: str) -> list[str]:
    """Arguments of stage 1."""
    return [
        f"--speech={corpus / 'speech'}",
        f"--noise={corpus / 'noise'}",
        f"--backbone={corpus / 'start'}",
        "--duration_s=0.5",
        "--max_steps=6",
        f"--output_dir={output}",
        *COMMON,
        *extra,
    ]


def finetuning(corpus: Path, output: Path, *extra: str) -> list[str]:
    """Arguments of stage 2: 12 clips in 6 batches an epoch."""
    return [
        f"--ratings={corpus / 'rated' / 'ratings.csv'}",
        f"--model={corpus / 'hubert'}",
        "--split=train",
        "--num_train_epochs=2",
        f"--output_dir={output}",
        *COMMON,
        *extra,
    ]


def command(name: str, arguments: Sequence[str], processes: int = 1) -> list[str]:
    """The command line of a script, under torchrun for more than one process."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *launcher, str(SCRIPTS / f"{name}.py"), *arguments]


def environment(**extra: str) -> dict[str, str]:
    """For a script in a process of its own, which finds no accelerator, as on most machines that run tests."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", **extra}


def run_command(name: str, arguments: Sequence[str], processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return subprocess.run(
        command(name, arguments, processes), env=environment(), capture_output=True, text=True, timeout=500
    )


def assert_same_weights(first: Path, second: Path) -> None:
    """Equal to the last bit."""
    one, other = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different
