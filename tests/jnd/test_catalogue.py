"""The registered distortions as tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jsqa_hf.jnd import registered_distortions
from jsqa_hf.jnd.catalogue import CATALOGUE_FORMATS, as_json, as_markdown, as_table, catalogue

PAGE = Path(__file__).parents[2] / "docs" / "distortions.md"


def test_the_page_in_the_docs_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(catalogue()) + "\n", (
        "make it anew: jsqa distortions --format markdown > docs/distortions.md"
    )


@pytest.mark.parametrize("name", CATALOGUE_FORMATS)
def test_every_format_has_every_distortion(name: str) -> None:
    text = CATALOGUE_FORMATS[name](catalogue())
    assert all(distortion in text for distortion in registered_distortions())


def test_json_tells_what_the_classes_say() -> None:
    entries = {entry["name"]: entry for entry in json.loads(as_json(catalogue()))}
    for name, distortion in registered_distortions().items():
        assert entries[name]["just_noticeable"] == distortion.threshold.just_noticeable
        assert entries[name]["severity_range"] == list(distortion.severity_range)
        assert entries[name]["assumption"] == distortion.threshold.assumption
        assert entries[name]["source"]


def test_modules_that_are_missing_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered_distortions()["clipping"], "requires", ("no_such_module",))
    (line,) = [line for line in as_table(catalogue()).splitlines() if line.startswith("clipping")]
    assert "module no_such_module (not installed)" in line


def test_assumptions_are_marked_in_the_table() -> None:
    marked = {line.split()[0] for line in as_table(catalogue()).splitlines()[1:] if line}
    for name, distortion in registered_distortions().items():
        assert (f"{name}*" in marked) == distortion.threshold.assumption
