"""JND calibration: from distances to JNDs, to probabilities, into the checkpoint and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from ladders import ladder_rows
from small import small_config
from transformers import AutoModel

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.jnd_scale import HALF_NOTICED_JNDS, LAPSE, SLOPE, JNDScale
from jsqa_hf.training import calibrate_model
from jsqa_hf.training.calibration import calibrate, ladder_pairs
from jsqa_hf.training.embedding_measures import ClipTable

SCALE = JNDScale([0.0, 0.1, 0.5, 1.2], [0.0, 1.0, 4.0, 9.0])


def clips_and_distances(unit: float = 0.1, power: float = 1.0, noise: float = 0.0, contents: int = 30):
    """Clips whose distance is `unit` times the number of JNDs between them, to a power."""
    clips = ClipTable.from_rows(ladder_rows(contents, levels=3))
    apart = np.abs(clips.position[:, None] - clips.position[None, :])
    factor = np.exp(noise * np.random.default_rng(0).standard_normal(apart.shape))
    factor = np.tril(factor) + np.tril(factor, -1).T
    return unit * apart**power * factor, clips


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_known_relation_is_found(power):
    distances, clips = clips_and_distances(power=power)
    scale = calibrate(distances, clips)
    for jnds in (0.3, 4.0, 8.0):
        assert scale.jnds_between(0.1 * jnds**power) == pytest.approx(jnds, abs=0.25)
    assert scale.error_jnds < 0.35


def test_the_error_is_that_of_utterances_that_were_held_out():
    distances, clips = clips_and_distances(noise=0.5)
    scale = calibrate(distances, clips)
    distance, jnds, speech = ladder_pairs(distances, clips)
    # Independently: leave out the same utterances, fit the rest, and look at those.
    number = np.unique(speech, return_inverse=True)[1]
    errors = []
    for fold in range(5):
        kept = ~np.isin(clips.speech, speech[number % 5 == fold])
        rest = ClipTable(**{name: values[kept] for name, values in vars(clips).items()})
        errors += list(
            np.abs(calibrate(distances[np.ix_(kept, kept)], rest).jnds_between(distance) - jnds)[number % 5 == fold]
        )
    assert scale.error_jnds == pytest.approx(np.mean(errors))
    assert scale.error_jnds > calibrate(*clips_and_distances(noise=0.0)).error_jnds
    assert (scale.pairs, scale.contents) == (len(jnds), 30)


def test_a_model_whose_distances_tell_nothing_has_a_large_error():
    _, clips = clips_and_distances()
    random = np.random.default_rng(1).uniform(size=(len(clips), len(clips)))
    assert calibrate(random + random.T, clips).error_jnds > 1.5


@pytest.mark.parametrize("contents", [60, 240])
def test_a_step_reads_as_itself_on_average_whatever_the_spread(contents):
    distances, clips = clips_and_distances(noise=0.7, contents=contents)
    scale = calibrate(distances, clips)
    # What comes out of a step of so many JNDs on average is read as so many.
    for jnds in (0.5, 4.0, 6.0):
        mean_distance = 0.1 * jnds * np.exp(0.7**2 / 2)
        assert scale.jnds_between(mean_distance) == pytest.approx(jnds, rel=0.25)


def test_too_little_to_calibrate_on_is_refused():
    distances, clips = clips_and_distances(contents=4)
    with pytest.raises(ValueError, match="5 utterances, got 4"):
        calibrate(distances, clips)
    distances, clips = clips_and_distances()
    with pytest.raises(ValueError, match="different distances"):
        calibrate(np.zeros_like(distances), clips)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 3), min_size=2, max_size=10))
def test_further_apart_is_never_fewer_jnds_and_never_noticed_less(distances):
    jnds = SCALE.jnds_between(sorted(distances))
    shares = SCALE.probability_noticed(jnds)
    assert (np.diff(jnds) >= 0).all() and (np.diff(shares) >= 0).all()
    assert (shares >= 0).all() and (shares <= 1 - LAPSE).all()


def test_the_scale_at_known_points():
    assert SCALE.jnds_between([0.0, 0.1, 0.3, 5.0]).tolist() == pytest.approx([0.0, 1.0, 2.5, 9.0])
    assert SCALE.probability_noticed(0.0) == 0
    assert SCALE.probability_noticed(HALF_NOTICED_JNDS) == pytest.approx((1 - LAPSE) / 2)
    assert SCALE.probability_noticed(1.0) == pytest.approx(
        (1 - LAPSE) / (1 + math.exp(SLOPE * math.log(HALF_NOTICED_JNDS)))
    )


def test_the_curve_of_noticing_is_the_one_that_was_measured():
    path = Path(__file__).parents[1] / "docs" / "results" / "noticing.json"
    measured = json.loads(path.read_text(encoding="utf-8"))
    assert pytest.approx((measured["half_noticed_jnds"], measured["slope"], measured["lapse"]), abs=1e-3) == (
        HALF_NOTICED_JNDS,
        SLOPE,
        LAPSE,
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"distances": [0.0, 1.0], "jnds": [0.0]}, "as many"),
        ({"distances": [0.1, 1.0], "jnds": [0.0, 1.0]}, "start at 0"),
        ({"distances": [0.0, 1.0, 1.0], "jnds": [0.0, 1.0, 2.0]}, "increase"),
        ({"distances": [0.0, 1.0, 2.0], "jnds": [0.0, 2.0, 1.0]}, "not decrease"),
        ({"distances": [0.0, 1.0], "jnds": [0.0, 1.0], "lapse": 1.0}, "lapse"),
        ({"distances": [0.0, 1.0], "jnds": [0.0, 1.0], "slop": 1.0}, "slop"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(StrictDataclassError, match=message):
        JSQAConfig.tiny(jnd_calibration=wrong)


def test_the_calibration_of_a_model_comes_back_with_it(tmp_path):
    torch.manual_seed(0)
    model = JSQAForContrastivePretraining(small_config())
    rows = ladder_rows(8, levels=3, clips=True)
    scale = calibrate_model(model, JSQAFeatureExtractor(), rows)
    assert (scale.contents, scale.pairs) == (8, 8 * 15)
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, JSQAForContrastivePretraining)
    assert asdict(loaded.config.jnd_scale) == asdict(scale)
    first, second = (torch.from_numpy(np.stack([rows[0]["clips"][index]] * 2)) for index in (0, 4))
    before, after = model.compare(first, second), loaded.compare(first, second)
    for name in ("distances", "jnds", "probability_noticed"):
        assert torch.equal(before[name], after[name])
    assert torch.equal(after.distances, loaded.compare(second, first).distances)


def test_compare_tells_distance_jnds_and_probability_of_each_row():
    torch.manual_seed(0)
    model = JSQAForContrastivePretraining(small_config(jnd_calibration=asdict(SCALE))).eval()
    first = 0.1 * torch.randn(3, 4000)
    second = first.clone()
    second[1] *= 10
    second[2] = 0.1 * torch.randn(4000)
    result = model.compare(first, second)
    with torch.no_grad():
        projections = [model(values).projections for values in (first, second)]
    assert torch.allclose(result.distances, torch.linalg.vector_norm(projections[0] - projections[1], dim=-1))
    assert result.jnds.tolist() == pytest.approx(SCALE.jnds_between(result.distances.numpy()).tolist())
    assert result.distances[0] == result.jnds[0] == result.probability_noticed[0] == 0
    assert result.probability_noticed[1] > 0


def test_padding_and_length_do_not_matter_to_compare():
    torch.manual_seed(0)
    model = JSQAForContrastivePretraining(small_config(jnd_calibration=asdict(SCALE))).eval()
    clip, other = 0.1 * torch.randn(1, 4000), 0.1 * torch.randn(1, 6000)
    padded, mask = torch.cat([clip, torch.ones(1, 1000)], dim=1), torch.tensor([[1] * 4000 + [0] * 1000])
    expected = model.compare(clip, other)
    assert torch.allclose(model.compare(padded, other, attention_mask=mask).distances, expected.distances, atol=1e-6)


def test_compare_needs_a_calibration_and_as_many_clips():
    model = JSQAForContrastivePretraining(small_config()).eval()
    with pytest.raises(ValueError, match="no JND calibration"):
        model.compare(torch.zeros(1, 4000), torch.zeros(1, 4000))
    model.config.jnd_calibration = asdict(SCALE)
    with pytest.raises(ValueError, match="give as many"):
        model.compare(torch.zeros(1, 4000), torch.zeros(2, 4000))


def test_what_everybody_notices_counts_as_ten_jnds():
    rows = ladder_rows(30, levels=2)
    for row in rows:
        row["severity_jnd"] = [10 * position for position in row["severity_jnd"]]
    clips = ClipTable.from_rows(rows)
    apart = np.abs(clips.position[:, None] - clips.position[None, :])
    assert ladder_pairs(apart, clips)[1].max() == 10
    assert calibrate(apart, clips).jnds_between(1e3) == pytest.approx(10)
