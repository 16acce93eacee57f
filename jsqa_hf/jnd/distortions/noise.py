"""Background noise and competing talkers, added at a defined signal-to-noise ratio (SNR)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

import datasets
import numpy as np
from numpy.typing import NDArray

from ..excerpts import Recordings, draw_talker
from ..levels import active_speech_level, rms_level
from ..mixing import NOMINAL_LEVEL_DBOV, SpeechLevel, add_at_snrs
from ..thresholds import SNR_THRESHOLD
from .base import Distorted, Distortion, Draw, Stage, register

Rows: TypeAlias = datasets.Dataset | Sequence[Mapping[str, Any]]


@register
class AdditiveNoise(Distortion):
    """Background noise.

    The SNR is the active speech level (ITU-T P.56) minus the long-term RMS level of the noise.

    Args:
        noise: Rows with the columns `audio`, `noise_id` and `noise_type`.
        speech_level: `"p56"`, or `"rms"` to measure the speech with its pauses.
        options: See `Distortion`.
    """

    name = "noise"
    summary = "background noise; severity: SNR in dB"
    stage = Stage.NOISE
    threshold = SNR_THRESHOLD
    # Our choice: from noise that masks half of the words to noise that is hardly heard.
    severity_range = (-5.0, 40.0)
    worse = "lower"
    uses_level = False
    single_precision = True
    material = "noise"

    def __init__(self, noise: Rows, *, speech_level: SpeechLevel = "p56", **options: Any) -> None:
        super().__init__(**options)
        if speech_level not in ("p56", "rms"):
            raise ValueError(f'speech_level must be "p56" or "rms", got {speech_level!r}')
        self.noise = Recordings(noise, ("noise_id", "noise_type"), "noise")
        self.speech_level = speech_level

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw a noise and an excerpt of it."""
        excerpt, row = self.noise.draw(rng, sampling_rate, length)
        provenance = {
            "noise_id": str(row["noise_id"]),
            "noise_type": str(row["noise_type"]),
            "noise_offset_s": excerpt.offset_s,
        }
        return Draw(excerpt.samples, cast(dict[str, str | int | float], provenance))

    def distort(
        self, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Add the noise at each SNR; the speech keeps its level."""
        mixtures, _ = add_at_snrs(speech, draw.values, severities, sampling_rate, speech_level=self.speech_level)
        return [
            Distorted(mixture, {"snr_db": float(snr_db)}) for mixture, snr_db in zip(mixtures, severities, strict=True)
        ]


@register
class CompetingTalkers(Distortion):
    """Other talkers at the same time: one, or the babble of several.

    All talkers are equally loud. The ratio is the active speech level (ITU-T P.56) of the target minus that of the
    others together.

    Args:
        talkers: Rows with the columns `audio`, `speech_id` and `speaker_id`, of other speakers than the target.
        number_of_talkers: Lowest and highest number of competing talkers, drawn anew for each ladder.
        options: See `Distortion`.
    """

    name = "talkers"
    summary = "one competing talker to babble of several; severity: target-to-masker ratio in dB"
    stage = Stage.NOISE
    threshold = replace(
        SNR_THRESHOLD,
        quantity="target-to-masker ratio",
        assumption=True,
        source="The steps of the SNR in speech-spectrum noise, which is what babble comes close to.",
    )
    severity_range = (-5.0, 40.0)
    worse = "lower"
    uses_level = False
    single_precision = True
    material = "talkers"

    def __init__(self, talkers: Rows, *, number_of_talkers: tuple[int, int] = (1, 8), **options: Any) -> None:
        super().__init__(**options)
        low, high = number_of_talkers
        if not 1 <= low <= high:
            raise ValueError(f"number_of_talkers must be (low, high) from 1 on, got {number_of_talkers}")
        self.talkers = Recordings(talkers, ("speech_id", "speaker_id"), "competing talker")
        self.number_of_talkers = (low, high)

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw the talkers and what they say, and mix them."""
        low, high = self.number_of_talkers
        mixture = np.zeros(length, dtype=np.float32)
        names = []
        for _ in range(int(rng.integers(low, high + 1))):
            excerpt, row = self.talkers.draw(rng, sampling_rate, length, draw_talker)
            level_dbov = active_speech_level(excerpt.samples, sampling_rate).level_dbov
            mixture += excerpt.samples * 10 ** ((NOMINAL_LEVEL_DBOV - level_dbov) / 20)
            names.append(f"{row['speech_id']}@{excerpt.offset_s:.6f}")
        return Draw(mixture, {"number_of_talkers": len(names), "talkers": " ".join(names)})

    def distort(
        self, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Add the talkers at each ratio; the speech keeps its level."""
        # To the levels of both as speech, not to that of the masker as noise.
        activity_db = active_speech_level(draw.values, sampling_rate).level_dbov - rms_level(draw.values)
        ratios_db = np.asarray(severities) + activity_db
        mixtures, _ = add_at_snrs(speech, draw.values, ratios_db.tolist(), sampling_rate)
        return [
            Distorted(mixture, {"snr_db": float(ratio_db), "target_to_masker_db": float(severity)})
            for mixture, ratio_db, severity in zip(mixtures, ratios_db, severities, strict=True)
        ]
