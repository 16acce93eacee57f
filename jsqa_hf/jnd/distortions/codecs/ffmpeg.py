"""Encoding and decoding with FFmpeg, through PyAV: packet by packet in memory, without a container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from .base import Coded, as_int16, fit_length


@dataclass(frozen=True)
class FFmpegCodec:
    """An encoder and a decoder of FFmpeg, and the delay of both together.

    Attributes:
        encoder, decoder: Their names.
        delay: In samples of the decoder's output.
        sample_format: What the encoder takes: `"s16"`, `"flt"` or `"fltp"`.
        output_rate: Sampling rate of the decoder in Hz, if it is not that of the input.
        options: Of the encoder.
    """

    encoder: str
    decoder: str
    delay: int = 0
    sample_format: str = "s16"
    output_rate: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def transcode(
        self, samples: NDArray[np.float64], rate: int, bitrate: float | None = None, **decoder_options: str
    ) -> Coded:
        """Encode and decode.

        Args:
            samples: Shape `(time,)`.
            rate: Their sampling rate in Hz.
            bitrate: In bit/s, if the encoder has several.
            decoder_options: Options of the decoder.

        Returns:
            At least as many samples as went in. The bit rate counts the quarter second of silence that follows them.

        Raises:
            RuntimeError: If the FFmpeg in use lacks the encoder or the decoder.
            ValueError: If the encoder refuses the bit rate or the sampling rate.
        """
        # What the codec still holds back at the end, and what it needs to fill its last frames.
        padding = rate // 4
        packets, extradata = self._encode(fit_length(samples, samples.size + padding), rate, bitrate)
        decoded = self._decode(packets, extradata, rate, decoder_options)[self.delay :]
        if self.output_rate not in (None, rate):
            decoded = soxr.resample(decoded, self.output_rate, rate, quality="HQ")
        duration_s = (samples.size + padding) / rate
        return Coded(decoded, sum(packet.size for packet in packets) * 8e-3 / duration_s)

    def _encode(
        self, samples: NDArray[np.float64], rate: int, bitrate: float | None
    ) -> tuple[list[av.Packet], bytes | None]:
        encoder = _context(self.encoder, "w")
        encoder.sample_rate = rate
        encoder.layout = "mono"
        encoder.format = self.sample_format
        encoder.time_base = Fraction(1, rate)
        encoder.options = dict(self.options)
        if bitrate is not None:
            encoder.bit_rate = round(bitrate)
        pcm = as_int16(samples) if self.sample_format == "s16" else samples.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], format=self.sample_format, layout="mono")
        frame.sample_rate = rate
        frame.time_base = encoder.time_base
        frame.pts = 0
        try:
            encoder.open()
            packets = [*encoder.encode(frame), *encoder.encode(None)]
        except (av.FFmpegError, ValueError) as error:
            at = "" if bitrate is None else f" at {bitrate / 1000:g} kbit/s"
            raise ValueError(f"FFmpeg's encoder {self.encoder} refuses {rate} Hz{at}: {error}") from error
        return packets, encoder.extradata

    def _decode(
        self, packets: list[av.Packet], extradata: bytes | None, rate: int, options: Mapping[str, str]
    ) -> NDArray[np.float64]:
        decoder = _context(self.decoder, "r")
        decoder.sample_rate = rate
        decoder.layout = "mono"
        # Whether FFmpeg cuts off the delay depends on codec and version; told not to, it is the same everywhere.
        decoder.options = {"flags2": "+skip_manual", **options}
        if extradata:
            decoder.extradata = extradata
        blocks = []
        for packet in [*packets, None]:
            for frame in decoder.decode(packet):
                block = frame.to_ndarray().reshape(-1)
                blocks.append(block / 32768 if block.dtype == np.int16 else block.astype(np.float64))
        return np.concatenate(blocks)


def _context(name: str, mode: str) -> av.AudioCodecContext:
    try:
        context = av.CodecContext.create(name, mode)  # type: ignore[call-overload]
    except av.codec.codec.UnknownCodecError:
        kind = "encoder" if mode == "w" else "decoder"
        raise RuntimeError(
            f"the FFmpeg that PyAV uses was built without the {kind} {name}; the wheels of av before 19 have it: "
            'pip install "av<19"'
        ) from None
    context.thread_count = 1  # Workers share the cores already.
    return context
