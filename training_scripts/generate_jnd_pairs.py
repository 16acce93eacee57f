"""Generate JND pairs of clean speech, and save them as a dataset: `jsqa pairs` as a script.

    python training_scripts/generate_jnd_pairs.py --speech LibriSpeech/train-clean-100 --noise DEMAND \\
        --output_dir pairs --duration_s 10 --repetitions 4 --num_proc 8

Options can also come from a YAML file as first argument; the command line overrides it. The result is read by
`datasets.load_from_disk` and by `pretrain_contrastive.py`. Its columns are those of `jsqa_hf.jnd.JNDPairGenerator`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jsqa_hf.cli_pairs import one_line
from jsqa_hf.jnd.generation import generate_pairs
from jsqa_hf.pair_options import PairOptions
from jsqa_hf.training import parse_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Generate and save the pairs; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    (options,) = parse_arguments((PairOptions,), words)
    made = generate_pairs(options, ["python", "training_scripts/generate_jnd_pairs.py", *words])
    for line in [*made.notes, *(f"left out: {reason}" for reason in dict.fromkeys(made.skipped.values()))]:
        print(line, file=sys.stderr)
    print(f"{made.folder}: {made.summary}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"generate_jnd_pairs.py: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit("generate_jnd_pairs.py: interrupted")
