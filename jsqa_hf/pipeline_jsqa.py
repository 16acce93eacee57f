"""The transformers pipeline `"speech-quality-assessment"`: audio in, mean opinion scores with intervals out."""

# The base class types its hooks for one input and one output; a chunk pipeline has several of either.
# mypy: disable-error-code="override, assignment"

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from transformers.pipelines.base import ChunkPipeline

from .audio import AudioDecodingError, DecodedAudio, decode_audio

__all__ = ["SILENCE_DBFS", "SpeechQualityPipeline", "WINDOW_S"]

# The clip length that JSQA was trained with (arXiv 2507.11636).
WINDOW_S = 30.0

# A swing of one step of 16-bit PCM to either side is -90.3 dBFS: below there is no sound in the file.
SILENCE_DBFS = -90.0

# The feature extractor refuses clips below 50 ms, and equal windows are longer than half of `window_s`.
_MINIMUM_WINDOW_S = 0.1


class SpeechQualityPipeline(ChunkPipeline):
    """Rates the quality of speech without a reference.

    Longer clips than `window_s` are split into equal windows of at most that length; every window is rated by itself,
    and the clip gets the means over its windows, weighted by duration. Windows of digital silence (see `SILENCE_DBFS`)
    are left out, as there is nothing in them to rate.

    Args:
        model: a `JSQAForMOSRegression` that has an output named `"mos"`.
        feature_extractor: its `JSQAFeatureExtractor`.
        kwargs: as in every transformers pipeline (`device`, `batch_size`), and the call parameters `window_s` and
            `confidence` as defaults.

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
                - an `AudioDecoder`, an element of a column `Audio()`.
            kwargs: `window_s` in seconds (default 30, at least 0.1), `confidence` of the interval (default 0.95),
                `batch_size` and `num_workers` as in every transformers pipeline.

        Returns:
            For every input a dict of floats: `mos`, then `mos_low` and `mos_high`, and the same three for each further
            output of the model; all are on the model's rating scale. A list gives a list; a generator or a dataset
            column an iterator that rates as it goes.

            The interval is `mean ± z * sqrt(variance)`, clipped to the scale, with the variance that the model
            predicts for the mean opinion of a listening panel (the duration-weighted mean over windows, which doesn't
            shrink with more of them). How often it covers the panel's value is stated in the model card.

        Raises:
            ValueError: the input can't be decoded, is too short, is digital silence, or isn't finite; the message
                names the file where there is one. As in every transformers pipeline this ends an iteration;
                `jsqa_hf.scoring.score_files` goes on with the next file.
            TypeError: the input is none of the above.
        """
        if isinstance(inputs, list | tuple):
            return super().__call__(list(inputs), **kwargs) if inputs else []
        if _is_column(inputs):
            # The base class streams only generators and torch datasets, and takes any other iterable for one input.
            return super().__call__((item for item in inputs), **kwargs)
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, window_s: float | None = None, confidence: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_parameters, postprocess_parameters = {}, {}
        if window_s is not None:
            if not _MINIMUM_WINDOW_S <= window_s < math.inf:
                raise ValueError(f"`window_s` must be at least {_MINIMUM_WINDOW_S} seconds, but is {window_s}")
            preprocess_parameters["window_s"] = float(window_s)
        if confidence is not None:
            if not 0.0 < confidence < 1.0:
                raise ValueError(f"`confidence` must lie between 0 and 1, such as 0.95, but is {confidence}")
            postprocess_parameters["confidence"] = float(confidence)
        return preprocess_parameters, {}, postprocess_parameters

    def preprocess(self, inputs: Any, window_s: float = WINDOW_S) -> Iterator[dict[str, Any]]:
        """Decode an input and yield its windows as model inputs of shape (1, samples), each with its duration in s."""
        samples, sampling_rate, name = self._read(inputs)
        try:
            pending = None
            for window in _split(samples, sampling_rate, window_s):
                features = self.feature_extractor(window, sampling_rate=sampling_rate, return_tensors="pt")
                if _is_silent(features["input_values"]):
                    continue
                if pending is not None:
                    yield {**pending, "is_last": False}
                pending = {**features, "duration_s": features["input_values"].shape[-1] / self._model_rate}
            if pending is None:
                raise ValueError(
                    f"digital silence cannot be rated (after mixing to mono at {self._model_rate} Hz nothing exceeds "
                    f"{SILENCE_DBFS:.0f} dBFS)"
                )
        except ValueError as error:
            if not name:
                raise
            raise ValueError(f"{name}: {error}") from error
        yield {**pending, "is_last": True}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        bookkeeping = {key: model_inputs[key] for key in ("duration_s", "is_last")}
        outputs = self.model(input_values=model_inputs["input_values"], attention_mask=model_inputs["attention_mask"])
        return {"scores": outputs.scores, "variances": outputs.variances, **bookkeeping}

    def postprocess(self, model_outputs: Sequence[dict[str, Any]], confidence: float = 0.95) -> dict[str, float]:
        """Average the windows of one input, see `__call__`."""
        durations = torch.tensor([output["duration_s"] for output in model_outputs], dtype=torch.float64)
        weights = (durations / durations.sum())[:, None]
        means = (weights * torch.cat([output["scores"] for output in model_outputs]).double()).sum(0)
        variances = (weights * torch.cat([output["variances"] for output in model_outputs]).double()).sum(0)
        if not (means.isfinite().all() and variances.isfinite().all()):
            raise ValueError("the model gives no finite score; check its weights and its number format")
        lowest, highest = self.model.config.mos_score_range
        half_widths = NormalDist().inv_cdf(0.5 + confidence / 2) * variances.sqrt()
        lows = (means - half_widths).clamp(min=lowest)
        highs = (means + half_widths).clamp(max=highest)
        names = list(self.model.config.mos_output_names)
        scores: dict[str, float] = {}
        for name in sorted(names, key=lambda name: name != "mos"):
            index = names.index(name)
            scores[name], scores[f"{name}_low"], scores[f"{name}_high"] = (
                float(values[index]) for values in (means, lows, highs)
            )
        return scores

    @property
    def _model_rate(self) -> int:
        return self.model.config.sampling_rate

    def _read(self, inputs: Any) -> tuple[Any, int, str]:
        """Samples, sampling rate in Hz, and the file's name for messages (empty where there is none)."""
        if isinstance(inputs, dict):
            return self._read_dict(inputs)
        if isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
            return *_decode_bytes(_fetch(inputs), inputs), inputs
        if isinstance(inputs, str | os.PathLike):
            return *decode_audio(inputs), os.fspath(inputs)
        if isinstance(inputs, bytes | bytearray | memoryview):
            return *decode_audio(bytes(inputs)), ""
        if hasattr(inputs, "get_all_samples"):
            decoded = inputs.get_all_samples()
            return _as_array(decoded.data), decoded.sample_rate, ""
        if isinstance(inputs, np.ndarray | torch.Tensor):
            return _as_array(inputs), self._model_rate, ""
        raise TypeError(
            f"an input must be a path, bytes, an array, a tensor, an AudioDecoder, or a dict with 'array' and "
            f"'sampling_rate', but is {type(inputs).__name__}"
        )

    def _read_dict(self, inputs: dict[str, Any]) -> tuple[Any, int, str]:
        name = inputs.get("path") or ""
        for key in ("array", "raw"):
            if inputs.get(key) is not None:
                if inputs.get("sampling_rate") is None:
                    raise ValueError(f"the dict with {key!r} lacks 'sampling_rate': give the rate of the audio in Hz")
                return _as_array(inputs[key]), inputs["sampling_rate"], name
        if inputs.get("bytes") is not None:
            return *_decode_bytes(inputs["bytes"], name), name
        if name:
            return self._read(name)
        raise ValueError(
            f"a dict must have 'array' and 'sampling_rate', or 'bytes', or 'path', but has {sorted(inputs)}"
        )


def _is_column(inputs: Any) -> bool:
    """Whether this is a collection of inputs: an iterator, or a lazy column of `datasets`."""
    if isinstance(inputs, str | bytes | bytearray | memoryview | dict | np.ndarray | torch.Tensor):
        return False
    if hasattr(inputs, "get_all_samples") or isinstance(inputs, torch.utils.data.Dataset):
        return False
    return isinstance(inputs, Iterable)


def _decode_bytes(content: bytes, name: str) -> DecodedAudio:
    try:
        return decode_audio(content)
    except AudioDecodingError as error:
        raise AudioDecodingError(error.reason, name) from error


def _fetch(address: str) -> bytes:
    # The HTTP client that transformers' own audio pipelines use.
    from huggingface_hub.utils import httpx

    try:
        return httpx.get(address, follow_redirects=True).raise_for_status().content
    except httpx.HTTPError as error:
        raise ValueError(f"{address}: can't be fetched ({error})") from error


def _as_array(samples: Any) -> np.ndarray:
    """Numbers of any kind as an array; lists carry no type, so they are taken as full scale 1, not as integer PCM."""
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu()
        return (samples.float() if samples.dtype == torch.bfloat16 else samples).numpy()
    if isinstance(samples, list | tuple):
        return np.asarray(samples, dtype=np.float32)
    return np.asarray(samples)


def _split(samples: np.ndarray, sampling_rate: int, window_s: float) -> Iterator[np.ndarray]:
    """Equal windows of at most `window_s` seconds along the longer axis, the time."""
    if samples.ndim not in (1, 2):
        raise ValueError(
            f"a clip is (time,) or (channels, time), but has shape {samples.shape}; give several as a list"
        )
    if samples.ndim == 2 and samples.shape[0] > samples.shape[1]:
        samples = samples.T
    if not (isinstance(sampling_rate, Real) and sampling_rate > 0):
        raise ValueError(f"'sampling_rate' must be a number of Hz above 0, but is {sampling_rate!r}")
    length = samples.shape[-1]
    count = max(1, math.ceil(length / (window_s * sampling_rate)))
    edges = [round(length * index / count) for index in range(count + 1)]
    for start, end in zip(edges, edges[1:], strict=False):
        yield samples[..., start:end]


def _is_silent(input_values: torch.Tensor) -> bool:
    # Half of the swing instead of the peak: a constant offset makes no sound.
    swing = (input_values.max() - input_values.min()) / 2
    return bool(swing < 10 ** (SILENCE_DBFS / 20))
