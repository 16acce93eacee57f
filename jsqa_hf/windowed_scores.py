"""From the scores of windows to the score of the whole and to quality over time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .speech_activity import Activity

__all__ = ["WeightedMean", "as_scores", "curve_of", "interval_ends", "mos_first", "steps_of", "unrated"]


class WeightedMean:
    """Mean of what the model gives for windows, weighted by the speech that each stands for.

    What is speech is told by one threshold for all, after ITU-T P.56, that is known in the end: until then there is a
    sum for each threshold, so that memory doesn't grow with the number of windows. Where no window has speech, the
    weight is the length of its cell.
    """

    def __init__(self) -> None:
        self._activity = Activity()
        self._time_s = 0.0
        # Of scores and variances: (thresholds, 2, outputs) and (2, outputs).
        self._by_speech: Any = 0.0
        self._by_time: Any = 0.0

    def add(self, output: Mapping[str, Any]) -> None:
        """Add a window: `scores` and `variances`, arrays of shape (1, outputs), `activity` and `cells`."""
        values = np.stack([np.asarray(output[key][0], np.float64) for key in ("scores", "variances")])
        length_s = sum(end - start for start, end in output["cells"])
        self._activity += output["activity"]
        self._by_speech = self._by_speech + output["activity"].counts[:, None, None] * values
        self._time_s += length_s
        self._by_time = self._by_time + length_s * values

    @property
    def is_empty(self) -> bool:
        """Whether no window was added."""
        return self._time_s == 0

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean scores and mean variances, (outputs,) each.

        Raises:
            ValueError: no window was added.
        """
        if self.is_empty:
            raise ValueError("there is nothing to rate: no window was added")
        threshold = self._activity.threshold
        active = self._activity.counts[threshold]
        scores, variances = self._by_speech[threshold] / active if active else self._by_time / self._time_s
        return scores, variances


def interval_ends(
    scores: NDArray[np.float64],
    variances: NDArray[np.float64],
    scale: Sequence[float],
    confidence: float,
    panel_std: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of intervals, for errors that are normally distributed.

    Args:
        scores, variances: of any shape, the same.
        scale: ends of the rating scale, to which the intervals are clipped.
        confidence: of the interval, between 0 and 1.
        panel_std: standard deviation of the difference between scales of panels, in units of the scale.
    """
    half_widths = NormalDist().inv_cdf(0.5 + confidence / 2) * np.sqrt(variances + panel_std**2)
    return np.maximum(scores - half_widths, scale[0]), np.minimum(scores + half_widths, scale[1])


def as_scores(
    scores: NDArray[np.float64],
    variances: NDArray[np.float64],
    names: Sequence[str],
    scale: tuple[float, float],
    confidence: float,
    panel_std: float = 0.0,
) -> dict[str, float]:
    """Scores with intervals by name.

    Args:
        scores, variances: (outputs,) each.
        names: of the outputs.
        scale, confidence, panel_std: see [`interval_ends`].

    Returns:
        `mos`, `mos_low` and `mos_high`, then the same three for each further output.

    Raises:
        ValueError: a number isn't finite.
    """
    if not (np.isfinite(scores).all() and np.isfinite(variances).all()):
        raise ValueError("the model gives no finite score; check its weights and its number format")
    lows, highs = interval_ends(scores, variances, scale, confidence, panel_std)
    named: dict[str, float] = {}
    for name in mos_first(names):
        index = list(names).index(name)
        for ending, values in (("", scores), ("_low", lows), ("_high", highs)):
            named[name + ending] = float(values[index])
    return named


def mos_first(names: Sequence[str]) -> list[str]:
    """Names of outputs in the order of results."""
    return sorted(names, key=lambda name: name != "mos")


def curve_of(
    rated: Iterable[tuple[Mapping[str, Any], Mapping[str, float]]], names: Sequence[str], step_s: float, whole_s: float
) -> list[dict[str, Any]]:
    """Quality over time, with a step for every `step_s`.

    Args:
        rated: windows of a curve (`cells` and `speech_s`), each with its scores.
        names: of the outputs of the model.
        step_s: length of a step in seconds.
        whole_s: length of the audio in seconds.

    Returns:
        For each step `start_s`, `end_s`, the scores, and `speech_s`, the seconds of active speech in it. Where there
        is none the scores are None.
    """
    count = max(1, math.ceil(whole_s / step_s - 1e-6))
    cells = [(step * step_s, min((step + 1) * step_s, whole_s)) for step in range(count)]
    curve = unrated(cells, names)
    for output, scores in rated:
        for step in steps_of(output, scores):
            curve[min(round(step["start_s"] / step_s), count - 1)].update(step)
    return curve


def unrated(cells: Sequence[tuple[float, float]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Steps without anything to rate, see `curve_of`."""
    nothing = {f"{name}{ending}": None for name in mos_first(names) for ending in ("", "_low", "_high")}
    return steps_of({"cells": cells, "speech_s": [0.0] * len(cells)}, nothing)


def steps_of(output: Mapping[str, Any], scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps that a window of a curve stands for, see `curve_of`."""
    return [
        {"start_s": start, "end_s": end, **{name: scores[name] if speech_s else None for name in scores}}
        | {"speech_s": speech_s}
        for (start, end), speech_s in zip(output["cells"], output["speech_s"], strict=True)
    ]
