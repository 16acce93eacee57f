"""How far the scale of a panel is from that of a measure that was not fitted to it, by published figures.

    python benchmarks/study/panels.py

However its scores are shifted and stretched, the squared error of a measure is at least (1 - PCC**2) times the
variance of the ratings. So each measure sets an upper limit to that variance, and what the error of another exceeds
its own share of the least limit comes from the scale. Writes `panels.json`: the root of the mean of that over tests,
for DistillMOS, which taught jsqa-tiny. It is a lower limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jsqa_hf.training import run_script, write_metrics

REPORT = Path(__file__).resolve().parents[2] / "docs" / "results" / "jsqa-tiny" / "panels.json"
MEASURE = "Distill-MOS"
# Mean squared error and PCC by utterance, from BENCHMARK.md of urgent-challenge/urgent2026_challenge_track2 at commit
# 0ef9d43. Left out: the test parts of NISQA, which this project keeps for tests; SOMOS, with which DistillMOS does not
# correlate; and NISQA on CHiME-7 UDASE, whose row is that of SOMOS.
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "URGENT 2024": {
        "Uni-VERSA-Ext, 5 metrics": (0.28, 0.78),
        "Uni-VERSA-Ext, MOS only": (0.39, 0.79),
        "SCOREQ": (0.31, 0.79),
        "Distill-MOS": (0.39, 0.76),
        "NISQA": (0.60, 0.71),
        "DNSMOS OVRL": (0.38, 0.65),
        "UTMOS": (1.04, 0.72),
    },
    "CHiME-7 UDASE": {
        "Uni-VERSA-Ext, 5 metrics": (0.71, 0.77),
        "Uni-VERSA-Ext, MOS only": (0.46, 0.77),
        "SCOREQ": (1.28, 0.75),
        "Distill-MOS": (0.85, 0.72),
        "DNSMOS OVRL": (1.34, 0.28),
        "UTMOS": (3.31, 0.26),
    },
    "Blizzard Challenge 2019": {
        "Uni-VERSA-Ext, 5 metrics": (0.43, 0.84),
        "Uni-VERSA-Ext, MOS only": (1.14, 0.78),
        "SCOREQ": (1.10, 0.69),
        "Distill-MOS": (0.30, 0.84),
        "NISQA": (1.11, 0.43),
        "DNSMOS OVRL": (0.81, 0.48),
        "UTMOS": (2.52, 0.61),
    },
    "BVCC": {
        "Uni-VERSA-Ext, 5 metrics": (0.29, 0.85),
        "Uni-VERSA-Ext, MOS only": (0.41, 0.82),
        "SCOREQ": (0.80, 0.81),
        "Distill-MOS": (0.32, 0.82),
        "NISQA": (1.36, 0.62),
        "DNSMOS OVRL": (0.69, 0.49),
        "UTMOS": (0.24, 0.88),
    },
    "TMHINT-QI": {
        "Uni-VERSA-Ext, 5 metrics": (0.37, 0.80),
        "Uni-VERSA-Ext, MOS only": (0.39, 0.80),
        "SCOREQ": (2.29, 0.62),
        "Distill-MOS": (1.25, 0.57),
        "NISQA": (3.14, 0.53),
        "DNSMOS OVRL": (2.33, 0.41),
        "UTMOS": (2.87, 0.60),
    },
}


def error_of_scale(figures: Mapping[str, tuple[float, float]], measure: str) -> float:
    """The least that a difference in scale adds to the mean squared error of a measure, in squared points.

    Args:
        figures: mean squared error and PCC of several measures on the same clips.
        measure: one of them.
    """
    most_variance = min(error / (1 - pcc**2) for error, pcc in figures.values())
    error, pcc = figures[measure]
    # Rounding may bring the measure that sets the limit below 0, of which there is no root.
    return max(0.0, error - (1 - pcc**2) * most_variance)


def main() -> None:
    """Write the differences by test, and the root of the mean of their squares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPORT, help="JSON file to write (default: %(default)s)")
    args = parser.parse_args()
    squares = {test: error_of_scale(figures, MEASURE) for test, figures in PUBLISHED.items()}
    report = {
        "measure": MEASURE,
        "by_test": {test: float(np.sqrt(square)) for test, square in squares.items()},
        "root_mean_square": float(np.sqrt(np.mean(list(squares.values())))),
    }
    write_metrics(args.output, report)
    print(*(f"{test}: {value:.2f}" for test, value in report["by_test"].items()), sep="\n")
    print(f"root mean square: {report['root_mean_square']:.2f} points")


if __name__ == "__main__":
    sys.exit(run_script(main))
