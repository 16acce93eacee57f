"""What listeners heard: psychometric curves of the answers of PerceptualAudio. Run by `verify_jnd.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest

from jsqa_hf.data.human_jnd import load_human_jnd
from jsqa_hf.jnd.psychometric import (
    PsychometricCurve,
    bootstrap_changes,
    fit_psychometric_curve,
)

# Levels of the noise, relative to that of the files of PerceptualAudio, at which it is clearly audible. Chosen after
# looking, as one of four bands.
AUDIBLE_NOISE_DB = (20 * float(np.log10(0.5)), 20.0)
HARDLY_AUDIBLE_NOISE_DB = -40.0
NOISE_EDGES_DB = (0.0, 1.5, 3.0, 4.5, 6.0, 8.0, 12.0, 20.0, 120.0)
SHARES = (0.25, 0.5, 0.75)


class AnswerShare(NamedTuple):
    """Answers to changes of one size.

    Attributes:
        low, high: Bounds of the change; `low` is outside and `high` inside.
        answers: Number of answers.
        share: Share of the answer "different", in [0, 1].
        interval: Wilson score interval of the share, 95 %.
    """

    low: float
    high: float
    answers: int
    share: float
    interval: tuple[float, float]


def listener_curves(labels: str) -> dict[str, tuple[Sequence[float], Sequence[int]]]:
    """Sizes of changes and answers, by what was changed."""
    rows = load_human_jnd(labels, subsets=["linear", "eq"])
    table = [row for row in rows if row["severity"]]
    curves: dict[str, list[tuple[float, int]]] = {}
    for row in table:
        first, second = row["severity"]
        if row["distortion"] == "noise":
            audible = AUDIBLE_NOISE_DB[0] - 1e-9 <= first <= AUDIBLE_NOISE_DB[1] + 1e-9
            if first != second:
                names = ["noise", f"noise: {row['noise_type']}"] if audible else []
                names += ["noise, hardly audible"] if first < HARDLY_AUDIBLE_NOISE_DB else []
            else:
                names = ["noise, same clips twice"]
            change = abs(second - first)
        elif row["distortion"] == "mp3":
            # Octaves of the bit rate below 300 kbit/s.
            names, change = ["mp3"], abs(float(np.log2(first / second)))
        else:
            names, change = [row["quantity"]], abs(second - first)
        for name in names:
            curves.setdefault(name, []).append((change, row["different"]))
    return {name: ([x for x, _ in pairs], [y for _, y in pairs]) for name, pairs in sorted(curves.items())}


def describe_listeners(labels: str, plot: Path, seed: int) -> tuple[PsychometricCurve, dict[str, Any]]:
    """Plot the curve of noise that is clearly audible; returns it, and the figures of all curves."""
    answers = listener_curves(labels)
    _, repeated = answers.pop("noise, same clips twice")
    false_alarms = float(np.mean(repeated))
    results: dict[str, Any] = {"share of different for the same clip twice": false_alarms}
    curves = {}
    for name, (changes, different) in answers.items():
        # In noise the share is known that calls clips different which are not.
        guess = false_alarms if name.startswith("noise") else None
        curve = curves[name] = fit_psychometric_curve(changes, different, guess=guess)
        intervals = bootstrap_changes(changes, different, SHARES, guess=guess, resamples=100, seed=seed)
        results[name] = {
            "curve": asdict(curve),
            "change_at": {
                f"{share:.0%}": {"change": curve.change_at(share), "interval": intervals[share]} for share in SHARES
            },
        }
    shares = answer_shares(*answers["noise"], edges=NOISE_EDGES_DB)
    results["noise"]["shares"] = [share._asdict() for share in shares]
    plot_listeners(curves["noise"], shares, plot)
    return curves["noise"], results


def answer_shares(changes: Sequence[float], different: Sequence[int], edges: Sequence[float]) -> list[AnswerShare]:
    """Count answers by size of the change.

    Args:
        changes: Size of each change.
        different: 1 or True where the answer was "different", else 0.
        edges: Increasing bounds of the bins; a change on an edge belongs to the bin below it.

    Returns:
        The bins that hold answers.

    Raises:
        ValueError: If the lengths differ, an answer is neither 0 nor 1, or the edges do not increase.
    """
    x, y = np.asarray(changes), np.asarray(different)
    if x.shape != y.shape or not np.isin(y, (0, 1)).all():
        raise ValueError("one answer per change is needed, 0 (same) or 1 (different)")
    if not (np.diff(edges) > 0).all():
        raise ValueError(f"edges must increase, got {list(edges)}")
    shares = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = y[(x > low) & (x <= high)]
        if inside.size:
            interval = binomtest(int(inside.sum()), inside.size).proportion_ci(method="wilson")
            bounds = float(interval.low), float(interval.high)
            shares.append(AnswerShare(float(low), float(high), inside.size, float(inside.mean()), bounds))
    return shares


def plot_listeners(curve: PsychometricCurve, shares: Sequence[AnswerShare], path: Path) -> None:
    """Plot shares of the answer "different" and the curve through them."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    steps = np.linspace(0, 30, 200)
    axes.plot(steps, curve.probability(steps), color="tab:blue", label="fitted curve")
    middles = [(share.low + min(share.high, 30.0)) / 2 for share in shares]
    values = np.array([share.share for share in shares])
    bounds = np.array([share.interval for share in shares]).T
    errors = np.abs(bounds - values)
    axes.errorbar(middles, values, yerr=errors, fmt="o", color="black", label="answers, 95 % interval")
    for step in (3.0, 8.0):
        axes.axvline(step, color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="change of the noise level in dB", ylabel='share of "different"', ylim=(0, 1))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)
