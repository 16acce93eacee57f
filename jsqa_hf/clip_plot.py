"""Waveform and spectrogram of a clip as SVG, with numpy and zlib alone."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.signal import stft

# Our choice: wide enough to see the formants, short enough to see syllables and lost packets.
WINDOW_S = 0.02
# Our choice: 0 dB is a sine at full scale; speech at -26 dBov then fills the range.
LOWEST_DB, HIGHEST_DB = -100.0, -20.0

_COLUMNS = 480
# Our choice: rises evenly in lightness, so that it also reads in grey.
_COLOURS = ((8, 6, 30), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
_SHADES = 64

_WIDTH, _LEFT, _RIGHT = 640, 68, 8
_WAVE_HEIGHT, _IMAGE_TOP, _IMAGE_HEIGHT = 44, 50, 96
_HEIGHT = _IMAGE_TOP + _IMAGE_HEIGHT + 34


def spectrogram_db(samples: NDArray[np.floating], sampling_rate: int) -> NDArray[np.float64]:
    """Levels over frequency and time.

    Args:
        samples: Shape `(time,)`, full scale 1.0.
        sampling_rate: In Hz.

    Returns:
        Shape `(frequencies, frames)`, from 0 Hz to half the sampling rate, in dB relative to a sine at full scale.
    """
    window = min(round(WINDOW_S * sampling_rate), samples.size)
    step = max(1, min(window, max(window // 4, samples.size // _COLUMNS)))
    spectrum = stft(samples, nperseg=window, noverlap=window - step, padded=True)[2]
    return 20 * np.log10(np.maximum(2 * np.abs(spectrum), 1e-10))


def palette_png(shades: NDArray[np.uint8]) -> bytes:
    """A PNG image, from the palette of the spectrogram.

    Args:
        shades: Shape `(rows, columns)`, from 0 to 63.
    """
    rows, columns = shades.shape
    anchors = np.array(_COLOURS, dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, _SHADES)
    palette = np.stack([np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    # Every row starts with the number of its filter, here none.
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), shades], axis=1)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", np.rint(palette).astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def clip_svg(samples: NDArray[np.floating], sampling_rate: int, peak: float, title: str) -> str:
    """Waveform above spectrogram over one time axis.

    Args:
        samples: Shape `(time,)`.
        sampling_rate: In Hz.
        peak: Amplitude at which the waveform fills its height, the same for all clips to be compared.
        title: For those who cannot see it; already escaped.
    """
    width = _WIDTH - _LEFT - _RIGHT
    image = base64.b64encode(palette_png(_shades(spectrogram_db(samples, sampling_rate)))).decode()
    bottom = _IMAGE_TOP + _IMAGE_HEIGHT
    duration_s = samples.size / sampling_rate
    parts = [
        f'<svg class="clip" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">',
        f'<path class="wave" d="{_wave_path(samples, peak, width)}"/>',
        f'<image x="{_LEFT}" y="{_IMAGE_TOP}" width="{width}" height="{_IMAGE_HEIGHT}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{image}"/>',
        f'<text x="{_LEFT - 6}" y="{_WAVE_HEIGHT / 2 + 4}" text-anchor="end">wave</text>',
    ]
    for kilohertz in _ticks(sampling_rate / 2000, 4):
        y = bottom - kilohertz / (sampling_rate / 2000) * _IMAGE_HEIGHT
        unit = " kHz" if kilohertz == 0 else ""
        parts.append(f'<path class="axis" d="M{_LEFT - 4} {y:.1f}h4"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{kilohertz:g}{unit}</text>')
    for second in _ticks(duration_s, 8):
        x = _LEFT + second / duration_s * width
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
        if x < _LEFT + width - 20:
            parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{second:g}</text>')
    parts.append(f'<text x="{_LEFT + width}" y="{bottom + 17}" text-anchor="end">s</text>')
    return "".join([*parts, "</svg>"])


def colour_bar_svg() -> str:
    """Legend of the spectrogram."""
    image = base64.b64encode(palette_png(np.arange(_SHADES, dtype=np.uint8)[np.newaxis])).decode()
    labels = [
        f'<text x="{60 + 180 * (level - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB):.0f}" y="30" text-anchor="middle">'
        f"{level:g}</text>"
        for level in np.arange(LOWEST_DB, HIGHEST_DB + 1, 20)
    ]
    return (
        '<svg class="bar" viewBox="0 0 300 36" role="img" aria-label="colours of the spectrogram in dB">'
        '<image x="60" y="4" width="180" height="12" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{image}"/>{"".join(labels)}<text x="262" y="30">dB</text></svg>'
    )


def _shades(levels_db: NDArray[np.float64]) -> NDArray[np.uint8]:
    share = (levels_db - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB)
    return np.flipud(np.clip(share * _SHADES, 0, _SHADES - 1).astype(np.uint8))


def _wave_path(samples: NDArray[np.floating], peak: float, width: float) -> str:
    """A closed line around the highest and the lowest samples of each column."""
    columns = np.array_split(samples, min(_COLUMNS, samples.size))
    x = _LEFT + np.linspace(0, width, len(columns))
    middle, scale = _WAVE_HEIGHT / 2, (_WAVE_HEIGHT / 2 - 1) / max(peak, 1e-9)
    upper = [middle - float(column.max()) * scale - 0.3 for column in columns]
    lower = [middle - float(column.min()) * scale + 0.3 for column in columns]
    points = [*zip(x, upper, strict=True), *reversed(list(zip(x, lower, strict=True)))]
    return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points) + "Z"


def _ticks(highest: float, most: int) -> list[float]:
    """Round values from 0 to `highest`, at most about `most`."""
    magnitude = 10 ** np.floor(np.log10(highest / most))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if highest / (factor * magnitude) <= most)
    return [float(round(index * step, 6)) for index in range(int(highest / step + 1e-9) + 1)]
