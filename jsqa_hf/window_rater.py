"""What a rating takes apart from the model: audio as windows, and the scores of windows as those of the whole.

`SpeechQualityPipeline` does it around PyTorch, and `jsqa_hf.onnx_rater.OnnxRater` around ONNX Runtime alone; nothing
here needs torch or transformers.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from .audio import AudioStream
from .audio_inputs import open_input
from .windowed_scores import WeightedMean, as_scores, curve_of
from .windows import CURVE_WINDOW_S, Window, Windower

__all__ = ["MAXIMUM_DURATION_S", "MODEL_INPUTS", "SILENCE_DBFS", "WINDOW_S", "WindowRater", "available_cores"]

# The clip length that JSQA was trained with (arXiv 2507.11636).
WINDOW_S = 30.0

# A swing of one step of 16-bit PCM to either side is -90.3 dBFS: below there is no sound in the file.
SILENCE_DBFS = -90.0

# Our choice: more than a recorder runs for by itself. Silence is compressed to so little that a small file can hold
# years, which would keep a run busy for as long as anybody waits.
MAXIMUM_DURATION_S = 48 * 3600.0

MODEL_INPUTS = ("input_values", "attention_mask")
"""What of a window goes into the model; the rest tells where it lies and what it stands for."""

# The feature extractor refuses clips below 50 ms.
_MINIMUM_WINDOW_S = 0.1

# Our choice: within a tenth of a second nobody can tell one quality from another.
_MINIMUM_STEP_S = 0.1


class WindowRater(ABC):
    """Base of whatever rates audio in windows.

    A clip of at most `window_s` is rated as it is. Longer audio is read block by block, in bounded memory, and rated
    in overlapping windows of that length (see `jsqa_hf.windows`). It gets the means over its windows, weighted by the
    active speech that each stands for (after ITU-T P.56, with one threshold for the whole audio, see
    `jsqa_hf.speech_activity`). Windows of digital silence (see `SILENCE_DBFS`) are left out, as there is nothing in
    them to rate.

    Attributes:
        sampling_rate: of the model's input, in Hz.
        output_names: of the model's outputs, in their order.
        score_range: ends of the rating scale.
        panel_std: `JSQAConfig.mos_panel_std` of the model.
    """

    sampling_rate: int
    output_names: list[str]
    score_range: tuple[float, float]
    panel_std: float

    # Whether torchaudio resamples, which needs torch, or NumPy.
    _uses_torchaudio = True

    # Call parameters that are always passed.
    _preprocess_params: dict[str, Any] = {}
    _postprocess_params: dict[str, Any] = {}

    # What each kind of rater brings

    @property
    @abstractmethod
    def cores(self) -> int:
        """How many cores there are to rate on; 0 where an accelerator rates."""

    @abstractmethod
    def limit_cores(self, cores: int) -> None:
        """Let the calling thread rate on so many cores."""

    @abstractmethod
    def extract(self, samples: NDArray[Any], sampling_rate: int) -> Mapping[str, Any]:
        """Make what goes into the model (`MODEL_INPUTS`, of shape (1, samples)) of mono samples, (time,).

        Less than the model takes is padded, so that it is rated as it is in a batch with longer ones.
        """

    @abstractmethod
    def rate_windows(self, windows: Sequence[Mapping[str, Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rate what `preprocess` gave: scores and variances, (windows, outputs) each."""

    # What all do

    def check_parameters(
        self,
        window_s: float | None = None,
        confidence: float | None = None,
        curve: bool | None = None,
        curve_step_s: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check call parameters.

        Args:
            window_s, confidence, curve, curve_step_s: see `SpeechQualityPipeline.__call__`; None for the default.

        Returns:
            Those of `preprocess` and those of `postprocess`.

        Raises:
            ValueError: one is out of range.
        """
        preprocess_parameters: dict[str, Any] = {}
        # A step is rated by the window around its middle, so that a longer one would not be heard as a whole.
        for name, seconds, lowest, highest in (
            ("window_s", window_s, _MINIMUM_WINDOW_S, math.inf),
            ("curve_step_s", curve_step_s, _MINIMUM_STEP_S, CURVE_WINDOW_S),
        ):
            if seconds is not None:
                if not lowest <= seconds <= highest or math.isinf(seconds):
                    most = "" if math.isinf(highest) else f" and at most {highest}"
                    raise ValueError(f"`{name}` must be at least {lowest}{most} seconds, but is {seconds}")
                preprocess_parameters[name] = float(seconds)
        if curve is not None:
            preprocess_parameters["curve"] = bool(curve)
        postprocess_parameters = {key: value for key, value in preprocess_parameters.items() if key != "window_s"}
        if confidence is not None:
            if not 0.0 < confidence < 1.0:
                raise ValueError(f"`confidence` must lie between 0 and 1, such as 0.95, but is {confidence}")
            postprocess_parameters["confidence"] = float(confidence)
        return preprocess_parameters, postprocess_parameters

    def call_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `check_parameters` gives, over the parameters that this rater always passes."""
        preprocess, postprocess = self.check_parameters(**parameters)
        return {**self._preprocess_params, **preprocess}, {**self._postprocess_params, **postprocess}

    @property
    def default_parameters(self) -> dict[str, Any]:
        """The call parameters that this rater always passes."""
        return {**self._preprocess_params, **self._postprocess_params}

    def preprocess(
        self, inputs: Any, window_s: float = WINDOW_S, curve: bool = False, curve_step_s: float = 1.0
    ) -> Iterator[dict[str, Any]]:
        """Read an input and yield its windows as they are complete.

        Args:
            inputs, window_s, curve, curve_step_s: see `SpeechQualityPipeline.__call__`.

        Yields:
            Model inputs of shape (1, samples), and what `postprocess` needs to know about the window: `purpose`
            (`"summary"` or `"curve"`), `start_s` and `duration_s` in the audio, `cells` (start and end of what it
            stands for), `activity` and `speech_s` (see `jsqa_hf.windows.Window`), `read_s` (how much of the audio has
            been read; in the last window all), and `is_last`.

        Raises:
            ValueError, TypeError: see `SpeechQualityPipeline.__call__`.
        """
        with open_input(inputs, self.sampling_rate) as stream:
            try:
                windower = self.windower(stream.sampling_rate, window_s, curve_step_s if curve else None)
                pending = None
                for window in _windows_of(stream, windower):
                    features = self.prepare_window(window)
                    if features is None:
                        continue
                    if pending is not None:
                        yield {**pending, "is_last": False}
                    pending = features
                if pending is None:
                    raise self.silence_error()
            except ValueError as error:
                if not stream.name:
                    raise
                raise ValueError(f"{stream.name}: {error}") from error
            yield {**pending, "read_s": stream.frames_read / stream.sampling_rate, "is_last": True}

    def windower(self, sampling_rate: int, window_s: float = WINDOW_S, curve_step_s: float | None = None) -> Windower:
        """What cuts a stream into windows for this rater; see `Windower`."""
        return Windower(sampling_rate, self.sampling_rate, window_s, curve_step_s, self._uses_torchaudio)

    def prepare_window(self, window: Window) -> dict[str, Any] | None:
        """Make what `preprocess` yields of a window, or None where there is nothing to rate in it."""
        if window.purpose == "curve" and not any(window.speech_s):
            return None
        features = self.extract(window.samples, window.sampling_rate)
        values = features["input_values"]
        # Before resampling, which makes a sound of the ends of a constant, and after it, where none may be left.
        silence = 10 ** (SILENCE_DBFS / 20)
        if window.peak < silence or (values.max() - values.min()) / 2 < silence:
            return None
        return {
            **features,
            "purpose": window.purpose,
            "start_s": window.start_s,
            "duration_s": window.end_s - window.start_s,
            "cells": window.cells,
            "activity": window.activity,
            "speech_s": window.speech_s,
            "read_s": window.end_s,
        }

    def postprocess(
        self,
        model_outputs: Sequence[Mapping[str, Any]],
        confidence: float = 0.95,
        curve: bool = False,
        curve_step_s: float = 1.0,
    ) -> dict[str, Any]:
        """Average the windows of one input, see `SpeechQualityPipeline.__call__`."""
        whole = WeightedMean()
        for output in model_outputs:
            if output["purpose"] == "summary":
                whole.add(output)
        scores: dict[str, Any] = self.name_scores(*whole.result(), confidence)
        if curve:
            rated = (
                (output, self.name_scores(output["scores"][0], output["variances"][0], confidence))
                for output in model_outputs
                if output["purpose"] == "curve"
            )
            whole_s = max(output["read_s"] for output in model_outputs)
            scores["curve"] = curve_of(rated, self.output_names, curve_step_s, whole_s)
        return scores

    def name_scores(self, scores: NDArray[Any], variances: NDArray[Any], confidence: float) -> dict[str, float]:
        """Scores and variances, (outputs,) each, as the dict of scores and intervals of `SpeechQualityPipeline`."""
        return as_scores(scores, variances, self.output_names, self.score_range, confidence, self.panel_std)

    def silence_error(self) -> ValueError:
        """What to raise for audio in which there is nothing to rate."""
        return ValueError(
            f"digital silence cannot be rated (after mixing to mono at {self.sampling_rate} Hz nothing exceeds "
            f"{SILENCE_DBFS:.0f} dBFS)"
        )


def _windows_of(stream: AudioStream, windower: Windower) -> Iterator[Window]:
    for block in stream:
        yield from windower.feed(block)
        if windower.duration_s > MAXIMUM_DURATION_S:
            raise ValueError(
                f"lasts longer than {MAXIMUM_DURATION_S / 3600:.4g} hours; if it is a recording, cut it into parts"
            )
    yield from windower.finish()


def available_cores() -> int:
    """How many cores `OMP_NUM_THREADS`, or else the system, allows: what torch goes by, too."""
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if limit.isdecimal() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
