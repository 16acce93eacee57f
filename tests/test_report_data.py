"""What a report is made of: results that are read, groups, excerpts."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jsqa_hf.audio import AudioStream
from jsqa_hf.groups import folder_groups, matching_names, pattern_groups, strip_group
from jsqa_hf.report import (
    read_results,
    summarise_groups,
)
from jsqa_hf.report.excerpts import cut_excerpt, encode_flac
from jsqa_hf.score_tables import file_key, write_scores
from jsqa_hf.scoring import FileScore


def file_score(file: str, mos: float, **kwargs: Any) -> FileScore:
    return FileScore(file, {"mos": mos, "mos_low": mos - 0.5, "mos_high": mos + 0.5}, 2.0, **kwargs)


def write_tone(path: Path, seconds: float = 1.0, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate), rate)
    return path


# ---- Results

texts = st.text(st.characters(exclude_categories=()), min_size=1, max_size=12).filter(
    lambda text: "\0" not in text and text.strip() and not text.startswith("\ufeff")
)
numbers = st.floats(1, 5)


@settings(deadline=None, max_examples=40)
@given(scores=st.dictionaries(texts, st.tuples(numbers, numbers, numbers, st.one_of(st.none(), numbers)), min_size=1))
@pytest.mark.parametrize("format_name", ["csv", "jsonl", "parquet"])
def test_results_are_read_as_they_were_written(
    format_name: str, scores: dict[str, tuple[float, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = [
        FileScore(file, {"mos": mos, "mos_low": low, "mos_high": high, "noi": 2.0, "noi_low": 1.0, "noi_high": 3.0})
        if noi is None
        else FileScore(file, error="is empty (0 bytes)")
        for file, (mos, low, high, noi) in scores.items()
    ]
    path = tmp_path_factory.mktemp("results") / f"scores.{format_name}"
    try:
        write_scores(path, format_name, written, ["mos", "noi"], curve=False)
    except UnicodeEncodeError:
        return  # Surrogates other than those that stand for bytes can't come from a file's name.
    read = read_results(path).files
    assert [file.file for file in read] == [file_key(file.file, format_name) for file in written]
    assert [file.error for file in read] == [file.error for file in written]
    for first, second in zip(read, written, strict=True):
        assert first.scores == pytest.approx(second.scores, abs=1e-4)


def test_of_rows_that_agree_about_a_file_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("file,mos,codec\n./a,3,opus\nb,4,opus\na,3,lc3\n")
    results = read_results(tmp_path / "scores.csv")
    assert [result.file for result in results.files] == ["./a", "b"]
    assert results.metadata["./a"] == {"codec": "opus"}


def test_columns_that_are_no_scores_are_metadata(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("file,mos,mos_low,mos_high,system,error\na.wav,3,2,4,<b>,\n", encoding="utf-8-sig")
    results = read_results(path)
    assert results.metadata == {"a.wav": {"system": "<b>"}}
    assert results.files == [FileScore("a.wav", {"mos": 3.0, "mos_low": 2.0, "mos_high": 4.0})]


@pytest.mark.parametrize("format_name", ["jsonl", "parquet"])
def test_curves_in_results_are_taken_over(tmp_path: Path, format_name: str) -> None:
    step: dict[str, float | None] = {"start_s": 0.0, "end_s": 1.0, "mos": 3.0, "mos_low": 2.0, "mos_high": 4.0}
    curve = [
        {**step, "speech_s": 1.0},
        {"start_s": 1.0, "end_s": 2.0, "mos": None, "mos_low": None, "mos_high": None, "speech_s": 0.0},
    ]
    path = tmp_path / f"scores.{format_name}"
    written = [file_score("a.wav", 3.0, curve=curve), FileScore("b.wav", error="is empty")]
    write_scores(path, format_name, written, ["mos"], curve=True)
    results = read_results(path)
    assert results.files == written
    assert results.metadata == {"a.wav": {}, "b.wav": {}}


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("name,mos\na,3\n", "the column 'file' is missing among"),
        ("file;mos\na;3\n", "separated by commas"),
        ("file;mos\na;3,5\n", "'file' is missing among ['file;mos']"),
        ("", "holds no results"),
        ("file,mos\n", "holds no results"),
        ('file,mos\na,"3,5"\n', "line 2: mos is '3,5', not a number"),
        ("file,mos\na,nan\n", "line 2: mos is 'nan'; leave it empty"),
        ("file,mos\na,3,4\n", "line 2: has more cells"),
        ("file,mos,error\na,3\n", "line 2: has fewer cells"),
        ("file,mos\na,3\rb,4", "line 1: is not CSV (new-line character"),
        ("file,mos\na,3\na,4\n", "line 3: a is there twice"),
        ("file,mos\na,3\n./a,4\n", "line 3: ./a is there twice"),
    ],
)
def test_wrong_results_are_refused_by_name_and_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(complaint)) as caught:
        read_results(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "curve, complaint",
    [
        ('["a"]', "must be a list of objects"),
        ('[{"start_s": 0}]', "with start_s, end_s and mos"),
        ('[{"start_s": 0, "end_s": null, "mos": 3}]', "with start_s, end_s and mos"),
        ('[{"start_s": 0, "end_s": 1, "mos": 3, "mos_low": 2}]', "both or none of mos_low and mos_high"),
        ('[{"start_s": 0, "end_s": 1, "mos": NaN}]', "mos is nan; leave it empty"),
    ],
)
def test_curves_that_can_not_be_drawn_are_refused_by_name_and_line(tmp_path: Path, curve: str, complaint: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"file": "a.wav", "mos": 3, "curve": ' + curve + "}")
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 1: curve")) as caught:
        read_results(path)
    assert complaint in str(caught.value)


def test_names_start_from_the_root_or_else_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "set" / "a.wav")
    Path("scores.csv").write_text("file,mos\na.wav,3\nset/a.wav,3.5\nmissing.wav,2\n")
    files = [file.file for file in read_results("scores.csv", "other").files]
    assert files == ["other/a.wav", "set/a.wav", "other/missing.wav"]
    Path("scores.csv").write_text("file,mos\na.wav,3\n")
    assert [file.file for file in read_results("scores.csv", "set").files] == ["set/a.wav"]


# ---- Groups


def test_groups_by_folder_and_by_pattern() -> None:
    names = ["x/1/a.wav", "x/2/a.wav", "y/a.wav", "a.wav"]
    assert folder_groups(names) == ["x", "x", "y", "."]
    assert folder_groups(names, 2) == ["x/1", "x/2", "y", "."]
    assert pattern_groups(names, r"/(\d)/") == ["1", "2", "(none)", "(none)"]
    assert pattern_groups(names, r"\d") == ["1", "2", "(none)", "(none)"]
    with pytest.raises(ValueError, match="not a regular expression"):
        pattern_groups(names, "(")


def test_a_name_without_its_group_keeps_what_only_looks_like_it() -> None:
    assert strip_group("x/ax/a.wav", "x") == strip_group("y/ax/a.wav", "y") == "*/ax/a.wav"
    assert strip_group("c1_f1.wav", "c1") == strip_group("c12_f1.wav", "c12")
    assert strip_group("c1_c12.wav", "c1") == "*_c12.wav"
    assert strip_group("6/6.wav", "6") == "*/6.wav"


@pytest.mark.parametrize(
    ("names", "matched"),
    [
        # Folders of bit rates, with files that are numbered.
        ([f"{rate}/{file}.wav" for rate in (6, 12) for file in (6, 7, 12)], ["*/6.wav", "*/7.wav", "*/12.wav"] * 2),
        (["6/6.wav", "6/1.wav", "12/12.wav", "12/1.wav"], ["*/6.wav", "*/1.wav", "*/12.wav", "*/1.wav"]),
        (["6/clip_6.wav", "6/clip_12.wav", "12/clip_6.wav", "12/clip_12.wav"], ["*/clip_6.wav", "*/clip_12.wav"] * 2),
        # The codec is part of the file's name, too.
        (["opus/a_opus.wav", "opus/b.wav", "mp3/a_mp3.wav", "mp3/b.wav"], ["*/a_*.wav", "*/b.wav"] * 2),
    ],
)
def test_files_of_several_folders_are_matched(names: list[str], matched: list[str]) -> None:
    assert matching_names(names, folder_groups(names, 1)) == matched


@settings(deadline=None, max_examples=30)
@given(st.lists(numbers, min_size=3, max_size=12), st.lists(numbers, min_size=3, max_size=12))
def test_intervals_are_those_of_scipy(first: list[float], second: list[float]) -> None:
    groups = ["a"] * len(first) + ["b"] * len(second)
    summaries = summarise_groups(groups, [str(index) for index in range(len(groups))], [*first, *second])
    best, other = summaries
    values = {"a": np.array(first), "b": np.array(second)}
    assert best.mean >= other.mean and best.difference == 0 and best.difference_interval is None
    for summary in summaries:
        sample = values[summary.name]
        if np.ptp(sample) > 1e-6:
            expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
            assert summary.interval == pytest.approx(tuple(expected))
    if min(np.ptp(first), np.ptp(second)) > 1e-6:
        expected = stats.ttest_ind(values[other.name], values[best.name], equal_var=False).confidence_interval(0.95)
        assert other.difference_interval == pytest.approx(tuple(expected))


def test_files_of_the_same_names_are_compared_in_pairs() -> None:
    rng = np.random.default_rng(0)
    talker, noise = rng.normal(3, 0.8, 10), rng.normal(0, 0.1, 10)
    names = [f"{index}.wav" for index in range(10)]
    # In another order, so that pairs are found by name.
    summaries = summarise_groups(
        ["a"] * 10 + ["b"] * 10, names + names[::-1], [*talker, *(talker - 0.3 + noise)[::-1]]
    )
    expected = stats.ttest_rel(talker - 0.3 + noise, talker).confidence_interval(0.95)
    assert summaries[1].paired
    assert summaries[1].difference_interval == pytest.approx(tuple(expected))
    alone = summarise_groups(["a"] * 10 + ["b"] * 9, names + names[:9], [*talker, *(talker - 0.3 + noise)[:9]])
    assert not alone[1].paired and alone[1].difference_interval is not None
    low, high = alone[1].difference_interval
    assert high - low > 2 * (expected.high - expected.low)


def test_groups_of_one_file_or_of_equal_scores_have_no_interval_that_is_not_known() -> None:
    one, two = summarise_groups(["a", "b", "b"], ["1", "2", "3"], [4.0, 3.0, 3.0])
    assert one.interval is None
    assert two.interval == (3.0, 3.0)
    assert two.difference == -1.0 and two.difference_interval is None


# ---- Excerpts


def test_an_excerpt_surrounds_the_lowest_point_of_the_curve_or_else_the_loudest(tmp_path: Path) -> None:
    rate = 8000
    samples = np.full(10 * rate, 0.01)
    samples[3 * rate : 4 * rate] = 0.5
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    loudest = cut_excerpt(tmp_path / "a.wav", 2.0, rate)
    assert 2.0 <= loudest.start_s <= 3.0 and loudest.samples.shape == (2 * rate,)
    curve = [
        {"start_s": second, "end_s": second + 1.0, "mos": None if second < 2 else 3 - second / 10}
        for second in range(9)
    ]
    lowest = cut_excerpt(tmp_path / "a.wav", 2.0, rate, curve)
    assert lowest.start_s == pytest.approx(7.5) and lowest.file_duration_s == 10.0
    np.testing.assert_allclose(lowest.samples, samples[60000:76000], atol=1e-6)
    assert cut_excerpt(tmp_path / "a.wav", 60.0, rate, curve).samples.shape == samples.shape
    curve[0]["mos"] = 1.0
    assert cut_excerpt(tmp_path / "a.wav", 4.0, rate, curve).start_s == 0.0


def test_an_excerpt_is_mono_at_the_rate_of_the_model(tmp_path: Path) -> None:
    time_s = np.arange(48000) / 48000
    tone = 0.2 * np.sin(2 * np.pi * 1000 * time_s)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -0.5 * tone], axis=1), 48000, subtype="FLOAT")
    excerpt = cut_excerpt(tmp_path / "a.wav", 10.0, 16000)
    expected = 0.05 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    np.testing.assert_allclose(excerpt.samples[1000:-1000], expected[1000:-1000], atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 1000), tenths=st.integers(1, 30), blocks=st.lists(st.integers(1, 9000), min_size=1, max_size=6)
)
def test_an_excerpt_does_not_depend_on_how_the_file_is_read(
    seed: int, tenths: int, blocks: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    samples = np.random.default_rng(seed).normal(0, 0.1, (2, sum(blocks))).astype(np.float32)
    edges = np.cumsum(blocks)[:-1]

    @contextmanager
    def open_in_blocks(path: Any) -> Iterator[AudioStream]:
        yield AudioStream(np.split(samples, edges, axis=1), 8000)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jsqa_hf.report.excerpts.open_audio", open_in_blocks)
        excerpt = cut_excerpt("a.wav", tenths / 10, 8000)
    mono = samples.mean(axis=0, dtype=np.float64)
    first = round(excerpt.start_s * 8000)
    np.testing.assert_array_equal(excerpt.samples, mono[first : first + 800 * tenths])
    starts = range(0, len(mono) - 800 * tenths + 1, 800)
    energies = [np.sum(mono[start : start + 800 * tenths] ** 2) for start in starts]
    assert first == (starts[int(np.argmax(energies))] if energies else 0)
    assert excerpt.file_duration_s == len(mono) / 8000


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([8000, 16000, 48000]))
def test_embedded_sound_is_lossless(seed: int, rate: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 0.4, 1000)
    decoded, decoded_rate = soundfile.read(io.BytesIO(encode_flac(samples, rate)))
    assert decoded_rate == rate
    np.testing.assert_allclose(decoded, np.clip(samples, -1, 1), atol=2**-15)
