"""ONNX: the graph rates as PyTorch does, whatever the length, the batch and the padding."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SAMPLING_RATE, small_config

import jsqa_hf
from jsqa_hf import DEFAULT_COMPARISON_CHECKPOINT, JSQAFeatureExtractor, JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf.cli import main
from jsqa_hf.onnx_export import (
    MAXIMUM_DIFFERENCE,
    ExportedModel,
    _quantise,
    _write_configurations,
    export_onnx,
    largest_difference,
)
from jsqa_hf.onnx_graph import is_onnx_model
from jsqa_hf.onnx_model import load_onnx_model
from jsqa_hf.scoring import load_pipeline, score_files

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

SHORTEST = 400


@pytest.fixture(scope="module")
def exported(small_model: JSQAForMOSRegression, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the exported `small_model`."""
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(small_model, folder)
    return folder


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(SHORTEST, 3 * SAMPLING_RATE), min_size=1, max_size=4),
    level_db=st.floats(-100.0, 0.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_rates_as_pytorch_does(
    small_model: JSQAForMOSRegression, exported: Path, lengths: list[int], level_db: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = torch.from_numpy(random.normal(size=(len(lengths), max(lengths))) * 10 ** (level_db / 20)).float()
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    with torch.inference_mode():
        expected = small_model(values, attention_mask=mask)
    got = load_onnx_model(exported)(values, attention_mask=mask)
    for name in ("scores", "variances", "embeddings"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings_of_model",
    [
        {"level_bands": 0, "pooling": "mean"},
        {"level_windows": 4, "level_bands": 20},
        {"averaged_starts": 4},
        {"pooling": "attention", "use_weighted_layer_sum": False, "mos_output_names": ["noisiness", "mos"]},
        {"hubert": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}},
    ],
    ids=["no levels", "levels in windows", "means over starts", "attention pooling and two outputs", "layer norm"],
)
@pytest.mark.slow
def test_exports_every_architecture(settings_of_model: dict, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = JSQAForMOSRegression(small_config(**settings_of_model)).eval()
    assert export_onnx(model, tmp_path, seed=3).difference <= MAXIMUM_DIFFERENCE
    assert load_onnx_model(tmp_path).config.mos_output_names == model.config.mos_output_names


def test_export_leaves_the_model_as_it_is(small_model: JSQAForMOSRegression, exported: Path) -> None:
    del exported
    assert small_model.config.hubert_config._attn_implementation == "sdpa"
    assert small_model.dtype == torch.float32


def test_the_difference_is_that_of_the_weights(small_model: JSQAForMOSRegression, exported: Path) -> None:
    other = JSQAForMOSRegression(small_config()).eval()
    graph = load_onnx_model(exported)
    assert largest_difference(small_model, graph) <= MAXIMUM_DIFFERENCE < largest_difference(other, graph)


def test_the_difference_is_the_same_on_every_scale() -> None:
    differences = []
    for score_range in ((1.0, 5.0), (0.0, 100.0)):
        torch.manual_seed(0)
        model = JSQAForMOSRegression(small_config(mos_score_range=score_range)).eval()
        other: Any = copy.deepcopy(model)
        other.head.output.bias.data += 0.1
        differences.append(largest_difference(model, other))
    assert differences[0] == pytest.approx(differences[1], rel=1e-3)
    assert differences[0] > MAXIMUM_DIFFERENCE


def test_a_graph_does_not_tell_where_it_was_made(exported: Path) -> None:
    (path,) = exported.glob("*.onnx")
    assert str(Path(jsqa_hf.__file__).parent).encode() not in path.read_bytes()


def test_files_and_metadata(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "config.json",
        "model.onnx",
        "preprocessor_config.json",
    ]
    graph = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(graph)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert metadata["sampling_rate"] == "16000"
    assert metadata["shortest_samples"] == str(SHORTEST)
    assert metadata["mos_output_names"] == "mos"
    assert metadata["mos_score_range"] == "1,5" and metadata["mos_panel_std"] == "0"
    assert "auto_map" not in json.loads((exported / "config.json").read_text())


def test_pipeline_scores_files(
    small_model: JSQAForMOSRegression, exported: Path, noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise, SAMPLING_RATE)
    pipeline = SpeechQualityPipeline(model=load_onnx_model(exported), feature_extractor=JSQAFeatureExtractor())
    expected = load_pipeline(small_model, "cpu")(str(path))
    assert pipeline(str(path)) == pytest.approx(expected, abs=1e-4)
    (result,) = score_files([path], exported)
    assert result.scores == pytest.approx(expected, abs=1e-4)
    (result,) = score_files([path], exported / "model.onnx")
    assert result.scores == pytest.approx(expected, abs=1e-4)


def test_each_of_several_graphs_in_a_folder_keeps_its_scale(exported: Path, tmp_path: Path) -> None:
    """`config.json` is of the one that was exported last."""
    settings_of_other = {"mos_output_names": ["noisiness", "mos"], "mos_score_range": (0, 100), "mos_panel_std": 0.3}
    small_config(**settings_of_other).to_json_file(tmp_path / "config.json")
    shutil.copy(exported / "model.onnx", tmp_path / "first.onnx")
    rate = load_pipeline(tmp_path / "first.onnx", "cpu")
    config: Any = rate.model.config
    assert rate.output_names == config.mos_output_names == ["mos"] and config.num_labels == 1
    assert list(rate.score_range) == list(config.mos_score_range) == [1.0, 5.0]
    assert rate.panel_std == config.mos_panel_std == 0.0


def test_saved_again_it_loads_again(exported: Path, tmp_path: Path) -> None:
    model = load_onnx_model(exported)
    JSQAFeatureExtractor().save_pretrained(tmp_path / "copy")
    model.save_pretrained(tmp_path / "copy")
    assert is_onnx_model(tmp_path / "copy")
    values = torch.ones(1, SAMPLING_RATE)
    for _ in range(2):
        copied = load_onnx_model(tmp_path / "copy")
        assert torch.equal(copied(values).scores, model(values).scores)
        # Over itself.
        copied.save_pretrained(tmp_path / "copy")


def test_a_configuration_beside_a_graph_names_no_code(small_model: JSQAForMOSRegression, tmp_path: Path) -> None:
    model = copy.deepcopy(small_model)
    model.config.auto_map = {"AutoModel": "modeling_jsqa.JSQAForMOSRegression"}
    model.config.custom_pipelines = {"speech-quality-assessment": {"impl": "pipeline_jsqa.SpeechQualityPipeline"}}
    _write_configurations(model, JSQAFeatureExtractor(), tmp_path)
    assert not {"auto_map", "custom_pipelines"} & json.loads((tmp_path / "config.json").read_text()).keys()
    assert model.config.auto_map


@pytest.mark.slow
def test_int8_is_smaller_and_near(small_model: JSQAForMOSRegression, exported: Path, tmp_path: Path) -> None:
    quantised = export_onnx(small_model, tmp_path / "small.onnx", int8=True)
    operations = {node.op_type for node in onnx.load(quantised.path).graph.node}
    assert "MatMulInteger" in operations and "ConvInteger" not in operations
    # Random weights of a scale of 4: an error of 0.1 would be of a wrong zero point, not of rounding.
    assert MAXIMUM_DIFFERENCE < quantised.difference < 0.1


def test_scores_of_int8_do_not_depend_on_the_batch(exported: Path, tmp_path: Path) -> None:
    graph = onnx.load(exported / "model.onnx")
    kept = [entry for entry in graph.metadata_props if entry.key != "fingerprint"]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    onnx.save(graph, tmp_path / "model.onnx")
    _quantise(tmp_path / "model.onnx")
    shutil.copy(exported / "config.json", tmp_path)
    model = load_onnx_model(tmp_path)
    lengths = [100, 5000, 16000]
    values = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1], [0.01], [3]])
    mask = (torch.arange(16000) < torch.tensor(lengths)[:, None]).long()
    together = model(values, attention_mask=mask)
    for row, length in enumerate(lengths):
        end = max(SHORTEST, length)
        alone = model(values[row : row + 1, :end], attention_mask=mask[row : row + 1, :end])
        for name in ("scores", "variances", "embeddings"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[row])
    none = model(values[:0], attention_mask=mask[:0])
    assert none.scores.shape == (0, 1)


class TestErrors:
    def test_input(self, exported: Path) -> None:
        model = load_onnx_model(exported)
        with pytest.raises(ValueError, match="at least 400"):
            model(torch.zeros(1, SHORTEST - 1))
        with pytest.raises(ValueError, match=r"\(batch, samples\)"):
            model(torch.zeros(SAMPLING_RATE))
        with pytest.raises(ValueError, match="labels"):
            model(torch.zeros(1, SAMPLING_RATE), labels=torch.ones(1))

    def test_missing_files(self, exported: Path, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="jsqa export"):
            load_onnx_model(tmp_path)
        (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
        with pytest.raises(FileNotFoundError, match=r"config\.json"):
            load_onnx_model(tmp_path)

    def test_no_graph(self, exported: Path, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"no graph")
        (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
        with pytest.raises(ValueError, match=r"model\.onnx: ONNX Runtime can't load it"):
            load_onnx_model(tmp_path)

    def test_a_name_with_what_separates_names(self, tmp_path: Path) -> None:
        model = JSQAForMOSRegression(small_config(mos_output_names=["mos", "noise, background"]))
        with pytest.raises(ValueError, match="rename those with a comma"):
            export_onnx(model, tmp_path)

    def test_an_export_of_an_export(self, exported: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="an ONNX graph already"):
            export_onnx(load_onnx_model(exported), tmp_path / "again")

    @pytest.mark.slow
    def test_a_wrong_graph_is_not_put_in_place(
        self, small_model: JSQAForMOSRegression, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jsqa_hf.onnx_export.largest_difference", lambda *_: 2 * MAXIMUM_DIFFERENCE)
        with pytest.raises(RuntimeError, match="differs from PyTorch"):
            export_onnx(small_model, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_checkpoint_is_not_overwritten(self, small_model: JSQAForMOSRegression, small_checkpoint: Path) -> None:
        with pytest.raises(FileExistsError, match="another folder"):
            export_onnx(small_model, small_checkpoint)
        assert not is_onnx_model(small_checkpoint)

    def test_a_configuration_of_something_else_is_not_overwritten(
        self, small_model: JSQAForMOSRegression, tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_text('{"my": "settings"}')
        with pytest.raises(FileExistsError, match=r"config\.json: is not one of JSQA"):
            export_onnx(small_model, tmp_path / "tiny.onnx")
        assert (tmp_path / "config.json").read_text() == '{"my": "settings"}'

    def test_extra_is_missing(
        self, small_model: JSQAForMOSRegression, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("jsqa_hf.onnx_export.find_spec", lambda _: None)
        with pytest.raises(ImportError, match=r'pip install "jsqa_hf\[onnx\]"'):
            export_onnx(small_model, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestCommand:
    @pytest.mark.slow
    def test_export_and_score(
        self, small_checkpoint: Path, noise: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        graph = tmp_path / "exported" / "ours.onnx"
        assert main(["export", str(small_checkpoint), str(graph)]) == 0
        assert "ours.onnx" in capsys.readouterr().out
        soundfile.write(tmp_path / "noise.wav", noise, SAMPLING_RATE)
        assert main(["score", str(tmp_path / "noise.wav"), "--model", str(graph)]) == 0
        rated = capsys.readouterr().out
        assert main(["score", str(tmp_path / "noise.wav"), "--model", str(small_checkpoint)]) == 0
        scores = [float(table.splitlines()[1].split(",")[1]) for table in (rated, capsys.readouterr().out)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)

    def test_a_model_without_a_mos_head_gets_one_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And not the table of transformers' of what was loaded."""
        assert main(["export", str(DEFAULT_COMPARISON_CHECKPOINT), str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert "hasn't been fine-tuned on ratings" in told and told.count("\n") == 1

    @pytest.mark.parametrize("named", [True, False])
    def test_the_model_that_was_exported_is_named(
        self,
        named: bool,
        small_checkpoint: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        graph = tmp_path / "model.onnx"
        graph.touch()
        monkeypatch.setattr("jsqa_hf.onnx_export.export_onnx", lambda *_: ExportedModel(graph, 0, 0.0))
        assert main(["export", *([str(small_checkpoint)] if named else []), str(tmp_path)]) == 0
        assert f": {small_checkpoint if named else 'the embedded model'} in " in capsys.readouterr().out

    def test_a_checkpoint_as_output_is_told_how_to_export_it(
        self, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["export", str(small_checkpoint)]) == 2
        assert f"jsqa export {small_checkpoint} OUTPUT" in capsys.readouterr().err

    def test_no_such_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["export", "./nowhere", str(tmp_path / "out")]) == 2
        assert "no such folder" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_importing_it_needs_no_extra() -> None:
    """The modules import without the extra; only their functions need it."""
    code = "import sys; sys.modules.update(onnxscript=None, onnx=None); import jsqa_hf.onnx_export"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
