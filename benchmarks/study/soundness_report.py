"""The figures of `soundness.py` as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jsqa_hf.jnd.verification_report import markdown_table

CONTENT_MEASURES = {
    "content_preference": "clearly different quality of the same speech nearer than the same quality of other speech "
    "(0: quality counts alone, 1: content alone)",
    "median_jnds_other_speech": "median JNDs to other speech at the same SNR (0: content does not count)",
    "retrieval": "nearest clip of other speech is within one JND",
    "retrieval_by_chance": "the same by chance",
    "quality_correlation": "rank correlation of distance and difference of quality within a content",
    "speaker_accuracy": "speaker told by a linear probe of the embedding (needs speakers with two utterances)",
    "speaker_accuracy_by_chance": "the same by chance",
    "alignment": "alignment (0 is best)",
    "uniformity": "uniformity (lower is better)",
    "effective_rank": "effective rank of the projections",
    "spread": "spread of the projections (0: collapsed, 1: all over the sphere)",
}


def with_interval(values: Mapping[str, Any], digits: int = 2) -> str:
    """A mean, and its interval in brackets where there is one."""
    text = f"{values['mean']:.{digits}f}"
    if values["interval"] is None:
        return text
    low, high = values["interval"]
    return f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def as_markdown(results: Mapping[str, Any]) -> str:
    """All tables."""
    parts = (_distance(results["distance"]), _content(results["content"]))
    parts += (_monotonicity(results["monotonicity"]), _robustness(results["robustness"]))
    lines = [
        "# Perceptual soundness",
        "",
        f"From `benchmarks/study/soundness.py`: {results['mos_model']} and {results['contrastive_model']}, "
        f"{results['speakers']} held-out speakers. In brackets 95 % intervals by the bootstrap over "
        "speakers, which with 8 of them are too narrow: such intervals held the mean in 88 % of 1500 simulations.",
        *(line for part in parts for line in part),
    ]
    if results["left_out"]:
        lines += ["", *(f"Left out: {name} ({reason})." for name, reason in results["left_out"].items())]
    return "\n".join(lines) + "\n"


def _distance(values: Mapping[str, Any]) -> list[str]:
    half = values["half_noticed_db"]
    rows = [
        [
            f"{step} dB",
            *(with_interval(one[name]) for name in ("distance", "jnds", "probability", "noticed")),
            f"{one['listeners']:.2f}",
        ]
        for step, one in values["steps"].items()
    ]
    header = ["difference", "distance", "JNDs", "listeners expected to notice", "pairs called noticeable", "listeners"]
    return [
        "",
        "## Distance and SNR difference, from -3 to 15 dB",
        "",
        f"- Slope of the expected listeners at one JND: {100 * values['slope_at_jnd']:.1f} percentage points per dB; "
        f"of listeners {100 * values['slope_at_jnd_of_listeners']:.1f}.",
        f"- Step that half of the pairs are called noticeable at: {'none' if half is None else f'{half:.1f} dB'}; "
        f"that half of the listeners notice: {values['half_noticed_db_of_listeners']:.1f} dB.",
        "- Rank correlation of distance and difference within a content: "
        f"{with_interval(values['rank_correlation'])}.",
        "",
        markdown_table(header, rows),
    ]


def _content(values: Mapping[str, Any]) -> list[str]:
    rows = [
        [meaning, "not defined here" if values[name] is None else f"{values[name]:.2f}"]
        for name, meaning in CONTENT_MEASURES.items()
    ]
    title = f"## Content, {values['clips']} clips of {values['ladders']} ladders in noise"
    return ["", title, "", markdown_table(["measure", "value"], rows)]


def _monotonicity(values: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            f"{one['step_jnds']:.1f}",
            f"{100 * one['wrong_steps']:.0f} %",
            f"{one['largest_rise']:.2f}",
            f"{one['rank_correlation']:.2f}",
            f"{one['mos'][0]:.2f}",
            f"{one['mos'][-1]:.2f}",
        ]
        for name, one in values["distortions"].items()
    ]
    header = ["distortion", "step in JNDs", "wrong steps", "largest rise", "rank correlation", "MOS, mildest"]
    return [
        "",
        "## Monotonicity of the predicted MOS",
        "",
        f"Over all distortions {with_interval(values['all']['wrong_steps'])} of the steps go the wrong way, and the "
        f"rank correlation of MOS and quality is {with_interval(values['all']['rank_correlation'])}.",
        "",
        markdown_table([*header, "MOS, strongest"], rows),
    ]


def _robustness(values: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            with_interval(one["mean_change"]),
            f"{one['mean_absolute_change']:.2f}",
            f"{one['largest_change']:+.2f}",
            f"{one['jnds']:.1f}",
        ]
        for name, one in values.items()
    ]
    return [
        "",
        "## Robustness",
        "",
        "Change of the predicted MOS of clean clips and clips in noise at 10 dB. Of these changes the gains and the "
        "path through 8 kHz are heard; gains are a distortion of the pretraining, too (`level`).",
        "",
        markdown_table(["change", "mean", "mean absolute", "largest", "JNDs between before and after"], rows),
    ]


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Expected listeners and distances over the step, wrong steps by distortion, and robustness."""
    figure = Figure(figsize=(13, 10), layout="constrained")
    panels = figure.subplots(2, 2)
    _plot_distance(results["distance"], panels[0, 0], panels[0, 1])
    distortions = results["monotonicity"]["distortions"]
    axes = panels[1, 0]
    places = np.arange(len(distortions))
    axes.barh(places, [one["wrong_steps"] for one in distortions.values()], label="share of wrong steps")
    ranks = [one["rank_correlation"] for one in distortions.values()]
    axes.plot(ranks, places, "k.", label="rank correlation of MOS and quality")
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_yticks(places, list(distortions), fontsize="small")
    axes.set(title="monotonicity", xlim=(-1.03, 1.03))
    axes.invert_yaxis()
    axes.legend(loc="upper left", fontsize="small")
    axes = panels[1, 1]
    changes = results["robustness"]
    places = np.arange(len(changes))
    axes.barh(places - 0.2, [one["mean_absolute_change"] for one in changes.values()], 0.4, label="mean")
    axes.barh(places + 0.2, [abs(one["largest_change"]) for one in changes.values()], 0.4, label="largest")
    axes.set_yticks(places, list(changes), fontsize="small")
    axes.set(title="robustness", xlabel="absolute change of the MOS")
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _plot_distance(values: Mapping[str, Any], noticed: Any, distance: Any) -> None:
    steps = [float(step) for step in values["steps"]]
    curves = {"probability": "listeners expected to notice", "noticed": "pairs called noticeable"}
    for axes, names in ((noticed, curves), (distance, {"distance": "distance"})):
        for name, label in names.items():
            means = [one[name]["mean"] for one in values["steps"].values()]
            intervals = np.array([one[name]["interval"] or [mean] * 2 for one, mean in _paired(values, means)]).T
            (line,) = axes.plot(steps, means, marker="o", label=label)
            axes.fill_between(steps, *intervals, alpha=0.15, color=line.get_color())
        axes.set(xlabel="SNR difference in dB")
    noticed.plot(steps, [one["listeners"] for one in values["steps"].values()], "k-", label="listeners, fitted curve")
    noticed.set(ylabel="share", ylim=(0, 1.03), title="noticed")
    noticed.legend(loc="lower right")
    distance.set(ylabel="distance between projections", title="distance")
    distance.set_ylim(bottom=0)


def _paired(values: Mapping[str, Any], means: list[float]) -> Any:
    return zip(values["steps"].values(), means, strict=True)
