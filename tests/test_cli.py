"""The command line: formats, exit codes, odd file names, interruption."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import SAMPLING_RATE, small_config

import jsqa_hf
from jsqa_hf import (
    JSQAFeatureExtractor,
    JSQAForContrastivePretraining,
    JSQAForMOSRegression,
    cli_score,
    score_engine,
    scoring,
)
from jsqa_hf.cli import main
from jsqa_hf.cli_errors import UsageError
from jsqa_hf.cli_output import check_outputs
from jsqa_hf.score_formats import make_writer, printable
from jsqa_hf.score_tables import read_scores
from jsqa_hf.scoring import FileScore

NUMBERS = ["mos", "mos_low", "mos_high", "duration_s"]


def write_wav(path: Path, seconds: float = 0.5) -> Path:
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.05, int(seconds * SAMPLING_RATE)), SAMPLING_RATE)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two good files and a bad one between them."""
    write_wav(tmp_path / "a.wav", 0.5)
    (tmp_path / "b.wav").write_text("text")
    write_wav(tmp_path / "c.wav", 0.75)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Score = Callable[..., int]


@pytest.fixture
def score(small_checkpoint: Path) -> Score:
    """`jsqa score` with the small model, on the CPU."""
    # In front, because the last of two equal options counts.
    return lambda *arguments: main(["score", "--model", str(small_checkpoint), "--device", "cpu", *arguments])


def test_csv_has_the_promised_columns_and_four_decimals(
    score: Score, small_checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("c.wav", "a.wav", "--format", "csv") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = list(csv.reader(io.StringIO(captured.out)))
    assert rows[0] == ["file", "mos", "mos_low", "mos_high", "duration_s", "error"]
    assert [row[0] for row in rows[1:]] == ["c.wav", "a.wav"]
    assert [row[4] for row in rows[1:]] == ["0.7500", "0.5000"]
    expected = next(scoring.score_files(["c.wav"], small_checkpoint, device="cpu"))
    assert rows[1][1:4] == [f"{expected.scores[name]:.4f}" for name in NUMBERS[:3]]
    assert rows[1][5] == ""


def test_a_bad_file_is_a_row_a_line_on_stderr_and_exit_code_1(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(".") == 1
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert [row["file"] for row in rows] == ["./a.wav", "./b.wav", "./c.wav"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert [rows[1][name] for name in NUMBERS] == ["", "", "", ""]
    assert captured.err == f"jsqa: ./b.wav: {rows[1]['error']}\n"


def test_inputs_without_files_are_rows_too(score: Score, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert score("empty", "*.flac", "missing.wav") == 1
    captured = capsys.readouterr()
    assert [row["file"] for row in csv.DictReader(io.StringIO(captured.out))] == ["empty", "*.flac", "missing.wav"]
    assert len(captured.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "name", "first"),
    [
        ([], "scores.csv", "file,mos"),
        ([], "scores.jsonl", '{"file": "a.wav"'),
        ([], "scores.txt", "file,mos"),
        (["--format", "jsonl"], "scores.csv", '{"file": "a.wav"'),
        (["--format", "table"], "scores.txt", "       mos    mos_low"),
    ],
)
def test_the_output_file_sets_the_format_unless_one_is_given(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], name: str, first: str
) -> None:
    assert score("a.wav", "--output", name, *arguments) == 0
    assert (folder / name).read_text().startswith(first)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_table_with_three_decimals(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert score("a.wav", "b.wav") == 1
    header, good, bad = capsys.readouterr().out.splitlines()
    assert header.split() == [*NUMBERS, "file"]
    assert good.split()[3:] == ["0.500", "a.wav"]
    assert len(good.split()[0].split(".")[1]) == 3
    assert bad.split() == ["-", "-", "-", "-", "b.wav"]


def test_further_outputs_of_the_model_get_columns(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    JSQAForMOSRegression(small_config(mos_output_names=["noisiness", "mos"])).save_pretrained(tmp_path / "two")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "two")
    capsys.readouterr()
    arguments = ["score", "a.wav", "b.wav", "--model", str(tmp_path / "two"), "--device", "cpu", "--format"]
    further = ["noisiness", "noisiness_low", "noisiness_high"]
    assert main([*arguments, "csv"]) == 1
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["file", *NUMBERS, *further, "error"]
    assert all(1.0 <= float(cell) <= 5.0 for cell in rows[1][5:8])
    assert rows[2][1:8] == [""] * 7
    assert main([*arguments, "jsonl"]) == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert list(records[0]) == rows[0]
    assert records[0]["noisiness"] == pytest.approx(float(rows[1][5]))
    assert records[0]["error"] is None
    assert records[1]["noisiness"] is None
    assert main([*arguments, "table"]) == 1
    assert capsys.readouterr().out.split()[:6] == [*NUMBERS, "noisiness", "file"]


def test_standard_input_lists_files(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"c.wav\na.wav\n")))
    assert score("-") == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row["file"] for row in rows] == ["c.wav", "a.wav"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["score"],
        ["sing", "a.wav"],
        ["score", "a.wav", "--batch-size", "0"],
        ["score", "a.wav", "--batch-size", "x"],
        ["score", "a.wav", "--format", "xml"],
        ["score", "a.wav", "--num-workers", "0"],
        ["check", "out", "--batch-size", "0"],
        ["evaluate", "--data", "ratings.csv", "--batch-size", "0"],
        ["report", "out", "--dtype", "int8"],
    ],
)
def test_wrong_arguments_end_with_2_and_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: jsqa" in capsys.readouterr().err


_MAPPED_MEMORY = """
import ctypes, sys
import torch
from jsqa_hf.cli import main
from jsqa_hf.cli_errors import UsageError
from jsqa_hf.cli_output import check_outputs

class Memory(ctypes.Structure):
    _fields_ = [(f"number_{i}", ctypes.c_size_t) for i in range(10)]

mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
if mallinfo is None:
    sys.exit("this glibc doesn't tell")
mallinfo.restype = Memory
code = main(sys.argv[1:])
# After it was freed, glibc by itself would take what is smaller than this from a heap.
torch.empty(1 << 24, dtype=torch.uint8)
before = mallinfo().number_4
kept = torch.empty(1 << 23, dtype=torch.uint8)
print(code, mallinfo().number_4 - before >= kept.numel())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_memory_of_large_tensors_goes_back_to_the_system_when_they_are_freed(
    small_checkpoint: Path, folder: Path
) -> None:
    """In a process of its own, whose heap has no hole of that size."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_MMAP_THRESHOLD_"}
    arguments = ["score", "a.wav", "--model", str(small_checkpoint), "--device", "cpu"]
    command = [sys.executable, "-c", _MAPPED_MEMORY, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if "doesn't tell" in result.stderr:
        pytest.skip(result.stderr)
    assert result.stdout.splitlines()[-1] == "0 True", result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "missing/x.csv"], "--output missing/x.csv: no file .*, as its folder does not exist"),
        (["--output", "a.wav"], "is the name of an audio file"),
        (["--device", "abacus"], "model can't be loaded.*abacus"),
        (["--format", "parquet"], "Parquet needs --output FILE"),
        (["--curve", "--format", "csv"], "csv can't hold a curve"),
        (["--curve-step", "0.001", "--format", "jsonl"], "`curve_step_s` must be at least 0.1"),
        (["--curve-step", "5", "--format", "jsonl"], "`curve_step_s` must be at least 0.1 and at most 4.0"),
        (["--output", "scores.json"], "scores.json: name it .csv, .jsonl or .parquet, or give --format"),
        (["--output", "-"], "--output -: give the name of a file"),
        (["--output", "c.wav"], "is the name of an audio file"),
        (["--overwrite"], "--overwrite and --retry-failed need --output FILE"),
        (["--model", "./missing"], "model can't be loaded: ./missing: no such folder"),
    ],
)
def test_what_cannot_be_done_ends_with_2_one_line_and_no_output(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = (folder / "a.wav").read_bytes()
    assert score("c.wav", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err)
    assert (folder / "a.wav").read_bytes() == before


def test_a_table_does_not_take_the_place_of_results(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("a.wav", "--output", "s.csv") == 0
    before = (folder / "s.csv").read_bytes()
    assert score("a.wav", "--output", "s.csv", "--format", "table") == 2
    assert "holds results, which a table would replace" in capsys.readouterr().err
    assert (folder / "s.csv").read_bytes() == before


def test_closed_standard_streams_get_one_line(folder: Path, small_checkpoint: Path) -> None:
    command = f"{sys.executable} -m jsqa_hf score --model {small_checkpoint} --device cpu"
    closed = subprocess.run(["sh", "-c", f"{command} a.wav >&-"], cwd=folder, capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (2, "jsqa: standard output is closed: give --output FILE\n")
    closed = subprocess.run(["sh", "-c", f"{command} a.wav bad.wav 2>&-"], cwd=folder, capture_output=True, text=True)
    assert closed.returncode == 1
    assert [row["file"] for row in csv.DictReader(closed.stdout.splitlines())] == ["a.wav", "bad.wav"]
    closed = subprocess.run(["sh", "-c", f"{command} - <&-"], cwd=folder, capture_output=True, text=True)
    assert closed.returncode == 1
    assert "standard input holds no paths" in closed.stderr and "Traceback" not in closed.stderr


def test_a_folder_that_cannot_be_opened_is_told(score: Score, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "closed").mkdir()
    scandir = os.scandir

    def closed(path: str) -> Any:
        if os.path.basename(path) == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    # Nothing is closed to root, who may run this.
    monkeypatch.setattr(os, "scandir", closed)
    assert score(".", "--output", "s.csv") == 1
    assert "closed,,,,,can't be opened: Permission denied" in (folder / "s.csv").read_text()


def test_a_checkpoint_without_mos_head_ends_with_2_although_transformers_would_load_it(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    JSQAForContrastivePretraining(small_config()).save_pretrained(tmp_path / "pretrained")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "pretrained")
    capsys.readouterr()
    assert main(["score", "a.wav", "--model", str(tmp_path / "pretrained"), "--device", "cpu"]) == 2
    assert "hasn't been fine-tuned on ratings" in capsys.readouterr().err


def test_rows_are_written_as_they_come_and_survive_an_interruption(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[FileScore]:
        for index in range(2):
            yield FileScore(f"{index}.wav", {"mos": 3.0, "mos_low": 2.0, "mos_high": 4.0}, 1.0)
            # What has been given out is in the file by now, not in a buffer.
            assert len((folder / "out.csv").read_text().splitlines()) == index + 2
        raise KeyboardInterrupt

    monkeypatch.setattr(score_engine, "rate_paths", interrupted)
    assert score("a.wav", "--output", "out.csv") == 130
    assert capsys.readouterr().err == "jsqa: interrupted\n"
    assert (folder / "out.csv").read_text().splitlines()[1:] == [
        "0.wav,3.0000,2.0000,4.0000,1.0000,",
        "1.wav,3.0000,2.0000,4.0000,1.0000,",
    ]


def names_of_rated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that are read from now on."""
    rated: list[str] = []
    rate_paths = score_engine.rate_paths

    def recorded(paths: Iterable[str], *arguments: Any, **keywords: Any) -> Iterator[FileScore]:
        for result in rate_paths(paths, *arguments, **keywords):
            rated.append(result.file)
            yield result

    monkeypatch.setattr(score_engine, "rate_paths", recorded)
    return rated


def test_a_file_that_is_named_twice_is_rated_once(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rated = names_of_rated(monkeypatch)
    score("./a.wav", "a.wav", str(folder / "a.wav"))
    assert rated == ["./a.wav"]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_rerun_rates_only_what_is_missing(
    score: Score, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert score("a.wav", "b.wav", "--output", name) == 1
    before = {row.file: row for row in read_scores(name, name.split(".")[1])}
    rated = names_of_rated(monkeypatch)
    capsys.readouterr()
    # Failed files count in the exit code, but are not tried again.
    assert score("a.wav", "b.wav", "c.wav", "--output", name) == 1
    assert rated == ["c.wav"]
    assert "has 2 files already, 1 of them with errors (--retry-failed" in capsys.readouterr().err
    after = {row.file: row for row in read_scores(name, name.split(".")[1])}
    assert {file: after[file] for file in before} == before
    assert list(after) == ["a.wav", "b.wav", "c.wav"]
    write_wav(folder / "b.wav")
    assert score(".", "a.wav", "b.wav", "c.wav", "--output", name, "--retry-failed") == 0
    assert rated[1:] == ["./b.wav"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_quality_over_time_is_written(score: Score, folder: Path, name: str) -> None:
    assert score("a.wav", "b.wav", "--curve", "--curve-step", "0.25", "--output", name) == 1
    good, bad = read_scores(name, name.split(".")[1])
    assert good.curve is not None
    assert [(step["start_s"], step["end_s"]) for step in good.curve] == [(0.0, 0.25), (0.25, 0.5)]
    assert set(good.curve[0]) == {"start_s", "end_s", "mos", "mos_low", "mos_high", "speech_s"}
    assert bad.curve is None
    # The same command goes on; without the curve, or with other steps, the rows would not be the same.
    assert score("a.wav", "b.wav", "--curve-step", "0.25", "--output", name) == 1
    assert score("a.wav", "--output", name) == 2
    assert score("a.wav", "--curve", "--output", name) == 2


def test_the_results_of_another_model_are_not_mixed(
    score: Score, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("a.wav", "--output", "out.csv") == 0
    before = (folder / "out.csv").read_text()
    torch.manual_seed(1)
    JSQAForMOSRegression(small_config()).save_pretrained(tmp_path / "other")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "other")
    arguments = ["a.wav", "c.wav", "--model", str(tmp_path / "other"), "--output", "out.csv"]
    capsys.readouterr()
    assert score(*arguments) == 2
    assert "--output out.csv: exists, and holds scores of another model" in capsys.readouterr().err
    assert (folder / "out.csv").read_text() == before
    assert score(*arguments, "--overwrite") == 0
    assert [row.file for row in read_scores("out.csv", "csv")] == ["a.wav", "c.wav"]


def test_a_table_of_others_is_not_overwritten(score: Score, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.csv").write_text("my work\n")
    assert score("a.wav", "--output", "mine.csv") == 2
    assert "doesn't tell what is in it" in capsys.readouterr().err
    assert (folder / "mine.csv").read_text() == "my work\n"


def test_each_path_is_rated_once(score: Score, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("a.wav", "*.wav", "a.wav", "missing.wav", "missing.wav") == 1
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row["file"] for row in rows] == ["a.wav", "b.wav", "c.wav", "missing.wav"]


# File names are what the file system takes: no NUL and no slash, and bytes that aren't UTF-8 as lone surrogates.
file_names = st.binary(min_size=1, max_size=30).map(lambda name: os.fsdecode(name.replace(b"\0", b"0")))


def written(format_name: str, result: FileScore, names: list[str]) -> bytes:
    """What a result looks like in a file."""
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding="utf-8", errors="surrogateescape", newline="")
    make_writer(format_name, stream, names)(result)
    return content.getvalue()


@given(name=file_names, error=st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
def test_any_file_name_survives_csv_and_jsonl(name: str, error: str | None) -> None:
    result = FileScore(name, {"mos": 3.14159, "mos_low": 3.0, "mos_high": 3.5}, 12.0, error)
    text = written("csv", result, ["mos"]).decode("utf-8", "surrogateescape")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[1:] == [[name, "3.1416", "3.0000", "3.5000", "12.0000", error or ""]]
    line = written("jsonl", result, ["mos"]).decode("ascii")
    record = json.loads(line)
    assert line.count("\n") == 1
    assert (record["file"], record["mos"], record["error"]) == (name, 3.1416, error)


@given(name=file_names)
def test_any_file_name_is_one_harmless_line_in_the_table(name: str) -> None:
    table = written("table", FileScore(name), ["mos"]).decode("utf-8")
    assert len(table.splitlines()) == 2
    assert all(character.isprintable() or character == "\n" for character in table)


def test_printable_text_is_left_as_it_is() -> None:
    assert printable("Grüße, 世界 [1].wav") == "Grüße, 世界 [1].wav"
    assert printable("a\x1b[31m\nb\udcff") == r"a\x1b[31m\nb\udcff"


def test_an_odd_name_goes_through_the_whole_command(
    score: Score, folder: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    name = os.fsdecode(b'caf\xe9, "x"\n.wav')
    try:
        os.rename("a.wav", name)
    except OSError:
        pytest.skip("this file system doesn't take such names")
    (folder / os.fsdecode(b"bad\xff.wav")).touch()
    for format_name in ("table", "csv", "jsonl"):
        assert score(".", "--format", format_name) == 1
        captured = capsysbinary.readouterr()
        assert rb"jsqa: ./bad\udcff.wav: is empty" in captured.err
        if format_name == "csv":
            assert b'"./caf\xe9, ""x""\n.wav",' in captured.out


@pytest.fixture
def environment() -> dict[str, str]:
    """For a new process: it finds the package even where it isn't installed."""
    root = str(Path(jsqa_hf.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["--version"]])
def test_help_comes_without_loading_torch(environment: dict[str, str], arguments: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['-m', *{arguments!r}]\n"
        f"sys.orig_argv = ['python', '-m', 'jsqa_hf', *{arguments!r}]\n"
        "try:\n"
        "    runpy.run_module('jsqa_hf', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, sorted({'torch', 'transformers', 'numpy', 'tqdm'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout.splitlines()[-1] == "0 []", result.stderr


def test_python_m_is_the_same_program(environment: dict[str, str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "jsqa_hf", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stdout) == (0, f"jsqa {jsqa_hf.__version__}\n")
    microseconds = [int(line.split("|")[1]) for line in result.stderr.splitlines() if line.endswith("| jsqa_hf.cli")]
    assert microseconds and microseconds[0] < 1_000_000


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "jsqa_hf", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def links_to_a(folder: Path, count: int) -> list[str]:
    """Other names of `a.wav`."""
    names = [f"{index:04d}.wav" for index in range(count)]
    for name in names:
        os.link(folder / "a.wav", folder / name)
    return names


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_run_quietly(
    folder: Path, small_checkpoint: Path, environment: dict[str, str]
) -> None:
    arguments = ["score", *links_to_a(folder, 500), "--model", str(small_checkpoint), "--device", "cpu"]
    process = start(arguments, environment)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"file,mos")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_nothing_is_rated_any_more_when_a_row_could_not_be_written() -> None:
    closed = []

    def rated() -> Generator[FileScore, None, None]:
        try:
            yield FileScore("a.wav", error="bad")
            yield FileScore("b.wav", error="bad")
        finally:
            closed.append(True)

    def write(result: FileScore) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # Held here, as by the traceback while Python ends.
    results = rated()
    with pytest.raises(OSError, match="No space left"):
        cli_score._write_results(results, write, None, False)
    assert closed == [True]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_ends_the_run_with_one_line(
    folder: Path, small_checkpoint: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "jsqa_hf", "score", "a.wav", "--model", str(small_checkpoint), "--device", "cpu"]
    for output, told in ([], b"standard output"), (["--output", "/dev/full"], b"/dev/full"):
        with open("/dev/full", "w") as full:
            result = subprocess.run([*command, *output], stdout=full, stderr=subprocess.PIPE, env=environment)
        assert result.returncode == 2
        assert result.stderr == b"jsqa: can't go on: " + told + b": No space left on device\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of file sizes")
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_file_that_cannot_grow_is_named(
    folder: Path, small_checkpoint: Path, environment: dict[str, str], name: str
) -> None:
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "from jsqa_hf.cli import main; sys.exit(main())"
    )
    options = ["--model", str(small_checkpoint), "--device", "cpu", "--output", name]
    command = [sys.executable, "-c", limited, "score", *links_to_a(folder, 100), *options]
    result = subprocess.run(command, capture_output=True, env=environment, cwd=folder, text=True)
    assert result.returncode == 2, result.stderr
    assert result.stderr == f"jsqa: can't go on: {name}: File too large\n"


def wait_for_rows(process: subprocess.Popen[bytes], path: Path, count: int) -> None:
    while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") > count):
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_with_130_and_whole_rows(
    folder: Path, small_checkpoint: Path, environment: dict[str, str]
) -> None:
    arguments = ["score", *links_to_a(folder, 5000), "--model", str(small_checkpoint), "--output", "out.csv"]
    process = start(arguments, environment)
    out = folder / "out.csv"
    wait_for_rows(process, out, 5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert errors == b"jsqa: interrupted\n"
    assert process.returncode == 130
    rows = list(csv.reader(out.open()))
    assert 6 <= len(rows) < 5000
    assert all(len(row) == 6 and row[5] == "" for row in rows[1:])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_killed_at_any_moment_a_run_ends_with_the_rows_of_an_uninterrupted_one(
    folder: Path, small_checkpoint: Path, environment: dict[str, str], name: str
) -> None:
    suffix = name.split(".")[1]
    paths = links_to_a(folder, 400)
    paths[50:50] = ["b.wav", "missing.wav", "c.wav"]
    common = ["score", *paths, "--model", str(small_checkpoint), "--device", "cpu", "--output"]
    assert main([*common, f"whole.{suffix}"]) == 1
    kills = 0
    while (process := start([*common, name], environment)).poll() is None and kills < 3:
        growing = folder / (f"{name}.parts/00000.jsonl" if suffix == "parquet" else name)
        wait_for_rows(process, growing, 60 * (kills + 1) if suffix != "parquet" else 60)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kills += 1
    process.communicate()
    assert process.returncode == 1
    found, whole = (sorted(read_scores(path, suffix), key=lambda row: row.file) for path in (name, f"whole.{suffix}"))
    assert [row.file for row in found] == [row.file for row in whole]
    for row, other in zip(found, whole, strict=True):
        assert row.error == other.error
        assert row.scores == pytest.approx(other.scores, abs=2e-4)


def test_a_name_that_no_file_can_have_does_not_keep_results_from_a_file(tmp_path: Path) -> None:
    check_outputs({"--output": str(tmp_path / "scores.csv")}, ["a\0b.wav", None, str(tmp_path)])
    with pytest.raises(UsageError, match="is one of the inputs"):
        check_outputs({"--output": str(tmp_path / "a.csv")}, ["a\0b.wav", str(tmp_path / "a.csv")])
