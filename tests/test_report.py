"""`jsqa report`: the command, the page, its curves and plots."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy import stats

from jsqa_hf.cli import main
from jsqa_hf.report import (
    ReportOptions,
    Results,
    add_curves,
    choose_players,
    write_report,
)
from jsqa_hf.report.curve_plot import curve_svg
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
    printed = capsys.readouterr()
    assert "4 of 5 files rated" in printed.out
    assert "--root" not in printed.err
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


# ---- The page


def test_names_are_shown_as_they_are_but_for_what_has_no_shape_or_turns_the_text(tmp_path: Path) -> None:
    kept = ["音声\u3000テスト", "qualité\xa0: bonne", "👩\u200d🔬", "می\u200cخواهم"]
    page = page_of(tmp_path, [file_score(name, 3.0) for name in [*kept, "a\nb\x1b", "\udcff", "\u202egpj", "\u2066"]])
    escaped = ["a\\nb\\x1b", "\\udcff", "\\u202egpj", "\\u2066"]
    assert [file["name"] for file in page.data["files"]] == [*kept, *escaped]


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


def test_intervals_of_scores_on_an_unknown_scale_are_not_cut(tmp_path: Path) -> None:
    scores = [70.0, 95.0, 99.0, 88.0]
    page = page_of(tmp_path, [file_score(f"{mos}.wav", mos) for mos in scores], ["g"] * 4)
    low, high = stats.ttest_1samp(scores, 0).confidence_interval()
    assert page.data["groups"][0]["interval"] == pytest.approx([low, high], abs=1e-3)
    assert f"{low:.2f} to {high:.2f}" in page.texts
    # Holds the interval of the highest file.
    assert page.data["scale"] == [1.0, 99.5]


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


def fake_rate_paths(paths: Any, pipeline: Any, *, curve: bool = False, **kwargs: Any) -> Any:
    """MOS 3 for every file, and a curve only where it is asked for."""
    step = {"start_s": 0.0, "end_s": 1.0, "mos": 3.0, "mos_low": 2.5, "mos_high": 3.5, "speech_s": 1.0}
    for path in paths:
        yield FileScore(str(path), {"mos": 3.0}, 1.0, curve=[step] if curve else None)


def test_curves_come_only_to_files_that_are_shown_and_rated_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jsqa_hf.report.curves.rate_paths", fake_rate_paths)
    paths = [str(write_tone(tmp_path / f"{index}.wav")) for index in range(3)]
    files = [file_score(paths[0], 3.0001), file_score(paths[1], 3.5), file_score(paths[2], 3.0)]
    gone = file_score(str(tmp_path / "gone.wav"), 3.0)
    rated = add_curves([*files, gone], [*files[:2], gone], None)  # type: ignore[arg-type]
    assert [bool(file.curve) for file in rated.files] == [True, False, False, False]
    assert rated.contradicted == [paths[1]]
    assert [file.scores for file in rated.files] == [file.scores for file in [*files, gone]]


def test_players_of_files_that_are_not_there_are_complained_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the names in a table start from the folder where the scores were written."""
    write_tone(tmp_path / "here.wav")
    (tmp_path / "scores.csv").write_text("file,mos\nhere.wav,4\nx/a.wav,3\nx/b.wav,2\n")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--scores", "scores.csv", "--no-curves"]) == 0
    told = capsys.readouterr().err
    assert "2 of 3 files with players are not there, such as x/b.wav; --root names the folder" in told


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
        (["x", "--group-column", "codec"], "--group-column names a column of --scores, which isn't given"),
        (["x", "--plots", "s.csv"], "--plots s.csv is not a folder"),
        (["--scores", "s.csv", "--no-curves", "-o", "./s.csv"], "is one of the inputs"),
        (["-o", "a.wav", "b.wav"], "--output a.wav is the name of an audio file"),
        (["--scores", "s.csv", "--no-curves", "-o", "no/where.html"], "no/where.html: no file can be written there"),
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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.csv").write_text("file,mos\na.wav,3\n")
    assert main(["report", "--scores", str(tmp_path / "s.csv"), "--no-curves", "-o", "/dev/full"]) == 2
    assert capsys.readouterr().err == "jsqa: /dev/full: No space left on device\n"


def test_files_are_rated_with_curves_by_the_real_model(tmp_path: Path, small_checkpoint: Path) -> None:
    rng = np.random.default_rng(0)
    for name, seconds in (("x/short.wav", 2.0), ("y/long.wav", 5.0)):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "set" / name, rng.normal(0, 0.05, int(seconds * 16000)), 16000)
    (tmp_path / "set" / "y" / "bad.wav").write_text("text")
    output = tmp_path / "page.html"
    model = ["--model", str(small_checkpoint), "--device", "cpu", "--excerpt-seconds", "3"]
    # A file that is given twice, under whatever name, counts once.
    given = [str(tmp_path / "set"), f"{tmp_path}/./set/x"]
    assert main(["report", *given, *model, "-o", str(output)]) == 1
    page = Page(output.read_text(encoding="utf-8"))
    assert len(page.data["files"]) == 2
    assert {file["name"]: file["group"] for file in page.data["files"]} == {"x/short.wav": "x", "y/long.wav": "y"}
    assert [svg for svg in page.all("svg") if str(svg.get("aria-label")).startswith("Quality over time: lowest")]
    sounds = [str(audio["src"]).partition("base64,")[2] for audio in page.all("audio")]
    lengths = sorted(len(soundfile.read(io.BytesIO(base64.b64decode(sound)))[0]) for sound in sounds)
    assert lengths == [2 * 16000, 3 * 16000]
