"""One run of training: from its arguments to the saved model and its metrics."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import EvalPrediction, Trainer, TrainingArguments
from transformers.utils import CONFIG_NAME

from ..evaluation import write_json
from ..metrics import mos_metrics
from .checkpoints import (
    CheckpointSealer,
    checkpoint_folder,
    find_checkpoint,
    refuse_lost_weights,
    refuse_weights_alone,
    why_incomplete,
)
from .hub_trainer import HubTrainer
from .mos import MOSTrainer
from .record import RunRecord
from .signals import SteadyWorkers, StopOnSignal


def compute_mos_metrics(output_names: Sequence[str]) -> Any:
    """A `compute_metrics` function for Trainer: [`mos_metrics`] per output, under its name if there are several.

    Those of outputs with less than two ratings, which a correlation needs, are left out. Other outputs of the model
    may be missing (`ignore_keys`), and batches may come one by one (`eval_do_concat_batches=False`). If a score of a
    rated clip is not finite, all figures are NaN: a model is not to be chosen by the clips that it can rate.
    """

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        outputs, ratings = (
            part if isinstance(part, list) else [part] for part in (prediction.predictions, prediction.label_ids)
        )
        scores = np.concatenate([part if isinstance(part, np.ndarray) else part[0] for part in outputs])
        # Ratings of a single output may be one number for each clip.
        labels = np.concatenate(ratings).reshape(scores.shape)
        results: dict[str, float] = {}
        for column, name in enumerate(output_names):
            rated = np.isfinite(labels[:, column])
            if rated.sum() < 2:
                continue
            predicted = scores[rated, column]
            finite = np.isfinite(predicted)
            metrics = mos_metrics(np.where(finite, predicted, 0.0), labels[rated, column])
            if not finite.all():
                metrics = {key: value if key == "n" else float("nan") for key, value in metrics.items()}
            prefix = "" if len(output_names) == 1 else f"{name}_"
            results.update({f"{prefix}{key}": value for key, value in metrics.items()})
        return results

    return compute


def run_training(
    trainer: Trainer, args: TrainingArguments, *arguments: Any, before_saving: Callable[[], Any] | None = None
) -> dict[str, float]:
    """Train, resuming from the last whole checkpoint in the output folder if there is one; save model and metrics.

    A run that ended anyhow goes on when it is started again with the same arguments, and ends with the weights that
    it would have had without the break (on a CPU bit for bit, with the same number of processes). SIGTERM and Ctrl-C
    save a checkpoint and end it. `run.json` tells of every start; see [`RunRecord`]. A [`HubTrainer`] also writes the
    model card, and pushes if `push_to_hub` is set.

    Args:
        trainer: built with `args`.
        args: `resume_from_checkpoint` names another checkpoint to go on from, which is then trusted; True is what is
            done anyway.
        arguments: further dataclasses of arguments, for the record.
        before_saving: called when all steps are done, before the model is saved and evaluated; not after a signal.

    Returns:
        All metrics, also in `metrics.json` in the output folder.

    Raises:
        SystemExit: after a signal, with 143 for SIGTERM and 130 for SIGINT.
        OSError: if a checkpoint can't be written; those before it are left as they were.
        ValueError: if weights are no longer finite when they are to be evaluated or saved; likewise. Also if the
            checkpoint holds weights alone, see [`refuse_weights_alone`].
    """
    # A bool is what `Trainer` takes besides; on the command line it is a word.
    named = str(args.resume_from_checkpoint or True).lower() != "true"
    checkpoint = args.resume_from_checkpoint if named else find_checkpoint(args)
    if checkpoint is not None:
        refuse_weights_alone(Path(checkpoint))
    record = RunRecord(
        args,
        arguments,
        {"train": trainer.train_dataset, "eval": trainer.eval_dataset},
        None if checkpoint is None else Path(checkpoint),
        write=trainer.is_world_process_zero(),
    )
    if isinstance(trainer, HubTrainer):
        trainer.run_arguments = arguments
    stop = StopOnSignal()
    initial, save_total_limit = args.eval_on_start, args.save_total_limit
    trainer.add_callback(stop)
    trainer.add_callback(CheckpointSealer(save_total_limit))
    args.save_total_limit = None
    # The start was evaluated when the run began, and early stopping would count it twice.
    args.eval_on_start = args.eval_on_start and checkpoint is None
    trainer.data_collator = workers = SteadyWorkers(trainer.data_collator)
    if isinstance(trainer, MOSTrainer) and trainer.eval_collator is not None:
        trainer.eval_collator = workers.beside(trainer.eval_collator)
    try:
        with stop:
            metrics = _train(trainer, args, checkpoint)
        if stop.stopped and trainer.state.global_step < trainer.state.max_steps:
            record.end(f"stopped by {stop.name}", last_step=trainer.state.global_step)
            raise SystemExit(stop.exit_code)
        refuse_lost_weights(trainer.model, args, trainer.state.global_step)
        # As they were given, for whoever reads them beside the model.
        args.save_total_limit, args.eval_on_start = save_total_limit, initial
        if before_saving is not None:
            before_saving()
        _save(trainer, args, metrics, initial)
    except Exception:
        record.end("failed", last_step=trainer.state.global_step, error=traceback.format_exc())
        raise
    except KeyboardInterrupt:
        record.end("stopped at once", last_step=trainer.state.global_step)
        raise
    finally:
        workers.end()
    record.end("finished", last_step=trainer.state.global_step)
    return metrics


def _train(trainer: Trainer, args: TrainingArguments, checkpoint: Path | str | None) -> dict[str, float]:
    """Train, and name what is at fault if a checkpoint can't be written."""
    try:
        metrics = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint)).metrics
    except Exception as error:
        written = checkpoint_folder(args, trainer.state.global_step)
        # Between the steps a folder without a list of its files is there only while it is being filled.
        if not written.is_dir() or why_incomplete(written) is None:
            raise
        if trainer.is_world_process_zero():
            shutil.rmtree(written, ignore_errors=True)
        raise OSError(
            f"{written} could not be written ({one_line(error)}). If the disk is full, make room and start again with "
            "the same command: the run goes on from the checkpoint before, which is left as it was"
        ) from error
    metrics["train_steps"] = trainer.state.global_step
    return metrics


def _save(trainer: Trainer, args: TrainingArguments, metrics: dict[str, float], initial: bool) -> None:
    """Write the trained model, evaluate it, and write the state of the run and the metrics, which this adds to.

    The configuration is written twice: an evaluation may add to it.

    `initial`: whether the first evaluation was before the first step.
    """
    evaluations = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    # There is none where `dataloader_drop_last` leaves no whole batch to evaluate on.
    if initial and evaluations:
        metrics["initial_eval_loss"] = evaluations[0]
    # First: what was learned outlives an evaluation that fails, and one in half precision (`bf16_full_eval`) converts
    # the model.
    trainer.save_model()
    if trainer.eval_dataset is not None:
        metrics |= trainer.evaluate()
    trainer.save_state()
    output = Path(str(args.output_dir))
    if trainer.is_world_process_zero():
        write_metrics(output / "metrics.json", metrics)
    # With the calibration that the evaluation found. What is saved of an adapter has no configuration.
    if args.should_save and (output / CONFIG_NAME).is_file():
        model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
        model.config.save_pretrained(output)
    if isinstance(trainer, HubTrainer):
        trainer.publish()


def run_script(main: Callable[[], Any]) -> int:
    """Run a script's `main`; for errors in what was asked for or given, print one line instead of a traceback.

    Returns:
        The exit code: 0, 1 after an error, or 130 after Ctrl-C. The traceback is in `run.json` if the run had begun.
    """
    code = 0
    try:
        main()
    except (OSError, ValueError, ImportError, StrictDataclassError) as error:
        print(f"{Path(sys.argv[0]).name}: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        return 130
    except SystemExit as error:
        if error.code is not None and not isinstance(error.code, int):
            raise
        code = error.code or 0
    _leave_process_group(code)
    return code


def _leave_process_group(code: int) -> None:
    """As one of several processes, leave the others and exit here; return if this is the only one.

    The threads of torch.distributed live on with the wrapped model, and abort the process if one of them drops the
    last tensor of a collective while the interpreter is being finalized (github.com/pytorch/pytorch/issues/190489).
    So everything is done that is registered to be done at exit, and the finalization is left out.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.destroy_process_group()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def one_line(error: BaseException) -> str:
    """What went wrong, on one line; of an error in a worker that loads data, what went wrong there."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error).strip()
    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        # The error of the configuration itself, without the name of the validator.
        text = str(error.__cause__)
    if "Original Traceback" in text:
        # torch appends the traceback of the worker, which ends with the error and its message.
        kind = text.partition("Caught ")[2].partition(" ")[0]
        text = text.rpartition(f"{kind}: ")[2]
    return " ".join(text.split()) or type(error).__name__


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as JSON, in the order of their names; see [`write_json`]."""
    write_json(path, metrics, sort_keys=True)
