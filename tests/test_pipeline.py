"""The pipeline: inputs, windows, batches, intervals, and errors that name the file."""

from __future__ import annotations

import copy
import http.server
import io
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch
from small import SAMPLING_RATE, small_config
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf.pipeline_jsqa import SILENCE_DBFS
from jsqa_hf.scoring import load_pipeline
from jsqa_hf.speech_activity import Activity

Z_95 = 1.959964
PANEL_STD = 0.3


@pytest.fixture(scope="module")
def model() -> JSQAForMOSRegression:
    """Three outputs, "mos" in the middle, with random weights of a size that tells clips well apart."""
    torch.manual_seed(0)
    names = ["noisiness", "mos", "coloration"]
    model = JSQAForMOSRegression(small_config(mos_output_names=names, mos_panel_std=PANEL_STD)).eval()
    with torch.no_grad():
        for layer in (model.head.dense, model.head.output):
            layer.weight.mul_(10.0)
        model.head.output.weight[3:].div_(10.0)
        model.head.output.bias[3:] = torch.tensor([-4.0, -3.0, -2.0])
    return model


@pytest.fixture(scope="module")
def rate(model: JSQAForMOSRegression) -> SpeechQualityPipeline:
    return SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), device="cpu")


def clip(seconds: float, seed: int = 0, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Noise whose spectrum and level depend on the seed, so that the model's scores do too."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 1, int(seconds * sampling_rate))
    kernel = generator.normal(0, 1, 8)
    return (10 ** generator.uniform(-3, -1) * np.convolve(noise, kernel, "same")).astype(np.float32)


def of_model(model: JSQAForMOSRegression, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and variances without the pipeline: (outputs,) each."""
    features = JSQAFeatureExtractor()(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**features)
    return outputs.scores[0].double().numpy(), outputs.variances[0].double().numpy()


def assert_same(first: dict[str, float], second: dict[str, float], tolerance: float = 1e-4) -> None:
    assert list(first) == list(second)
    for name in first:
        assert first[name] == pytest.approx(second[name], abs=tolerance), name


def output_of_model(
    score: float, variance: float, start_s: float = 0.0, end_s: float = 1.0, speech: float = 1.0
) -> dict[str, Any]:
    """What `_forward` gives for a window that stands for the time from `start_s` to `end_s`."""
    activity = Activity(np.full_like(Activity().counts, speech), energy=speech)
    about = {"purpose": "summary", "cells": ((start_s, end_s),), "activity": activity, "read_s": end_s}
    return {"scores": torch.full((1, 3), score), "variances": torch.full((1, 3), variance), **about}


def test_the_score_is_the_models_and_the_interval_two_sided(
    rate: SpeechQualityPipeline, model: JSQAForMOSRegression
) -> None:
    scores, variances = of_model(model, clip(1.0))
    result = rate(clip(1.0))
    for index, name in enumerate(model.config.mos_output_names):
        half_width = Z_95 * math.hypot(math.sqrt(variances[index]), PANEL_STD)
        assert result[name] == pytest.approx(scores[index], abs=1e-5)
        assert result[f"{name}_low"] == pytest.approx(max(1.0, scores[index] - half_width), abs=1e-5)
        assert result[f"{name}_high"] == pytest.approx(min(5.0, scores[index] + half_width), abs=1e-5)


def test_mos_comes_first_and_every_output_has_an_interval(rate: SpeechQualityPipeline) -> None:
    names = [f"{name}{suffix}" for name in ("mos", "noisiness", "coloration") for suffix in ("", "_low", "_high")]
    result = rate(clip(1.0))
    assert list(result) == names
    assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize("score", [1.001, 1.5, 3.0, 4.5, 4.999])
def test_the_interval_is_clipped_to_the_rating_scale(rate: SpeechQualityPipeline, score: float) -> None:
    result = rate.postprocess([output_of_model(score, 0.25 - PANEL_STD**2)])
    assert result["mos"] == pytest.approx(score)
    assert result["mos_low"] == pytest.approx(max(1.0, score - Z_95 * 0.5))
    assert result["mos_high"] == pytest.approx(min(5.0, score + Z_95 * 0.5))


def test_confidence_sets_the_width_of_the_interval(rate: SpeechQualityPipeline, model: JSQAForMOSRegression) -> None:
    _, variances = of_model(model, clip(1.0))
    result = rate(clip(1.0), confidence=0.5)
    # Half of a normal distribution lies within 0.67449 standard deviations.
    assert result["mos_high"] - result["mos_low"] == pytest.approx(
        2 * 0.67449 * math.hypot(math.sqrt(variances[1]), PANEL_STD), abs=1e-4
    )
    default = SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), confidence=0.5)
    assert_same(default(clip(1.0)), result)


class AwaitedFile:
    """What FastAPI and Starlette hand over."""

    async def read(self) -> bytes:
        return b""


class Decoder:
    """What a column `Audio()` of `datasets` holds, as far as it matters: torchcodec isn't needed for it."""

    def get_all_samples(self) -> SimpleNamespace:
        return SimpleNamespace(data=torch.from_numpy(clip(1.0))[None], sample_rate=SAMPLING_RATE)


INPUTS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: str(path),
    "pathlib": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "file in memory": lambda path: io.BytesIO(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "array": lambda path: clip(1.0),
    "array of one channel": lambda path: clip(1.0)[None],
    "array of two channels, time first": lambda path: np.stack([clip(1.0)] * 2, axis=1),
    "tensor": lambda path: torch.from_numpy(clip(1.0)),
    "dict with array": lambda path: {"array": clip(1.0), "sampling_rate": SAMPLING_RATE, "path": None},
    "dict with raw": lambda path: {"raw": torch.from_numpy(clip(1.0)), "sampling_rate": SAMPLING_RATE},
    "dict with a list": lambda path: {"array": clip(1.0).tolist(), "sampling_rate": SAMPLING_RATE},
    "dict with bytes": lambda path: {"bytes": path.read_bytes(), "path": "elsewhere.wav"},
    "dict with a bytearray": lambda path: {"bytes": bytearray(path.read_bytes()), "path": None},
    "dict with path": lambda path: {"bytes": None, "path": str(path)},
    "decoder": lambda path: Decoder(),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "clip.wav", clip(1.0), SAMPLING_RATE, subtype="FLOAT")
    return tmp_path / "clip.wav"


@pytest.mark.parametrize("kind", INPUTS)
def test_every_kind_of_input_gives_the_same_score(rate: SpeechQualityPipeline, file: Path, kind: str) -> None:
    assert_same(rate(INPUTS[kind](file)), rate(clip(1.0)), 1e-6)


def test_a_model_whose_configuration_asks_for_tuples_rates_alike(
    rate: SpeechQualityPipeline, model: JSQAForMOSRegression
) -> None:
    tuples = copy.deepcopy(model)
    tuples.config.return_dict = False
    same = SpeechQualityPipeline(model=tuples, feature_extractor=JSQAFeatureExtractor(), device="cpu")
    assert same(clip(1.0)) == rate(clip(1.0))


def test_int16_arrays_are_pcm(rate: SpeechQualityPipeline) -> None:
    integers = np.round(clip(1.0) * 32768).astype(np.int16)
    assert_same(rate(integers), rate(integers / np.float32(32768)), 1e-6)


def test_audio_at_another_rate_is_resampled_and_downmixed(rate: SpeechQualityPipeline, tmp_path: Path) -> None:
    time = np.arange(48000) / 48000
    stereo = np.stack([0.3 * np.sin(2 * np.pi * 300 * time), 0.1 * np.sin(2 * np.pi * 900 * time)])
    soundfile.write(tmp_path / "a.wav", stereo.T, 48000, subtype="FLOAT")
    mono = stereo.mean(0)[::3].astype(np.float32)
    # Both tones are far below 8 kHz, so every third sample is the exact resampling.
    assert_same(rate(tmp_path / "a.wav"), rate(mono), 0.02)
    assert_same(rate({"array": stereo, "sampling_rate": 48000}), rate(tmp_path / "a.wav"))


def mixed_clips() -> list[np.ndarray]:
    return [clip(seconds, seed) for seed, seconds in enumerate([0.4, 2.3, 1.0, 0.06, 1.7, 1.7, 3.1])]


@pytest.mark.parametrize("batch_size", [2, 4, 16])
@pytest.mark.parametrize("window_s", [30.0, 1.0])
def test_batches_of_mixed_lengths_give_the_scores_of_single_clips(
    rate: SpeechQualityPipeline, batch_size: int, window_s: float
) -> None:
    single = rate(mixed_clips(), window_s=window_s)
    batched = rate(mixed_clips(), batch_size=batch_size, window_s=window_s)
    assert len(single) == len(batched) == len(mixed_clips())
    assert np.std([result["mos"] for result in single]) > 0.05
    for one, other in zip(single, batched, strict=True):
        assert_same(one, other)


def test_collections_of_inputs_are_rated_one_by_one(rate: SpeechQualityPipeline, tmp_path: Path) -> None:
    paths = []
    for index, samples in enumerate(mixed_clips()[:3]):
        paths.append(str(tmp_path / f"{index}.wav"))
        soundfile.write(paths[-1], samples, SAMPLING_RATE, subtype="FLOAT")
    expected = [rate(samples) for samples in mixed_clips()[:3]]
    table = datasets.Dataset.from_dict({"audio": paths}).cast_column("audio", datasets.Audio(decode=False))
    collections = {
        "list": paths,
        "tuple": tuple(paths),
        "generator": (path for path in paths),
        "map": map(str, paths),
        "column": table["audio"],
        "KeyDataset": KeyDataset(table, "audio"),
        "stream": (row["audio"] for row in table.to_iterable_dataset()),
    }
    for name, collection in collections.items():
        results = list(rate(collection, batch_size=2))
        assert len(results) == 3, name
        for result, wanted in zip(results, expected, strict=True):
            assert_same(result, wanted)
    assert rate([]) == []


def test_a_generator_is_read_as_the_results_are_taken(rate: SpeechQualityPipeline) -> None:
    read = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield clip(0.1)

    results = iter(rate(endless(), batch_size=2))
    for _ in range(4):
        next(results)
    assert read <= 8


def test_postprocessing_weights_windows_by_their_speech(rate: SpeechQualityPipeline) -> None:
    result = rate.postprocess([output_of_model(2.0, 0.01, 0.0, 9.0, 3.0), output_of_model(4.0, 0.09, 9.0, 18.0, 1.0)])
    assert result["mos"] == pytest.approx(2.5)
    assert result["mos_high"] == pytest.approx(2.5 + Z_95 * math.sqrt(0.03 + PANEL_STD**2))


def test_without_any_speech_windows_are_weighted_by_time(rate: SpeechQualityPipeline) -> None:
    result = rate.postprocess([output_of_model(2.0, 0.01, 0.0, 3.0, 0.0), output_of_model(4.0, 0.09, 3.0, 4.0, 0.0)])
    assert result["mos"] == pytest.approx(2.5)


@pytest.mark.parametrize("level", [0.0, 10 ** ((SILENCE_DBFS - 1) / 20)])
def test_digital_silence_is_refused(rate: SpeechQualityPipeline, tmp_path: Path, level: float) -> None:
    soundfile.write(tmp_path / "quiet.wav", level * np.sign(clip(1.0)), SAMPLING_RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"quiet\.wav: digital silence cannot be rated"):
        rate(tmp_path / "quiet.wav")


def test_a_constant_offset_is_silence(rate: SpeechQualityPipeline) -> None:
    with pytest.raises(ValueError, match="^digital silence"):
        rate(np.full(SAMPLING_RATE, 0.3, dtype=np.float32))


def test_the_faintest_sound_of_16_bits_is_rated(rate: SpeechQualityPipeline) -> None:
    assert rate(2**-14 * np.sign(clip(1.0)))["mos"] > 1.0


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.wav": (lambda path: path.write_text("no sound"), "is not audio"),
    "short.wav": (lambda path: soundfile.write(path, clip(0.01), SAMPLING_RATE), "at least 50 ms"),
    "nan.wav": (lambda path: soundfile.write(path, np.full(9000, np.nan), SAMPLING_RATE, subtype="FLOAT"), "NaN"),
    "loud.wav": (lambda path: soundfile.write(path, 9e3 * clip(1.0), SAMPLING_RATE, subtype="FLOAT"), "full scale"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_errors_of_a_file_name_it(rate: SpeechQualityPipeline, tmp_path: Path, name: str) -> None:
    make, reason = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: .*{reason}"):
        rate(str(tmp_path / name))
    with pytest.raises(ValueError, match=f"^{name}: .*{reason}"):
        rate({"bytes": (tmp_path / name).read_bytes(), "path": name})


@pytest.mark.parametrize(
    ("odd", "error", "message"),
    [
        (None, TypeError, "NoneType"),
        (5, TypeError, "int"),
        ([[0.1, 0.2]], TypeError, "list"),
        ({"text": "x"}, ValueError, "must have 'array'"),
        ({"array": clip(1.0)}, ValueError, "lacks 'sampling_rate'"),
        ({"array": clip(1.0), "sampling_rate": "fast"}, ValueError, "sampling_rate"),
        ({"array": clip(1.0), "sampling_rate": 0}, ValueError, "sampling_rate"),
        (np.zeros((2, 3, 4)), ValueError, "give several as a list"),
        (np.float32(1.0), TypeError, "float32"),
        (io.StringIO("RIFF"), TypeError, "mode 'rb'"),
        (AwaitedFile(), TypeError, "pass its `.file`"),
        ({"bytes": "abc"}, TypeError, "'bytes' must be the content of a file, but is str"),
        ({"bytes": 5}, TypeError, "'bytes' must be the content of a file, but is int"),
        (np.array("text"), ValueError, "shape"),
        (np.zeros(0), ValueError, "empty"),
        (np.zeros((2, 0)), ValueError, "the clip is empty"),
        (np.zeros((0, 2)), ValueError, "the clip is empty"),
        ({"array": [[0.1, 0.2], [0.3]], "sampling_rate": 16000}, ValueError, "for each channel a list of as many"),
        (b"", ValueError, "is empty"),
    ],
)
def test_inputs_that_are_not_audio_are_refused(
    rate: SpeechQualityPipeline, odd: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        rate(odd)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"window_s": 0.0}, ValueError),
        ({"window_s": math.nan}, ValueError),
        ({"window_s": math.inf}, ValueError),
        ({"curve_step_s": 0.05}, ValueError),
        ({"confidence": 1.0}, ValueError),
        ({"confidence": 95}, ValueError),
        ({"windows": 3}, TypeError),
    ],
)
def test_parameters_out_of_range_or_unknown_are_refused(
    rate: SpeechQualityPipeline, parameters: dict[str, float], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(parameters))):
        rate(clip(1.0), **parameters)


def test_a_score_that_is_not_finite_is_refused(model: JSQAForMOSRegression) -> None:
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.head.output.bias[0] = math.nan
    with pytest.raises(ValueError, match="no finite score"):
        SpeechQualityPipeline(model=broken, feature_extractor=JSQAFeatureExtractor())(clip(1.0))


def test_models_that_cannot_rate_are_refused_at_construction(model: JSQAForMOSRegression) -> None:
    extractor = JSQAFeatureExtractor()
    with pytest.raises(ValueError, match="JSQAForContrastivePretraining doesn't predict MOS"):
        SpeechQualityPipeline(model=JSQAForContrastivePretraining(small_config()), feature_extractor=extractor)
    with pytest.raises(ValueError, match="named 'mos'"):
        nameless = JSQAForMOSRegression(small_config(mos_output_names=["quality"]))
        SpeechQualityPipeline(model=nameless, feature_extractor=extractor)
    with pytest.raises(ValueError, match="feature extractor is missing"):
        SpeechQualityPipeline(model=model)
    with pytest.raises(ValueError, match="8000 Hz.*16000 Hz"):
        SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(sampling_rate=8000))


def test_a_model_left_in_training_mode_is_rated_without_dropout(model: JSQAForMOSRegression) -> None:
    training = copy.deepcopy(model).train()
    noisy = SpeechQualityPipeline(model=training, feature_extractor=JSQAFeatureExtractor())
    assert noisy(clip(1.0)) == noisy(clip(1.0))


def test_the_task_is_known_to_transformers(small_checkpoint: Path, small_model: JSQAForMOSRegression) -> None:
    rate = pipeline("speech-quality-assessment", model=str(small_checkpoint))
    assert isinstance(rate, SpeechQualityPipeline)
    assert rate(clip(1.0))["mos"] == pytest.approx(of_model(small_model, clip(1.0))[0][0], abs=1e-5)


@pytest.fixture
def server(file: Path) -> Iterator[str]:
    """A web server on this machine that has `clip.wav`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(file.parent))

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_an_address_is_fetched(rate: SpeechQualityPipeline, server: str) -> None:
    assert_same(rate(f"{server}/clip.wav"), rate(clip(1.0)), 1e-6)
    with pytest.raises(ValueError, match=r"/missing\.wav: can't be fetched .*404"):
        rate(f"{server}/missing.wav")


def test_a_saved_pipeline_carries_its_code(rate: SpeechQualityPipeline, tmp_path: Path) -> None:
    rate.save_pretrained(tmp_path)
    assert {"pipeline_jsqa.py", "audio.py", "windows.py", "recent_values.py"} <= set(os.listdir(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["custom_pipelines"]["speech-quality-assessment"]["impl"] == "pipeline_jsqa.SpeechQualityPipeline"


def test_the_code_of_the_pipeline_is_added_to_a_folder_that_lacks_it(
    model: JSQAForMOSRegression, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    JSQAFeatureExtractor().save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert not (tmp_path / "pipeline_jsqa.py").exists()
    load_pipeline(tmp_path).save_pretrained(tmp_path)
    assert (tmp_path / "pipeline_jsqa.py").exists()
    assert "custom_pipelines" in json.loads((tmp_path / "config.json").read_text())
    assert (tmp_path / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_a_saved_pipeline_rates_on_a_machine_without_the_package(
    rate: SpeechQualityPipeline, file: Path, tmp_path: Path
) -> None:
    rate.save_pretrained(tmp_path / "saved")
    code = (
        "import sys\n"
        "sys.modules['jsqa_hf'] = None\n"
        "from transformers import pipeline\n"
        f"rate = pipeline(model={str(tmp_path / 'saved')!r}, trust_remote_code=True)\n"
        f"print(repr(rate({str(file)!r})))\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    scores = json.loads(result.stdout.splitlines()[-1].replace("'", '"'))
    assert_same(scores, rate(file))
