"""Train small contrastive models for two steps each, as one of any number of processes.

    python -m torch.distributed.run --nproc-per-node 2 tests/contrastive_worker.py OUTPUT PROCESSES CASES_AS_JSON

Saves weights and losses of each case as OUTPUT; `test_contrastive_training` compares them. Fails if the number of
processes is not PROCESSES.
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
from jsqa_hf.losses import LadderLabels
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
        # Some pairs are more than one JND apart, so that processes differ in how many count in a mean.
        severities = torch.arange(LEVELS).repeat_interleave(2) * 4.0
        severities = severities + 2 * torch.rand(2 * LEVELS, generator=generator)
        noise = torch.randn(2 * LEVELS, 4000, generator=generator)
        clips = 0.05 * noise * 10 ** (severities[:, None] / 20)
        return {
            "clips": list(clips.numpy()),
            "content_id": str(index),
            "distortion": "noise",
            "chain": "noise",
            "severity_jnd": severities.tolist(),
        }


class RecordingTrainer(ContrastiveTrainer):
    """Keeps the losses of the steps; the logs round them."""

    step_losses: list[float]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        mean = loss.detach().clone()
        if distributed.is_initialized():
            distributed.all_reduce(mean)
        self.step_losses.append(float(mean) / self.args.world_size)
        return loss


class OneGraphTrainer(RecordingTrainer):
    """Projects in the chunks of a [`ContrastiveTrainer`], but keeps the graph of all: what caching must equal."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        parts = (inputs[name].split(self.loss_chunk_size) for name in ("input_values", "attention_mask"))
        projected = [
            model(values, attention_mask=mask, return_loss=False) for values, mask in zip(*parts, strict=True)
        ]
        projections = torch.cat([output.projections for output in projected])
        labels = LadderLabels(*(inputs[name] for name in ("pair_ids", "content_ids", "quality", "distortion_ids")))
        objective = self.accelerator.unwrap_model(model)
        learned = projected[-1].temperature
        return objective.contrastive_loss(projections, labels, objective.temperature() if learned is None else learned)


def build_trainer(
    output: str, per_device: int, options: dict[str, Any], callbacks: list[TrainerCallback] | None = None
) -> RecordingTrainer:
    """A Trainer of two steps, with plain SGD so that the weights tell the gradients."""
    torch.manual_seed(options.get("seed", 0))
    hubert = {**(NO_DROPOUT if options.get("dropout", 0.0) == 0 else {}), **options.get("hubert", {})}
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
        seed=options.get("seed", 0),
    )
    extractor = JSQAFeatureExtractor()
    trainer_type = OneGraphTrainer if options.get("one_graph") else RecordingTrainer
    trainer = trainer_type(
        model=model,
        args=args,
        train_dataset=Ladders(32, options.get("seed", 0)),
        data_collator=ContrastiveCollator(extractor),
        callbacks=callbacks,
        loss_chunk_size=options.get("chunk"),
    )
    trainer.step_losses = []
    return trainer


def run_case(output: str, per_device: int, options: dict[str, Any]) -> dict[str, Any]:
    """Train; what came of it, the losses being the mean over the processes."""
    gather = losses.gather_with_gradient
    if options.get("detached"):
        # What a gather without gradients would do: the test must see the difference.
        losses.gather_with_gradient = lambda tensor: gather(tensor.detach())
    try:
        trainer = build_trainer(output, per_device, options)
        trainer.train()
    finally:
        losses.gather_with_gradient = gather
    weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
    return {"weights": weights, "losses": trainer.step_losses, "processes": trainer.args.world_size}


def main() -> None:
    """Train all cases and save."""
    output, processes = Path(sys.argv[1]), int(sys.argv[2])
    results = {
        name: run_case(str(output.parent / "run"), case["ladders"] // processes, case["options"])
        for name, case in json.loads(sys.argv[3]).items()
    }
    assert distributed.get_world_size() == processes, distributed.get_world_size()
    if distributed.get_rank() == 0:
        torch.save(results, output)


if __name__ == "__main__":
    main()
