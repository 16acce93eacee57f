"""Scoring shared among real processes, as torchrun and accelerate launch start them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small import SAMPLING_RATE

import jsqa_hf
from jsqa_hf.score_processes import Processes
from jsqa_hf.scoring import score_files

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
# Of its launchers for one machine, only that for several GPUs starts several processes; they may as well have none.
ACCELERATE = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven files, one of them bad."""
    for index in range(7):
        samples = np.random.default_rng(index).normal(0, 0.05, SAMPLING_RATE // 2 + 800 * index)
        soundfile.write(tmp_path / f"{index}.wav", samples, SAMPLING_RATE)
    (tmp_path / "3.wav").write_text("text")
    return tmp_path


def launch(launcher: list[str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(jsqa_hf.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "jsqa_hf", "score", *arguments, "--device", "cpu"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_processes_give_the_rows_of_one(launcher: list[str], folder: Path, small_checkpoint: Path) -> None:
    result = launch(launcher, folder, ".", "--model", str(small_checkpoint), "--output", "scores.csv")
    assert result.returncode == 1, result.stderr
    assert "jsqa: ./3.wav: is not audio" in result.stderr
    assert json.loads((folder / "scores.csv.meta.json").read_text())["processes"] == 2
    assert not (folder / "scores.csv.parts").exists()
    found = rows(folder / "scores.csv")
    assert [row["file"] for row in found] == [f"./{index}.wav" for index in range(7)]
    for row, expected in zip(found, score_files(sorted(folder.glob("*.wav")), small_checkpoint), strict=True):
        assert bool(row["error"]) == (expected.error is not None)
        if expected.error is None:
            assert float(row["mos"]) == pytest.approx(expected.scores["mos"], abs=1e-4)


@pytest.mark.slow
def test_two_processes_go_on_where_others_were_killed(folder: Path, small_checkpoint: Path) -> None:
    arguments = [".", "--model", str(small_checkpoint), "--output", "scores.csv"]
    launch(TORCHRUN, folder, *arguments)
    whole = rows(folder / "scores.csv")
    # As a run of three processes looks after a kill: two have written, one of them half a row, and nothing is merged.
    (folder / "scores.csv").unlink()
    (folder / "scores.csv.parts").mkdir()
    kept = {"file": "./1.wav", "mos": 1.25, "mos_low": 1.0, "mos_high": 1.5, "duration_s": 9.0, "error": None}
    (folder / "scores.csv.parts" / "00000.jsonl").write_text('{"file": "./0.wav", "mos"')
    (folder / "scores.csv.parts" / "00002.jsonl").write_text(json.dumps(kept) + "\n")
    result = launch(TORCHRUN, folder, *arguments)
    assert result.returncode == 1, result.stderr
    assert "jsqa: scores.csv has 1 files already" in result.stderr
    found = {row["file"]: row for row in rows(folder / "scores.csv")}
    assert found.pop("./1.wav")["mos"] == "1.2500"
    assert found == {row["file"]: row for row in whole if row["file"] != "./1.wav"}


@pytest.mark.slow
def test_several_processes_without_a_file_for_results_are_refused_once(folder: Path, small_checkpoint: Path) -> None:
    result = launch(TORCHRUN, folder, ".", "--model", str(small_checkpoint))
    assert result.returncode != 0
    assert result.stderr.count("jsqa: several processes need --output FILE") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_are_disjoint_and_complete(count: int) -> None:
    items = list(range(10))
    shares = [Processes(index, count).share(items) for index in range(count)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_alone_needs_no_others() -> None:
    alone = Processes()
    assert (alone.is_main, alone.total(3), alone.from_main("x")) == (True, 3, "x")
    assert alone.device(None) is None
    assert Processes(1, 2, 1).device("cpu") == "cpu"
