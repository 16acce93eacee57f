"""Predicted against rated quality, as a scatter plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import Polynomial

from .evaluation import RatedClips

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_scatter"]

_CLIP, _CONDITION, _LINE = "#9aa7bd", "#2159bd", "#c0392b"


def plot_scatter(
    path: Path,
    outputs: Mapping[str, tuple[RatedClips, Mapping[str, Any]]],
    score_range: Sequence[float],
) -> None:
    """Draw one panel per output: clips, means per condition with 95 % intervals of both sides, and the mappings.

    Args:
        path: of the image; its suffix tells the format, such as `.png`, `.svg` or `.pdf`.
        outputs: clips and the result of [`jsqa_hf.evaluation.evaluate_clips`] by name of the output.
        score_range: lowest and highest value of the scale.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if matplotlib does not know the format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a plot needs matplotlib: pip install "jsqa_hf[report]"') from error
    figure = Figure(figsize=(5.2 * len(outputs), 5.2), layout="constrained")
    panels = figure.subplots(1, len(outputs), squeeze=False)[0]
    for axes, (name, (clips, result)) in zip(panels, outputs.items(), strict=True):
        _plot_output(axes, clips, result, score_range)
        axes.set_title(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _plot_output(axes: Axes, clips: RatedClips, result: Mapping[str, Any], score_range: Sequence[float]) -> None:
    used = clips.choose(clips.usable())
    axes.plot(score_range, score_range, color="black", linewidth=0.8, linestyle=":")
    axes.plot(used.predicted, used.rated, ".", color=_CLIP, markersize=4, label=f"{len(used.files)} clips", zorder=1)
    means = clips.condition_means()
    # The mappings are those of what is judged: conditions where there are any.
    level = result["conditions"] or result["clips"]
    if result["conditions"] is not None:
        axes.errorbar(
            means.predicted,
            means.rated,
            xerr=np.nan_to_num(means.predicted_ci95),
            yerr=np.nan_to_num(means.ci95),
            fmt="o",
            color=_CONDITION,
            markersize=4,
            elinewidth=0.7,
            label=f"{len(means.names)} conditions, 95 % intervals",
            zorder=2,
        )
    predicted = means.predicted if result["conditions"] is not None else used.predicted
    places = np.linspace(predicted.min(), predicted.max(), 200)
    for order, style in (("first_order", "--"), ("third_order", "-")):
        if coefficients := level[f"mapping_{order}"]:
            label = f"{order.replace('_', '-')} mapping, RMSE {level[f'rmse_{order}']:.2f}"
            axes.plot(places, Polynomial(coefficients)(places), style, color=_LINE, linewidth=1.2, label=label)
    axes.set(xlabel="predicted", ylabel="rated", xlim=score_range, ylim=score_range, aspect="equal")
    axes.legend(loc="upper left", fontsize="small", edgecolor="none")
    figures = f"PCC {level['pcc']:.2f}\nSRCC {level['srcc']:.2f}\nRMSE {level['rmse']:.2f}"
    axes.text(0.97, 0.04, figures, transform=axes.transAxes, ha="right", va="bottom", fontsize="small")
