"""What all codecs share: level, sampling rate, alignment and the two kinds of severity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from ..base import Distorted, Distortion, Draw, Stage

# Peak up to which speech goes into a codec as it is (3 dB below full scale, our choice): a decoder overshoots.
LARGEST_PEAK = 10 ** (-3 / 20)


# How the steps of codecs were set, for the `source` of their thresholds.
EQUIVALENT_SNR = (
    "Set with the psychoacoustic model Zimtohrli on four utterances of LibriSpeech at 16 kHz (telephone codecs: at "
    "8 kHz). Each bit rate has an equivalent SNR, that of background noise at the same distance from the clean "
    "speech, as ITU-T P.830 expresses codecs by an equivalent signal-to-modulated-noise ratio. The steps are meant to "
    "change it by at most 3 dB and by about 8 dB, see the threshold of the SNR. "
)
EQUAL_DISTANCE = (
    "Set with the psychoacoustic model Zimtohrli on four utterances of LibriSpeech: steps at which two results are as "
    "far apart as speech in noise is after a step of 3 dB and of 8 dB of SNR (distances of 4e-4 and 32e-4). "
)


class Coded(NamedTuple):
    """What came out of a codec.

    Attributes:
        samples: Shape `(time,)`, float64, at the rate of the input and aligned with it; may be longer.
        bitrate_kbps: Size of the encoded signal over its duration, None if the encoder gives no packets.
    """

    samples: NDArray[np.float64]
    bitrate_kbps: float | None = None


def fit_length(samples: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Cut, or append zeros, to a length in samples."""
    return np.pad(samples[:length], (0, max(0, length - samples.size)))


def whole_frames(samples: NDArray[np.float64], frame_length: int, delay: int = 0) -> NDArray[np.float64]:
    """Append zeros so that the samples, and what a codec delays of them, fill whole frames.

    Returns:
        Shape `(frames, frame_length)`.
    """
    frames = -(-(samples.size + delay) // frame_length)
    return fit_length(samples, frames * frame_length).reshape(frames, frame_length)


def as_int16(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """Quantise to 16 bits, rounding, with 1.0 at 32768; beyond full scale it clips."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


class CodecDistortion(Distortion):
    """Speech that was encoded and decoded.

    The codec runs at a sampling rate of its own. Speech with peaks beyond -3 dB of full scale is attenuated before and
    amplified again after it, so that nothing clips. The delay of the codec is taken out, so that the result is aligned
    with the speech as well as the codec keeps the waveform.

    Attributes:
        codec_rates: Sampling rates at which the codec runs, in Hz, rising.
    """

    stage = Stage.CODEC
    codec_rates: ClassVar[tuple[int, ...]]

    @abstractmethod
    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        """Encode and decode.

        Args:
            samples: Shape `(time,)`, peaks at most at `LARGEST_PEAK`.
            codec_rate: Their sampling rate, one of `codec_rates`.
            severity: Bit rate in kbit/s, or quality; codecs with a single bit rate take no notice.

        Raises:
            ValueError: If the encoder refuses.
            RuntimeError: If the encoder is missing.
        """

    def codec_rate(self, sampling_rate: int, severity: float) -> int:
        """Sampling rate to encode at: the lowest one that keeps the whole band, or else the highest."""
        return next((rate for rate in self.codec_rates if rate >= sampling_rate), self.codec_rates[-1])

    def _code(self, speech: NDArray[np.float64], sampling_rate: int, severity: float) -> _Transcoded:
        codec_rate = self.codec_rate(sampling_rate, severity)
        samples = _resample(speech, sampling_rate, codec_rate)
        gain = min(1.0, LARGEST_PEAK / max(np.abs(samples).max(initial=0.0), np.finfo(np.float64).tiny))
        coded = self.transcode(samples * gain, codec_rate, severity)
        measured = {} if coded.bitrate_kbps is None else {"bitrate_kbps": coded.bitrate_kbps}
        return _Transcoded(samples, fit_length(coded.samples, samples.size) / gain, codec_rate, measured)


class _Transcoded(NamedTuple):
    """Speech before and after the codec, both at the rate of the codec."""

    samples: NDArray[np.float64]
    decoded: NDArray[np.float64]
    codec_rate: int
    measured: dict[str, float]


class BitRateCodec(CodecDistortion):
    """A codec whose severity is its bit rate in kbit/s (or its quality); `severity_grid` lists it if `discrete`."""

    worse: ClassVar[Literal["lower", "higher"]] = "lower"

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Encode and decode once per bit rate.

        Returns:
            Results with the realised `bitrate_kbps`, if the encoder yields packets.

        Raises:
            ValueError: For a bit rate that the codec does not have.
            RuntimeError: If the encoder is missing.
        """
        results = []
        for severity in severities:
            self._check_severity(severity)
            coded = self._code(speech, sampling_rate, severity)
            samples = _resample(coded.decoded, coded.codec_rate, sampling_rate)
            results.append(Distorted(fit_length(samples, speech.size), coded.measured))
        return results

    def _check_severity(self, severity: float) -> None:
        modes = type(self).severity_grid
        if self.discrete and modes is not None and severity not in modes:
            raise ValueError(
                f"{self.name} has no mode of {severity:g} {self.threshold.unit}; it has "
                f"{', '.join(f'{mode:g}' for mode in modes)}"
            )
        if severity <= 0 and self.threshold.scale == "log":
            raise ValueError(f"the {self.threshold.quantity} of {self.name} must be positive, got {severity:g}")


class SingleRateCodec(CodecDistortion):
    """A codec with one bit rate, whose error is scaled.

    The result is the speech at the rate of the codec, plus the error of the codec (what was decoded minus that speech)
    times a gain. The severity is this gain in dB: 0 is the codec as it is, -20 a tenth of its error, and above 0 it is
    exaggerated: n codecs in a row have about 10 log10(n) dB more error than one. The band that the codec's sampling
    rate cuts off is cut off at all severities. All this is meaningful because the decoded signal is aligned to the
    sample.
    """

    worse: ClassVar[Literal["lower", "higher"]] = "higher"

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Encode and decode once, and add the error at each gain.

        Returns:
            Results with `signal_to_error_db`, the ratio of the powers of speech and added error at the rate of the
            codec, and the `bitrate_kbps` if the encoder yields packets.

        Raises:
            RuntimeError: If the encoder is missing.
        """
        coded = self._code(speech, sampling_rate, 0.0)
        error = coded.decoded - coded.samples
        # Neither silence nor a codec without error gives an infinite ratio.
        power = max(np.dot(coded.samples, coded.samples), np.finfo(np.float64).tiny)
        ratio_db = 10 * np.log10(power / max(np.dot(error, error), 1e-30 * power, np.finfo(np.float64).tiny))
        results = []
        for severity in severities:
            samples = _resample(coded.samples + 10 ** (severity / 20) * error, coded.codec_rate, sampling_rate)
            measured = {"signal_to_error_db": float(ratio_db - severity), **coded.measured}
            results.append(Distorted(fit_length(samples, speech.size), measured))
        return results


def _resample(samples: NDArray[np.float64], from_rate: int, to_rate: int) -> NDArray[np.float64]:
    return samples if from_rate == to_rate else soxr.resample(samples, from_rate, to_rate, quality="HQ")
