"""How commands end: exit codes, and errors with a message for the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .score_formats import printable

__all__ = ["EXIT_OK", "EXIT_SOME_FAILED", "EXIT_USAGE", "UsageError", "one_line", "with_file_name"]

EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE = 0, 1, 2


class UsageError(Exception):
    """What was asked for can't be done; the message goes to the user, without a traceback."""


def one_line(error: BaseException) -> str:
    """What went wrong, without line breaks; for errors of the system with the name of the file."""
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return printable(" ".join(str(error).split()) or type(error).__name__)


@contextmanager
def with_file_name(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give errors of writing a file its name, which they lack where it could be opened, such as on a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise
