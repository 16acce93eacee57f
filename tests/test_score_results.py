"""Files of results: cut anywhere and gone on with, merged from parts, and only by the same model."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.score_results import ResultsFile, describe_model
from jsqa_hf.score_tables import read_scores
from jsqa_hf.scoring import FileScore, load_pipeline

MODEL = {"fingerprint": "0"}
CURVE: list[dict[str, float | None]] = [
    {"start_s": 0.0, "end_s": 1.0, "mos": 3.5, "mos_low": 3.0, "mos_high": 4.0, "speech_s": 0.8},
    {"start_s": 1.0, "end_s": 1.5, "mos": None, "mos_low": None, "mos_high": None, "speech_s": 0.0},
]


def good(name: str, mos: float = 3.25) -> FileScore:
    return FileScore(name, {"mos": mos, "mos_low": 2.5, "mos_high": 4.0}, 1.5)


ROWS = [
    good("a.wav"),
    FileScore("b.wav", error='says "no", and why'),
    good('c, "x"\n.wav', 1.0),
    good(os.fsdecode(b"caf\xe9\\.wav"), 5.0),
    good("世界\r.wav"),
]


def results_file(path: Path, **arguments: Any) -> ResultsFile:
    suffix = path.suffix[1:]
    return ResultsFile(path, suffix, ["mos"], arguments.pop("model", MODEL), **arguments)


def write_missing(results: ResultsFile, rows: Sequence[FileScore], process: int = 0) -> None:
    with results.writer(process) as write:
        for row in rows:
            if results.is_missing(row.file):
                write(row)


def write_all(path: Path, rows: Sequence[FileScore], **arguments: Any) -> None:
    results = results_file(path, **arguments)
    results.start()
    write_missing(results, rows)
    results.finish()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_was_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores.{suffix}"
    write_all(path, ROWS)
    rows = list(read_scores(path, suffix))
    assert [row.scores for row in rows] == [row.scores for row in ROWS]
    assert [(row.duration_s, row.error) for row in rows] == [(row.duration_s, row.error) for row in ROWS]
    if suffix != "parquet":
        assert rows == ROWS
    assert sorted(os.listdir(tmp_path)) == [f"scores.{suffix}", f"scores.{suffix}.meta.json"]


def test_parquet_has_numbers_and_escapes_bytes_that_are_no_text(tmp_path: Path) -> None:
    write_all(tmp_path / "scores.parquet", ROWS)
    table = pyarrow.parquet.read_table(tmp_path / "scores.parquet")
    assert [str(field.type) for field in table.schema] == ["string", *["double"] * 4, "string"]
    assert table["mos"].to_pylist() == [3.25, None, 1.0, 5.0, 3.25]
    assert table["file"].to_pylist()[3] == "caf\\xe9\\.wav"
    again = results_file(tmp_path / "scores.parquet")
    again.start()
    assert not any(again.is_missing(row.file) for row in ROWS)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_curve_is_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores.{suffix}"
    rows = [FileScore("a.wav", good("a.wav").scores, 1.5, None, CURVE), FileScore("b.wav", error="is empty")]
    write_all(path, rows, curve=True)
    assert [row.curve for row in read_scores(path, suffix)] == [CURVE, None]


@settings(deadline=None, max_examples=25)
@given(share=st.floats(0, 1), suffix=st.sampled_from(["csv", "jsonl"]))
def test_a_file_that_was_cut_anywhere_becomes_that_of_an_uninterrupted_run(
    tmp_path_factory: pytest.TempPathFactory, share: float, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"scores.{suffix}"
    write_all(path, ROWS)
    whole = path.read_bytes()
    os.truncate(path, round(share * len(whole)))
    results = results_file(path)
    results.start()
    assert len(results.done) == len(list(read_scores(path, suffix))) <= len(ROWS)
    assert whole.startswith(path.read_bytes())
    write_missing(results, ROWS)
    assert path.read_bytes() == whole


@settings(deadline=None, max_examples=20)
@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    suffix=st.sampled_from(["csv", "jsonl", "parquet"]),
    processes=st.integers(1, 3),
    merged=st.booleans(),
)
def test_processes_that_were_killed_leave_what_others_go_on_with(
    tmp_path_factory: pytest.TempPathFactory, shares: list[float], suffix: str, processes: int, merged: bool
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    path = folder / f"scores.{suffix}"
    first = results_file(path, processes=3)
    first.start()
    for process in range(len(shares)):
        write_missing(first, ROWS[process :: len(shares)], process)
    parts = folder / f"scores.{suffix}.parts"
    for part, share in zip(sorted(parts.iterdir()), shares, strict=True):
        os.truncate(part, round(share * part.stat().st_size))
    if merged:
        # Killed after the merge, but before the parts were removed.
        shutil.copytree(parts, folder / "copy")
        first.finish()
        shutil.move(folder / "copy", parts)
    again = results_file(path, processes=processes)
    again.start()
    missing = [row for row in ROWS if again.is_missing(row.file)]
    for process in range(processes):
        write_missing(again, missing[process::processes], process)
    again.finish()
    rows = list(read_scores(path, suffix))
    assert sorted((row.scores.get("mos", 0), row.error or "") for row in rows) == sorted(
        (row.scores.get("mos", 0), row.error or "") for row in ROWS
    )
    assert sorted(os.listdir(folder)) == [path.name, f"{path.name}.meta.json"]


def test_processes_together_keep_the_order_of_the_inputs(tmp_path: Path) -> None:
    rows = [good(f"{index}.wav") for index in range(11)]
    results = results_file(tmp_path / "scores.csv", processes=3)
    results.start()
    for process in range(3):
        write_missing(results, rows[process::3], process)
    results.finish()
    assert list(read_scores(tmp_path / "scores.csv", "csv")) == rows


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_with_errors_are_kept_unless_they_are_to_be_tried_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores.{suffix}"
    write_all(path, ROWS)
    kept = results_file(path)
    kept.start()
    assert (kept.is_missing("b.wav"), kept.has_error("b.wav"), kept.has_error("a.wav")) == (False, True, False)
    again = results_file(path)
    again.start(retry_failed=True)
    assert [row.file for row in ROWS if again.is_missing(row.file)] == ["b.wav"]
    write_missing(again, [good("b.wav")])
    again.finish()
    assert len(list(read_scores(path, suffix))) == len(ROWS)
    assert all(row.error is None for row in read_scores(path, suffix))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_is_known_however_it_is_spelled_but_of_an_address_every_character_counts(
    tmp_path: Path, suffix: str
) -> None:
    names = ["./a.wav", *(f"http://h/{end}" for end in ("a", "a/", "/a", "?f=x//y", "?f=x/y"))]
    path = tmp_path / f"scores.{suffix}"
    write_all(path, [FileScore(name, {}, error="x") for name in names])
    again = results_file(path)
    again.start(retry_failed=True)
    assert all(map(again.is_missing, names))
    write_missing(again, [good(name) for name in names])
    again.finish()
    assert [row.file for row in read_scores(path, suffix)] == names
    again.start()
    assert not again.is_missing("a.wav") and again.is_missing("http://h//b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": {"fingerprint": "1"}}, "another model"),
        ({"model": {**MODEL, "window_s": 5.0}}, "other settings"),
        ({"curve": True}, "--curve"),
    ],
)
def test_the_results_of_another_model_are_left_alone(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    path = tmp_path / "scores.csv"
    write_all(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{message}.*--overwrite"):
        results_file(path, **arguments).start()
    assert path.read_bytes() == before
    fresh = results_file(path, **arguments)
    fresh.start(overwrite=True)
    assert fresh.done == {}
    assert not path.exists()


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("my notes\n")
    with pytest.raises(ValueError, match="doesn't tell what is in it"):
        results_file(path).start()
    assert path.read_text() == "my notes\n"


def test_the_rows_survive_a_start_that_cannot_note_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.csv"
    write_all(path, ROWS)

    def write_nothing(self: Path, text: str, **options: Any) -> int:
        self.touch()
        os.truncate(self, 0)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path, "write_text", write_nothing)
        results_file(path).start()
    again = results_file(path)
    again.start()
    assert len(again.done) == len(ROWS)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_only_what_this_program_wrote_is_removed(tmp_path: Path, suffix: str) -> None:
    parts = tmp_path / f"scores.{suffix}.parts"
    parts.mkdir()
    (parts / "thesis.jsonl").write_text("mine\n")
    results = results_file(tmp_path / f"scores.{suffix}", processes=2)
    results.start(overwrite=True)
    write_missing(results, ROWS)
    results.finish()
    write_all(tmp_path / f"scores.{suffix}", ROWS, processes=2)
    assert len(list(read_scores(tmp_path / f"scores.{suffix}", suffix))) == len(ROWS)
    assert [part.name for part in parts.iterdir()] == ["thesis.jsonl"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"retry_failed": True}])
def test_results_go_to_where_a_link_points(tmp_path: Path, suffix: str, how: dict[str, bool]) -> None:
    target, path = tmp_path / f"real.{suffix}", tmp_path / f"scores.{suffix}"
    path.symlink_to(target)
    write_all(path, ROWS)
    results = results_file(path)
    results.start(**how)
    write_missing(results, ROWS)
    results.finish()
    assert path.is_symlink()
    assert len(list(read_scores(target, suffix))) == len(ROWS)


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.touch()
    write_all(path, ROWS)
    assert list(read_scores(path, "csv")) == ROWS


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    for second in ('{"file": "b.wav"}', "\0\0\0", "[]"):
        path.write_text(json.dumps({"file": "a.wav", "mos": 3.0, "error": None}) + f"\n{second}\n")
        with pytest.raises(ValueError, match="scores.jsonl: row 2 is damaged"):
            list(read_scores(path, "jsonl"))


def test_a_model_is_known_by_weights_configuration_and_settings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config()).eval()
    model.save_pretrained(tmp_path / "a")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    known = describe_model(load_pipeline(tmp_path / "a", "cpu"))
    assert describe_model(load_pipeline(tmp_path / "b", "cpu")) == known
    assert describe_model(load_pipeline(model, "cpu")) == known
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    (tmp_path / "b" / "config.json").write_text(json.dumps({**config, "mos_score_range": [0.0, 5.0]}))
    assert describe_model(load_pipeline(tmp_path / "b", "cpu")) != known
    with torch.no_grad():
        model.head.output.bias[0] += 0.1
    assert describe_model(load_pipeline(model, "cpu")) != known
