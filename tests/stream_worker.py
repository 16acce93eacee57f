"""Under torchrun: which ladders a process gets from a stream, through Trainer's own loader.

torchrun --nproc-per-node 2 stream_worker.py PAIRS OUTPUT WORKERS BATCHES
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import torch
from transformers import Trainer

from jsqa_hf.training import RunArguments, load_pairs


def content_ids(rows: list[dict]) -> dict[str, torch.Tensor]:
    """A batch of numbers, as what goes to a device must be."""
    return {"ids": torch.tensor([[int(part) for part in row["content_id"].split("-")] for row in rows])}


def main() -> None:
    pairs, output, workers, batches = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    args = RunArguments(
        output_dir=str(output),
        use_cpu=True,
        max_steps=batches,
        per_device_train_batch_size=2,
        dataloader_num_workers=workers,
        report_to="none",
    )
    stream = load_pairs(pairs, args, streaming=True)
    trainer = Trainer(torch.nn.Linear(1, 1), args, train_dataset=stream, data_collator=content_ids)
    seen = [batch["ids"].tolist() for batch in itertools.islice(trainer.get_train_dataloader(), batches)]
    (output / f"{args.process_index}.json").write_text(json.dumps({"processes": args.world_size, "seen": seen}))


if __name__ == "__main__":
    main()
