"""Whatever a pipeline takes as audio, opened as a stream of blocks."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np

from .audio import AudioDecodingError, AudioStream, open_audio
from .waveforms import as_array

__all__ = ["is_collection", "open_input", "whole_rate"]

# Conversions to other types work on copies of this length.
_BLOCK_FRAMES = 1 << 18


@contextmanager
def open_input(inputs: Any, default_rate: int) -> Iterator[AudioStream]:
    """Open one input of `SpeechQualityPipeline`.

    Args:
        inputs: see `SpeechQualityPipeline.__call__`, or an `AudioStream`, which is read on.
        default_rate: sampling rate in Hz of an array that comes without one.

    Yields:
        The stream; its name is that of the file, for messages.

    Raises:
        ValueError: the input can't be decoded or fetched, or lacks what is needed.
        TypeError: the input is of another type.
    """
    if isinstance(inputs, AudioStream):
        yield inputs
    elif isinstance(inputs, dict):
        with _open_dict(inputs, default_rate) as stream:
            yield stream
    elif isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
        with _open_bytes(_fetch(inputs), inputs) as stream:
            yield stream
    elif isinstance(inputs, str | os.PathLike):
        with open_audio(inputs) as stream:
            yield stream
    elif isinstance(inputs, bytes | bytearray | memoryview):
        with open_audio(bytes(inputs)) as stream:
            yield stream
    elif hasattr(inputs, "read"):
        name = getattr(inputs, "name", "")
        # That of a temporary file can be a number.
        with _open_bytes(_read(inputs), name if isinstance(name, str) else "") as stream:
            yield stream
    elif hasattr(inputs, "get_all_samples"):
        decoded = inputs.get_all_samples()
        yield _stream_of_array(as_array(decoded.data), decoded.sample_rate)
    elif isinstance(inputs, np.ndarray) or _is_tensor(inputs):
        yield _stream_of_array(as_array(inputs), default_rate)
    else:
        raise TypeError(
            f"an input must be a path, bytes, an open file, an array, a tensor, an AudioDecoder, or a dict with "
            f"'array' and 'sampling_rate', but is {type(inputs).__name__}"
        )


def is_collection(inputs: Any) -> bool:
    """Whether this is a collection of inputs: an iterator, or a lazy column of `datasets`."""
    if isinstance(inputs, str | bytes | bytearray | memoryview | dict | np.ndarray | AudioStream):
        return False
    if hasattr(inputs, "get_all_samples") or _is_tensor(inputs) or _is_torch_dataset(inputs):
        return False
    # An open file is an iterator, too, of what it takes for lines.
    if hasattr(inputs, "read"):
        return False
    return isinstance(inputs, Iterable)


def whole_rate(sampling_rate: Any) -> int:
    """A sampling rate in Hz, checked.

    Raises:
        ValueError: it isn't a whole number above 0.
    """
    is_number = isinstance(sampling_rate, Real) and not isinstance(sampling_rate, bool)
    if not is_number or not sampling_rate > 0 or sampling_rate % 1:
        raise ValueError(f"'sampling_rate' must be a whole number of Hz above 0, but is {sampling_rate!r}")
    return int(sampling_rate)


@contextmanager
def _open_dict(inputs: dict[str, Any], default_rate: int) -> Iterator[AudioStream]:
    name = inputs.get("path") or ""
    for key in ("array", "raw"):
        if inputs.get(key) is not None:
            if inputs.get("sampling_rate") is None:
                raise ValueError(f"the dict with {key!r} lacks 'sampling_rate': give the rate of the audio in Hz")
            yield _stream_of_array(as_array(inputs[key]), inputs["sampling_rate"], name)
            return
    if inputs.get("bytes") is not None:
        # `bytes` makes zeros of a number.
        if isinstance(inputs["bytes"], int | str):
            raise TypeError(f"'bytes' must be the content of a file, but is {type(inputs['bytes']).__name__}")
        with _open_bytes(bytes(inputs["bytes"]), name) as stream:
            yield stream
    elif name:
        with open_input(name, default_rate) as stream:
            yield stream
    else:
        raise ValueError(
            f"a dict must have 'array' and 'sampling_rate', or 'bytes', or 'path', but has {sorted(inputs)}"
        )


@contextmanager
def _open_bytes(content: bytes, name: str) -> Iterator[AudioStream]:
    try:
        with open_audio(content) as stream:
            stream.name = name
            yield stream
    except AudioDecodingError as error:
        raise AudioDecodingError(error.reason, name) from error


def _read(file: Any) -> bytes:
    if inspect.iscoroutinefunction(file.read):
        raise TypeError(f"a {type(file).__name__} is read by `await`: pass its `.file`, or what `await` gives")
    content = file.read()
    if not isinstance(content, bytes):
        raise TypeError(f"an open file must give bytes, as with mode 'rb', but gives {type(content).__name__}")
    return content


def _fetch(address: str) -> bytes:
    # The HTTP client that transformers' own audio pipelines use.
    from huggingface_hub.utils import httpx

    try:
        return httpx.get(address, follow_redirects=True).raise_for_status().content
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise AudioDecodingError(f"can't be fetched ({error})", address) from error


def _is_tensor(value: Any) -> bool:
    # Nobody can have one who hasn't imported torch, which takes seconds.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_torch_dataset(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.utils.data.Dataset)


def _stream_of_array(samples: np.ndarray, sampling_rate: Any, name: str = "") -> AudioStream:
    """A stream along the longer axis, the time."""
    if samples.ndim not in (1, 2):
        raise ValueError(
            f"a clip is (time,) or (channels, time), but has shape {samples.shape}; give several as a list"
        )
    if samples.ndim == 2 and samples.shape[0] > samples.shape[1]:
        samples = samples.T
    starts = range(0, samples.shape[-1], _BLOCK_FRAMES)
    return AudioStream((samples[..., i : i + _BLOCK_FRAMES] for i in starts), whole_rate(sampling_rate), name)
