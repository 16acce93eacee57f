from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd.psychometric import PsychometricCurve, bootstrap_changes, fit_psychometric_curve


def answers(curve: PsychometricCurve, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    changes = rng.uniform(0, 20, size=curve.answers)
    return changes, (rng.random(curve.answers) < curve.probability(changes)).astype(np.int64)


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 1000), centre=st.floats(6, 12), width=st.floats(0.8, 2.5), lapse=st.floats(0, 0.15))
def test_fit_finds_the_curve_that_answers_were_drawn_from(
    seed: int, centre: float, width: float, lapse: float
) -> None:
    truth = PsychometricCurve(centre, width, guess=0.04, lapse=lapse, answers=2500)
    fitted = fit_psychometric_curve(*answers(truth, seed))
    grid = np.linspace(0, 20, 50)
    assert np.abs(fitted.probability(grid) - truth.probability(grid)).max() < 0.08
    assert fitted.change_at(0.5) == pytest.approx(truth.change_at(0.5), abs=0.6)
    assert truth.probability(truth.change_at(0.3)) == pytest.approx(0.3)


def test_without_rates_it_is_the_logistic_regression_of_newton() -> None:
    changes, different = answers(PsychometricCurve(8.0, 2.0, 0.0, 0.0, answers=500))
    fitted = fit_psychometric_curve(changes, different, guess=0.0, lapse=0.0)
    design = np.stack([np.ones_like(changes), changes], axis=1)
    weights = np.zeros(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-design @ weights))
        weights += np.linalg.solve(design.T @ (design * (p * (1 - p))[:, np.newaxis]), design.T @ (different - p))
    assert fitted.centre == pytest.approx(-weights[0] / weights[1], rel=1e-3)
    assert fitted.width == pytest.approx(1 / weights[1], rel=1e-3)


def test_a_share_beyond_the_rates_is_never_reached() -> None:
    curve = PsychometricCurve(5.0, 1.0, guess=0.1, lapse=0.2, answers=1)
    assert [curve.change_at(share) for share in (0.05, 0.1, 0.8, 0.9)] == [-np.inf, -np.inf, np.inf, np.inf]


def test_bootstrap_interval_holds_the_truth_and_is_reproducible() -> None:
    truth = PsychometricCurve(8.0, 2.0, 0.0, 0.0, answers=400)
    changes, different = answers(truth)
    first = bootstrap_changes(changes, different, shares=(0.5, 0.999), guess=0.0, lapse=0.05, resamples=40, seed=3)
    second = bootstrap_changes(changes, different, shares=(0.5, 0.999), guess=0.0, lapse=0.05, resamples=40, seed=3)
    low, high = first[0.5]
    assert low < fit_psychometric_curve(changes, different, guess=0.0, lapse=0.05).change_at(0.5) < high
    assert 0.2 < high - low < 2.0
    assert first[0.5] == second[0.5]
    assert first[0.999] == (np.inf, np.inf)


def test_resamples_that_do_not_reach_a_share_widen_its_interval() -> None:
    # Near the share that hears everything, some of the resampled curves stay below.
    truth = PsychometricCurve(5.3, 1.8, 0.04, 0.15, answers=400)
    rng = np.random.default_rng(0)
    changes = rng.uniform(0, 14, 400)
    different = (rng.random(400) < truth.probability(changes)).astype(int)
    low, high = bootstrap_changes(changes.tolist(), different.tolist(), (0.83,), resamples=60)[0.83]
    assert np.isfinite(low) and low < truth.change_at(0.83) and high == np.inf


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="one answer per change"):
        fit_psychometric_curve([1.0, 2.0], [1])
    with pytest.raises(ValueError, match="0 .same. or 1"):
        fit_psychometric_curve([1.0, 2.0], [0, 2])
    with pytest.raises(ValueError, match="both answers"):
        fit_psychometric_curve([1.0, 2.0], [1, 1])
    with pytest.raises(ValueError, match="guess and lapse"):
        fit_psychometric_curve([1.0, 2.0], [0, 1], guess=0.7)
