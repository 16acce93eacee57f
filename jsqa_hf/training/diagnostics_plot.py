"""A picture of what distances mean: against the difference in quality, beside those of other content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binned_statistic

from ..jnd.thresholds import SNR_THRESHOLD
from ..jnd_scale import JNDScale
from ..losses import CLEARLY_DIFFERENT_JNDS
from .embedding_measures import ClipTable

MAX_POINTS = 4000


def plot_distances(
    distances: NDArray[np.float64],
    clips: ClipTable,
    metrics: Mapping[str, float],
    path: str | Path,
    *,
    scale: JNDScale | None = None,
) -> None:
    """Plot the distances of clips of the same ladder against their difference in quality.

    The first panel has the SNR difference in dB, of ladders in which the SNR varies; the second, where other
    distortions vary, the difference in JNDs. The just-noticeable and the just-meaningful difference are marked; beside
    them stand the distances of clips of other speech at the same quality. If those lie above the rest, content counts
    more than quality.

    Args:
        distances: (clips, clips).
        clips: of these clips.
        metrics: from [`jsqa_hf.training.diagnostics.contrastive_diagnostics`], for the caption.
        path: of the image.
        scale: a JND calibration to be drawn as well.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is not installed (pip install 'jsqa_hf[verify]')") from error
    first, second = np.triu_indices(len(clips), k=1)
    same = clips.content[first] == clips.content[second]
    noisy = same & np.isfinite(clips.snr_db[first])
    panels = [kind for kind, chosen in (("snr", noisy), ("jnds", same & ~noisy)) if chosen.any()]
    figure = Figure(figsize=(1.5 + 5.5 * len(panels), 4.6), layout="constrained")
    widths = [width for _ in panels for width in (5.0, 0.9)]
    axes = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    for kind, main, side in zip(panels, axes[::2], axes[1::2], strict=True):
        chosen = np.flatnonzero(noisy if kind == "snr" else same & ~noisy)
        pairs = first[chosen], second[chosen]
        points = _plot_ladders(main, distances, clips, pairs, kind, scale)
        _plot_other_content(side, distances, clips, np.unique(pairs))
        if points is not None:
            figure.colorbar(points, ax=side, label="lower SNR in dB")
    axes[0].set_ylabel("distance between projections")
    axes[0].set_ylim(bottom=0)
    shown = ("quality_correlation", "retrieval", "retrieval_chance", "content_preference", "speaker_accuracy")
    numbers = [f"{name.replace('_', ' ')} {metrics[name]:.2f}" for name in shown if name in metrics]
    figure.suptitle(", ".join(numbers), fontsize=8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _plot_ladders(
    axes: Any,
    distances: NDArray[np.float64],
    clips: ClipTable,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    kind: str,
    scale: JNDScale | None,
) -> Any:
    """Returns points that have a colour scale, if any."""
    points = None
    values = clips.snr_db if kind == "snr" else clips.position
    apart, distance = np.abs(values[pairs[0]] - values[pairs[1]]), distances[pairs]
    step = max(1, len(apart) // MAX_POINTS)
    if kind == "snr":
        lower = np.minimum(values[pairs[0]], values[pairs[1]])
        points = axes.scatter(apart[::step], distance[::step], s=6, c=lower[::step], cmap="viridis", linewidths=0)
        lines, unit = (SNR_THRESHOLD.just_noticeable, SNR_THRESHOLD.clearly_different), "dB"
        axes.set_xlabel("SNR difference in dB")
    else:
        names = np.unique(clips.distortion[pairs[0]])
        for name in names:
            chosen = clips.distortion[pairs[0]] == name
            label = name if len(names) <= 8 else None
            axes.plot(apart[chosen][::step], distance[chosen][::step], "o", markersize=2.5, alpha=0.6, label=label)
        lines, unit = (1.0, CLEARLY_DIFFERENT_JNDS), "JNDs"
        axes.set_xlabel("difference in JNDs")
        axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    if scale is not None and kind == "jnds":
        axes.plot(scale.jnds, scale.distances, "k-", lw=1.5, label="calibration")
    edges = np.unique(np.quantile(apart, np.linspace(0, 1, min(12, 2 + len(apart) // 20))))
    if kind == "snr" and len(edges) > 2:
        middle = binned_statistic(apart, apart, "mean", edges).statistic
        axes.plot(middle, binned_statistic(apart, distance, "median", edges).statistic, "k-", lw=1.5, label="median")
    for line, name in zip(lines, ("just noticeable", "just meaningful"), strict=True):
        axes.axvline(line, color="tab:red", linestyle="--", linewidth=1)
        label = f"{name}, {line:.3g} {unit} "
        place: dict[str, Any] = {"ha": "right", "va": "top", "transform": axes.get_xaxis_transform()}
        axes.text(line, 0.99, label, rotation=90, fontsize=7, color="tab:red", **place)
    axes.set_xlim(left=0)
    axes.set_title("same content", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="lower right" if kind == "snr" else "upper right")
    return points


def _plot_other_content(axes: Any, distances: NDArray[np.float64], clips: ClipTable, index: NDArray[np.int64]) -> None:
    first, second = (index[half] for half in np.triu_indices(len(index), k=1))
    alike = (clips.group[first] == clips.group[second]) & (clips.speech[first] != clips.speech[second])
    alike &= np.abs(clips.position[first] - clips.position[second]) <= 1
    if alike.any():
        axes.boxplot(distances[first[alike], second[alike]], whis=(5, 95), showfliers=False, widths=0.6)
    axes.set_xticks([])
    axes.set_title("other content,\nsame quality\n(5 to 95 %)", fontsize=9)
