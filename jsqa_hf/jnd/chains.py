"""Chains of distortions, from the room to the network, of which one is varied and the others stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .distortions.base import Distorted, Distortion, Draw
from .ladders import LadderSampler

# Our choice: the distortions of a chain that stay the same are drawn from the mildest third of their range, counted
# in JNDs. Were they strong, they could mask the step of the one that is varied.
BACKGROUND_SHARE = 1 / 3


class Link(NamedTuple):
    """What one distortion of a chain did to the clips of one ladder.

    Attributes:
        distortion: Which one.
        severities: One per clip.
        draw: What was drawn for it.
        measured: One dict per clip, see `Distorted`.
    """

    distortion: Distortion
    severities: list[float]
    draw: Draw
    measured: list[dict[str, float]]

    def provenance(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "distortion": self.distortion.name,
            "severity": self.severities,
            **self.draw.provenance,
            "measured": self.measured,
        }


class Chain:
    """One distortion or several, applied in the order of their stages.

    Args:
        distortions: At least one.
        samplers: How the severities of each are drawn when it is the one that is varied; by name.
    """

    def __init__(self, distortions: Sequence[Distortion], samplers: dict[str, LadderSampler]) -> None:
        self.distortions = sorted(distortions, key=lambda distortion: distortion.stage)
        self.samplers = samplers

    @property
    def uses_level(self) -> bool:
        """Whether the level of the speech matters to any of the distortions."""
        return any(distortion.uses_level for distortion in self.distortions)

    def apply(
        self, speech: NDArray[np.float32], rng: np.random.Generator, sampling_rate: int
    ) -> tuple[list[NDArray[Any]], Link, list[Link]]:
        """Make the clips of one ladder.

        Args:
            speech: Shape `(time,)`.
            rng: Source of all that is drawn: which distortion is varied, severities, rooms, noises.
            sampling_rate: In Hz.

        Returns:
            2K clips, level after level; the link that was varied; all links in order.

        Raises:
            ValueError: If a distortion cannot be applied; the message names it.
        """
        varied = self.distortions[int(rng.integers(len(self.distortions)))]
        severities = self.samplers[varied.name].sample(rng).ravel().tolist()
        single_precision = all(distortion.single_precision for distortion in self.distortions)
        clips = [speech if single_precision else speech.astype(np.float64)]
        links = []
        for distortion in self.distortions:
            try:
                draw = distortion.draw(rng, speech.size, sampling_rate)
                if distortion is varied:
                    # So far all clips are the same one.
                    results = _distorted(distortion, clips[0], severities, draw, sampling_rate)
                    link = Link(distortion, severities, draw, [result.measured for result in results])
                else:
                    severity = draw_mild_severity(rng, distortion)
                    results = [_distorted(distortion, clip, [severity], draw, sampling_rate)[0] for clip in clips]
                    link = Link(distortion, [severity], draw, [result.measured for result in results])
            except ValueError as error:
                raise ValueError(f"{distortion.name}: {error}") from error
            clips = [result.samples for result in results]
            links.append(link)
        return clips, next(link for link in links if link.distortion is varied), links


def _distorted(
    distortion: Distortion, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
) -> list[Distorted]:
    """What `Distortion.distort` returns, if that is one signal of the same shape for each severity."""
    results = distortion.distort(speech, severities, draw, sampling_rate)
    if len(results) != len(severities):
        raise ValueError(f"distort() returned {len(results)} results for {len(severities)} severities")
    for result in results:
        if result.samples.shape != speech.shape:
            raise ValueError(f"distort() made samples of shape {result.samples.shape} out of {speech.shape}")
    return results


def draw_mild_severity(rng: np.random.Generator, distortion: Distortion) -> float:
    """Draw a severity that leaves room for another distortion to be heard (see `BACKGROUND_SHARE`)."""
    low, high = distortion.threshold.position(distortion.severity_range)
    share = BACKGROUND_SHARE * (high - low)
    low, high = (high - share, high) if distortion.worse == "lower" else (low, low + share)
    if distortion.severity_grid is None:
        return float(distortion.threshold.value(rng.uniform(low, high)))
    positions = distortion.threshold.position(distortion.severity_grid)
    mild = [
        value for value, position in zip(distortion.severity_grid, positions, strict=True) if low <= position <= high
    ]
    best = distortion.severity_grid[-1 if distortion.worse == "lower" else 0]
    return mild[int(rng.integers(len(mild)))] if mild else best
