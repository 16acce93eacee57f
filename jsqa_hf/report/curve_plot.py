"""Quality over time as SVG, on the time axis of the waveform and spectrogram below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The geometry of `jsqa_hf.clip_plot`, so that the time axes of a file that is shown as a whole lie on each other.
_WIDTH, _LEFT, _RIGHT = 640, 68, 8
_TOP, _HEIGHT = 6, 84


def curve_svg(
    curve: Sequence[Mapping[str, Any]],
    duration_s: float,
    scale: tuple[float, float],
    mos: float,
    excerpt: tuple[float, float] | None = None,
) -> str:
    """Steps of predicted quality with their intervals.

    Args:
        curve: as in `FileScore`; gaps are left where `mos` is None.
        duration_s: length of the time axis in seconds.
        scale: ends of the rating scale.
        mos: of the whole file, drawn as a dashed line.
        excerpt: stretch that is marked, in seconds. The picture then has a time axis of its own.
    """
    height = _HEIGHT + (12 if excerpt is None else 28)
    parts = [f'<svg class="curve" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{describe(curve)}">']
    if excerpt is not None:
        for time_s, anchor in ((0.0, "start"), (duration_s, "end")):
            x, label = _x(time_s, duration_s), f"{time_s:.1f} s" if time_s else "0"
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT + 17}" text-anchor="{anchor}">{label}</text>')
        left, right = _x(excerpt[0], duration_s), _x(excerpt[1], duration_s)
        parts.append(
            f'<rect class="marked" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{_HEIGHT - _TOP}"/>'
        )
    for value in range(round(scale[0]), round(scale[1]) + 1):
        y = _y(value, scale)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        unit = "MOS " if value == round(scale[1]) else ""
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{unit}{value}</text>')
    rated = [step for step in curve if step["mos"] is not None]
    bands = [_band(step, duration_s, scale) for step in rated if step.get("mos_low") is not None]
    y = _y(mos, scale)
    parts.append(f'<path class="band" d="{"".join(bands)}"/>')
    parts.append(f'<path class="whole" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
    parts.append(f'<path class="line" d="{_line(rated, duration_s, scale)}"/></svg>')
    return "".join(parts)


def describe(curve: Sequence[Mapping[str, Any]]) -> str:
    """The curve in words, for those who can't see it."""
    rated = [step for step in curve if step["mos"] is not None]
    if not rated:
        return "Quality over time: nothing to rate"
    lowest, highest = (choose(rated, key=lambda step: step["mos"]) for choose in (min, max))
    return (
        f"Quality over time: lowest MOS {lowest['mos']:.2f} from {lowest['start_s']:.1f} to {lowest['end_s']:.1f} s, "
        f"highest {highest['mos']:.2f} from {highest['start_s']:.1f} to {highest['end_s']:.1f} s"
    )


def _x(time_s: float, duration_s: float) -> float:
    return _LEFT + min(max(time_s / duration_s, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, scale: tuple[float, float]) -> float:
    share = (value - scale[0]) / (scale[1] - scale[0])
    return _HEIGHT - min(max(share, 0.0), 1.0) * (_HEIGHT - _TOP)


def _band(step: Mapping[str, Any], duration_s: float, scale: tuple[float, float]) -> str:
    left, right = _x(step["start_s"], duration_s), _x(step["end_s"], duration_s)
    low, high = _y(step["mos_low"], scale), _y(step["mos_high"], scale)
    return f"M{left:.1f} {high:.1f}H{right:.1f}V{low:.1f}H{left:.1f}Z"


def _line(rated: Sequence[Mapping[str, Any]], duration_s: float, scale: tuple[float, float]) -> str:
    parts, end_s = [], None
    for step in rated:
        left, right, y = _x(step["start_s"], duration_s), _x(step["end_s"], duration_s), _y(step["mos"], scale)
        parts.append(f"V{y:.1f}H{right:.1f}" if step["start_s"] == end_s else f"M{left:.1f} {y:.1f}H{right:.1f}")
        end_s = step["end_s"]
    return "".join(parts)
