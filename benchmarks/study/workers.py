"""Processes of one thread each, that end with what began them: for runs, and for the many clips of a table."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

# What numpy, torch and their libraries read when they are loaded.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def require_bench(*modules: str, extra: str = "bench") -> None:
    """Tell before anything begins which modules are missing.

    Args:
        modules: of the extra.
        extra: its name.

    Raises:
        ImportError: if one of them is not installed.
    """
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise ImportError(f'{", ".join(missing)} missing: pip install -e ".[{extra}]" in the repository')


@contextmanager
def processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that SIGTERM, Ctrl-C and any other error end, too; otherwise what was begun is awaited."""

    def end(received: int, frame: Any) -> None:
        raise SystemExit(128 + received)

    os.environ.update(THREADS)
    before = signal.signal(signal.SIGTERM, end)
    try:
        with ProcessPoolExecutor(number, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                yield pool
            except BaseException:
                for worker in multiprocessing.active_children():
                    worker.terminate()
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are begun here leave Ctrl-C, which reaches all of a terminal, to the one that began them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def map_with(
    factory: Callable[[], Callable[[Any], Any]], items: Iterable[Any], number: int
) -> Iterator[Iterator[Any]]:
    """Work by something that takes long to build, which each process builds once.

    Args:
        factory: what builds it; like the items and the results, it must be picklable.
        items: to be done, all of which are handed out at once.
        number: of processes.

    Yields:
        The results, in the order of the items. What building or working raises is raised there.
    """
    with processes(number) as pool:
        with deaf_to_interrupts():
            results = pool.map(_Worker(factory), items)
        yield results


class _Worker:
    """Does an item. It travels with each, and what was built stays in the process.

    Not an initializer of the pool, of which one would only learn that it failed.
    """

    built: Callable[[Any], Any] | None = None

    def __init__(self, factory: Callable[[], Callable[[Any], Any]]) -> None:
        self.factory = factory

    def __call__(self, item: Any) -> Any:
        if _Worker.built is None:
            _Worker.built = self.factory()
        return _Worker.built(item)
