"""What the training scripts share: arguments, collators, and the runs of both stages."""

from __future__ import annotations

from .arguments import RunArguments, parse_arguments
from .calibration import calibrate_model
from .collators import ContrastiveCollator, repeat_with_index
from .contrastive import ContrastiveTrainer
from .diagnostics import ContrastiveDiagnostics
from .head_start import fit_head
from .hub import prepare_push
from .hub_trainer import HubTrainer
from .interval_width import widen_intervals
from .lengths import with_lengths
from .mos import HeadFirst, MOSTrainer
from .mos_collators import LadderedMOSCollator, MOSCollator
from .rated_clips import check_rated, corpus_names, load_rated_clips, on_scale, rating_scales, refuse_clips_of_both
from .run_card import CardArguments
from .runs import compute_mos_metrics, run_script, run_training, write_metrics
from .streaming import load_pairs
from .votes import with_vote_weights

__all__ = [
    "CardArguments",
    "ContrastiveCollator",
    "ContrastiveDiagnostics",
    "ContrastiveTrainer",
    "HeadFirst",
    "HubTrainer",
    "LadderedMOSCollator",
    "MOSCollator",
    "MOSTrainer",
    "RunArguments",
    "calibrate_model",
    "check_rated",
    "compute_mos_metrics",
    "corpus_names",
    "fit_head",
    "load_pairs",
    "load_rated_clips",
    "on_scale",
    "parse_arguments",
    "prepare_push",
    "rating_scales",
    "refuse_clips_of_both",
    "repeat_with_index",
    "run_script",
    "run_training",
    "widen_intervals",
    "with_lengths",
    "with_vote_weights",
    "write_metrics",
]
