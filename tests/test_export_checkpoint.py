"""`export_checkpoint.py`: the folder that ships loads as the model that was trained, without code."""

from __future__ import annotations

from pathlib import Path

import export_checkpoint
import numpy as np
import pytest
from small import SAMPLING_RATE, small_config
from transformers import pipeline

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression, JSQAModel, SpeechQualityPipeline
from jsqa_hf.onnx_rater import load_onnx_rater
from jsqa_hf.score_engine import make_engine
from jsqa_hf.score_results import describe_model
from jsqa_hf.scoring import load_pipeline
from jsqa_hf.training import run_script


def test_a_model_without_its_head_is_not_exported_with_a_random_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    JSQAModel(small_config()).save_pretrained(tmp_path / "bare")
    words = [f"--model={tmp_path / 'bare'}", f"--output_dir={tmp_path / 'exported'}"]
    assert run_script(lambda: export_checkpoint.main(words)) == 1
    assert "weights of the projection head" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()


@pytest.mark.slow
def test_an_exported_model_rates_as_before_and_needs_no_code(tmp_path: Path) -> None:
    trained, exported = tmp_path / "trained", tmp_path / "exported"
    rate = SpeechQualityPipeline(
        model=JSQAForMOSRegression(small_config()), feature_extractor=JSQAFeatureExtractor(), device="cpu"
    )
    rate.save_pretrained(trained)
    assert export_checkpoint.main([f"--model={trained}", f"--output_dir={exported}"]) == 0
    assert {path.suffix for path in exported.iterdir()} == {".json", ".safetensors", ".onnx"}
    clip = {
        "array": np.random.default_rng(0).normal(0, 0.05, SAMPLING_RATE),
        "sampling_rate": SAMPLING_RATE,
    }
    loaded = pipeline("speech-quality-assessment", model=str(exported), device="cpu")
    assert loaded(dict(clip))["mos"] == pytest.approx(rate(dict(clip))["mos"], abs=0.01)
    graph = load_onnx_rater(exported)
    assert describe_model(graph) == describe_model(load_pipeline(exported, "cpu"))
    (rated,) = make_engine(graph, None, None, {}).run([("clip", dict(clip))])
    assert rated.scores["mos"] == pytest.approx(loaded(dict(clip))["mos"], abs=1e-4)
