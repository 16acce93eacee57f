"""Distortions by text."""

from __future__ import annotations

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsqa_hf.jnd import registered_distortions
from jsqa_hf.jnd.selection import ChosenDistortion, make_distortions, needed_material, parse_distortions

NAMES = sorted(registered_distortions())
RANGES = st.none() | st.tuples(*[st.floats(-1e3, 1e3, allow_nan=False)] * 2)
CHAINS = st.lists(
    st.lists(
        st.builds(ChosenDistortion, st.sampled_from(NAMES), RANGES), min_size=1, max_size=4, unique_by=lambda x: x.name
    ),
    min_size=1,
    max_size=4,
)


def written(link: ChosenDistortion) -> str:
    return link.name if link.severity_range is None else "{}[{}:{}]".format(link.name, *link.severity_range)


@settings(deadline=None, max_examples=50)
@given(CHAINS, st.sampled_from([" ", ",", ", "]))
def test_what_is_written_is_read(chains: list[list[ChosenDistortion]], separator: str) -> None:
    assert parse_distortions(separator.join("+".join(map(written, chain)) for chain in chains)) == chains


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one distortion: .*noise"),
        ("cliping", "did you mean clipping"),
        ("noise+pakcet-loss", "did you mean packet-loss"),
        ("xyzzy", "there are .*noise.*all"),
        ("noise[1]", r"'noise\[1\]' is no distortion: write NAME"),
        ("noise[1:2", r"'noise\[1:2' is no distortion"),
        ("noise++clipping", "is no distortion"),
        ("noise[a:b]", r"the range \[a:b\] must be two numbers"),
        ("noise+noise", "has noise twice"),
        ("all+noise", "neither part of a chain"),
        ("all[1:2]", "nor has a range"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_distortions(text)


def test_ranges_and_options_arrive(noise: datasets.Dataset) -> None:
    selection = make_distortions(
        "noise[0:20]+clipping noise", {"noise": noise}, {"noise": {"severity_range": (5, 30), "just_noticeable": 2.0}}
    )
    (chained, clipping), (alone,) = selection.chains
    assert (chained.severity_range, alone.severity_range) == ((0, 20), (5, 30))
    assert chained.threshold.just_noticeable == 2 and clipping.name == "clipping"


def test_missing_recordings_and_wrong_ranges_are_told() -> None:
    with pytest.raises(ValueError, match="give --noise"):
        make_distortions("noise", {})
    with pytest.raises(ValueError, match="severity_range of clipping"):
        make_distortions("clipping[5:-5]", {})


def test_missing_modules_are_told_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered_distortions()["clipping"], "requires", ("no_such_module",))
    with pytest.raises(ImportError, match="'clipping' needs modules that are not installed: no_such_module"):
        make_distortions("clipping", {})
    selection = make_distortions("all", {})
    assert "no_such_module" in selection.left_out["clipping"]
    assert "clipping" not in {one.name for chain in selection.chains for one in chain}


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("lc3", "lc3py", "degrade"), ("codec2", "pycodec2", "degrade"), ("silk", "pilk", "silk")],
)
def test_a_codec_that_is_not_installed_is_told_with_its_package_and_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    monkeypatch.setattr(registered_distortions()[name], "requires", ("no_such_module",))
    with pytest.raises(ImportError, match=rf"'{name}' needs {package}, .*: pip install \"jsqa_hf\[{extra}\]\""):
        make_distortions(name, {})


def test_all_leaves_out_codecs_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered_distortions()["lc3"], "requires", ("no_such_module",))
    selection = make_distortions("all", {})
    assert "needs lc3py" in selection.left_out["lc3"]
    assert "lc3" not in {one.name for chain in selection.chains for one in chain}


def test_all_leaves_out_what_is_not_accepted_or_fails_when_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such encoder")

    def only_mild(distortion: object) -> None:
        if distortion.name == "echo":  # type: ignore[attr-defined]
            raise ValueError("unwanted")

    monkeypatch.setattr(registered_distortions()["mnru"], "distort", fail)
    selection = make_distortions("all", {}, accept=only_mild)
    assert selection.left_out["mnru"] == "no such encoder" and selection.left_out["echo"] == "unwanted"
    assert {"clipping", "level"} <= {one.name for chain in selection.chains for one in chain}


def test_a_range_that_the_sampling_rate_cannot_hold_is_told_before_it_is_used() -> None:
    with pytest.raises(ValueError, match=r"'low-pass' at 7000 Hz .*severity_range .*8000 Hz"):
        make_distortions("low-pass+mnru", {}, sampling_rate=8000)
    selection = make_distortions("all low-pass[1000:3900]", {}, sampling_rate=8000)
    assert {"low-pass", "telephone-band"} <= set(selection.left_out)
    assert [one.severity_range for one in selection.chains[-1]] == [(1000, 3900)]


def test_needed_material_is_that_of_the_named_ones() -> None:
    assert needed_material("reverberation+noise clipping") == {"rirs", "noise"}
    assert needed_material("all") == set()
