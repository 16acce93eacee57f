"""A `Trainer` whose pushes to the Hub carry a card of the run, the arguments, the logs, and no pickles."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import CommitInfo, HfApi
from transformers import EarlyStoppingCallback, Trainer
from transformers.dynamic_module_utils import custom_object_save
from transformers.trainer_utils import EvalLoopOutput, HubStrategy, default_compute_objective
from transformers.utils import logging

from ..auto import TASK
from ..model_card import render_run_card
from ..modeling_jsqa import JSQAForMOSRegression
from ..pipeline_jsqa import SpeechQualityPipeline
from .arguments import resolved_arguments
from .checkpoints import write_whole
from .hub import CARD_NAME, TRAINING_ARGUMENTS_NAME, files_to_push, push_files, refuse_pickles
from .inner_model import is_kind, saved_as
from .run_card import summarise_run

logger = logging.get_logger(__name__)


def _objective(metrics: dict[str, float]) -> float:
    counted = "num_input_tokens_seen"
    return default_compute_objective({name: value for name, value in metrics.items() if name != counted})


class HubTrainer(Trainer):
    """A `Trainer` that writes the model card from the run itself and pushes as [`files_to_push`] says.

    `save_model` only saves: a run is pushed at every save, if `hub_strategy` says so, and by `publish` at its end.
    Pushes while training go on in the background, and one that fails is only reported.

    Args:
        args: see `Trainer`.
        kwargs: see `Trainer`.

    Attributes:
        run_arguments: further dataclasses of arguments, for the card.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.run_arguments: Sequence[Any] = ()
        self._clock = time.monotonic()
        self._pushes: list[Future[CommitInfo]] = []
        self._predictions: dict[str, tuple[Any, Any, Any]] = {}
        self._evaluated_step: int | None = None
        # Whether early stopping had ended the run that goes on.
        self._stopped_before = False
        super().__init__(*args, **kwargs)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in `Trainer`, which calls it before training if `push_to_hub` is set.

        Raises:
            ValueError: if bare weights would be pushed, which the Hub could give nobody back as a model, or pickles.
        """
        refuse_pickles(self.args)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if saved_as(model) == "weights":
            raise ValueError(
                f"push_to_hub: a {type(model).__name__} is saved as bare weights, without a configuration to load "
                "them by: train the model itself or an adapter of PEFT, or leave push_to_hub out"
            )
        super().init_hf_repo(token, private)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As in `Trainer`; what an evaluation gives stays here for the intervals and calibration of the card.

        What `predict` gives does not, nor an evaluation whose `metric_key_prefix` is another than `"eval"`, or, of
        several sets, `"eval_"` and the name of one.
        """
        output = super().evaluation_loop(*args, **kwargs)
        sets = self.eval_dataset
        names = {f"eval_{name}": name for name in sets} if isinstance(sets, dict) else {"eval": ""}
        predictions, name = output.predictions, names.get(kwargs.get("metric_key_prefix", "eval"))
        if name is not None:
            self._evaluated_step = self._weights_step
        # One array alone where the caller asked for no more, see `ignore_keys`.
        if (
            name is not None
            and output.label_ids is not None
            and isinstance(predictions, tuple)
            and len(predictions) > 1
        ):
            scores, variances, labels = (
                np.asarray(part, dtype=float) for part in (*predictions[:2], output.label_ids)
            )
            self._predictions[name] = scores, variances, labels[:, None] if labels.ndim == 1 else labels
        return output

    @property
    def _weights_step(self) -> int:
        """The step that the weights are of: the last one, or, after training, that of the best if that is loaded."""
        kept = self.args.load_best_model_at_end and self.state.best_model_checkpoint and not self.is_in_train
        return self.state.best_global_step or 0 if kept else self.state.global_step

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As in `Trainer`, which asks only after a step whether it was the last: none follows when all are done."""
        stopped_before, self._stopped_before = self._stopped_before, False
        if self.state.global_step < self.state.max_steps and not stopped_before:
            super()._run_epoch(*args, **kwargs)
        else:
            # A stream has epochs without end.
            self.control.should_training_stop = True

    def _load_callback_state(self) -> None:
        """As in `Trainer`, which goes on from a checkpoint; a run that early stopping had ended then does no more.

        The patience that is asked for now counts: more than before lets such a run go on.
        """
        states: Any = self.state.stateful_callbacks
        for callback in self._early_stopping():
            stored = states.get(type(callback).__name__)
            if isinstance(stored, dict):
                stored["args"] = callback.state()["args"]
        super()._load_callback_state()
        self._stopped_before = any(
            each.early_stopping_patience_counter >= each.early_stopping_patience for each in self._early_stopping()
        )

    def _early_stopping(self) -> list[EarlyStoppingCallback]:
        return [each for each in self.callback_handler.callbacks if isinstance(each, EarlyStoppingCallback)]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As in `Trainer`, but what is drawn at random in it does not change the steps that follow.

        A run that goes on from the checkpoint of the last step of an epoch does not evaluate that epoch again.
        """
        with torch.random.fork_rng(devices=[]):
            return super().evaluate(*args, **kwargs)

    def hyperparameter_search(
        self,
        hp_space: Any = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As in `Trainer`; the count of samples that were seen is no part of its default objective."""
        return super().hyperparameter_search(hp_space, compute_objective or _objective, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in `Trainer`, without a push, and with the code of the pipeline where the model is one for it."""
        model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if is_kind(model, JSQAForMOSRegression) and "mos" in model.config.mos_output_names:
            if self.args.should_save:
                folder = Path(output_dir or str(self.args.output_dir))
                folder.mkdir(parents=True, exist_ok=True)
                # Before the model, which names a pipeline only beside its code.
                custom_object_save(SpeechQualityPipeline, folder)
            implementation = f"{SpeechQualityPipeline.__module__.rpartition('.')[2]}.{SpeechQualityPipeline.__name__}"
            model.config.custom_pipelines = {TASK: {"impl": implementation, "pt": ["AutoModel"], "type": "audio"}}
        super().save_model(output_dir, _internal_call=True)

    def create_model_card(self, *args: Any, finished: bool = True, **kwargs: Any) -> None:
        """Write README.md and `training_args.json` into the output folder.

        Args:
            args: not used; `Trainer` has them.
            finished: whether no more steps are to come.
            kwargs: not used; `Trainer` has them.
        """
        if not self.is_world_process_zero():
            return
        output = Path(str(self.args.output_dir))
        output.mkdir(parents=True, exist_ok=True)
        hours = (time.monotonic() - self._clock) / 3600
        steps = self._weights_step, self._evaluated_step
        summary = summarise_run(self, self.run_arguments, self._predictions, steps, hours, finished)
        values = json.dumps(resolved_arguments([*self.run_arguments, self.args]), indent=2, default=str)
        write_whole(output / TRAINING_ARGUMENTS_NAME, values + "\n")
        write_whole(output / CARD_NAME, render_run_card(summary))

    def publish(self) -> None:
        """Write the card of the ended run, whose model is saved, and push it if `push_to_hub` says so.

        Raises:
            OSError: if it can't be pushed; the message says how to push it later.
        """
        self.create_model_card()
        if self.args.push_to_hub and self.is_world_process_zero():
            self._push("End of training")

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As in `Trainer`: save and push; all processes must call it.

        The best model of several is evaluated before, if the last evaluation was of another, for the card.

        Returns:
            In the first process what the commit was, or its future if not `blocking`; None in others.

        Raises:
            OSError: if it can't be pushed; the message says how to push it later.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
            self.args.hub_model_id = self.hub_model_id
        self.save_model()
        if self._weights_step != self.state.global_step and self._weights_step != self._evaluated_step:
            self.evaluate()
        if not self.is_world_process_zero():
            return None
        self.create_model_card()
        return self._push(commit_message or "End of training", blocking, token, revision)

    def _push(
        self, message: str, blocking: bool = True, token: str | None = None, revision: str | None = None
    ) -> CommitInfo | Future[CommitInfo]:
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        wait(self._pushes)
        return push_files(
            HfApi(token=token or self.args.hub_token),
            str(self.hub_model_id),
            files_to_push(Path(str(self.args.output_dir))),
            message,
            revision=revision or self.args.hub_revision,
            background=not blocking,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push a checkpoint's model in the background; `Trainer` calls this after each save in every process."""
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        self._pushes = [push for push in self._pushes if not push.done()]
        if self._pushes and not self.args.hub_always_push:
            return
        try:
            self._push_copy(Path(checkpoint_folder))
        # Whatever is wrong with a push, a run that has days behind it must not end by it.
        except Exception as error:
            logger.warning(f"step {self.state.global_step} could not be pushed: {error}")

    @cached_property
    def _background_hub(self) -> HfApi:
        """One client for all: each has a queue of its own, and a push is not to overtake that of an earlier step."""
        return HfApi(token=self.args.hub_token)

    def _push_copy(self, checkpoint: Path) -> None:
        """Push copies: the checkpoint may be removed, and the logs grow, before the push has ended."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.create_model_card(finished=False)
        output, step = Path(str(self.args.output_dir)), self.state.global_step
        copies = Path(tempfile.mkdtemp(prefix=".push-", dir=output))

        def end(push: Future[CommitInfo] | None) -> None:
            shutil.rmtree(copies, ignore_errors=True)
            if push is not None and push.exception() is not None:
                logger.warning(f"step {step} could not be pushed: {push.exception()}")

        try:
            files = {}
            for name, path in files_to_push(output, checkpoint).items():
                files[name] = copies / name
                files[name].parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, files[name])
            hub, message = self._background_hub, f"Training in progress, step {step}"
            push: Any = push_files(
                hub, str(self.hub_model_id), files, message, revision=self.args.hub_revision, background=True
            )
        except BaseException:
            end(None)
            raise
        self._pushes.append(push)
        push.add_done_callback(end)
