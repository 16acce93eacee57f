"""How commands end: exit codes, and errors with a message for the user."""

from __future__ import annotations

from .score_formats import printable

__all__ = ["EXIT_OK", "EXIT_SOME_FAILED", "EXIT_USAGE", "UsageError", "one_line"]

EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE = 0, 1, 2


class UsageError(Exception):
    """What was asked for can't be done; the message goes to the user, without a traceback."""


def one_line(error: BaseException) -> str:
    """What went wrong, without line breaks; for errors of the system with the name of the file."""
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return printable(" ".join(str(error).split()) or type(error).__name__)
