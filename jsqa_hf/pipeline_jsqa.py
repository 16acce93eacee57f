"""The transformers pipeline `"speech-quality-assessment"`: audio in, mean opinion scores with intervals out."""

# The base class types its hooks for one input and one output; a chunk pipeline has several of either.
# mypy: disable-error-code="override, assignment"

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.pipelines.base import ChunkPipeline

from .audio import AudioStream
from .audio_inputs import is_collection, open_input
from .windowed_scores import WeightedMean, as_scores, curve_of
from .windows import Window, Windower

__all__ = ["MAXIMUM_DURATION_S", "SILENCE_DBFS", "SpeechQualityPipeline", "WINDOW_S"]

# The clip length that JSQA was trained with (arXiv 2507.11636).
WINDOW_S = 30.0

# A swing of one step of 16-bit PCM to either side is -90.3 dBFS: below there is no sound in the file.
SILENCE_DBFS = -90.0

# Our choice: more than a recorder runs for by itself. Silence is compressed to so little that a small file can hold
# years, which would keep a run busy for as long as anybody waits.
MAXIMUM_DURATION_S = 48 * 3600.0

# The feature extractor refuses clips below 50 ms.
_MINIMUM_WINDOW_S = 0.1

# Our choice: within a tenth of a second nobody can tell one quality from another.
_MINIMUM_STEP_S = 0.1

_TENSORS = ("input_values", "attention_mask")


class SpeechQualityPipeline(ChunkPipeline):
    """Rates the quality of speech without a reference.

    A clip of at most `window_s` is rated as it is. Longer audio is read block by block, in bounded memory, and rated
    in overlapping windows of that length (see `jsqa_hf.windows`). It gets the means over its windows, weighted by the
    seconds of active speech (after ITU-T P.56, see `jsqa_hf.speech_activity`) that each stands for. Windows of digital
    silence (see `SILENCE_DBFS`) are left out, as there is nothing in them to rate.

    Args:
        model: a `JSQAForMOSRegression` that has an output named `"mos"`.
        feature_extractor: its `JSQAFeatureExtractor`.
        kwargs: as in every transformers pipeline (`device`, `batch_size`), and the call parameters `window_s`,
            `confidence`, `curve` and `curve_step_s` as defaults.

    Raises:
        ValueError: if the model doesn't predict MOS, or the feature extractor is missing.

    Example:

    ```python
    >>> import jsqa_hf
    >>> from transformers import pipeline

    >>> rate = pipeline("speech-quality-assessment", model=jsqa_hf.DEFAULT_CHECKPOINT)
    >>> rate("call.wav")
    {'mos': ..., 'mos_low': ..., 'mos_high': ...}
    >>> rate(["a.flac", "b.mp3", {"array": samples, "sampling_rate": 48000}], batch_size=8)
    ```
    """

    feature_extractor: Any

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.eval()
        # By name, because a class loaded as custom code from the Hub is not the one of this package.
        if not any(base.__name__ == "JSQAForMOSRegression" for base in type(self.model).__mro__):
            raise ValueError(
                f"{type(self.model).__name__} doesn't predict MOS; speech quality assessment needs a "
                "JSQAForMOSRegression, that is a model after fine-tuning on ratings"
            )
        if "mos" not in self.model.config.mos_output_names:
            raise ValueError(
                f"none of the model's outputs {list(self.model.config.mos_output_names)} is named 'mos'; name the "
                "overall quality so in `mos_output_names` of its configuration"
            )
        if self.feature_extractor is None:
            raise ValueError("the feature extractor is missing; pass feature_extractor=JSQAFeatureExtractor()")
        if self.feature_extractor.sampling_rate != self._model_rate:
            raise ValueError(
                f"the feature extractor gives {self.feature_extractor.sampling_rate} Hz, but the model was trained at "
                f"{self._model_rate} Hz; use the feature extractor that was saved with the model"
            )

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Rate one input or many.

        Args:
            inputs: one of these, or a list, generator or dataset column of them:

                - path of an audio or video file (`str` or `PathLike`), or an `http(s)://` address, which is fetched;
                - content of such a file (`bytes`);
                - array or tensor (time,) or (channels, time), full scale 1, **at the model's sampling rate** (16 kHz):
                  nothing in it tells its rate;
                - `{"array": ..., "sampling_rate": ...}` (or `"raw"`) for arrays at any rate;
                - `{"bytes": ..., "path": ...}`, an element of a column `Audio(decode=False)` of `datasets`;
                - an `AudioDecoder`, an element of a column `Audio()`;
                - an `AudioStream` of `jsqa_hf.audio`.
            kwargs: `window_s` in seconds (default 30, at least 0.1), `confidence` of the interval (default 0.95),
                `curve` for quality over time (default False), `curve_step_s` in seconds (default 1, at least 0.1),
                `batch_size` and `num_workers` as in every transformers pipeline.

        Returns:
            For every input a dict of floats: `mos`, then `mos_low` and `mos_high`, and the same three for each further
            output of the model; all are on the model's rating scale. A list gives a list; a generator or a dataset
            column an iterator that rates as it goes.

            The interval is `mean ± z * sqrt(variance)`, clipped to the scale, with the variance that the model
            predicts for the mean opinion of a listening panel (the weighted mean over windows, which doesn't shrink
            with more of them). How often it covers the panel's value is stated in the model card.

            With `curve=True` there is also the key `curve`, a list with a dict for every step: `start_s`, `end_s`, the
            same scores as above for the 4 s around the middle of the step, and `speech_s`, the seconds of active
            speech in it. Where there is none, a pause, the scores are None. The other scores don't change.

        Raises:
            ValueError: the input can't be decoded, is too short, is longer than 48 hours, is digital silence, or isn't
                finite; the message names the file where there is one. As in every transformers pipeline this ends an
                iteration; `jsqa_hf.scoring.score_files` goes on with the next file.
            TypeError: the input is none of the above.
        """
        if isinstance(inputs, list | tuple):
            return super().__call__(list(inputs), **kwargs) if inputs else []
        if is_collection(inputs):
            # The base class streams only generators and torch datasets, and takes any other iterable for one input.
            return super().__call__((item for item in inputs), **kwargs)
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        window_s: float | None = None,
        confidence: float | None = None,
        curve: bool | None = None,
        curve_step_s: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_parameters, postprocess_parameters = {}, {}
        for name, seconds, lowest in (
            ("window_s", window_s, _MINIMUM_WINDOW_S),
            ("curve_step_s", curve_step_s, _MINIMUM_STEP_S),
        ):
            if seconds is not None:
                if not lowest <= seconds < math.inf:
                    raise ValueError(f"`{name}` must be at least {lowest} seconds, but is {seconds}")
                preprocess_parameters[name] = float(seconds)
        if curve is not None:
            preprocess_parameters["curve"] = bool(curve)
        postprocess_parameters = {key: value for key, value in preprocess_parameters.items() if key != "window_s"}
        if confidence is not None:
            if not 0.0 < confidence < 1.0:
                raise ValueError(f"`confidence` must lie between 0 and 1, such as 0.95, but is {confidence}")
            postprocess_parameters["confidence"] = float(confidence)
        return preprocess_parameters, {}, postprocess_parameters

    def preprocess(
        self, inputs: Any, window_s: float = WINDOW_S, curve: bool = False, curve_step_s: float = 1.0
    ) -> Iterator[dict[str, Any]]:
        """Read an input and yield its windows as they are complete.

        Args:
            inputs, window_s, curve, curve_step_s: see `__call__`.

        Yields:
            Model inputs of shape (1, samples), and what `postprocess` needs to know about the window: `purpose`
            (`"summary"` or `"curve"`), `start_s` and `duration_s` in the audio, `cells` (start and end of what it
            stands for), `speech_s` (seconds of active speech in its cells) and `speech_of_cells` (the same for each
            cell), `read_s` (how much of the audio has been read; in the last window all), and `is_last`.

        Raises:
            ValueError, TypeError: see `__call__`.
        """
        with open_input(inputs, self._model_rate) as stream:
            try:
                windower = Windower(stream.sampling_rate, self._model_rate, window_s, curve_step_s if curve else None)
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

    def prepare_window(self, window: Window) -> dict[str, Any] | None:
        """Make what `preprocess` yields of a window, or None where there is nothing to rate in it."""
        if window.purpose == "curve" and not any(window.speech_s):
            return None
        features = self.feature_extractor(window.samples, sampling_rate=window.sampling_rate, return_tensors="pt")
        if _is_silent(features["input_values"]):
            return None
        return {
            **features,
            "purpose": window.purpose,
            "start_s": window.start_s,
            "duration_s": features["input_values"].shape[-1] / self._model_rate,
            "cells": window.cells,
            "speech_s": sum(window.speech_s),
            "speech_of_cells": window.speech_s,
            "read_s": window.end_s,
        }

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        about = {key: value for key, value in model_inputs.items() if key not in _TENSORS}
        outputs = self.model(**{key: model_inputs[key] for key in _TENSORS})
        return {"scores": outputs.scores, "variances": outputs.variances, **about}

    def postprocess(
        self,
        model_outputs: Sequence[dict[str, Any]],
        confidence: float = 0.95,
        curve: bool = False,
        curve_step_s: float = 1.0,
    ) -> dict[str, Any]:
        """Average the windows of one input, see `__call__`."""
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
            scores["curve"] = curve_of(rated, self.model.config.mos_output_names, curve_step_s, whole_s)
        return scores

    def name_scores(self, scores: torch.Tensor, variances: torch.Tensor, confidence: float) -> dict[str, float]:
        """Scores and variances, (outputs,) each, as the dict of scores and intervals that `__call__` tells."""
        config = self.model.config
        return as_scores(scores, variances, config.mos_output_names, config.mos_score_range, confidence)

    def silence_error(self) -> ValueError:
        """What to raise for audio in which there is nothing to rate."""
        return ValueError(
            f"digital silence cannot be rated (after mixing to mono at {self._model_rate} Hz nothing exceeds "
            f"{SILENCE_DBFS:.0f} dBFS)"
        )

    @property
    def _model_rate(self) -> int:
        return self.model.config.sampling_rate


def _windows_of(stream: AudioStream, windower: Windower) -> Iterator[Window]:
    for block in stream:
        yield from windower.feed(block)
        if windower.duration_s > MAXIMUM_DURATION_S:
            raise ValueError(
                f"lasts longer than {MAXIMUM_DURATION_S / 3600:.4g} hours; if it is a recording, cut it into parts"
            )
    yield from windower.finish()


def _is_silent(input_values: torch.Tensor) -> bool:
    # Half of the swing instead of the peak: a constant offset makes no sound.
    swing = (input_values.max() - input_values.min()) / 2
    return bool(swing < 10 ** (SILENCE_DBFS / 20))
