"""When speech is active, after the method of ITU-T P.56, in a stream.

The detector goes by the level alone, because every detector that knows speech by its sound misses the speech that is
distorted most, which is what a rating must not leave out. In steady noise that is less than 15.9 dB below the speech,
pauses therefore count as active.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recent_values import RecentValues

__all__ = ["FLOOR_DBOV", "Activity", "SpeechActivity"]

# Parameters of method B, ITU-T P.56 (12/2011) clause 8.3. `jsqa_hf.jnd.levels` takes them from here, since
# the code of a model on the Hub can't import from a subpackage.
TIME_CONSTANT_S = 0.03
HANGOVER_S = 0.2
MARGIN_DB = 15.9

# The envelope changes within tens of milliseconds, so it is followed from millisecond to millisecond.
_ENVELOPE_RATE = 1000

# Our choice: over what time an offset is measured, which makes no sound. At the pitch of a deep voice, 80 Hz, the mean
# over so much is 42 dB below the speech.
_OFFSET_S = 0.5

FLOOR_DBOV = -75.0
"""What is fainter never counts as speech. Our choice: where speech of -26 dBov is played at 79 dB SPL, the listening
level of ITU-T P.800, this is 30 dB SPL, the noise that P.800 allows in the listening room."""

# Thresholds in dBov, up to the highest envelope that there can be, that of a peak of 8. P.56 has them 6 dB apart and
# interpolates between two; 1 dB apart, the nearest will do.
_THRESHOLDS_DBOV = np.arange(FLOOR_DBOV, 19.0)
_THRESHOLDS = 10 ** (_THRESHOLDS_DBOV / 20)


@dataclass(frozen=True)
class Activity:
    """How much of a stretch of audio is active, by every threshold that P.56 may choose in the end.

    Attributes:
        counts: (thresholds,) float64, whole numbers: how many values of the envelope (one for each millisecond) are at
            or above each threshold, or less than 0.2 s behind one that is.
        energy: sum of the mean squares of as many pieces of the audio.
    """

    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(_THRESHOLDS)))
    energy: float = 0.0

    def __add__(self, other: Activity) -> Activity:
        return Activity(self.counts + other.counts, self.energy + other.energy)

    @property
    def threshold(self) -> int:
        """Index of the lowest threshold that lies at most 15.9 dB below the level over the time that it makes active.

        Where there is none (a click in silence), the highest one that is reached; 0 where none is.
        """
        reached = np.count_nonzero(self.counts)
        if not reached or self.energy <= 0:
            return 0
        levels_db = 10 * np.log10(self.energy / self.counts[:reached])
        near = np.flatnonzero(levels_db - _THRESHOLDS_DBOV[:reached] <= MARGIN_DB)
        return int(near[0]) if len(near) else reached - 1


class SpeechActivity:
    """Follows the envelope of a stream without its offset, and tells where it was active.

    Args:
        sampling_rate: in Hz.
        memory_s: for how many seconds back activity can be asked.

    Attributes:
        so_far: activity of all that was fed.
    """

    def __init__(self, sampling_rate: int, memory_s: float) -> None:
        self._step = max(1, round(sampling_rate / _ENVELOPE_RATE))
        self._rate = sampling_rate / self._step
        self._memory = math.ceil(memory_s * self._rate) + 1
        # The response of two cascaded exponential averages, as far as it is above a billionth.
        pole = math.exp(-1 / (TIME_CONSTANT_S * self._rate))
        times = np.arange(math.ceil(20 * TIME_CONSTANT_S * self._rate))
        self._response = (1 - pole) ** 2 * (times + 1) * pole**times
        # A product with it is the mean of each row, several times as fast as `mean` for short ones.
        self._average = np.full(self._step, 1 / self._step, np.float32)
        self._offset_length = round(_OFFSET_S * self._rate)
        self._hangover = math.ceil(HANGOVER_S * self._rate)
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._means: NDArray[Any] | None = None
        self._magnitudes: NDArray[Any] = np.zeros(len(times) - 1)
        self._latest = np.zeros(self._hangover, np.uint8)
        self._reached = RecentValues(np.uint8)
        self._powers, self._peaks = RecentValues(np.float64), RecentValues(np.float64)
        self.so_far = Activity()

    def feed(self, samples: NDArray[Any]) -> None:
        """Take the next samples of the stream, of shape (time,) and any number."""
        samples = np.concatenate([self._rest, samples], dtype=np.float32)
        count = len(samples) // self._step
        whole, self._rest = np.split(samples, [count * self._step])
        if not count:
            return
        frames = self._without_offset(whole.reshape(count, self._step))
        magnitudes = np.abs(frames)
        means = np.append(self._magnitudes, magnitudes @ self._average)
        self._magnitudes = means[count:]
        smoothed = np.convolve(means, self._response, "valid")
        reached = np.append(self._latest, np.searchsorted(_THRESHOLDS, smoothed, side="right").astype(np.uint8))
        self._latest = reached[count:]
        held = np.lib.stride_tricks.sliding_window_view(reached, self._hangover + 1).max(axis=1)
        powers = np.square(frames) @ self._average
        self.so_far += _activity(held, powers)
        for values, new in ((self._reached, held), (self._powers, powers), (self._peaks, magnitudes.max(axis=1))):
            values.append(new)
            values.forget(values.end - self._memory)

    def within(self, start_s: float, end_s: float) -> Activity:
        """Activity from one second of the stream to another, which must not be further back than `memory_s`."""
        part = self._part(start_s, end_s)
        return _activity(self._reached[part], self._powers[part])

    def active_s(self, start_s: float, end_s: float) -> float:
        """Seconds of active speech from one second of the stream to another, by the threshold of all that was fed."""
        return float(self.within(start_s, end_s).counts[self.so_far.threshold]) / self._rate

    def peak(self, start_s: float, end_s: float) -> float:
        """Largest magnitude from one second of the stream to another, without the offset; 0.0 if there is nothing."""
        return float(self._peaks[self._part(start_s, end_s)].max(initial=0.0))

    def _part(self, start_s: float, end_s: float) -> slice:
        return slice(round(start_s * self._rate), round(end_s * self._rate))

    def _without_offset(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        means = frames @ self._average
        if self._means is None:
            # Of what was before, the first millisecond tells most.
            self._means = np.full(self._offset_length - 1, means[0])
        means = np.append(self._means, means)
        self._means = means[len(frames) :]
        offsets = np.convolve(means, np.full(self._offset_length, 1 / self._offset_length), "valid")
        return frames - offsets.astype(np.float32)[:, None]


def _activity(reached: NDArray[np.uint8], powers: NDArray[np.floating[Any]]) -> Activity:
    """Activity where the envelope, with its hang-over, has reached so many thresholds, and of these mean squares."""
    numbers = np.bincount(reached, minlength=len(_THRESHOLDS) + 1)
    return Activity(numbers[::-1].cumsum()[-2::-1].astype(np.float64), float(powers.sum(dtype=np.float64)))
