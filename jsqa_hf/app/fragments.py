"""The parts of the page as HTML. All text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ..clip_plot import clip_svg, colour_bar_svg
from ..report.curve_plot import curve_svg
from ..scoring import FileScore
from .limits import Clip

if TYPE_CHECKING:
    from ..comparison import Comparison

__all__ = ["CSS", "comparison_html", "hint_html", "plots_html", "problem_html", "score_html", "word_for"]

# Absolute category rating of ITU-T P.800.
_WORDS = ("bad", "poor", "fair", "good", "excellent")

CSS = """
.jsqa-cards { display: flex; flex-wrap: wrap; gap: 1rem; }
.jsqa-card { flex: 1 1 14rem; padding: 1rem; border: 1px solid var(--border-color-primary); border-radius: 8px;
  background: var(--block-background-fill); color: var(--body-text-color); overflow-wrap: anywhere; }
.jsqa-value { font-size: 2.4rem; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; }
.jsqa-value small { font-size: 1rem; font-weight: 400; }
.jsqa-note { font-size: 0.9rem; opacity: 0.8; }
.jsqa-problem { border-color: #b91c1c; border-left-width: 6px; }
.jsqa-plot svg { display: block; width: 100%; height: auto; overflow: visible; }
.jsqa-plot text { font-size: 12px; fill: var(--body-text-color); }
.jsqa-plot .wave { fill: var(--body-text-color); fill-opacity: 0.7; }
.jsqa-plot .axis, .jsqa-plot .grid { stroke: var(--body-text-color); stroke-opacity: 0.6; fill: none; }
.jsqa-plot .grid { stroke-opacity: 0.25; }
.jsqa-plot .band { fill: var(--color-accent); fill-opacity: 0.25; }
.jsqa-plot .line { stroke: var(--color-accent); stroke-width: 2.5; fill: none; }
.jsqa-plot .whole { stroke: var(--body-text-color); stroke-dasharray: 4 4; fill: none; }
.jsqa-plot svg.bar { max-width: 300px; }
@media (max-width: 600px) { .jsqa-plot text { font-size: 18px; } .jsqa-plot .bar text { font-size: 12px; } }
"""


def word_for(mos: float, scale: tuple[float, float]) -> str:
    """The word that listeners choose for such a score, empty on another scale than 1 to 5.

    Args:
        mos: On the model's scale.
        scale: Its ends.
    """
    return _WORDS[min(max(int(mos + 0.5), 1), 5) - 1] if tuple(scale) == (1, 5) else ""


def hint_html(text: str) -> str:
    """What to do next.

    Args:
        text: Plain text.
    """
    return f'<div class="jsqa-card jsqa-note">{escape(text)}</div>'


def problem_html(name: str, reason: str) -> str:
    """A clip that can't be rated.

    Args:
        name: Of the file.
        reason: Plain text.
    """
    return f'<div class="jsqa-card jsqa-problem" role="alert"><strong>{escape(name)}</strong> {escape(reason)}</div>'


def score_html(name: str, score: FileScore, scale: tuple[float, float]) -> str:
    """The score of a clip.

    Args:
        name: Of the file.
        score: With `scores`.
        scale: Ends of the rating scale.
    """
    return f'<div class="jsqa-cards">{_mos_card(name, score.scores, scale, score.duration_s or 0.0)}</div>'


def plots_html(
    name: str, score: FileScore, clip: Clip, curve: Sequence[dict[str, Any]] | None, scale: tuple[float, float]
) -> str:
    """Quality over time above waveform and spectrogram, on the same time axis.

    Args:
        name: Of the file.
        score: With `scores`.
        clip: What is drawn.
        curve: As in `FileScore`, None where there is none.
        scale: Ends of the rating scale.
    """
    parts = []
    if curve:
        parts.append("<h3>Quality over time</h3>")
        parts.append(curve_svg(curve, clip.duration_s, scale, score.scores["mos"]))
    peak = float(np.abs(clip.samples).max())
    parts.append("<h3>Sound</h3>")
    parts.append(clip_svg(clip.samples, clip.sampling_rate, peak, f"Waveform and spectrogram of {escape(name)}"))
    return f'<div class="jsqa-plot">{"".join(parts)}{colour_bar_svg()}</div>'


def _mos_card(name: str, scores: dict[str, float], scale: tuple[float, float], duration_s: float) -> str:
    further = [key for key in scores if key != "mos" and f"{key}_low" in scores]
    rows = "".join(f"<div>{escape(key)}: {_with_interval(scores, key)}</div>" for key in further)
    return (
        f'<div class="jsqa-card"><div>{escape(name)}</div>'
        f'<div class="jsqa-value">{scores["mos"]:.2f} <small>{_unit(scores["mos"], scale)}</small></div>'
        f'<div class="jsqa-note">95 % interval {scores["mos_low"]:.2f} to {scores["mos_high"]:.2f}, on a scale from '
        f"{scale[0]:g} to {scale[1]:g}; {duration_s:.1f} s of sound</div>{rows}</div>"
    )


def _with_interval(scores: dict[str, float], key: str) -> str:
    return f"{scores[key]:.2f} ({scores[f'{key}_low']:.2f} to {scores[f'{key}_high']:.2f})"


def comparison_html(comparison: Comparison, names: tuple[str, str], scale: tuple[float, float]) -> str:
    """How far two clips are apart, and which is better.

    Args:
        comparison: Of `jsqa_hf.comparison.compare`.
        names: Of the files.
        scale: Ends of the rating scale.
    """
    confidence = f"{comparison.better_confidence:.0%}"
    better = f"{comparison.better.upper()} sounds better, with a confidence of {confidence}."
    if confidence == "50%":
        better = "Neither sounds better."
    # Beyond the scale both numbers are lower limits, and nothing is known of how far off they are.
    at_least, share = ("at least ", "At least") if comparison.beyond_scale else ("", "About")
    known_error = comparison.jnds_error is not None and not comparison.beyond_scale
    error = f", give or take {comparison.jnds_error:.1f}" if known_error else ""
    note = (
        "Less than one just-noticeable difference (JND)" if comparison.below_one_jnd else "Just-noticeable differences"
    )
    return (
        '<div class="jsqa-cards"><div class="jsqa-card">'
        f'<div class="jsqa-value"><small>{at_least}</small>{comparison.jnds:.1f} <small>JND apart</small></div>'
        f'<div class="jsqa-note">{note}{error}</div>'
        f"<div>{share} {comparison.probability_noticed:.0%} of listeners would notice a difference.</div>"
        f"<div>{better}</div></div>"
        f"{_side('A', names[0], comparison.mos_a, scale)}{_side('B', names[1], comparison.mos_b, scale)}</div>"
    )


def _side(letter: str, name: str, mos: float, scale: tuple[float, float]) -> str:
    return (
        f'<div class="jsqa-card"><div>{letter}: {escape(name)}</div>'
        f'<div class="jsqa-value">{mos:.2f} <small>{_unit(mos, scale)}</small></div></div>'
    )


def _unit(mos: float, scale: tuple[float, float]) -> str:
    word = word_for(mos, scale)
    return f"MOS, {word}" if word else "MOS"
