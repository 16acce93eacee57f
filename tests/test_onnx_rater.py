"""`jsqa score` with an exported graph: the scores of the pipeline, without torch and transformers."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from small import SAMPLING_RATE, small_config

from jsqa_hf import DEFAULT_CHECKPOINT, JSQAForMOSRegression, SpeechQualityPipeline, cli_options
from jsqa_hf.cli import main
from jsqa_hf.onnx_rater import OnnxRater, load_onnx_rater
from jsqa_hf.score_engine import rate_paths
from jsqa_hf.score_results import describe_model
from jsqa_hf.scoring import find_audio_files, load_pipeline, score_files

pytest.importorskip("onnxscript")

SLOW_MODULES = ("torch", "torchaudio", "transformers")
EXAMPLES = Path(__file__).parents[1] / "examples" / "data" / "p835"


@pytest.fixture(scope="module")
def model() -> JSQAForMOSRegression:
    """With two outputs, of which MOS isn't the first."""
    torch.manual_seed(2)
    return JSQAForMOSRegression(small_config(mos_output_names=["noisiness", "mos"], mos_panel_std=0.3)).eval()


@pytest.fixture(scope="module")
def exported(model: JSQAForMOSRegression, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the exported `model`."""
    from jsqa_hf.onnx_export import export_onnx

    folder = tmp_path_factory.mktemp("exported")
    export_onnx(model, folder)
    return folder


@pytest.fixture(scope="module")
def rater(exported: Path) -> OnnxRater:
    return load_onnx_rater(exported)


@pytest.fixture(scope="module")
def pipeline(model: JSQAForMOSRegression) -> SpeechQualityPipeline:
    """The model in PyTorch."""
    return load_pipeline(model, "cpu")


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 s of noise whose level changes, with pauses, in two channels."""
    random = np.random.default_rng(3)
    gains = np.repeat([0.2, 0.0, 0.05, 0.3, 0.0], SAMPLING_RATE)
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, gains[:, None] * random.uniform(-1, 1, (len(gains), 2)), SAMPLING_RATE)
    return path


def modules_loaded_by(arguments: list[str], modules: tuple[str, ...]) -> tuple[set[str], int, str]:
    """Which of the modules the command `jsqa` has loaded in the end, its exit code, and what it printed on stderr."""
    code = (
        "import sys\n"
        f"sys.argv = {['jsqa', *arguments]}\n"
        "from jsqa_hf.cli import main\n"
        "code = main(sys.argv[1:])\n"
        f"print('', *(name for name in {modules} if name in sys.modules), sep='\\n', end='')\n"
        "sys.exit(code)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("WORLD_SIZE", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return set(done.stdout.splitlines()) & set(modules), done.returncode, done.stderr


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def assert_curves_agree(got: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(got) == len(wanted)
    assert any(step["mos"] is None for step in wanted) and any(step["mos"] is not None for step in wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours == {key: value and pytest.approx(value, abs=1e-4) for key, value in theirs.items()}


def test_neither_torch_nor_transformers_is_imported(exported: Path, long_file: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "44.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 44100), 44100)
    output = tmp_path / "scores.jsonl"
    paths = [str(long_file), str(tmp_path), "missing.wav"]
    options = ["--model", str(exported / "model.onnx"), "--curve", "--output", str(output)]
    loaded = modules_loaded_by(["score", *paths, *options], SLOW_MODULES)
    assert loaded == (set(), 1, "jsqa: missing.wav: no such file\n")
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert [result["mos"] is None for result in results] == [False, False, True]


@pytest.mark.parametrize(
    "command",
    [
        ["score", "{file}"],
        pytest.param(["check", "{folder}"], marks=pytest.mark.slow),
        pytest.param(["report", "{file}", "-o", "{folder}/report.html"], marks=pytest.mark.slow),
    ],
)
def test_the_embedded_model_needs_neither_torch_nor_transformers(
    command: list[str], long_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "clip.wav").write_bytes(long_file.read_bytes())
    arguments = [word.format(folder=tmp_path, file=tmp_path / "clip.wav") for word in command]
    assert modules_loaded_by(arguments, SLOW_MODULES) == (set(), 0, "")


def test_modules_that_are_loaded_would_be_seen(long_file: Path) -> None:
    assert modules_loaded_by(["score", str(long_file), "--dtype", "float32"], SLOW_MODULES)[0] == set(SLOW_MODULES)


class TestEmbeddedGraph:
    def test_scores_are_those_of_the_checkpoint(self) -> None:
        paths = sorted(str(path) for path in find_audio_files([str(EXAMPLES)]))[::6]
        embedded = load_onnx_rater(DEFAULT_CHECKPOINT)
        wanted = list(score_files(paths, device="cpu"))
        assert np.std([result.scores["mos"] for result in wanted]) > 0.3
        for ours, theirs in zip(rate_paths(paths, embedded), wanted, strict=True):
            assert ours.error is None
            assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)

    def test_a_file_of_results_takes_either(self) -> None:
        assert describe_model(load_onnx_rater(DEFAULT_CHECKPOINT)) == describe_model(load_pipeline(None, "cpu"))


def test_scores_are_those_of_the_pipeline(rater: OnnxRater, pipeline: SpeechQualityPipeline) -> None:
    found = [str(path) for path in find_audio_files([str(EXAMPLES)])]
    paths = [path for path in sorted(found) if soundfile.info(path).samplerate == SAMPLING_RATE][::6]
    assert len(paths) > 3
    wanted = list(score_files(paths, pipeline))
    assert np.std([result.scores["mos"] for result in wanted]) > 1e-3
    for batch_size in (1, 3):
        for ours, theirs in zip(rate_paths(paths, rater, batch_size=batch_size), wanted, strict=True):
            assert (ours.file, ours.error, ours.duration_s) == (theirs.file, None, theirs.duration_s)
            assert list(ours.scores) == list(theirs.scores)
            assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)


def test_a_clip_shorter_than_a_frame_is_padded_to_one(rater: OnnxRater) -> None:
    metadata = {**rater.graph.metadata, "shortest_samples": "1600"}
    inputs = OnnxRater(replace(rater.graph, metadata=metadata), 1).extract(np.full(1200, 0.1), SAMPLING_RATE)
    assert inputs["input_values"].shape == inputs["attention_mask"].shape == (1, 1600)
    assert np.array_equal(inputs["attention_mask"][0], np.arange(1600) < 1200)
    assert not inputs["input_values"][0, 1200:].any()


def test_long_audio_and_curves_are_those_of_the_pipeline(
    rater: OnnxRater, pipeline: SpeechQualityPipeline, long_file: Path
) -> None:
    parameters = {"window_s": 1.5, "curve": True, "curve_step_s": 0.5, "confidence": 0.8}
    (ours,) = rate_paths([long_file], rater, num_workers=2, **parameters)
    (theirs,) = score_files([long_file], pipeline, **parameters)
    assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)
    assert ours.curve is not None and theirs.curve is not None
    assert_curves_agree(ours.curve, theirs.curve)


@pytest.mark.parametrize("sampling_rate", [8000, 44100, 48000])
def test_audio_at_another_rate_has_the_scores_of_the_pipeline(
    rater: OnnxRater, pipeline: SpeechQualityPipeline, long_file: Path, tmp_path: Path, sampling_rate: int
) -> None:
    samples, _ = soundfile.read(long_file)
    path = tmp_path / "resampled.wav"
    soundfile.write(path, soxr.resample(samples, SAMPLING_RATE, sampling_rate), sampling_rate, subtype="FLOAT")
    for window_s in (30.0, 1.5):
        (ours,), (wanted,) = (
            rate([path], window_s=window_s)
            for rate in (partial(rate_paths, rater=rater), partial(score_files, model=pipeline))
        )
        assert ours.scores == pytest.approx(wanted.scores, abs=1e-4)


def test_reasons_are_those_of_the_pipeline(rater: OnnxRater, pipeline: SpeechQualityPipeline, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    soundfile.write(tmp_path / "short.wav", np.ones(100), SAMPLING_RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(SAMPLING_RATE, np.nan), SAMPLING_RATE, subtype="FLOAT")
    paths = sorted(tmp_path.iterdir())
    ours, theirs = list(rate_paths(paths, rater)), list(score_files(paths, pipeline))
    assert ours == theirs
    assert all(result.error for result in ours)


@pytest.mark.parametrize("parameters", [{"window_s": 0.0}, {"confidence": 1.0}, {"batch_size": 0}])
def test_parameters_are_checked(rater: OnnxRater, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        rate_paths([], rater, **parameters)


class TestCommand:
    def test_goes_on_where_a_run_ended_with_torch_or_without(
        self,
        exported: Path,
        long_file: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "b.wav").write_bytes(long_file.read_bytes())
        output = tmp_path / "scores.csv"
        options = ["--model", str(exported), "--output", str(output)]
        assert main(["score", str(long_file), *options]) == 0
        before = output.read_text()
        assert main(["score", str(long_file), str(tmp_path / "b.wav"), *options]) == 0
        assert capsys.readouterr().err == f"jsqa: {output} has 1 files already\n"
        assert output.read_text().startswith(before)
        first, second = rows(output.read_text())
        assert first["mos"] == second["mos"]
        monkeypatch.setattr("jsqa_hf.cli_options.rates_without_torch", lambda _: False)
        before = output.read_text()
        assert main(["score", str(long_file), *options, "--device", "cpu"]) == 0
        assert capsys.readouterr().err == f"jsqa: {output} has 2 files already\n"
        assert output.read_text() == before

    def test_another_graph_is_refused(
        self, exported: Path, long_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        onnx = pytest.importorskip("onnx")
        graph = onnx.load(exported / "model.onnx")
        (fingerprint,) = (prop for prop in graph.metadata_props if prop.key == "fingerprint")
        fingerprint.value = "another"
        onnx.save(graph, tmp_path / "other.onnx")
        (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
        output = ["--output", str(tmp_path / "scores.csv")]
        assert main(["score", str(long_file), "--model", str(exported), *output]) == 0
        assert main(["score", str(long_file), "--model", str(tmp_path / "other.onnx"), *output]) == 2
        assert "of another model" in capsys.readouterr().err

    def test_columns_and_numbers(
        self, exported: Path, pipeline: SpeechQualityPipeline, long_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["score", str(long_file), "--model", str(exported), "--format", "csv"]) == 0
        (row,) = rows(capsys.readouterr().out)
        (wanted,) = score_files([long_file], pipeline)
        names = ["mos", "mos_low", "mos_high"]
        more = ["noisiness", "noisiness_low", "noisiness_high"]
        assert list(row) == ["file", *names, "duration_s", *more, "error"]
        assert {name: float(row[name]) for name in [*names, *more]} == pytest.approx(wanted.scores, abs=2e-4)
        assert main(["score", str(long_file), "--model", str(exported), "--format", "table"]) == 0
        assert f"{float(row['mos']):.3f}" in capsys.readouterr().out

    @pytest.mark.parametrize("content", [b"no graph", b"", None])
    def test_a_broken_graph_gives_the_message_of_the_pipeline(
        self,
        content: bytes | None,
        exported: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
        if content is not None:
            (tmp_path / "model.onnx").write_bytes(content)
        command = ["score", "a.wav", "--model", str(tmp_path / "model.onnx")]
        assert main(command) == 2
        ours = capsys.readouterr().err
        monkeypatch.setattr("jsqa_hf.cli_options.rates_without_torch", lambda _: False)
        assert main(command) == 2
        assert ours == capsys.readouterr().err
        assert "the model can't be loaded" in ours and "model.onnx: " in ours

    def test_a_graph_of_another_program_is_refused(
        self, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        onnx = pytest.importorskip("onnx")
        graph = onnx.load(exported / "model.onnx")
        del graph.metadata_props[:]
        onnx.save(graph, tmp_path / "model.onnx")
        (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
        assert main(["score", "a.wav", "--model", str(tmp_path)]) == 2
        assert "lacks metadata" in capsys.readouterr().err


def test_what_needs_torch_is_left_to_the_pipeline(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(**options: Any) -> bool:
        from argparse import Namespace

        chosen = {"model": str(exported), "device": None, "dtype": None, **options}
        return cli_options.rates_without_torch(Namespace(**chosen))

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert without_torch()
    assert without_torch(device="cpu")
    assert not without_torch(device="cuda:0")
    assert not without_torch(dtype="bfloat16")
    assert without_torch(model=None)
    assert not without_torch(model=None, device="cuda:0")
    assert not without_torch(model=None, dtype="float32")
    assert not without_torch(model=str(DEFAULT_CHECKPOINT))
    assert not without_torch(model="tester/mos")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not without_torch()


def test_a_graph_is_described_as_its_checkpoint_with_torch_or_without(
    exported: Path, rater: OnnxRater, pipeline: SpeechQualityPipeline
) -> None:
    assert describe_model(rater) == describe_model(load_pipeline(exported, "cpu")) == describe_model(pipeline)


@pytest.mark.slow
def test_a_quantised_graph_is_another_model(
    model: JSQAForMOSRegression, pipeline: SpeechQualityPipeline, tmp_path: Path
) -> None:
    from jsqa_hf.onnx_export import export_onnx

    export_onnx(model, tmp_path, int8=True)
    assert describe_model(load_onnx_rater(tmp_path)) != describe_model(pipeline)
