from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsqa_hf.jnd import SNR_THRESHOLD, Threshold

KNOTS = ((20.0, 20.0), (30.0, 28.0), (40.0, 32.5))


def threshold(**changes: Any) -> Threshold:
    arguments: dict[str, Any] = {"just_noticeable": 2.0, "clearly_different": 5.0} | changes
    return Threshold(quantity="SNR", unit="dB", source="a test", **arguments)


@settings(deadline=None)
@given(
    value=st.floats(1, 100),
    step=st.floats(0.01, 20),
    scale=st.sampled_from(["linear", "log"]),
    growth=st.sampled_from([(), KNOTS]),
    growing=st.booleans(),
)
def test_positions_rise_with_the_values_and_can_be_inverted(
    value: float, step: float, scale: Any, growth: Any, growing: bool
) -> None:
    one = threshold(scale=scale, growth=growth)
    positions = one.position([value, value + step], growing=growing)
    assert positions[1] > positions[0]
    np.testing.assert_allclose(one.value(positions, growing=growing), [value, value + step])


def test_one_unit_is_one_jnd() -> None:
    assert threshold().jnds_between(10.0, 15.0) == pytest.approx(2.5)
    ratio = threshold(just_noticeable=1.1, clearly_different=1.5, scale="log")
    assert ratio.jnds_between(100.0, 110.0) == pytest.approx(1.0)
    assert ratio.jnds_between(1100.0, 1000.0) == pytest.approx(1.0)
    assert ratio.clear_jnds == pytest.approx(np.log(1.5) / np.log(1.1))


def test_growth_makes_steps_count_less_between_its_knots_only() -> None:
    one = threshold(growth=KNOTS)
    assert one.jnds_between(10.0, 20.0) == pytest.approx(5.0)
    assert one.jnds_between(20.0, 30.0) == pytest.approx(4.0)
    assert one.jnds_between(30.0, 40.0) == pytest.approx(2.25)
    assert one.jnds_between(40.0, 50.0) == pytest.approx(5.0)
    assert one.position(40.0, growing=False) - one.position(30.0, growing=False) == pytest.approx(5.0)


def test_steps_of_the_user_are_no_longer_those_of_the_source() -> None:
    changed = SNR_THRESHOLD.with_steps(1.0, None)
    assert (changed.just_noticeable, changed.clearly_different) == (1.0, 8.0)
    assert changed.assumption and not SNR_THRESHOLD.assumption
    assert SNR_THRESHOLD.with_steps(None, None) is SNR_THRESHOLD


@pytest.mark.parametrize(
    "changes",
    [
        {"just_noticeable": 0.0},
        {"clearly_different": 2.0},
        {"just_noticeable": 0.9, "scale": "log"},
        {"growth": ((20.0, 20.0), (30.0, 31.0))},
        {"growth": ((20.0, 20.0), (30.0, 20.0))},
    ],
)
def test_senseless_thresholds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of SNR must"):
        threshold(**changes)
