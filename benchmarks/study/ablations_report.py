"""What `ablations.py` found, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from statistics_of_runs import SIGNIFICANT

BASE = "paper"
SCRATCH = "scratch"
TESTS = ("p835", "simulated")
DISTANCES = (
    ("noise", "quality_correlation"),
    ("noise", "content_preference"),
    ("unseen distortions", "quality_correlation"),
)

Report = Mapping[str, Mapping[str, Any]]


def markdown(report: Report, seeds: int) -> str:
    """One row per variant, and in words which are better than the paper's and than none."""
    lines = ["# What in stage 1 helps", ""]
    lines += [f"Means over {seeds} seeds. In brackets the difference of SRCC to the variant `{BASE}`, with its 95 %"]
    lines += ["interval over clips and seeds. Clearly: the interval leaves 0 out, and p of the paired t-test over the"]
    lines += [f"seeds is below {SIGNIFICANT}; neither is corrected for the number of variants. Distances: Spearman"]
    lines += ["correlation with the severity in unseen kinds of noise and under unseen distortions, and how often"]
    lines += ["content counts more than quality (lower is better).", ""]
    lines += ["| variant | p835: RMSE | SRCC | simulated: RMSE | SRCC | noise | content | distortions |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name, row in report.items():
        cells = [name]
        for test in TESTS:
            against = row["tests"][test][BASE]
            cells += [_number(against["rmse"]["treated"]), _number(against["srcc"]["treated"])]
            if name != BASE:
                cells[-1] += f" ({_difference(against['srcc'])})"
        cells += [_number(distance(row, *which)) for which in DISTANCES]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Who wins", ""]
    for other, what in ((BASE, f"`{BASE}`"), (SCRATCH, "training from scratch")):
        for test in TESTS:
            better: list[str] = []
            worse: list[str] = []
            for name, row in report.items():
                cell = row["tests"][test][other]["srcc"]
                if name != other and cell["clear"]:
                    (better if cell["better"] == "treated" else worse).append(name)
            lines.append(f"- {test}: clearly better than {what} in SRCC: {', '.join(better) or 'none'};")
            lines.append(f"  clearly worse: {', '.join(worse) or 'none'}. The others may differ by chance.")
    return "\n".join(lines) + "\n"


def distance(row: Mapping[str, Any], part: str, name: str) -> float | None:
    """Mean of a diagnostic over the seeds; None if there is none."""
    values = [metrics[name] for metrics in row["distances"].get(part, []) if name in metrics]
    return float(np.mean(values)) if values else None


def plot(report: Report, path: Path) -> None:
    """SRCC of every seed and its mean, by variant and test."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(TESTS), figsize=(12, 1.5 + 0.32 * len(report)), layout="constrained")
    for axis, test in zip(axes, TESTS, strict=True):
        for height, row in enumerate(report.values()):
            cell = row["tests"][test][BASE]["srcc"]
            runs = [value for value in cell["treated_runs"] if value is not None]
            axis.plot(runs, [height] * len(runs), ".", color="tab:gray")
            if cell["treated"] is not None:
                axis.plot(cell["treated"], height, "o", color="tab:blue")
        for name, colour in ((BASE, "tab:red"), (SCRATCH, "black")):
            if name in report and (mean := report[name]["tests"][test][BASE]["srcc"]["treated"]) is not None:
                axis.axvline(mean, color=colour, linestyle="--", linewidth=0.8, label=name)
        axis.set(title=test, xlabel="SRCC")
        axis.set_yticks(range(len(report)), list(report) if test == TESTS[0] else [""] * len(report))
        axis.invert_yaxis()
    axes[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _difference(cell: Mapping[str, Any]) -> str:
    if cell["change"] is None or cell["change_interval"] is None:
        return "–"
    low, high = cell["change_interval"]
    return f"{cell['change']:+.3f}, {low:+.3f} to {high:+.3f}"
