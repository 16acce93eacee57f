"""Losses of stage 2 against their formulas and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_config
from torch.nn import functional as F

from jsqa_hf import JSQAForMOSRegression
from jsqa_hf.mos_losses import concordance_loss, mos_loss, rank_loss, vote_weights

NAN = float("nan")


def ratings(seed: int, clips: int = 6, outputs: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predictions, variances, and labels of which some are missing."""
    generator = torch.Generator().manual_seed(seed)
    mean = 1 + 4 * torch.rand(clips, outputs, generator=generator)
    labels = 1 + 4 * torch.rand(clips, outputs, generator=generator)
    labels[1, 0] = labels[2, -1] = NAN
    return mean, 0.1 + torch.rand(clips, outputs, generator=generator), labels


@pytest.mark.parametrize("kind", ["mse", "l1", "gaussian_nll"])
def test_weights_count_clips_as_often_as_they_say(kind: str) -> None:
    mean, variance, labels = ratings(0)
    weights = torch.tensor([1.0, 2.0, 3.0, 1.0, 0.0, 2.0])
    repeated = weights.long().tolist()
    rows = [index for index, count in enumerate(repeated) for _ in range(count)]
    # Means over as many ratings as there are and as there would be.
    share = (~labels[rows].isnan()).sum() / (~labels.isnan()).sum()
    expected = share * mos_loss(mean[rows], variance[rows], labels[rows], kind)
    torch.testing.assert_close(mos_loss(mean, variance, labels, kind, weights), expected)
    alike = torch.ones(len(labels))
    torch.testing.assert_close(mos_loss(mean, variance, labels, kind, alike), mos_loss(mean, variance, labels, kind))


def test_weighted_clips_one_by_one_have_the_mean_loss_of_their_batch() -> None:
    mean, variance, labels = (part[3:] for part in ratings(2))
    weights = torch.tensor([0.2, 1.0, 1.8])
    parts = [mos_loss(*(part[[row]] for part in (mean, variance, labels)), weights=weights[[row]]) for row in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), mos_loss(mean, variance, labels, weights=weights))


def test_l1_has_the_gradient_of_the_absolute_error_for_the_mean() -> None:
    mean, variance, labels = ratings(1)
    mean.requires_grad_()
    mos_loss(mean, variance, labels, "l1").backward()
    rated = ~labels.isnan()
    expected = torch.where(rated, (mean - labels).sign(), torch.zeros_like(mean)) / rated.sum()
    torch.testing.assert_close(mean.grad, expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 3))
def test_rank_loss_equals_a_loop_over_pairs(seed: int, scale: float) -> None:
    mean, _, labels = ratings(seed)
    terms = [
        math.log1p(math.exp(-float(mean[i, k] - mean[j, k]) / scale))
        for k in range(labels.shape[1])
        for i in range(len(labels))
        for j in range(len(labels))
        if float(labels[i, k]) > float(labels[j, k])
    ]
    assert float(rank_loss(mean, labels, scale)) == pytest.approx(np.mean(terms), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_concordance_equals_the_formula_in_numpy(seed: int) -> None:
    mean, _, labels = ratings(seed)
    expected = []
    for k in range(labels.shape[1]):
        rated = ~labels[:, k].isnan().numpy()
        s, y = mean[rated, k].double().numpy(), labels[rated, k].double().numpy()
        covariance = np.cov(s, y, bias=True)
        expected.append(1 - 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (s.mean() - y.mean()) ** 2))
    assert float(concordance_loss(mean, labels)) == pytest.approx(np.mean(expected), rel=1e-4)


def test_agreement_of_batches_that_cannot_tell_is_0_and_has_finite_gradients() -> None:
    mean = torch.full((3, 1), 2.0, requires_grad=True)
    for labels in (torch.full((3, 1), NAN), torch.full((3, 1), 4.0), torch.tensor([[1.0], [NAN], [NAN]])):
        loss = rank_loss(mean, labels) + concordance_loss(mean, labels)
        loss.backward()
        assert float(loss.detach()) == 0
    assert mean.grad is not None and bool(mean.grad.isfinite().all())
    assert float(concordance_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [3.0]]))) == pytest.approx(0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_clip_of_weight_2_agrees_as_two_clips_would_and_one_of_weight_0_as_none(seed: int) -> None:
    mean, _, labels = ratings(seed)
    weights = torch.ones(len(labels))
    weights[0], weights[1] = 2.0, 0.0
    chosen = [0, 0, *range(2, len(labels))]
    weighted = concordance_loss(mean, labels, weights)
    assert float(weighted) == pytest.approx(float(concordance_loss(mean[chosen], labels[chosen])), rel=1e-4, abs=1e-6)
    ranked = rank_loss(mean, labels, weights=weights)
    assert float(ranked) == pytest.approx(float(rank_loss(mean[chosen], labels[chosen])), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("rating", [2.7, 3.3, 4.1])
@pytest.mark.parametrize("clips", [3, 7, 11])
def test_an_output_of_equal_ratings_does_not_count_in_the_concordance(rating: float, clips: int) -> None:
    labels = torch.stack([torch.full((clips,), rating), torch.linspace(1, 5, clips)], dim=-1)
    assert float(concordance_loss(labels.flip(0) + 0.1, labels)) == pytest.approx(
        float(concordance_loss(labels[:, 1:].flip(0) + 0.1, labels[:, 1:]))
    )


def test_vote_weights_rise_from_the_half_to_1_and_unknown_ones_weigh_1() -> None:
    weights = vote_weights(torch.tensor([4.0, 1e6, NAN, 1.0]), 4.0)
    assert weights.tolist() == pytest.approx([0.5, 1.0, 1.0, 0.2], abs=1e-5)


class TestModel:
    def model(self, **config: object) -> JSQAForMOSRegression:
        torch.manual_seed(0)
        return JSQAForMOSRegression(small_config(**config)).eval()

    def test_agreement_term_is_added_with_its_weight(self) -> None:
        clips, labels = torch.randn(4, 4000), torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        plain = self.model()(clips, labels=labels)
        for kind, term in (("rank", rank_loss), ("concordance", concordance_loss)):
            output = self.model(mos_agreement_loss=kind, mos_agreement_weight=0.25)(clips, labels=labels)
            torch.testing.assert_close(output.loss, plain.loss + 0.25 * term(plain.scores, labels))

    def test_scales_of_corpora_are_learned_and_the_scores_stay_on_that_of_the_reference(self) -> None:
        model = self.model(mos_corpora=["first", "second"])
        clips = torch.randn(4, 4000)
        scores = model(clips).scores.detach()
        labels = torch.cat([scores[:2], 3 + 0.5 * (scores[2:] - 3) - 0.7])
        corpus_ids = torch.tensor([0, 0, 1, 1])
        before = model(clips, labels=labels, corpus_ids=corpus_ids)
        assert model.corpus_offsets is not None and model.corpus_log_scales is not None
        with torch.no_grad():
            model.corpus_offsets.fill_(-0.7)
            model.corpus_log_scales.fill_(math.log(0.5))
        mapped = model(clips, labels=labels, corpus_ids=corpus_ids)
        torch.testing.assert_close(mapped.scores, before.scores)
        expected = F.gaussian_nll_loss(labels, labels, mapped.variances * torch.tensor([[1], [1], [0.25], [0.25]]))
        torch.testing.assert_close(mapped.loss.detach(), expected.detach())
        assert mapped.loss < before.loss

    def test_scales_of_corpora_survive_saving(self, tmp_path) -> None:
        model = self.model(mos_corpora=["first", "second", "third"])
        with torch.no_grad():
            model.corpus_offsets.copy_(torch.tensor([[0.5], [-0.5]]))
        model.save_pretrained(tmp_path)
        loaded = JSQAForMOSRegression.from_pretrained(tmp_path)
        assert loaded.config.mos_corpora == ["first", "second", "third"]
        torch.testing.assert_close(loaded.corpus_offsets, model.corpus_offsets)

    def test_a_frozen_base_gets_no_gradient_and_gives_the_same_scores(self) -> None:
        model = self.model()
        clips, labels = torch.randn(2, 4000), torch.tensor([[1.0], [4.0]])
        expected = model(clips).scores
        model.frozen_base = True
        output = model(clips, labels=labels)
        output.loss.backward()
        torch.testing.assert_close(output.scores, expected)
        assert all(parameter.grad is None for parameter in model.jsqa.parameters())
        assert all(parameter.grad is not None for parameter in model.head.parameters())
