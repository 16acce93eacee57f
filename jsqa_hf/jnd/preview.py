"""A few ladders to listen to and to look at: WAV files, and a page for the browser that needs no network."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import soundfile
from numpy.typing import NDArray

from ..clip_plot import clip_svg, colour_bar_svg
from .distortions import registered_distortions
from .preview_style import STYLE

PAGE_NAME = "index.html"

# What plays on would hide the difference to the next clip.
_ONE_AT_A_TIME = """document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);"""


class PreviewClip(NamedTuple):
    """One clip of a ladder.

    Attributes:
        file: Name of its WAV file.
        samples: Shape `(time,)`.
        severity, position: Its severity, in the unit of the ladder and as a position on the axis of JNDs.
        snr_db: Its SNR in dB; None without noise.
        level_dbov: Its level.
    """

    file: str
    samples: NDArray[np.float64]
    severity: float
    position: float
    snr_db: float | None
    level_dbov: float


def write_preview(pairs: datasets.Dataset, folder: Path, count: int) -> Path:
    """Write the clips of some ladders as WAV files, and a page about them.

    Args:
        pairs: Rows as `JNDPairGenerator` makes them.
        folder: New folder for `index.html` and the WAV files beside it.
        count: Number of ladders, spread evenly over the distortions; fewer if there are not so many.

    Returns:
        Path of the page.
    """
    folder.mkdir(parents=True)
    sections = []
    for number, index in enumerate(choose_ladders(pairs["distortion"][:], count), start=1):
        row = pairs[index]
        levels = _levels(row, f"ladder{number:03d}")
        for clip in (clip for level in levels for clip in level):
            soundfile.write(folder / clip.file, clip.samples, row["sampling_rate"], subtype="PCM_16")
        sections.append(ladder_section(row, levels, number))
    page = folder / PAGE_NAME
    page.write_text(_page(pairs, sections), encoding="utf-8")
    return page


def choose_ladders(distortions: Sequence[str], count: int) -> list[int]:
    """Indices of `count` rows, as evenly as possible over the distortions and within each over its rows.

    Args:
        distortions: Name of the distortion of each row.
        count: At most so many.

    Returns:
        Indices, grouped by distortion.
    """
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(distortions):
        rows.setdefault(name, []).append(index)
    shares = dict.fromkeys(sorted(rows), 0)
    left = min(count, len(distortions))
    while left:
        for name in shares:
            if left and shares[name] < len(rows[name]):
                shares[name] += 1
                left -= 1
    chosen = []
    for name, share in shares.items():
        places = (np.arange(share) + 0.5) * len(rows[name]) / max(share, 1)
        chosen += [rows[name][int(place)] for place in places]
    return chosen


def ladder_section(row: Mapping[str, Any], levels: Sequence[Sequence[PreviewClip]], number: int) -> str:
    """HTML of one ladder: an axis of its severities, a table of its clips and where they come from.

    Args:
        row: As `JNDPairGenerator` makes it; any of its texts may hold markup.
        levels: Its clips in pairs, from the mildest to the worst.
        number: For the heading, and for those who cannot see which ladder a clip is of.
    """
    facts = {
        "speech": f"{row['speech_id']} from {row['speech_offset_s']:.2f} s, {row['duration_s']:.2f} s",
        "speaker": row["speaker_id"],
        "noise": row["noise_id"] and f"{row['noise_id']} ({row['noise_type']}) from {row['noise_offset_s']:.2f} s",
        "seed": f"{row['seed']}, epoch {row['epoch']}, repetition {row['repetition']}",
    }
    described = "".join(f"<dt>{name}</dt><dd>{_escaped(fact)}</dd>" for name, fact in facts.items() if fact)
    chain = f" in {_escaped(row['chain'])}" if row["chain"] != row["distortion"] else ""
    provenance = json.dumps(json.loads(row["provenance"]), indent=2)
    return (
        f'<section id="ladder{number}"><h2>{number}. {_escaped(row["distortion"])}<small>{chain}</small></h2>'
        f"<dl>{described}</dl>{_axis(levels, row['severity_unit'])}"
        "<table><thead><tr><th>clip</th><th>waveform and spectrogram</th></tr></thead>"
        f"{_bodies(row, levels, number)}</table>"
        f"<details><summary>provenance</summary><pre>{_escaped(provenance)}</pre></details></section>"
    )


def _levels(row: Mapping[str, Any], prefix: str) -> list[list[PreviewClip]]:
    """Clips in pairs, from the mildest to the worst."""
    snrs_db = row["snr_db"] or [None] * len(row["clips"])
    clips = [
        PreviewClip("", _samples(clip), *values)
        for clip, *values in zip(
            row["clips"], row["severity"], row["severity_jnd"], snrs_db, row["level_dbov"], strict=True
        )
    ]
    pairs = [sorted(clips[start : start + 2], key=lambda clip: -clip.position) for start in range(0, len(clips), 2)]
    pairs.sort(key=lambda pair: -pair[0].position)
    return [
        [clip._replace(file=f"{prefix}_level{level}{letter}.wav") for letter, clip in zip("ab", pair, strict=True)]
        for level, pair in enumerate(pairs, start=1)
    ]


def _samples(clip: Any) -> NDArray[np.float64]:
    if isinstance(clip, Mapping):
        return soundfile.read(io.BytesIO(clip["bytes"]), dtype="float64")[0]
    return np.asarray(clip, dtype=np.float64)


def _bodies(row: Mapping[str, Any], levels: Sequence[Sequence[PreviewClip]], ladder: int) -> str:
    peak = max(float(np.abs(clip.samples).max()) for level in levels for clip in level)
    known = registered_distortions().get(row["distortion"])
    quantity = "severity" if known is None else known.threshold.quantity
    bodies = []
    for number, level in enumerate(levels, start=1):
        text = f"Level {number}: a pair, {_gap(level[0], level[1]):.2f} JND apart"
        if number > 1:
            apart = _gap(levels[number - 2][1], level[0])
            text += f"; clearly different from level {number - 1}, {apart:.1f} JND away"
        rows = [f'<tr><th colspan="2" scope="rowgroup">{text}</th></tr>']
        for letter, clip in zip("ab", level, strict=True):
            name, label = f"{number}{letter}", f"ladder {ladder}, clip {number}{letter}"
            snr = "" if clip.snr_db is None or quantity == "SNR" else f"<br>SNR {_number(clip.snr_db)} dB"
            rows.append(
                f"<tr><td><b>{name}</b> {quantity} {_number(clip.severity)} {_escaped(row['severity_unit'])}{snr}"
                f"<br>level {clip.level_dbov:.1f} dBov"
                f'<audio controls preload="none" aria-label="{label}" src="{_escaped(clip.file)}"></audio></td>'
                f"<td>{clip_svg(clip.samples, row['sampling_rate'], peak, label)}</td></tr>"
            )
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    return "".join(bodies)


def _axis(levels: Sequence[Sequence[PreviewClip]], unit: str) -> str:
    """The severities on an axis of JNDs, from mild to bad."""
    positions = [clip.position for level in levels for clip in level]
    # From the mildest to the worst clip, whatever the direction of the severity.
    start, span = positions[0], (positions[-1] - positions[0]) or 1.0

    def place(clip: PreviewClip) -> float:
        return 70 + 500 * (clip.position - start) / span

    parts = ['<path class="axis" d="M60 24h520"/>', '<text x="0" y="28">milder</text>']
    parts.append('<text x="640" y="28" text-anchor="end">worse</text>')
    for level in levels:
        first, second = place(level[0]), place(level[1])
        parts.append(
            f'<rect class="pair" x="{first - 7:.1f}" y="15" width="{second - first + 14:.1f}" height="18" rx="9"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="24" r="3.5"/>' for x in (first, second)]
        middle = float(np.mean([clip.severity for clip in level]))
        label = f"{_number(middle)} {_escaped(unit)}"
        parts.append(f'<text x="{(first + second) / 2:.1f}" y="50" text-anchor="middle">{label}</text>')
    for upper, lower in zip(levels, levels[1:], strict=False):
        x = (place(upper[1]) + place(lower[0])) / 2
        parts.append(f'<text x="{x:.1f}" y="12" text-anchor="middle">{_gap(upper[1], lower[0]):.1f} JND</text>')
    label = "severities on an axis of just-noticeable differences"
    return f'<svg class="ladder" viewBox="0 -6 640 64" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _page(pairs: datasets.Dataset, sections: Sequence[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>JND pairs</title>'
        f"<style>{STYLE}</style></head><body><main><h1>JND pairs</h1>"
        f"<p>{len(sections)} of {len(pairs)} ladders. The two clips of a level differ by at most one just-noticeable "
        "difference (JND), so they count as equal in quality; those of different levels differ clearly. "
        f"Spectrograms in dB, 0 dB being a sine at full scale:</p>{colour_bar_svg()}"
        f"{''.join(sections)}</main><script>{_ONE_AT_A_TIME}</script></body></html>\n"
    )


def _gap(first: PreviewClip, second: PreviewClip) -> float:
    return abs(second.position - first.position)


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _escaped(text: Any) -> str:
    return html.escape(str(text))
