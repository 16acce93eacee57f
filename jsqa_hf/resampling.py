"""Change of the sampling rate of whole clips."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KAISER_BEST", "Filter", "filter_for", "resample"]

Filter = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# torchaudio's polyphase filter has about (original rate / common divisor) * (target rate / common divisor) values: for
# rates that have little in common it would take gigabytes.
_MAXIMUM_FILTER_SIZE = 1 << 22
# Samples that NumPy makes of each row of neighbours, at least. Our choice: with one, for which the row is copied,
# 48 kHz takes 17 times as long.
_ROW = 64
# Rows that NumPy filters at once; our choice.
_BLOCK = 4096
# torchaudio's documented parameters for a filter like librosa's "kaiser_best".
KAISER_BEST: dict[str, Any] = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}


def _import_torchaudio() -> Any | None:
    """torchaudio, or None with one warning where it is missing or does not load beside the installed torch."""
    try:
        import torchaudio.transforms
    except (ImportError, OSError, RuntimeError) as error:
        _warn_once(f"torchaudio does not load ({error}); resampling with NumPy instead")
        return None
    return torchaudio


@cache
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def filter_for(orig_rate: int, new_rate: int, torchaudio: bool = True) -> Filter | None:
    """The windowed sinc of torchaudio: from torchaudio, or else, to 2e-5 of full scale, from NumPy.

    Args:
        orig_rate, new_rate: in Hz.
        torchaudio: False for NumPy in any case, which needs no torch.

    Returns:
        From (time,) float32 to (ceil(time * new_rate / orig_rate),) float32, or None if the filter would be too large.
    """
    divisor = math.gcd(orig_rate, new_rate)
    old, new = orig_rate // divisor, new_rate // divisor
    if old * new > _MAXIMUM_FILTER_SIZE:
        return None
    library = _import_torchaudio() if torchaudio else None
    if library is None:
        periods = max(1, _ROW // new)
        return partial(_resample_with_numpy, periods * old, periods * new)
    import torch

    # It computes its filter once; that takes longer than to filter some seconds.
    transform = library.transforms.Resample(orig_rate, new_rate, **KAISER_BEST)

    def resample_with_torchaudio(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        # Mixed precision is for models; audio would lose half of its bits.
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return transform(torch.from_numpy(np.ascontiguousarray(samples))).numpy()

    return resample_with_torchaudio


@cache
def _kaiser_filter(old: int, new: int) -> tuple[NDArray[np.float32], int]:
    """Weights of the neighbours of `new` samples in a row (new, neighbours), and how many of these are before them."""
    zeros, cutoff = KAISER_BEST["lowpass_filter_width"], min(old, new) * KAISER_BEST["rolloff"]
    before = math.ceil(zeros * old / cutoff)
    place = np.arange(-before, before + old) / old - np.arange(new)[:, None] / new
    place = (place * cutoff).clip(-zeros, zeros)
    window = np.i0(KAISER_BEST["beta"] * np.sqrt(1 - (place / zeros) ** 2)) / np.i0(KAISER_BEST["beta"])
    return (np.sinc(place) * window * cutoff / old).astype(np.float32), before


def _resample_with_numpy(old: int, new: int, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    weights, before = _kaiser_filter(old, new)
    padded = np.pad(np.asarray(samples, np.float32), (before, before + old))
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[1])[::old]
    # In blocks, as a product of overlapping rows copies them.
    blocks = [neighbours[start : start + _BLOCK] @ weights.T for start in range(0, len(neighbours), _BLOCK)]
    return np.concatenate(blocks).ravel()[: -(-len(samples) * new // old)]


def resample(samples: np.ndarray, orig_rate: int, new_rate: int, torchaudio: bool = True) -> np.ndarray:
    """Change the sampling rate of mono audio.

    Resamples with a windowed sinc with Kaiser window, see `filter_for`. soxr does it for pairs of rates with so small
    a common divisor that this filter would not fit into memory.

    Args:
        samples: (time,) float32.
        orig_rate, new_rate: in Hz.
        torchaudio: see `filter_for`.

    Returns:
        (time * new_rate / orig_rate,) float32, same level.
    """
    if orig_rate == new_rate:
        return samples
    if (apply := filter_for(orig_rate, new_rate, torchaudio)) is not None:
        return apply(samples)
    import soxr

    return soxr.resample(samples, orig_rate, new_rate, quality="VHQ").astype(np.float32)
