"""What commands raise to end with a message."""

from __future__ import annotations


class UsageError(Exception):
    """What was asked for can't be done; the message goes to the user, without a traceback."""
