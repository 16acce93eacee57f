"""Fixtures that several test files share: a model of a few thousand parameters, and its folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell: tests of Ctrl-C, and the processes that they start, want it back.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest
import torch
from small import SAMPLING_RATE, small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression


@pytest.fixture(autouse=True)
def _own_random_state() -> None:
    """No test draws on from where another stopped; the seed is not one of those that tests set themselves."""
    torch.manual_seed(20_250_716)


@pytest.fixture
def noise() -> np.ndarray:
    """One second of white noise at about -26 dBov."""
    return np.random.default_rng(0).normal(0.0, 0.05, SAMPLING_RATE).astype(np.float32)


@pytest.fixture(scope="session")
def small_model() -> JSQAForMOSRegression:
    """A small MOS model with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return JSQAForMOSRegression(small_config()).eval()


@pytest.fixture(scope="session")
def small_checkpoint(small_model: JSQAForMOSRegression, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_model` and its feature extractor, saved."""
    folder = tmp_path_factory.mktemp("checkpoint")
    small_model.save_pretrained(folder)
    JSQAFeatureExtractor().save_pretrained(folder)
    return folder
