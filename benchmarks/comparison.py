"""How far comparisons can be trusted, on clips of talkers that neither model was trained on.

    python benchmarks/comparison.py > docs/results/comparison.json

Takes the data in `examples/data` and the models of the package, and prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys

import numpy as np
from rated_sets import DATA, SAMPLING_RATE, held_out, read_clip

from jsqa_hf.comparison import Comparer, Comparison, load_comparer
from jsqa_hf.training import run_script

BANDS = ((0.5, 0.75), (0.75, 0.95), (0.95, 1.0))
DELAYS_MS = (0.0625, 1, 10, 20, 100, 500)


def of_inaudible_changes(comparer: Comparer) -> dict[str, float]:
    """Median JNDs between the clean speech of each held-out speaker and itself, begun later or with the other sign."""
    clips = [read_clip(DATA / "speech" / row["file"]) for row in held_out("speech/speech.csv")]
    pairs = {
        f"begun {delay:g} ms later": [(clip, clip[round(delay / 1000 * SAMPLING_RATE) :]) for clip in clips]
        for delay in DELAYS_MS
    }
    pairs["of the other sign"] = [(clip, -clip) for clip in clips]
    return {
        change: round(float(np.median([comparer.compare(*pair).jnds for pair in of_change])), 2)
        for change, of_change in pairs.items()
    }


def main() -> None:
    """Compare all pairs of clips of a talker, and all pairs of the two talkers in the same condition."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    clips = held_out("p835/ratings.csv")
    comparer = load_comparer(device="cpu")
    same_talker: list[tuple[Comparison, float]] = []
    same_condition: list[float] = []
    for a, b in itertools.combinations(clips, 2):
        if a["talker"] != b["talker"] and a["condition"] != b["condition"]:
            continue
        result = comparer.compare(DATA / "p835" / a["file"], DATA / "p835" / b["file"])
        if a["talker"] == b["talker"]:
            same_talker.append((result, float(a["mos"]) - float(b["mos"])))
        else:
            same_condition.append(result.jnds)
    # Panels that rate both alike say nothing of which is better.
    told = [(result, difference) for result, difference in same_talker if difference]
    confidence = np.array([result.better_confidence for result, _ in told])
    right = np.array([(result.better == "a") == (difference > 0) for result, difference in told])
    bands = [(low, high, (confidence >= low) & (confidence < high if high < 1 else True)) for low, high in BANDS]
    print(
        json.dumps(
            {
                "clips": len(clips),
                "better": [
                    {
                        "confidence": [low, high],
                        "pairs": int(chosen.sum()),
                        "mean_confidence": round(float(confidence[chosen].mean()), 3),
                        "right": round(float(right[chosen].mean()), 3),
                    }
                    for low, high, chosen in [*bands, (0.5, 1.0, confidence > 0)]
                ],
                "median_jnds": {
                    "same talker, other condition": round(
                        float(np.median([result.jnds for result, _ in same_talker])), 2
                    ),
                    "other talker, same condition": round(float(np.median(same_condition)), 2),
                    **of_inaudible_changes(comparer),
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
