"""Reverberation of measured rooms, with more or less of what comes after the early or the direct sound."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import datasets
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.signal import oaconvolve

from .. import rooms
from ..excerpts import Recordings, load_mono
from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register

Rows: TypeAlias = datasets.Dataset | Sequence[Mapping[str, Any]]

# Our choice: late sound amplified by more than this no longer decays like that of a room.
MAX_LATE_GAIN_DB = 15.0
# Our choice: below the reverberation time of a recording booth it is no room.
SHORTEST_T60_S = 0.1
MAX_DRAWS = 16
# Our choice: short enough to end within the noise, long enough not to click.
_FADE_S = 0.005


class ImpulseResponse(NamedTuple):
    """A room impulse response, ready for convolution.

    Attributes:
        samples: Shape `(time,)`, from the onset of the direct sound to where the noise begins; the direct sound is 1.
        direct: Index of the direct sound.
    """

    samples: NDArray[np.float64]
    direct: int


def convolve_aligned(speech: NDArray[Any], responses: Sequence[NDArray[np.float64]], direct: int) -> NDArray[Any]:
    """Convolve speech with impulse responses so that the direct sound stays where the speech is.

    Args:
        speech: Shape `(time,)`, float32 or float64.
        responses: Each of the same shape `(response time,)`.
        direct: Index of the direct sound in them.

    Returns:
        Shape `(responses, time)`, of the type and length of the speech: what rings on after its end is cut off.
    """
    reverberant = oaconvolve(speech[np.newaxis], np.stack(responses).astype(speech.dtype), axes=1)
    return reverberant[:, direct : direct + speech.size]


class _MeasuredRoom(Distortion):
    """A measured impulse response is drawn once per ladder, and a part of it scaled to each severity."""

    stage = Stage.ROOM
    worse = "lower"
    uses_level = False
    single_precision = True
    material = "rirs"

    def __init__(self, rirs: Rows, **options: Any) -> None:
        super().__init__(**options)
        self.rirs = Recordings(rirs, ("rir_id", "room"), "room impulse response")

    @abstractmethod
    def _scaled(self, response: ImpulseResponse, severity: float, sampling_rate: int) -> NDArray[np.float64]:
        """The samples of the response with a part of it scaled, so that its measure is the severity.

        Raises:
            ValueError: If that takes more than `MAX_LATE_GAIN_DB`, or nothing is there to be scaled.
        """

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw an impulse response that can be brought to all severities.

        Those that cannot are passed over, so that only few of the rooms at hand may be used; `jsqa pairs` tells.

        Provenance: `rir_id`, `room`, and `rir_t60_s`, the reverberation time of the response as it was recorded. That
        of the scaled one can be another, as it is measured from 5 dB of decay on.

        Raises:
            ValueError: If a response cannot be read, or none of 16 is suitable: too noisy for a reverberation time,
                with one below 0.1 s, or so dry that the worst severity is out of reach.
        """
        rows = self.rirs.rows
        for index in rng.permutation(len(rows))[:MAX_DRAWS]:
            row = rows[int(index)]
            try:
                # One microphone of an array: the mean of several would be a filter of its own.
                recorded = load_mono(row["audio"], sampling_rate, channel=0).astype(np.float64)
            except ValueError as error:
                raise ValueError(f"room impulse response {row['rir_id']!r} {error}") from error
            try:
                t60_s = rooms.t60(recorded, sampling_rate)
                if t60_s < SHORTEST_T60_S:
                    raise ValueError(f"its reverberation time of {t60_s:.3f} s is below {SHORTEST_T60_S:g} s")
                response = _prepared(recorded, sampling_rate)
                self._scaled(response, self.severity_range[0], sampling_rate)
            except ValueError as error:
                refused = f"{row['rir_id']!r}: {error}"
                continue
            return Draw(response, {"rir_id": str(row["rir_id"]), "room": str(row["room"]), "rir_t60_s": t60_s})
        raise ValueError(
            f"{self.name}: no suitable room impulse response among {min(MAX_DRAWS, len(rows))}; the last one was "
            f"{refused}. Remove such responses, or raise the lower end of the severity range {self.severity_range}"
        )

    def distort(
        self, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Convolve the speech with the response, scaled to each severity. The direct sound keeps level and place.

        Measured, on the scaled response: `c50_db` and `drr_db`.
        """
        response: ImpulseResponse = draw.values
        scaled = [self._scaled(response, float(severity), sampling_rate) for severity in severities]
        reverberant = convolve_aligned(speech, scaled, response.direct)
        return [
            Distorted(samples, measured_ratios(rir, response.direct, sampling_rate))
            for samples, rir in zip(reverberant, scaled, strict=True)
        ]


def measured_ratios(rir: NDArray[np.float64], direct: int, sampling_rate: int) -> dict[str, float]:
    """C50 and direct-to-reverberant ratio of a response, in dB."""
    return {
        "c50_db": rooms.c50(rir, sampling_rate, direct=direct),
        "drr_db": rooms.drr(rir, sampling_rate, direct=direct),
    }


@register
class Reverberation(_MeasuredRoom):
    """Reverberation of a measured room with more or less late sound.

    What arrives later than 50 ms after the direct sound is scaled by a gain, and what arrives between them by a gain
    that goes from 0 dB to it evenly in dB, so that the decay has no step.

    Args:
        rirs: Rows with the columns `audio`, `rir_id` and `room`.
        options: See `Distortion`.
    """

    name = "reverberation"
    summary = "reverberation of measured rooms; severity: clarity C50 in dB"
    threshold = Threshold(
        quantity="C50",
        unit="dB",
        just_noticeable=1.1,
        clearly_different=5.0,
        source=(
            "JND: 1.1 dB for speech, constant from -3 to +9 dB (Bradley, Reich and Norcross, Applied Acoustics 58, "
            "1999, pp. 99-108). They put what is readily detectable in everyday situations at 3 dB; clearly different "
            "is 5 dB here, as for the auditory model Zimtohrli it takes 5.3 dB and more to be as large as 8 dB of SNR "
            "(docs/verification.md). The growth above 9 dB is ours: a change as large as one of 3 dB in SNR takes "
            "about 2.2 dB at 9 dB, 3 dB at 15 dB and 4 dB at 20 dB for Zimtohrli (3 rooms)."
        ),
        growth=((9.0, 9.0), (15.0, 14.0), (20.0, 17.0), (25.0, 19.5)),
    )
    # Our choice: from a bare room at a distance to hardly audible reverberation. Of what is measured in rooms of daily
    # life, little can be made worse than the lower end without late sound that grows louder with time.
    severity_range = (0.0, 25.0)

    def _scaled(self, response: ImpulseResponse, severity: float, sampling_rate: int) -> NDArray[np.float64]:
        if not np.isfinite(severity):
            raise ValueError(f"C50 must be finite, got {severity}")
        boundary = round(rooms.EARLY_S * sampling_rate)
        ramp = np.clip((np.arange(response.samples.size) - response.direct) / boundary, 0.0, 1.0)
        early = slice(None, response.direct + boundary)
        energy = np.square(response.samples)
        late_energy = float(energy[response.direct + boundary :].sum())
        if late_energy == 0:
            raise ValueError("has no sound later than 50 ms after the direct sound above its noise")

        def excess_db(gain_db: float) -> float:
            early_energy = float(energy[early] @ 10 ** (gain_db * ramp[early] / 10))
            return 10 * np.log10(early_energy / late_energy) - gain_db - severity

        if excess_db(MAX_LATE_GAIN_DB) > 0:
            raise ValueError(
                f"its C50 of {excess_db(0.0) + severity:.1f} dB cannot be lowered to {severity:g} dB by amplifying "
                f"its late sound by {MAX_LATE_GAIN_DB:g} dB"
            )
        # The early sound contains the direct sound, which is 1, so that this gain is more than is needed.
        lowest_db = min(0.0, excess_db(0.0) - 10 * np.log10(energy[early].sum())) - 1
        gain_db = float(brentq(excess_db, lowest_db, MAX_LATE_GAIN_DB, xtol=1e-6))
        return response.samples * 10 ** (gain_db * ramp / 20)


@register
class DirectToReverberant(_MeasuredRoom):
    """A measured room with more or less reflected sound, as when the talker moves away from the microphone.

    What arrives later than 2.5 ms after the direct sound is scaled by one gain.

    Args:
        rirs: Rows with the columns `audio`, `rir_id` and `room`.
        options: See `Distortion`.
    """

    name = "direct-to-reverberant"
    summary = "distance to the talker in measured rooms; severity: direct-to-reverberant ratio in dB"
    threshold = Threshold(
        quantity="DRR",
        unit="dB",
        just_noticeable=2.5,
        clearly_different=8.5,
        source=(
            "JND: 2 to 3 dB at 0 and +10 dB, and 6 to 8 dB at -10 and +20 dB, for wideband noise (Larsen, Iyer, "
            "Lansing and Feng, JASA 2008, doi:10.1121/1.2936368), of which the means are taken; that it grows evenly "
            "between these points and stays beyond them is ours. Clearly different: as large as 8 dB of SNR "
            "for the auditory model Zimtohrli between -4 and 2 dB (docs/verification.md)."
        ),
        growth=((-20.0, -9.3), (-10.0, -5.7), (0.0, 0.0), (10.0, 10.0), (20.0, 15.7), (30.0, 19.3)),
    )
    # Our choice: from the far end of a reverberant room to the close microphone of a headset.
    severity_range = (-10.0, 25.0)

    def _scaled(self, response: ImpulseResponse, severity: float, sampling_rate: int) -> NDArray[np.float64]:
        if not np.isfinite(severity):
            raise ValueError(f"the direct-to-reverberant ratio must be finite, got {severity}")
        ratio_db = rooms.drr(response.samples, sampling_rate, direct=response.direct)
        if not np.isfinite(ratio_db):
            raise ValueError("has no sound later than 2.5 ms after the direct sound above its noise")
        scaled = response.samples.copy()
        scaled[response.direct + round(rooms.DIRECT_S * sampling_rate) :] *= 10 ** ((ratio_db - severity) / 20)
        return scaled


def _prepared(recorded: NDArray[np.float64], sampling_rate: int) -> ImpulseResponse:
    """Cut off what comes before the direct sound and where the noise begins, and make the direct sound 1."""
    peak = rooms.direct_sound(recorded, sampling_rate)
    start = max(0, peak - round(rooms.PEAK_SEARCH_S * sampling_rate))
    samples = recorded[start : rooms.noise_limit(recorded, sampling_rate)] / float(recorded[peak])
    fade = min(round(_FADE_S * sampling_rate), samples.size)
    samples[samples.size - fade :] *= np.linspace(1.0, 0.0, fade, endpoint=False)
    return ImpulseResponse(samples, peak - start)
