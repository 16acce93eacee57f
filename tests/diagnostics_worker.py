"""Diagnostics as one of several processes; see `test_diagnostics`.

python -m torch.distributed.run --nproc-per-node 2 tests/diagnostics_worker.py OUTPUT PROCESSES
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from ladders import ladder_rows
from small import small_config
from torch import distributed
from transformers import TrainingArguments

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.training import ContrastiveDiagnostics


def main(output: Path, processes: int) -> None:
    """Write what this process got; fails if there are not as many processes as there should be."""
    args = TrainingArguments(
        output_dir=str(output), per_device_eval_batch_size=2, use_cpu=True, report_to="none", ddp_backend="gloo"
    )
    assert args.world_size == processes == distributed.get_world_size()
    torch.manual_seed(0)
    model = JSQAForContrastivePretraining(small_config())
    # An odd number, which two processes can't share evenly.
    diagnostics = ContrastiveDiagnostics(ladder_rows(7, levels=3, speakers=2, clips=True), JSQAFeatureExtractor())
    metrics = diagnostics(model, args, 1)
    result = {"metrics": metrics, "calibration": model.config.jnd_calibration}
    output.mkdir(parents=True, exist_ok=True)
    (output / f"rank-{args.process_index}.json").write_text(json.dumps(result), encoding="utf-8")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
