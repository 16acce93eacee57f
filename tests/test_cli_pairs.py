"""`jsqa pairs` and `jsqa distortions` as a user meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
from small import SAMPLING_RATE

from jsqa_hf.cli import main
from jsqa_hf.pair_options import PairOptions, read_pair_options


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with speech and noise in it."""
    rng = np.random.default_rng(0)
    for name in ("speech", "noise"):
        (tmp_path / name).mkdir()
    for index in range(3):
        bursts = np.repeat(np.tile([0.1, 0.0], 4), SAMPLING_RATE // 8)
        soundfile.write(tmp_path / "speech" / f"{index}.wav", bursts * rng.standard_normal(bursts.size), SAMPLING_RATE)
    soundfile.write(tmp_path / "noise" / "hiss.wav", 0.05 * rng.standard_normal(SAMPLING_RATE), SAMPLING_RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMON = ["pairs", "--speech", "speech", "--noise", "noise", "--output-dir", "pairs"]


def test_pairs_are_made_and_summarised(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMON, "--snr-grid", "0", "20", "--repetitions", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{corpus / 'pairs'}: 6 ladders, 24 clips, 0.01 h; SNR ")
    pairs = datasets.load_from_disk(corpus / "pairs")
    assert all(min(abs(snr - level) for level in (0, 20)) <= 3 for snrs in pairs["snr_db"] for snr in snrs)


def test_options_come_with_dashes_or_underscores_and_from_a_file(corpus: Path) -> None:
    (corpus / "pairs.yaml").write_text(
        "speech: speech\nnoise: noise\nduration_s: 0.5\nseed: 4\ndistortions: noise level\n"
    )
    assert main(["pairs", "pairs.yaml", "--output_dir", "one", "--seed", "5"]) == 0
    assert main(["pairs", "pairs.yaml", "--output-dir", "two", "--seed", "5", "--duration_s", "0.5"]) == 0
    one, two = (datasets.load_from_disk(corpus / name) for name in ("one", "two"))
    assert one[:] == two[:]
    assert set(one["seed"]) == {5} and set(one["duration_s"]) == {0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speech", "nowhere"], "--speech: .*nowhere does not exist"),
        (["--noise", "demnd:noise"], "--noise: 'demnd:noise' is no path, and 'demnd' no corpus"),
        (["--distortions", "cliping"], "did you mean clipping"),
        (["--distortions", "reverberation"], "give --rirs"),
        (["--levels", "0"], "levels must be at least 1, got 0"),
        (["--levels", "40"], "40 levels .* need"),
        (["--partner", "fixed"], "partner_step goes with"),
        (["--encoding", "mp3"], "encoding must be one of flac, wav, array"),
        (["--level-dbov", "-26", "-20", "-10"], "level_dbov takes one level or two"),
        (["--output-dir", "speech"], "speech is not empty: .*--overwrite"),
        (["--output-dir", "speech/0.wav"], "0.wav is a file: name a new folder"),
        (["--output-dir", "speech/0.wav/below"], "below: cannot be written"),
        (["--speech-split", "train"], "--speech: .*no splits"),
        (["--distortions", "mnru", "--snr-min", "10"], "snr_min is about the distortion noise, which is not among"),
        (["--distortions", "noise[0:20]", "--snr-max", "30"], r"snr_max and noise\[...\] both give the range"),
        (["--snr-min", "0", "--snr-grid", "-20", "10"], "snr_grid has -20 dB, outside snr_min and snr_max"),
        (["--distortions", "noise[10:30]", "--snr-grid", "0", "25"], r"severity_grid of noise has 0, outside \(10"),
        (["--rirs-split", "x"], "rirs_split is about --rirs, which isn't given"),
        (["--duration-s", "0.001"], "duration_s must be at least 0.05"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    corpus: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = sorted(corpus.rglob("*"))
    assert main([*COMMON, *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("jsqa: ")]
    assert re.search(message, line), line
    assert "Traceback" not in captured.err and captured.out == ""
    assert sorted(corpus.rglob("*")) == before


def test_what_is_missing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pairs"]) == 2
    assert capsys.readouterr().err == "jsqa: give --speech and --output-dir\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("levls: 3", "levls is no option"),
        ("- 1", "must hold lines"),
        ("a: [", "is no YAML file"),
        ("format: csv", "format must be arrow or parquet, got 'csv'"),
        ("levels: two", "levels must be a whole number, got 'two'"),
        ("levels: 2.5", "levels must be a whole number, got 2.5"),
        ("level_dbov: [-30, abc]", "level_dbov must be a number, got 'abc'"),
        ("overwrite: maybe", "overwrite must be true or false, got 'maybe'"),
    ],
)
def test_files_of_options_are_checked(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "pairs.yaml"
    config.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_pair_options({"speech": "speech", "output_dir": "pairs"}, str(config))


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    config = tmp_path / "pairs.yaml"
    config.write_text("duration_s: 1e0\nlevel_dbov: -30\n")
    options = read_pair_options({"speech": "speech", "output_dir": "pairs"}, str(config))
    assert options.duration_s == 1.0
    assert options.level_range == (-30.0, -30.0)


def test_left_out_speech_is_reported_and_the_rest_is_made(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / "speech" / "text.wav").write_text("text")
    assert main(COMMON) == 2
    assert "text.wav" in capsys.readouterr().err
    assert main([*COMMON, "--on-error", "skip", "--preview", "1"]) == 0
    captured = capsys.readouterr()
    assert "jsqa: left out: no JND pairs for speech 'text': " in captured.err
    assert "3 ladders" in captured.out
    assert (corpus / "pairs" / "preview" / "index.html").is_file()


def test_help_lists_options_and_distortions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["pairs", "--help"])
    text = capsys.readouterr().out
    assert all(f"--{option.name.replace('_', '-')}" in text for option in fields(PairOptions))
    assert "packet-loss" in text and "telephone-band" in text
    assert "--output_dir" not in text


def test_distortions_are_listed_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distortions"]) == 0
    assert "packet-loss" in capsys.readouterr().out
    assert main(["distortions", "--format", "json"]) == 0
    assert "noise" in {entry["name"] for entry in json.loads(capsys.readouterr().out)}


def test_the_parser_is_made_without_anything_heavy() -> None:
    program = (
        "import sys; sys.argv = ['jsqa', 'pairs', '--speech', 'nowhere']\n"
        "from jsqa_hf.cli import main\n"
        "assert main() == 2\n"
        "print({'numpy', 'torch', 'datasets', 'scipy', 'transformers'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
    assert result.stderr == "jsqa: give --output-dir\n"


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_interruption_leaves_nothing_behind(corpus: Path, processes: str) -> None:
    command = [sys.executable, "-m", "jsqa_hf", *COMMON, "--repetitions", "20000", "--num-proc", processes]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    deadline = time.monotonic() + 120
    while not list(corpus.glob(".pairs.unfinished-*/cache/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    # As the terminal does: to all processes of the group.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("jsqa: interrupted\n") and "Traceback" not in errors
    assert sorted(path.name for path in corpus.iterdir()) == ["noise", "speech"]
