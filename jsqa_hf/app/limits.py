"""What the app takes on, so that one visitor can't keep it from the others."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioDecodingError, AudioStream, open_audio

__all__ = ["AppLimits", "Clip", "read_clip"]

# Our choice: the highest rate that recorders and sound cards commonly have.
_HIGHEST_RATE = 192_000


@dataclass(frozen=True)
class AppLimits:
    """Limits of the app. The defaults are our choice: what a CPU with two cores answers within seconds.

    Args:
        file_mb: Largest file in MB, of 2^20 bytes as Gradio counts them.
        duration_s: Longest clip in seconds.
        files: Most files in one table.
        waiting: Most requests that wait for their turn; further ones are told to come back.

    Raises:
        ValueError: a limit isn't above 0, or that of the size isn't finite.
    """

    file_mb: float = 50.0
    duration_s: float = 300.0
    files: int = 50
    waiting: int = 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"the limit `{name}` must be above 0, but is {value}")
        if not math.isfinite(self.file_mb):
            raise ValueError(f"the limit `file_mb` must be a finite number of MB, but is {self.file_mb}")

    @property
    def file_bytes(self) -> int:
        """Largest file in bytes."""
        return round(self.file_mb * 2**20)


class Clip(NamedTuple):
    """Sound as it is drawn.

    Attributes:
        samples: Shape `(time,)`, mono, full scale 1.0.
        sampling_rate: In Hz.
    """

    samples: NDArray[np.float32]
    sampling_rate: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sampling_rate


def read_clip(path: str, limits: AppLimits) -> Clip:
    """Decode an uploaded file, no further than the limits allow.

    Args:
        path: Of the file.
        limits: Its size and duration.

    Raises:
        ValueError: the file was deleted meanwhile, is too large or too long, or can't be decoded; the message doesn't
            name the file, which has another name on the visitor's machine.
    """
    try:
        size = os.path.getsize(path)
    except FileNotFoundError as error:
        raise ValueError("is no longer there: uploads are deleted after an hour; upload it again") from error
    if size > limits.file_bytes:
        raise ValueError(f"is larger than the {limits.file_mb:g} MB that this app takes")
    try:
        with open_audio(path) as stream:
            return Clip(_read_mono(stream, limits.duration_s), stream.sampling_rate)
    except AudioDecodingError as error:
        raise ValueError(error.reason) from error


def _read_mono(stream: AudioStream, duration_s: float) -> NDArray[np.float32]:
    # Kilobytes can unpack to hours of silence, so the end is not waited for; nor is a header's sampling rate trusted.
    if stream.sampling_rate > _HIGHEST_RATE:
        raise ValueError(
            f"has a sampling rate of {stream.sampling_rate} Hz, but this app takes {_HIGHEST_RATE} at most"
        )
    blocks = []
    for block in stream:
        blocks.append(block.mean(axis=0))
        if stream.frames_read > duration_s * stream.sampling_rate:
            raise ValueError(
                f"is longer than the {duration_s:g} s that this app takes; cut it, or rate it with `jsqa score`"
            )
    return np.concatenate(blocks)
