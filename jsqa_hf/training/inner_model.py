"""The JSQA model within what is trained, and what is saved of it."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.utils import is_peft_available

from ..model_card import Saved


def inner_model(model: nn.Module, kind: type[nn.Module]) -> Any:
    """The model within what wraps it for several processes, `torch.compile` or adapters such as those of PEFT.

    Args:
        model: what is trained.
        kind: class of the model, or one that it inherits from.

    Returns:
        The model, `model` itself if nothing wraps it; None if there is none of this kind.
    """
    return next((module for module in model.modules() if is_kind(module, kind)), None)


def is_kind(model: nn.Module, kind: type[nn.Module]) -> bool:
    """As `isinstance`, but by name: the class can be one that came with a folder (`trust_remote_code`)."""
    return any(base.__name__ == kind.__name__ for base in type(model).__mro__)


def saved_as(model: nn.Module) -> Saved:
    """What `Trainer` saves of a model that is not wrapped for several processes or by `torch.compile`."""
    if is_peft_available():
        from peft import PeftModel

        if isinstance(model, PeftModel):
            return "adapter"
    return "model" if isinstance(model, PreTrainedModel) else "weights"
