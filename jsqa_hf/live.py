"""Quality of a stream while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .audio_inputs import whole_rate
from .scoring import Model, load_pipeline
from .windowed_scores import WeightedMean, steps_of, unrated
from .windows import Window, Windower

__all__ = ["LiveResult", "LiveScorer"]


@dataclass(frozen=True)
class LiveResult:
    """What is known at the end of a stream.

    Attributes:
        scores: `mos`, `mos_low`, `mos_high`, and the same of further outputs, for the stream as a whole.
        updates: the last steps of quality over time, which `LiveScorer.feed` hasn't given yet.
        duration_s: length of the stream in seconds.
    """

    scores: dict[str, float]
    updates: list[dict[str, Any]]
    duration_s: float


class LiveScorer:
    """Rates one stream as it arrives, in memory that doesn't grow with its length.

    Scores and quality over time are exactly those that `SpeechQualityPipeline` gives with `curve=True` for the same
    samples, whatever the chunks they come in. A step is rated by the 4 s around its middle, so with steps of 1 s it is
    known about 1.8 s after its end (at the start of the stream after 4.3 s).

    Args:
        model: see `jsqa_hf.scoring.load_pipeline`.
        sampling_rate: of the stream, a whole number of Hz.
        device: see `jsqa_hf.scoring.load_pipeline`.
        parameters: call parameters of `SpeechQualityPipeline`: `window_s`, `confidence`, `curve_step_s`.

    Raises:
        OSError, ValueError: the model can't be loaded, or a parameter is out of range.

    Example:

    ```python
    >>> from jsqa_hf.live import LiveScorer

    >>> live = LiveScorer(sampling_rate=48000)
    >>> for chunk in chunks:
    ...     for step in live.feed(chunk):
    ...         print(step["start_s"], step["mos"])
    >>> live.finish().scores
    {'mos': ..., 'mos_low': ..., 'mos_high': ...}
    ```
    """

    def __init__(self, model: Model = None, *, sampling_rate: int, device: Any = None, **parameters: Any) -> None:
        self._pipeline = load_pipeline(model, device)
        if not parameters.pop("curve", True):
            raise ValueError("`curve` can't be switched off: it is what a stream is rated for")
        preprocess, postprocess = self._pipeline.call_parameters(**parameters)
        self._confidence = postprocess.get("confidence", 0.95)
        self._windower: Windower | None = self._pipeline.windower(
            whole_rate(sampling_rate),
            preprocess.get("window_s", 30.0),
            preprocess.get("curve_step_s", 1.0),
        )
        self._whole = WeightedMean()
        self._channels = 1

    def feed(self, chunk: Any) -> list[dict[str, Any]]:
        """Take the next samples.

        Args:
            chunk: array or tensor (time,) or (channels, time) of any length, floats of full scale 1 or PCM of type
                uint8, int16 or int32. What comes as (time, channels), as from sounddevice, is to be passed as
                `chunk.T`.

        Returns:
            The steps of quality over time that are complete with them, as in `SpeechQualityPipeline.__call__`.

        Raises:
            ValueError: the chunk has another type or shape, more channels than samples (unless the chunk before had
                as many channels), NaN or Inf, or a peak above 8 (the stream can then go on with other samples in its
                place), or the stream has ended.
        """
        windower, shape = self._running(), np.shape(chunk)
        if len(shape) == 2 and shape[0] > shape[1] > 0 and shape[0] != self._channels:
            raise ValueError(
                f"a chunk is (time,) or (channels, time), but this one has shape {shape}: if it is (time, channels), "
                "pass chunk.T"
            )
        updates = self._rate(windower.feed(chunk))
        self._channels = shape[0] if len(shape) == 2 else 1
        return updates

    def finish(self) -> LiveResult:
        """End the stream.

        Raises:
            ValueError: the stream is shorter than 50 ms, is digital silence, or has ended already.
        """
        windower, self._windower = self._running(), None
        updates = self._rate(windower.finish())
        if self._whole.is_empty:
            raise self._pipeline.silence_error()
        scores = self._pipeline.name_scores(*self._whole.result(), self._confidence)
        return LiveResult(scores, updates, windower.duration_s)

    def _running(self) -> Windower:
        if self._windower is None:
            raise ValueError("the stream has ended; a LiveScorer rates one stream")
        return self._windower

    def _rate(self, windows: Iterable[Window]) -> list[dict[str, Any]]:
        updates: list[dict[str, Any]] = []
        for window in windows:
            inputs = self._pipeline.prepare_window(window)
            output = None if inputs is None else self._pipeline.forward({**inputs, "is_last": False})
            if window.purpose == "summary":
                if output is not None:
                    self._whole.add(output)
            elif output is None:
                updates += unrated(window.cells, self._pipeline.output_names)
            else:
                rated = self._pipeline.name_scores(output["scores"][0], output["variances"][0], self._confidence)
                updates += steps_of(output, rated)
        return updates
