"""Plots: what is drawn is what was given, and the same figure gives the same files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason='needs pip install "jsqa_hf[report]"')

from jsqa_hf.plots import (  # noqa: E402
    plot_curve,
    plot_distribution,
    plot_groups,
    plot_ranking,
    plot_spectrogram,
    save_figure,
)
from jsqa_hf.report import summarise_groups  # noqa: E402
from jsqa_hf.scoring import FileScore  # noqa: E402

CURVE: list[dict[str, Any]] = [
    {"start_s": 0.0, "end_s": 1.0, "mos": 4.0, "mos_low": 3.5, "mos_high": 4.5, "speech_s": 1.0},
    {"start_s": 1.0, "end_s": 2.0, "mos": None, "mos_low": None, "mos_high": None, "speech_s": 0.0},
    {"start_s": 3.0, "end_s": 4.0, "mos": 1.5, "mos_low": 1.0, "mos_high": 2.0, "speech_s": 1.0},
]


def file_score(file: str, mos: float) -> FileScore:
    return FileScore(file, {"mos": mos, "mos_low": mos - 0.5, "mos_high": mos + 0.5}, 2.0)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.floats(0.5, 5.5), min_size=1, max_size=40))
def test_every_score_is_in_the_histogram(mos: list[float]) -> None:
    axes = plot_distribution(mos).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == len(mos)
    assert axes.lines[0].get_xdata()[0] == pytest.approx(np.median(mos))


def test_groups_stand_in_order_with_their_intervals() -> None:
    groups = summarise_groups(list("aabb"), ["1", "2", "1", "2"], [2.0, 2.2, 4.0, 4.4])
    axes = plot_groups(groups).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b (2)", "a (2)"]
    assert axes.lines[0].get_xdata() == pytest.approx([4.2, 2.1])
    drawn = [segment[:, 0] for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(drawn, [group.interval for group in groups])


def test_names_are_neither_formulas_nor_control_characters(tmp_path: Path) -> None:
    names = ["$\\frac{$.wav", "a\nb\x1b.wav", "x" * 300 + "end.wav"]
    figure = plot_ranking([file_score(name, 3.0) for name in names])
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown[:2] == ["$\\frac{$.wav", "a\\nb\\x1b.wav"]
    assert shown[2].endswith("end.wav") and len(shown[2]) < 60
    png, svg = save_figure(figure, tmp_path / "new", "ranking")
    assert png.read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(svg)


def test_the_curve_has_gaps_where_nothing_is_rated() -> None:
    axes = plot_curve(CURVE, mos=3.0).axes[0]
    line = axes.patches[1].get_data()
    np.testing.assert_array_equal(line.edges, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(line.values, [4.0, np.nan, np.nan, 1.5])


def test_spectrogram_and_curve_share_the_time_axis() -> None:
    rate = 8000
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    figure = plot_spectrogram(tone, rate, CURVE, start_s=2.0)
    upper, lower = figure.axes[:2]
    assert upper.get_xlim() == lower.get_xlim() == (2.0, 4.0)
    image = lower.images[0]
    assert image.get_extent() == [2.0, 4.0, 0.0, 4.0]
    levels = np.asarray(image.get_array())
    middle = levels[:, levels.shape[1] // 2]
    assert np.argmax(middle) == pytest.approx(len(middle) / 4, abs=1)
    # A sine of half of full scale.
    assert middle.max() == pytest.approx(-6.0, abs=0.5)


def test_the_same_figure_gives_the_same_files(tmp_path: Path) -> None:
    def write(folder: str) -> list[bytes]:
        return [path.read_bytes() for path in save_figure(plot_curve(CURVE), tmp_path / folder, "curve")]

    assert write("first") == write("second")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_distribution([]),
        lambda: plot_distribution([1.0, np.nan]),
        lambda: plot_groups([]),
        lambda: plot_ranking([file_score(str(index), 3.0) for index in range(501)]),
        lambda: plot_ranking([FileScore("a.wav", error="is empty")]),
        lambda: plot_curve([]),
        lambda: plot_spectrogram(np.zeros((2, 100)), 8000),
    ],
)
def test_data_that_cannot_be_drawn_is_refused(draw: Any) -> None:
    with pytest.raises(ValueError):
        draw()
