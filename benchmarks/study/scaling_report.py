"""What `scaling.py` found, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Curves = Mapping[str, Mapping[str, Any]]


def markdown(curves: Curves) -> str:
    """SRCC by steps of stage 1, the fitted laws, and in words what they say."""
    steps = sorted({int(number) for one in curves.values() for number in one["srcc"]})
    names = ["from scratch" if number == 0 else f"{number} steps" for number in steps]
    lines = ["# How far more pretraining helps", "", "Mean SRCC over the seeds, by optimiser steps of stage 1.", ""]
    lines += [f"| network, test | {' | '.join(names)} |", "|---" * (len(steps) + 1) + "|"]
    for name, one in curves.items():
        means = [np.mean(one["srcc"][str(number)]) if str(number) in one["srcc"] else np.nan for number in steps]
        lines.append(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    lines += ["", "Power law 1 - SRCC = a * steps ** -b; b above 0 means that more pretraining helps. Every seed has"]
    lines += ["an a of its own, as its runs share their first weights and their labelled clips; R² is within seeds."]
    lines += [
        "What is expected, with its 95 % interval, is the mean over these seeds, of the logarithm of 1 - SRCC.",
        "",
    ]
    lines += ["| network, test | a | b | 95 % | R² | largest residual | expected of more steps |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, one in curves.items():
        if (law := one["law"]) is None:
            lines.append(f"| {name} | – | – | – | – | – | – |")
            continue
        low, high = law["b_interval"]
        worst = max(law["residuals"], key=abs)
        expected = "; ".join(
            f"{number}: {row['srcc']:.3f} ({row['interval'][0]:.3f} to {row['interval'][1]:.3f})"
            for number, row in law["expected"].items()
        )
        cells = [name, f"{law['a']:.3f}", f"{law['b']:.3f}", f"{low:.3f} to {high:.3f}", f"{law['r_squared']:.2f}"]
        lines.append(f"| {' | '.join([*cells, f'{worst:+.3f}', expected])} |")
    return "\n".join([*lines, "", "## What it says", "", *(f"- {line}" for line in verdict(curves))]) + "\n"


def verdict(curves: Curves) -> list[str]:
    """Whether more pretraining helps, whether it beats none, and whether the law held for the largest budget."""
    lines = []
    for name, one in curves.items():
        law, check = one["law"], one["check"]
        if law is not None:
            low, high = law["b_interval"]
            told = "helps" if low > 0 else "harms" if high < 0 else "neither helps nor harms for certain"
            lines.append(f"{name}: more pretraining {told}.")
        if check is not None:
            held = "held" if check["interval"][0] <= check["measured"] <= check["interval"][1] else "failed"
            lines.append(
                f"{name}: fitted without the largest budget, the law expects {check['srcc']:.3f} there and "
                f"{check['measured']:.3f} was measured: its interval {held}."
            )
        if "0" in one["srcc"]:
            scratch = np.mean(one["srcc"]["0"])
            above = [number for number, runs in one["srcc"].items() if number != "0" and np.mean(runs) > scratch]
            lines.append(f"{name}: above training from scratch ({scratch:.3f}) at {', '.join(above) or 'no'} steps.")
    return lines


def plot(curves: Curves, path: Path) -> None:
    """Every run and the fitted laws, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for number, (name, one) in enumerate(curves.items()):
        colour = f"C{number}"
        for steps, runs in one["srcc"].items():
            if steps != "0":
                axis.plot([int(steps)] * len(runs), [1 - run for run in runs], ".", color=colour)
        if "0" in one["srcc"]:
            axis.axhline(1 - np.mean(one["srcc"]["0"]), color=colour, linestyle=":", linewidth=0.8)
        if (law := one["law"]) is not None:
            pretrained = [int(steps) for steps in one["srcc"] if steps != "0"]
            ends = np.geomspace(min(pretrained), max(int(steps) for steps in law["expected"]))
            axis.plot(ends, law["a"] * ends ** -law["b"], color=colour, label=name)
            for steps, row in law["expected"].items():
                axis.plot([int(steps)] * 2, [1 - end for end in row["interval"]], color=colour, linewidth=0.8)
    axis.set(xscale="log", yscale="log", xlabel="optimiser steps of stage 1", ylabel="1 - SRCC (dotted: from scratch)")
    axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
