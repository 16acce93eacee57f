"""The wheel, installed apart from the repository."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_model_and_scores_a_file(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", REPOSITORY, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for weights in ("model.safetensors", "model.onnx"):
        assert f"jsqa_hf/checkpoints/jsqa-tiny/{weights}" in names
    assert not [name for name in names if name.startswith(("tests/", "examples/", "training_scripts/"))]

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    # The dependencies, several gigabytes of them, are lent by the environment of this test. Without its .pth files
    # the repository itself, installed editable there, stays out of sight.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(site) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(python, "-m", "pip", "install", "--no-deps", "--force-reinstall", wheel, cwd=tmp_path)
    where = run(python, "-c", "import jsqa_hf; print(jsqa_hf.__file__)", cwd=tmp_path)
    assert str(tmp_path) in where, "the installed package, not the repository"

    clip = next((REPOSITORY / "examples" / "data" / "speech").glob("*.flac"))
    output = run(tmp_path / "venv" / "bin" / "jsqa", "score", clip, "--format", "csv", cwd=tmp_path)
    (row,) = csv.DictReader(output.splitlines())
    assert row["file"] == str(clip)
    assert 1.0 <= float(row["mos_low"]) <= float(row["mos"]) <= float(row["mos_high"]) <= 5.0
