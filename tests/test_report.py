"""`jsqa report`: reading results, groups, excerpts, the page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jsqa_hf.audio import AudioStream
from jsqa_hf.cli import main
from jsqa_hf.report import (
    ReportOptions,
    Results,
    add_curves,
    choose_players,
    read_results,
    summarise_groups,
    write_report,
)
from jsqa_hf.report.curve_plot import curve_svg
from jsqa_hf.report.excerpts import cut_excerpt, encode_flac
from jsqa_hf.report.groups import folder_groups, pattern_groups, strip_group
from jsqa_hf.score_tables import file_key, write_scores
from jsqa_hf.scoring import FileScore

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}"


def file_score(file: str, mos: float, **kwargs: Any) -> FileScore:
    return FileScore(file, {"mos": mos, "mos_low": mos - 0.5, "mos_high": mos + 0.5}, 2.0, **kwargs)


def write_tone(path: Path, seconds: float = 1.0, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate), rate)
    return path


class Page(HTMLParser):
    """What a browser would make of a page: its tags, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.raw[-1] += data
        else:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.raw[1])


def page_of(tmp_path: Path, files: list[FileScore], groups: list[str] | None = None, **options: Any) -> Page:
    metadata = options.pop("metadata", {})
    output = tmp_path / "page.html"
    names = [file.file for file in files]
    write_report(output, Results(files, metadata), names, groups or ["."] * len(files), ReportOptions(**options))
    return Page(output.read_text(encoding="utf-8"))


def test_command_line_from_scores_to_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good/a.wav", "good/b.wav", "bad/a.wav", "bad/b.wav"):
        write_tone(tmp_path / "set" / name)
    scores = tmp_path / "scores.csv"
    scores.write_text(
        "file,mos,mos_low,mos_high,duration_s,error\n"
        "good/a.wav,4.0,3.5,4.5,1.0,\ngood/b.wav,4.2,3.6,4.7,1.0,\n"
        "bad/a.wav,2.0,1.5,2.5,1.0,\nbad/b.wav,2.1,1.5,2.5,1.0,\nbad/c.wav,,,,,no such file\n"
    )
    output = tmp_path / "report.html"
    arguments = ["report", "--scores", str(scores), "--root", str(tmp_path / "set"), "--no-curves", "-o", str(output)]
    assert main(arguments) == 1
    assert "4 of 5 files rated" in capsys.readouterr().out
    page = Page(output.read_text(encoding="utf-8"))
    assert [group["name"] for group in page.data["groups"]] == ["good", "bad"]
    assert [file["name"] for file in page.data["files"]] == ["good/a.wav", "good/b.wav", "bad/a.wav", "bad/b.wav"]
    assert len(page.all("audio")) == 4
    assert "no such file" in page.texts
    first = output.read_bytes()
    main(arguments)
    assert output.read_bytes() == first


def test_page_holds_everything_and_forbids_the_network(tmp_path: Path) -> None:
    page = page_of(tmp_path, [file_score(str(write_tone(tmp_path / "a.wav")), 3.0)])
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "xlink:href")
    ]
    assert links and all(link is not None and link.startswith(("data:", "#")) for link in links)
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and policies[0] is not None
    policy = dict(rule.split(maxsplit=1) for rule in policies[0].split("; "))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in policies[0] and "http" not in policies[0]
    style, _, script = page.raw
    for directive, text in (("style-src", style), ("script-src", script)):
        assert policy[directive] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_names_and_metadata_never_become_markup(tmp_path: Path) -> None:
    harmless = [file_score("a.wav", 3.0), file_score("b.wav", 3.5), FileScore("c.wav", error="e")]
    names = [f"{EVIL}{index}" for index in range(3)]
    evil = [file_score(names[0], 3.0), file_score(names[1], 3.5), FileScore(names[2], error=EVIL)]
    expected = page_of(tmp_path, harmless, ["g", "h", "h"], metadata={"a.wav": {"key": "x"}}, title="t", model="m")
    page = page_of(tmp_path, evil, [EVIL, "h", "h"], metadata={names[0]: {EVIL: EVIL}}, title=EVIL, model=EVIL)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in expected.tags]
    assert EVIL in page.texts
    assert page.data["columns"] == [EVIL]
    assert {file["name"] for file in page.data["files"]} == set(names[:2])


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
        ("", "the column 'file' is missing"),
        ("file,mos\n", "holds no results"),
        ('file,mos\na,"3,5"\n', "line 2: mos is '3,5', not a number"),
        ("file,mos\na,nan\n", "line 2: mos is 'nan', not a number"),
        ("file,mos\na,3,4\n", "line 2: has more cells"),
        ("file,mos\na,3\na,4\n", "line 3: a is there twice"),
    ],
)
def test_wrong_results_are_refused_by_name_and_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(complaint)) as caught:
        read_results(path)
    assert str(caught.value).startswith(str(path))


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


# ---- The page


def test_players_are_the_lowest_and_the_highest_and_none_twice() -> None:
    files = [file_score(f"{index}.wav", 1 + index / 2) for index in range(6)] + [FileScore("bad.wav", error="e")]
    worst, best = choose_players(files[::-1], 2, 2)
    assert [file.file for file in worst] == ["0.wav", "1.wav"]
    assert [file.file for file in best] == ["5.wav", "4.wav"]
    worst, best = choose_players(files, 4, 5)
    assert [file.file for file in best] == ["5.wav", "4.wav"]


def test_what_cannot_be_played_says_why_and_keeps_its_score(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    page = page_of(tmp_path, [file_score("gone.wav", 2.0), file_score(str(tmp_path / "text.wav"), 3.0)])
    text = " ".join(page.texts)
    assert "Can't be played: no such file." in text and "is not audio" in text
    assert len(page.data["files"]) == 2 and not page.all("audio")


def test_intervals_end_where_the_scale_ends(tmp_path: Path) -> None:
    page = page_of(tmp_path, [file_score("a.wav", 1.5), file_score("b.wav", 4.5)], ["g", "g"])
    assert page.data["groups"][0]["interval"] == [1.0, 5.0]
    assert "1.00 to 5.00" in page.texts


def test_a_page_without_scores_says_so(tmp_path: Path) -> None:
    page = page_of(tmp_path, [FileScore("a.wav", error="is empty (0 bytes)")])
    assert "No file could be rated." in page.texts and "is empty (0 bytes)" in page.texts


def test_the_curve_is_drawn_with_gaps_and_told_in_words(tmp_path: Path) -> None:
    curve = [
        {"start_s": 0.0, "end_s": 1.0, "mos": 4.0, "mos_low": 3.5, "mos_high": 4.5, "speech_s": 1.0},
        {"start_s": 1.0, "end_s": 2.0, "mos": None, "mos_low": None, "mos_high": None, "speech_s": 0.0},
        {"start_s": 2.0, "end_s": 3.0, "mos": 1.5, "mos_low": 1.0, "mos_high": 2.0, "speech_s": 1.0},
    ]
    svg = curve_svg(curve, 3.0, (1.0, 5.0), 3.0)
    line = re.search(r'class="line" d="([^"]+)"', svg)
    assert line is not None and line[1].count("M") == 2
    assert "lowest MOS 1.50 from 2.0 to 3.0 s, highest 4.00 from 0.0 to 1.0 s" in svg
    assert ">3.0 s<" not in svg and ">3.0 s<" in curve_svg(curve, 3.0, (1.0, 5.0), 3.0, (0.5, 1.5))
    assert "nothing to rate" in curve_svg(curve[1:2], 3.0, (1.0, 5.0), 3.0)


# ---- Curves and plots of the command


def fake_score_files(paths: Any, pipeline: Any, *, curve: bool = False, **kwargs: Any) -> Any:
    """MOS 3 for every file, and a curve only where it is asked for."""
    step = {"start_s": 0.0, "end_s": 1.0, "mos": 3.0, "mos_low": 2.5, "mos_high": 3.5, "speech_s": 1.0}
    for path in paths:
        yield FileScore(str(path), {"mos": 3.0}, 1.0, curve=[step] if curve else None)


def test_curves_come_only_to_files_that_are_shown_and_rated_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jsqa_hf.report.curves.score_files", fake_score_files)
    paths = [str(write_tone(tmp_path / f"{index}.wav")) for index in range(3)]
    files = [file_score(paths[0], 3.0001), file_score(paths[1], 3.5), file_score(paths[2], 3.0)]
    gone = file_score(str(tmp_path / "gone.wav"), 3.0)
    rated = add_curves([*files, gone], [*files[:2], gone], None)  # type: ignore[arg-type]
    assert [bool(file.curve) for file in rated.files] == [True, False, False, False]
    assert rated.contradicted == [paths[1]]
    assert [file.scores for file in rated.files] == [file.scores for file in [*files, gone]]


def test_plots_are_saved_beside_the_page(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason='needs pip install "jsqa_hf[report]"')
    write_tone(tmp_path / "x" / "a.wav")
    (tmp_path / "scores.csv").write_text("file,mos\nx/a.wav,3\ny/a.wav,2\n")
    arguments = ["report", "--scores", str(tmp_path / "scores.csv"), "--root", str(tmp_path), "--no-curves"]
    assert main([*arguments, "-o", str(tmp_path / "page.html"), "--plots", str(tmp_path / "plots")]) == 0
    saved = {path.name for path in (tmp_path / "plots").iterdir()}
    assert saved == {
        f"{name}.{kind}" for name in ("distribution", "groups", "lowest", "lowest-02") for kind in ("png", "svg")
    }


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ([], "give either files and folders"),
        (["x", "--scores", "s.csv"], "give either files and folders"),
        (["x", "--root", "y"], "--root tells where"),
        (["--scores", "gone.csv"], "gone.csv: No such file"),
        (["--scores", "s.csv", "--no-curves", "--worst", "-1"], "must be 0 or more"),
        (["--scores", "s.csv", "--no-curves", "--excerpt-seconds", "nan"], "at least 0.1 seconds"),
        (["--scores", "s.csv", "--no-curves", "--group-pattern", "("], "not a regular expression"),
        (["--scores", "s.csv", "--no-curves", "--group-level", "0"], "--group-level must be at least 1"),
        (["--scores", "s.csv", "--no-curves", "--group-column", "system"], "none of the columns of text ['codec']"),
        (["--scores", "s.csv", "--no-curves", "-o", "no/where.html"], "no/where.html: No such file"),
    ],
)
def test_wrong_usage_gets_one_line(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.csv").write_text("file,mos,codec\na.wav,3,opus\n")
    assert main(["report", *arguments]) == 2
    complaints = capsys.readouterr().err
    assert complaint in complaints and complaints.count("\n") == 1


def test_files_are_rated_with_curves_by_the_real_model(tmp_path: Path, small_checkpoint: Path) -> None:
    rng = np.random.default_rng(0)
    for name, seconds in (("x/short.wav", 2.0), ("y/long.wav", 5.0)):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "set" / name, rng.normal(0, 0.05, int(seconds * 16000)), 16000)
    (tmp_path / "set" / "y" / "bad.wav").write_text("text")
    output = tmp_path / "page.html"
    model = ["--model", str(small_checkpoint), "--device", "cpu", "--excerpt-seconds", "3"]
    assert main(["report", str(tmp_path / "set"), *model, "-o", str(output)]) == 1
    page = Page(output.read_text(encoding="utf-8"))
    assert {file["name"]: file["group"] for file in page.data["files"]} == {"x/short.wav": "x", "y/long.wav": "y"}
    assert [svg for svg in page.all("svg") if str(svg.get("aria-label")).startswith("Quality over time: lowest")]
    sounds = [str(audio["src"]).partition("base64,")[2] for audio in page.all("audio")]
    lengths = sorted(len(soundfile.read(io.BytesIO(base64.b64decode(sound)))[0]) for sound in sounds)
    assert lengths == [2 * 16000, 3 * 16000]
