"""Processes of the study: work by what each builds once, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from workers import map_with, require_bench

BUILDING = """
import os, time

class Adder:
    def __init__(self, folder, amount):
        with open(folder / f"built-{os.getpid()}", "a") as file:
            file.write("built")
        self.amount = amount

    def __call__(self, number):
        return number + self.amount

class Missing:
    def __init__(self, path):
        open(path)

class Sleeper:
    def __call__(self, seconds):
        print("asleep", flush=True)
        time.sleep(seconds)
"""


@pytest.fixture
def building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module that the processes can import."""
    (tmp_path / "building.py").write_text(BUILDING)
    monkeypatch.syspath_prepend(tmp_path)
    import building

    yield building
    del sys.modules["building"]


def test_each_process_builds_once_and_results_are_in_order(building, tmp_path: Path):
    with map_with(partial(building.Adder, tmp_path, 10), range(8), 2) as results:
        assert list(results) == list(range(10, 18))
    built = list(tmp_path.glob("built-*"))
    assert 1 <= len(built) <= 2 and {path.read_text() for path in built} == {"built"}


def test_what_cannot_be_built_is_told_at_once(building, tmp_path: Path):
    with (
        pytest.raises(FileNotFoundError, match="nope"),
        map_with(partial(building.Missing, tmp_path / "nope"), range(8), 1) as results,
    ):
        list(results)


def test_ctrl_c_ends_the_processes_without_a_word_of_theirs(building, tmp_path: Path):
    (tmp_path / "main.py").write_text(
        "import building, workers\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        with workers.map_with(building.Sleeper, [60], 1) as results:\n"
        "            list(results)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted', flush=True)\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(sys.modules["workers"].__file__).parent)])
    with subprocess.Popen(
        [sys.executable, tmp_path / "main.py"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as study:
        assert study.stdout.readline() == "asleep\n"
        start = time.monotonic()
        os.killpg(study.pid, signal.SIGINT)
        said, errors = study.communicate(timeout=30)
    assert said.split()[-1] == "interrupted" and errors == ""
    assert time.monotonic() - start < 30


def test_missing_modules_are_told_with_the_extra_that_has_them():
    with pytest.raises(ImportError, match=r"no_such_module missing: pip install .*bench"):
        require_bench("json", "no_such_module")
