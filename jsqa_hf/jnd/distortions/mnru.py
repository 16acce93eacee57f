"""Modulated noise reference unit (MNRU): noise that follows the speech, as quantisation noise does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register

# The unit must not modulate a DC offset (ITU-T P.810). The reference software of ITU-T G.191 filters with the
# difference equation y(n) = x(n) - x(n-1) + 0.985 y(n-1) at 8 kHz, whose corner lies at 19 Hz.
DC_REMOVAL_HZ = 20.0


@register
class MNRU(Distortion):
    """Multiply the speech by `1 + 10**(-Q/20) * noise`, the noise being Gaussian of unit variance (ITU-T P.810).

    The severity is Q in dB, the ratio of the power of the speech to that of the modulated noise. Below 20 Hz the
    speech is removed first (zero phase). The noise fills the whole band of the recording: the limits of the narrowband
    unit (3400 Hz) and of the wideband one (7000 Hz) are those of `low-pass` or of a recording that has them, and the
    speech-shaped noise of the fullband unit (P.810, 2023) is not used at sampling rates above 16 kHz.
    """

    name = "mnru"
    summary = "noise modulated by the speech (ITU-T P.810); severity: Q in dB"
    stage = Stage.CODEC
    threshold = Threshold(
        quantity="Q",
        unit="dB",
        just_noticeable=3.0,
        clearly_different=8.5,
        assumption=True,
        source=(
            "Fitted by us to the auditory model Zimtohrli 0.2.1 on six utterances of LibriSpeech: as large for it "
            "as 3 dB and 8 dB of SNR are between 0 and 20 dB. It asked for 2.5 to 3.0 dB and 6.2 to 7.3 dB "
            "between 10 and 25 dB, so for steps of SNR, and for up to 4.3 dB and 10.6 dB at 35 dB; verification on "
            "other utterances (docs/verification.md) for 8.5 dB, and for more from 15 dB on. `growth` allows for it."
        ),
        growth=((15.0, 15.0), (20.0, 19.5), (25.0, 23.5), (31.0, 28.0), (35.0, 30.5)),
    )
    severity_range = (5.0, 35.0)
    worse = "lower"

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw the noise."""
        return Draw(rng.standard_normal(length))

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """See `Distortion.distort`. Measured: `q_db`, the ratio that came out with this very noise."""
        if not np.isfinite(severities).all():
            raise ValueError(f"Q must be finite, got {list(severities)}")
        speech = sosfiltfilt(butter(1, DC_REMOVAL_HZ, "highpass", fs=sampling_rate, output="sos"), speech)
        modulated = speech * draw.values
        ratio_db = 10 * float(np.log10(np.dot(speech, speech) / np.dot(modulated, modulated)))
        return [Distorted(speech + 10 ** (-q / 20) * modulated, {"q_db": float(q) + ratio_db}) for q in severities]
