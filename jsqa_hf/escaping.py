"""Names that others chose, made safe for Markdown and YAML."""

from __future__ import annotations

import re
import string
from typing import Any

_PUNCTUATION = re.compile("([" + re.escape(string.punctuation) + "])")


def escape_markdown(value: Any) -> str:
    """Text that Markdown shows as it is, on one line, in tables as well.

    CommonMark lets a backslash stand before any ASCII punctuation, which then means nothing but itself.
    """
    return plain_line(value) if isinstance(value, (bool, int, float)) else _PUNCTUATION.sub(r"\\\1", plain_line(value))


def plain_line(value: Any) -> str:
    """Text on one line, without control characters, which YAML and terminals may not take."""
    return " ".join("".join(part if part.isprintable() else " " for part in str(value)).split())
