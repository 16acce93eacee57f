"""What the training scripts share: arguments, collators, and the runs of both stages."""

from __future__ import annotations

from .arguments import RunArguments, parse_arguments
from .collators import ContrastiveCollator, MOSCollator, repeat_with_index
from .contrastive import ContrastiveTrainer
from .runs import compute_mos_metrics, run_script, run_training, write_metrics
from .streaming import load_pairs

__all__ = [
    "ContrastiveCollator",
    "ContrastiveTrainer",
    "MOSCollator",
    "RunArguments",
    "compute_mos_metrics",
    "load_pairs",
    "parse_arguments",
    "repeat_with_index",
    "run_script",
    "run_training",
    "write_metrics",
]
