"""The last values of a stream, addressed by their position in the stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RecentValues"]


class RecentValues:
    """An array that grows at its end and is forgotten from its start, without being copied at each step.

    Args:
        dtype: of the values.

    Attributes:
        start, end: positions in the stream of the first value that is kept, and behind the last.
    """

    def __init__(self, dtype: Any) -> None:
        self.start = self.end = 0
        # Position in the stream of the first place of the store.
        self._origin = 0
        self._store = np.zeros(1 << 12, dtype)

    def append(self, values: NDArray[Any]) -> None:
        """Add values, of shape (count,), at the end."""
        end = self.end + len(values)
        if end - self._origin > len(self._store):
            kept = self[self.start : self.end]
            # Twice of what is needed, so that the values are moved seldom.
            store = np.zeros(max(len(self._store), 2 * (len(kept) + len(values))), self._store.dtype)
            store[: len(kept)] = kept
            self._store, self._origin = store, self.start
        self._store[self.end - self._origin : end - self._origin] = values
        self.end = end

    def forget(self, position: int) -> None:
        """Give up the values before a position."""
        self.start = max(self.start, min(position, self.end))

    def __getitem__(self, positions: slice) -> NDArray[Any]:
        """Values from one position to another, as far as they are kept; a view that later changes may overwrite."""
        first, last = (min(max(bound, self.start), self.end) for bound in (positions.start, positions.stop))
        return self._store[first - self._origin : last - self._origin]
