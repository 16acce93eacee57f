"""SIGTERM and Ctrl-C: finish the step, save a checkpoint, stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch.utils.data import get_worker_info
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

logger = logging.get_logger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A launcher in the same terminal passes Ctrl-C on within this time. Our choice.
_SAME_SIGNAL_S = 1.0


class StopOnSignal(TrainerCallback):
    """Makes a run save a checkpoint and stop at the end of the step in which it gets SIGTERM or SIGINT.

    Ctrl-C once more ends it at once; SIGTERM does not, as launchers pass on what the scheduler has sent already. All
    processes agree on the step, as their signals arrive at different times. An evaluation that is due after this step
    is still done, since without it the run would go on differently. (`Trainer` has `enable_jit_checkpoint` for SIGTERM
    alone, in which every process decides by itself, three seconds later.)

    Attributes:
        received: the signal, or None.
        stopped: whether the run was stopped by it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.stopped = False
        self._time = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def name(self) -> str:
        """Name of the signal, as far as this process knows it."""
        return (self.received or signal.SIGTERM).name

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as shells have it: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + int(self.received or signal.SIGTERM)

    def __enter__(self) -> StopOnSignal:
        # Python lets no other thread set handlers.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._time = signal.Signals(number), time.monotonic()
            logger.warning(f"{self.received.name}: a checkpoint is saved after this step, then the run stops")
        elif number == signal.SIGINT and time.monotonic() - self._time > _SAME_SIGNAL_S:
            raise KeyboardInterrupt

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop if any process got a signal."""
        if self._agreed(args):
            self.stopped = True
            control.should_save = control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stopping ends the epoch early: what is due at the end of one is not due then."""
        if self.stopped and state.epoch != round(state.epoch or 0):
            control.should_evaluate = control.should_save = control.should_log = False

    def _agreed(self, args: TrainingArguments) -> bool:
        if args.world_size == 1:
            return self.received is not None
        flag = torch.tensor(int(self.received is not None), device=args.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())


class SteadyWorkers:
    """A collator for data-loading workers that outlive SIGTERM and SIGINT until the run is over.

    Slurm, torchrun and Ctrl-C signal the workers too. If they ended, the step that is to be finished couldn't be.

    Args:
        collator: what makes the batches.
    """

    def __init__(self, collator: Any) -> None:
        self.collator = collator
        # In memory that the workers share.
        self._over = multiprocessing.RawValue("b", 0)
        self._steady = False

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Make a batch."""
        if not self._steady and get_worker_info() is not None:
            for number in _SIGNALS:
                signal.signal(number, self._handle)
            self._steady = True
        return self.collator(rows)

    def beside(self, collator: Any) -> SteadyWorkers:
        """The same for the workers of another collator, which end together with these."""
        other = SteadyWorkers(collator)
        other._over = self._over
        return other

    def end(self) -> None:
        """Have signals end the workers from now on: on exit, Python waits for those that it has told to end."""
        self._over.value = 1

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._over.value:
            # With any other code torch would report a failure.
            os._exit(0)
