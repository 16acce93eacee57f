"""Codecs for speech and music, at any sampling rate."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from ...thresholds import Threshold
from ..base import register
from .base import EQUIVALENT_SNR, BitRateCodec, Coded
from .ffmpeg import FFmpegCodec
from .sndfile import encode_with_sndfile, read_with_sndfile


@register
class Opus(BitRateCodec):
    """Opus (RFC 6716) by libopus, with variable bit rate and frames of 20 ms.

    The application is "audio", since "voip" adds a high-pass filter that alters the speech at any bit rate. Delay:
    the pre-skip of 312 samples at 48 kHz that libopus announces; where it codes with SILK, -2 to +3 samples remain.
    As the bit rate falls, libopus narrows the band at once, see `jumps`.
    """

    name = "opus"
    summary = "Opus; severity: bit rate in kbit/s"
    threshold = Threshold(
        "Opus bit rate",
        "kbit/s",
        1.3,
        3.5,
        EQUIVALENT_SNR + "26 dB at 10 kbit/s, 31 at 12, 34 at 16, 38 at 24, 41 at 32, 44 at 46 and 49 at 64. Where "
        "noise is hardly audible its steps grow, so that the clear one is nearly as large as the range allows.",
        assumption=True,
        scale="log",
    )
    severity_range = (10.0, 64.0)
    codec_rates = (8000, 12000, 16000, 24000, 48000)
    _codec = FFmpegCodec("libopus", "libopus", 312, "flt", 48000, {"application": "audio"})

    def jumps(self, sampling_rate: int) -> tuple[tuple[float, float], ...]:
        """Where libopus narrows the band: to 4 kHz below 9 kbit/s; to 8 kHz, and before to 12 kHz, below 14 kbit/s.

        The latter depends on how much like speech the sound is, and can be as late as 11 kbit/s (the bit rates of its
        table of bandwidths; measured on ten utterances at 12 to 48 kHz: from 8.5 to 9, and from 12.5 to 14 kbit/s).
        """
        rate = self.codec_rate(sampling_rate, self.severity_range[0])
        return ((8.5, 9.0),) * (rate > 8000) + ((11.0, 14.0),) * (rate > 16000)

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        return self._codec.transcode(samples, codec_rate, severity * 1000)


@register
class MP3(BitRateCodec):
    """MPEG audio layer III by LAME, at constant bit rate.

    Delay: 1105 samples, 576 of the encoder and 529 of the decoder. The grid holds the bit rates of MPEG-2.5 for 8 kHz.
    MPEG-1 starts at 32 kbit/s, so that below it speech at more than 24 kHz is coded at 24 kHz. LAME attenuates by
    about 5 %.
    """

    name = "mp3"
    summary = "MP3; severity: bit rate in kbit/s"
    threshold = Threshold(
        "MP3 bit rate",
        "kbit/s",
        1.2,
        2.0,
        EQUIVALENT_SNR
        + "13 dB at 16 kbit/s, 22 at 24, 35 at 32, 39 at 40, 41 at 48, 42 at 56 and 43 at 64. Listeners agree (same "
        "or different answers of PerceptualAudio, Manocha et al., Interspeech 2020): next to 300 kbit/s, a share of "
        "at most 0.05 hears 48 kbit/s and more, 0.20 hear 40 to 48, 0.43 hear 32 to 40, 0.7 hear 16 to 32.",
        assumption=True,
        scale="log",
    )
    severity_range = (8.0, 64.0)
    severity_grid = (8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0, 64.0)
    discrete = True
    codec_rates = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    _codec = FFmpegCodec("libmp3lame", "mp3float", 1105, "fltp")

    def jumps(self, sampling_rate: int) -> tuple[tuple[float, float], ...]:
        """Above 24 kHz, LAME cuts off at 11 kHz up to 48 kbit/s and at 15 kHz from 56 kbit/s on (measured)."""
        return ((48.0, 56.0),) * (sampling_rate > 24000)

    def codec_rate(self, sampling_rate: int, severity: float) -> int:
        return super().codec_rate(min(sampling_rate, 24000) if severity < 32 else sampling_rate, severity)

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        return self._codec.transcode(samples, codec_rate, severity * 1000)


@register
class AAC(BitRateCodec):
    """MPEG-4 AAC-LC by FFmpeg's own encoder, aiming at a mean bit rate. Delay: one frame of 1024 samples.

    It codes the whole band without noise substitution. Left to itself, the encoder cuts off a part of the band that
    depends on the bit rate in large steps. It runs at 16 kHz at most, as it can't code more at the lower bit rates; at
    8 kHz it has no use for more than about 40 kbit/s.
    """

    name = "aac"
    summary = "AAC; severity: bit rate in kbit/s"
    threshold = Threshold(
        "AAC bit rate",
        "kbit/s",
        1.2,
        2.7,
        EQUIVALENT_SNR + "20 dB at 16 kbit/s, 24 at 24, 30 at 32, 35 at 40, 38 at 48 and 46 at 64. The clear step "
        "is nearly as large as the range allows, as at 1.7 most levels were too close (docs/verification.md).",
        assumption=True,
        scale="log",
    )
    severity_range = (16.0, 64.0)
    codec_rates = (8000, 11025, 12000, 16000)

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        options = {"cutoff": str(codec_rate // 2), "aac_pns": "0"}
        codec = FFmpegCodec("aac", "aac", 1024, "fltp", options=options)
        return codec.transcode(samples, codec_rate, severity * 1000)


@register
class Vorbis(BitRateCodec):
    """Ogg Vorbis, whose encoder takes a quality and no bit rate: 0 to 10, as the option -q of `oggenc`.

    It has no delay. The bit rate is that of the audio packets, without the headers.
    """

    name = "vorbis"
    summary = "Vorbis; severity: quality from 0 to 10"
    threshold = Threshold(
        "Vorbis quality",
        "",
        1.2,
        6.5,
        EQUIVALENT_SNR + "36 dB at quality 0.5, 37 at 1, 39 at 2, 40 at 3, 44 at 5, 50 at 8 and 54 at 10. "
        "The clear step is nearly as large as the range allows, and yet hardly clear (docs/verification.md).",
        assumption=True,
    )
    severity_range = (0.5, 10.0)
    codec_rates = (8000, 11025, 16000, 22050, 32000, 44100, 48000)

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        if not 0 <= severity <= 10:
            raise ValueError(f"the quality of vorbis must be between 0 and 10, got {severity:g}")
        quality = {"compression_level": 1 - severity / 10}
        file = encode_with_sndfile(samples, codec_rate, "OGG", "VORBIS", **quality)
        return Coded(read_with_sndfile(file), _packet_bytes(file) * 8e-3 * codec_rate / samples.size)


def _packet_bytes(file: io.BytesIO) -> int:
    """Size of the audio packets of an Ogg file, without its headers, which are longer than seconds of speech."""
    file.seek(0)
    with av.open(file, format="ogg") as container:
        return sum(packet.size for packet in container.demux())
