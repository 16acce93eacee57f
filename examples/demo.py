"""Both stages of JSQA on the data that ships with the repository, in minutes on two CPU cores.

    python examples/demo.py            # about 3 minutes
    python examples/demo.py --fast     # a check that everything runs, about a minute

Makes JND pairs, pretrains on them, fine-tunes on human ratings, trains the same network from scratch beside it,
compares both on talkers that neither has heard, and scores sample files with the model that comes with the package.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from datetime import datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "examples" / "data"
CONFIGS = REPOSITORY / "training_scripts" / "configs" / "demo"
sys.path.insert(0, str(REPOSITORY / "training_scripts"))

METRICS = ("rmse", "mae", "pcc", "srcc")
SAMPLES = ("c0_f3", "c9_m3", "c8_f3", "c7_m3", "c6_f3", "c2_m3")


def heading(text: str) -> None:
    """Print a step of the demo."""
    print(f"\n== {text}", flush=True)


def make_pairs(folder: Path, fast: bool) -> Path:
    """JND pairs of every training utterance, saved as a dataset."""
    import generate_jnd_pairs

    generate_jnd_pairs.main(
        [
            str(CONFIGS / "pairs.yaml"),
            f"--speech={DATA / 'speech' / 'speech.csv'}",
            f"--noise={DATA / 'noise' / 'noise.csv'}",
            f"--output_dir={folder}",
            *(["--limit=8", "--repetitions=1"] if fast else []),
        ]
    )
    return folder


def pretrain(pairs: Path, folder: Path, fast: bool) -> dict[str, float]:
    """Stage 1, evaluated on held-out speakers in held-out noise."""
    import pretrain_contrastive

    return pretrain_contrastive.main(
        [
            str(CONFIGS / "pretrain.yaml"),
            f"--pairs={pairs}",
            f"--eval_speech={DATA / 'speech' / 'speech.csv'}",
            "--eval_speech_split=test",
            f"--eval_noise={DATA / 'noise' / 'noise.csv'}",
            "--eval_noise_split=test",
            f"--output_dir={folder}",
            *(["--max_steps=2", "--eval_ladders=4"] if fast else []),
        ]
    )


def finetune(pretrained: Path, folder: Path, fast: bool, from_scratch: bool) -> dict[str, float]:
    """Stage 2 on four talkers, evaluated on two others. From scratch it differs in nothing but the weights."""
    import finetune_mos

    return finetune_mos.main(
        [
            str(CONFIGS / "finetune.yaml"),
            f"--model={pretrained}",
            f"--from_scratch={from_scratch}",
            f"--ratings={DATA / 'p835' / 'ratings.csv'}",
            "--split=train",
            "--eval_split=test",
            f"--output_dir={folder}",
            *(["--max_steps=2"] if fast else []),
        ]
    )


def print_comparison(scratch: dict[str, float], pretrained: dict[str, float], fast: bool) -> None:
    """The table of the paper: error and correlation on unheard talkers, and what it shows."""
    print(f"{'':<16}" + "".join(f"{name.upper():>8}" for name in METRICS))
    for label, metrics in (("from scratch", scratch), ("JND-pretrained", pretrained)):
        print(f"{label:<16}" + "".join(f"{metrics[f'eval_{name}']:>8.3f}" for name in METRICS))
    if fast:
        print("\nWhat this shows: that everything runs. After two steps the numbers mean nothing.")
        return
    changes = [100 * (pretrained[f"eval_{name}"] / scratch[f"eval_{name}"] - 1) for name in METRICS]
    print(f"{'change':<16}" + "".join(f"{change:>+7.0f}%" for change in changes))
    print(
        "\nWhat this shows: that both stages run and learn. What it cannot show: what pretraining is worth. One seed,"
        "\nminutes of training instead of days, and a test on the very kinds of noise that stage 2 was trained on,"
        "\nso that either may be ahead. docs/results/study/claim.md has the comparison over five seeds."
    )


def score_samples() -> None:
    """Ratings of people and of the model that comes with the package, for talkers it was not trained on."""
    from transformers import pipeline

    from jsqa_hf import DEFAULT_CHECKPOINT

    with open(DATA / "p835" / "ratings.csv", newline="", encoding="utf-8") as file:
        ratings = {Path(row["file"]).stem: row for row in csv.DictReader(file)}
    rate = pipeline("speech-quality-assessment", model=str(DEFAULT_CHECKPOINT))
    print(f"{'file':<12}{'people':>8}{'model':>8}   95 % interval")
    for name in SAMPLES:
        row = ratings[name]
        result = rate(str(DATA / "p835" / row["file"]))
        interval = f"{result['mos_low']:.2f} to {result['mos_high']:.2f}"
        print(f"{name:<12}{float(row['mos']):>8.2f}{result['mos']:>8.2f}   {interval}")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a few steps of everything, to check that it runs")
    parser.add_argument("--output", type=Path, help="new folder for the results (default: runs/demo-DATE-TIME)")
    args = parser.parse_args()
    output = args.output or REPOSITORY / "runs" / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    started = time.monotonic()

    print("JSQA: loading torch and transformers ...", flush=True)
    heading("1/5  JND pairs: LibriSpeech in recorded noise, two SNRs that listeners cannot tell apart")
    pairs = make_pairs(output / "pairs", args.fast)
    heading("2/5  Stage 1: pretraining on the pairs, which clip sounds better")
    metrics = pretrain(pairs, output / "pretrained", args.fast)
    before, after = metrics["initial_eval_loss"], metrics["eval_loss"]
    print(f"Loss on unheard speakers and noise: {before:.2f} before, {after:.2f} after.")
    heading("3/5  Stage 2: fine-tuning on human ratings of four talkers")
    pretrained = finetune(output / "pretrained", output / "mos-pretrained", args.fast, from_scratch=False)
    heading("4/5  The same network, data and steps, from scratch")
    scratch = finetune(output / "pretrained", output / "mos-scratch", args.fast, from_scratch=True)
    heading("5/5  The model that comes with the package, on talkers it was not trained on")
    score_samples()

    heading("Result: 26 clips of two unheard talkers, rated by people")
    print_comparison(scratch, pretrained, args.fast)
    print(f"\nModels and metrics: {output}   ({(time.monotonic() - started) / 60:.1f} minutes)")


if __name__ == "__main__":
    main()
