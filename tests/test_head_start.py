"""The MOS head that starts from a linear regression: what it predicts, beside an independent ridge."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from small import small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.training.head_start import _ridge, fit_head
from jsqa_hf.training.mos_collators import MOSCollator

RATE = 16000


def rated_noise(clips: int = 24, outputs: int = 1) -> list[dict[str, Any]]:
    """Noise, the better rated the softer it is."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(clips):
        level = index / clips
        samples = (0.1 * (1 - level) + 1e-3) * rng.standard_normal(RATE // 2)
        audio = {"bytes": _wav(samples), "path": None}
        rows.append({"audio": audio, "file": f"{index}.wav", "labels": [1.5 + 3 * level] * outputs})
    return rows


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def make(**kwargs: Any) -> tuple[JSQAForMOSRegression, MOSCollator]:
    torch.manual_seed(0)
    return JSQAForMOSRegression(small_config(**kwargs)), MOSCollator(JSQAFeatureExtractor())


def test_the_regression_is_that_of_an_independent_implementation():
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((30, 12)) * np.arange(1, 13)
    targets = inputs[:, 0] - 2 + rng.standard_normal(30)
    weights, intercept, left_out = _ridge(inputs, targets, [3.0])
    theirs = Ridge(alpha=3.0).fit(inputs, targets)
    assert weights == pytest.approx(theirs.coef_) and intercept == pytest.approx(theirs.intercept_)
    # The mean of the inputs is that of all clips here, and of those left in there.
    assert left_out == pytest.approx(cross_val_predict(Ridge(alpha=3.0), inputs, targets, cv=LeaveOneOut()), abs=0.05)


def test_the_strength_is_the_one_that_predicts_best_what_was_left_out():
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((40, 60))
    targets = rng.standard_normal(40)
    weights, _, _ = _ridge(inputs, targets)
    # There is nothing to find.
    assert np.abs(weights).max() < 0.05


def test_the_head_rates_at_once_what_it_was_fitted_to():
    model, collator = make()
    rows = rated_noise()
    (error,) = fit_head(model, rows, collator)
    batch = collator(rows)
    with torch.no_grad():
        output = model.eval()(batch["input_values"], batch["attention_mask"])
    rated = batch["labels"][:, 0]
    assert torch.corrcoef(torch.stack([output.scores[:, 0], rated]))[0, 1] > 0.9
    # The ratings vary by 0.87.
    assert 0 < error < 0.6 and float((output.scores[:, 0] - rated).square().mean().sqrt()) <= error
    assert output.variances.sqrt().flatten().tolist() == pytest.approx([error] * len(rows), rel=0.05)


def test_only_the_head_changes_and_the_same_for_the_same_seed():
    results = []
    for _ in range(2):
        model, collator = make()
        before = {name: value.clone() for name, value in model.jsqa.state_dict().items()}
        fit_head(model.train(), rated_noise(), collator, seed=3)
        assert model.training
        assert all(torch.equal(value, before[name]) for name, value in model.jsqa.state_dict().items())
        results.append(model.head.state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_an_output_may_lack_ratings_but_not_all():
    model, collator = make(mos_output_names=["mos", "noisiness"])
    rows = rated_noise(outputs=2)
    for row in rows[1::2]:
        row["labels"] = [row["labels"][0], float("nan")]
    assert len(fit_head(model, rows, collator)) == 2
    for row in rows:
        row["labels"] = [row["labels"][0], float("nan")]
    with pytest.raises(ValueError, match="two ratings of 'noisiness', but there are 0"):
        fit_head(model, rows, collator)


def test_a_head_too_narrow_is_refused():
    model, collator = make(mos_hidden_size=1)
    with pytest.raises(ValueError, match="at least 2"):
        fit_head(model, rated_noise(), collator)
