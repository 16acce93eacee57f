"""From same/different answers of listeners to the change that they hear, by a fitted curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit, xlogy

# Our choice: largest rate of guesses or lapses that is fitted, so that the curve rises.
MAX_RATE = 0.4


@dataclass(frozen=True)
class PsychometricCurve:
    """P("different") = guess + (1 - guess - lapse) * logistic((change - centre) / width).

    Attributes:
        centre: Change at half height.
        width: Scale of the logistic; positive if larger changes are heard more.
        guess: Share of "different" where nothing can be heard.
        lapse: Share of "same" where everything can be heard.
        answers: Number of answers it is fitted to.
    """

    centre: float
    width: float
    guess: float
    lapse: float
    answers: int

    def probability(self, change: Any) -> NDArray[np.float64]:
        """P("different") for changes of any shape."""
        core = expit((np.asarray(change, dtype=np.float64) - self.centre) / self.width)
        return self.guess + (1 - self.guess - self.lapse) * core

    def change_at(self, share: float) -> float:
        """Change that a share of all answers calls different.

        Infinite above the share that hears everything, minus infinite below that of the guesses.
        """
        core = (share - self.guess) / (1 - self.guess - self.lapse)
        return self.centre + self.width * float(logit(min(max(core, 0.0), 1.0)))


def fit_psychometric_curve(
    changes: Sequence[float],
    different: Sequence[int],
    *,
    guess: float | None = None,
    lapse: float | None = None,
) -> PsychometricCurve:
    """Fit a logistic with guess and lapse rate by maximum likelihood.

    Args:
        changes: Size of each change, in dB or the logarithm of a ratio.
        different: 1 or True where the answer was "different", else 0.
        guess, lapse: Rates to hold fixed, such as a guess rate known from pairs of equal clips; None fits them.

    Raises:
        ValueError: If the lengths differ, an answer is neither 0 nor 1, all answers or all changes are the same, or a
            rate is out of [0, 0.5).
    """
    x, y = _checked_answers(changes, different)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("a psychometric curve needs changes of different sizes and both answers")
    if any(rate is not None and not 0 <= rate < 0.5 for rate in (guess, lapse)):
        raise ValueError(f"guess and lapse must be in [0, 0.5), got {guess} and {lapse}")
    # The likelihood of a curve with four parameters has more than one maximum.
    location, scale = float(np.median(x)), float(x.std())
    widths = scale * np.exp([-2.0, -0.5])
    starts = [(location + k * scale, width, 0.05, 0.05) for k in (-1, 0, 1) for width in widths]
    rates = [(0.0, MAX_RATE) if rate is None else (rate, rate) for rate in (guess, lapse)]
    return min((_fit(x, y, start, rates) for start in starts), key=lambda fit: fit[1])[0]


def _fit(
    x: NDArray[np.float64], y: NDArray[np.float64], start: Sequence[float], rates: Sequence[tuple[float, float]]
) -> tuple[PsychometricCurve, float]:
    """Fit from one start (centre, width, guess, lapse); returns the curve and its mean negative log likelihood."""
    location, scale = float(np.median(x)), float(x.std())
    x = (x - location) / scale

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        centre, log_width, guess, lapse = parameters
        z = (x - centre) / np.exp(log_width)
        core = expit(z)
        p = np.clip(guess + (1 - guess - lapse) * core, 1e-9, 1 - 1e-9)
        slope = (p - y) / (p * (1 - p))
        along_z = slope * (1 - guess - lapse) * core * (1 - core)
        terms = (-along_z / np.exp(log_width), -along_z * z, slope * (1 - core), -slope * core)
        loss = -float(np.mean(xlogy(y, p) + xlogy(1 - y, 1 - p)))
        return loss, np.array([term.mean() for term in terms])

    bounds = [(-5.0, 5.0), (-5.0, 3.0), *rates]
    scaled = [(start[0] - location) / scale, math.log(start[1] / scale), *start[2:]]
    fit = minimize(objective, np.clip(scaled, *np.transpose(bounds)), jac=True, bounds=bounds, method="L-BFGS-B")
    centre, log_width, guess, lapse = map(float, fit.x)
    curve = PsychometricCurve(location + scale * centre, scale * math.exp(log_width), guess, lapse, x.size)
    return curve, float(fit.fun)


def bootstrap_changes(
    changes: Sequence[float],
    different: Sequence[int],
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    *,
    guess: float | None = None,
    lapse: float | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> dict[float, tuple[float, float]]:
    """95 % bootstrap intervals of the changes that given shares of answers call different.

    Args:
        changes, different, guess, lapse: As in `fit_psychometric_curve`.
        shares: Shares to look for, see `PsychometricCurve.change_at`.
        resamples: Number of resamples of the answers. They count as independent of each other, as the listener behind
            an answer is not known.
        seed: Of the resampling.

    Returns:
        Interval by share; a bound is infinite where that many of the resampled curves do not reach the share.
    """
    x, y = _checked_answers(changes, different)
    whole = fit_psychometric_curve(changes, different, guess=guess, lapse=lapse)
    start = (whole.centre, whole.width, whole.guess, whole.lapse)
    rates = [(0.0, MAX_RATE) if rate is None else (rate, rate) for rate in (guess, lapse)]
    rng = np.random.default_rng(seed)
    points = []
    for _ in range(resamples):
        index = rng.integers(x.size, size=x.size)
        curve, _ = _fit(x[index], y[index], start, rates)
        points.append([curve.change_at(share) for share in shares])
    # Of order statistics, as some may be infinite.
    bounds = np.percentile(points, [2.5, 97.5], axis=0, method="nearest").T
    return {share: (float(low), float(high)) for share, (low, high) in zip(shares, bounds, strict=True)}


def _checked_answers(
    changes: Sequence[float], different: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(changes, dtype=np.float64), np.asarray(different, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"one answer per change is needed, got shapes {x.shape} and {y.shape}")
    if not np.isfinite(x).all() or not np.isin(y, (0, 1)).all():
        raise ValueError("changes must be finite, and answers 0 (same) or 1 (different)")
    return x, y
