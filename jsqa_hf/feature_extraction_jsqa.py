"""Audio in any form → the padded 16 kHz mono batch that the JSQA models take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType, logging

logger = logging.get_logger(__name__)

# Below two frames of HuBERT there is nothing to pool; 50 ms is also shorter than any speech sound worth rating.
MINIMUM_DURATION_S = 0.05
# More channels than any recording for listening has (7.1): such an array is a batch or is transposed.
MAXIMUM_CHANNELS = 8
# Float audio may overshoot full scale a little; a peak like this is integer PCM that nobody divided by 32768.
MAXIMUM_PEAK = 8.0
# torchaudio's polyphase filter has about (original rate / common divisor) * (target rate / common divisor) values: for
# rates that have little in common it would take gigabytes.
_MAXIMUM_FILTER_SIZE = 1 << 22
# torchaudio's documented parameters for a filter like librosa's "kaiser_best".
_KAISER_BEST = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}


def _import_torchaudio() -> Any | None:
    """torchaudio, or None with one warning where it is missing or does not load beside the installed torch."""
    try:
        import torchaudio.functional
    except (ImportError, OSError, RuntimeError) as error:
        logger.warning_once(f"torchaudio does not load ({error}); resampling with soxr instead")
        return None
    return torchaudio


def _torchaudio_for(orig_rate: int, new_rate: int) -> Any | None:
    """torchaudio, or None where it is missing or its filter for these rates would be too large."""
    divisor = math.gcd(orig_rate, new_rate)
    fits = (orig_rate // divisor) * (new_rate // divisor) <= _MAXIMUM_FILTER_SIZE
    return _import_torchaudio() if fits else None


def resample(samples: np.ndarray, orig_rate: int, new_rate: int) -> np.ndarray:
    """Change the sampling rate of mono audio.

    Resamples with torchaudio (a windowed sinc with Kaiser window). soxr does it where torchaudio does not load, and
    for pairs of rates with so small a common divisor that torchaudio's filter would not fit into memory.

    Args:
        samples: (time,) float32.
        orig_rate, new_rate: in Hz.

    Returns:
        (time * new_rate / orig_rate,) float32, same level.
    """
    if orig_rate == new_rate:
        return samples
    torchaudio = _torchaudio_for(orig_rate, new_rate)
    if torchaudio is None:
        import soxr

        return soxr.resample(samples, orig_rate, new_rate, quality="VHQ").astype(np.float32)
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(samples))
    return torchaudio.functional.resample(waveform, orig_rate, new_rate, **_KAISER_BEST).numpy()


def _pcm_to_float(array: np.ndarray) -> np.ndarray:
    """Integer PCM → floats with full scale 1; floats stay as they are."""
    if array.dtype.kind == "f":
        return array
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if array.dtype in (np.int16, np.int32):
        return array / -float(np.iinfo(array.dtype).min)
    raise ValueError(f"samples must be floats, or PCM of type uint8, int16 or int32, but are {array.dtype}")


def to_mono(samples: Any) -> np.ndarray:
    """One clip as mono float32 with full scale 1.

    Args:
        samples: (time,), (channels, time) or (time, channels) array, tensor or nested list; of two axes the shorter
            one is the channels, and channels are averaged. Arrays of uint8, int16 or int32 are taken as PCM and
            divided by the full scale of their type.

    Returns:
        (time,) float32.

    Raises:
        ValueError: for another type or shape, more than 8 channels, no samples, NaN or Inf, or a peak above 8.
    """
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu()
    if hasattr(samples, "__array__"):
        array = _pcm_to_float(np.asarray(samples))
    else:
        array = np.asarray(samples, dtype=np.float64)
    if array.size == 0:
        raise ValueError("the clip is empty: it has no samples")
    if array.ndim not in (1, 2):
        raise ValueError(f"a clip is (time,) or (channels, time), but has shape {array.shape}; give a batch as a list")
    if array.ndim == 2:
        channel_axis = int(np.argmin(array.shape))
        if array.shape[channel_axis] > MAXIMUM_CHANNELS:
            raise ValueError(
                f"{array.shape[channel_axis]} channels are too many (at most {MAXIMUM_CHANNELS}); "
                "if this is a batch, give a list of clips"
            )
        array = array.mean(axis=channel_axis, dtype=np.float64)
    array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError("the clip has NaN or infinite samples: repair or drop it")
    peak = float(np.abs(array).max())
    if peak > MAXIMUM_PEAK:
        raise ValueError(
            f"the peak of the clip is {peak:.4g}, but full scale is 1: divide integer PCM by its full scale "
            "(32768 for 16 bit)"
        )
    return array


class JSQAFeatureExtractor(SequenceFeatureExtractor):
    """Audio clips → `input_values` and `attention_mask`. The level is kept: loudness is part of quality.

    Args:
        feature_size: 1, a mono waveform.
        sampling_rate: rate in Hz that the model expects.
        padding_value: what fills shorter clips.
        kwargs: passed on to `SequenceFeatureExtractor`.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self, feature_size: int = 1, sampling_rate: int = 16000, padding_value: float = 0.0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("return_attention_mask", True)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """Prepare one clip or a batch of clips.

        Args:
            raw_speech: one clip, or a list of clips of any lengths and channel counts, see [`to_mono`]. A clip is an
                array or tensor (time,), (channels, time) or (time, channels), or a list of floats. A batch is a list
                of clips, or an array (batch, channels, time).
            sampling_rate: rate of the clips in Hz. Clips at another rate than the model's are resampled.
            padding, max_length, truncation, pad_to_multiple_of: as everywhere in transformers; lengths in samples at
                the model's rate. By default the batch is padded to its longest clip.
            return_attention_mask: overrides the extractor's own setting (True).
            return_tensors: `"pt"` or `"np"`.

        Returns:
            `BatchFeature` with `input_values` (batch, samples) float32 and `attention_mask` (batch, samples).

        Raises:
            ValueError: if the sampling rate is missing, or a clip is empty, shorter than 50 ms, not finite, or not
                scaled to full scale 1. In a batch the message names the clip's position.
        """
        if sampling_rate is None:
            raise ValueError(
                "`sampling_rate` is missing: give the rate of the audio in Hz, such as sampling_rate=48000"
            )
        is_number = isinstance(sampling_rate, Real) and not isinstance(sampling_rate, bool)
        if not is_number or not sampling_rate > 0 or sampling_rate % 1:
            raise ValueError(f"`sampling_rate` must be a whole number of Hz above 0, but is {sampling_rate!r}")
        clips, batched = self._as_list(raw_speech)
        prepared = []
        for position, clip in enumerate(clips):
            try:
                prepared.append(self._prepare(clip, int(sampling_rate)))
            except ValueError as error:
                raise ValueError(f"clip {position} of the batch: {error}" if batched else str(error)) from error
        return self.pad(
            BatchFeature({"input_values": prepared}),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )

    @staticmethod
    def _as_list(raw_speech: Any) -> tuple[Sequence[Any], bool]:
        if isinstance(raw_speech, list | tuple):
            if not raw_speech:
                raise ValueError("there are no clips: the list is empty")
            if isinstance(raw_speech[0], int | float | np.floating | np.integer):
                return [raw_speech], False
            return raw_speech, True
        if getattr(raw_speech, "ndim", None) == 3:
            return list(raw_speech), True
        return [raw_speech], False

    def _prepare(self, clip: Any, sampling_rate: int) -> np.ndarray:
        samples = to_mono(clip)
        duration = len(samples) / sampling_rate
        if duration < MINIMUM_DURATION_S:
            raise ValueError(
                f"the clip lasts {1000 * duration:.1f} ms, but at least {1000 * MINIMUM_DURATION_S:.0f} ms are "
                "needed: give a longer clip, or check the sampling rate"
            )
        return resample(samples, sampling_rate, self.sampling_rate)


__all__ = ["JSQAFeatureExtractor"]
