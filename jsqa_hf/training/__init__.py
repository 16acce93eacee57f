"""What the training scripts share: arguments, collators, and the runs of both stages."""

from __future__ import annotations

from .arguments import RunArguments, parse_arguments
from .collators import ContrastiveCollator, MOSCollator, repeat_with_index
from .runs import compute_mos_metrics, run_script, run_training, write_metrics

__all__ = [
    "ContrastiveCollator",
    "MOSCollator",
    "RunArguments",
    "compute_mos_metrics",
    "parse_arguments",
    "repeat_with_index",
    "run_script",
    "run_training",
    "write_metrics",
]
