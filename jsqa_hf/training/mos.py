"""What stage 2 adds to `Trainer`: batches of rated clips, crops, layer-wise learning rates, a freezing schedule."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import datasets
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import BatchFeature, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..feature_extraction_jsqa import JSQAFeatureExtractor
from ..jnd.excerpts import Recording
from ..mos_losses import vote_weights
from .collators import decode_column_value
from .hub_trainer import HubTrainer

Crop = Literal["start", "random"]


class MOSCollator:
    """Rated clips of [`jsqa_hf.data.load_mos`] with labels → a batch of [`JSQAForMOSRegression`].

    Args:
        feature_extractor: resamples and pads the clips.
        max_duration_s: longer clips are cut (30, the clip length of the paper); None leaves them whole.
        crop: what is left of longer clips: their `"start"`, or a `"random"` part. Which one is known from seed, epoch
            and file alone, so that neither the number of workers nor a resumed run changes it.
        votes_of_half_weight: number of votes at which a clip counts half as much as one with very many, see
            [`jsqa_hf.mos_losses.vote_weights`]; None weighs all alike.
        seed: of the crops.

    Attributes:
        epoch: of the crops; [`CropByEpoch`] keeps it in step.
    """

    def __init__(
        self,
        feature_extractor: JSQAFeatureExtractor,
        max_duration_s: float | None = 30.0,
        crop: Crop = "start",
        votes_of_half_weight: float | None = None,
        seed: int = 0,
    ) -> None:
        if crop not in ("start", "random"):
            raise ValueError(f"crop must be start or random, got {crop!r}")
        if max_duration_s is not None and not max_duration_s > 0:
            raise ValueError(f"max_duration_s must be positive or None, got {max_duration_s}")
        if votes_of_half_weight is not None and not votes_of_half_weight >= 0:
            raise ValueError(f"votes_of_half_weight must not be below 0, got {votes_of_half_weight}")
        self.feature_extractor = feature_extractor
        self.max_duration_s = max_duration_s
        self.crop = crop
        self.votes_of_half_weight = votes_of_half_weight
        self.seed = seed
        self.epoch = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows with `audio`, `labels`, and perhaps `n_votes` and `corpus_id` → tensors.

        `input_values` and `attention_mask` (clips, samples), `labels` (clips, outputs), and where the rows and the
        arguments tell, `label_weights` and `corpus_ids` (clips,).

        Raises:
            ValueError: if a clip cannot be decoded or used; the message names its file.
        """
        clips = [self._samples(row) for row in rows]
        batch = self.feature_extractor.pad(BatchFeature({"input_values": clips}), return_tensors="pt")
        result = {**batch, "labels": torch.tensor([row["labels"] for row in rows], dtype=torch.float32)}
        if self.votes_of_half_weight is not None:
            votes = torch.tensor([float(row.get("n_votes") or "nan") for row in rows])
            result["label_weights"] = vote_weights(votes, self.votes_of_half_weight)
        if all("corpus_id" in row for row in rows):
            result["corpus_ids"] = torch.tensor([row["corpus_id"] for row in rows])
        return result

    def _samples(self, row: Mapping[str, Any]) -> np.ndarray:
        samples, sampling_rate = decode_column_value(row["audio"])
        if self.max_duration_s is not None:
            length = round(self.max_duration_s * sampling_rate)
            start = self._start(row, samples.shape[1] - length)
            samples = samples[:, start : start + length]
        try:
            return self.feature_extractor(samples, sampling_rate=sampling_rate)["input_values"][0]
        except ValueError as error:
            raise ValueError(f"{row.get('file', 'clip')}: {error}") from error

    def _start(self, row: Mapping[str, Any], last: int) -> int:
        if self.crop == "start" or last <= 0:
            return 0
        key = json.dumps([self.seed, self.epoch, str(row.get("file")), str(row["audio"].get("path"))])
        digest = hashlib.sha256(key.encode()).digest()
        return int(np.random.default_rng(int.from_bytes(digest, "big")).integers(last + 1))


class CropByEpoch(TrainerCallback):
    """Tells a [`MOSCollator`] the epoch, before the workers of that epoch start.

    Args:
        collator: of the training data.
    """

    def __init__(self, collator: MOSCollator) -> None:
        self.collator = collator

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Epochs are counted from 0; within a resumed one, the state holds a fraction."""
        self.collator.epoch = int(state.epoch or 0)


class HeadFirst(TrainerCallback):
    """Trains the head alone for the first steps, then all.

    Args:
        steps: number of optimiser steps in which everything but the head stays as it is. Known from the step alone,
            so that a resumed run goes on in the phase that it was in.
    """

    def __init__(self, steps: int) -> None:
        if steps < 0:
            raise ValueError(f"the number of steps of the head alone must not be below 0, got {steps}")
        self.steps = steps

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Freeze or thaw."""
        bare: Any = getattr(model, "module", model)
        bare.frozen_base = state.global_step < self.steps


class MOSTrainer(HubTrainer):
    """A Trainer with a learning rate that falls from the head down to the front end.

    Args:
        layer_decay: factor of the learning rate from each part to the one below it, in (0, 1]: head, Transformer
            layers from the last to the first, front end (Clark et al., ELECTRA, ICLR 2020).
        eval_collator: makes the batches to evaluate on, which must not be cropped at random; `data_collator` if None.
        kwargs: see `Trainer`.
    """

    def __init__(
        self, *args: Any, layer_decay: float = 1.0, eval_collator: MOSCollator | None = None, **kwargs: Any
    ) -> None:
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay must lie in (0, 1], got {layer_decay}")
        self.layer_decay = layer_decay
        self.eval_collator = eval_collator
        super().__init__(*args, **kwargs)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """As in `Trainer`, with `eval_collator`."""
        training_collator = self.data_collator
        self.data_collator = self.eval_collator or training_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = training_collator

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in `Trainer`, with a group for each part of the model and kind of weight decay."""
        if self.layer_decay == 1.0 or self.optimizer is not None:
            return super().create_optimizer(model)
        trained: Any = self.model if model is None else model
        decayed = set(self.get_decay_parameter_names(trained))
        layers = trained.config.hubert_config.num_hidden_layers
        groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((depth(name, layers), name in decayed), []).append(parameter)
        optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
        rate = options.pop("lr", self.args.learning_rate)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "lr": rate * self.layer_decay**below,
                    "weight_decay": self.args.weight_decay if with_decay else 0.0,
                }
                for (below, with_decay), parameters in groups.items()
            ],
            **options,
        )
        return self.optimizer


def depth(name: str, layers: int) -> int:
    """How many parts lie above that of a parameter: 0 for the head, `layers` for the first Transformer layer."""
    if not name.startswith("jsqa."):
        return 0
    layer = re.search(r"encoder\.layers\.(\d+)\.", name)
    if layer is not None:
        return layers - int(layer[1])
    # The mix of the layers and the pooling are next to the head; all else feeds the first layer.
    return 0 if re.match(r"jsqa\.(layer_weights|pooling)", name) else layers + 1


def with_lengths(dataset: datasets.Dataset, max_duration_s: float | None) -> datasets.Dataset:
    """Add the column `length`, in tenths of a second, by which `group_by_length` sorts clips into batches.

    Most formats tell their length in the header; others are decoded once.

    Args:
        dataset: with the column `audio`.
        max_duration_s: to which longer clips are cut.

    Raises:
        ValueError: if a clip cannot be read; the message names it.
    """

    def length(audio: Mapping[str, Any]) -> int:
        with Recording(audio) as recording:
            seconds = recording.length / recording.sampling_rate
        return round(10 * (seconds if max_duration_s is None else min(seconds, max_duration_s)))

    return dataset.add_column("length", [length(audio) for audio in dataset["audio"]])


def padding_waste(lengths: Sequence[float], batch_size: int) -> float:
    """Share of padding in batches of consecutive clips.

    Args:
        lengths: of the clips, in the order in which they are drawn.
        batch_size: number of clips in a batch.
    """
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    return 1 - sum(lengths) / padded
