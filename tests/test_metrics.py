"""Metrics against scipy, simulations and examples worked by hand."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from pathlib import Path

import evaluate
import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from jsqa_hf import metrics
from jsqa_hf.intervals import interval_calibration
from jsqa_hf.metrics import (
    condition_means,
    condition_metrics,
    fit_mapping,
    metric_intervals,
    monotonicity_violations,
    p1401_metrics,
    pair_ranking_accuracy,
)

MODULE = Path(__file__).parents[1] / "evaluate_modules" / "speech_quality"


def ratings(clips: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are squeezed and too high, and ratings."""
    rng = np.random.default_rng(seed)
    rated = rng.uniform(1, 5, clips)
    return 2.5 + 0.5 * rated + rng.normal(0, 0.3, clips), rated


def pairs_of(values: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(values, values), min_size=5, max_size=40)


scale = st.integers(100, 500).map(lambda hundredths: hundredths / 100)


def test_an_example_worked_by_hand() -> None:
    result = p1401_metrics([2.0, 2.0, 4.0, 4.0], [1.0, 3.0, 3.0, 5.0], [0.5, 0.5, 2.0, 0.25])
    assert (result["rmse"], result["mae"], result["n"]) == (1.0, 1.0, 4)
    # Errors of 1, of which 0.5, 0.5, 0 and 0.75 lie outside the intervals.
    assert result["rmse_star"] == pytest.approx(math.sqrt((0.25 + 0.25 + 0.5625) / 4))
    # The best line gives 2 and 4 again, and leaves 4 - 2 degrees of freedom.
    assert result["mapping_first_order"] == pytest.approx([0.0, 1.0])
    assert result["rmse_first_order"] == pytest.approx(math.sqrt(4 / 2))
    assert result["rmse_star_first_order"] == pytest.approx(math.sqrt(1.0625 / 2))
    # 4 units leave none after 4 coefficients.
    assert math.isnan(result["rmse_third_order"])
    # Covariance 1, variances 1 and 2 (divided by 4). Of 4 pairs that are not tied in the predictions, 3 agree and
    # one is tied in the ratings; 4 and 5 of 6 pairs are not tied.
    assert result["pcc"] == pytest.approx(1 / math.sqrt(2))
    assert result["kendall_tau"] == pytest.approx(3 / math.sqrt(4 * 5))


def test_correlations_and_the_first_order_mapping_are_those_of_scipy() -> None:
    predicted, rated = ratings()
    result = p1401_metrics(predicted, rated)
    pearson = stats.pearsonr(predicted, rated)
    assert result["pcc"] == pytest.approx(pearson.statistic)
    assert result["intervals_p1401"]["pcc"] == pytest.approx(list(pearson.confidence_interval(0.95)))
    assert result["srcc"] == pytest.approx(stats.spearmanr(predicted, rated).statistic)
    assert result["kendall_tau"] == pytest.approx(stats.kendalltau(predicted, rated).statistic)
    line = stats.linregress(predicted, rated)
    assert result["mapping_first_order"] == pytest.approx([line.intercept, line.slope])
    # scipy's standard error of the slope is the residual RMSE with n - 2 degrees of freedom over the spread of x.
    assert result["rmse_first_order"] == pytest.approx(line.stderr * math.sqrt(np.var(predicted) * len(rated)))


def test_the_interval_of_rmse_follows_the_table_of_chi_square() -> None:
    # Quantiles of chi-square with 10 degrees of freedom in printed tables: 3.247 and 20.483.
    expected = (math.sqrt(10 / 20.483), math.sqrt(10 / 3.247))
    assert metrics.rmse_interval(1.0, 10) == pytest.approx(expected, rel=1e-4)
    assert metrics.rmse_interval(1.0, 14, 4) == pytest.approx(expected, rel=1e-4)
    assert all(math.isnan(end) for end in metrics.rmse_interval(1.0, 4, 4))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = {"rmse": 0, "pcc": 0}
    for _ in range(1000):
        first, noise = rng.normal(size=(2, 30))
        low, high = metrics.rmse_interval(metrics.rmse(0.7 * noise), 30)
        held["rmse"] += low <= 0.7 <= high
        low, high = metrics.pcc_interval(float(np.corrcoef(first, 0.8 * first + 0.6 * noise)[0, 1]), 30)
        held["pcc"] += low <= 0.8 <= high
    # 950 expected, with a standard deviation of 7.
    assert all(925 <= count <= 975 for count in held.values()), held


def test_rmse_star_after_a_mapping_is_right_where_only_some_have_intervals() -> None:
    rng = np.random.default_rng(0)
    squares = []
    for _ in range(300):
        rated = rng.uniform(1, 5, 30)
        # With intervals of no width, RMSE* is the RMSE.
        result = p1401_metrics(rated + rng.normal(0, 0.3, 30), rated, np.where(np.arange(30) < 4, 0.0, np.nan))
        squares.append(
            [
                result[f"{name}{order}"] ** 2
                for order in ("_first_order", "_third_order")
                for name in ("rmse", "rmse_star")
            ]
        )
    all_first, some_first, all_third, some_third = np.sqrt(np.mean(squares, axis=0))
    assert some_first == pytest.approx(all_first, rel=0.05)
    assert some_third == pytest.approx(all_third, rel=0.05)


def test_the_interval_of_a_rating_is_that_of_students_t() -> None:
    votes = np.random.default_rng(1).integers(1, 6, 12)
    low, high = stats.ttest_1samp(votes, 0).confidence_interval(0.95)
    assert metrics.rating_ci95(votes.std(ddof=1), 12) == pytest.approx((high - low) / 2)
    assert np.isnan(metrics.rating_ci95([0.5, np.nan, 0.5, -1], [1, 8, np.nan, 8])).all()


def test_the_interval_of_a_condition_comes_from_all_its_votes() -> None:
    rng = np.random.default_rng(2)
    votes = [rng.integers(1, 6, number) for number in (5, 8, 1)]
    means = condition_means(
        ["b", "b", "b"],
        np.array([3.0, 4.0, 5.0]),
        np.array([one.mean() for one in votes]),
        std=np.array([votes[0].std(ddof=1), votes[1].std(ddof=1), np.nan]),
        n_votes=np.array([5, 8, 1]),
    )
    low, high = stats.ttest_1samp(np.concatenate(votes), 0).confidence_interval(0.95)
    assert means.ci95 == pytest.approx([(high - low) / 2])
    low, high = stats.ttest_1samp([3.0, 4.0, 5.0], 0).confidence_interval(0.95)
    assert means.predicted_ci95 == pytest.approx([(high - low) / 2])
    # -1 stands for one that isn't known.
    two = np.array([3.0, 4.0])
    assert np.isnan(condition_means(["b", "b"], two, two, std=np.array([0.5, -1.0]), n_votes=np.array([5, 8])).ci95)


def test_means_per_condition_keep_the_order_and_count_clips_alike() -> None:
    means = condition_means(["z", "a", "z"], np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 5.0]))
    assert means.names == ["z", "a"]
    assert means.predicted.tolist() == [2.5, 2.0]
    assert means.rated.tolist() == [3.5, 3.0]
    assert means.n_clips.tolist() == [2, 1]
    assert np.isnan(means.ci95).all()


def test_the_unit_of_the_ratings_changes_no_rank_of_conditions() -> None:
    tenths = np.array([11, 22, 33, 22, 22, 22, 30, 31, 35, 40, 41, 42])
    names = np.repeat(["a", "b", "c", "d"], 3)
    predicted = np.arange(12.0)
    units, tens = (
        condition_metrics(condition_means(names, predicted, rated)) for rated in (tenths / 10, 1.0 * tenths)
    )
    assert (units["srcc"], units["kendall_tau"]) == (tens["srcc"], tens["kendall_tau"])
    assert units["kendall_tau"] == pytest.approx(5 / math.sqrt(5 * 6))


def test_predictions_that_are_all_the_same_have_no_correlation_over_conditions() -> None:
    names = [number for number in range(10) for _ in range(number + 1)]
    _, rated = ratings(len(names))
    means = condition_means(names, np.full(len(names), 3.3), rated)
    assert all(math.isnan(condition_metrics(means)[name]) for name in ("pcc", "srcc", "kendall_tau"))


def test_clips_without_condition_rating_or_prediction_are_in_no_mean() -> None:
    missing = [None, float("nan"), pandas.NA, pandas.NaT]
    predicted = np.array([1.0, 3.0, np.nan, 2.0, *[5.0] * 4])
    rated = np.array([2.0, 4.0, 1.0, np.nan, *[1.0] * 4])
    means = condition_means(["a", ("b", None), "a", "c", *missing], predicted, rated)
    assert means.names == ["a", ("b", None)]
    assert means.predicted.tolist() == [1.0, 3.0]
    assert means.rated.tolist() == [2.0, 4.0]


def test_intervals_of_metrics_are_those_of_a_plain_loop_and_of_scipy() -> None:
    predicted, rated = ratings(60)
    rng = np.random.default_rng(1)
    draws: dict[str, list[float]] = {}
    for _ in range(1000):
        chosen = rng.integers(60, size=60)
        for name, value in metrics.mos_metrics(predicted[chosen], rated[chosen]).items():
            draws.setdefault(name, []).append(value)
    intervals = metric_intervals(predicted, rated)
    assert list(intervals) == ["rmse", "mae", "pcc", "srcc", "kendall_tau"]
    for name, (low, high) in intervals.items():
        assert (low, high) == pytest.approx(np.quantile(draws[name], [0.025, 0.975]), abs=0.15 * (high - low)), name
    method = stats.BootstrapMethod(n_resamples=2000, method="percentile", rng=np.random.default_rng(1))
    low, high = stats.pearsonr(predicted, rated).confidence_interval(method=method)
    assert intervals["pcc"] == pytest.approx((low, high), abs=0.15 * (high - low))


def test_intervals_of_metrics_depend_on_the_seed_and_the_clips_that_count_alone() -> None:
    predicted, rated = ratings(30)
    first = metric_intervals(predicted, rated, np.full(30, 0.1), resamples=100)
    assert "rmse_star" in first
    assert metric_intervals(predicted, rated, np.full(30, 0.1), resamples=100, seed=1) != first
    more = np.append(predicted, [3.0, np.nan]), np.append(rated, [np.nan, 3.0])
    assert metric_intervals(*more, np.full(32, 0.1), resamples=100) == first


def test_too_few_clips_or_groups_have_no_intervals() -> None:
    predicted, rated = ratings(60)
    assert metric_intervals(predicted[:20], rated[:20], resamples=20)
    assert metric_intervals(predicted[:19], rated[:19]) == {}
    assert metric_intervals(predicted, rated, groups=[index // 3 for index in range(60)], resamples=20)
    assert metric_intervals(predicted, rated, groups=[index % 19 for index in range(60)]) == {}
    assert metric_intervals(predicted, rated, resamples=0) == {}


def test_what_is_missing_is_left_out_and_counted() -> None:
    predicted, rated = ratings(30)
    whole = p1401_metrics(predicted, rated, np.full(30, 0.2))
    more = p1401_metrics(
        np.append(predicted, [3.0, np.nan, np.nan]),
        np.append(rated, [np.nan, 2.0, np.nan]),
        np.append(np.full(30, 0.2), [0.1, 0.1, 0.1]),
    )
    assert (more["n"], more["n_unrated"], more["n_unpredicted"]) == (30, 2, 1)
    assert more["rmse_star_third_order"] == whole["rmse_star_third_order"]
    widths = np.where(np.arange(30) < 10, 0.2, np.nan)
    some = p1401_metrics(predicted, rated, widths)
    assert some["n_rmse_star"] == 10
    assert some["rmse_star"] == metrics.rmse_star((predicted - rated)[:10], np.full(10, 0.2))
    assert some["rmse_third_order"] == whole["rmse_third_order"]
    assert math.isnan(p1401_metrics(predicted, rated)["rmse_star"])


def test_clips_without_prediction_are_left_out_and_infinities_refused_by_every_metric() -> None:
    predicted, rated = ratings(30)
    plain = metrics.mos_metrics(predicted, rated)
    for compute in (metrics.mos_metrics, p1401_metrics):
        more = compute(np.append(predicted, np.nan), np.append(rated, 3.0))
        assert {name: more[name] for name in plain} == plain
        with pytest.raises(ValueError, match="1 of 3 predictions are infinite"):
            compute([math.inf, 2.0, 3.0], [1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match="2 of 3 ratings are infinite"):
            compute([1.0, 2.0, 3.0], [-math.inf, math.inf, 3.0])
    variances = np.linspace(0.1, 0.2, 31)
    calibration = interval_calibration(np.append(predicted, np.nan), variances, np.append(rated, 3.0))
    assert calibration == interval_calibration(predicted, variances[:30], rated)


def test_columns_of_tables_and_lists_count_by_place_and_not_by_label() -> None:
    predicted, rated = ratings(60)
    table = pandas.DataFrame(
        {"condition": np.arange(60) % 20, "predicted": predicted, "rated": rated, "std": 0.8, "n_votes": 8}
    )
    # Shuffled, and with labels that are missing.
    table = table.sample(frac=1, random_state=0).iloc[:57]
    columns = [table[name] for name in table]

    def figures(condition, predicted, rated, std, n_votes):  # type: ignore[no-untyped-def]
        return (
            condition_means(condition, predicted, rated, std, n_votes),
            metric_intervals(predicted, rated, metrics.rating_ci95(std, n_votes), condition, resamples=100),
            metrics.mos_metrics(predicted, rated),
            p1401_metrics(predicted, rated, metrics.rating_ci95(std, n_votes)),
            pair_ranking_accuracy(predicted, rated, condition),
            monotonicity_violations(predicted, rated, condition),
            interval_calibration(predicted, n_votes, rated),
        )

    expected = figures(*(column.to_numpy() for column in columns))
    assert expected[1]
    np.testing.assert_equal(figures(*columns), expected)
    np.testing.assert_equal(figures(*(column.tolist() for column in columns)), expected)


def test_the_impossible_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        p1401_metrics([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="don't fit"):
        p1401_metrics([1.0, 2.0], [1.0, 2.0], [0.1])
    with pytest.raises(ValueError, match="too few"):
        fit_mapping(np.arange(3.0), np.arange(3.0), 3)
    with pytest.raises(ValueError, match="order 1 or 3"):
        fit_mapping(np.arange(3.0), np.arange(3.0), 2)  # type: ignore[arg-type]


def test_a_cubic_that_rises_by_itself_is_the_unconstrained_one() -> None:
    predicted = np.random.default_rng(4).uniform(1, 5, 200)
    rated = 0.3 * predicted + 0.1 * (predicted - 2) ** 3 + 0.2 * ratings(200)[1]
    mapping = fit_mapping(predicted, rated, 3)
    np.testing.assert_allclose(mapping.convert().coef, np.polyfit(predicted, rated, 3)[::-1], rtol=1e-6)


def constrained_error(predicted: np.ndarray, rated: np.ndarray) -> float:
    """Least mean square error of a cubic whose slope is not negative at 400 places, by another solver."""
    x = 2 * (predicted - predicted.min()) / np.ptp(predicted) - 1
    places = np.linspace(-1, 1, 400)
    slopes = np.stack([np.zeros(400), np.ones(400), 2 * places, 3 * places**2], axis=1)
    powers = np.vander(x, 4, increasing=True)
    found = optimize.minimize(
        lambda c: np.mean((powers @ c - rated) ** 2),
        x0=[rated.mean(), 0.1, 0.0, 0.1],
        jac=lambda c: 2 * powers.T @ (powers @ c - rated) / len(rated),
        constraints={"type": "ineq", "fun": lambda c: slopes @ c, "jac": lambda _: slopes},
        options={"ftol": 1e-12, "maxiter": 500},
        method="SLSQP",
    )
    assert found.success
    return float(found.fun)


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hill": lambda x: -((x - 3) ** 2),
    "valley late": lambda x: (x - 2.0) ** 2,
    "wave": lambda x: np.sin(3 * x),
    "step": lambda x: np.where(x > 3, 4.0, 2.0),
    "falling": lambda x: 5 - x,
    "falling in the middle": lambda x: (x - 3) ** 3 - (x - 3),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cubic_that_would_fall_is_the_best_that_does_not(shape: str) -> None:
    rng = np.random.default_rng(3)
    predicted = rng.uniform(1, 5, 50)
    rated = SHAPES[shape](predicted) + rng.normal(0, 0.1, 50)
    mapping = fit_mapping(predicted, rated, 3)
    assert np.diff(mapping(np.linspace(predicted.min(), predicted.max(), 1000))).min() > -1e-9
    expected = constrained_error(predicted, rated)
    assert np.mean((mapping(predicted) - rated) ** 2) == pytest.approx(expected, rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(pairs_of(scale))
def test_mappings_never_fall_and_more_freedom_never_fits_worse(pairs: list[tuple[float, float]]) -> None:
    predicted, rated = np.array(pairs).T
    places = np.linspace(predicted.min(), predicted.max(), 300)
    errors = [np.sum((rated - rated.mean()) ** 2)]
    for order in (1, 3):
        mapping = fit_mapping(predicted, rated, order)  # type: ignore[arg-type]
        assert np.diff(mapping(places)).min() >= -1e-6
        errors.append(np.sum((mapping(predicted) - rated) ** 2))
    assert errors[0] >= errors[1] - 1e-6
    # The slopes of the third order are tried at places that a line needs not be a mixture of; see fit_mapping.
    assert errors[1] * 1.001 >= errors[2] - 1e-6


@settings(deadline=None, max_examples=30)
@given(pairs_of(scale), st.floats(0.0, 2.0))
def test_rmse_star_is_never_above_rmse_and_falls_with_width(pairs: list[tuple[float, float]], width: float) -> None:
    predicted, rated = np.array(pairs).T
    errors = predicted - rated
    narrow, wide = (metrics.rmse_star(errors, np.full(len(errors), value)) for value in (width, width + 0.5))
    assert wide <= narrow <= metrics.rmse(errors)
    assert metrics.rmse_star(errors, np.zeros(len(errors))) == pytest.approx(metrics.rmse(errors))


def test_ranking_accuracy_without_ties_is_kendalls_tau_on_another_scale() -> None:
    predicted, rated = ratings()
    result = pair_ranking_accuracy(predicted, rated)
    assert result.accuracy == pytest.approx((stats.kendalltau(predicted, rated).statistic + 1) / 2)
    assert result.n_pairs == 60 * 59 // 2


def test_ranking_counts_pairs_of_a_group_that_differ_as_asked() -> None:
    predicted = [1.0, 2.0, 2.0, 9.0, 8.0, math.nan]
    rated = [1.0, 1.4, 3.0, 1.0, 2.0, 1.5]
    groups = ["a", "a", "a", "b", "b", "b"]
    # a: right, right, tied; b: wrong.
    assert pair_ranking_accuracy(predicted, rated, groups) == ((1 + 1 + 0.5 + 0) / 4, 4)
    assert pair_ranking_accuracy(predicted, rated, groups, difference=(0.0, 0.5)) == (1.0, 1)
    assert pair_ranking_accuracy(predicted, rated, groups, difference=(1.0, 9.0)) == (0.75, 2)
    assert math.isnan(pair_ranking_accuracy([1.0], [1.0]).accuracy)
    for missing in (None, math.nan, pandas.NA):
        assert pair_ranking_accuracy(predicted, rated, ["a", "a", "a", missing, missing, missing]).n_pairs == 3
    # In binary these are not 0.5 apart.
    assert pair_ranking_accuracy([1.0, 2.0], [1.7, 2.2], difference=(0.0, 0.5)) == (1.0, 1)
    assert pair_ranking_accuracy([1.0, 2.0], [1.7, 2.2], difference=(0.5, 1.0))[1] == 0
    with pytest.raises(ValueError, match="don't fit"):
        pair_ranking_accuracy([1.0], [1.0, 2.0])


def test_monotonicity_counts_rises_from_one_severity_to_the_next() -> None:
    scores = [4.0, 3.0, 3.5, 1.0, 2.0, 1.5, math.nan]
    severities = [0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0]
    series = ["a", "a", "a", "a", "b", "b", "b"]
    result = monotonicity_violations(scores, severities, series)
    assert result == (pytest.approx(1 / 4), 0.5, 0.5, 4, 2)
    assert monotonicity_violations(scores, severities, series, tolerance=0.5).rate == 0
    # 2.0 and 4.0 at the same severity are 3.0.
    assert monotonicity_violations([2.0, 4.0, 2.5], [1.0, 1.0, 2.0]) == (0.0, 0.0, 0.0, 1, 1)
    assert math.isnan(monotonicity_violations([], []).rate)
    with pytest.raises(ValueError, match="tolerance"):
        monotonicity_violations([1.0], [1.0], tolerance=-1.0)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> evaluate.EvaluationModule:
    """The metric as a user loads it from a checkout."""
    return evaluate.load(str(MODULE), cache_dir=str(tmp_path_factory.mktemp("evaluate")))


def test_the_evaluate_module_gives_the_same_figures(module: evaluate.EvaluationModule) -> None:
    predicted, rated = ratings()
    rated[3] = np.nan
    computed = module.compute(predictions=predicted, references=rated)
    assert computed == metrics.mos_metrics(predicted, rated)
    std, n_votes = np.full(60, 0.8), np.full(60, 10)
    computed = module.compute(predictions=predicted, references=rated, p1401=True, mos_std=std, n_votes=n_votes)
    expected = p1401_metrics(predicted, rated, metrics.rating_ci95(std, n_votes))
    assert computed == expected
    assert computed["n_rmse_star"] == 59


def test_the_evaluate_module_averages_conditions(module: evaluate.EvaluationModule) -> None:
    predicted, rated = ratings()
    names = [f"c{index % 12}" for index in range(60)]
    means = condition_means(names, predicted, rated)
    computed = module.compute(predictions=predicted, references=rated, p1401=True, conditions=names)
    expected = condition_metrics(means)
    np.testing.assert_equal(computed, expected)
    assert computed["n"] == 12
    with pytest.raises(ValueError, match="1 clips, or conditions, have a rating and a prediction"):
        module.compute(predictions=predicted, references=rated, conditions=["c"] * 60)
    with pytest.raises(ValueError, match="5 conditions for 60 clips: give one of each per clip"):
        module.compute(predictions=predicted, references=rated, conditions=names[:5])
    with pytest.raises(ValueError, match="59 mos_std for 60 clips: give one of each per clip"):
        module.compute(predictions=predicted, references=rated, mos_std=rated[1:], n_votes=rated)
    # Of any kind, and not of every clip.
    some = pandas.Series([None if name == "c3" else (name, 1) for name in names])
    without = module.compute(predictions=predicted, references=rated, conditions=some)
    kept = [index for index, name in enumerate(names) if name != "c3"]
    means = condition_means([names[index] for index in kept], predicted[kept], rated[kept])
    assert without == metrics.mos_metrics(means.predicted, means.rated)


def test_the_evaluate_module_leaves_out_clips_without_prediction(module: evaluate.EvaluationModule) -> None:
    predicted, rated = ratings()
    predicted[5] = np.nan
    for options in ({}, {"p1401": True}):
        computed = module.compute(predictions=predicted, references=rated, **options)
        assert computed["n"] == 59
        assert computed["rmse"] == metrics.mos_metrics(np.delete(predicted, 5), np.delete(rated, 5))["rmse"]


def test_the_page_of_the_evaluate_module_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.syspath_prepend(str(MODULE))
    made = runpy.run_path(str(MODULE / "app.py"))
    assert made["compute"](made["EXAMPLE"])["n"] == 4
    assert made["compute"]([*made["EXAMPLE"], ["", ""], [None, 3.0], [2.0, ""]])["n"] == 4
    assert made["page"].fn is made["compute"]
