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

__all__ = ["FLOOR_DBOV", "SpeechActivity", "find_active_level"]

# Parameters of method B, ITU-T P.56 (12/2011) clause 8.3. `jsqa_hf.jnd.levels` takes them from here, since
# the code of a model on the Hub can't import from a subpackage.
TIME_CONSTANT_S = 0.03
HANGOVER_S = 0.2
MARGIN_DB = 15.9

# Relative to the RMS amplitude: more than the margin below any active level, which is never below the RMS level.
_LOWEST_THRESHOLD_DB = -18.0
# P.56 has thresholds 6 dB apart and interpolates; here the step that holds the result is halved so many times.
_THRESHOLD_STEP_DB = 6.0
_BISECTIONS = 10

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
        pole = math.exp(-1 / (TIME_CONSTANT_S * self._rate))
        times = np.arange(math.ceil(20 * TIME_CONSTANT_S * self._rate))
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
        hangover = math.ceil(HANGOVER_S * self._rate)
        active = _active(self._envelope[first:last], self._powers[first:last], hangover)
        edges = np.concatenate([[0], np.cumsum(active)])
        clipped = [[min(max(round(time * self._rate) - first, 0), len(active)) for time in cell] for cell in cells]
        return [float(edges[end] - edges[start]) / self._rate for start, end in clipped]


def _active(envelope: NDArray[np.float64], powers: NDArray[np.float64], hangover: int) -> NDArray[np.bool_]:
    """Where the envelope of a stretch is at or above the threshold of P.56, and `hangover` values longer."""
    mean_square = float(powers.mean()) if len(powers) else 0.0
    if mean_square < np.finfo(np.float64).tiny:
        return np.zeros(len(envelope), dtype=bool)
    _, threshold_db = find_active_level(envelope / math.sqrt(mean_square), hangover)
    threshold = 10 ** (threshold_db / 20) * math.sqrt(mean_square)
    return _with_hangover(envelope >= max(threshold, 10 ** (FLOOR_DBOV / 20)), hangover)


def find_active_level(envelope: NDArray[np.float64], hangover: int) -> tuple[float, float]:
    """Find the level over the active time, and the threshold that lies 15.9 dB below this very level.

    Args:
        envelope: (time,), at least one value; of a signal of RMS 1.
        hangover: how many values longer the signal counts as active.

    Returns:
        Active level and threshold in dB relative to the RMS level. The threshold is found to within 0.006 dB, from
        below; where none fits (a click in silence), it is the highest one that the envelope reaches.
    """

    def level_above(threshold_db: float) -> float:
        active = _active_values(envelope, 10 ** (threshold_db / 20), hangover)
        return 10 * math.log10(envelope.size / active) if active else -math.inf

    threshold_db, step_db = _LOWEST_THRESHOLD_DB, _THRESHOLD_STEP_DB
    while level_above(threshold_db + step_db) >= threshold_db + step_db + MARGIN_DB:
        threshold_db += step_db
    for _ in range(_BISECTIONS):
        step_db /= 2
        if level_above(threshold_db + step_db) >= threshold_db + step_db + MARGIN_DB:
            threshold_db += step_db
    return level_above(threshold_db), threshold_db


def _active_values(envelope: NDArray[np.float64], threshold: float, hangover: int) -> int:
    """Count the values at or above the threshold, and up to `hangover` after each such stretch."""
    above = envelope >= threshold
    edges = np.flatnonzero(above[1:] != above[:-1]) + 1
    edges = edges[0 if above[0] else 1 :]
    falling = edges[0::2]
    rising_or_end = np.append(edges[1::2], above.size)[: falling.size]
    return int(np.count_nonzero(above) + np.minimum(rising_or_end - falling, hangover).sum())


def _with_hangover(above: NDArray[np.bool_], hangover: int) -> NDArray[np.bool_]:
    """Lengthen each run of True by `hangover` values."""
    indices = np.arange(len(above))
    latest = np.maximum.accumulate(np.where(above, indices, -hangover - 1))
    return indices - latest <= hangover
