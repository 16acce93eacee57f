"""Speech that is too quiet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..levels import active_speech_level
from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register


@register
class Level(Distortion):
    """Scale the speech to an active level (ITU-T P.56) in dBov.

    The default range goes down from -26 dBov, the nominal level of listening-test material. Levels above it can be
    asked for; there the speech does not get worse, and its peaks soon exceed full scale.
    """

    name = "level"
    summary = "speech at another level; severity: active speech level in dBov (ITU-T P.56)"
    stage = Stage.LEVEL
    threshold = Threshold(
        quantity="active speech level",
        unit="dB",
        just_noticeable=1.0,
        clearly_different=5.0,
        assumption=True,
        source=(
            "JND: our choice between two published ones, 0.4 dB for steady noise (Miller, JASA 1947) and 2.0 dB for "
            "sentences (broadband gain, d' = 1, 41 hearing-impaired listeners, independent of their hearing loss: "
            "Caswell-Midwinter and Whitmer, Trends in Hearing 2019, PMC6862772). Clearly different: our choice, 2.5 "
            "times the JND of sentences, about the ratio of the two steps of SNR. The auditory model Zimtohrli 0.2.1 "
            "is less sensitive: 5 dB of level are for it as large as 3 dB of SNR."
        ),
    )
    severity_range = (-46.0, -26.0)
    worse = "lower"
    sets_level = True

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """See `Distortion.distort`. Measured: `input_level_dbov`, the active level that the speech had before."""
        if not np.isfinite(severities).all():
            raise ValueError(f"levels must be finite, got {list(severities)}")
        input_dbov = active_speech_level(speech, sampling_rate).level_dbov
        return [
            Distorted(speech * 10 ** ((level_dbov - input_dbov) / 20), {"input_level_dbov": input_dbov})
            for level_dbov in severities
        ]
