"""The excerpt of a file that a page plays and shows."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..audio import decode_audio

__all__ = ["Excerpt", "cut_excerpt", "encode_flac"]

# Precision with which the stretch of the highest energy is looked for; our choice.
_HOP_S = 0.1


class Excerpt(NamedTuple):
    """A stretch of a file.

    Attributes:
        samples: shape `(time,)`, mono, full scale 1.0.
        sampling_rate: in Hz.
        start_s: where in the file it starts, in seconds.
        file_duration_s: length of the whole file in seconds.
    """

    samples: NDArray[np.float64]
    sampling_rate: int
    start_s: float
    file_duration_s: float


def cut_excerpt(
    path: str | os.PathLike[str],
    seconds: float,
    sampling_rate: int,
    curve: Sequence[Mapping[str, Any]] | None = None,
) -> Excerpt:
    """Cut out what is most worth hearing.

    Args:
        path: of an audio file.
        seconds: length of the excerpt; a shorter file is taken as a whole.
        sampling_rate: of the excerpt in Hz, that of the model, so that one hears what was rated.
        curve: quality over time, as in `FileScore`. The excerpt then surrounds its lowest point; without it, it is the
            stretch with the highest energy.

    Returns:
        The excerpt, channels averaged.

    Raises:
        ValueError: the file can't be decoded, or its samples aren't finite.
    """
    decoded = decode_audio(path)
    samples = decoded.samples.mean(axis=0, dtype=np.float64)
    if not np.isfinite(samples).all():
        raise ValueError("holds samples that are not finite numbers")
    duration_s = len(samples) / decoded.sampling_rate
    start_s = 0.0
    if duration_s > seconds:
        wanted = _start_at_lowest(curve or (), seconds)
        start_s = _start_at_loudest(samples, decoded.sampling_rate, seconds) if wanted is None else wanted
        start_s = min(max(start_s, 0.0), duration_s - seconds)
    first = round(start_s * decoded.sampling_rate)
    piece = samples[first : first + round(seconds * decoded.sampling_rate)]
    if decoded.sampling_rate != sampling_rate:
        piece = soxr.resample(piece, decoded.sampling_rate, sampling_rate)
    return Excerpt(piece, sampling_rate, start_s, duration_s)


def encode_flac(samples: NDArray[np.float64], sampling_rate: int) -> bytes:
    """Samples as a FLAC file of 16 bits, which every browser plays; what exceeds full scale is clipped.

    Lossless, because a lossy codec would add the very kind of defect that the page is to make heard.

    Args:
        samples: shape `(time,)`, full scale 1.0.
        sampling_rate: in Hz.
    """
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1), sampling_rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _start_at_lowest(curve: Sequence[Mapping[str, Any]], seconds: float) -> float | None:
    rated = [step for step in curve if step["mos"] is not None]
    if not rated:
        return None
    lowest = min(rated, key=lambda step: step["mos"])
    return (lowest["start_s"] + lowest["end_s"] - seconds) / 2


def _start_at_loudest(samples: NDArray[np.float64], sampling_rate: int, seconds: float) -> float:
    hop, length = max(1, round(_HOP_S * sampling_rate)), round(seconds * sampling_rate)
    energy = np.concatenate([[0.0], np.cumsum(samples**2)])
    starts = np.arange(0, len(samples) - length + 1, hop)
    return float(starts[np.argmax(energy[starts + length] - energy[starts])] / sampling_rate)
