"""Perceptual thresholds: how large a change must be before a listener hears it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Threshold:
    """Two thresholds on the change of one quantity.

    A change of up to `just_noticeable` is taken as unheard, so two clips that far apart share their quality. From
    `clearly_different` on, their qualities are taken to differ. Changes in between are ambiguous and are not used.

    Attributes:
        quantity: What is changed, such as `"SNR"`.
        unit: Unit of the quantity, such as `"dB"`.
        just_noticeable: Largest change taken as unheard: a difference, or on a logarithmic `scale` a ratio above 1.
        clearly_different: Smallest change taken as clearly heard, likewise.
        source: Where the figures come from.
        assumption: True if they are not published thresholds of listeners for this quantity, but chosen or fitted by
            us; `source` then says how.
        scale: Whether equal differences (`"linear"`) or equal ratios (`"log"`) are equally audible.
        growth: Where steps must be larger than that: knots `(value, equivalent value)`, increasing in both, between
            which the quantity counts for less than its difference. From the values 20 and 40 with the equivalents 20
            and 30, a step between 20 and 40 must be twice as large to be as audible. Outside of the knots steps count
            in full.
    """

    quantity: str
    unit: str
    just_noticeable: float
    clearly_different: float
    source: str
    assumption: bool = False
    scale: Literal["linear", "log"] = "linear"
    growth: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        neutral = 0 if self.scale == "linear" else 1
        if not neutral < self.just_noticeable < self.clearly_different:
            raise ValueError(
                f"thresholds of {self.quantity} must satisfy {neutral} < just_noticeable < clearly_different, got "
                f"{self.just_noticeable} and {self.clearly_different}"
            )
        knots = self._knots()
        slopes = np.diff(knots[1]) / np.diff(knots[0])
        if not ((slopes > 0) & (slopes <= 1 + 1e-9)).all():
            raise ValueError(f"growth of {self.quantity} must rise, and by at most as much as the values do")

    @property
    def clear_jnds(self) -> float:
        """`clearly_different` as a number of JNDs."""
        return self._linear(self.clearly_different) / self._linear(self.just_noticeable)

    def with_steps(self, just_noticeable: float | None, clearly_different: float | None) -> Threshold:
        """The same quantity with other steps; None keeps a step. They then count as an assumption of the caller."""
        if just_noticeable is None and clearly_different is None:
            return self
        return replace(
            self,
            just_noticeable=self.just_noticeable if just_noticeable is None else just_noticeable,
            clearly_different=self.clearly_different if clearly_different is None else clearly_different,
            assumption=True,
            source="chosen by the user",
        )

    def position(self, values: Any, *, growing: bool = True) -> NDArray[np.float64]:
        """Place values on an axis on which one unit is one JND.

        Args:
            values: In `unit`, any shape; positive on a logarithmic scale.
            growing: Whether `growth` counts; without it every JND is as large as `just_noticeable`.

        Returns:
            Float64, of the same shape, increasing with the values.
        """
        linear = self._linear(values)
        if growing and self.growth:
            linear = _interpolate(linear, *self._knots())
        return linear / self._linear(self.just_noticeable)

    def value(self, positions: Any, *, growing: bool = True) -> NDArray[np.float64]:
        """Invert `position`."""
        linear = np.asarray(positions, dtype=np.float64) * self._linear(self.just_noticeable)
        if growing and self.growth:
            values, equivalents = self._knots()
            linear = _interpolate(linear, equivalents, values)
        return np.exp(linear) if self.scale == "log" else linear

    def jnds_between(self, first: Any, second: Any) -> NDArray[np.float64]:
        """Number of JNDs between two values, without sign."""
        return np.abs(self.position(second) - self.position(first))

    def describe_step(self, step: float) -> str:
        """A step in words, such as `"3 dB"` or `"a factor of 1.05"`."""
        return f"{step:g} {self.unit}".rstrip() if self.scale == "linear" else f"a factor of {step:g}"

    def _linear(self, values: Any) -> Any:
        values = np.asarray(values, dtype=np.float64)
        return np.log(values) if self.scale == "log" else values

    def _knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self.growth:
            return np.zeros(0), np.zeros(0)
        values, equivalents = np.array(self.growth, dtype=np.float64).T
        return self._linear(values), self._linear(equivalents)


def _interpolate(
    x: NDArray[np.float64], knots: NDArray[np.float64], images: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Piecewise linear with slope 1 outside of the knots."""
    beyond = np.minimum(x - knots[0], 0.0) + np.maximum(x - knots[-1], 0.0)
    return np.interp(x, knots, images) + beyond


SNR_THRESHOLD = Threshold(
    quantity="SNR",
    unit="dB",
    just_noticeable=3.0,
    clearly_different=8.0,
    source=(
        "JND: 3 dB, the mean of 69 listeners for sentences in speech-spectrum noise, independent of hearing ability "
        "(McShefferty, Whitmer and Akeroyd, Trends in Hearing 2015, doi:10.1177/2331216515572316). Clearly different: "
        "upper end of the just-meaningful difference of 6 to 8 dB, at which half of the listeners would swap devices "
        "(McShefferty, Whitmer and Akeroyd, Trends in Hearing 2016, doi:10.1177/2331216515626570). The crowdsourced "
        "same/different answers of PerceptualAudio (Manocha et al., Interspeech 2020) agree: where the noise is "
        "clearly audible, a share of 0.07 to 0.14 hears a change of up to 3 dB, and 0.79 one of 8 to 12 dB. That "
        "steps must grow towards clean speech is published for an adaptive test against 50 dB (Naderi and "
        "Moeller, QoMEX 2020, arXiv:2004.05502), and those answers show it as well; by how much is fitted by us "
        "to the auditory model Zimtohrli on two corpora (docs/verification.md), and goes on as far beyond 40 dB "
        "by assumption."
    ),
    growth=((15.0, 15.0), (22.0, 20.5), (33.0, 28.0), (40.0, 31.0), (60.0, 39.5)),
)
