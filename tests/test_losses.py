"""Losses against independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from scipy import stats
from torch.nn import functional as F

from jsqa_hf import losses
from jsqa_hf.losses import LadderLabels, contrastive_loss, jnd_margin_loss, jnd_preference_loss, nt_xent
from jsqa_hf.mos_losses import mos_loss


def naive_nt_xent(projections, pair_ids, temperature, content_ids=None) -> float:
    """The formula in the docstring, clip by clip in float64."""
    rows = F.normalize(projections.double(), dim=-1)
    total = 0.0
    for i in range(len(rows)):
        exponentials = [math.exp(float(rows[i] @ row) / temperature) for row in rows]
        negatives = sum(
            exponentials[n]
            for n in range(len(rows))
            if pair_ids[n] != pair_ids[i] and (content_ids is None or content_ids[n] == content_ids[i])
        )
        positives = [p for p in range(len(rows)) if p != i and pair_ids[p] == pair_ids[i]]
        total += sum(-math.log(exponentials[p] / (exponentials[p] + negatives)) for p in positives) / len(positives)
    return total / len(rows)


@settings(max_examples=30, deadline=None)
@given(
    contents=st.integers(1, 4),
    levels=st.integers(2, 3),
    temperature=st.floats(0.05, 2.0),
    same_content=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_nt_xent_equals_its_formula(contents, levels, temperature, same_content, seed):
    generator = torch.Generator().manual_seed(seed)
    clips = 2 * contents * levels
    projections = torch.randn(clips, 5, generator=generator)
    pair_ids = torch.arange(clips) // 2
    content_ids = torch.arange(clips) // (2 * levels) if same_content else None
    loss = nt_xent(projections, pair_ids, temperature, content_ids)
    assert float(loss) == pytest.approx(naive_nt_xent(projections, pair_ids, temperature, content_ids), rel=1e-4)


def test_nt_xent_equals_pytorch_metric_learning():
    projections = torch.randn(12, 7, generator=torch.Generator().manual_seed(1))
    pair_ids = torch.arange(12) // 2
    expected = NTXentLoss(temperature=0.1)(projections, pair_ids)
    assert float(nt_xent(projections, pair_ids, 0.1)) == pytest.approx(float(expected), rel=1e-5)


def test_nt_xent_does_not_see_the_scale_of_the_projections():
    projections = torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
    pair_ids = torch.arange(8) // 2
    torch.testing.assert_close(nt_xent(projections, pair_ids), nt_xent(30 * projections, pair_ids))


def test_only_other_content_changes_nothing_when_negatives_are_content_matched():
    projections = torch.randn(8, 4, generator=torch.Generator().manual_seed(3), requires_grad=True)
    pair_ids, content_ids = torch.arange(8) // 2, torch.arange(8) // 4
    nt_xent(projections[:4].repeat(2, 1), pair_ids, 0.1, content_ids)
    loss = nt_xent(projections, pair_ids, 0.1, content_ids)
    first = nt_xent(projections[:4], pair_ids[:4], 0.1, content_ids[:4])
    second = nt_xent(projections[4:], pair_ids[4:], 0.1, content_ids[4:])
    torch.testing.assert_close(loss, (first + second) / 2)


def test_a_clip_without_mate_or_without_negative_is_refused():
    projections = torch.randn(4, 3)
    with pytest.raises(ValueError, match="pair mate"):
        nt_xent(projections, torch.tensor([0, 0, 1, 2]))
    with pytest.raises(ValueError, match="negative"):
        nt_xent(projections, torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="two quality levels"):
        nt_xent(projections, torch.tensor([0, 0, 1, 1]), 0.1, content_ids=torch.tensor([0, 0, 1, 1]))


def test_mse_gives_the_mean_the_gradient_of_the_squared_error():
    mean = torch.tensor([[2.0], [4.0]], requires_grad=True)
    variance = torch.tensor([[0.5], [0.5]], requires_grad=True)
    labels = torch.tensor([[3.0], [3.5]])
    mos_loss(mean, variance, labels, "mse").backward()
    torch.testing.assert_close(mean.grad, (mean - labels).detach())
    # Minimum of the likelihood at variance = squared error: too small for the first clip, too large for the second.
    assert variance.grad[0] < 0 < variance.grad[1]


def test_gaussian_nll_equals_the_log_density():
    mean, variance = torch.tensor([[2.0, 3.0]]), torch.tensor([[0.3, 0.7]])
    labels = torch.tensor([[2.5, 1.0]])
    log_density = torch.distributions.Normal(mean, variance.sqrt()).log_prob(labels)
    expected = -(log_density + 0.5 * math.log(2 * math.pi)).mean()
    torch.testing.assert_close(mos_loss(mean, variance, labels, "gaussian_nll"), expected)


@pytest.mark.parametrize("kind", ["mse", "gaussian_nll"])
def test_outputs_without_a_rating_do_not_count(kind):
    mean = torch.tensor([[2.0, 3.0], [4.0, 1.5]], requires_grad=True)
    variance = torch.full((2, 2), 0.5)
    labels = torch.tensor([[3.0, math.nan], [3.5, math.nan]])
    loss = mos_loss(mean, variance, labels, kind)
    torch.testing.assert_close(loss, mos_loss(mean[:, :1], variance[:, :1], labels[:, :1], kind))
    loss.backward()
    assert mean.grad[:, 1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_ids_of_different_processes_differ_in_any_type(dtype, monkeypatch):
    monkeypatch.setattr(losses, "world_size", lambda: 2)
    monkeypatch.setattr(losses, "gather_with_gradient", lambda tensor: torch.cat([tensor, tensor]))
    ids = torch.tensor([0, 0, 1, 1], dtype=dtype)
    gathered = losses.LadderLabels(ids, ids).gather()
    assert len(gathered.pair_ids.unique()) == len(gathered.content_ids.unique()) == 4


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="'l3'"):
        mos_loss(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1), "l3")


def ladders(seed: int, contents: int = 3, levels: int = 3, distortions: int = 1) -> tuple[torch.Tensor, LadderLabels]:
    """Projections and labels of a batch of ladders whose severities often coincide between contents."""
    generator = torch.Generator().manual_seed(seed)
    clips = contents * levels * 2
    level = torch.arange(levels).repeat_interleave(2).repeat(contents) * 3.0
    content_ids = torch.arange(contents).repeat_interleave(2 * levels)
    labels = LadderLabels(
        pair_ids=torch.arange(clips) // 2,
        content_ids=content_ids,
        # Within a pair at most half a JND, between contents at most one and a half.
        quality=level + 0.5 * torch.rand(clips, generator=generator) + content_ids % 2,
        distortion_ids=content_ids % distortions,
    )
    return torch.randn(clips, 8, generator=generator), labels


def naive_contrastive_loss(
    projections: torch.Tensor,
    labels: LadderLabels,
    temperature: float,
    same_content: bool,
    false_negatives: str,
    supervised: bool,
    ambiguous_jnds: float | None = None,
) -> float:
    """The formulas of the docstrings, clip by clip in float64."""
    rows = F.normalize(projections.double(), dim=-1)
    exponentials = torch.exp(rows @ rows.T / temperature)
    total = 0.0
    for i in range(len(rows)):
        positives, negatives = [], []
        for j in range(len(rows)):
            content = int(labels.content_ids[i]) == int(labels.content_ids[j])
            distortion = int(labels.distortion_ids[i]) == int(labels.distortion_ids[j])
            apart = abs(float(labels.quality[i] - labels.quality[j]))
            equal = distortion and not content and apart <= 1
            ambiguous = ambiguous_jnds is not None and distortion and 1 < apart < ambiguous_jnds
            if int(labels.pair_ids[i]) == int(labels.pair_ids[j]):
                positives += [j] if i != j else []
            elif equal and false_negatives == "promote":
                positives.append(j)
            elif (content or not same_content) and not (equal and false_negatives == "mask") and not ambiguous:
                negatives.append(j)
        background = sum(float(exponentials[i, n]) for n in negatives)
        everything = background + sum(float(exponentials[i, p]) for p in positives)
        terms = [
            -math.log(
                float(exponentials[i, p]) / (everything if supervised else float(exponentials[i, p]) + background)
            )
            for p in positives
        ]
        total += sum(terms) / len(terms)
    return total / len(rows)


@pytest.mark.parametrize("false_negatives", ["keep", "mask", "promote"])
@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("same_content", [False, True])
@pytest.mark.parametrize(("seed", "distortions", "ambiguous_jnds"), [(0, 1, None), (1, 2, None), (2, 1, 2.5)])
def test_contrastive_loss_equals_its_formula(
    false_negatives, supervised, same_content, seed, distortions, ambiguous_jnds
):
    projections, labels = ladders(seed, contents=4, distortions=distortions)
    loss = contrastive_loss(
        projections,
        labels,
        0.2,
        same_content_negatives=same_content,
        false_negatives=false_negatives,
        supervised=supervised,
        ambiguous_jnds=ambiguous_jnds,
    )
    expected = naive_contrastive_loss(
        projections, labels, 0.2, same_content, false_negatives, supervised, ambiguous_jnds
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_false_negatives_make_a_difference_where_there_are_some():
    projections, labels = ladders(0, contents=4)
    losses = {
        choice: float(contrastive_loss(projections, labels, 0.2, false_negatives=choice))
        for choice in ("keep", "mask", "promote")
    }
    assert len(set(losses.values())) == 3
    assert losses["mask"] < losses["keep"]
    without_ambiguous = float(contrastive_loss(projections, labels, 0.2, ambiguous_jnds=2.5))
    assert without_ambiguous < losses["keep"]


def test_the_loss_keeps_its_precision_where_the_model_does_not():
    projections, labels = ladders(0)
    expected = contrastive_loss(projections, labels, 0.02), jnd_margin_loss(projections, labels, 0.2)
    with torch.autocast("cpu", torch.bfloat16):
        found = contrastive_loss(projections, labels, 0.02), jnd_margin_loss(projections, labels, 0.2)
    assert found == expected


@pytest.mark.parametrize("seed", [0, 1])
def test_supervised_loss_equals_that_of_pytorch_metric_learning(seed):
    """Quality levels as classes: every clip of a level is a positive, whatever its content."""
    projections, labels = ladders(seed, contents=3)
    labels.quality = torch.arange(3).repeat_interleave(2).repeat(3) * 3.0
    loss = contrastive_loss(projections, labels, 0.1, false_negatives="promote", supervised=True)
    expected = SupConLoss(temperature=0.1)(projections, labels.quality.long())
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), unit=st.floats(0.05, 1.0), clear=st.floats(1.5, 5.0))
def test_jnd_margin_equals_its_formula(seed, unit, clear):
    projections, labels = ladders(seed, distortions=2)
    rows = F.normalize(projections.double(), dim=-1)
    near, far = [], []
    for i in range(len(rows)):
        for j in range(len(rows)):
            if i == j or int(labels.content_ids[i]) != int(labels.content_ids[j]):
                continue
            jnds = float((rows[i] - rows[j]).norm()) / unit
            apart = abs(float(labels.quality[i] - labels.quality[j]))
            if apart <= 1:
                near.append(max(0.0, jnds - 1) ** 2)
            else:
                far.append(max(0.0, min(clear, apart) - jnds) ** 2)
    expected = sum(near) / len(near) + (sum(far) / len(far) if far else 0.0)
    assert float(jnd_margin_loss(projections, labels, unit, clear)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_jnd_margin_is_met_by_an_embedding_that_is_the_severity():
    _, labels = ladders(0, contents=2)
    labels.quality = torch.arange(3).repeat_interleave(2).repeat(2) * 3.0
    angles = labels.quality * 0.2
    # Steps of 3 JNDs along a circle, at 0.2 per JND.
    projections = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert float(jnd_margin_loss(projections, labels, 0.2)) == pytest.approx(0.0, abs=1e-6)
    assert float(jnd_margin_loss(projections, labels, 0.4)) > 0.5


def test_jnd_margin_of_equal_clips_has_a_gradient():
    projections, labels = ladders(0)
    projections = projections[:1].repeat(len(projections), 1).requires_grad_()
    loss = jnd_margin_loss(projections, labels, 0.2)
    loss.backward()
    assert float(loss.detach()) > 1
    assert bool(projections.grad.isfinite().all())


@pytest.mark.parametrize(
    ("missing", "options", "message"),
    [
        ("content_ids", {"same_content_negatives": True}, "content_ids"),
        ("quality", {"false_negatives": "mask"}, "quality"),
        ("distortion_ids", {"false_negatives": "promote"}, "distortion_ids"),
    ],
)
def test_labels_that_the_objective_needs_are_asked_for(missing, options, message):
    projections, labels = ladders(0)
    setattr(labels, missing, None)
    with pytest.raises(ValueError, match=message):
        contrastive_loss(projections, labels, 0.1, **options)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), unit=st.floats(0.05, 1.0))
def test_preferences_equal_the_cross_entropy_of_thurstones_model(seed, unit):
    projections, labels = ladders(seed, distortions=2)
    place = F.normalize(projections.double(), dim=-1)[:, 0].numpy() / unit
    terms = []
    for i in range(len(place)):
        for j in range(len(place)):
            if i == j or int(labels.content_ids[i]) != int(labels.content_ids[j]):
                continue
            share = stats.norm.cdf(0.6745 * float(labels.quality[i] - labels.quality[j]))
            apart = 0.6745 * (place[i] - place[j])
            terms.append(-share * stats.norm.logcdf(apart) - (1 - share) * stats.norm.logcdf(-apart))
    assert float(jnd_preference_loss(projections, labels, unit)) == pytest.approx(np.mean(terms), rel=1e-4)


def test_preferences_are_met_by_the_quality_and_not_by_its_reverse():
    _, labels = ladders(0, contents=2)
    labels.quality = torch.arange(3).repeat_interleave(2).repeat(2) * 2.0
    place = (labels.quality - 2) * 0.1
    right = torch.stack([place, (1 - place.square()).sqrt()], dim=1)
    wrong = right * torch.tensor([-1.0, 1.0])
    # What is left is the disagreement of the listeners: no other place is better.
    least = float(jnd_preference_loss(right, labels, 0.1))
    assert least < float(jnd_preference_loss(right, labels, 0.12))
    assert least < float(jnd_preference_loss(right, labels, 0.08))
    assert float(jnd_preference_loss(wrong, labels, 0.1)) > least + 0.5


def test_preferences_need_qualities():
    projections, labels = ladders(0)
    labels.quality = None
    with pytest.raises(ValueError, match="quality"):
        jnd_preference_loss(projections, labels, 0.2)
