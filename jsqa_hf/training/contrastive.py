"""The Trainer of stage 1: batches of many clips on little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from ..losses import LadderLabels
from .diagnostics import ContrastiveDiagnostics
from .hub_trainer import HubTrainer

_LABELS = ("pair_ids", "content_ids", "quality", "distortion_ids")


class ContrastiveTrainer(HubTrainer):
    """A Trainer for [`JSQAForContrastivePretraining`] that can cache gradients.

    The contrastive loss compares every clip of a batch with every other, so that a batch cannot be split up like that
    of other losses: accumulating gradients adds no negatives. Gradient caching (Gao et al., Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup, RepL4NLP 2021) does it in two passes, of which the first needs no
    graph: project all clips chunk by chunk, take the gradient of the loss with respect to the projections, then
    project each chunk again, with the same dropout and SpecAugment, and go back from its projections. Memory is that
    of one chunk, time that of one more forward pass, and the gradient is exact.

    Args:
        loss_chunk_size: number of clips that go through the model at once; None caches nothing.
        diagnostics: measures that are added to those of each evaluation on their ladders; other data are given none.
        kwargs: see `Trainer`.

    Raises:
        ValueError: for a chunk of less than one clip, or several GPUs in one process.
    """

    def __init__(
        self,
        *args: Any,
        loss_chunk_size: int | None = None,
        diagnostics: ContrastiveDiagnostics | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # The collator makes the model's inputs from columns of other names.
        self.args.remove_unused_columns = False
        if loss_chunk_size is not None and loss_chunk_size < 1:
            raise ValueError(f"loss_chunk_size must be at least 1, got {loss_chunk_size}")
        if self.args.n_gpu > 1:
            raise ValueError(
                f"one process with {self.args.n_gpu} GPUs would compare the clips of each GPU only among themselves: "
                f"start one per GPU with `torchrun --nproc-per-node {self.args.n_gpu}`, or set CUDA_VISIBLE_DEVICES"
            )
        if self.args.world_size > 1:
            # What fills up an uneven last batch would be clips that another process has: negatives of themselves.
            self.args.dataloader_drop_last = True
        self.loss_chunk_size = loss_chunk_size
        self.diagnostics = diagnostics
        if diagnostics is not None:
            self.add_callback(diagnostics)

    def evaluation_loop(self, dataloader: DataLoader[Any], *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As in `Trainer`, with the diagnostics among the metrics if the data are their ladders."""
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        diagnostics = self.diagnostics
        if diagnostics is not None and dataloader.dataset is diagnostics.ladders and output.metrics is not None:
            model: Any = self.model
            prefix = kwargs.get("metric_key_prefix", "eval")
            metrics = diagnostics(model, self.args, self.state.global_step)
            output.metrics.update({f"{prefix}_{name}": value for name, value in metrics.items()})
        return output

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """As in `Trainer`; while training with cached gradients, all chunks but the last go backward in here."""
        if self.loss_chunk_size is None or return_outputs or not torch.is_grad_enabled():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        chunks = _chunks(inputs, self.loss_chunk_size)
        states, projected = [], []
        with torch.no_grad():
            for chunk in chunks:
                states.append(_RandomState(chunk["input_values"]))
                projected.append(_project(model, chunk))
        loss, gradients, temperature_gradient = self._loss_gradients(projected, inputs)
        for chunk, state, gradient in zip(chunks[:-1], states, gradients, strict=False):
            state.restore()
            with self.accelerator.no_sync(model):
                surrogate = (_project(model, chunk)[0] * gradient).sum()
                self.accelerator.backward(surrogate / self.current_gradient_accumulation_steps)
        states[-1].restore()
        projections, temperature = _project(model, chunks[-1])
        surrogate = (projections * gradients[-1]).sum()
        if temperature is not None and temperature_gradient is not None:
            surrogate = surrogate + temperature * temperature_gradient
        # The value of the loss, with the gradient of the surrogate; scaling and backward are Trainer's.
        return loss + surrogate - surrogate.detach()

    def _loss_gradients(
        self, projected: list[tuple[Tensor, Tensor | None]], inputs: dict[str, Any]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """The loss of the whole batch, and its gradients with respect to each chunk's projections and temperature."""
        model: Any = self.accelerator.unwrap_model(self.model)
        projections = torch.cat([projections for projections, _ in projected]).float().requires_grad_()
        learned = projected[0][1]
        temperature = model.config.temperature if learned is None else learned.detach().requires_grad_()
        labels = LadderLabels(*(inputs.get(name) for name in _LABELS))  # type: ignore[arg-type]
        loss = model.contrastive_loss(projections, labels, temperature)
        gradient, *rest = torch.autograd.grad(loss, [projections, *([] if learned is None else [temperature])])
        return loss.detach(), gradient.split(self.loss_chunk_size), rest[0] if rest else None


class _RandomState:
    """The state of the random generators at one moment, so that a forward pass can be made again."""

    def __init__(self, tensor: Tensor) -> None:
        # NumPy draws the masks of SpecAugment, torch all else.
        self._numpy = np.random.get_state()
        self._cpu = torch.get_rng_state()
        self._devices = get_device_states(tensor)

    def restore(self) -> None:
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._cpu)
        set_device_states(*self._devices)


def _chunks(inputs: dict[str, Any], size: int) -> list[dict[str, Tensor]]:
    audio = {name: inputs[name] for name in ("input_values", "attention_mask") if name in inputs}
    parts = {name: values.split(size) for name, values in audio.items()}
    return [dict(zip(parts, chunk, strict=True)) for chunk in zip(*parts.values(), strict=True)]


def _project(model: nn.Module, chunk: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Projections, and the temperature if it is learned."""
    output = model(**chunk, return_loss=False, return_dict=True)
    return output.projections, output.temperature
