"""Clips that a teacher rates, and the scale that their labels are put onto."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import degraded_clips
import numpy as np
import pytest
import runs
import soundfile
import teacher_ratings
from growing_table import growing_table, read_rows


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    corpus = runs.write_corpus(tmp_path / "corpus")
    return [f"--speech={corpus / 'speech'}", f"--noise={corpus / 'noise'}", "--duration_s=0.8"]


def arguments(words: list[str], folder: Path) -> degraded_clips.DegradationArguments:
    (folder / "clips").mkdir(parents=True)
    values = dict(word.removeprefix("--").split("=") for word in words)
    values["duration_s"] = float(values["duration_s"])
    return degraded_clips.DegradationArguments(**values, output_dir=str(folder))


def test_batches_depend_on_seed_and_number_alone(words: list[str], tmp_path: Path):
    first, again = (degraded_clips.Maker(arguments(words, tmp_path / name)) for name in ("first", "again"))
    names = first(1)
    first(0)
    assert again(1) == names and len(set(names)) == degraded_clips.BATCH
    clips = [[soundfile.read(tmp_path / folder / name)[0] for name in names] for folder in ("first", "again")]
    assert all(np.array_equal(one, other) for one, other in zip(*clips, strict=True))
    assert {len(clip) for clip in clips[0]} == {12800}
    assert all(0 < np.abs(clip).max() <= 1 for clip in clips[0])


def test_utterances_that_are_held_out_are_not_used(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(degraded_clips, "held_out", lambda speech_id: True)
    with pytest.raises(ValueError, match="no recording"):
        degraded_clips.Maker(arguments(words, tmp_path / "none"))
    monkeypatch.undo()
    maker = degraded_clips.Maker(arguments(words, tmp_path / "some"))
    assert maker.distorted(0) is not None
    monkeypatch.setattr(degraded_clips, "held_out", lambda speech_id: True)
    assert maker.distorted(0) is None


def test_distortions_that_lack_a_module_are_told(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "lc3", None)
    maker = degraded_clips.Maker(arguments(words, tmp_path / "clips"))
    assert {"lc3", "level"}.isdisjoint(one.name for one in maker.distortions.distortions)
    told = capsys.readouterr().err
    assert "without lc3: " in told and "jsqa_hf[degrade]" in told and "without level" not in told


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_left(words: list[str], tmp_path: Path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    degraded_clips.main([*words, f"--output_dir={whole}", "--clips=64", "--num_proc=2"])
    degraded_clips.main([*words, f"--output_dir={broken}", "--clips=1"])
    table = broken / "ratings.csv"
    # As if it had been broken off within the second batch.
    table.write_text(table.read_text() + "clips/000032.flac,\n")
    degraded_clips.main([*words, f"--output_dir={broken}", "--clips=64"])
    assert read(table) == read(whole / "ratings.csv") and len(read(table)) == 64
    last = "clips/000063.flac"
    assert (whole / last).read_bytes() == (broken / last).read_bytes()


def test_rows_are_on_disk_as_they_are_made_and_a_line_that_was_cut_off_is_not_read(tmp_path: Path):
    table = tmp_path / "ratings.csv"
    assert read_rows(table) == []
    with growing_table(table, ["file", "mos"], [{"file": "a", "mos": 1, "other": 2}]) as write:
        assert read_rows(table) == [{"file": "a", "mos": "1"}]
        write([{"file": "b", "mos": 2.25}])
        assert [row["file"] for row in read_rows(table)] == ["a", "b"]
    table.write_bytes(table.read_bytes()[:-3])
    assert read_rows(table) == [{"file": "a", "mos": "1"}]


def test_a_teacher_rates_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = [f"{number}.wav" for number in range(3)]
    for name in names:
        soundfile.write(tmp_path / name, np.full(16000, 0.1), 16000)
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("\n".join(["file", *names]) + "\n")
    (tmp_path / "teacher_dnsmos.csv").write_text("file,dnsmos\n1.wav,4.5\n2.wav,3")

    def rate(factory: Callable[..., Any], paths: list[str], number: int) -> nullcontext[Iterator[float]]:
        return nullcontext(map(factory(), paths))

    measure = SimpleNamespace(rate=lambda clips, _: {"mos": [len(clips[0])]})
    peer = SimpleNamespace(load=lambda *_: measure, ours=False, needs_reference=False)
    monkeypatch.setitem(teacher_ratings.PEERS, "dnsmos", peer)
    monkeypatch.setattr(teacher_ratings, "map_with", rate)
    teacher_ratings.main([f"--ratings={ratings}", "--measure=dnsmos"])
    rated = {row["file"]: float(row["dnsmos"]) for row in read_rows(tmp_path / "teacher_dnsmos.csv")}
    assert rated == {"1.wav": 4.5, "0.wav": 16000, "2.wav": 16000}


def test_a_measure_that_does_not_exist_or_needs_a_reference_is_told(tmp_path: Path):
    for name in ("nisqaa", "pesq"):
        with pytest.raises(ValueError, match=f"--measure {name}: it must be one of dnsmos, distillmos, nisqa"):
            teacher_ratings.main([f"--ratings={tmp_path / 'ratings.csv'}", f"--measure={name}"])


def test_clips_without_pesq_are_labelled_by_the_teacher_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pesq")
    import map_ratings

    scores = np.linspace(1.5, 4.5, 12)
    mos = 0.5 * scores + 1
    measures = {"pesq": scores + np.resize([0.3, -0.3], 12), "distillmos": scores}
    talkers, held_out = np.resize(["a", "b", "c"], 12), np.resize([False, False, True], 12)
    monkeypatch.setattr(map_ratings, "rated_clips", lambda path, also: (measures, mos, talkers, held_out))
    (tmp_path / "ratings.csv").write_text("file,split\na.wav,train\nb.wav,train\n")
    (tmp_path / "rated.csv").write_text("file\na.wav\n")
    (tmp_path / "teacher_distillmos.csv").write_text("file,distillmos\na.wav,2.0\nb.wav,4.0\n")
    map_ratings.main([f"--ratings={tmp_path / 'rated.csv'}", f"--simulated={tmp_path / 'ratings.csv'}"])
    rows = read(tmp_path / "mapped.csv")
    assert [float(row["mos"]) for row in rows] == pytest.approx([2.0, 3.0], abs=0.02)
    assert [row["distillmos"] for row in rows] == ["2.0000", "4.0000"]


def test_labels_on_the_scale_of_the_teacher_are_the_mean_of_the_measures_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("pesq")
    import map_ratings

    scores = np.linspace(1.5, 4.5, 12)
    measures = {"pesq": scores + np.resize([0.3, -0.3], 12), "distillmos": scores}
    talkers, held_out = np.resize(["a", "b", "c"], 12), np.resize([False, False, True], 12)
    monkeypatch.setattr(map_ratings, "rated_clips", lambda path, also: (measures, 6 - scores, talkers, held_out))
    monkeypatch.setattr(map_ratings, "mixtures_of", lambda measures: [("pesq", "distillmos")])
    (tmp_path / "ratings.csv").write_text("file,pesq\na.wav,1.0\nb.wav,4.0\n")
    (tmp_path / "rated.csv").write_text("file\na.wav\n")
    (tmp_path / "teacher_distillmos.csv").write_text("file,distillmos\na.wav,3.0\nb.wav,4.4\n")
    words = [f"--ratings={tmp_path / 'rated.csv'}", f"--simulated={tmp_path / 'ratings.csv'}", "--scale=distillmos"]
    map_ratings.main([*words, f"--report={tmp_path / 'report.json'}"])
    # Their means are 2.0 and 4.2, 0.6 below those of the teacher on average.
    assert [float(row["mos"]) for row in read(tmp_path / "mapped.csv")] == pytest.approx([2.6, 4.8])
    (figures,) = json.loads((tmp_path / "report.json").read_text())["mixtures"]
    assert figures["pesq+distillmos"]["as_is"]["pcc"] < -0.9


@pytest.mark.parametrize(("rated", "lacking"), [("", 2), ("file,distillmos\na.wav,2.0\nb.wa", 1)])
def test_scores_that_the_teacher_has_not_given_yet_are_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rated: str, lacking: int
):
    pytest.importorskip("pesq")
    import map_ratings

    monkeypatch.setattr(map_ratings, "rated_clips", None)
    table = tmp_path / "ratings.csv"
    table.write_text("file,split\na.wav,train\nb.wav,train\n")
    if rated:
        (tmp_path / "teacher_distillmos.csv").write_text(rated)
    with pytest.raises(ValueError, match=f"teacher_distillmos.csv lacks {lacking} of 2 clips: run teacher_ratings.py"):
        map_ratings.main([f"--ratings={table}", f"--simulated={table}"])
