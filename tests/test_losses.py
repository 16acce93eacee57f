"""Losses against independent implementations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss
from torch.nn import functional as F

from jsqa_hf.losses import nt_xent
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


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="'l3'"):
        mos_loss(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1), "l3")
