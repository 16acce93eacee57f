"""Change of the sampling rate of a stream, with the result of doing it at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .resampling import KAISER_BEST, Filter, filter_for

__all__ = ["StreamingResampler"]


class StreamingResampler:
    """Resamples mono audio piece by piece, as `jsqa_hf.resampling.resample` does the whole.

    The filter is finite, so a piece that has enough of its neighbours on both sides comes out as in the whole signal.
    Where it doesn't serve, soxr does, which keeps its own state.

    Args:
        orig_rate, new_rate: in Hz.
        torchaudio: see `jsqa_hf.resampling.filter_for`.
    """

    def __init__(self, orig_rate: int, new_rate: int, torchaudio: bool = True) -> None:
        divisor = math.gcd(orig_rate, new_rate)
        self._from, self._to = orig_rate // divisor, new_rate // divisor
        self._soxr: Any = None
        self._filter: Filter | None = None
        if self._from == self._to:
            return
        self._filter = filter_for(orig_rate, new_rate, torchaudio)
        if self._filter is None:
            import soxr

            self._soxr = soxr.ResampleStream(orig_rate, new_rate, 1, dtype="float32", quality="VHQ")
            return
        lowest = min(self._from, self._to) * KAISER_BEST["rolloff"]
        half_width = math.ceil(KAISER_BEST["lowpass_filter_width"] * self._from / lowest)
        # Counted in periods, of `_from` samples before and `_to` samples after.
        self._context = math.ceil(half_width / self._from) + 1
        self._pending: NDArray[np.float32] = np.zeros(self._context * self._from, np.float32)
        self._received = self._given = 0

    def feed(self, samples: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Take the next samples.

        Args:
            samples: (time,) float32, of any number.
            last: whether they end the stream.

        Returns:
            (time,) float32: what can be told by now, in the end all, `ceil(samples * new_rate / orig_rate)`.
        """
        if self._soxr is not None:
            return self._soxr.resample_chunk(np.ascontiguousarray(samples, dtype=np.float32), last)
        if self._filter is None:
            return samples
        self._received += len(samples)
        margin = self._context * self._from
        rest = np.zeros(margin + self._from if last else 0, np.float32)
        self._pending = np.concatenate([self._pending, samples, rest])
        periods = (len(self._pending) - 2 * margin) // self._from
        if periods <= 0:
            return np.zeros(0, np.float32)
        piece = self._pending[: 2 * margin + periods * self._from]
        resampled = self._filter(piece)
        self._pending = self._pending[periods * self._from :]
        resampled = resampled[self._context * self._to :][: periods * self._to]
        if last:
            resampled = resampled[: -(-self._received * self._to // self._from) - self._given]
        self._given += len(resampled)
        return resampled
