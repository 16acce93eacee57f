"""Stage 1 with another objective than the contrastive one, and a judgement of models by the same held-out ladders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import pretrain_contrastive
import torch
from torch import Tensor, nn

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.training import CardArguments, ContrastiveCollator, ContrastiveTrainer, RunArguments, parse_arguments
from jsqa_hf.training.diagnostics import contrastive_diagnostics


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


def pretrain_on_severity(argv: Sequence[str]) -> dict[str, float]:
    """`pretrain_contrastive.main` with [`SeverityTrainer`]; the arguments must not ask for evaluations."""
    with mock.patch.object(pretrain_contrastive, "ContrastiveTrainer", SeverityTrainer):
        return pretrain_contrastive.main(argv)


def judge(folder: str, argv: Sequence[str]) -> dict[str, float]:
    """The diagnostics of a model of stage 1 on the evaluation ladders that arguments of stage 1 describe."""
    kinds = (pretrain_contrastive.PretrainingArguments, CardArguments, RunArguments)
    args, _, training_args = parse_arguments(kinds, argv)
    _, evaluation = pretrain_contrastive.build_datasets(args, training_args)
    assert evaluation is not None
    model = JSQAForContrastivePretraining.from_pretrained(folder).eval()
    collate = ContrastiveCollator(JSQAFeatureExtractor())
    rows, projections, embeddings = [], [], []
    for start in range(0, len(evaluation), training_args.eval_batch_size):
        batch = [
            evaluation[index] for index in range(start, min(start + training_args.eval_batch_size, len(evaluation)))
        ]
        inputs = collate(batch)
        with torch.inference_mode():
            output = model(inputs["input_values"], inputs["attention_mask"], return_loss=False)
        rows += [{name: value for name, value in row.items() if name != "clips"} for row in batch]
        projections.append(output.projections.numpy())
        embeddings.append(output.embeddings.numpy())
    return contrastive_diagnostics(np.concatenate(projections), np.concatenate(embeddings), rows)
