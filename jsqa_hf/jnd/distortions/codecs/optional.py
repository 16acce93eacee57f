"""Codecs of packages outside of the core installation."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...thresholds import Threshold
from ..base import register
from .base import EQUIVALENT_SNR, BitRateCodec, Coded, as_int16, fit_length, whole_frames


class _OptionalCodec(BitRateCodec):
    """A codec of the module `requires[0]`, of the package `package` of PyPI, which our extra `extra` installs."""

    package: ClassVar[str]
    extra: ClassVar[str] = "degrade"

    def __init__(self, **options: Any) -> None:
        self._module()
        super().__init__(**options)

    def _module(self) -> Any:
        try:
            return importlib.import_module(self.requires[0])
        except ImportError as error:
            raise ImportError(
                f"the distortion {self.name!r} needs {self.package}, which is not installed: "
                f'pip install "jsqa_hf[{self.extra}]"'
            ) from error


@register
class Codec2(_OptionalCodec):
    """Codec 2, a vocoder for radio, by `pycodec2`.

    It draws the phases of noise from a random generator of its own that nobody can seed, so each call runs in a Python
    process of its own, where the generator starts anew. As it does not keep the waveform, the delay was measured on
    the envelopes of four utterances in four bands: 20 ms, and 30 ms in the mode of 700 bit/s, to within 3 ms. The mode
    of 1.2 kbit/s is left out, as it came out better than those of up to 1.6.
    """

    name = "codec2"
    summary = "Codec 2; severity: bit rate of the mode in kbit/s"
    threshold = Threshold(
        "Codec 2 bit rate",
        "kbit/s",
        1.2,
        4.5,
        EQUIVALENT_SNR
        + "All modes lie within 8 dB: 8.4 dB at 0.7 kbit/s, 9.1 at 1.3, 10.6 at 1.4, 11.2 at 1.6, 12.2 at 2.4 and "
        "15.8 at 3.2. The clear step is thus 7.4 dB, and the just noticeable one 1.5 dB.",
        assumption=True,
        scale="log",
    )
    severity_range = (0.7, 3.2)
    severity_grid = (0.7, 1.3, 1.4, 1.6, 2.4, 3.2)
    discrete = True
    requires = ("pycodec2",)
    package = "pycodec2"
    codec_rates = (8000,)

    # From 16-bit samples on standard input to the bits per second and 16-bit samples on standard output.
    _PROGRAM = """
import sys
import numpy as np
import pycodec2
codec = pycodec2.Codec2(int(sys.argv[1]))
length = codec.samples_per_frame()
samples = np.frombuffer(sys.stdin.buffer.read(), np.int16)
frames = np.pad(samples, (0, -samples.size % length)).reshape(-1, length)
decoded = [codec.decode(codec.encode(frame)) for frame in frames]
bitrate = np.float64(codec.bits_per_frame() * 8000 / length)
sys.stdout.buffer.write(bitrate.tobytes() + np.concatenate(decoded).astype(np.int16).tobytes())
"""

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        delay = 240 if severity == 0.7 else 160
        process = subprocess.run(
            [sys.executable, "-c", self._PROGRAM, str(round(severity * 1000))],
            input=as_int16(fit_length(samples, samples.size + delay)).tobytes(),
            capture_output=True,
            check=False,
        )
        if process.returncode:
            raise RuntimeError(f"pycodec2 failed: {process.stderr.decode(errors='replace').strip()}")
        bitrate = float(np.frombuffer(process.stdout[:8], np.float64)[0])
        return Coded(np.frombuffer(process.stdout[8:], np.int16)[delay:] / 32768, bitrate / 1000)


@register
class SILK(_OptionalCodec):
    """SILK, the speech codec that became a part of Opus, by `pilk`, which goes through temporary files.

    Narrowband: with more, it would narrow the band at 10 and 14 kbit/s at once. Delay: 5 ms, found by
    cross-correlation.
    """

    name = "silk"
    summary = "SILK; severity: bit rate in kbit/s"
    threshold = Threshold(
        "SILK bit rate",
        "kbit/s",
        1.2,
        2.6,
        EQUIVALENT_SNR
        + "25 dB at 6 kbit/s, 26 at 8, 29 at 10, 30 at 12, 32 at 16, 34 at 20 and 35 at 24: 8 dB need a factor of "
        "2.6. The just noticeable step is 1.5 dB, to leave room for it.",
        assumption=True,
        scale="log",
    )
    severity_range = (6.0, 24.0)
    requires = ("pilk",)
    package = "pilk"
    extra = "silk"
    codec_rates = (8000,)

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        pilk = self._module()
        # Four frames of 20 ms: what it holds back at the end.
        padded = fit_length(samples, samples.size + codec_rate * 80 // 1000)
        with tempfile.TemporaryDirectory() as folder:
            pcm, coded, decoded = (str(Path(folder, name)) for name in ("in.pcm", "coded.silk", "out.pcm"))
            as_int16(padded).tofile(pcm)
            pilk.encode(pcm, coded, pcm_rate=codec_rate, silk_rate=round(severity * 1000), max_rate=codec_rate)
            pilk.decode(coded, decoded, pcm_rate=codec_rate)
            size = _silk_payload(Path(coded).read_bytes())
            output = np.fromfile(decoded, np.int16) / 32768
        return Coded(output[40:], size * 8e-3 * codec_rate / padded.size)


@register
class LC3(_OptionalCodec):
    """LC3, the codec of Bluetooth LE Audio, by `lc3py`, with frames of 10 ms.

    A frame holds a whole number of bytes, so that the bit rate is rounded to 0.8 kbit/s. Delay: 2.5 ms, as liblc3
    tells.
    """

    name = "lc3"
    summary = "LC3; severity: bit rate in kbit/s"
    threshold = Threshold(
        "LC3 bit rate",
        "kbit/s",
        1.25,
        2.5,
        EQUIVALENT_SNR + "31 dB at 16 kbit/s, 36 at 24, 39 at 32, 43 at 48 and 52 at 64. The clear step is nearly "
        "as large as the range allows, as at 2 hardly any levels were clearly apart (docs/verification.md).",
        assumption=True,
        scale="log",
    )
    severity_range = (16.0, 64.0)
    requires = ("lc3",)
    package = "lc3py"
    codec_rates = (8000, 16000, 24000, 32000, 48000)

    _FRAME_US = 10000

    def transcode(self, samples: NDArray[np.float64], codec_rate: int, severity: float) -> Coded:
        if not 16 <= severity <= 320:
            raise ValueError(f"the bit rate of lc3 must be between 16 and 320 kbit/s, got {severity:g}")
        lc3 = self._module()
        encoder, decoder = lc3.Encoder(self._FRAME_US, codec_rate), lc3.Decoder(self._FRAME_US, codec_rate)
        try:
            delay = encoder.get_delay_samples()
            frames = whole_frames(samples, encoder.get_frame_samples(), delay).astype(np.float32)
            # Rounded here, as liblc3 rounds down.
            size = round(severity * 1e-3 * self._FRAME_US / 8)
            decoded = [np.array(decoder.decode(encoder.encode(frame, size))) for frame in frames]
        finally:
            _free_lc3(encoder, "_Encoder__encoders")
            _free_lc3(decoder, "_Decoder__decoders")
        return Coded(np.concatenate(decoded)[delay:].astype(np.float64), size * 8e3 / self._FRAME_US)


def _silk_payload(file: bytes) -> int:
    """Number of bytes in the packets of a SILK file: after the mark, each packet follows its size as two bytes."""
    position = file.index(b"#!SILK_V3") + len(b"#!SILK_V3")
    total = 0
    while position + 2 <= len(file):
        size = int.from_bytes(file[position : position + 2], "little", signed=True)
        if size < 0:
            break
        total += size
        position += 2 + size
    return total


def _free_lc3(coder: Any, attribute: str) -> None:
    """Free the memory of a coder, which lc3py 1.1.3 means to do but does not (several kB per coder)."""
    states = getattr(coder, attribute, [])
    for state in states:
        coder.free(state)
    states.clear()
