"""Clips of any kind as mono samples at the rate that a model takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .resampling import resample

__all__ = [
    "MAXIMUM_CHANNELS",
    "MAXIMUM_PEAK",
    "MINIMUM_DURATION_S",
    "as_array",
    "pcm_to_float",
    "prepare_clip",
    "to_mono",
]

# Below two frames of HuBERT there is nothing to pool; 50 ms is also shorter than any speech sound worth rating.
MINIMUM_DURATION_S = 0.05
# More channels than any recording for listening has (7.1): such an array is a batch or is transposed.
MAXIMUM_CHANNELS = 8
# Float audio may overshoot full scale a little; a peak like this is integer PCM that nobody divided by 32768.
MAXIMUM_PEAK = 8.0


def as_array(samples: Any) -> np.ndarray:
    """An array, tensor or nested list as an array; lists carry no type, so they are taken as full scale 1, not as PCM.

    Raises:
        ValueError: a list holds something else than numbers, or lists of several lengths.
    """
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu()
        # NumPy has no bfloat16.
        return (samples.float() if samples.is_floating_point() and samples.dtype.itemsize == 2 else samples).numpy()
    if not isinstance(samples, list | tuple):
        return np.asarray(samples)
    try:
        return np.asarray(samples, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("a list of samples must hold numbers, or for each channel a list of as many") from error


def pcm_to_float(array: np.ndarray) -> np.ndarray:
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
    array = pcm_to_float(as_array(samples))
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


def prepare_clip(clip: Any, sampling_rate: int, new_rate: int, torchaudio: bool = True) -> np.ndarray:
    """Mix a clip to mono and change its sampling rate.

    Args:
        clip: see `to_mono`.
        sampling_rate: of the clip in Hz.
        new_rate: in Hz.
        torchaudio: see `jsqa_hf.resampling.filter_for`.

    Returns:
        (time,) float32 of full scale 1.

    Raises:
        ValueError: the clip is shorter than 50 ms, or see `to_mono`.
    """
    samples = to_mono(clip)
    duration = len(samples) / sampling_rate
    if duration < MINIMUM_DURATION_S:
        raise ValueError(
            f"the clip lasts {1000 * duration:.1f} ms, but at least {1000 * MINIMUM_DURATION_S:.0f} ms are "
            "needed: give a longer clip, or check the sampling rate"
        )
    return resample(samples, sampling_rate, new_rate, torchaudio)
