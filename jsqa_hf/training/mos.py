"""The Trainer of stage 2, with learning rates by part of the model, and a callback that trains the head first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..modeling_jsqa import JSQAForMOSRegression
from .hub_trainer import HubTrainer
from .inner_model import inner_model
from .lengths import BatchesByLength
from .mos_collators import MOSCollator


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
        groups: dict[tuple[bool, int, float, float], dict[str, Any]] = {}
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                # What an adapter has beside the model counts as the head.
                name = names.get(id(parameter), "head")
                rate, decay = group["lr"] * self.layer_decay ** depth(name, layers, stable), group["weight_decay"]
                if of_corpus := name.startswith("corpus_"):
                    rate, decay = self.corpus_learning_rate, 0.0
                new = {**group, "params": [], "lr": rate, "weight_decay": decay}
                groups.setdefault((of_corpus, number, rate, decay), new)["params"].append(parameter)
        # Trainer logs the rate of the first group, which is to be that of the network.
        optimizer.param_groups = [groups[key] for key in sorted(groups, key=lambda key: key[0])]
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
