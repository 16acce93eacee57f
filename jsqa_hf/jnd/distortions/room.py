"""Simulated rooms: the image-source model of a box whose walls absorb more or less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.signal import butter, sosfilt

from .. import rooms
from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register
from .reverberation import convolve_aligned, measured_ratios

SPEED_OF_SOUND = 343.0
# Our choice, all in metres: from a small office to a classroom. Ranges of length, width and height.
DIMENSIONS_M = ((4.0, 10.0), (3.0, 7.0), (2.4, 3.5))
WALL_DISTANCE_M = 0.5
# Closer than this, the direct sound would hide the decay at the shortest reverberation times.
TALKER_DISTANCE_M = 1.0
# Beyond this, a room takes seconds and gigabytes.
LONGEST_T60_S = 1.5
# The images of a perfectly reflecting box pile up below its modes, where speech has nothing; Allen and Berkley filter
# them off as well. The frequency is our choice.
HIGH_PASS_HZ = 50.0
# Of the longest reverberation time, that much is simulated: 57 dB of decay, so that a reverberation time can also be
# measured for the first step of the calibration that lies beyond it.
_SIMULATED = 0.95
# Our choice: between reverberation times in this ratio the logarithm of the attenuation is interpolated. Attenuations
# are tried that are this far apart, as logarithms, at first and at last.
_CALIBRATION_RATIO = 1.04
_COARSE, _FINEST = 0.12, 0.002


class Room(NamedTuple):
    """A room before its walls have a material.

    Attributes:
        reflections: Shape `(orders, time)`: what arrives after 0, 1, 2, ... reflections from walls that absorb
            nothing. The direct sound is 1, at index 0.
        log_attenuation: From the logarithm of a reverberation time in s to that of the attenuation per reflection in
            Np.
    """

    reflections: NDArray[np.float64]
    log_attenuation: PchipInterpolator | None = None

    def response(self, attenuation_np: float) -> NDArray[np.float64]:
        """Impulse response, shape `(time,)`, with walls that attenuate the sound pressure by so much."""
        return np.exp(-attenuation_np * np.arange(len(self.reflections))) @ self.reflections

    def response_of(self, t60_s: float) -> NDArray[np.float64]:
        """Impulse response, shape `(time,)`, of this reverberation time."""
        assert self.log_attenuation is not None
        return self.response(math.exp(self.log_attenuation(math.log(t60_s))))


@register
class SimulatedRoom(Distortion):
    """A box-shaped room with more or less absorbing walls.

    Dimensions, talker and microphone are drawn once per ladder. All walls absorb alike and at all frequencies, so much
    that the reverberation time measured on the impulse response (T30, see `jsqa_hf.jnd.rooms.t60`) is the severity.

    The response is that of the image-source model (Allen and Berkley, JASA 65, 1979, p. 943), whose arrival
    times are rounded to samples. It is kept apart by the number of reflections: one simulation then gives the response
    for any absorption, exactly and changing smoothly, which a simulation per severity gives at tens of times the cost.

    Args:
        options: See `Distortion`.

    Raises:
        ValueError: For reverberation times that are not positive or exceed 1.5 s.
    """

    name = "room"
    summary = "simulated rooms; severity: reverberation time T60 in s"
    stage = Stage.ROOM
    uses_level = False
    single_precision = True
    threshold = Threshold(
        quantity="T60",
        unit="s",
        just_noticeable=1.1,
        clearly_different=1.7,
        scale="log",
        assumption=True,
        source=(
            "We know of no published threshold for speech. JND: between the 5 % that ISO 3382-1 states for decay "
            "times in general and the factor of 1.2 that is as large as 3 dB of SNR for the psychoacoustic metric "
            "Zimtohrli (at 0.2, 0.35, 0.6 and 1 s alike, 3 rooms). In an exponential decay the JND of C50 for speech, "
            "1.1 dB (Bradley, Reich and Norcross 1999), comes to a factor of 1.08 at 0.2 s, 1.15 at 0.5 s and 1.2 at "
            "1 s. Clearly different: as large as 8 dB of SNR for Zimtohrli (1.6 to 1.7, "
            "docs/verification.md)."
        ),
    )
    # Our choice: from a furnished office to a bare classroom.
    severity_range = (0.2, 1.0)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        low, high = self.severity_range
        if not 0 < low <= high <= LONGEST_T60_S:
            raise ValueError(
                f"reverberation times of {self.name} must lie above 0 and up to {LONGEST_T60_S:g} s, got the "
                f"range {self.severity_range}"
            )

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw a room with a talker and a microphone in it, and simulate its reflections."""
        dimensions = np.array([rng.uniform(low, high) for low, high in DIMENSIONS_M])
        while True:
            talker, microphone = rng.uniform(WALL_DISTANCE_M, dimensions - WALL_DISTANCE_M, size=(2, 3))
            if math.dist(talker, microphone) >= TALKER_DISTANCE_M:
                break
        low, high = self.severity_range
        reflections = image_sources(dimensions, talker, microphone, _SIMULATED * high, sampling_rate)
        room = _calibrated(reflections, dimensions, (low, high), sampling_rate)
        places = {"room_m": dimensions, "talker_m": talker, "microphone_m": microphone}
        provenance: dict[str, str | int | float] = {
            name: " ".join(f"{coordinate:.3f}" for coordinate in place) for name, place in places.items()
        }
        return Draw(room, provenance)

    def distort(
        self, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Convolve the speech with the response of the room. The direct sound keeps level and place.

        Measured, on the impulse response: `t60_s`, `c50_db` and `drr_db`.
        """
        room: Room = draw.values
        low, high = self.severity_range
        for severity in severities:
            if not low <= severity <= high:
                raise ValueError(f"a reverberation time of {severity} s lies outside of {self.severity_range}")
        responses = [room.response_of(severity) for severity in severities]
        return [
            Distorted(samples, {"t60_s": rooms.t60(rir, sampling_rate), **measured_ratios(rir, 0, sampling_rate)})
            for samples, rir in zip(convolve_aligned(speech, responses, 0), responses, strict=True)
        ]


def image_sources(
    dimensions: NDArray[np.float64],
    source: NDArray[np.float64],
    receiver: NDArray[np.float64],
    duration_s: float,
    sampling_rate: int,
) -> NDArray[np.float64]:
    """Impulse responses of a box with rigid walls by number of reflections, image-source model.

    Args:
        dimensions: Of the box in m, shape `(3,)`, one corner being the origin.
        source, receiver: Places in m, shape `(3,)`.
        duration_s: Of the response, from the direct sound on.
        sampling_rate: In Hz.

    Returns:
        Shape `(orders, time)`, direct sound 1 at index 0; all else is high-pass filtered.
    """
    distance = math.dist(source, receiver)
    length = round(duration_s * sampling_rate)
    reach = distance + SPEED_OF_SOUND * duration_s
    offsets, counts = [], []
    for size, place, target in zip(dimensions, source, receiver, strict=True):
        number = np.arange(-math.ceil(reach / size) - 1, math.ceil(reach / size) + 2)
        offsets.append(number * size + np.where(number % 2, size - place, place) - target)
        counts.append(np.abs(number))
    plane = offsets[1][:, np.newaxis] ** 2 + offsets[2] ** 2
    plane_counts = counts[1][:, np.newaxis] + counts[2]
    cells, weights = [], []
    for offset, count in zip(offsets[0], counts[0], strict=True):
        inside = plane <= reach**2 - offset**2
        paths = np.sqrt(plane[inside] + offset**2)
        times = np.rint((paths - distance) / SPEED_OF_SOUND * sampling_rate).astype(np.int64)
        cells.append((plane_counts[inside] + count) * (length + 1) + np.minimum(times, length))
        weights.append(distance / paths)
    cell = np.concatenate(cells)
    orders = int(cell.max()) // (length + 1) + 1
    arrivals = np.bincount(cell, np.concatenate(weights), orders * (length + 1)).astype(np.float64)
    reflections = arrivals.reshape(orders, length + 1)
    high_pass = butter(2, HIGH_PASS_HZ, "highpass", fs=sampling_rate, output="sos")
    reflections[1:] = sosfilt(high_pass, reflections[1:], axis=1)
    return reflections[:, :length]


def _calibrated(
    reflections: NDArray[np.float64],
    dimensions: NDArray[np.float64],
    t60_range_s: tuple[float, float],
    sampling_rate: int,
) -> Room:
    """Measure which attenuation gives which reverberation time.

    The formula of Eyring, T60 = 0.161 V / (-S ln(1 - absorption)), says where to look.
    """
    length, width, height = dimensions
    surface = 2 * (length * width + length * height + width * height)
    low_s, high_s = t60_range_s
    eyring_np = 0.161 * length * width * height / (surface * low_s) / 2
    room = Room(reflections)

    def measured_s(step: float) -> float:
        return rooms.t60(room.response(eyring_np * math.exp(-step)), sampling_rate)

    steps, measured = [0.0], [measured_s(0.0)]
    while measured[0] > low_s:
        steps.insert(0, steps[0] - _COARSE)
        measured.insert(0, measured_s(steps[0]))
    while measured[-1] < high_s:
        steps.append(steps[-1] + _COARSE)
        measured.append(measured_s(steps[-1]))
    index = 0
    while index < len(steps) - 1:
        if measured[index + 1] > _CALIBRATION_RATIO * measured[index] and steps[index + 1] - steps[index] > _FINEST:
            steps.insert(index + 1, (steps[index] + steps[index + 1]) / 2)
            measured.insert(index + 1, measured_s(steps[index + 1]))
        else:
            index += 1
    # Strictly monotonic, which measured times are but for the rare reflection that crosses the edge of the evaluated
    # range. The error of interpolation is then below the ratio of neighbouring points.
    rising_s, first = np.unique(np.maximum.accumulate(measured), return_index=True)
    return Room(reflections, PchipInterpolator(np.log(rising_s), math.log(eyring_np) - np.array(steps)[first]))
