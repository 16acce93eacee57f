"""Plots of scores with matplotlib. Each function takes data and returns a `Figure`; `save_figure` writes it.

Needs `pip install "jsqa_hf[report]"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .clip_plot import HIGHEST_DB, LOWEST_DB, spectrogram_db
from .score_formats import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .groups import GroupSummary
    from .scoring import FileScore

__all__ = [
    "plot_curve",
    "plot_distribution",
    "plot_groups",
    "plot_ranking",
    "plot_spectrogram",
    "save_figure",
]

# The absolute category rating scale of ITU-T P.800.
MOS_SCALE = (1.0, 5.0)

# Quarters of a category: our choice.
BINS_PER_CATEGORY = 4

_COLOUR, _SOFT = "#2159bd", "#8a94a3"
# Longer names keep their end, which tells files apart.
_LONGEST_NAME = 48
# matplotlib draws nothing higher than 2^16 pixels; names have no room below this height each.
_INCHES_PER_NAME = 0.24
_MOST_NAMES = 500


def plot_distribution(mos: ArrayLike, scale: tuple[float, float] = MOS_SCALE) -> Figure:
    """Histogram of scores, with their median.

    Args:
        mos: (files,) scores; at least one.
        scale: ends of the rating scale.

    Returns:
        A figure.

    Raises:
        ValueError: there are no scores, or some aren't finite.
        ImportError: matplotlib is missing.
    """
    values = np.asarray(mos, dtype=float)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"a distribution takes one or more finite scores, but got an array of shape {values.shape}")
    figure, axes = _figure(6.4, 3.6)
    low, high = min(scale[0], values.min()), max(scale[1], values.max())
    bins = max(1, round((high - low) * BINS_PER_CATEGORY))
    axes.hist(values, bins=bins, range=(low, high), color=_COLOUR, edgecolor="white")
    median = float(np.median(values))
    axes.axvline(median, color="black", linestyle="--", linewidth=1, label=f"median {median:.2f}")
    axes.set(xlabel="MOS", ylabel="files", xlim=(low, high))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def plot_groups(groups: Sequence[GroupSummary], scale: tuple[float, float] = MOS_SCALE) -> Figure:
    """Means of groups with their intervals, in the order given from the top.

    Args:
        groups: from `jsqa_hf.report.summarise_groups`; one to 500.
        scale: ends of the rating scale.

    Returns:
        A figure.

    Raises:
        ValueError: there are no groups, or too many to have their names beside them.
        ImportError: matplotlib is missing.
    """
    intervals = [group.interval or (np.nan, np.nan) for group in groups]
    figure, axes = _named_rows([f"{printable(group.name)} ({group.size})" for group in groups])
    _intervals(axes, [group.mean for group in groups], intervals)
    axes.set(xlabel="mean MOS, with interval (number of files)", xlim=scale)
    return figure


def plot_ranking(files: Sequence[FileScore], scale: tuple[float, float] = MOS_SCALE) -> Figure:
    """Scores of files with the intervals of the model, in the order given from the top.

    Args:
        files: with scores; one to 500.
        scale: ends of the rating scale.

    Returns:
        A figure.

    Raises:
        ValueError: there are no files, too many to have their names beside them, or one without scores.
        ImportError: matplotlib is missing.
    """
    unrated = [file.file for file in files if "mos" not in file.scores]
    if unrated:
        raise ValueError(f"{printable(unrated[0])} has no score; leave it out of the ranking")
    scores = [file.scores for file in files]
    figure, axes = _named_rows([printable(file.file) for file in files])
    ends = [(score.get("mos_low", np.nan), score.get("mos_high", np.nan)) for score in scores]
    _intervals(axes, [score["mos"] for score in scores], ends)
    axes.set(xlabel="MOS, with interval", xlim=scale)
    return figure


def plot_curve(
    curve: Sequence[Mapping[str, Any]], scale: tuple[float, float] = MOS_SCALE, mos: float | None = None
) -> Figure:
    """Quality over time: a step for every stretch, with its interval, and gaps where there is nothing to rate.

    Args:
        curve: as in `FileScore`: stretches from `start_s` to `end_s` with `mos`, `mos_low` and `mos_high`.
        scale: ends of the rating scale.
        mos: of the whole file, drawn as a dashed line.

    Returns:
        A figure.

    Raises:
        ValueError: the curve is empty.
        ImportError: matplotlib is missing.
    """
    figure, axes = _figure(7.2, 2.8)
    _draw_curve(axes, curve, scale, mos)
    axes.set_xlabel("time in s")
    return figure


def plot_spectrogram(
    samples: NDArray[np.floating],
    sampling_rate: int,
    curve: Sequence[Mapping[str, Any]] | None = None,
    scale: tuple[float, float] = MOS_SCALE,
    mos: float | None = None,
    start_s: float = 0.0,
) -> Figure:
    """Spectrogram, below the quality over time if there is one.

    Args:
        samples: shape `(time,)`, full scale 1.0; at least one.
        sampling_rate: in Hz.
        curve, scale, mos: as for `plot_curve`, on the same time axis.
        start_s: where on that axis the samples start.

    Returns:
        A figure; levels in dB, 0 dB being a sine at full scale.

    Raises:
        ValueError: the samples aren't of that shape.
        ImportError: matplotlib is missing.
    """
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"the samples must have the shape (time,), but have {samples.shape}")
    end_s = start_s + samples.size / sampling_rate
    if curve:
        figure, (upper, axes) = _figure(7.2, 4.8, rows=2, height_ratios=(2, 3), sharex=True)
        _draw_curve(upper, curve, scale, mos)
    else:
        figure, axes = _figure(7.2, 3.0)
    image = axes.imshow(
        spectrogram_db(samples, sampling_rate),
        origin="lower",
        aspect="auto",
        extent=(start_s, end_s, 0, sampling_rate / 2000),
        cmap="magma",
        vmin=LOWEST_DB,
        vmax=HIGHEST_DB,
    )
    axes.set(xlabel="time in s", ylabel="frequency in kHz", xlim=(start_s, end_s))
    figure.colorbar(image, ax=axes, label="level in dB")
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and as SVG, the same bytes for the same figure.

    Args:
        figure: to be written.
        folder: made if it isn't there.
        name: of the files, without extension.

    Returns:
        The two paths.

    Raises:
        OSError: they can't be written.
    """
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(paths[0], dpi=150)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _figure(width: float, height: float, rows: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure and its axes, in inches. Not from pyplot, which keeps figures and wants a display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('matplotlib is missing: pip install "jsqa_hf[report]"') from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, **kwargs)


def _named_rows(names: Sequence[str]) -> tuple[Figure, Axes]:
    if not 0 < len(names) <= _MOST_NAMES:
        raise ValueError(f"a plot has room for 1 to {_MOST_NAMES} names, but got {len(names)}; choose among them")
    figure, axes = _figure(7.2, 1.0 + _INCHES_PER_NAME * len(names))
    shown = [name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :] for name in names]
    # Names are no formulas, whatever dollar signs they hold.
    axes.set_yticks(range(len(names)), shown, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.4)
    return figure, axes


def _intervals(axes: Axes, values: Sequence[float], intervals: Sequence[tuple[float, float]]) -> None:
    rows = np.arange(len(values))
    ends = np.asarray(intervals, dtype=float)
    axes.hlines(rows, ends[:, 0], ends[:, 1], color=_COLOUR, alpha=0.5, linewidth=3)
    axes.plot(values, rows, "o", color=_COLOUR, markersize=5)


def _draw_curve(axes: Axes, curve: Sequence[Mapping[str, Any]], scale: tuple[float, float], mos: float | None) -> None:
    if not curve:
        raise ValueError("the curve has no stretches; rate the file with curve=True")
    steps: list[Mapping[str, Any]] = []
    for step in curve:
        if steps and step["start_s"] > steps[-1]["end_s"]:
            steps.append({"start_s": steps[-1]["end_s"], "end_s": step["start_s"]})
        steps.append(step)
    edges = np.array([*(step["start_s"] for step in steps), steps[-1]["end_s"]], dtype=float)
    middle, low, high = (
        np.array([np.nan if step.get(key) is None else step[key] for step in steps], dtype=float)
        for key in ("mos", "mos_low", "mos_high")
    )
    axes.stairs(high, edges, baseline=low, fill=True, color=_COLOUR, alpha=0.22)
    axes.stairs(middle, edges, baseline=None, color=_COLOUR, linewidth=2)
    if mos is not None:
        axes.axhline(mos, color=_SOFT, linestyle="--", linewidth=1, label=f"whole file {mos:.2f}")
        axes.legend(frameon=False, loc="lower right")
    axes.set(ylabel="MOS", ylim=scale, xlim=(edges[0], edges[-1]))
    axes.grid(axis="y", alpha=0.4)
