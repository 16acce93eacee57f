"""Decoding and rating of many files at the same time, by threads.

Some threads decode files into windows, others rate windows in batches of similar length; results are put back into the
order of the files. Threads are enough, because the libraries that decode, resample and rate release Python's lock.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .audio import AudioDecodingError
from .audio_files import NothingFound
from .audio_inputs import open_input
from .window_rater import MODEL_INPUTS, WindowRater, available_cores

__all__ = ["FileScore", "ScoreEngine", "failure_reason", "make_engine", "rate_paths"]

# Our choice: beyond, threads wait for each other more than they gain, and each holds the activations of a window.
_MAXIMUM_WORKERS = 16

# Our choice: so many times the batch size (or the number of threads, if that is more) of windows and of files are read
# ahead. The more, the more equal are the lengths in a batch, and the more memory is held.
_READ_AHEAD = 4

# How long an interruption waits for threads that read, in seconds: they may be waiting for standard input.
_PATIENCE_S = 1.0


@dataclass(frozen=True)
class FileScore:
    """What came out for one file.

    Attributes:
        file: the path as it was given.
        scores: what `SpeechQualityPipeline` returns (`mos`, `mos_low`, `mos_high`, then further outputs); empty if
            the file couldn't be scored.
        duration_s: length of the file in seconds, None if it couldn't be decoded.
        error: why there are no scores, on one line and without the file's name; None if all is well.
        curve: quality over time, if it was asked for: one dict for each step, with `start_s`, `end_s`, `mos`,
            `mos_low`, `mos_high` (None where there is nothing to rate) and `speech_s`.
    """

    file: str
    scores: dict[str, float] = field(default_factory=dict)
    duration_s: float | None = None
    error: str | None = None
    curve: list[dict[str, float | None]] | None = None


@dataclass(eq=False)
class _Task:
    """One input on its way; `outputs` has what the model gave for each window, in the order of time.

    `is_read`: whether there are no more windows to come; `waiting`: number of those that are not rated yet.
    """

    name: str
    source: Any
    duration_s: float | None = None
    error: str | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    is_read: bool = False
    waiting: int = 0

    @property
    def done(self) -> bool:
        """Whether all windows have been read and rated."""
        return self.is_read and not self.waiting


@dataclass(eq=False)
class _Window:
    task: _Task
    index: int
    inputs: dict[str, Any]

    @property
    def length(self) -> int:
        return self.inputs["input_values"].shape[-1]


class _Stopped(Exception):
    """Tells a thread that nobody waits for its work any more."""


class ScoreEngine:
    """Rates inputs with threads, for one pass over them.

    Args:
        rater: makes windows and rates them.
        batch_size: how many windows go through the model together.
        num_workers: number of threads that decode, and on a CPU also of threads that rate.
        parameters: call parameters of the rater.

    Raises:
        ValueError: a parameter is out of range.
    """

    def __init__(self, rater: WindowRater, batch_size: int, num_workers: int, parameters: dict[str, Any]) -> None:
        self.preprocess_parameters, self.postprocess_parameters = rater.call_parameters(**parameters)
        self.rater = rater
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._cores = rater.cores
        self._capacity = _READ_AHEAD * max(batch_size, num_workers)
        # One lock for all that follows; whoever changes any of it tells the others.
        self._changed = threading.Condition()
        # Fetched and not yet given out, in the order of the sources; of these so many are still being read.
        self._tasks: deque[_Task] = deque()
        self._reading = 0
        # Waiting to be rated; so many others are being rated.
        self._windows: deque[_Window] = deque()
        self._rating = 0
        self._exhausted = False
        self._stopped = False
        self._failure: BaseException | None = None
        # Wakes the thread that waits for results. Not a Condition: an interruption while that takes its lock again
        # leaves the lock in the wrong hands.
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._interrupted = False
        self._turn_to_fetch = threading.Lock()
        self._sources: Iterator[tuple[str, Any]] = iter(())

    def run(self, sources: Iterable[tuple[str, Any]]) -> Generator[FileScore, None, None]:
        """Rate inputs, reading a bounded number ahead.

        Args:
            sources: names and inputs, of any number; iterated in other threads, by one at a time.

        Yields:
            The result of each, in the order of the sources. After a `KeyboardInterrupt` (raised here, or thrown
            in) first those that were finished but waited for their turn.
        """
        self._sources = iter(sources)
        readers = self._start(self._read, self.num_workers, "read")
        raters = self._start(self._rate, self.num_workers if self._cores else 1, "rate")
        try:
            while (task := self._next_done()) is not None:
                yield self._finish(task)
        except KeyboardInterrupt:
            self._stop()
            for task in [task for task in self._tasks if task.done]:
                yield self._finish(task)
            raise
        finally:
            self._stop()
            self._join(readers, raters)

    # The thread that starts the others and gives out results

    def _start(self, target: Any, count: int, name: str) -> list[threading.Thread]:
        threads = [threading.Thread(target=target, name=f"jsqa-{name}-{i}", daemon=True) for i in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._tell()

    def _join(self, readers: Sequence[threading.Thread], raters: Sequence[threading.Thread]) -> None:
        # Python must not end while a thread computes; one that waits for input does no harm.
        for thread in raters:
            thread.join()
        deadline = time.monotonic() + _PATIENCE_S
        for thread in readers:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._cores:
            self.rater.limit_cores(self._cores)

    def _next_done(self) -> _Task | None:
        """The task whose turn it is, once it is done; None after the last."""
        with self._interruptions_wait():
            while not self._interrupted:
                # What is told from here on is not seen below, and ends the wait.
                while not self._news.empty():
                    self._news.get()
                with self._changed:
                    if self._stopped or (self._exhausted and not self._tasks):
                        if self._failure is not None:
                            raise self._failure
                        return None
                    if self._tasks and self._tasks[0].done:
                        self._changed.notify_all()
                        return self._tasks.popleft()
                # With a limit, because Windows does not interrupt a wait without one.
                with contextlib.suppress(queue.Empty):
                    self._news.get(timeout=1.0)
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def _interruptions_wait(self) -> Iterator[None]:
        """Have Ctrl-C noted instead of raised, so that it never comes while this thread takes or leaves the lock."""
        in_charge = threading.current_thread() is threading.main_thread()
        if not in_charge or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return

        def note(*_: object) -> None:
            self._interrupted = True
            self._news.put(None)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _tell(self) -> None:
        """Wake all that wait for what has changed; called with the lock."""
        self._changed.notify_all()
        self._news.put(None)

    def _finish(self, task: _Task) -> FileScore:
        scores: dict[str, Any] = {}
        if task.error is None:
            try:
                scores = dict(self.rater.postprocess(task.outputs, **self.postprocess_parameters))
            except Exception as error:
                task.error = failure_reason(error)
        return FileScore(task.name, scores, task.duration_s, task.error, scores.pop("curve", None))

    # Threads that read

    def _read(self) -> None:
        while (task := self._fetch()) is not None:
            try:
                for inputs in self._split(task):
                    self._put(task, inputs)
            except _Stopped:
                return
            except Exception as error:
                task.error = failure_reason(error)
            with self._changed:
                task.is_read = True
                self._reading -= 1
                self._tell()

    def _fetch(self) -> _Task | None:
        """The next input, once the number of those on their way allows it."""
        with self._turn_to_fetch:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or len(self._tasks) < self._capacity)
                if self._stopped or self._exhausted:
                    return None
            # Outside of the lock: this can wait for standard input.
            try:
                task = _Task(*next(self._sources))
            except BaseException as error:
                with self._changed:
                    self._failure = None if isinstance(error, StopIteration) else error
                    self._exhausted = True
                    self._tell()
                return None
            with self._changed:
                self._tasks.append(task)
                self._reading += 1
            return task

    def _split(self, task: _Task) -> Iterator[dict[str, Any]]:
        if isinstance(task.source, NothingFound):
            task.error = task.source.reason
            return
        with open_input(task.source, self.rater.sampling_rate) as stream:
            # Errors must not name the file, as the result does.
            stream.name = ""
            try:
                yield from self.rater.preprocess(stream, **self.preprocess_parameters)
            finally:
                task.duration_s = stream.duration_s

    def _put(self, task: _Task, inputs: dict[str, Any]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._windows) < self._capacity)
            if self._stopped:
                raise _Stopped
            self._windows.append(_Window(task, len(task.outputs), inputs))
            task.outputs.append({})
            task.waiting += 1
            self._changed.notify_all()

    # Threads that rate

    def _rate(self) -> None:
        try:
            while batch := self._take():
                # Windows of a file that turned out bad further on are not worth rating.
                self._forward([window for window in batch if window.task.error is None])
                with self._changed:
                    self._rating -= len(batch)
                    for window in batch:
                        window.task.waiting -= 1
                    self._tell()
        except BaseException as error:
            with self._changed:
                self._failure = error
            self._stop()

    def _take(self) -> list[_Window]:
        """The window that waits longest, with those nearest to it in length; none if there is no more to come."""
        with self._changed:
            self._changed.wait_for(self._has_batch_or_ends)
            if self._stopped or not self._windows:
                return []
            batch = [self._windows.popleft()]
            nearest = sorted(self._windows, key=lambda window: abs(window.length - batch[0].length))
            batch += nearest[: self.batch_size - 1]
            chosen = set(map(id, batch))
            self._windows = deque(window for window in self._windows if id(window) not in chosen)
            self._rating += len(batch)
            if self._cores:
                # A core for every window, and only if there are fewer windows than cores, several cores for one.
                self.rater.limit_cores(max(1, self._cores // (self._rating + len(self._windows))))
            self._changed.notify_all()
            return batch

    def _has_batch_or_ends(self) -> bool:
        # Nobody reads: all have been read, or those who could wait for results, or for standard input.
        enough = len(self._windows) >= (self.batch_size if self._reading else 1)
        return self._stopped or enough or (self._exhausted and not self._reading)

    def _forward(self, batch: Sequence[_Window]) -> None:
        if not batch:
            return
        try:
            scores, variances = self.rater.rate_windows([window.inputs for window in batch])
        except Exception as error:
            # Nothing tells which window it was: one by one, only the culprit fails again.
            if len(batch) > 1:
                for window in batch:
                    self._forward([window])
            else:
                batch[0].task.error = failure_reason(error)
            return
        for row, window in enumerate(batch):
            about = {key: value for key, value in window.inputs.items() if key not in MODEL_INPUTS}
            rated = {"scores": scores[row : row + 1], "variances": variances[row : row + 1]}
            window.task.outputs[window.index] = {**about, **rated}


def make_engine(
    rater: WindowRater, batch_size: int | None, num_workers: int | None, parameters: dict[str, Any]
) -> ScoreEngine:
    """A `ScoreEngine` with the defaults of `jsqa_hf.scoring.score_files`, which describes the arguments.

    Raises:
        ValueError: a parameter is out of range.
    """
    for name, number in (("batch_size", batch_size), ("num_workers", num_workers)):
        if number is not None and number < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {number}")
    if batch_size is None:
        batch_size = 1 if rater.cores else 8
    if num_workers is None:
        num_workers = min(rater.cores or available_cores(), _MAXIMUM_WORKERS)
    return ScoreEngine(rater, batch_size, num_workers, {k: v for k, v in parameters.items() if v is not None})


def rate_paths(
    paths: Iterable[str | os.PathLike[str] | NothingFound],
    rater: WindowRater,
    *,
    batch_size: int | None = None,
    num_workers: int | None = None,
    **parameters: Any,
) -> Generator[FileScore, None, None]:
    """Score files one after the other with a rater; see `jsqa_hf.scoring.score_files`."""
    engine = make_engine(rater, batch_size, num_workers, parameters)
    sources = ((path.source if isinstance(path, NothingFound) else os.fspath(path), path) for path in paths)
    return engine.run(sources)


def failure_reason(error: Exception) -> str:
    """An error on one line; the type is told only where the message was not written for a user."""
    text = " ".join((error.reason if isinstance(error, AudioDecodingError) else str(error)).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
