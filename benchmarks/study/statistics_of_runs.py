"""Two arms of runs that differ in one thing, compared: intervals over clips and seeds, tests over seeds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from jsqa_hf.intervals import RESAMPLES

Floats = NDArray[np.float64]

METRICS = ("rmse", "mae", "pcc", "srcc")
ERRORS = ("rmse", "mae")
# Of the t-test, below which a change is called clear. Our choice.
SIGNIFICANT = 0.05


def agreement(predicted: ArrayLike, rated: ArrayLike) -> dict[str, Floats]:
    """RMSE, MAE, PCC and SRCC of several runs at once.

    Args:
        predicted: (runs, clips).
        rated: (clips,).

    Returns:
        (runs,) by metric; NaN for correlations of a run that predicts a constant.
    """
    predictions, ratings = np.atleast_2d(np.asarray(predicted, dtype=float)), np.asarray(rated, dtype=float)
    errors = predictions - ratings
    ranks = stats.rankdata(predictions, axis=1), stats.rankdata(ratings)
    return {
        "rmse": np.sqrt(np.mean(errors**2, axis=1)),
        "mae": np.mean(np.abs(errors), axis=1),
        "pcc": _correlation(predictions, ratings),
        "srcc": _correlation(*ranks),
    }


def _correlation(many: Floats, one: Floats) -> Floats:
    many, one = many - many.mean(axis=1, keepdims=True), one - one.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return many @ one / np.sqrt((many**2).sum(axis=1) * (one**2).sum())


def compare_arms(
    treated: ArrayLike,
    control: ArrayLike,
    rated: ArrayLike,
    groups: Sequence[Any] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Whether one thing, such as pretraining, changes how well runs agree with ratings.

    The intervals are those of the percentile bootstrap: seeds and groups of clips are both drawn anew, the same for
    both arms.

    Args:
        treated, control: (seeds, clips) predictions of the runs with it and without it, in the same order of seeds.
        rated: (clips,) ratings.
        groups: (clips,) clips of the same group, such as a condition, are drawn together; default: each by itself.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        By metric: `treated` and `control`, means over the seeds, `treated_runs` and `control_runs`, each seed's;
        `change`, the difference of the means, `relative_change`, that divided by the mean of `control`, both with
        `..._interval`, 95 %; `t_test_p` and `wilcoxon_p` of the paired tests over seeds, two-sided; `better`, the arm
        whose mean is better, or "neither", and `clear`, whether the interval of the change leaves 0 out and the
        t-test has p below `SIGNIFICANT`, which takes two seeds. None for what is not defined.

    Raises:
        ValueError: if the shapes do not fit.
    """
    arms = [np.atleast_2d(np.asarray(arm, dtype=float)) for arm in (treated, control)]
    ratings = np.asarray(rated, dtype=float)
    if arms[0].shape != arms[1].shape or arms[0].shape[1:] != ratings.shape:
        raise ValueError(
            f"predictions of shapes {arms[0].shape} and {arms[1].shape} do not fit ratings of shape {ratings.shape}"
        )
    runs = [agreement(arm, ratings) for arm in arms]
    drawn = _bootstrap(arms[0], arms[1], ratings, groups, resamples, seed)
    return {name: _compare(name, runs[0][name], runs[1][name], drawn[name]) for name in METRICS}


def _bootstrap(
    treated: Floats, control: Floats, rated: Floats, groups: Sequence[Any] | None, resamples: int, seed: int
) -> dict[str, Floats]:
    """(resamples, 2) means of both arms over the drawn seeds, by metric."""
    members: dict[Any, list[int]] = {}
    for clip, group in enumerate(range(len(rated)) if groups is None else groups):
        members.setdefault(group, []).append(clip)
    units = [np.array(indices) for indices in members.values()]
    rng = np.random.default_rng(seed)
    both = np.concatenate([treated, control])
    means = np.full((resamples, len(METRICS), 2), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for number in range(resamples):
            clips = np.concatenate([units[unit] for unit in rng.integers(len(units), size=len(units))])
            seeds = rng.integers(len(treated), size=len(treated))
            values = agreement(both[:, clips], rated[clips])
            for column, name in enumerate(METRICS):
                means[number, column] = values[name].reshape(2, -1)[:, seeds].mean(axis=1)
    return {name: means[:, column] for column, name in enumerate(METRICS)}


def _compare(name: str, treated: Floats, control: Floats, drawn: Floats) -> dict[str, Any]:
    change = float(treated.mean() - control.mean())
    changes = drawn[:, 0] - drawn[:, 1]
    interval = _interval(changes)
    # A change relative to a correlation that may be 0 or less says nothing.
    positive = control.mean() > 0 and bool((drawn[:, 1] > 0).all())
    gain = -change if name in ERRORS else change
    tests = paired_tests(treated, control)
    # Few seeds drawn anew vary less than seeds do, so that the interval alone would call too much clear: with two
    # seeds, several times the 5 % that it says. The test knows how few they are, but nothing of the clips.
    apart = interval is not None and (interval[0] > 0 or interval[1] < 0)
    significant = tests["t_test_p"] is not None and tests["t_test_p"] < SIGNIFICANT
    return {
        "treated": _finite(treated.mean()),
        "control": _finite(control.mean()),
        "treated_runs": [_finite(value) for value in treated],
        "control_runs": [_finite(value) for value in control],
        "change": _finite(change),
        "change_interval": interval,
        "relative_change": _finite(change / control.mean()) if positive else None,
        "relative_change_interval": _interval(changes / drawn[:, 1]) if positive else None,
        **tests,
        "better": "treated" if gain > 0 else "control" if gain < 0 else "neither",
        "clear": apart and significant,
    }


def paired_tests(treated: ArrayLike, control: ArrayLike) -> dict[str, float | None]:
    """Two-sided p of the paired t-test and of Wilcoxon's signed-rank test; None where they are not defined.

    With N seeds the p of Wilcoxon's test can't be below 2 ** (1 - N): 0.0625 for five.
    """
    first, second = np.asarray(treated, dtype=float), np.asarray(control, dtype=float)
    if len(first) < 2 or np.isnan(first - second).any() or (first == second).all():
        return {"t_test_p": None, "wilcoxon_p": None}
    with warnings.catch_warnings():
        # scipy warns of very small samples and of differences that are all alike.
        warnings.simplefilter("ignore")
        return {
            "t_test_p": _finite(stats.ttest_rel(first, second).pvalue),
            "wilcoxon_p": _finite(stats.wilcoxon(first, second).pvalue),
        }


def _interval(values: Floats) -> list[float] | None:
    if not np.isfinite(values).all():
        return None
    return [float(end) for end in np.quantile(values, [0.025, 0.975])]


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
