"""`run.json`: what a run was started with, on what, and how it ended; one record per start."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import TrainingArguments
from transformers.utils import logging

from .. import __version__
from .arguments import resolved_arguments
from .checkpoints import write_whole

logger = logging.get_logger(__name__)

RECORD_NAME = "run.json"

# Those whose version can change a weight or a batch.
_PACKAGES = (
    "transformers",
    "datasets",
    "accelerate",
    "safetensors",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "av",
)


class RunRecord:
    """The record of one start, written to `run.json` beside those of earlier starts in the same folder.

    Each has `status` (`running`, which is also what a killed run leaves, `finished`, `stopped by SIGTERM`,
    `stopped at once` or `failed`), `command`, `started`, `wall_time_s`, `last_step`, `resumed_from`, `arguments`,
    `data`, `versions`, `git`, `hardware`, and `error` where it failed.

    Args:
        training_args: of the run; give the output folder and the number of processes.
        arguments: further dataclasses of arguments.
        data: the datasets by their use.
        resumed_from: the checkpoint, if any.
        write: whether this process is the one that writes.
    """

    def __init__(
        self,
        training_args: TrainingArguments,
        arguments: Sequence[Any],
        data: Mapping[str, Any],
        resumed_from: Path | None,
        write: bool,
    ) -> None:
        self.path = Path(str(training_args.output_dir)) / RECORD_NAME
        self._write = write
        self._clock = time.monotonic()
        if not write:
            return
        command = shlex.join([Path(sys.executable).name, *sys.argv])
        if training_args.hub_token:
            command = command.replace(training_args.hub_token, "<HUB_TOKEN>")
        self.starts = _read(self.path)
        self.starts.append(
            {
                "status": "running",
                "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "command": command,
                "resumed_from": None if resumed_from is None else str(resumed_from),
                "arguments": resolved_arguments([*arguments, training_args]),
                "data": {use: describe_data(rows) for use, rows in data.items() if rows is not None},
                "versions": package_versions(),
                "git": git_state(Path(__file__).parent),
                "hardware": {**describe_hardware(), "processes": training_args.world_size},
            }
        )
        if resumed_from is not None and len(self.starts) > 1:
            for change in changes(self.starts[-2], self.starts[-1]):
                logger.warning(f"{change}: the run goes on, but not as it would have")
        self._save()

    def end(self, status: str, **values: Any) -> None:
        """Write how the run ended.

        Args:
            status: see the class.
            values: further entries.
        """
        if self._write:
            self.starts[-1] |= {"status": status, "wall_time_s": round(time.monotonic() - self._clock, 3), **values}
            self._save()

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps({"starts": self.starts}, indent=2, default=str) + "\n")


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["starts"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of runs: {error!r}; move it away") from error


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two starts and changes the course of a run: arguments, data, versions, code."""
    found = []
    for part in ("arguments", "data", "versions"):
        # As JSON, in which the one before was stored.
        new = json.loads(json.dumps(after[part], default=str))
        old = before.get(part, {})
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name) and name != "resume_from_checkpoint":
                found.append(f"{name} was {old.get(name)} and is now {new.get(name)}")
    return found


def describe_data(rows: Any) -> dict[str, Any]:
    """Number of rows and fingerprint of a dataset, or of each of several; of a stream, how many shards it has.

    The fingerprint is that of `datasets`: it changes with the rows that a table holds, for audio with the paths, but
    not with the contents of the files that they lead to.
    """
    if isinstance(rows, dict):
        return {name: describe_data(one) for name, one in rows.items()}
    if isinstance(rows, datasets.Dataset):
        return {"rows": len(rows), "columns": rows.column_names, "fingerprint": rows._fingerprint}
    if isinstance(rows, datasets.IterableDataset):
        return {"shards": rows.num_shards, "columns": rows.column_names, "fingerprint": None}
    return {"rows": len(rows) if hasattr(rows, "__len__") else None, "type": type(rows).__name__}


def package_versions() -> dict[str, str]:
    """Versions of this package, of Python, and of those packages that can change a result."""
    versions = {"jsqa_hf": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    # Unlike the metadata, it tells for which CUDA it was built.
    return {**versions, "torch": torch.__version__}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Revision of the repository that a folder is in, and whether tracked files differ from it; None outside one."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        # Installed into an environment inside somebody's repository, the package is none of its files.
        if not git("ls-files", str(Path(__file__).resolve())):
            return None
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def describe_hardware() -> dict[str, Any]:
    """Machine, processor cores that may be used, and accelerators of this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"platform": platform.platform(), "host": platform.node(), "cores": cores, "accelerators": accelerators}
