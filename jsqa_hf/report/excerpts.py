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

from ..audio import open_audio

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
        ValueError: the file can't be decoded, its samples aren't finite, or it is too short to be heard.
    """
    energies, hop, frames, file_rate = _survey(path)
    duration_s = frames / file_rate
    start_s = 0.0
    if duration_s > seconds:
        wanted = _start_at_lowest(curve or (), seconds)
        start_s = _start_at_loudest(energies, hop / file_rate, seconds) if wanted is None else wanted
        start_s = min(max(start_s, 0.0), duration_s - seconds)
    piece = _read(path, round(start_s * file_rate), round(seconds * file_rate))
    if file_rate != sampling_rate:
        piece = soxr.resample(piece, file_rate, sampling_rate)
    if not piece.size:
        raise ValueError("is too short to be heard")
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


def _start_at_loudest(energies: NDArray[np.float64], hop_s: float, seconds: float) -> float:
    length = min(max(1, round(seconds / hop_s)), len(energies))
    before = np.concatenate([[0.0], np.cumsum(energies)])
    return float(np.argmax(before[length:] - before[:-length]) * hop_s)


def _survey(path: str | os.PathLike[str]) -> tuple[NDArray[np.float64], int, int, int]:
    """Energies of stretches of `_HOP_S` seconds, their length in samples, that of the file, and its sampling rate."""
    energies: list[NDArray[np.float64]] = []
    with open_audio(path) as stream:
        hop = max(1, round(_HOP_S * stream.sampling_rate))
        rest = np.zeros(0)
        for block in stream:
            rest = np.concatenate([rest, _mono(block)])
            whole = len(rest) // hop * hop
            energies.append((rest[:whole].reshape(-1, hop) ** 2).sum(axis=1))
            rest = rest[whole:]
        return np.concatenate(energies), hop, stream.frames_read, stream.sampling_rate


def _read(path: str | os.PathLike[str], first: int, count: int) -> NDArray[np.float64]:
    pieces: list[NDArray[np.float64]] = []
    with open_audio(path) as stream:
        for block in stream:
            start = stream.frames_read - block.shape[-1]
            pieces.append(_mono(block[:, max(0, first - start) : max(0, first + count - start)]))
            if stream.frames_read >= first + count:
                break
    return np.concatenate(pieces)


def _mono(block: NDArray[np.float32]) -> NDArray[np.float64]:
    samples = block.mean(axis=0, dtype=np.float64)
    if not np.isfinite(samples).all():
        raise ValueError("holds samples that are not finite numbers")
    return samples
