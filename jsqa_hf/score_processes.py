"""The processes of `accelerate launch` or `torchrun` that share the scoring of many files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

__all__ = ["Processes", "launched_processes"]

Value = TypeVar("Value")

# Processes with short files wait for the one with the longest: no wait may end before.
_TIMEOUT = timedelta(days=30)


@dataclass(frozen=True)
class Processes:
    """This process among those that were launched together.

    Attributes:
        index: number of this process, from 0, over all nodes.
        count: of all processes.
        local_index: number of this process on its node.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process does what is done once."""
        return self.index == 0

    def device(self, asked_for: str | None) -> str | None:
        """The device of this process: accelerators of a node are dealt out in turn, unless one was asked for."""
        if asked_for is not None or self.count == 1:
            return asked_for
        import torch

        accelerator = torch.accelerator.current_accelerator()
        if accelerator is None or not torch.accelerator.is_available():
            return "cpu"
        return f"{accelerator.type}:{self.local_index % torch.accelerator.device_count()}"

    def from_main(self, value: Value) -> Value:
        """What the main process passes here; all processes must call this."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def share(self, items: Sequence[Value]) -> Sequence[Value]:
        """Every n-th item, so that no two processes have the same one."""
        return items[self.index :: self.count]

    def total(self, number: int) -> int:
        """Sum over all processes; waits for all, so all must call this."""
        if self.count == 1:
            return number
        from accelerate.utils import gather_object

        return sum(gather_object([number]))


@contextmanager
def launched_processes() -> Iterator[Processes]:
    """Join the processes that were launched together, if any, and leave them in the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    from accelerate import PartialState

    # On the CPU: what is exchanged are names of files.
    state: Any = PartialState(cpu=True, timeout=_TIMEOUT)
    try:
        yield Processes(state.process_index, state.num_processes, state.local_process_index)
    finally:
        state.destroy_process_group()
