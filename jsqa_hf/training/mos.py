"""What stage 2 adds to `Trainer`: batches of clips and ladders, crops, layer-wise learning rates, freezing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import datasets
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler
from transformers import BatchFeature, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..feature_extraction_jsqa import JSQAFeatureExtractor
from ..modeling_jsqa import JSQAForMOSRegression
from ..mos_losses import vote_weights
from .collators import ContrastiveCollator, decode_column_value
from .hub_trainer import HubTrainer
from .inner_model import inner_model
from .lengths import BatchesByLength

Crop = Literal["none", "start", "random"]


class MOSCollator:
    """Rated clips of [`jsqa_hf.data.load_mos`] with labels → a batch of [`JSQAForMOSRegression`].

    Args:
        feature_extractor: resamples and pads the clips.
        max_duration_s: longer clips are cut, unless `crop` is `"none"` (30, the clip length of the paper).
        crop: what is left of longer clips: all of them (`"none"`), their `"start"`, or a `"random"` part. Which one
            is known from seed, epoch, listening test and file alone, so that neither the number of processes or
            workers nor a resumed run changes it.
        votes_of_half_weight: number of votes at which a clip counts half as much as one with very many, see
            [`jsqa_hf.mos_losses.vote_weights`]; None weighs all alike.
        seed: of the crops.

    Attributes:
        epoch: of the crops, counted from 0; [`MOSTrainer`] keeps it in step.
    """

    def __init__(
        self,
        feature_extractor: JSQAFeatureExtractor,
        max_duration_s: float = 30.0,
        crop: Crop = "start",
        votes_of_half_weight: float | None = None,
        seed: int = 0,
    ) -> None:
        if crop not in ("none", "start", "random"):
            raise ValueError(f"crop must be none, start or random, got {crop!r}")
        if not max_duration_s > 0:
            raise ValueError(f"max_duration_s must be positive, got {max_duration_s}; crop none leaves clips whole")
        if votes_of_half_weight is not None and not votes_of_half_weight >= 0:
            raise ValueError(f"votes_of_half_weight must not be below 0, got {votes_of_half_weight}")
        self.feature_extractor = feature_extractor
        self.max_duration_s = max_duration_s
        self.crop = crop
        self.votes_of_half_weight = votes_of_half_weight
        self.seed = seed
        # In memory that the workers share: they may outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows with `audio`, and perhaps `labels`, `n_votes` and `corpus_id` → tensors.

        `input_values` and `attention_mask` (clips, samples), and where the rows and the arguments tell, `labels`
        (clips, outputs), `clip_weights` and `corpus_ids` (clips,). Labels of a row may be one number for one output.

        Raises:
            ValueError: if a clip cannot be decoded or used; the message names its file.
        """
        clips = [self._samples(row) for row in rows]
        batch = self.feature_extractor.pad(BatchFeature({"input_values": clips}), return_tensors="pt")
        result = dict(batch)
        if any("labels" in row for row in rows):
            labels = torch.tensor([row["labels"] for row in rows], dtype=torch.float32)
            result["labels"] = labels[:, None] if labels.ndim == 1 else labels
        if self.votes_of_half_weight is not None:
            counts = [row.get("n_votes") for row in rows]
            votes = torch.tensor([float("nan") if count is None else float(count) for count in counts])
            result["clip_weights"] = vote_weights(votes, self.votes_of_half_weight)
        if all("corpus_id" in row for row in rows):
            result["corpus_ids"] = torch.tensor([row["corpus_id"] for row in rows])
        return result

    def _samples(self, row: Mapping[str, Any]) -> np.ndarray:
        samples, sampling_rate = decode_column_value(row["audio"])
        if self.crop != "none":
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
        return int(self.random(row).integers(last + 1))

    def random(self, row: Mapping[str, Any], *purpose: str) -> np.random.Generator:
        """A generator for what is drawn for a row in this epoch."""
        # Not the path: the same data may lie elsewhere on another machine.
        name = row.get("file") or row["audio"].get("path")
        key = json.dumps([self.seed, self.epoch, row.get("corpus_id"), name, *purpose])
        digest = hashlib.sha256(key.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))


class LadderedMOSCollator(MOSCollator):
    """As [`MOSCollator`], with ladders of JND pairs in every batch, which nobody has rated.

    They let [`JSQAForMOSRegression`] learn which of two clips is better where ratings are few.

    Args:
        ladders: rows of [`jsqa_hf.jnd.JNDPairGenerator`].
        ladders_per_clip: how many come with a rated clip, above 0; 0.5 gives one to every other clip on average. Which
            ones, and to which clips, is known as crops are.
        args, kwargs: see [`MOSCollator`].
    """

    def __init__(self, ladders: Any, ladders_per_clip: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not ladders_per_clip > 0:
            raise ValueError(f"ladders_per_clip must be above 0, got {ladders_per_clip}")
        if "severity_jnd" not in ladders[0]:
            raise ValueError("the JND pairs have no column severity_jnd: make them with `jsqa pairs`")
        self.ladders, self.ladders_per_clip = ladders, ladders_per_clip
        self.collate_ladders = ContrastiveCollator(self.feature_extractor)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As [`MOSCollator`], the clips of the ladders last.

        Their `labels` are NaN, their `clip_weights` 1 and their `corpus_ids` 0. `content_ids`, `quality` and
        `distortion_ids` (clips,) are as of [`ContrastiveCollator`]; every rated clip is a content of its own.
        """
        batch = super().__call__(rows)
        count = len(rows)
        batch["content_ids"] = -1 - torch.arange(count)
        batch["quality"] = torch.zeros(count)
        batch["distortion_ids"] = torch.zeros(count, dtype=torch.int64)
        drawn = [self.ladders[index] for row in rows for index in self._drawn(row)]
        if not drawn:
            return batch
        ladders = self.collate_ladders(drawn)
        further = len(ladders["input_values"])
        for name, value in (("labels", float("nan")), ("clip_weights", 1.0), ("corpus_ids", 0)):
            if name in batch:
                ladders[name] = batch[name].new_full((further, *batch[name].shape[1:]), value)
        samples = max(part["input_values"].shape[1] for part in (batch, ladders))
        for part in (batch, ladders):
            for name in ("input_values", "attention_mask"):
                part[name] = F.pad(part[name], (0, samples - part[name].shape[1]))
        return {name: torch.cat([values, ladders[name]]) for name, values in batch.items()}

    def _drawn(self, row: Mapping[str, Any]) -> list[int]:
        generator = self.random(row, "ladders")
        count = int(self.ladders_per_clip + generator.random())
        return generator.integers(len(self.ladders), size=count).tolist()  # type: ignore[no-any-return]


class _TellEpoch(TrainerCallback):
    """Tells those whose data depend on the epoch, before its first batch is drawn."""

    def __init__(self) -> None:
        self.listeners: dict[str, MOSCollator | BatchesByLength] = {}

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for listener in self.listeners.values():
            # Within an epoch that is resumed, the state holds a fraction.
            listener.epoch = int(state.epoch or 0)


class HeadFirst(TrainerCallback):
    """Trains the head alone for the first steps, then all.

    Args:
        steps: number of optimiser steps in which everything but the head stays as it is. Known from the step alone,
            so that a resumed run goes on in the phase that it was in. Several processes with gradient checkpointing
            need `ddp_find_unused_parameters=True`, as what is frozen gets no gradient.
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
        _unwrapped(model).frozen_base = state.global_step < self.steps


def _unwrapped(model: nn.Module | None) -> JSQAForMOSRegression:
    """See [`inner_model`].

    Raises:
        TypeError: if there is none.
    """
    assert model is not None
    if (inner := inner_model(model, JSQAForMOSRegression)) is None:
        raise TypeError(f"a {type(model).__name__} holds no {JSQAForMOSRegression.__name__}, which is what is trained")
    return inner  # type: ignore[no-any-return]


class MOSTrainer(HubTrainer):
    """A Trainer with learning rates by part of the model, and with crops and batches by length that a break or
    another number of processes does not change.

    Args:
        layer_decay: factor of the learning rate from each part to the one below it, in (0, 1]: head, Transformer
            layers from the last to the first, front end (Clark et al., ELECTRA, ICLR 2020).
        corpus_learning_rate: learning rate of the scales and offsets of listening tests, which are not drawn to zero
            by weight decay. Under Adam it is about how far one step moves them, in points of the rating scale, so
            that the learning rate of the network would be far too small for them. 0.01 is our choice.
        eval_collator: makes the batches to evaluate on and to predict, which must not be cropped at random nor hold
            ladders; `data_collator` if None.
        kwargs: see `Trainer`.
    """

    def __init__(
        self,
        *args: Any,
        layer_decay: float = 1.0,
        corpus_learning_rate: float = 0.01,
        eval_collator: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay must lie in (0, 1], got {layer_decay}")
        if not corpus_learning_rate >= 0:
            raise ValueError(f"corpus_learning_rate must not be below 0, got {corpus_learning_rate}")
        self.layer_decay = layer_decay
        self.corpus_learning_rate = corpus_learning_rate
        self.eval_collator = eval_collator
        super().__init__(*args, **kwargs)
        # The collators make the model's inputs from columns of other names.
        self.args.remove_unused_columns = False
        self._tell_epoch = _TellEpoch()
        if isinstance(self.data_collator, MOSCollator):
            self._tell_epoch.listeners["collator"] = self.data_collator
        self.add_callback(self._tell_epoch)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """As in `Trainer`, with `eval_collator`."""
        with self._collating_to_evaluate():
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """As in `Trainer`, with `eval_collator`."""
        with self._collating_to_evaluate():
            return super().get_test_dataloader(test_dataset)

    @contextmanager
    def _collating_to_evaluate(self) -> Iterator[None]:
        training_collator = self.data_collator
        self.data_collator = self.eval_collator or training_collator
        try:
            yield
        finally:
            self.data_collator = training_collator

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        step_size = self._train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        name = self.args.length_column_name
        lengths = dataset[name] if isinstance(dataset, datasets.Dataset) else [row[name] for row in dataset]
        sampler = BatchesByLength(lengths, step_size, seed)
        self._tell_epoch.listeners["sampler"] = sampler
        return sampler

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in `Trainer`, with its groups split by learning rate."""
        if self.optimizer is not None:
            return super().create_optimizer(model)
        optimizer = super().create_optimizer(model)
        trained = _unwrapped(self.model if model is None else model)
        names = {id(parameter): name for name, parameter in trained.named_parameters()}
        hubert = trained.config.hubert_config
        layers, stable = hubert.num_hidden_layers, hubert.do_stable_layer_norm
        groups: dict[tuple[int, float, float], dict[str, Any]] = {}
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                # What an adapter has beside the model counts as the head.
                name = names.get(id(parameter), "head")
                rate, decay = group["lr"] * self.layer_decay ** depth(name, layers, stable), group["weight_decay"]
                if name.startswith("corpus_"):
                    rate, decay = self.corpus_learning_rate, 0.0
                new = {**group, "params": [], "lr": rate, "weight_decay": decay}
                groups.setdefault((number, rate, decay), new)["params"].append(parameter)
        optimizer.param_groups = list(groups.values())
        return optimizer


def depth(name: str, layers: int, stable_layer_norm: bool = False) -> int:
    """How many parts lie above that of a parameter: 0 for the head, `layers` for the first Transformer layer.

    Args:
        name: of the parameter.
        layers: number of Transformer layers.
        stable_layer_norm: whether the normalisation of the encoder comes after its layers instead of before.
    """
    if not name.startswith("jsqa."):
        return 0
    layer = re.search(r"encoder\.layers\.(\d+)\.", name)
    if layer is not None:
        return layers - int(layer[1])
    if stable_layer_norm and "encoder.layer_norm." in name:
        return 0
    # The mix of the layers and the pooling are next to the head; all else feeds the first layer.
    return 0 if re.match(r"jsqa\.(layer_weights|pooling)", name) else layers + 1


def on_scale(
    ratings: Sequence[Sequence[float]], given: tuple[float, float], wanted: tuple[float, float]
) -> list[list[float]]:
    """Map ratings linearly from their own scale to another.

    Args:
        ratings: (clips, outputs), NaN where there is none.
        given: lowest and highest value of their scale.
        wanted: the same of the other one.
    """
    if tuple(given) == tuple(wanted):
        return [list(row) for row in ratings]
    (low, high), (lowest, highest) = given, wanted
    return (lowest + (np.array(ratings) - low) * (highest - lowest) / (high - low)).tolist()
