"""From distances between projections to just-noticeable differences, and to the share of listeners who notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Log-logistic fitted to 1883 same/different answers about noise that is clearly audible (PerceptualAudio, Manocha et
# al., Interspeech 2020), where one JND is 3 dB; docs/results/noticing.json, by benchmarks/noticing.py.
HALF_NOTICED_JNDS = 1.623
SLOPE = 1.970
LAPSE = 0.0501


@dataclass(frozen=True)
class JNDScale:
    r"""What a distance between two projections means to a listener.

    JNDs come from a line through knots, fitted to held-out pairs of one content (`jsqa_hf.training.calibration`).
    The share of listeners who notice \(j\) JNDs is

    \[ P(j) = (1 - \text{lapse}) / (1 + (j / h)^{-s}) \]

    with half height \(h\) and slope \(s\). It is 0 for equal clips: that listeners also call equal clips different now
    and then is taken out.

    One JND is the published threshold of each distortion, 3 dB for the SNR (McShefferty, Whitmer and Akeroyd, Trends
    in Hearing 2015). Thresholds of forced-choice tasks mark a share of right answers, such as 70.7 % for two-down
    one-up staircases (Levitt, JASA 1971), above 50 % by guessing; which share those 3 dB mark could not be checked. A
    probability can't be read off them, so that it comes from same/different answers to steps of known size. Of those
    listeners, on the internet, about a quarter notices one JND. That listeners notice one JND of any distortion as
    often as one of noise is an assumption.

    Args:
        distances: Knots: Euclidean distances between projections; 0 first, increasing.
        jnds: JNDs at each knot; 0 first, not decreasing.
        half_noticed_jnds: \(h\), above 0.
        slope: \(s\), above 0.
        lapse: Share that fails to notice even the largest change, in [0, 1).
        pairs: Number of pairs of clips that the knots are fitted to.
        contents: Number of utterances among them.
        error_jnds: Mean absolute error of the JNDs on utterances that were held out from the fit; None: not known.

    Raises:
        ValueError: for values that are not as described.
    """

    distances: Sequence[float]
    jnds: Sequence[float]
    half_noticed_jnds: float = HALF_NOTICED_JNDS
    slope: float = SLOPE
    lapse: float = LAPSE
    pairs: int = 0
    contents: int = 0
    error_jnds: float | None = None

    def __post_init__(self) -> None:
        distances, jnds = np.asarray(self.distances, dtype=float), np.asarray(self.jnds, dtype=float)
        if not (distances.ndim == 1 and distances.shape == jnds.shape and distances.size >= 2):
            raise ValueError("a JND scale needs as many `jnds` as `distances`, at least two")
        if not (np.isfinite(distances).all() and np.isfinite(jnds).all() and distances[0] == jnds[0] == 0):
            raise ValueError("`distances` and `jnds` of a JND scale must be finite and start at 0")
        if not ((np.diff(distances) > 0).all() and (np.diff(jnds) >= 0).all()):
            raise ValueError("`distances` of a JND scale must increase, and its `jnds` not decrease")
        if not (self.half_noticed_jnds > 0 and self.slope > 0 and 0 <= self.lapse < 1):
            raise ValueError("a JND scale needs `half_noticed_jnds` and `slope` above 0, and `lapse` in [0, 1)")

    def jnds_between(self, distance: Any) -> np.ndarray:
        """Number of JNDs that distances stand for.

        Args:
            distance: Between projections, any shape, not negative.

        Returns:
            Float64, of the same shape. Beyond the largest distance of the calibration, the JNDs of that: at least so
            many.
        """
        return np.interp(np.asarray(distance, dtype=float), self.distances, self.jnds)

    def probability_noticed(self, jnds: Any) -> np.ndarray:
        """Share of listeners expected to notice differences of so many JNDs.

        Args:
            jnds: Not negative, any shape.

        Returns:
            Float64 in [0, 1), of the same shape; 0 for 0 JNDs.
        """
        power = (np.asarray(jnds, dtype=float) / self.half_noticed_jnds) ** self.slope
        return (1 - self.lapse) * power / (1 + power)


__all__ = ["JNDScale"]
