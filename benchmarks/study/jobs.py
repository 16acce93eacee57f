"""Runs that are done once: each leaves a JSON file, and what has one is not done again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workers import deaf_to_interrupts, processes


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        name: path of its JSON file below the output folder, without the ending.
        kind: what to do, for whoever does it.
        arguments: of the training script.
        tests: what else it needs, by name: CSV files of ratings to predict, or the model to judge.
    """

    name: str
    kind: str
    arguments: list[str]
    tests: dict[str, str] = field(default_factory=dict)


Work = Callable[[Job, Path], dict[str, Any]]


def run_jobs(jobs: Sequence[Job], folder: Path, work: Work, number: int = 1) -> dict[str, dict[str, Any]]:
    """Do what is missing, in processes of one thread each, and return all results.

    Args:
        jobs: of different names.
        folder: for their JSON files.
        work: from a job and `folder` to a result that JSON can hold; a function of a module that can be imported.
        number: of those that run at a time.

    Returns:
        Results by name of the job.

    Raises:
        ValueError: if two jobs share a name, or a finished job was done with other arguments.
        ChildProcessError: if jobs failed. The others are done all the same, and a second start does only what failed.
    """
    if len({job.name for job in jobs}) != len(jobs):
        raise ValueError("two jobs have the same name")
    results = {job.name: result for job in jobs if (result := _finished(job, folder)) is not None}
    todo = [job for job in jobs if job.name not in results]
    if not todo:
        return results
    failed = {}
    with processes(min(number, len(todo))) as pool:
        with deaf_to_interrupts():
            running = {pool.submit(_do, job, folder, work): job for job in todo}
        for done, future in enumerate(as_completed(running), 1):
            name = running[future].name
            if (error := future.exception()) is not None:
                failed[name] = error
                print(f"[{done}/{len(todo)}] {name} FAILED: {error}", flush=True)
                continue
            results[name], seconds = future.result()
            print(f"[{done}/{len(todo)}] {name}: {seconds:.0f} s", flush=True)
    if failed:
        name, error = next(iter(failed.items()))
        raise ChildProcessError(f"{len(failed)} of {len(todo)} runs failed, such as {name}: {error}") from error
    return results


def _finished(job: Job, folder: Path) -> dict[str, Any] | None:
    path = folder / f"{job.name}.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["job"] != asdict(job):
        raise ValueError(f"{path} was made with other settings: give another --output_dir, or delete it")
    return content["result"]


def _do(job: Job, folder: Path, work: Work) -> tuple[dict[str, Any], float]:
    start = time.monotonic()
    result = work(job, folder)
    seconds = time.monotonic() - start
    path = folder / f"{job.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under its own name only once it is whole.
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"job": asdict(job), "seconds": seconds, "result": result}) + "\n", encoding="utf-8")
    partial.replace(path)
    return result, seconds
