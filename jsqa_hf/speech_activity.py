"""When speech is active, after the method of ITU-T P.56, over the last seconds of a stream.

The detector goes by the level alone, because every detector that knows speech by its sound misses the speech that is
distorted most, which is what a rating must not leave out. In steady noise that is less than 15.9 dB below the speech,
pauses therefore count as active.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recent_values import RecentValues

__all__ = ["FLOOR_DBOV", "SpeechActivity"]

# Parameters of method B, ITU-T P.56 (12/2011) clause 8.3, as in `jsqa_hf.jnd.levels`. A model's own code on the Hub
# can't import from a subpackage.
_TIME_CONSTANT_S = 0.03
_HANGOVER_S = 0.2
_MARGIN_DB = 15.9
_THRESHOLD_RATIO = 2.0
_LOWEST_EXPONENT = -3

# The envelope changes within tens of milliseconds, so it is followed from millisecond to millisecond.
_ENVELOPE_RATE = 1000

FLOOR_DBOV = -75.0
"""What is fainter never counts as speech. Our choice: where speech of -26 dBov is played at 79 dB SPL, the listening
level of ITU-T P.800, this is 30 dB SPL, the noise that P.800 allows in the listening room."""


class SpeechActivity:
    """Follows the envelope of a stream, and tells where it was active.

    Args:
        sampling_rate: in Hz.
        memory_s: for how many seconds back activity can be asked.
    """

    def __init__(self, sampling_rate: int, memory_s: float) -> None:
        self._step = max(1, round(sampling_rate / _ENVELOPE_RATE))
        self._rate = sampling_rate / self._step
        self._memory = math.ceil(memory_s * self._rate) + 1
        # The response of two cascaded exponential averages, as far as it is above a billionth.
        pole = math.exp(-1 / (_TIME_CONSTANT_S * self._rate))
        times = np.arange(math.ceil(20 * _TIME_CONSTANT_S * self._rate))
        self._response = (1 - pole) ** 2 * (times + 1) * pole**times
        self._magnitudes = np.zeros(len(times) - 1)
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._envelope, self._powers = RecentValues(np.float64), RecentValues(np.float64)

    def feed(self, samples: NDArray[Any]) -> None:
        """Take the next samples of the stream, of shape (time,) and any number."""
        samples = np.concatenate([self._rest, samples])
        count = len(samples) // self._step
        whole, self._rest = np.split(samples, [count * self._step])
        frames = whole.reshape(count, self._step).astype(np.float64)
        if not count:
            return
        magnitudes = np.concatenate([self._magnitudes, np.abs(frames).mean(axis=1)])
        self._magnitudes = magnitudes[count:]
        smoothed = np.convolve(magnitudes, self._response, "valid")
        for values, new in ((self._envelope, smoothed), (self._powers, np.square(frames).mean(axis=1))):
            values.append(new)
            values.forget(values.end - self._memory)

    def active_s(self, cells: list[tuple[float, float]], start_s: float, end_s: float) -> list[float]:
        """Seconds of active speech within stretches of the stream.

        Args:
            cells: start and end of each stretch, in seconds of the stream.
            start_s, end_s: the stretch whose active speech level sets the threshold; not further back than
                `memory_s`.

        Returns:
            Seconds for each cell, 0.0 where all is silent. A stretch is active from the moment its envelope reaches
            15.9 dB below the active speech level, until 0.2 s after it has fallen below.
        """
        first, last = max(round(start_s * self._rate), self._envelope.start), round(end_s * self._rate)
        hangover = math.ceil(_HANGOVER_S * self._rate)
        active = _active(self._envelope[first:last], self._powers[first:last], hangover)
        edges = np.concatenate([[0], np.cumsum(active)])
        clipped = [[min(max(round(time * self._rate) - first, 0), len(active)) for time in cell] for cell in cells]
        return [float(edges[end] - edges[start]) / self._rate for start, end in clipped]


def _active(envelope: NDArray[np.float64], powers: NDArray[np.float64], hangover: int) -> NDArray[np.bool_]:
    """Where the envelope of a stretch is at or above the threshold of P.56, and `hangover` values longer."""
    mean_square = float(powers.mean()) if len(powers) else 0.0
    if mean_square < np.finfo(np.float64).tiny:
        return np.zeros(len(envelope), dtype=bool)
    threshold = _threshold(envelope / math.sqrt(mean_square), hangover) * math.sqrt(mean_square)
    return _with_hangover(envelope >= max(threshold, 10 ** (FLOOR_DBOV / 20)), hangover)


def _threshold(envelope: NDArray[np.float64], hangover: int) -> float:
    """The threshold 15.9 dB below the active level, for a stretch of RMS 1 and relative to it."""
    previous: tuple[float, float] | None = None
    exponent = _LOWEST_EXPONENT
    while True:
        threshold_db = 20 * exponent * math.log10(_THRESHOLD_RATIO)
        active = np.count_nonzero(_with_hangover(envelope >= _THRESHOLD_RATIO**exponent, hangover))
        if not active:
            return 10 ** ((previous[0] if previous else 0.0) / 20)
        surplus_db = 10 * math.log10(len(envelope) / active) - threshold_db - _MARGIN_DB
        if surplus_db <= 0 and previous:
            fraction = previous[1] / (previous[1] - surplus_db)
            return 10 ** ((previous[0] + fraction * (threshold_db - previous[0])) / 20)
        previous = threshold_db, surplus_db
        exponent += 1


def _with_hangover(above: NDArray[np.bool_], hangover: int) -> NDArray[np.bool_]:
    """Lengthen each run of True by `hangover` values."""
    indices = np.arange(len(above))
    latest = np.maximum.accumulate(np.where(above, indices, -hangover - 1))
    return indices - latest <= hangover
