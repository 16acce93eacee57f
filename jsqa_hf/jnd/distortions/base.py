"""What a distortion is, and the registry of all of them."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..thresholds import Threshold

Material = Literal["noise", "talkers", "rirs"]


class Stage(IntEnum):
    """Where on the way from the talker to the listener a distortion arises. Chains are sorted by it."""

    ROOM = 1
    NOISE = 2
    LEVEL = 3
    TERMINAL = 4
    CODEC = 5
    NETWORK = 6


class Distorted(NamedTuple):
    """Result of one distortion at one severity.

    Attributes:
        samples: Shape `(time,)`, as long as the speech was and aligned with it. May exceed full scale;
            whoever quantises scales first.
        measured: What was measured on the result or on what was applied, by name with unit, such as
            `{"snr_db": 12.0}` or `{"c50_db": 3.1, "t60_s": 0.4}`.
    """

    samples: NDArray[Any]
    measured: dict[str, float]


@dataclass(frozen=True)
class Draw:
    """What is drawn once and stays the same at all severities: which noise, which room, which packets fall first.

    Attributes:
        values: What `Distortion.distort` needs, in whatever form its class likes.
        provenance: How to tell it later: names, offsets, seeds. JSON values only.
    """

    values: Any = None
    provenance: dict[str, str | int | float] = field(default_factory=dict)


class Distortion(ABC):
    """One way to make speech worse, with a severity and the steps of it that listeners do and do not hear.

    A subclass sets the class attributes, implements `distort` and, where something is random, `draw`, and is decorated
    with `register`; nothing else in the package has to know it.

    Args:
        severity_range: Lowest and highest severity to draw from, in the unit of the threshold; default of the class.
        severity_grid: Draw only these severities instead of all between; default of the class. Those outside its
            range widen it, but not one that is given.
        just_noticeable, clearly_different: Steps to use instead of those of the class, see `Threshold`.

    Raises:
        ValueError: For a range that is empty or not finite, a grid outside of a range that is given, or steps that are
            out of order.

    Attributes:
        name: Lower case with hyphens, as on the command line.
        summary: One line: what it does, and what the severity is.
        stage: Its place in a chain.
        threshold: Quantity and unit of the severity, and its steps.
        severity_range: See above.
        severity_grid: See above; None if the severity is continuous.
        discrete: True if severities between those of the grid do not exist (the bit rates of a codec).
        worse: Which end of the severity is the worse one.
        sets_level: True if the level of the result is the point of it. The severity is that level in dBov: where it is
            varied clips keep their levels, and where it is not all are brought to it.
        uses_level: False if another level of the speech changes nothing but the level of the result.
        single_precision: True if speech in float32 is as good as in float64.
        material: What recordings it needs: rows of `noise`, `talkers` or `rirs` as first argument; None for none.
        requires: Modules outside the core installation that it needs. Those of the package raise an ImportError
            on construction that says what to install.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    stage: ClassVar[Stage]
    threshold: Threshold
    severity_range: tuple[float, float]
    severity_grid: tuple[float, ...] | None = None
    discrete: ClassVar[bool] = False
    worse: ClassVar[Literal["lower", "higher"]] = "higher"
    sets_level: ClassVar[bool] = False
    uses_level: ClassVar[bool] = True
    single_precision: ClassVar[bool] = False
    material: ClassVar[Material | None] = None
    requires: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        severity_range: tuple[float, float] | None = None,
        severity_grid: Sequence[float] | None = None,
        just_noticeable: float | None = None,
        clearly_different: float | None = None,
    ) -> None:
        if severity_range is not None:
            low, high = severity_range
            if not (np.isfinite(low) and np.isfinite(high) and low <= high):
                raise ValueError(f"severity_range of {self.name} must be (low, high), got {severity_range}")
            self.severity_range = float(low), float(high)
            if self.severity_grid is not None:
                self.severity_grid = tuple(value for value in self.severity_grid if low <= value <= high)
        if severity_grid is not None:
            self.severity_grid = tuple(sorted(float(severity) for severity in severity_grid))
            low, high = self.severity_range
            outside = [value for value in self.severity_grid if not low <= value <= high]
            if severity_range is not None and outside:
                raise ValueError(f"the severity_grid of {self.name} has {outside[0]:g}, outside {severity_range}")
            self.severity_range = min([low, *self.severity_grid]), max([high, *self.severity_grid])
        if self.severity_grid is not None and not self.severity_grid:
            raise ValueError(f"the severity_grid of {self.name} holds no value (within {self.severity_range})")
        self.threshold = type(self).threshold.with_steps(just_noticeable, clearly_different)

    def jumps(self, sampling_rate: int) -> tuple[tuple[float, float], ...]:
        """Ranges of the severity in which the sound changes at once, by more than the steps of the threshold tell.

        No two clips of a pair may lie on two sides of a jump, or within it. There are none unless a subclass says so.

        Args:
            sampling_rate: Of the speech, in Hz.

        Returns:
            Lower and upper end of each, rising; both ends are safe.
        """
        return ()

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw whatever stays the same over all severities of one ladder: nothing, unless a subclass does.

        Args:
            rng: Source of all randomness; `distort` has none.
            length: Number of samples of the speech.
            sampling_rate: In Hz.

        Raises:
            ValueError: If a recording that is needed is unreadable or silent; the message names it.
        """
        return Draw()

    @abstractmethod
    def distort(
        self, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Distort one signal at several severities.

        Args:
            speech: Shape `(time,)`, float64 (or float32 for `single_precision`), not silent.
            severities: In the unit of the threshold.
            draw: From `draw` with the length of this speech.
            sampling_rate: In Hz.

        Returns:
            One result per severity, in the same order. A pure function of the arguments.

        Raises:
            ValueError: If a severity does not exist, or the distortion cannot be measured or applied.
        """


_DistortionClass = TypeVar("_DistortionClass", bound=type[Distortion])
_REGISTRY: dict[str, type[Distortion]] = {}


def register(distortion: _DistortionClass) -> _DistortionClass:
    """Class decorator: make a distortion known by its name to the command line, the docs and `make_distortion`."""
    if inspect.isabstract(distortion):
        raise TypeError(f"{distortion.__name__} lacks {', '.join(sorted(distortion.__abstractmethods__))}")
    if _REGISTRY.setdefault(distortion.name, distortion) is not distortion:
        raise ValueError(f"two distortions are called {distortion.name!r}")
    return distortion


def registered_distortions() -> dict[str, type[Distortion]]:
    """All registered classes by name, in the order of their stages and of their names."""
    return dict(sorted(_REGISTRY.items(), key=lambda item: (item[1].stage, item[0])))


def make_distortion(
    name: str, material: Mapping[Material, Sequence[Mapping[str, Any]]] | None = None, **options: Any
) -> Distortion:
    """Make a distortion by its name.

    Args:
        name: One of `registered_distortions()`.
        material: Rows of the recordings at hand (`datasets.Dataset`s will do).
        options: Arguments of the class.

    Raises:
        ValueError: If there is no such distortion, or the recordings that it needs are missing.
        ImportError: If a module that it needs is not installed.
    """
    if name not in _REGISTRY:
        raise ValueError(f"there is no distortion {name!r}; there are {', '.join(registered_distortions())}")
    distortion = _REGISTRY[name]
    if distortion.material is None:
        return distortion(**options)
    if not material or distortion.material not in material:
        raise ValueError(f"the distortion {name!r} needs recordings: give {distortion.material}")
    return distortion(material[distortion.material], **options)  # type: ignore[arg-type,call-arg]
