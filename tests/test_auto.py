"""Auto classes on saved folders, with the package and, in a clean process, without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from small import small_config
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    pipeline,
)

import jsqa_hf
from jsqa_hf import (
    JSQAConfig,
    JSQAFeatureExtractor,
    JSQAForContrastivePretraining,
    JSQAForMOSRegression,
    JSQAModel,
    SpeechQualityPipeline,
)


@pytest.mark.parametrize("model_class", [JSQAModel, JSQAForContrastivePretraining, JSQAForMOSRegression])
def test_auto_model_gives_the_class_that_was_saved(model_class, tmp_path):
    model_class(small_config()).save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is model_class


def test_auto_classes_know_a_saved_folder(small_checkpoint):
    assert type(AutoConfig.from_pretrained(small_checkpoint)) is JSQAConfig
    assert type(AutoFeatureExtractor.from_pretrained(small_checkpoint)) is JSQAFeatureExtractor
    assert type(AutoModelForAudioClassification.from_pretrained(small_checkpoint)) is JSQAForMOSRegression
    assert type(pipeline("speech-quality-assessment", model=str(small_checkpoint))) is SpeechQualityPipeline


def test_auto_model_from_a_bare_configuration_can_score():
    assert type(AutoModel.from_config(small_config())) is JSQAForMOSRegression


def test_the_number_of_outputs_can_be_changed_on_loading(small_checkpoint):
    model = JSQAForMOSRegression.from_pretrained(
        small_checkpoint, mos_output_names=["mos", "noisiness"], ignore_mismatched_sizes=True
    )
    assert model.config.num_labels == 2
    assert model(torch.zeros(1, 16000)).scores.shape == (1, 2)


# Imports nothing of this repository: what it loads is the code in the saved folder.
OUTSIDER = """
import importlib.util, json, sys
assert importlib.util.find_spec("jsqa_hf") is None, "the package must not be importable here"
import numpy as np, torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
folder, clip = sys.argv[1], np.load(sys.argv[2])
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
batch = extractor(clip, sampling_rate=16000, return_tensors="pt")
results = {"model_type": config.model_type}
for auto_class in (AutoModel, AutoModelForAudioClassification):
    model = auto_class.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        results[auto_class.__name__] = model(**batch).scores[0, 0].item()
if len(sys.argv) > 3:
    rate = pipeline("speech-quality-assessment", model=folder, trust_remote_code=True)
    results["pipeline"] = rate({"array": clip, "sampling_rate": 16000})["mos"]
    rate.save_pretrained("again")
    rate = pipeline("speech-quality-assessment", model="again", trust_remote_code=True)
    results["saved again"] = rate({"array": clip, "sampling_rate": 16000})["mos"]
print("RESULT", json.dumps(results))
"""


def run_outside(folder: Path, clip: np.ndarray, tmp_path: Path, *extra: str) -> dict[str, float]:
    """Run OUTSIDER in an interpreter that finds the installed libraries but not this package."""
    np.save(tmp_path / "clip.npy", clip)
    package_parent = str(Path(jsqa_hf.__file__).parents[1])
    # A copy of sys.path without the repository; -S keeps .pth files, which an editable install uses, from adding it.
    paths = [path for path in sys.path if path and Path(path).is_dir() and path != package_parent]
    # Nor with code of other models, which transformers puts on the path of a process that has loaded some.
    foreign = ("jsqa_hf", "transformers_modules")
    paths = [path for path in paths if not any((Path(path) / name).is_dir() for name in foreign)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-S", "-c", OUTSIDER, str(folder), str(tmp_path / "clip.npy"), *extra]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULT")[1])


def test_a_saved_folder_loads_where_the_package_is_not_installed(small_checkpoint, small_model, noise, tmp_path):
    with torch.no_grad():
        expected = small_model(torch.from_numpy(noise)[None]).scores.item()
    results = run_outside(small_checkpoint, noise, tmp_path)
    assert results["model_type"] == "jsqa"
    assert results["AutoModel"] == pytest.approx(expected, abs=1e-5)
    assert results["AutoModelForAudioClassification"] == pytest.approx(expected, abs=1e-5)


def test_a_saved_pipeline_runs_and_saves_itself_without_the_package(small_checkpoint, small_model, noise, tmp_path):
    folder = tmp_path / "pipeline"
    pipeline("speech-quality-assessment", model=str(small_checkpoint)).save_pretrained(folder)
    with torch.no_grad():
        expected = small_model(torch.from_numpy(noise)[None]).scores.item()
    results = run_outside(folder, noise, tmp_path, "pipeline")
    assert [results["pipeline"], results["saved again"]] == pytest.approx([expected] * 2, abs=1e-5)


def forget_foreign_code() -> dict[str, ModuleType]:
    """Take the code of models out of `sys.modules`, where it would hide that of another cache."""
    names = [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture
def foreign_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own for code that comes with models."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    before = forget_foreign_code()
    yield
    forget_foreign_code()
    sys.modules.update(before)


@pytest.mark.usefixtures("foreign_code")
def test_a_pipeline_that_came_with_its_model_is_saved_with_its_code(small_checkpoint, tmp_path):
    pipeline("speech-quality-assessment", model=str(small_checkpoint)).save_pretrained(tmp_path / "first")
    rate = pipeline("speech-quality-assessment", model=str(tmp_path / "first"), trust_remote_code=True)
    assert type(rate) is not SpeechQualityPipeline
    rate.save_pretrained(tmp_path / "again")
    names = [{path.name for path in (tmp_path / name).glob("*.py")} for name in ("first", "again")]
    assert names[0] == names[1]
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("first", "again")]
    assert configs[0]["custom_pipelines"] == configs[1]["custom_pipelines"]


def test_a_model_saved_again_names_no_pipeline_whose_code_is_not_there(small_checkpoint, noise, tmp_path):
    rate = pipeline("speech-quality-assessment", model=str(small_checkpoint))
    rate.save_pretrained(tmp_path / "first")
    assert "custom_pipelines" in json.loads((tmp_path / "first" / "config.json").read_text())
    JSQAForMOSRegression.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "again")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "again")
    assert "custom_pipelines" not in json.loads((tmp_path / "again" / "config.json").read_text())
    clip = {"array": noise, "sampling_rate": 16000}
    again = pipeline("speech-quality-assessment", model=str(tmp_path / "again"))
    assert again(clip)["mos"] == pytest.approx(rate(clip)["mos"])


def test_importing_the_package_registers_it_in_a_module_of_somebody_else(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("import jsqa_hf\n")
    main = "import sys\nfrom transformers import AutoConfig\nprint(AutoConfig.for_model('jsqa').model_type)\n"
    (tmp_path / "app" / "__main__.py").write_text(main)
    done = subprocess.run([sys.executable, "-m", "app"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "jsqa\n", done.stderr


def test_a_folder_saved_again_still_carries_its_code(small_checkpoint, tmp_path):
    AutoModel.from_pretrained(small_checkpoint).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for reference in config["auto_map"].values():
        assert (tmp_path / f"{reference.split('.')[0]}.py").is_file()
    assert (tmp_path / "losses.py").is_file()


BROKEN_TORCHAUDIO = "raise OSError('libtorchaudio.so: built for another torch')\n"


def test_a_torchaudio_that_does_not_load_is_named_once_and_scoring_goes_on(small_checkpoint, tmp_path):
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(BROKEN_TORCHAUDIO)
    script = (
        "import numpy as np, jsqa_hf\n"
        "from transformers import pipeline\n"
        f"rate = pipeline('speech-quality-assessment', model={str(small_checkpoint)!r})\n"
        "clip = {'array': np.random.default_rng(0).normal(0, 0.05, 48000), 'sampling_rate': 48000}\n"
        "print('MOS', rate(clip)['mos'])\n"
    )
    package_parent = str(Path(jsqa_hf.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), package_parent])}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MOS" in done.stdout
    assert done.stderr.count("torchaudio is installed but does not load") == 1
