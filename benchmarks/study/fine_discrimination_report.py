"""The figures of `fine_discrimination.py` as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jsqa_hf.jnd import SNR_THRESHOLD
from jsqa_hf.jnd.verification_report import markdown_table


def as_markdown(results: Mapping[str, Any]) -> str:
    """All tables."""
    raters = next(iter({**results["noise"], **results["others"]}.values()))["ranked_rightly"]
    lines = [
        "# Fine discrimination",
        "",
        f"From `benchmarks/study/fine_discrimination.py`: {results['mos_model']} and {results['contrastive_model']}, "
        f"{results['speakers']} held-out speakers. In brackets 95 % intervals by the bootstrap over "
        "speakers, which with 8 of them are too narrow: such intervals held the mean in 88 % of 1500 simulations. "
        "Where all pairs agree it can't tell how sure that is.",
        "",
        "*Ranked rightly*: share of the pairs of which the better clip gets the higher score; guessing gives 50 %. "
        "*Noticeable*: share of the pairs that `jsqa compare` takes half of the listeners or more to notice. "
        "*Expected listeners*: mean share of listeners that it expects to notice.",
        "",
        "## Steps of SNR, between 0 and 15 dB",
        "",
    ]
    header = ["step", *(f"ranked rightly: {name}" for name in raters), "noticeable", "expected listeners"]
    header += ["listeners, fitted curve", "listeners, answers", "pairs"]
    table = []
    for step, values in results["noise"].items():
        heard = results["listeners"][step]
        answered = f"{_percent(heard['answered'])} of {heard['answers']}" if "answered" in heard else "not given"
        step_db = float(step) * SNR_THRESHOLD.just_noticeable
        table.append(
            [f"{step_db:.1f} dB", *_cells(values, raters), _percent(heard["expected"]), answered, _pairs(values)]
        )
    lines.append(markdown_table(header, table))
    if results["gap_to_listeners"] is not None:
        lines += ["", "Expected listeners differ from the fitted curve of listeners by "]
        lines[-1] += f"{100 * results['gap_to_listeners']:.0f} percentage points on average over the steps."
    lines += [
        "",
        "## Steps of all other distortions",
        "",
        "Most of their JNDs are assumptions (docs/distortions.md).",
        "",
    ]
    header = [*header[:-3], "pairs"]
    table = [[f"{step} JND", *_cells(values, raters), _pairs(values)] for step, values in results["others"].items()]
    lines.append(markdown_table(header, table))
    table = [[name, *_cells(values, raters), _pairs(values)] for name, values in results["distortions"].items()]
    lines += ["", "## Each distortion, all steps together", "", markdown_table(["distortion", *header[1:]], table)]
    if results["left_out"]:
        lines += ["", *(f"Left out: {name} ({reason})." for name, reason in results["left_out"].items())]
    return "\n".join(lines) + "\n"


def _cells(values: Mapping[str, Any], raters: Sequence[str]) -> list[str]:
    shares = [values["ranked_rightly"].get(name) for name in raters]
    return [_share(share) if share else "none" for share in [*shares, values["noticed"], values["probability"]]]


def _share(values: Mapping[str, Any]) -> str:
    if values["interval"] is None:
        return _percent(values["mean"])
    low, high = values["interval"]
    return f"{_percent(values['mean'])} ({100 * low:.0f} to {100 * high:.0f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _pairs(values: Mapping[str, Any]) -> str:
    return str(values["noticed"]["n"])


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Shares over the size of the step: ranked rightly in noise and in all else, and noticed."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    noise, others, noticed = figure.subplots(1, 3)
    _plot_ranking(noise, results["noise"], "noise")
    _plot_ranking(others, results["others"], "all other distortions")
    _plot_noticed(noticed, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _plot_ranking(axes: Any, steps: Mapping[str, Any], title: str) -> None:
    curves: dict[str, list[tuple[float, float, float, float]]] = {}
    for step, values in steps.items():
        for name, share in values["ranked_rightly"].items():
            curves.setdefault(name, []).append((float(step), share["mean"], *(share["interval"] or [np.nan] * 2)))
    for name, points in curves.items():
        sizes, shares, low, high = np.array(points).T
        (line,) = axes.plot(sizes, shares, marker="o", label=name)
        axes.fill_between(sizes, low, high, alpha=0.15, color=line.get_color())
    axes.axhline(0.5, color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="step in JNDs", ylabel="share ranked rightly", title=title, ylim=(0, 1.03))
    axes.legend(loc="lower right")


def _plot_noticed(axes: Any, results: Mapping[str, Any]) -> None:
    for part, title, colour in (("noise", "noise", "tab:blue"), ("others", "all others", "tab:orange")):
        sizes = [float(step) for step in results[part]]
        for name, label, style in (
            ("probability", "expected listeners", "-"),
            ("noticed", "pairs called noticeable", ":"),
        ):
            shares = [values[name]["mean"] for values in results[part].values()]
            axes.plot(sizes, shares, style, marker="o", label=f"{title}: {label}", color=colour)
    heard = results["listeners"]
    expected = [values["expected"] for values in heard.values()]
    axes.plot([float(step) for step in heard], expected, "k-", label="listeners, fitted")
    answered = [(float(step), values) for step, values in heard.items() if "answered" in values]
    if answered:
        shares = np.array([values["answered"] for _, values in answered])
        errors = np.abs(np.array([values["interval"] for _, values in answered]).T - shares)
        axes.errorbar([step for step, _ in answered], shares, yerr=errors, fmt="ks", label="listeners' answers")
    axes.set(xlabel="step in JNDs", ylabel="share noticed", title="noticed", ylim=(0, 1.03))
    axes.legend(loc="lower right", fontsize="small")
