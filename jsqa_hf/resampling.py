"""Change of the sampling rate of whole clips."""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import Any

import numpy as np

__all__ = ["KAISER_BEST", "resample", "torchaudio_for"]

# torchaudio's polyphase filter has about (original rate / common divisor) * (target rate / common divisor) values: for
# rates that have little in common it would take gigabytes.
_MAXIMUM_FILTER_SIZE = 1 << 22
# torchaudio's documented parameters for a filter like librosa's "kaiser_best".
KAISER_BEST = {
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
        _warn_once(f"torchaudio does not load ({error}); resampling with soxr instead")
        return None
    return torchaudio


@cache
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def torchaudio_for(orig_rate: int, new_rate: int) -> Any | None:
    """torchaudio, or None where it is missing or its filter for these rates would be too large."""
    divisor = math.gcd(orig_rate, new_rate)
    fits = (orig_rate // divisor) * (new_rate // divisor) <= _MAXIMUM_FILTER_SIZE
    return _import_torchaudio() if fits else None


def resample(samples: np.ndarray, orig_rate: int, new_rate: int, torchaudio: bool = True) -> np.ndarray:
    """Change the sampling rate of mono audio.

    Resamples with torchaudio (a windowed sinc with Kaiser window). soxr does it where torchaudio does not load, and
    for pairs of rates with so small a common divisor that torchaudio's filter would not fit into memory.

    Args:
        samples: (time,) float32.
        orig_rate, new_rate: in Hz.
        torchaudio: False to resample with soxr in any case, which needs no torch.

    Returns:
        (time * new_rate / orig_rate,) float32, same level.
    """
    if orig_rate == new_rate:
        return samples
    library = torchaudio_for(orig_rate, new_rate) if torchaudio else None
    if library is None:
        import soxr

        return soxr.resample(samples, orig_rate, new_rate, quality="VHQ").astype(np.float32)
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(samples))
    return library.functional.resample(waveform, orig_rate, new_rate, **KAISER_BEST).numpy()
