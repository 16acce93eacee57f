"""Checkpoints that are whole: what was written in full is listed, and nothing else is resumed from."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from transformers.utils import logging

logger = logging.get_logger(__name__)

MANIFEST_NAME = "complete.json"
_BLOCK = 1 << 20


class CheckpointSealer(TrainerCallback):
    """Lists the files of a checkpoint once all processes have written theirs, and only then removes older ones.

    `Trainer` writes a checkpoint in place, so a run that is killed meanwhile leaves a folder that looks like one. It
    also removes the older ones before it is known that the new one is whole; hence this callback does that instead.
    It also ends a run before weights that are not finite are evaluated or saved, see [`refuse_lost_weights`].

    Args:
        save_total_limit: how many checkpoints to keep; None: all. `Trainer` must not be given it.
    """

    def __init__(self, save_total_limit: int | None) -> None:
        self.save_total_limit = save_total_limit

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Before an evaluation or a checkpoint, look at the weights."""
        if control.should_evaluate or control.should_save:
            refuse_lost_weights(model, args, state.global_step)

    on_epoch_end = on_step_end

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """List the files, then remove the oldest checkpoints beyond the limit."""
        PartialState().wait_for_everyone()
        if not state.is_world_process_zero:
            return
        write_manifest(checkpoint_folder(args, state.global_step), state.global_step, args.world_size)
        rotate_checkpoints(
            output_dir=str(args.output_dir),
            save_total_limit=self.save_total_limit,
            best_model_checkpoint=state.best_model_checkpoint,
        )


def checkpoint_folder(args: TrainingArguments, step: int) -> Path:
    """Where `Trainer` saves the state after a step."""
    return Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def refuse_lost_weights(model: nn.Module | None, args: TrainingArguments, step: int) -> None:
    """Refuse weights that are not finite: none of the steps that follow makes numbers of them again.

    Args:
        model: those of its weights that are trained are looked at.
        args: of the run.
        step: the optimizer step after which this is asked.

    Raises:
        ValueError: names a weight, the step, and the last checkpoint.
    """
    assert model is not None
    trained = {name: values for name, values in model.named_parameters() if values.requires_grad}
    lost = [name for name, values in trained.items() if not values.isfinite().all()]
    if not lost:
        return
    whole = [folder for folder in _checkpoints(Path(str(args.output_dir))) if (folder / MANIFEST_NAME).is_file()]
    kept = f"the last good checkpoint is {whole[0]}" if whole else f"{args.output_dir} has no checkpoint from before"
    raise ValueError(
        f"after step {step}, {len(lost)} of {len(trained)} weights are NaN or infinite, such as {lost[0]}, and are "
        f"not saved; {kept}. Start anew in another --output_dir with a lower --learning_rate, as a checkpoint brings "
        "its own"
    )


def write_manifest(folder: Path, step: int, processes: int) -> None:
    """List all files of a checkpoint with their sizes and checksums, as its last file.

    Args:
        folder: the checkpoint; all of its files must have been written.
        step: the optimizer step after which it was taken.
        processes: how many processes take part in the run.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST_NAME:
            # On the disk before the list is, so that a power failure can't leave the list alone.
            with path.open("rb") as file:
                os.fsync(file.fileno())
            files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "crc32": _checksum(path)}
    manifest = {"step": step, "processes": processes, "files": files}
    write_whole(folder / MANIFEST_NAME, json.dumps(manifest, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that at any time either the old one or the new one is there in full."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def why_incomplete(folder: Path) -> str | None:
    """Why a checkpoint can't be trusted, or None if it is as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {expected['bytes']}"
            if _checksum(path) != expected["crc32"]:
                return f"{name} has changed since it was written"
    except FileNotFoundError:
        return f"it was not written to its end: {MANIFEST_NAME} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST_NAME} can't be used: {error}"
    return None


def find_checkpoint(args: TrainingArguments) -> Path | None:
    """Find the newest whole checkpoint in the output folder, the same for all processes.

    Newer ones that are not whole are renamed to `incomplete-checkpoint-STEP`, so that they neither count as
    checkpoints nor get lost, and reported.
    """
    found: list[str | None] = [None]
    if PartialState().is_main_process:
        found = [_newest_whole(Path(str(args.output_dir)), args.world_size)]
    if PartialState().num_processes > 1:
        broadcast_object_list(found)
    return None if found[0] is None else Path(found[0])


def refuse_weights_alone(checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint of `save_only_model`: optimizer and learning rate would begin anew.

    Raises:
        ValueError: names the checkpoint.
    """
    # What `Trainer` writes in any case but this one; the optimizer has other names under FSDP and DeepSpeed.
    if checkpoint.is_dir() and not any(checkpoint.glob("rng_state*.pth")):
        raise ValueError(
            f"{checkpoint} was saved with save_only_model, and a run can't go on from weights alone: start anew in "
            f"another --output_dir, from these weights with --model {checkpoint} (stage 1: --backbone), or all over "
            "without save_only_model"
        )


def _newest_whole(output: Path, processes: int) -> str | None:
    for folder in _checkpoints(output):
        reason = why_incomplete(folder)
        if reason is None:
            written_by = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["processes"]
            if written_by != processes:
                logger.warning(
                    f"{folder} was written by {written_by} process(es), this run has {processes}: "
                    "it goes on, but not exactly as the other would have"
                )
            return str(folder)
        aside = folder.with_name(f"incomplete-{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        logger.warning(f"{folder} is not used ({reason}) and now called {aside.name}")
    return None


def _checkpoints(output: Path) -> list[Path]:
    """The folders of checkpoints, whole or not, the newest first."""
    folders = [path for path in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir() and _step(path) is not None]
    return sorted(folders, key=lambda path: _step(path) or 0, reverse=True)


def _step(folder: Path) -> int | None:
    number = folder.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
    return int(number) if number.isdecimal() else None


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value
