"""Long audio as windows that a model can rate, taken from a stream as it arrives.

Audio of at most `window_s` is one window, as it is. Longer audio is covered by windows of exactly that length, each
half a window after the one before, and a last one that ends with the audio. Every window stands for a cell of its own,
the time around its middle, and the cells share out the audio without a gap.

For quality over time there are further windows, of `CURVE_WINDOW_S`, around the middle of each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recent_values import RecentValues
from .speech_activity import Activity, SpeechActivity
from .streaming_resampler import StreamingResampler
from .waveforms import MAXIMUM_CHANNELS, MAXIMUM_PEAK, as_array, pcm_to_float, to_mono

__all__ = ["CURVE_WINDOW_S", "Window", "Windower", "mix_to_mono"]

CURVE_WINDOW_S = 4.0
"""Length of the windows of a curve. Our choice, see docs/long_audio.md: shorter ones make the curve noisier, longer
ones hide short defects."""

# Our choice: below there is not even the band of a telephone, above no audio is sold. A damaged or malicious header
# can give any rate, and with it turn a small file into days of audio.
MINIMUM_RATE = 4000
MAXIMUM_RATE = 768_000

# The unit in which a stream is worked on, whatever the chunks it comes in.
_BLOCK_S = 0.25


@dataclass(frozen=True)
class Window:
    """A stretch of audio to rate.

    Attributes:
        purpose: `"summary"` for the score of the whole, `"curve"` for quality over time.
        samples: (time,) float32.
        sampling_rate: of the samples in Hz.
        start_s, end_s: where they lie in the audio, in seconds.
        cells: what the window stands for: one cell, or for a curve one for each step.
        peak: largest magnitude in it before resampling, without its offset.
        activity: of the cell of a `"summary"`: the threshold of speech is known when all has been heard.
        speech_s: seconds of active speech in each cell of a `"curve"`, by the threshold of what was heard so far.
    """

    purpose: str
    samples: NDArray[np.float32]
    sampling_rate: int
    start_s: float
    end_s: float
    cells: tuple[tuple[float, float], ...]
    peak: float = 0.0
    activity: Activity = field(default_factory=Activity)
    speech_s: tuple[float, ...] = ()


def mix_to_mono(samples: Any, first_frame: int = 0, sampling_rate: int = 1) -> NDArray[np.float32]:
    """Mix a stretch of audio to mono and check it.

    Args:
        samples: (time,) or (channels, time) array, tensor or list, floats of full scale 1 or PCM of type uint8, int16
            or int32.
        first_frame: which sample of the whole audio the first one is, for messages.
        sampling_rate: in Hz, for messages.

    Returns:
        (time,) float32 of full scale 1.

    Raises:
        ValueError: another type or shape, more than 8 channels, NaN or Inf, or a peak above 8.
    """
    array = pcm_to_float(as_array(samples))
    if array.ndim not in (1, 2):
        raise ValueError(f"audio is (time,) or (channels, time), but has shape {array.shape}")
    if array.ndim == 2 and array.shape[0] > MAXIMUM_CHANNELS:
        raise ValueError(f"{array.shape[0]} channels are too many (at most {MAXIMUM_CHANNELS})")
    if array.size == 0:
        return np.zeros(0, np.float32)
    if array.ndim == 2:
        # Infinities of both signs are found below.
        with np.errstate(invalid="ignore"):
            array = array.mean(axis=0, dtype=np.float64)
    try:
        return to_mono(array)
    except ValueError as error:
        bad = np.flatnonzero(~(np.abs(array) <= MAXIMUM_PEAK))
        if not len(bad):
            raise
        minutes, seconds = divmod((first_frame + int(bad[0])) / sampling_rate, 60)
        raise ValueError(f"{error} (first at {minutes:.0f}:{seconds:05.2f})") from error


class Windower:
    """Takes audio piece by piece and gives windows as soon as they are complete, in bounded memory.

    What it gives doesn't depend on the size of the pieces.

    Args:
        sampling_rate: of the audio, a whole number of Hz.
        model_rate: of the windows, in Hz; audio of at most `window_s` keeps its own rate.
        window_s: length of a window in seconds.
        curve_step_s: length of a step of quality over time in seconds; None for none.
        torchaudio: see `jsqa_hf.resampling.filter_for`.

    Raises:
        ValueError: the sampling rate is that of no audio (below 4 kHz or above 768 kHz).
    """

    def __init__(
        self,
        sampling_rate: int,
        model_rate: int,
        window_s: float,
        curve_step_s: float | None = None,
        torchaudio: bool = True,
    ) -> None:
        if not MINIMUM_RATE <= sampling_rate <= MAXIMUM_RATE:
            raise ValueError(
                f"a sampling rate of {sampling_rate} Hz is not that of speech ({MINIMUM_RATE} to {MAXIMUM_RATE} Hz); "
                "check how the audio was stored"
            )
        self.sampling_rate, self.model_rate = sampling_rate, model_rate
        self._window_s, self._step_s, self._torchaudio = window_s, curve_step_s, torchaudio
        self._length, self._hop = round(window_s * model_rate), round(window_s * model_rate) // 2
        self._curve_length = round(CURVE_WINDOW_S * model_rate)
        period = sampling_rate // math.gcd(sampling_rate, model_rate)
        self._block = period * max(1, round(_BLOCK_S * sampling_rate / period))
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._received = 0
        # The audio as it came, for as long as it may be short enough to be one window.
        self._head: list[NDArray[np.float32]] | None = []
        self._resampler: StreamingResampler | None = None
        self._activity = SpeechActivity(sampling_rate, max(2 * window_s, CURVE_WINDOW_S) + 2.0)
        self._resampled = RecentValues(np.float32)
        self._next_summary = 0
        self._next_step = 0
        self._covered_s = 0.0
        self._held: Window | None = None

    @property
    def duration_s(self) -> float:
        """Length of what has been fed, in seconds."""
        return self._received / self.sampling_rate

    def feed(self, samples: Any) -> Iterator[Window]:
        """Take the next samples (see `mix_to_mono`) and give the windows that are complete with them."""
        mono = mix_to_mono(samples, self._received, self.sampling_rate)
        self._received += len(mono)
        pieces = np.concatenate([self._rest, mono])
        whole = len(pieces) // self._block * self._block
        self._rest = pieces[whole:].copy()
        for start in range(0, whole, self._block):
            yield from self._take(pieces[start : start + self._block])

    def finish(self) -> Iterator[Window]:
        """Tell that the audio has ended, and get the windows that are left; nothing can be fed any more."""
        if self._received <= self._window_s * self.sampling_rate and self._head is not None:
            yield from self._finish_short(np.concatenate([*self._head, self._rest]))
            return
        yield from self._take(self._rest)
        yield from self._advance(np.zeros(0, np.float32), last=True)
        yield from self._last_curve_window()
        yield from self._last_summary_windows()

    def _finish_short(self, samples: NDArray[np.float32]) -> Iterator[Window]:
        if self._step_s is None:
            self._activity.feed(samples)
        elif len(samples):
            yield from self._advance(self._rest, last=True)
            yield from self._last_curve_window()
        whole_s = len(samples) / self.sampling_rate
        window = Window("summary", samples, self.sampling_rate, 0.0, whole_s, ((0.0, whole_s),))
        yield self._measured(window)

    def _take(self, block: NDArray[np.float32]) -> Iterator[Window]:
        """Work on a block, or lay it aside while it isn't certain that it will be needed resampled."""
        if self._head is None:
            yield from self._advance(block)
            return
        self._head.append(block)
        is_long = sum(map(len, self._head)) > self._window_s * self.sampling_rate
        if self._step_s is not None:
            yield from self._advance(block)
        elif is_long:
            for earlier in self._head:
                yield from self._advance(earlier)
        if is_long:
            self._head = None
            yield from self._summary_windows()

    def _advance(self, block: NDArray[np.float32], last: bool = False) -> Iterator[Window]:
        self._activity.feed(block)
        if self._resampler is None:
            self._resampler = StreamingResampler(self.sampling_rate, self.model_rate, self._torchaudio)
        self._resampled.append(self._resampler.feed(block, last))
        if self._step_s is not None:
            yield from self._curve_windows(self._step_s)
        if self._head is None:
            yield from self._summary_windows()
        self._forget()

    def _forget(self) -> None:
        needed = min(self._next_summary, self._resampled.end - self._length)
        if self._step_s is not None:
            first = self._step_start(self._next_step, self._step_s)
            needed = min(needed, first, self._resampled.end - self._curve_length)
        self._resampled.forget(needed)

    def _cut(self, purpose: str, start: int, end: int, cells: list[tuple[float, float]]) -> Window:
        samples = self._resampled[start:end].copy()
        return Window(purpose, samples, self.model_rate, start / self.model_rate, end / self.model_rate, tuple(cells))

    def _measured(self, window: Window) -> Window:
        """Add its peak and its speech."""
        peak = self._activity.peak(window.start_s, window.end_s)
        if window.purpose == "summary":
            return replace(window, peak=peak, activity=self._activity.within(*window.cells[0]))
        return replace(window, peak=peak, speech_s=tuple(self._activity.active_s(*cell) for cell in window.cells))

    # Windows for the score of the whole

    def _summary_windows(self) -> Iterator[Window]:
        while self._resampled.end >= self._next_summary + self._length:
            if self._held is not None:
                yield self._measured(self._held)
            start, self._next_summary = self._next_summary, self._next_summary + self._hop
            covered_s = (start + (self._length + self._hop) / 2) / self.model_rate
            self._held = self._cut("summary", start, start + self._length, [(self._covered_s, covered_s)])
            self._covered_s = covered_s

    def _last_summary_windows(self) -> Iterator[Window]:
        whole_s = self.duration_s
        if self._held is not None and self._next_summary - self._hop + self._length == self._resampled.end:
            # The audio ends with a window, which then stands for all that is left.
            yield self._measured(replace(self._held, cells=((self._held.cells[0][0], whole_s),)))
            return
        if self._held is not None:
            yield self._measured(self._held)
        start = max(0, self._resampled.end - self._length)
        yield self._measured(self._cut("summary", start, self._resampled.end, [(self._covered_s, whole_s)]))

    # Windows for quality over time

    def _step_start(self, step: int, step_s: float) -> int:
        """First sample of the window around a step; at the start of the audio the window lies to its right."""
        return max(0, round((step + 0.5) * step_s * self.model_rate) - self._curve_length // 2)

    def _curve_windows(self, step_s: float) -> Iterator[Window]:
        while (start := self._step_start(self._next_step, step_s)) + self._curve_length <= self._resampled.end:
            cells = []
            while self._step_start(self._next_step, step_s) == start:
                cells.append((self._next_step * step_s, (self._next_step + 1) * step_s))
                self._next_step += 1
            yield self._measured(self._cut("curve", start, start + self._curve_length, cells))

    def _last_curve_window(self) -> Iterator[Window]:
        if self._step_s is None:
            return
        whole_s = self.duration_s
        # The sum of a million steps is off by less than this part of a step.
        steps = math.ceil(whole_s / self._step_s - 1e-6)
        cells = [
            (step * self._step_s, min((step + 1) * self._step_s, whole_s)) for step in range(self._next_step, steps)
        ]
        if cells:
            start = max(0, self._resampled.end - self._curve_length)
            yield self._measured(self._cut("curve", start, self._resampled.end, cells))
