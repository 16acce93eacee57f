"""Ctrl-C and SIGTERM that cannot get lost in long runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import soundfile

_interrupted = False


@contextmanager
def interruptible() -> Iterator[None]:
    """See that Ctrl-C, or SIGTERM, ends what is done in here, whoever swallows it on the way.

    An exception that is raised while a C library calls Python is printed and forgotten, so none is raised while
    libsndfile reads or writes memory; and the pool of processes of `datasets` raises another one instead. So the
    interruption is remembered: `raise_if_interrupted` raises it again, and so does the end of the block if it ends
    with any error. Processes that are forked from this one leave it to this one to end them.

    Raises:
        KeyboardInterrupt: If there was a Ctrl-C or SIGTERM, so that what is unfinished is cleared away.
    """
    global _interrupted
    # Another handler is left to whoever set it. In the background of a script SIGINT alone is ignored.
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: default for number, default in defaults.items() if signal.getsignal(number) == default}
    if not before or threading.current_thread() is not threading.main_thread():
        yield
        return
    process, _interrupted = os.getpid(), False

    def interrupt(_: int, frame: FrameType | None) -> None:
        global _interrupted
        if os.getpid() == process:
            _interrupted = True
            if not _called_by_libsndfile(frame):
                raise KeyboardInterrupt

    def terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            os._exit(128 + number)
        interrupt(number, frame)

    for number in before:
        signal.signal(number, interrupt if number == signal.SIGINT else terminate)
    try:
        yield
        raise_if_interrupted()
    except Exception as error:
        if _interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, default in before.items():
            signal.signal(number, default)
        _interrupted = False


def raise_if_interrupted() -> None:
    """Raise a `KeyboardInterrupt` if there was one in this `interruptible` block."""
    if _interrupted:
        raise KeyboardInterrupt


def _called_by_libsndfile(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == soundfile.__file__ and frame.f_code.co_name.startswith("vio_"):
            return True
        frame = frame.f_back
    return False
