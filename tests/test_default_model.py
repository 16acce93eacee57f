"""The model that comes with the package."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel, pipeline

import jsqa_hf
from jsqa_hf import DEFAULT_CHECKPOINT, JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.jnd import mix_at_snr
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.scoring import load_pipeline

DATA = Path(__file__).resolve().parents[1] / "examples" / "data"


def test_the_checkpoint_is_small_safe_and_without_code():
    files = {path.name: path.stat().st_size for path in DEFAULT_CHECKPOINT.iterdir()}
    assert {"config.json", "preprocessor_config.json", "model.safetensors", "model.onnx", "README.md"} <= set(files)
    assert sum(files.values()) <= 12e6
    assert not any(name.endswith((".py", ".bin", ".pt", ".pkl")) for name in files)


def test_load_default_gives_a_model_ready_to_rate():
    model, feature_extractor = jsqa_hf.load_default()
    assert type(model) is JSQAForMOSRegression and type(feature_extractor) is JSQAFeatureExtractor
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert 0.2e6 <= sum(parameter.numel() for parameter in model.parameters()) <= 0.3e6


def test_it_loads_in_single_precision_whoever_loads_it():
    assert AutoModel.from_pretrained(DEFAULT_CHECKPOINT).dtype == torch.float32


def test_it_agrees_with_people_on_talkers_it_was_not_trained_on():
    """A floor far below the figures of the model card, which `benchmarks/default_model.py` computes."""
    rate = pipeline("speech-quality-assessment", model=str(DEFAULT_CHECKPOINT))
    with open(DATA / "p835" / "ratings.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    predicted = [rate(str(DATA / "p835" / row["file"]))["mos"] for row in rows]
    assert mos_metrics(predicted, [float(row["mos"]) for row in rows])["pcc"] > 0.7


@pytest.mark.parametrize(("dtype", "autocast"), [("bfloat16", False), ("float16", False), (None, True)])
def test_half_precision_changes_scores_a_little(dtype, autocast):
    paths = sorted(str(path) for path in (DATA / "p835" / "wb").glob("c11*.flac"))
    exact, rounded = load_pipeline(None, "cpu"), load_pipeline(None, "cpu", dtype)
    scores = [exact(path)["mos"] for path in paths]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        differences = [abs(rounded(path)["mos"] - score) for path, score in zip(paths, scores, strict=True)]
    assert len(paths) == 6 and 0 < max(differences) < 0.02


@pytest.mark.parametrize("noise_file", ["sc_running_tap.flac", "blanket_coffee-shop.flac"])
def test_more_noise_of_an_unheard_kind_lowers_the_score(noise_file):
    rate = pipeline("speech-quality-assessment", model=str(DEFAULT_CHECKPOINT))
    with open(DATA / "speech" / "speech.csv", newline="") as file:
        speech_file = next(row["file"] for row in csv.DictReader(file) if row["split"] == "test")
    speech, sampling_rate = soundfile.read(DATA / "speech" / speech_file)
    noise, _ = soundfile.read(DATA / "noise" / noise_file)
    noise = np.resize(noise, len(speech))
    scores = [
        rate({"array": mix_at_snr(speech, noise, snr), "sampling_rate": sampling_rate})["mos"]
        for snr in (30.0, 15.0, 0.0)
    ]
    assert scores[0] > scores[1] > scores[2]
