from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threshold_tables import fit_as_json, fits_as_markdown, suggestions_as_markdown

from jsqa_hf.jnd import Threshold
from jsqa_hf.jnd.calibration import Calibration
from jsqa_hf.jnd.distortions import Distorted, Distortion, Draw, Stage
from jsqa_hf.jnd.judges import Judge
from jsqa_hf.jnd.levels import rms_level
from jsqa_hf.jnd.threshold_fit import fit_threshold

SAMPLING_RATE = 16000
# The judge finds a step of the SNR by s dB as large as s / 3 dB of level: 1 dB is just noticeable, 8/3 dB is clear.
CALIBRATION = Calibration("level", (3.0, 9.0, 30.0), (1.0, 9.0, 100.0), (1.0,) * 3, (1.0,) * 3, pairs=1)


class LevelJudge(Judge):
    name = "level"
    sampling_rate = SAMPLING_RATE

    def _measure(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        return (rms_level(first) - rms_level(second)) ** 2


class Attenuation(Distortion):
    """Attenuates, by no more than its severity in dB from 20 dB on: half of it then counts."""

    name = "attenuation"
    summary = "quieter"
    stage = Stage.LEVEL
    threshold = Threshold("attenuation", "dB", 2.0, 5.0, "made up for this test", assumption=True)
    severity_range = (0.0, 40.0)
    sets_level = True

    def gain_db(self, severity: float) -> float:
        return -min(severity, 20.0) - max(0.0, severity - 20.0) / 2

    def distort(
        self, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        return [Distorted(speech * 10 ** (self.gain_db(severity) / 20), {}) for severity in severities]


class Plain(Attenuation):
    def gain_db(self, severity: float) -> float:
        return -severity


class Saturating(Attenuation):
    """Attenuates by hardly more from 15 dB on."""

    def gain_db(self, severity: float) -> float:
        return -min(severity, 15.0) - max(0.0, severity - 15.0) / 20


class Ratio(Attenuation):
    """A factor of 2 attenuates by 4 dB."""

    threshold = Threshold("gain", "", 1.2, 1.6, "made up for this test", assumption=True, scale="log")
    severity_range = (1.0, 32.0)

    def gain_db(self, severity: float) -> float:
        return -4 * float(np.log2(severity))


class Switch(Plain):
    severity_grid = (0.0, 2.0, 4.0, 10.0)
    severity_range = (0.0, 10.0)
    discrete = True


def speech(count: int = 2) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    return [0.05 * rng.standard_normal(SAMPLING_RATE // 3) for _ in range(count)]


def test_steps_that_are_as_large_to_the_judge_are_found() -> None:
    fit = fit_threshold(Plain(), speech(), LevelJudge(), CALIBRATION, SAMPLING_RATE)
    assert [step.just_noticeable for step in fit.steps] == pytest.approx([1.0] * 6, rel=1e-3)
    assert [step.clearly_different for step in fit.steps] == pytest.approx([8 / 3] * 6, rel=1e-3)
    assert fit.just_noticeable == pytest.approx(1.0, rel=1e-3)
    assert fit.clearly_different == pytest.approx(8 / 3, rel=1e-3)
    assert fit.growth == ()
    # The utterances do not matter to this judge, so the intervals are narrow.
    assert all(high - low < 0.01 for step in fit.steps for low, high in [step.clearly_different_interval])


def test_steps_on_a_logarithmic_scale_are_ratios() -> None:
    fit = fit_threshold(Ratio(), speech(), LevelJudge(), CALIBRATION, SAMPLING_RATE)
    assert fit.just_noticeable == pytest.approx(2 ** (1 / 4), rel=1e-3)
    assert fit.clearly_different == pytest.approx(2 ** (8 / 3 / 4), rel=1e-3)


def test_growth_of_the_steps_goes_into_a_threshold_that_keeps_every_step_clear() -> None:
    fit = fit_threshold(Attenuation(), speech(), LevelJudge(), CALIBRATION, SAMPLING_RATE)
    assert fit.steps[0].just_noticeable == pytest.approx(1.0, rel=1e-3)
    assert fit.steps[-1].just_noticeable == pytest.approx(2.0, rel=1e-3)
    assert fit.just_noticeable == pytest.approx(1.0, rel=1e-3)
    threshold = Threshold(
        "attenuation", "dB", fit.just_noticeable, fit.clearly_different, "fitted", growth=fit.growth, assumption=True
    )
    for low in np.linspace(0, 34, 18):
        position = float(threshold.position(low)) + threshold.clear_jnds
        high = float(threshold.value(position))
        heard = abs(Attenuation().gain_db(high) - Attenuation().gain_db(float(low)))
        assert heard >= 8 / 3 * 0.9
    # But not by much more than is needed, either.
    assert float(threshold.value(threshold.clear_jnds)) < 8 / 3 * 1.5


def test_discrete_severities_are_compared_with_each_other_only() -> None:
    fit = fit_threshold(Switch(), speech(1), LevelJudge(), CALIBRATION, SAMPLING_RATE)
    assert [step.severity for step in fit.steps] == [0.0, 2.0, 4.0]
    assert [step.clearly_different for step in fit.steps] == pytest.approx([8 / 3] * 3, rel=1e-3)


def test_a_step_that_the_range_does_not_hold_is_infinite() -> None:
    narrow = Plain(severity_range=(0.0, 2.0))
    fit = fit_threshold(narrow, speech(2), LevelJudge(), CALIBRATION, SAMPLING_RATE)
    assert fit.just_noticeable == pytest.approx(1.0, rel=1e-3)
    assert np.isinf([step.clearly_different for step in fit.steps]).all() and np.isinf(fit.clearly_different)
    assert fit_as_json(fit)["clearly_different"] is None
    assert [step.remaining for step in fit.steps] == pytest.approx(
        [(2.0 - step.severity) * 3 / 8 for step in fit.steps], rel=1e-3
    )
    assert "beyond the range" in fits_as_markdown([fit])
    assert "| attenuation | 2 dB | 1 dB | 5 dB | beyond the range | none | none |" in suggestions_as_markdown([fit])


def test_where_the_range_holds_no_clear_step_the_growth_leaves_room_for_none() -> None:
    fit = fit_threshold(Saturating(), speech(2), LevelJudge(), CALIBRATION, SAMPLING_RATE)
    assert np.isinf(fit.steps[-1].clearly_different)
    threshold = Threshold(
        "attenuation", "dB", fit.just_noticeable, fit.clearly_different, "fitted", growth=fit.growth, assumption=True
    )
    room = threshold.position(40.0) - threshold.position([step.severity for step in fit.steps])
    assert ((room < threshold.clear_jnds) == [np.isinf(step.clearly_different) for step in fit.steps]).all()


def test_fit_is_reproducible_and_checks_its_arguments() -> None:
    first, second = (
        fit_threshold(Attenuation(), speech(), LevelJudge(), CALIBRATION, SAMPLING_RATE, seed=4) for _ in range(2)
    )
    assert first == second
    with pytest.raises(ValueError, match="needs speech"):
        fit_threshold(Plain(), [], LevelJudge(), CALIBRATION)
    other = Calibration("pesq", (3.0,), (1.0,), (1.0,), (1.0,), pairs=1)
    with pytest.raises(ValueError, match="calibration is of pesq"):
        fit_threshold(Plain(), speech(1), LevelJudge(), other)
