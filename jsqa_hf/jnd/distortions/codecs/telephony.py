"""Codecs of telephony, at 8 kHz (G.722 at 16 kHz)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...thresholds import Threshold
from ..base import register
from .base import EQUAL_DISTANCE, EQUIVALENT_SNR, BitRateCodec, Coded, SingleRateCodec
from .ffmpeg import FFmpegCodec
from .sndfile import encode_with_sndfile, read_with_sndfile


@register
class AMRNB(BitRateCodec):
    """AMR narrowband (3GPP TS 26.090) by OpenCORE, without discontinuous transmission.

    Delay: 5 ms, the look-ahead of the encoder. The bit rate is that of the storage format, whose frames fill whole
    bytes: 0.4 to 0.8 kbit/s above the name of the mode.
    """

    name = "amr-nb"
    summary = "AMR narrowband; severity: bit rate of the mode in kbit/s"
    threshold = Threshold(
        "AMR-NB bit rate",
        "kbit/s",
        1.1,
        2.3,
        EQUIVALENT_SNR
        + "All modes lie within 8 dB: 19.7 dB at 4.75 kbit/s, 20.3 at 5.15, 22.9 at 6.7, 24.4 at 7.95, 26.4 at 10.2 "
        "and 27.6 at 12.2. The clear step is thus 7.3 dB, and the just noticeable one 0.8 dB, to leave room for it.",
        assumption=True,
        scale="log",
    )
    severity_range = (4.75, 12.2)
    severity_grid = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)
    discrete = True
    codec_rates = (8000,)
    _codec = FFmpegCodec("libopencore_amrnb", "amrnb", 40)

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        return self._codec.transcode(samples, codec_rate, severity * 1000)


@register
class G726(BitRateCodec):
    """ITU-T G.726 adaptive differential PCM at 2, 3, 4 or 5 bits per sample. It has no delay."""

    name = "g726"
    summary = "G.726 ADPCM; severity: bit rate in kbit/s"
    threshold = Threshold(
        "G.726 bit rate",
        "kbit/s",
        1.2,
        1.5,
        EQUIVALENT_SNR
        + "21 dB at 16 kbit/s, 30 at 24, 37 at 32 and more than 40 at 40: no two of them are indistinguishable.",
        assumption=True,
        scale="log",
    )
    severity_range = (16.0, 40.0)
    severity_grid = (16.0, 24.0, 32.0, 40.0)
    discrete = True
    codec_rates = (8000,)
    _codec = FFmpegCodec("g726", "g726")

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        bits = str(round(severity * 1000 / codec_rate))
        return self._codec.transcode(samples, codec_rate, severity * 1000, bits_per_coded_sample=bits)


class _FFmpegSingleRateCodec(SingleRateCodec):
    _codec: FFmpegCodec
    _bitrate: float | None = None

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        return self._codec.transcode(samples, codec_rate, self._bitrate)


@register
class G722(_FFmpegSingleRateCodec):
    """ITU-T G.722 at 64 kbit/s, which keeps 50 to 7000 Hz. Delay: 22 samples of its quadrature mirror filters."""

    name = "g722"
    summary = "G.722 at 64 kbit/s; severity: gain of its error in dB"
    threshold = Threshold(
        "error of G.722",
        "dB",
        3.0,
        9.0,
        EQUAL_DISTANCE + "11 dB make 18e-4 from 0 on, and 51e-4 from 11 dB on.",
        assumption=True,
        growth=((0.0, 0.0), (11.0, 6.6)),
    )
    severity_range = (0.0, 24.0)
    codec_rates = (16000,)
    _codec = FFmpegCodec("g722", "g722", 22)


@register
class G7231(_FFmpegSingleRateCodec):
    """ITU-T G.723.1 at 6.3 kbit/s, the only rate of FFmpeg's encoder. Delay: 7.5 ms, the look-ahead of the encoder."""

    name = "g723-1"
    summary = "G.723.1 at 6.3 kbit/s; severity: gain of its error in dB"
    threshold = Threshold(
        "error of G.723.1",
        "dB",
        1.5,
        6.5,
        EQUAL_DISTANCE
        + "Steps of 3 dB make 1e-4 at -11 dB, 2e-4 at -8, 6e-4 at -5 and 13e-4 at 0. The clear step was raised by "
        "a third after verification found it too small in 4 of 10 cases (docs/verification.md).",
        assumption=True,
        growth=((-20.0, -7.8), (-11.0, -6.5), (-5.0, -4.2), (0.0, 0.0)),
    )
    severity_range = (-20.0, 3.0)
    codec_rates = (8000,)
    _codec = FFmpegCodec("g723_1", "g723_1", 60)
    _bitrate = 6300.0


def _g711_threshold(law: str) -> Threshold:
    return Threshold(
        f"error of G.711 {law}",
        "dB",
        3.0,
        8.0,
        EQUAL_DISTANCE + "Steps of 8 dB make 7e-4 from 0 on, 20e-4 from 8, 41e-4 from 16 and 47e-4 from 24 dB on.",
        assumption=True,
        growth=((0.0, 0.0), (8.0, 3.5), (16.0, 9.0)),
    )


@register
class ALaw(_FFmpegSingleRateCodec):
    """A-law of ITU-T G.711: 8 bits per sample at 8 kHz. It has no delay."""

    name = "a-law"
    summary = "G.711 A-law at 64 kbit/s; severity: gain of its error in dB"
    threshold = _g711_threshold("A-law")
    severity_range = (0.0, 32.0)
    codec_rates = (8000,)
    _codec = FFmpegCodec("pcm_alaw", "pcm_alaw")


@register
class MuLaw(_FFmpegSingleRateCodec):
    """Mu-law of ITU-T G.711: 8 bits per sample at 8 kHz. It has no delay."""

    name = "mu-law"
    summary = "G.711 mu-law at 64 kbit/s; severity: gain of its error in dB"
    threshold = _g711_threshold("mu-law")
    severity_range = (0.0, 32.0)
    codec_rates = (8000,)
    _codec = FFmpegCodec("pcm_mulaw", "pcm_mulaw")


@register
class GSM(SingleRateCodec):
    """GSM 06.10 full rate at 13 kbit/s. It has no delay."""

    name = "gsm"
    summary = "GSM 06.10 full rate at 13 kbit/s; severity: gain of its error in dB"
    threshold = Threshold(
        "error of GSM 06.10",
        "dB",
        2.0,
        8.0,
        EQUAL_DISTANCE
        + "Steps of 3 dB make 1e-4 at -11 dB, 2e-4 at -8, 4e-4 at -5 and 7e-4 at 0. The clear step is nearly as "
        "large as the range allows, since verification found 7 dB too small in 4 of 10 cases (docs/verification.md).",
        assumption=True,
        growth=((-20.0, -9.0), (-11.0, -7.3), (-5.0, -4.4), (0.0, 0.0)),
    )
    severity_range = (-20.0, 3.0)
    codec_rates = (8000,)

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        return Coded(read_with_sndfile(encode_with_sndfile(samples, codec_rate, "WAV", "GSM610")))
