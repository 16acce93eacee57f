"""Recordings of public repositories, and programs that enhance or resynthesise them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numbered_clips
import numpy as np
import processed_clips
import public_recordings
import pytest
import runs
import soundfile
from public_recordings import Source


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def options(corpus: Path, folder: Path) -> processed_clips.ProcessingArguments:
    (folder / "clips").mkdir(parents=True)
    words = {"speech": str(corpus / "speech"), "noise": str(corpus / "noise"), "output_dir": str(folder)}
    return processed_clips.ProcessingArguments(**words, duration_s=2.0)


def test_clips_depend_on_seed_and_number_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processed_clips, "PROCESSES", {"none": 1.0})
    monkeypatch.setattr(processed_clips, "NOISY_SHARE", {"none": 0.5})
    monkeypatch.setattr(processed_clips, "SHORTEST_S", 0.1)
    corpus = runs.write_corpus(tmp_path / "corpus")
    first, again = (processed_clips.Processor(options(corpus, tmp_path / name)) for name in ("first", "again"))
    rows = [first(number) for number in range(8)]
    assert [again(number) for number in reversed(range(8))] == rows[::-1]
    assert {row["snr_db"] == "" for row in rows} == {True, False}
    clips = [[soundfile.read(tmp_path / name / row["file"])[0] for row in rows] for name in ("first", "again")]
    assert all(np.array_equal(one, other) for one, other in zip(*clips, strict=True))
    assert all(0 < np.abs(clip).max() <= 1 for clip in clips[0])


def test_speech_that_is_too_short_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processed_clips, "PROCESSES", {"none": 1.0})
    monkeypatch.setattr(processed_clips, "SHORTEST_S", 60.0)
    made = processed_clips.Processor(options(runs.write_corpus(tmp_path / "corpus"), tmp_path / "clips"))(0)
    assert made == {"number": 0, "error": "it lasts less than 60.0 s"}


@pytest.mark.parametrize(
    ("process", "module"), [("rnnoise", "pyrnnoise"), ("gating", "noisereduce"), ("world", "pyworld")]
)
def test_programs_change_speech_and_keep_its_length(process: str, module: str):
    pytest.importorskip(module)
    rng = np.random.default_rng(0)
    time = np.arange(32000) / 16000
    tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 2 * time) > 0)
    noisy = 0.1 * tone + rng.normal(0, 0.01, 32000)
    changed = processed_clips.Processor._processed(rng, process, noisy)
    assert changed.size == noisy.size and np.isfinite(changed).all()
    assert not np.allclose(changed, noisy, atol=1e-3) and np.abs(changed).max() > 0.01
    if process != "world":
        silent = np.sin(2 * np.pi * 2 * time) < -0.5
        assert np.std(changed[silent]) < 0.7 * np.std(noisy[silent])


def test_recordings_become_tables_without_what_is_short_silent_or_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    loud, rate = np.full(3 * 8000, 0.5), 8000
    for name, samples in {
        "a+speech/x/1.wav": loud,
        "a+speech/x/2.wav": loud,
        "a+speech/x/short.wav": loud[:8000],
        "a+speech/x/silent.wav": 0 * loud,
        "a+speech/silence/1.wav": loud,
        "b+noise/rain.wav": loud,
        "b+noise/Night-Train.wav": loud,
        "c+voices/1.wav": loud,
    }.items():
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)
    (tmp_path / "recordings" / "a+speech" / "x" / "broken.wav").write_bytes(b"RIFF")
    speech = Source("a/speech", "1", "CC0", ("**/*.wav",))
    sources = (
        speech,
        replace(speech, repository="b/noise", kind="noise"),
        replace(speech, repository="c/voices", kind="natural"),
        replace(speech, repository="not/there"),
    )
    monkeypatch.setattr(public_recordings, "SOURCES", sources)
    (tmp_path / "noise.csv").write_text("file,noise_id,type,split\n/n/1.wav,1,car,train\n/n/2.wav,2,train,test\n")
    words = [f"--recordings={tmp_path / 'recordings'}", f"--tables={tmp_path}", f"--output_dir={tmp_path}"]
    public_recordings.main(words)
    names = {
        name: [Path(row["file"]).name for row in read(tmp_path / f"{name}.csv")]
        for name in ("public_speech", "public_noise", "natural")
    }
    assert names == {
        "public_speech": ["1.wav", "2.wav"],
        "public_noise": ["1.wav", "rain.wav"],
        "natural": ["1.wav"],
    }
    assert len({row["speech_id"] for row in read(tmp_path / "public_speech.csv")}) == 2
    monkeypatch.setattr(public_recordings, "SOURCES", (replace(speech, at_most=1),))
    assert len(list(public_recordings.rows_of("speech", tmp_path / "recordings"))) == 1


def make_all_but_third() -> Callable[[int], dict[str, Any]]:
    return lambda number: {"number": number, **({"error": "no"} if number == 2 else {"file": f"clips/{number}.flac"})}


def test_clips_that_are_there_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked: list[int] = []

    def inline(factory: Callable[[], Callable[[int], Any]], todo: list[int], number: int) -> Any:
        asked.extend(todo)
        return nullcontext(map(factory(), todo))

    monkeypatch.setattr(numbered_clips, "map_with", inline)
    for clips, missing in (2, [0, 1]), (4, [2, 3]), (4, [2]):
        asked.clear()
        failed = numbered_clips.make_missing(tmp_path, ["file"], make_all_but_third, clips, 1)
        assert (asked, failed) == (missing, int(2 in missing))
    assert [row["file"] for row in read(tmp_path / "ratings.csv")] == [f"clips/{n}.flac" for n in (0, 1, 3)]
    assert "clip 2: no" in capsys.readouterr().err
