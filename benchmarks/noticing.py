"""How often listeners notice so many JNDs: the curve of `jsqa_hf.jnd_scale`, from the answers of PerceptualAudio.

    python benchmarks/noticing.py --human_jnd human_jnd --output docs/results/noticing.json

The JND is the 3 dB of the SNR; the answers are those about noise that is clearly audible, as in `verify_jnd.py`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from listeners import listener_curves
from scipy.special import xlogy

from jsqa_hf.jnd.psychometric import fit_psychometric_curve
from jsqa_hf.jnd.thresholds import SNR_THRESHOLD
from jsqa_hf.training import run_script, write_metrics


def main() -> None:
    """Fit the curve over JNDs and over their logarithm, and write both with their likelihoods."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--human_jnd", required=True, help="folder with the label files of PerceptualAudio")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    answers = listener_curves(args.human_jnd)
    guess = float(np.mean(answers["noise, same clips twice"][1]))
    changes, different = (np.array(values, dtype=float) for values in answers["noise"])
    jnds = changes / SNR_THRESHOLD.just_noticeable
    results = {"answers": len(jnds), "guess": guess}
    for name, axis in (("logistic", jnds), ("log-logistic", np.log(jnds))):
        curve = fit_psychometric_curve(axis, different, guess=guess)
        shares = curve.probability(axis)
        likelihood = float(np.mean(xlogy(different, shares) + xlogy(1 - different, 1 - shares)))
        results[name] = {**asdict(curve), "mean log likelihood": likelihood}
        if name == "log-logistic":
            results["half_noticed_jnds"] = float(np.exp(curve.centre))
            results["slope"] = 1 / curve.width
            # Among the answers that are no guesses.
            results["lapse"] = curve.lapse / (1 - guess)
    write_metrics(args.output, results)


if __name__ == "__main__":
    sys.exit(run_script(main))
