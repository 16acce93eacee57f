"""From sources to a dataset on disk: reproducible, whole or not at all, with a record."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

from jsqa_hf.jnd import generation
from jsqa_hf.jnd.generation import generate_pairs
from jsqa_hf.jnd.interruption import interruptible, raise_if_interrupted
from jsqa_hf.jnd.judges import Judge
from jsqa_hf.jnd.new_folder import new_folder
from jsqa_hf.pair_options import PairOptions


@pytest.fixture
def options(speech_folder: Path, noise_folder: Path, tmp_path: Path) -> Any:
    """Options for small pairs of noise and clipping, with others on top."""

    def make(**changes: Any) -> PairOptions:
        defaults: dict[str, Any] = {
            "speech": str(speech_folder),
            "noise": str(noise_folder),
            "output_dir": str(tmp_path / "pairs"),
            "distortions": ["noise clipping"],
            "duration_s": 0.5,
        }
        return PairOptions(**{**defaults, **changes})

    return make


@pytest.fixture
def speech_with_a_bad_file(speech_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    folder.mkdir()
    for file in sorted(speech_folder.glob("*.flac"))[:2]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "bad.wav").write_text("no audio")
    return folder


def rows(folder: Path) -> dict[str, Any]:
    return datasets.load_from_disk(folder)[:]


def test_rows_are_the_same_for_any_number_of_processes(options: Any, tmp_path: Path) -> None:
    for processes in (1, 2):
        generate_pairs(options(num_proc=processes, repetitions=2, output_dir=str(tmp_path / str(processes))))
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert len(one["content_id"]) == 12
    assert one == two


def test_parquet_holds_the_same_rows_and_load_dataset_finds_them_beside_the_preview(
    options: Any, tmp_path: Path
) -> None:
    generate_pairs(options(output_dir=str(tmp_path / "arrow")))
    generate_pairs(options(output_dir=str(tmp_path / "parquet"), format="parquet", preview=2, num_shards=2))
    assert len(list((tmp_path / "parquet" / "data").glob("*.parquet"))) == 2
    loaded = datasets.load_dataset(str(tmp_path / "parquet"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == datasets.load_from_disk(tmp_path / "arrow").features
    assert loaded[:] == rows(tmp_path / "arrow")


def test_the_record_is_enough_to_make_the_pairs_anew(options: Any, tmp_path: Path) -> None:
    generate_pairs(options(seed=5, levels=3, limit=3, distortions=["noise[0:35]", "level"]), ["jsqa", "pairs", "a b"])
    record = json.loads((tmp_path / "pairs" / "jsqa_pairs.json").read_text())
    assert record["command"] == "jsqa pairs 'a b'"
    assert record["ladders"] == 3 and record["clips"] == 18
    assert record["sources"]["noise"]["recordings"] == 4
    assert record["distortions"][0][0]["severity_range"] == [0, 35]
    again = generate_pairs(PairOptions(**{**record["options"], "output_dir": str(tmp_path / "again")}))
    assert rows(tmp_path / "again") == rows(tmp_path / "pairs")
    record_again = json.loads((again.folder / "jsqa_pairs.json").read_text())
    for kind in ("speech", "noise"):
        assert record_again["sources"][kind] == record["sources"][kind]
    assert "jsqa pairs 'a b'" in (tmp_path / "pairs" / "README.md").read_text()


def test_unusable_speech_is_named_and_stops_the_run(
    options: Any, speech_with_a_bad_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"bad\.wav.*--on-error skip"):
        generate_pairs(options(speech=str(speech_with_a_bad_file)))
    assert [path.name for path in tmp_path.iterdir()] == ["speech"]


@pytest.mark.parametrize("processes", [1, 2])
def test_unusable_speech_is_left_out_and_reported(
    options: Any, speech_with_a_bad_file: Path, tmp_path: Path, processes: int
) -> None:
    made = generate_pairs(
        options(speech=str(speech_with_a_bad_file), on_error="skip", num_proc=processes, repetitions=2)
    )
    assert sorted(made.skipped) == ["bad#0", "bad#1"]
    assert all("bad.wav" in reason for reason in made.skipped.values())
    pairs = datasets.load_from_disk(made.folder)
    assert "error" not in pairs.column_names
    assert pairs["speech_id"][:] == 2 * sorted(file.stem for file in speech_with_a_bad_file.glob("*.flac"))
    assert json.loads((made.folder / "jsqa_pairs.json").read_text())["skipped"] == made.skipped
    assert "bad.wav" in (made.folder / "README.md").read_text()


def test_nothing_but_unusable_speech_is_an_error_even_if_skipped(options: Any, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    speech.mkdir()
    soundfile.write(speech / "silent.wav", [0.0] * 16000, 16000)
    with pytest.raises(ValueError, match="no speech could be used.*silent"):
        generate_pairs(options(speech=str(speech), on_error="skip"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_run_that_ends_early_leaves_nothing_behind(
    options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_: Any) -> None:
        raise error("disk")

    monkeypatch.setattr(generation, "write_record", fail)
    with pytest.raises(error):
        generate_pairs(options())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_in_use_is_replaced_only_if_it_holds_pairs(options: Any, tmp_path: Path) -> None:
    generate_pairs(options(seed=1))
    before = rows(tmp_path / "pairs")
    with pytest.raises(FileExistsError, match="--overwrite"):
        generate_pairs(options(seed=2))
    assert rows(tmp_path / "pairs") == before
    generate_pairs(options(seed=2, overwrite=True))
    assert rows(tmp_path / "pairs")["seed"][0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="something else"):
        generate_pairs(options(output_dir=str(tmp_path / "other"), overwrite=True))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("mounted", [False, True])
def test_what_came_into_the_folder_meanwhile_stays(tmp_path: Path, overwrite: bool, mounted: bool) -> None:
    target = tmp_path / "pairs"
    if mounted:
        target.mkdir()
    meanwhile = pytest.raises(FileExistsError, match="what was made is in")
    with meanwhile as caught, new_folder(target, overwrite=overwrite) as unfinished:
        (unfinished / "mine").write_text("")
        target.mkdir(exist_ok=True)
        (target / "precious.txt").write_text("")
    assert (target / "precious.txt").exists()
    assert (unfinished / "mine").exists() and str(unfinished) in str(caught.value)


def test_a_saved_dataset_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"x": [1]}).save_to_disk(tmp_path / "corpus")
    with pytest.raises(FileExistsError, match="something else"), new_folder(tmp_path / "corpus", overwrite=True):
        pass


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "pairs" / ".pairs.unfinished-abc").mkdir(parents=True)
    with new_folder(tmp_path / "pairs") as unfinished:
        (unfinished / "mine").write_text("")
    assert (tmp_path / "pairs" / "mine").exists()
    # For all who could read it, had it been made as any other.
    (tmp_path / "plain").mkdir()
    with new_folder(tmp_path / "made"):
        pass
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_folder_is_filled_and_stays_the_same_folder(options: Any, tmp_path: Path) -> None:
    # As it may be mounted, or belong to a user who may not write beside it.
    (tmp_path / "pairs").mkdir()
    inode = (tmp_path / "pairs").stat().st_ino
    generate_pairs(options(limit=1))
    assert (tmp_path / "pairs").stat().st_ino == inode
    assert len(rows(tmp_path / "pairs")["seed"]) == 1
    assert not [path for path in (tmp_path / "pairs").iterdir() if path.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="sub") as caught, new_folder(tmp_path / "file" / "sub"):
        pass
    assert caught.value.filename == str(tmp_path / "file" / "sub")


def test_all_takes_what_can_be_used_and_tells_of_the_rest(options: Any) -> None:
    made = generate_pairs(options(distortions=["all"], repetitions=10, limit=1, duration_s=1.0))
    record = json.loads((made.folder / "jsqa_pairs.json").read_text())
    names = {one["name"] for chain in record["distortions"] for one in chain}
    assert {"noise", "clipping", "packet-loss"} <= names
    assert {"reverberation", "talkers"} <= set(record["left_out"])
    assert any("without talkers" in note and "--talkers" in note for note in made.notes)


def test_recordings_that_no_distortion_needs_are_mentioned(options: Any) -> None:
    assert generate_pairs(options(distortions=["clipping"], limit=1)).notes == ["--noise was not needed"]


def test_talkers_that_are_the_speakers_are_mentioned(options: Any, speech_folder: Path) -> None:
    made = generate_pairs(options(distortions=["talkers"], noise=None, talkers=str(speech_folder), limit=1))
    assert any("compete with themselves" in note for note in made.notes)


def test_rooms_that_cannot_be_used_are_told(options: Any, tmp_path: Path) -> None:
    folder = tmp_path / "rirs"
    folder.mkdir()
    time = np.arange(12000) / 16000
    tail = np.random.default_rng(0).standard_normal(time.size) * 10 ** (-3 * time / 0.5)
    for name, direct in (("near", 90.0), ("far", 5.0)):
        soundfile.write(folder / f"{name}.wav", np.concatenate([[direct], tail]) / 100, 16000)
    few = generate_pairs(
        options(distortions=["reverberation"], noise=None, rirs=str(folder), output_dir=str(tmp_path / "few"))
    )
    assert few.notes == [], "of six ladders, a good response may be in none by chance"
    made = generate_pairs(options(distortions=["reverberation"], noise=None, rirs=str(folder), repetitions=4))
    assert len(made.notes) == 1
    assert "reverberation was made with 1 of 2 room impulse responses (jsqa_pairs.json names" in made.notes[0]
    record = json.loads((made.folder / "jsqa_pairs.json").read_text())
    assert record["rirs_used"] == {"reverberation": {"far": 24}}


def test_older_names_of_levels_and_snrs_still_count(options: Any) -> None:
    made = generate_pairs(
        options(distortions=["noise"], snr_min=10, snr_max=30, level_dbov_min=-32, level_dbov_max=-20, repetitions=3)
    )
    pairs = datasets.load_from_disk(made.folder)
    assert all(10 <= snr <= 30 for snrs in pairs["snr_db"] for snr in snrs)
    levels = [level for row in pairs["level_dbov"] for level in row]
    assert min(levels) < -26 < max(levels) and all(-33 < level < -19 for level in levels)


def test_a_report_needs_noise_to_calibrate_on(options: Any) -> None:
    with pytest.raises(ValueError, match="--report needs --noise"):
        generate_pairs(options(distortions=["clipping"], noise=None, report="zimtohrli"))


def test_a_judge_that_is_not_installed_does_not_spoil_the_pairs(
    options: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"{name} is not installed")

    monkeypatch.setattr("jsqa_hf.jnd.pair_report.make_judge", missing)
    assert generate_pairs(options(report="pesq", limit=1)).notes == ["no report: pesq is not installed"]
    assert len(rows(tmp_path / "pairs")["seed"]) == 1


class LoudnessJudge(Judge):
    """Stands in for those that have to be installed."""

    name = "pesq"
    sampling_rate = 16000

    def _measure(self, first: Any, second: Any) -> float:
        return float(np.abs(first - second).mean())


def test_speech_too_short_for_the_judge_is_not_used_for_its_calibration(
    options: Any, speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jsqa_hf.jnd.pair_report.make_judge", lambda name: LoudnessJudge())
    speech = tmp_path / "speech"
    speech.mkdir()
    long, short = sorted(speech_folder.glob("*.flac"))[:2]
    (speech / long.name).write_bytes(long.read_bytes())
    soundfile.write(speech / "short.wav", soundfile.read(short)[0][:3200], 16000)
    made = generate_pairs(
        options(speech=str(speech), distortions=["clipping"], duration_s=None, levels=1, report="pesq")
    )
    assert not [note for note in made.notes if "no report" in note or "not needed" in note]
    assert (made.folder / "report" / "report.json").is_file()
    assert "report/report.md" in (made.folder / "README.md").read_text()


@pytest.mark.parametrize("error", [ValueError, RuntimeError, AssertionError])
def test_a_report_that_fails_does_not_cost_the_pairs(
    options: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(self: Judge, *_: Any) -> float:
        raise error("no speech found")

    monkeypatch.setattr("jsqa_hf.jnd.pair_report.make_judge", lambda name: LoudnessJudge())
    monkeypatch.setattr(LoudnessJudge, "_measure", fail)
    made = generate_pairs(options(report="pesq", limit=1))
    assert made.notes == ["no report: no speech found"]
    assert len(rows(made.folder)["seed"]) == 1
    assert "report/report.md" not in (made.folder / "README.md").read_text()


def test_a_judge_that_there_is_not_is_told_before_anything_is_made(options: Any) -> None:
    with pytest.raises(ValueError, match="--report: there is no judge 'ear'; there are zimtohrli, pesq, visqol"):
        generate_pairs(options(report="ear"))


@pytest.mark.slow
def test_report_tells_of_every_distortion(options: Any, tmp_path: Path) -> None:
    pytest.importorskip("zimtohrli")
    generate_pairs(options(report="zimtohrli", duration_s=None))
    report = json.loads((tmp_path / "pairs" / "report" / "report.json").read_text())
    assert {entry["distortion"] for entry in report["bins"]} == {"noise", "clipping"}
    assert "zimtohrli" in (tmp_path / "pairs" / "report" / "report.md").read_text()


def test_an_interruption_that_a_library_swallows_still_counts() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise_if_interrupted()
        pytest.fail("went on after an interruption")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interruption_inside_libsndfile_waits_for_its_end(capfd: pytest.CaptureFixture[str]) -> None:
    class Interrupting(io.BytesIO):
        def write(self, data: Any) -> int:
            os.kill(os.getpid(), signal.SIGINT)
            return super().write(data)

    file = Interrupting()
    with pytest.raises(KeyboardInterrupt), interruptible():
        soundfile.write(file, np.zeros(1600), 16000, format="WAV")
        assert soundfile.info(io.BytesIO(file.getvalue())).frames == 1600
        raise_if_interrupted()
        pytest.fail("went on after an interruption")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("in_background", [False, True])
def test_sigterm_clears_away_as_an_interruption_does(in_background: bool) -> None:
    """In jobs in the background of a script Ctrl-C is ignored, and stays so."""
    interrupt = signal.SIG_IGN if in_background else signal.default_int_handler
    before = signal.getsignal(signal.SIGTERM)
    assert before == signal.SIG_DFL
    usual = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("went on after an interruption")
        assert signal.getsignal(signal.SIGINT) == interrupt
    finally:
        signal.signal(signal.SIGINT, usual)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interruption_that_becomes_another_error_is_one_again() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            raise TimeoutError
    with pytest.raises(TimeoutError), interruptible():
        raise TimeoutError
