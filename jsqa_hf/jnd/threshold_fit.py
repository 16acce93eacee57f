"""Thresholds of a distortion as a judge would set them: steps that are as audible as those of the SNR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration, distorted_clips, rising_interp
from .distortions.base import Distortion
from .judges import Judge
from .thresholds import Threshold

# Our choices: where steps start, and how large they are in JNDs of the threshold that the distortion has.
STARTS = 6
OFFSETS_JND = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Our choice: JNDs that grow by less than this over the range are taken as constant.
MIN_GROWTH = 1.5

Interval = tuple[float, float]


@dataclass(frozen=True)
class StepFit:
    """Steps upwards from one severity that the judge finds as large as the steps of the SNR of 3 and 8 dB.

    Attributes:
        severity: Where they start.
        just_noticeable, clearly_different: Median over the utterances, a difference or on a logarithmic scale a ratio;
            infinite if the rest of the range is not enough.
        just_noticeable_interval, clearly_different_interval: 95 % bootstrap intervals over the utterances.
        remaining: The step up to the end of the range as a share of the clearly different one, at most 1: median over
            the utterances of the root of the distance, which grows about in proportion to the step.
    """

    severity: float
    just_noticeable: float
    just_noticeable_interval: Interval
    clearly_different: float
    clearly_different_interval: Interval
    remaining: float


@dataclass(frozen=True)
class ThresholdFit:
    """What a judge would set as thresholds of a distortion.

    Attributes:
        distortion: Name of the distortion.
        threshold: That it has.
        severity_range: That it has.
        judge: Name of the judge.
        utterances: Number of utterances.
        steps: By the severity that they start from.
        just_noticeable: The smallest such step anywhere in the range: pairs never further apart than the JND.
        clearly_different: The smallest step that, with `growth`, is nowhere below the step found.
        growth: Knots as in `Threshold`; empty if the steps are about the same everywhere.
    """

    distortion: str
    threshold: Threshold
    severity_range: tuple[float, float]
    judge: str
    utterances: int
    steps: tuple[StepFit, ...]
    just_noticeable: float = field(init=False)
    clearly_different: float = field(init=False)
    growth: tuple[tuple[float, float], ...] = field(init=False)

    def __post_init__(self) -> None:
        to, back = _axis(self.threshold.scale)
        starts = to(np.array([step.severity for step in self.steps]))
        clear = to(np.array([step.clearly_different for step in self.steps]))
        remaining = np.array([step.remaining for step in self.steps])
        smallest, knots = _growth(starts, clear, remaining, to(np.array(self.severity_range)))
        growth = tuple((float(value), float(image)) for value, image in back(np.array(knots).reshape(-1, 2)))
        object.__setattr__(self, "just_noticeable", min(step.just_noticeable for step in self.steps))
        object.__setattr__(self, "clearly_different", float(back(smallest)))
        object.__setattr__(self, "growth", growth)


def fit_threshold(
    distortion: Distortion,
    speech: Sequence[NDArray[Any]],
    judge: Judge,
    calibration: Calibration,
    sampling_rate: int = 16000,
    *,
    seed: int = 0,
) -> ThresholdFit:
    """Find the steps of a distortion that a judge finds as large as the steps of the SNR of 3 and 8 dB.

    For every utterance the distortion is drawn once. The distance is measured on a grid of steps from several starts
    and interpolated (its root, which grows about in proportion to the step).

    Args:
        distortion: Its severity range, grid and threshold give the grid of steps.
        speech: Utterances of shape `(time,)`.
        judge: Whom to ask.
        calibration: Of this judge.
        sampling_rate: Of the speech, in Hz.
        seed: Of the draws and the bootstrap.

    Raises:
        ValueError: If there is no speech, the calibration is of another judge, or the judge refuses a pair.
    """
    if not speech:
        raise ValueError("fitting a threshold needs speech")
    if calibration.judge != judge.name:
        raise ValueError(f"the calibration is of {calibration.judge}, but the judge is {judge.name}")
    to, back = _axis(distortion.threshold.scale)
    grid = [(start, ends) for start, ends in _grid(distortion, to) if ends.size]
    severities = np.unique(np.concatenate([np.append(ends, start) for start, ends in grid]))
    targets = np.sqrt([calibration.just_noticeable, calibration.clearly_different])
    found = np.empty((len(speech), len(grid), 2))
    remaining = np.empty((len(speech), len(grid)))
    for row, utterance in enumerate(speech):
        rng = np.random.default_rng([seed, row])
        clips = distorted_clips(distortion, utterance, _values(severities, back, distortion), rng, sampling_rate)
        by_severity = dict(zip(severities, clips, strict=True))
        for column, (start, ends) in enumerate(grid):
            distances = [judge.distance(by_severity[start], by_severity[end], sampling_rate) for end in ends]
            roots = np.sqrt(np.maximum.accumulate([0.0, *distances]))
            found[row, column] = rising_interp(targets, roots, np.append(0.0, ends - start), beyond=np.inf)
            remaining[row, column] = min(1.0, roots[-1] / targets[1])
    return ThresholdFit(
        distortion.name,
        distortion.threshold,
        distortion.severity_range,
        judge.name,
        len(speech),
        tuple(
            _step_fit(float(back(start)), back(found[:, column]), float(np.median(remaining[:, column])), seed)
            for column, (start, _) in enumerate(grid)
        ),
    )


def _axis(scale: Literal["linear", "log"]) -> tuple[Any, Any]:
    """To and from the axis on which equal differences are equally audible."""
    return (np.log, np.exp) if scale == "log" else (np.asarray, np.asarray)


def _values(axis: NDArray[np.float64], back: Any, distortion: Distortion) -> list[float]:
    # Exactly those of the grid, or within the range, in spite of rounding.
    values = np.clip(back(axis), *distortion.severity_range)
    if distortion.discrete and distortion.severity_grid is not None:
        exact = np.array(distortion.severity_grid)
        values = exact[np.abs(values[:, np.newaxis] - exact).argmin(axis=1)]
    return values.tolist()


def _grid(distortion: Distortion, to: Any) -> list[tuple[float, NDArray[np.float64]]]:
    """Starts on the axis, each with the ends of its steps, increasing."""
    if distortion.discrete:
        values = to(np.array(distortion.severity_grid))
        starts = values[np.unique(np.linspace(0, values.size - 2, STARTS).round().astype(int))]
        return [(float(start), values[values > start]) for start in starts]
    low, high = map(float, to(np.array(distortion.severity_range)))
    steps = np.array(OFFSETS_JND) * float(to(distortion.threshold.just_noticeable))
    starts = np.linspace(low, high, STARTS + 1)[:-1]
    return [(float(start), np.append(start + steps[start + steps < high], high)) for start in starts]


def _step_fit(severity: float, found: NDArray[np.float64], remaining: float, seed: int) -> StepFit:
    rng = np.random.default_rng(seed)
    resampled = np.median(found[rng.integers(len(found), size=(500, len(found)))], axis=1)
    # Of order statistics, as some may be infinite.
    bounds = np.percentile(resampled, [2.5, 97.5], axis=0, method="nearest").T.tolist()
    noticeable, clear = np.median(found, axis=0).tolist()
    return StepFit(severity, noticeable, tuple(bounds[0]), clear, tuple(bounds[1]), remaining)


def _growth(
    starts: NDArray[np.float64], steps: NDArray[np.float64], remaining: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[float, list[tuple[float, float]]]:
    """Step and knots, all on the axis, that make steps found at different starts one."""
    reached = np.isfinite(steps)
    if not reached.any():
        return np.inf, []
    # A step that does not fit into the range is taken to go on as it went up to the end.
    sizes = np.where(reached, steps, (ends[1] - starts) / np.maximum(remaining, 0.01))
    smallest = sizes.min()
    if sizes.max() < MIN_GROWTH * smallest:
        return float(steps[reached].max()), []
    middles = np.minimum(starts + sizes / 2, ends[1])
    order = np.argsort(middles, kind="stable")
    points = np.unique([*middles, *ends])
    slopes = np.interp(points, middles[order], smallest / sizes[order])
    equivalents = points[0] + np.concatenate([[0.0], np.cumsum(np.diff(points) * (slopes[1:] + slopes[:-1]) / 2)])
    lower, upper = (np.interp(x[reached], points, equivalents) for x in (starts, starts + sizes))
    return float((upper - lower).max()), list(zip(points.tolist(), equivalents.tolist(), strict=True))
