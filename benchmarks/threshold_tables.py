"""Fitted thresholds as JSON and as Markdown tables. Written by `verify_jnd.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jsqa_hf.jnd import Threshold
from jsqa_hf.jnd.threshold_fit import ThresholdFit
from jsqa_hf.jnd.verification_report import finite, markdown_table


def fit_as_json(fit: ThresholdFit) -> dict[str, Any]:
    """Fitted thresholds as JSON values; null where a step does not fit into the range."""
    return finite(asdict(fit))


def fits_as_markdown(fits: Sequence[ThresholdFit]) -> str:
    """Fitted steps as a Markdown table, one line per distortion and start."""
    rows = [
        [
            fit.distortion,
            f"{step.severity:.4g} {fit.threshold.unit}".rstrip(),
            _step(step.just_noticeable, step.just_noticeable_interval, fit.threshold),
            _step(step.clearly_different, step.clearly_different_interval, fit.threshold),
        ]
        for fit in fits
        for step in fit.steps
    ]
    header = ["distortion", "from", "as large as 3 dB of SNR", "as large as 8 dB of SNR"]
    return markdown_table(header, rows) + "\n"


def suggestions_as_markdown(fits: Sequence[ThresholdFit]) -> str:
    """Steps that the distortions have and those that the judge suggests, as a Markdown table."""
    rows = [
        [
            fit.distortion,
            *(_step(step, None, fit.threshold) for step in (fit.threshold.just_noticeable, fit.just_noticeable)),
            *(_step(step, None, fit.threshold) for step in (fit.threshold.clearly_different, fit.clearly_different)),
            _knots(fit.threshold.growth),
            _knots(fit.growth),
        ]
        for fit in fits
    ]
    header = ["distortion", "JND", "JND, judge", "clear", "clear, judge", "growth", "growth, judge"]
    return markdown_table(header, rows) + "\n"


def _step(step: float, interval: tuple[float, float] | None, threshold: Threshold) -> str:
    if math.isinf(step):
        return "beyond the range"
    size = f"× {step:.3g}" if threshold.scale == "log" else f"{step:.3g} {threshold.unit}".rstrip()
    if interval is None:
        return size
    return f"{size} ({' to '.join('beyond' if math.isinf(bound) else f'{bound:.3g}' for bound in interval)})"


def _knots(growth: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{value:.4g}→{equivalent:.4g}" for value, equivalent in growth) or "none"
