"""Stage 1 with another objective than the contrastive one, and a judgement of models by the same held-out ladders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any
from unittest import mock

import numpy as np
import pretrain_contrastive
import torch
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.hubert.modeling_hubert import _compute_mask_indices

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.training import CardArguments, ContrastiveCollator, ContrastiveTrainer, RunArguments, parse_arguments
from jsqa_hf.training.diagnostics import contrastive_diagnostics
from jsqa_hf.training.embedding import embed_ladders

# As HuBERT's first iteration has it, where spans are 200 ms, too: 10 frames of 20 ms there, 5 of 40 ms here.
CLUSTERS = 100
MASK_SHARE, MASK_FRAMES = 0.8, 5
# Our choice: batches whose frames are clustered.
CLUSTERED_BATCHES = 8


class SeverityTrainer(ContrastiveTrainer):
    """Learns the severity itself, as the first coordinate of the projection: the SNR, not who sounds like whom.

    Of several distortions severities do not compare, so that there must be a single one. The range of a coordinate,
    -1 to 1, is that of the severities seen so far.
    """

    lowest = float("inf")
    highest = -float("inf")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Mean squared error."""
        quality = inputs["quality"]
        self.lowest = min(self.lowest, float(quality.min()))
        self.highest = max(self.highest, float(quality.max()))
        target = 2 * (quality - self.lowest) / max(self.highest - self.lowest, 1e-6) - 1
        audio = {name: inputs[name] for name in ("input_values", "attention_mask")}
        predicted = model(**audio, return_loss=False).projections[:, 0].float()
        return nn.functional.mse_loss(predicted, target.to(predicted))


class MaskedFramesTrainer(ContrastiveTrainer):
    """Learns what masked frames hide, from the frames around them; a subclass says what of their levels.

    Nothing learns the projection if `own_weight` is 0, so that distances are those of a random one.
    """

    outputs: int
    # Of the loss that the options of stage 1 ask for, beside that of the masked frames.
    own_weight = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model: Any = self.model
        width = model.config.hidden_size
        model.masked_head = nn.Linear(width, self.outputs, device=model.device)
        model.mask_embedding = nn.Parameter(torch.rand(width, device=model.device))

    def masked_loss(self, predicted: Tensor, levels: Tensor) -> Tensor:
        """About 1 for a guess.

        Args:
            predicted: (frames, outputs), output of the head for the masked frames.
            levels: (frames, bands), the levels that were masked.
        """
        raise NotImplementedError

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """That of the masked frames, and with a weight that of the options."""
        valid, levels = self._levels(inputs)
        clips, frames = valid.shape
        chosen = _compute_mask_indices((clips, frames), MASK_SHARE, MASK_FRAMES, valid.long(), min_masks=1)  # type: ignore[arg-type]
        masked = torch.from_numpy(chosen) & valid
        base: Any = model.jsqa
        embedding: Any = model.mask_embedding

        def hide(hidden_states: Tensor, **_: Any) -> Tensor:
            return torch.where(masked[..., None].to(hidden_states.device), embedding, hidden_states)

        with mock.patch.object(base.hubert, "_mask_hidden_states", hide):
            hidden_states = base(inputs["input_values"], inputs["attention_mask"]).last_hidden_state
        predicted: Tensor = model.masked_head(hidden_states[masked])  # type: ignore[operator]
        loss = self.masked_loss(predicted.float(), levels[masked[valid]].to(predicted.device))
        if self.own_weight:
            own = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            loss = loss + self.own_weight * own
        return loss

    def _levels(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Which frames are not padding, (batch, frames) bool, and the levels of these, (frames, bands)."""
        model: Any = self.model
        base = model.jsqa
        with torch.no_grad():
            counts = base._frame_counts(inputs["attention_mask"].sum(-1)).clamp(min=1)
            levels = base._levels(inputs["input_values"], int(counts.max()))
        valid = (torch.arange(levels.shape[1], device=counts.device) < counts[:, None]).cpu()
        return valid, levels.cpu()[valid]


class MaskedPredictionTrainer(MaskedFramesTrainer):
    """HuBERT's own objective (Hsu et al., IEEE/ACM TASLP 2021): of which cluster a masked frame is.

    The clusters are those of k-means over the levels in mel bands, where HuBERT's first iteration takes MFCCs.
    """

    outputs = CLUSTERS
    _centroids: np.ndarray | None = None

    def masked_loss(self, predicted: Tensor, levels: Tensor) -> Tensor:
        """Cross entropy, relative to that of a guess."""
        if self._centroids is None:
            batches = islice(self.get_train_dataloader(), CLUSTERED_BATCHES)
            frames = np.concatenate([self._levels(batch)[1].numpy() for batch in batches])
            self._centroids, _ = kmeans2(frames, CLUSTERS, minit="++", seed=self.args.seed)
        targets = torch.from_numpy(vq(levels.cpu().numpy(), self._centroids)[0]).long()
        return F.cross_entropy(predicted, targets.to(predicted.device)) / math.log(CLUSTERS)


class MaskedLevelsTrainer(MaskedFramesTrainer):
    """The levels of a masked frame themselves, as in Mockingjay (Liu et al., ICASSP 2020)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = kwargs["model"].config
        self.outputs = config.level_bands * (config.level_windows or 1)
        super().__init__(*args, **kwargs)

    def masked_loss(self, predicted: Tensor, levels: Tensor) -> Tensor:
        """Mean absolute error, in units of 20 dB."""
        return F.l1_loss(predicted, levels)


class MaskedPredictionBesideTrainer(MaskedPredictionTrainer):
    """Masked prediction beside the objective of the options."""

    own_weight = 1.0


class MaskedLevelsBesideTrainer(MaskedLevelsTrainer):
    """Masked levels beside the objective of the options."""

    own_weight = 1.0


TRAINERS: dict[str, type[ContrastiveTrainer]] = {
    "severity": SeverityTrainer,
    "masked": MaskedPredictionTrainer,
    "masked-beside": MaskedPredictionBesideTrainer,
    "levels-beside": MaskedLevelsBesideTrainer,
}


def pretrain_on(objective: str, argv: Sequence[str]) -> dict[str, float]:
    """`pretrain_contrastive.main` with one of `TRAINERS`; the arguments must not ask for evaluations."""
    with mock.patch.object(pretrain_contrastive, "ContrastiveTrainer", TRAINERS[objective]):
        return pretrain_contrastive.main(argv)


def judge(folder: str, argv: Sequence[str]) -> dict[str, float]:
    """The diagnostics of a model of stage 1 on the evaluation ladders that arguments of stage 1 describe.

    They are those of the evaluation in training.
    """
    kinds = (pretrain_contrastive.PretrainingArguments, CardArguments, RunArguments)
    args, _, training_args = parse_arguments(kinds, argv)
    _, evaluation = pretrain_contrastive.build_datasets(args, training_args)
    assert evaluation is not None
    model = JSQAForContrastivePretraining.from_pretrained(folder)
    collator = ContrastiveCollator(JSQAFeatureExtractor())
    embedded = embed_ladders(model, evaluation, collator, batch_size=training_args.eval_batch_size)
    return contrastive_diagnostics(*embedded)
