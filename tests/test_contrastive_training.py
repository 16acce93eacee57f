"""The update of stage 1 is the same however the batch is split: over processes, chunks, or both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from contrastive_worker import build_trainer
from transformers import TrainerCallback

from jsqa_hf import JSQAForContrastivePretraining
from jsqa_hf.losses import LadderLabels
from jsqa_hf.training import ContrastiveTrainer

WORKER = Path(__file__).parent / "contrastive_worker.py"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "nt_xent": {},
    "content-matched": {"contrastive_negatives": "same_content"},
    "promoted, supervised, learned temperature, margin": {
        "contrastive_loss": "supervised",
        "false_negatives": "promote",
        "learn_temperature": True,
        "jnd_margin_weight": 0.5,
    },
}


def batch_of(trainer: ContrastiveTrainer, size: int) -> dict[str, torch.Tensor]:
    return trainer.data_collator([trainer.train_dataset[index] for index in range(size)])


def gradients(trainer: ContrastiveTrainer, batch: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one training step on a batch."""
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.training_step(trainer.model, dict(batch))
    return float(loss), {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], relative: float = 0.0) -> None:
    """The same to 1e-5, or to that share of the largest value."""
    assert one.keys() == other.keys()
    differences = {name: float((one[name] - other[name]).abs().max()) for name in one}
    limits = {name: max(1e-5, relative * float(other[name].abs().max())) for name in one}
    assert all(differences[name] <= limits[name] for name in one), differences


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("chunk", [1, 3, 12, 100])
def test_cached_gradients_are_those_of_the_whole_batch(tmp_path: Path, objective: str, chunk: int) -> None:
    options = {"config": OBJECTIVES[objective]}
    whole = build_trainer(str(tmp_path), 3, options)
    cached = build_trainer(str(tmp_path), 3, {**options, "chunk": chunk})
    batch = batch_of(whole, 3)
    expected_loss, expected = gradients(whole, batch)
    loss, found = gradients(cached, batch)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert_same(found, expected, relative=1e-5)
    assert max(gradient.abs().max() for gradient in found.values()) > 1e-3
    assert ("log_temperature" in found) == ("learned" in objective)


def test_cached_gradients_repeat_the_dropout_of_the_first_pass(tmp_path: Path) -> None:
    options = {"dropout": 0.1, "config": {"mos_dropout": 0.0}}
    trainer = build_trainer(str(tmp_path), 3, {**options, "chunk": 5})
    model = trainer.model
    assert isinstance(model, JSQAForContrastivePretraining)
    batch = batch_of(trainer, 3)
    torch.manual_seed(7)
    loss, found = gradients(trainer, batch)
    model.zero_grad()
    model.train()
    torch.manual_seed(7)
    chunks = zip(batch["input_values"].split(5), batch["attention_mask"].split(5), strict=True)
    projections = torch.cat([model(values, attention_mask=mask).projections for values, mask in chunks])
    labels = LadderLabels(*(batch[name] for name in ("pair_ids", "content_ids", "quality", "distortion_ids")))
    expected = model.contrastive_loss(projections, labels, model.temperature())
    expected.backward()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    reference = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert_same(found, reference, relative=1e-5)
    torch.manual_seed(8)
    assert gradients(trainer, batch)[0] != pytest.approx(loss, rel=1e-5)


class Keeper(TrainerCallback):
    """Keeps the gradients of the first step."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if not self.gradients:
            self.gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_cached_gradients_accumulate_as_others_do(tmp_path: Path) -> None:
    kept = []
    for chunk in (None, 3):
        keeper = Keeper()
        build_trainer(str(tmp_path), 2, {"accumulation": 2, "chunk": chunk}, [keeper]).train()
        kept.append(keeper.gradients)
    assert_same(*kept, relative=1e-5)


def test_cached_gradients_in_mixed_precision_are_close_to_those_in_full(tmp_path: Path) -> None:
    full, mixed = (build_trainer(str(tmp_path), 3, {"chunk": 4, "bf16": bf16}) for bf16 in (False, True))
    batch = batch_of(full, 3)
    (full_loss, expected), (mixed_loss, found) = gradients(full, batch), gradients(mixed, batch)
    assert mixed_loss == pytest.approx(full_loss, rel=0.05)
    one, other = (torch.cat([gradient.flatten() for gradient in each.values()]) for each in (expected, found))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.98


def test_a_chunk_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loss_chunk_size"):
        build_trainer(str(tmp_path), 2, {"chunk": 0})


def train(folder: Path, name: str, per_device: int, options: dict[str, Any]) -> dict[str, Any]:
    """Run the worker in as many processes as the options say."""
    output = folder / f"{name}.pt"
    launcher = [sys.executable]
    if options["processes"] > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options["processes"])]
    command = [*launcher, str(WORKER), str(output), str(per_device), json.dumps(options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WORKER.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(output, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("seed", "ladders", "chunk"), [(0, 2, None), (1, 4, 3)])
def test_two_processes_make_the_update_of_one_with_the_same_batch(
    tmp_path: Path, objective: str, seed: int, ladders: int, chunk: int | None
) -> None:
    options = {"config": OBJECTIVES[objective], "seed": seed}
    one = train(tmp_path, "one", 2 * ladders, {**options, "processes": 1})
    two = train(tmp_path, "two", ladders, {**options, "processes": 2, "chunk": chunk})
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert_same(two["weights"], one["weights"])


@pytest.mark.slow
def test_a_gather_without_gradients_would_be_noticed(tmp_path: Path) -> None:
    one = train(tmp_path, "one", 4, {"processes": 1})
    detached = train(tmp_path, "two", 2, {"processes": 2, "detached": True})
    differences = [(one["weights"][name] - detached["weights"][name]).abs().max() for name in one["weights"]]
    assert max(differences) > 1e-3
