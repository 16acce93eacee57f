"""Bad and odd input: every row of the table in docs/bad_input.md, all of them scored in one batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from bad_audio import RATE, speech_like
from bad_input_table import CASES, Case
from small import small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression, window_rater
from jsqa_hf.cli import main
from jsqa_hf.scoring import FileScore, find_audio_files, score_files

DOCS = Path(__file__).parents[1] / "docs" / "bad_input.md"
POSSIBLE = [case for case in CASES if os.name == "posix" or not case.posix]
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights of a size that tells clips well apart."""
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config()).eval()
    with torch.no_grad():
        for layer in (model.head.dense, model.head.output):
            layer.weight.mul_(10.0)
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    JSQAFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of all rows, and of good ones: `good/0.wav`, ..."""
    folder = tmp_path_factory.mktemp("bad")
    for case in POSSIBLE:
        case.make(folder / case.name)
    (folder / "good").mkdir()
    for index in range(len(POSSIBLE)):
        samples = speech_like(seconds=0.2 + 0.1 * (index % 3)) * (0.1 + index / len(POSSIBLE))
        soundfile.write(folder / "good" / f"{index}.wav", samples, RATE)
    return folder


@pytest.fixture(scope="module", autouse=True)
def a_short_limit() -> Iterator[None]:
    """100 s are more than 48 hours, which it would take minutes to decode."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_rater, "MAXIMUM_DURATION_S", 100.0)
        yield


@pytest.fixture(scope="module")
def batch(folder: Path, checkpoint: Path) -> list[tuple[FileScore, FileScore]]:
    """The result of each row and that of the good file after it, from one batch."""
    results = list(score_files(find_audio_files(inputs(folder)), checkpoint, device="cpu", batch_size=3))
    return list(zip(results[::2], results[1::2], strict=True))


def inputs(folder: Path) -> list[str]:
    pairs = ((folder / case.name, folder / "good" / f"{index}.wav") for index, case in enumerate(POSSIBLE))
    return [str(path) for pair in pairs for path in pair]


@pytest.mark.parametrize("case", POSSIBLE, ids=[case.what for case in POSSIBLE])
def test_each_input_has_the_outcome_of_the_table(
    case: Case, folder: Path, batch: list[tuple[FileScore, FileScore]]
) -> None:
    if case.name == "forbidden.wav" and IS_ROOT:
        pytest.skip("root may read everything; tested without privileges below")
    assert len(batch) == len(POSSIBLE)
    result = batch[POSSIBLE.index(case)][0]
    assert result.file.startswith(str(folder / case.name))
    if case.reason is not None:
        assert result.error is not None
        assert result.error.startswith(case.reason)
        assert result.scores == {}
        return
    assert result.error is None
    assert 1.0 <= result.scores["mos_low"] <= result.scores["mos"] <= result.scores["mos_high"] <= 5.0
    assert result.duration_s is not None
    if case.seconds is not None:
        # Encoders add up to a frame on either side, and break off between two frames.
        assert result.duration_s == pytest.approx(case.seconds, abs=0.1)


def test_good_files_between_bad_ones_have_the_scores_that_they_have_alone(
    batch: list[tuple[FileScore, FileScore]], checkpoint: Path
) -> None:
    good = [result for _, result in batch]
    alone = list(score_files([result.file for result in good], checkpoint, device="cpu", num_workers=1, batch_size=1))
    assert len({round(result.scores["mos"], 3) for result in good}) > 10
    for result, expected in zip(good, alone, strict=True):
        assert expected.error is None
        assert result.scores == pytest.approx(expected.scores, abs=1e-4)


def test_the_command_line_gives_the_same_and_exit_code_1(
    folder: Path,
    checkpoint: Path,
    batch: list[tuple[FileScore, FileScore]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--model", str(checkpoint), "--device", "cpu", "--format", "jsonl"]
    assert main(["score", *options, *inputs(folder)]) == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    expected = [result for pair in batch for result in pair]
    assert [row["file"] for row in rows] == [result.file for result in expected]
    assert [row["error"] for row in rows] == [result.error for result in expected]
    mos = [result.scores["mos"] for result in expected if result.scores]
    assert [row["mos"] for row in rows if row["error"] is None] == pytest.approx(mos, abs=1e-3)
    messages = [line for line in captured.err.splitlines() if line.startswith("jsqa: ")]
    assert len(messages) == sum(result.error is not None for result in expected)


def test_the_table_in_the_docs_is_that_of_the_tests() -> None:
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert rows[:2] == ["| input | outcome |", "|---|---|"]
    assert rows[2:] == [f"| {case.what} | {case.outcome} |" for case in CASES]


WITHOUT_PRIVILEGES = """
import os, sys
from jsqa_hf.audio import AudioDecodingError, decode_audio
os.chdir(sys.argv[1])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
assert decode_audio("300ms.wav").samples.size
try:
    decode_audio("forbidden.wav")
except AudioDecodingError as error:
    print(error.reason)
"""


@pytest.mark.skipif(not IS_ROOT, reason="only root can give up its privileges; tested with the others")
def test_a_file_without_permission_is_an_error_for_others_than_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    [forbidden] = [case for case in CASES if case.name == "forbidden.wav"]
    [readable] = [case for case in CASES if case.name == "300ms.wav"]
    for case in (forbidden, readable):
        case.make(tmp_path / case.name)
    done = subprocess.run([sys.executable, "-c", WITHOUT_PRIVILEGES, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert forbidden.reason is not None
    assert done.stdout.startswith(forbidden.reason)


SCORE_AND_MEASURE = """
import json, resource, sys
from jsqa_hf import window_rater
from jsqa_hf.scoring import load_pipeline, score_files
window_rater.MAXIMUM_DURATION_S = float(sys.argv[4])
rate = load_pipeline(sys.argv[1], "cpu")
def score(path):
    [result] = score_files([path], rate)
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
_, before = score(sys.argv[2])
result, after = score(sys.argv[3])
print(json.dumps({"error": result.error, "duration_s": result.duration_s, "MiB": (after - before) / 1024}))
"""


def score_and_measure(
    checkpoint: Path, folder: Path, hours: int, burst: np.ndarray, limit_s: float = window_rater.MAXIMUM_DURATION_S
) -> dict[str, Any]:
    """Score a FLAC file of silence with a burst of sound in every hour, after one of a minute, in another process."""
    short, long = folder / "short.flac", folder / "long.flac"
    soundfile.write(short, speech_like(seconds=60.0), RATE)
    with soundfile.SoundFile(long, "w", RATE, 1) as file:
        for _ in range(hours):
            file.write(burst)
            for _ in range(60):
                file.write(np.zeros(60 * RATE - len(burst) // 60))
    command = [sys.executable, "-c", SCORE_AND_MEASURE, str(checkpoint), str(short), str(long), str(limit_s)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_ten_hours_are_rated_in_little_memory(checkpoint: Path, tmp_path: Path) -> None:
    result = score_and_measure(checkpoint, tmp_path, 10, speech_like(seconds=6.0))
    assert result["error"] is None
    assert result["duration_s"] == pytest.approx(36000.0, abs=1.0)
    # At once it would be 2.3 GB for the samples alone.
    assert result["MiB"] < 100


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_a_small_file_that_is_too_long_ends_with_an_error_in_little_memory(checkpoint: Path, tmp_path: Path) -> None:
    # With the limit of 48 hours it would take a quarter of an hour.
    result = score_and_measure(checkpoint, tmp_path, 4, np.zeros((0, 1)), limit_s=3 * 3600.0)
    assert (tmp_path / "long.flac").stat().st_size < 1_000_000
    assert result["error"].startswith("lasts longer than 3 hours")
    assert result["MiB"] < 100
