"""Verification as JSON, as Markdown tables and as a plot."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .calibration import Calibration
from .thresholds import SNR_THRESHOLD
from .verify import VerificationReport, VerifiedBin


def report_as_json(report: VerificationReport, severity_bins: int = 3) -> dict[str, Any]:
    """The report as JSON values, without the single pairs.

    Args:
        report: From `verify`.
        severity_bins: See `VerificationReport.bins`.

    Returns:
        `calibration`, `bins`, `refusals` (number and first reason by distortion), and `listeners` where known.
    """
    refusals: dict[str, dict[str, Any]] = {}
    for refusal in report.refusals:
        entry = refusals.setdefault(refusal.distortion, {"pairs": 0, "reason": refusal.reason})
        entry["pairs"] += 1
    return finite(
        {
            "judge": report.calibration.judge,
            "calibration": calibration_as_json(report.calibration),
            "bins": [bin_._asdict() for bin_ in report.bins(severity_bins)],
            "refusals": refusals,
            "listeners": report.listeners and asdict(report.listeners),
        }
    )


def calibration_as_json(calibration: Calibration) -> dict[str, Any]:
    """A calibration as JSON values."""
    return finite(
        {
            **asdict(calibration),
            "just_noticeable": calibration.just_noticeable,
            "clearly_different": calibration.clearly_different,
        }
    )


def report_as_markdown(report: VerificationReport, severity_bins: int = 3) -> str:
    """The report as a Markdown table, one line per distortion, kind and bin of severity."""
    rows = [_bin_cells(bin_, report) for bin_ in report.bins(severity_bins)]
    header = [
        "distortion",
        "kind",
        "severity",
        "pairs",
        "equivalent SNR step, dB (5 / 50 / 95 %)",
        "equal clips",
        "as meant",
        "clear",
    ]
    if report.listeners:
        header.append("listeners who hear it")
    lines = [markdown_table(header, rows)]
    for distortion, entry in report_as_json(report)["refusals"].items():
        lines.append(f"\nNot judged: {entry['pairs']} pairs of {_cell(distortion)} ({_cell(entry['reason'])}).")
    return "\n".join(lines) + "\n"


def plot_report(report: VerificationReport, path: str | Path) -> None:
    """Plot the equivalent steps of positives and negatives of each distortion: median and 5th to 95th percentile.

    Args:
        report: From `verify`.
        path: Of the image; its ending tells the format, such as PNG or SVG.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'jsqa_hf[verify]'") from error
    bins = report.bins(1)
    names = sorted({bin_.distortion for bin_ in bins}, reverse=True)
    figure = Figure(figsize=(8, 1.6 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    for kind, colour, shift in (("positive", "tab:blue", 0.15), ("negative", "tab:red", -0.15)):
        chosen = [bin_ for bin_ in bins if bin_.kind == kind]
        if not chosen:
            continue
        heights = [names.index(bin_.distortion) + shift for bin_ in chosen]
        lows, medians, highs = (list(column) for column in zip(*(bin_.equivalent_db for bin_ in chosen), strict=True))
        axes.hlines(heights, lows, highs, color=colour)
        axes.plot(medians, heights, "o", color=colour, label=f"{kind}s: median, 5 to 95 %")
    for step, name in (
        (SNR_THRESHOLD.just_noticeable, "just noticeable"),
        (SNR_THRESHOLD.clearly_different, "clearly different"),
    ):
        axes.axvline(step, color="grey", linestyle="--", linewidth=1)
        axes.text(step, len(names) - 0.4, f" {name}", fontsize=8, color="grey")
    # Dollars would start a formula.
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    axes.set_ylim(-0.6, len(names) - 0.1)
    axes.set_xlabel(f"step of the SNR that {report.calibration.judge} finds as large, in dB")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=120, metadata={"Date": None} if str(path).lower().endswith(".svg") else None)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; whatever would end a cell or be taken as markup is escaped."""
    lines = [[_cell(cell) for cell in row] for row in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def finite(value: Any) -> Any:
    """JSON values with null for what is infinite or NaN, and figures of six digits."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _bin_cells(bin_: VerifiedBin, report: VerificationReport) -> list[str]:
    low, high = bin_.severity
    severity = "" if math.isnan(low) else f"{low:.3g} to {high:.3g} {bin_.unit}".rstrip()
    as_meant = bin_.unheard if bin_.kind == "positive" else bin_.heard
    cells = [
        bin_.distortion,
        bin_.kind,
        severity,
        str(bin_.pairs),
        " / ".join(f"{value:.1f}" for value in bin_.equivalent_db),
        f"{bin_.identical:.0%}",
        f"{as_meant:.0%}",
        f"{bin_.clear:.0%}",
    ]
    return cells if bin_.listeners is None else [*cells, f"{bin_.listeners:.0%}"]


def _cell(text: str) -> str:
    # Names come from files and from users.
    return re.sub(r"([\\|`*_\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
