"""Encoding and decoding with libsndfile, in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray


def encode_with_sndfile(
    samples: NDArray[np.float64], rate: int, container: str, subtype: str, **options: Any
) -> io.BytesIO:
    """Encode to a file in memory.

    Args:
        samples: Shape `(time,)`.
        rate: Sampling rate in Hz.
        container, subtype: As libsndfile names them, such as `"OGG"` and `"VORBIS"`.
        options: More arguments of `soundfile.write`.

    Raises:
        RuntimeError: If the libsndfile in use lacks the encoder.
    """
    if subtype not in soundfile.available_subtypes(container):
        raise RuntimeError(
            f"the libsndfile that soundfile uses was built without the encoder {container}/{subtype}; the wheels of "
            "soundfile have it (pip install soundfile)"
        )
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype, **options)
    return file


def read_with_sndfile(file: io.BytesIO) -> NDArray[np.float64]:
    """Decode a file in memory, to shape `(time,)`."""
    file.seek(0)
    return soundfile.read(file)[0]
