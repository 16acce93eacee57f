"""`jsqa report`: reading results, groups, excerpts, the page."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from jsqa_hf.cli import main
from jsqa_hf.report import ReportOptions, Results, write_report
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
