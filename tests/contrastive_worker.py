"""Train a small contrastive model for two steps, as one of any number of processes; see `test_contrastive_training`.

    python -m torch.distributed.run --nproc-per-node 2 tests/contrastive_worker.py OUTPUT PER_DEVICE OPTIONS_AS_JSON

Saves weights and losses of rank 0 as OUTPUT, and fails if the number of processes is not the one of the options.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from small import small_config
from torch import distributed
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining, losses
from jsqa_hf.training import ContrastiveCollator, ContrastiveTrainer

LEVELS = 2
NO_DROPOUT = dict.fromkeys(
    ["hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout"], 0.0
)


class Ladders(Dataset[dict[str, Any]]):
    """Ladders of noise whose clips get louder with the severity; the same in every process."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        severities = torch.arange(LEVELS).repeat_interleave(2) * 4.0 + torch.rand(2 * LEVELS, generator=generator)
        noise = torch.randn(2 * LEVELS, 4000, generator=generator)
        clips = 0.05 * noise * 10 ** (severities[:, None] / 20)
        return {
            "clips": list(clips.numpy()),
            "content_id": str(index),
            "distortion": "noise",
            "chain": "noise",
            "severity_jnd": severities.tolist(),
        }


def build_trainer(
    output: str, per_device: int, options: dict[str, Any], callbacks: list[TrainerCallback] | None = None
) -> ContrastiveTrainer:
    """A Trainer of two steps, with plain SGD so that the weights tell the gradients."""
    torch.manual_seed(options.get("seed", 0))
    hubert = NO_DROPOUT if options.get("dropout", 0.0) == 0 else {}
    model = JSQAForContrastivePretraining(small_config(hubert=hubert, **options.get("config", {})))
    args = TrainingArguments(
        output_dir=output,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=options.get("accumulation", 1),
        max_steps=2,
        learning_rate=0.1,
        max_grad_norm=1e9,
        lr_scheduler_type="constant",
        optim="sgd",
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        bf16=options.get("bf16", False),
        dataloader_drop_last=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=[],
        seed=options.get("seed", 0),
    )
    extractor = JSQAFeatureExtractor()
    return ContrastiveTrainer(
        model=model,
        args=args,
        train_dataset=Ladders(32, options.get("seed", 0)),
        data_collator=ContrastiveCollator(extractor),
        callbacks=callbacks,
        loss_chunk_size=options.get("chunk"),
    )


def main() -> None:
    """Train and save."""
    output, per_device, options = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    if options.get("detached"):
        # What a gather without gradients would do: the test must see the difference.
        gathered = losses._Gather.apply
        losses.gather_with_gradient = lambda tensor: gathered(tensor.detach())
    trainer = build_trainer(str(output.parent / f"{output.stem}-run"), per_device, options)
    processes = distributed.get_world_size() if distributed.is_initialized() else 1
    assert processes == options["processes"] == trainer.args.world_size, (processes, trainer.args.world_size)
    trainer.train()
    if trainer.is_world_process_zero():
        weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        logged = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        torch.save({"weights": weights, "losses": [float(loss) for loss in logged]}, output)


if __name__ == "__main__":
    main()
