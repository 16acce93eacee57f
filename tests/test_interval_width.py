"""Intervals that hold as many ratings as they promise."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from test_head_start import make, rated_noise

from jsqa_hf import JSQAForMOSRegression
from jsqa_hf.training import MOSCollator, widen_intervals
from jsqa_hf.training.interval_width import _shift
from jsqa_hf.windowed_scores import interval_ends


def coverage_of(model: JSQAForMOSRegression, rows: list[dict[str, Any]], collator: MOSCollator) -> float:
    """Share of the ratings inside the 95 % interval that scoring gives."""
    batch = collator(rows)
    with torch.no_grad():
        output = model.eval()(batch["input_values"], batch["attention_mask"])
    config = model.config
    low, high = interval_ends(
        output.scores.numpy(), output.variances.numpy(), config.mos_score_range, 0.95, config.mos_panel_std
    )
    labels = batch["labels"].numpy()
    return float(((low <= labels) & (labels <= high)).mean())


@pytest.mark.parametrize("bias", [-8.0, 4.0])
@pytest.mark.parametrize("coverage", [0.5, 0.95])
def test_too_narrow_and_too_wide_intervals_hold_that_share_afterwards(bias: float, coverage: float):
    rows = rated_noise(40)
    model, collator = make()
    with torch.no_grad():
        model.head.output.bias[1] = bias
    before = coverage_of(model, rows, collator)
    scores = model(**{name: collator(rows)[name] for name in ("input_values", "attention_mask")}).scores
    shifts = widen_intervals(model, rows, collator, coverage=coverage)
    assert coverage - 1e-6 <= coverage_of(model, rows, collator) <= coverage + 1 / 40 + 1e-6
    assert before < coverage or shifts["mos"] < 0
    after = model(**{name: collator(rows)[name] for name in ("input_values", "attention_mask")}).scores
    torch.testing.assert_close(after, scores)
    # Again there is nothing left to do.
    assert widen_intervals(model, rows, collator, coverage=coverage)["mos"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("clips", [4, 20])
@pytest.mark.parametrize("panel_std", [0.0, 0.3])
def test_no_clip_that_should_be_held_falls_outside_by_rounding(clips: int, panel_std: float):
    rows = rated_noise(clips)
    model, collator = make(mos_panel_std=panel_std)
    with torch.no_grad():
        model.head.output.bias[1] = -8
    widen_intervals(model, rows, collator)
    assert coverage_of(model, rows, collator) >= 0.95


# An interval of the panel's deviation alone, 0.196, holds 20.
@pytest.mark.parametrize(("coverage", "clips"), [(0.07, 20), (0.55, 55), (0.95, 95), (0.999, 100)])
def test_the_share_is_held_without_a_clip_more(coverage: float, clips: int):
    errors, panel = np.random.default_rng(0).permutation(np.linspace(0.1, 0.6, 100)), 0.01
    shift = _shift(errors, np.zeros(100), coverage, panel)
    deviations = np.sqrt(1e-4 + (0.25 - 1e-4) / (1 + np.exp(-shift)) + panel)
    assert np.count_nonzero(errors <= NormalDist().inv_cdf(0.975) * deviations) == clips


def test_an_output_that_nobody_rated_stays_as_it_is():
    model, collator = make(mos_output_names=["mos", "noisiness"])
    rows = [{**row, "labels": [row["labels"][0], np.nan]} for row in rated_noise(12)]
    before = model.head.output.bias.detach().clone()
    assert set(widen_intervals(model, rows, collator)) == {"mos"}
    changed = (model.head.output.bias != before).tolist()
    assert changed == [False, False, True, False]


def test_a_coverage_that_is_no_share_is_refused():
    model, collator = make()
    with pytest.raises(ValueError, match="between 0 and 1"):
        widen_intervals(model, rated_noise(4), collator, coverage=95)
