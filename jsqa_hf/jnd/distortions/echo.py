"""Echo: the speech once more, later and weaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register


@register
class Echo(Distortion):
    """Add a delayed and attenuated copy of the speech.

    The severity is the attenuation of the echo in dB. The delay is drawn once per ladder.

    Args:
        delay_range_ms: Shortest and longest delay. Default: from 50 ms, as an earlier copy is heard as part of the
            sound and not as an echo (Haas 1951), to 400 ms, the longest one-way delay that ITU-T G.114 allows network
            planners; both ends are our choice.
        options: Arguments of `Distortion`.

    Raises:
        ValueError: If the delays are not positive and in order.
    """

    name = "echo"
    summary = "a delayed copy of the speech; severity: echo attenuation in dB"
    stage = Stage.TERMINAL
    threshold = Threshold(
        quantity="echo attenuation",
        unit="dB",
        just_noticeable=3.0,
        clearly_different=8.0,
        assumption=True,
        source=(
            "Fitted by us to the auditory model Zimtohrli 0.2.1 on six utterances of LibriSpeech: as large for it "
            "as 3 dB and 8 dB of SNR are between 0 and 20 dB. It asked for 2.3 to 3.0 dB and 6.1 to 8.0 dB "
            "between 10 and 20 dB, so for steps of SNR, and for up to 5.6 dB and 15.4 dB at 35 dB; verification on "
            "other utterances (docs/verification.md) for more from 10 dB on. `growth` allows for it."
        ),
        growth=((10.0, 10.0), (20.0, 18.5), (28.0, 23.0), (35.0, 26.0)),
    )
    severity_range = (5.0, 35.0)
    worse = "lower"

    def __init__(self, *, delay_range_ms: tuple[float, float] = (50.0, 400.0), **options: Any) -> None:
        super().__init__(**options)
        shortest, longest = delay_range_ms
        if not (0 < shortest <= longest < np.inf):
            raise ValueError(f"delay_range_ms must be (shortest, longest) above 0, got {delay_range_ms}")
        self.delay_range_ms = float(shortest), float(longest)

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw the delay, at most half of the speech."""
        delay_ms = float(rng.uniform(*self.delay_range_ms))
        delay = min(max(1, round(delay_ms / 1000 * sampling_rate)), length // 2)
        return Draw(delay, {"delay_ms": 1000 * delay / sampling_rate})

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """See `Distortion.distort`.

        Measured: `echo_attenuation_db`, the power of the speech relative to that of the echo within the clip, whose
        end the echo of the last words does not reach.
        """
        if not np.isfinite(severities).all():
            raise ValueError(f"echo attenuations must be finite, got {list(severities)}")
        delayed = np.concatenate([np.zeros(draw.values), speech[: speech.size - draw.values]])
        power = float(np.dot(delayed, delayed))
        if power == 0:
            raise ValueError(
                "the echo would be digital silence: all of the speech lies in the second half of the clip"
            )
        loss_db = 10 * float(np.log10(np.dot(speech, speech) / power))
        return [
            Distorted(
                speech + 10 ** (-attenuation_db / 20) * delayed,
                {"echo_attenuation_db": float(attenuation_db) + loss_db},
            )
            for attenuation_db in severities
        ]
