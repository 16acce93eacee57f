"""Peaks that an amplifier or a converter cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..levels import active_speech_level
from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register

# Reported where nothing was clipped, as no file can hold an infinite ratio; beyond what 24 bits resolve.
HIGHEST_SDR_DB = 150.0


@register
class Clipping(Distortion):
    """Cut off all samples beyond a limit, on both sides.

    The severity is the limit in dB relative to the active speech level (ITU-T P.56): at 0 dB, the limit equals the RMS
    amplitude of the active speech, at 20 dB it is ten times as high and hardly ever reached.
    """

    name = "clipping"
    summary = "peaks cut off; severity: limit in dB above the active speech level"
    stage = Stage.TERMINAL
    threshold = Threshold(
        quantity="clipping limit",
        unit="dB",
        just_noticeable=0.8,
        clearly_different=5.5,
        assumption=True,
        source=(
            "Fitted by us to the auditory model Zimtohrli 0.2.1 on six utterances of LibriSpeech: as large for it "
            "as 3 dB and 8 dB of SNR are between 0 and 20 dB. It asked for 0.7 to 1.1 dB and 3.6 to 4.7 dB "
            "between limits of 10 and -10 dB, and for more above; verification on other utterances "
            "(docs/verification.md) for 4.9 to 5.6 dB instead."
        ),
    )
    severity_range = (-10.0, 12.0)
    worse = "lower"

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """See `Distortion.distort`.

        Measured: `clipped_percent`, the share of samples that were cut, and `sdr_db`, the ratio of the power of the
        speech to that of the difference (150 dB where nothing was cut). The fall in level counts as difference.
        """
        if not np.isfinite(severities).all():
            raise ValueError(f"clipping limits must be finite, got {list(severities)}")
        active_dbov = active_speech_level(speech, sampling_rate).level_dbov
        return [_clip(speech, 10 ** ((active_dbov + limit_db) / 20)) for limit_db in severities]


def _clip(speech: NDArray[np.float64], limit: float) -> Distorted:
    clipped = np.clip(speech, -limit, limit)
    difference = clipped - speech
    error = float(np.dot(difference, difference))
    sdr_db = HIGHEST_SDR_DB
    if error > 0:
        sdr_db = min(HIGHEST_SDR_DB, 10 * float(np.log10(np.dot(speech, speech) / error)))
    return Distorted(clipped, {"clipped_percent": 100 * float(np.mean(difference != 0)), "sdr_db": sdr_db})
