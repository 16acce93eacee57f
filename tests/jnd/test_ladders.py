from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd import LadderSampler, Threshold

PLAIN = Threshold("SNR", "dB", 3.0, 8.0, "a test")
CUT_OFF = Threshold("cut-off", "Hz", 1.2, 1.7, "a test", scale="log")
GROWING = Threshold("SNR", "dB", 3.0, 8.0, "a test", growth=((20.0, 20.0), (80.0, 50.0)))


def many(sampler: LadderSampler, count: int = 2000) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.stack([sampler.sample(rng) for _ in range(count)])


def smallest_step(ladder: NDArray[np.float64]) -> float:
    """Smallest difference between values of different levels."""
    return min(
        float(np.abs(ladder[one][:, None] - ladder[other]).min()) for one in range(len(ladder)) for other in range(one)
    )


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    levels=st.integers(2, 4),
    jnd_db=st.floats(0.1, 3),
    extra_step_db=st.floats(0.1, 6),
    extra_range_db=st.floats(0, 20),
    partner=st.sampled_from(["uniform", "signed", "at_threshold"]),
)
def test_pairs_stay_within_the_jnd_the_levels_apart_and_all_within_the_range(
    seed: int, levels: int, jnd_db: float, extra_step_db: float, extra_range_db: float, partner: Any
) -> None:
    step_db = jnd_db + extra_step_db
    high = -5 + levels * jnd_db + (levels - 1) * step_db + extra_range_db + 1e-6
    threshold = PLAIN.with_steps(jnd_db, step_db)
    snrs = LadderSampler(threshold, (-5.0, high), levels, partner).sample(np.random.default_rng(seed))
    assert snrs.shape == (levels, 2)
    assert np.abs(snrs[:, 0] - snrs[:, 1]).max() <= jnd_db + 1e-9
    assert snrs.min() >= -5 and snrs.max() <= high
    assert smallest_step(snrs) >= step_db - 1e-9


def test_uniform_differences_have_both_signs_and_levels_come_in_any_order() -> None:
    snrs = many(LadderSampler(PLAIN, (-5.0, 40.0), 2), 4000)
    counts, _ = np.histogram(snrs[..., 0] - snrs[..., 1], bins=6, range=(-3, 3))
    assert counts.sum() == 8000
    assert np.abs(counts / counts.mean() - 1).max() < 0.15
    assert np.mean(snrs[:, 0, 0] < snrs[:, 1, 0]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("worse", "sign"), [("lower", -1), ("higher", 1)])
def test_signed_partners_are_the_worse_ones(worse: Any, sign: int) -> None:
    differences = np.diff(many(LadderSampler(PLAIN, (-5.0, 40.0), 2, "signed", worse=worse)), axis=2) * sign
    assert differences.min() >= 0 and differences.max() > 2.8
    assert differences.mean() == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "expected"), [(("at_threshold",), 3.0), (("fixed", 1.5), 1.5), (("fixed", 0.0), 0.0)]
)
def test_partners_at_a_fixed_difference(arguments: tuple[Any, ...], expected: float) -> None:
    differences = np.diff(many(LadderSampler(PLAIN, (-5.0, 40.0), 2, *arguments)), axis=2)
    np.testing.assert_allclose(np.abs(differences), expected, atol=1e-9)
    if expected:
        assert np.mean(differences > 0) == pytest.approx(0.5, abs=0.05)


def test_single_level_covers_the_range_evenly() -> None:
    snrs = many(LadderSampler(PLAIN.with_steps(0.1, 8.0), (0.0, 40.0), 1), 4000)
    counts, _ = np.histogram(snrs, bins=8, range=(0, 40))
    assert np.abs(counts / counts.mean() - 1).max() < 0.15


def test_steps_of_a_logarithmic_scale_are_ratios() -> None:
    ladders = many(LadderSampler(CUT_OFF, (500.0, 8000.0), 3))
    logarithms = np.log(ladders)
    assert np.exp(np.abs(np.diff(logarithms, axis=2)).max()) == pytest.approx(1.2, rel=0.01)
    assert min(smallest_step(ladder) for ladder in logarithms) >= np.log(1.7) - 1e-9
    # As many octaves from 500 to 2000 Hz as from 2000 to 8000.
    assert np.mean(ladders < 2000) == pytest.approx(0.5, abs=0.05)


def test_levels_are_further_apart_where_steps_are_less_audible_but_pairs_are_not() -> None:
    snrs = many(LadderSampler(GROWING, (0.0, 80.0), 2))
    assert np.abs(np.diff(snrs, axis=2)).max() <= 3 + 1e-9
    noisy = np.array([smallest_step(ladder) for ladder in snrs if ladder.max() <= 20])
    clean = np.array([smallest_step(ladder) for ladder in snrs if ladder.min() >= 20])
    assert noisy.min() == pytest.approx(8, abs=0.3)
    assert 16 - 1e-9 <= clean.min() < 17
    growing = many(LadderSampler(GROWING, (0.0, 80.0), 2, growing_jnd=True))
    assert np.abs(np.diff(growing, axis=2)).max() == pytest.approx(6, abs=0.3)


def test_first_of_a_pair_comes_from_the_grid() -> None:
    grid = (-5.0, 5.0, 15.0, 25.0, 40.0)
    snrs = many(LadderSampler(PLAIN, (-5.0, 40.0), 2, grid=grid))
    assert np.isin(snrs, grid).any(axis=2).all()
    assert set(snrs[np.isin(snrs, grid)]) == set(grid)
    assert snrs.min() >= -5 and snrs.max() <= 40
    assert np.abs(np.diff(snrs, axis=2)).max() <= 3 + 1e-9
    assert min(smallest_step(ladder) for ladder in snrs) >= 8 - 1e-9


def test_discrete_severities_pair_modes_within_the_jnd_and_repeat_one_that_stands_alone() -> None:
    modes = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2, 64.0)
    threshold = Threshold("bit rate", "kbit/s", 1.2, 1.6, "a test", scale="log")
    ladders = many(LadderSampler(threshold, (4.75, 64.0), 2, grid=modes, discrete=True))
    assert np.isin(ladders, modes).all()
    ratios = ladders.max(axis=2) / ladders.min(axis=2)
    assert ratios.max() <= 1.2
    assert (ratios[(ladders == 64.0).any(axis=2)] == 1).all()
    assert (ratios[(ladders != 64.0).all(axis=2)] > 1).all()
    assert min(smallest_step(ladder) for ladder in np.log(ladders)) >= np.log(1.6) - 1e-9


def test_too_small_a_range_says_what_is_needed() -> None:
    with pytest.raises(
        ValueError, match=r"3 levels of one JND \(3 dB\) with steps of 8 dB need 8.33.*widen the range"
    ):
        LadderSampler(PLAIN, (0.0, 24.9), 3)
    with pytest.raises(ValueError, match="no 3 values of the grid"):
        LadderSampler(PLAIN, (0.0, 40.0), 3, grid=(0.0, 20.0, 30.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, "at least 1 level"),
        ({"partner": "any"}, "partner must be one of"),
        ({"partner": "fixed"}, "partner_step goes with"),
        ({"partner_step": 1.0}, "partner_step goes with"),
        ({"partner": "fixed", "partner_step": 3.5}, "one JND"),
        ({"partner": "fixed", "partner_step": -1.0}, "one JND"),
        ({"discrete": True}, "need a grid"),
    ],
)
def test_senseless_ladders_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LadderSampler(PLAIN, (-5.0, 40.0), **arguments)


@pytest.mark.parametrize("partner", ["uniform", "at_threshold"])
@pytest.mark.parametrize("grid", [None, (10.0, 18.0, 21.0, 35.0, 50.0)])
def test_no_pair_reaches_into_a_jump_or_across_it(partner: Any, grid: Any) -> None:
    jump = (20.0, 22.0)
    ladders = many(LadderSampler(PLAIN, (0.0, 60.0), 2, partner, grid=grid, jumps=(jump,)))
    below, above = (ladders <= jump[0]).all(axis=2), (ladders >= jump[1]).all(axis=2)
    assert (below | above).all()
    assert below.any() and above.any() and (below.any(axis=1) & above.any(axis=1)).any()


def test_a_range_without_a_place_beside_the_jumps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between 20 and 30 dB the sound changes.* up to 20 or one from 30 on"):
        LadderSampler(PLAIN, (19.0, 31.0), 1, "at_threshold", jumps=((20.0, 30.0),))


@pytest.mark.parametrize("partner", ["uniform", "at_threshold"])
@pytest.mark.parametrize("threshold", [PLAIN, CUT_OFF])
def test_partners_of_a_grid_stay_within_a_narrow_range(threshold: Threshold, partner: Any) -> None:
    ladders = many(LadderSampler(threshold, (10.0, 11.5), 1, partner, grid=(10.6,)), 200)
    assert ladders.min() >= 10 and ladders.max() <= 11.5
    assert np.ptp(ladders, axis=2).max() > 0.5
