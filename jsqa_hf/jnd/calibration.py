"""Calibration of a judge: which distance means noticeable, told by steps of the SNR, whose audibility is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from .distortions.base import Distortion
from .judges import Judge
from .mixing import NOMINAL_LEVEL_DBOV, bring_to_level, measure_speech
from .psychometric import PsychometricCurve
from .thresholds import SNR_THRESHOLD

# Our choice: SNRs at which noise is clearly audible, as it was where listeners' steps were measured, and steps from
# far below the JND to far above what is clearly different.
CALIBRATION_SNRS_DB = (0.0, 10.0, 20.0)
CALIBRATION_STEPS_DB = (0.75, 1.5, 3.0, 5.0, 8.0, 12.0, 18.0, 25.0)


@dataclass(frozen=True)
class Calibration:
    """The distances that a judge gives to steps of the SNR.

    It rests on an assumption: that a judge which finds another change as large as a step of the SNR is right, so that
    listeners hear the one as often as the other. Judges were made to order changes of different kinds, but not all do
    it well.

    Attributes:
        judge: Name of the judge.
        steps_db: Steps of the SNR in dB, increasing.
        distances: Median distance of each, not decreasing.
        low, high: 5th and 95th percentile of the distance, over utterances, noises and SNRs.
        pairs: Number of pairs of clips behind each step.
    """

    judge: str
    steps_db: tuple[float, ...]
    distances: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    pairs: int

    @property
    def just_noticeable(self) -> float:
        """Distance of the just noticeable step of the SNR (3 dB)."""
        return self.distance_at(SNR_THRESHOLD.just_noticeable)

    @property
    def clearly_different(self) -> float:
        """Distance of the clearly different step of the SNR (8 dB)."""
        return self.distance_at(SNR_THRESHOLD.clearly_different)

    def distance_at(self, step_db: float) -> float:
        """Distance of a step in dB, by interpolation; beyond the largest step that was measured, its distance."""
        roots = np.interp(step_db, (0.0, *self.steps_db), np.sqrt((0.0, *self.distances)))
        return float(roots**2)

    def equivalent_step(self, distances: Any) -> NDArray[np.float64]:
        """Step of the SNR in dB that is as large to the judge; at most the largest step that was measured."""
        return rising_interp(np.sqrt(distances), np.sqrt((0.0, *self.distances)), (0.0, *self.steps_db))

    def probability(self, distances: Any, listeners: PsychometricCurve) -> NDArray[np.float64]:
        """Share of listeners expected to hear a difference.

        Args:
            distances: Of the judge, any shape.
            listeners: How many hear a step of the SNR of so many dB.
        """
        return listeners.probability(self.equivalent_step(distances))


def calibrate(
    judge: Judge,
    speech: Sequence[NDArray[Any]],
    noise: Distortion,
    sampling_rate: int = 16000,
    *,
    snrs_db: Sequence[float] = CALIBRATION_SNRS_DB,
    steps_db: Sequence[float] = CALIBRATION_STEPS_DB,
    seed: int = 0,
) -> Calibration:
    """Measure the distances that a judge gives to steps of the SNR.

    Args:
        judge: To be calibrated.
        speech: Utterances of shape `(time,)`. Each gets one noise.
        noise: An `AdditiveNoise`.
        sampling_rate: Of the speech, in Hz.
        snrs_db: The lower SNR of each step.
        steps_db: Increasing.
        seed: Of the noises.

    Raises:
        ValueError: If there is no speech, the steps do not increase, or the judge refuses a pair.
    """
    if not speech or not (np.diff((0.0, *steps_db)) > 0).all():
        raise ValueError(f"a calibration needs speech and increasing steps, got {len(speech)} and {list(steps_db)}")
    table = []
    for index, utterance in enumerate(speech):
        severities = [snr + step for snr in snrs_db for step in (0.0, *steps_db)]
        clips = distorted_clips(noise, utterance, severities, np.random.default_rng([seed, index]), sampling_rate)
        for start in range(0, len(clips), len(steps_db) + 1):
            first, *others = clips[start : start + len(steps_db) + 1]
            table.append([judge.distance(first, other, sampling_rate) for other in others])
    medians = isotonic_regression(np.median(table, axis=0)).x
    low, high = np.percentile(table, [5, 95], axis=0)
    return Calibration(
        judge.name,
        tuple(map(float, steps_db)),
        tuple(map(float, medians)),
        tuple(map(float, low)),
        tuple(map(float, high)),
        len(table),
    )


def distorted_clips(
    distortion: Distortion,
    speech: NDArray[Any],
    severities: Sequence[float],
    rng: np.random.Generator,
    sampling_rate: int,
) -> list[NDArray[np.float32]]:
    """Clips of one utterance under one draw of a distortion, levelled as those of a ladder are.

    Args:
        distortion: Which one.
        speech: Shape `(time,)`.
        severities: One per clip.
        rng: Source of the draw.
        sampling_rate: In Hz.
    """
    gain_db = NOMINAL_LEVEL_DBOV - measure_speech(speech, sampling_rate, "p56")
    scaled = np.asarray(speech, dtype=np.float64) * 10 ** (gain_db / 20)
    draw = distortion.draw(rng, scaled.size, sampling_rate)
    results = distortion.distort(scaled, severities, draw, sampling_rate)
    level_dbov = None if distortion.sets_level else NOMINAL_LEVEL_DBOV
    return bring_to_level([result.samples for result in results], level_dbov, sampling_rate).clips


def rising_interp(x: Any, positions: Any, values: Any, beyond: float | None = None) -> NDArray[np.float64]:
    """Interpolate linearly where positions may stand still: there the first value counts.

    Args:
        x: Where, any shape.
        positions: Not decreasing.
        values: One per position.
        beyond: Result for `x` above the last position; by default the last value that counts.
    """
    positions, values = np.asarray(positions, dtype=np.float64), np.asarray(values, dtype=np.float64)
    rises = np.concatenate([[True], np.diff(positions) > 0])
    return np.interp(x, positions[rises], values[rises], right=beyond)
