"""Judges: how far apart two recordings of the same words sound, as told by a measure that somebody else has made."""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import soxr
from numpy.typing import NDArray

from .levels import rms_level

# Zimtohrli 0.2.1 corrupts memory below 0.1 s, and PESQ refuses clips below a quarter of a second.
MIN_DURATION_S = 0.25
# Our choice, as for noise: below this 16 bits leave nothing but quantisation steps.
SILENCE_DBOV = -80.0


class Judge(ABC):
    """A distance between two clips of the same content. Symmetric, 0 for equal clips; its unit is the judge's own.

    A subclass sets the class attributes and implements `_measure`.

    Attributes:
        name: As in reports and on the command line.
        sampling_rate: At which it listens, in Hz; clips of other rates are resampled.
    """

    name: ClassVar[str]
    sampling_rate: ClassVar[int]

    def distance(self, first: NDArray[Any], second: NDArray[Any], sampling_rate: int) -> float:
        """Compare two clips.

        Args:
            first, second: Shape `(time,)`, full scale 1.0, equally long, at least 0.25 s.
            sampling_rate: Of both, in Hz.

        Returns:
            Distance, at least 0.

        Raises:
            ValueError: If a clip has another shape, is too short, silent or not finite, if the lengths differ, or if
                the measure finds no speech.
        """
        if sampling_rate <= 0:
            raise ValueError(f"sampling_rate must be positive, got {sampling_rate}")
        first, second = (_checked(clip, sampling_rate, self.name) for clip in (first, second))
        if first.size != second.size:
            raise ValueError(f"{self.name} compares clips of the same length, got {first.size} and {second.size}")
        # Rounding must not make a pair of equal clips differ in one order and not in the other.
        if np.array_equal(first, second):
            return 0.0
        if sampling_rate != self.sampling_rate:
            first, second = (soxr.resample(clip, sampling_rate, self.sampling_rate) for clip in (first, second))
        return max(0.0, self._measure(first, second))

    @abstractmethod
    def _measure(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        """Distance of two checked clips at the rate of the judge."""


class ZimtohrliJudge(Judge):
    """Zimtohrli (Google, Apache-2.0): a model of hearing made for differences near the just noticeable one.

    The distance is 1 - NSIM of two auditory spectrograms, aligned in time. Full scale counts as 78.3 dB SPL, so speech
    at -26 dBov is rather soft.

    Raises:
        ImportError: If `zimtohrli` is not installed.
    """

    name = "zimtohrli"
    sampling_rate = 48000

    def __init__(self) -> None:
        self._zimtohrli = _imported("zimtohrli", "jsqa_hf[verify]").Pyohrli()

    def _measure(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        # The alignment in time makes the two orders differ slightly, so one order is kept to.
        if first.tobytes() > second.tobytes():
            first, second = second, first
        return float(self._zimtohrli.distance(first, second))


class PesqJudge(Judge):
    """PESQ in its wideband mode, ITU-T P.862.2: the mean fall below its best score, either clip being the reference.

    PESQ rates degraded clips against clean ones and levels both; a difference in level alone is nothing to it.

    Raises:
        ImportError: If `pesq` is not installed.
    """

    name = "pesq"
    sampling_rate = 16000
    # ITU-T P.862.2: the mapping of the best raw score, 4.5.
    BEST_SCORE = 0.999 + 4 / (1 + math.exp(-1.3669 * 4.5 + 3.8224))

    def __init__(self) -> None:
        self._pesq = _imported("pesq", "jsqa_hf[judges]")

    def _measure(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        # Clips beyond full scale would be cut by its 16-bit samples; it brings both to one level anyway.
        scale = 0.9 / max(np.abs(first).max(), np.abs(second).max())
        first, second = first * min(1.0, scale), second * min(1.0, scale)
        try:
            scores = [self._pesq.pesq(self.sampling_rate, a, b, "wb") for a, b in ((first, second), (second, first))]
        except self._pesq.PesqError as error:
            raise ValueError(f"pesq cannot compare these clips: {error!r}") from error
        return self.BEST_SCORE - sum(scores) / 2


class VisqolJudge(Judge):
    """ViSQOL in its speech mode: 1 - VNSIM, the mean of both orders.

    The similarity and not the MOS, as the mapping between them is coarse where clips are nearly alike, and needs a
    neural network that is not installed with it.

    Raises:
        ImportError: If `visqol-python` is not installed.
    """

    name = "visqol"
    sampling_rate = 16000

    def __init__(self) -> None:
        self._visqol = _imported("visqol", "jsqa_hf[judges]").VisqolApi()
        self._visqol.create(mode="speech", use_lattice_model=False)

    def _measure(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        orders = ((first, second), (second, first))
        results = [self._visqol.measure_from_arrays(a, b, self.sampling_rate) for a, b in orders]
        return 1 - sum(result.vnsim for result in results) / 2


JUDGES: dict[str, type[Judge]] = {judge.name: judge for judge in (ZimtohrliJudge, PesqJudge, VisqolJudge)}


def make_judge(name: str) -> Judge:
    """Make a judge by its name, one of `JUDGES`.

    Raises:
        ValueError: If there is no such judge.
        ImportError: If the module that it needs is not installed.
    """
    if name not in JUDGES:
        raise ValueError(f"there is no judge {name!r}; there are {', '.join(JUDGES)}")
    return JUDGES[name]()


def _imported(module: str, requirement: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this judge needs {module}: pip install '{requirement}'") from error


def _checked(clip: NDArray[Any], sampling_rate: int, judge: str) -> NDArray[np.float64]:
    samples = np.ascontiguousarray(clip, dtype=np.float64)
    if samples.ndim != 1 or samples.size < MIN_DURATION_S * sampling_rate:
        raise ValueError(
            f"{judge} needs clips of shape (time,) of at least {MIN_DURATION_S} s, got shape {samples.shape} at "
            f"{sampling_rate} Hz"
        )
    if not np.isfinite(samples).all():
        raise ValueError(f"{judge} cannot compare clips with NaN or infinite samples")
    if not samples.any() or rms_level(samples) < SILENCE_DBOV:
        raise ValueError(f"{judge} cannot compare silence (a clip is below {SILENCE_DBOV:g} dBov)")
    return samples
