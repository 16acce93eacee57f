"""Narrower audio bands: low-pass, high-pass, and the telephone band."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register

# Our choice: forward and backward 96 dB per octave and 6 dB at the cut-off, steep enough to silence the stop band of
# speech, without the ringing of steeper filters.
ORDER = 8

# Wideband telephony (50 to 7000 Hz, ITU-T P.341) and the classic telephone band (300 to 3400 Hz, ITU-T G.712).
WIDEBAND_HZ = 50.0, 7000.0
TELEPHONE_BAND_HZ = 300.0, 3400.0


class _Band(Distortion):
    """What the filters share: they draw nothing and reach from one edge to another."""

    stage = Stage.TERMINAL

    def edges(self, severity: float) -> tuple[float | None, float | None]:
        """Lower and upper edge of the passband in Hz at a severity; None where there is none."""
        raise NotImplementedError

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """See `Distortion.distort`. Zero-phase Butterworth filters, 6 dB down at the edges.

        Measured: `removed_db`, the power of what the filter took away relative to the speech, in dB.

        Raises:
            ValueError: If an edge is not between 0 Hz and half the sampling rate.
        """
        return [self._filter(speech, float(severity), sampling_rate) for severity in severities]

    def _filter(self, speech: NDArray[np.float64], severity: float, sampling_rate: int) -> Distorted:
        low, high = self.edges(severity)
        samples = speech
        for edge, kind in ((low, "highpass"), (high, "lowpass")):
            if edge is None:
                continue
            if not 0 < edge < sampling_rate / 2:
                raise ValueError(
                    f"the distortion {self.name!r} at {severity:g} {self.threshold.unit} has an edge at {edge:g} Hz, "
                    f"which is not between 0 and {sampling_rate / 2:g} Hz: set a severity_range that fits the "
                    f"sampling rate of {sampling_rate} Hz"
                )
            samples = sosfiltfilt(butter(ORDER, edge, kind, fs=sampling_rate, output="sos"), samples)
        difference = samples - speech
        removed = float(np.dot(difference, difference) / np.dot(speech, speech))
        return Distorted(samples, {"removed_db": 10 * math.log10(max(removed, 1e-15))})


@register
class LowPass(_Band):
    """Remove what lies above a cut-off frequency."""

    name = "low-pass"
    summary = "high frequencies removed; severity: cut-off frequency in Hz"
    threshold = Threshold(
        quantity="cut-off frequency",
        unit="Hz",
        just_noticeable=1.03,
        clearly_different=1.35,
        assumption=True,
        scale="log",
        source=(
            "Fitted by us to the auditory model Zimtohrli 0.2.1 on six utterances of LibriSpeech: as large for it "
            "as 3 dB and 8 dB of SNR are between 0 and 20 dB. It asked for ratios of 1.04 to 1.09 and 1.13 to "
            "1.47 over the range, but only 1.02 and 1.05 next to 5 kHz. For full-band speech a low-pass is "
            "audible below about 13 kHz (JASA 146, EL496, 2019). Verification on other utterances "
            "(docs/verification.md) asked for 1.03 above 4 kHz, and for up to 1.6 below 2 kHz, which `growth` allows "
            "for."
        ),
        growth=((1000.0, 1285.0), (2000.0, 2000.0)),
    )
    severity_range = (1000.0, 7000.0)
    worse = "lower"

    def edges(self, severity: float) -> tuple[float | None, float | None]:
        """The severity is the upper edge."""
        return None, severity


@register
class HighPass(_Band):
    """Remove what lies below a cut-off frequency."""

    name = "high-pass"
    summary = "low frequencies removed; severity: cut-off frequency in Hz"
    threshold = Threshold(
        quantity="cut-off frequency",
        unit="Hz",
        just_noticeable=1.07,
        clearly_different=1.5,
        assumption=True,
        scale="log",
        source=(
            "Fitted by us to the auditory model Zimtohrli 0.2.1 on six utterances of LibriSpeech: as large for it "
            "as 3 dB and 8 dB of SNR are between 0 and 20 dB. It asked for ratios of 1.09 to 1.14 and 1.3 to 1.9 "
            "between 100 and 800 Hz, and for 1.05 and 1.2 at 1600 Hz. Verification on other utterances "
            "(docs/verification.md) asked for 1.07, and for up to 1.92 below 300 Hz, which `growth` allows for."
        ),
        growth=((150.0, 193.0), (300.0, 300.0)),
    )
    severity_range = (150.0, 2000.0)

    def edges(self, severity: float) -> tuple[float | None, float | None]:
        """The severity is the lower edge."""
        return severity, None


@register
class TelephoneBand(_Band):
    """Narrow the band from both sides, as older telephone networks do.

    The severity is the width that is left, in octaves. Both edges move, by equal shares of their way on a logarithmic
    frequency axis: 7.13 octaves are the wideband of 50 to 7000 Hz (ITU-T P.341), 3.50 octaves are the telephone band
    of 300 to 3400 Hz (ITU-T G.712), and fewer are narrower than that, 2 octaves being 632 to 2528 Hz.
    """

    name = "telephone-band"
    summary = "band narrowed from both sides; severity: bandwidth in octaves (telephone band: 3.5)"
    threshold = Threshold(
        quantity="bandwidth",
        unit="octaves",
        just_noticeable=0.12,
        clearly_different=0.5,
        assumption=True,
        source=(
            "Fitted by us to the auditory model Zimtohrli 0.2.1 on six utterances of LibriSpeech: as large for it "
            "as 3 dB and 8 dB of SNR are between 0 and 20 dB. It asked for 0.13 to 0.24 and 0.40 to 0.65 octaves "
            "over the range, but only 0.06 and 0.17 where the upper edge is next to 5 kHz."
        ),
    )
    severity_range = (1.5, 7.0)
    worse = "lower"

    def edges(self, severity: float) -> tuple[float | None, float | None]:
        """Both edges of a band of a width in octaves, on the line from wideband to telephone band."""
        wide, narrow = np.log2(WIDEBAND_HZ), np.log2(TELEPHONE_BAND_HZ)
        widths = wide[1] - wide[0], narrow[1] - narrow[0]
        share = (widths[0] - severity) / (widths[0] - widths[1])
        low, high = 2 ** (wide + share * (narrow - wide))
        return float(low), float(high)
