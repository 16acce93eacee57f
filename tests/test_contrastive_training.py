"""The update of stage 1 is the same however the batch is split: over processes, chunks, or both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrastive_worker import build_trainer, run_case
from transformers import TrainerCallback, TrainingArguments

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
        "jnd_preference_weight": 0.5,
        "mask_ambiguous": True,
    },
    "preferences alone": {"contrastive_loss": "none", "jnd_preference_weight": 1.0},
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


def seed(number: int) -> None:
    torch.manual_seed(number)
    np.random.seed(number)


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.1},
        {"hubert": {"apply_spec_augment": True, "mask_time_prob": 0.3, "mask_time_length": 2}},
        {"hubert": {"apply_spec_augment": True, "mask_feature_prob": 0.3, "mask_feature_length": 2}},
    ],
    ids=["dropout", "masked frames", "masked channels"],
)
def test_cached_gradients_repeat_what_the_first_pass_drew(tmp_path: Path, options: dict[str, Any]) -> None:
    trainer = build_trainer(str(tmp_path), 3, {**options, "chunk": 5})
    model = trainer.model
    assert isinstance(model, JSQAForContrastivePretraining)
    batch = batch_of(trainer, 3)
    seed(7)
    loss, found = gradients(trainer, batch)
    model.zero_grad()
    model.train()
    seed(7)
    chunks = zip(batch["input_values"].split(5), batch["attention_mask"].split(5), strict=True)
    projections = torch.cat([model(values, attention_mask=mask).projections for values, mask in chunks])
    labels = LadderLabels(*(batch[name] for name in ("pair_ids", "content_ids", "quality", "distortion_ids")))
    expected = model.contrastive_loss(projections, labels, model.temperature())
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    reference = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert_same(found, reference, relative=1e-5)
    seed(8)
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


def test_cached_gradients_in_mixed_precision_are_those_without_caching(tmp_path: Path) -> None:
    found = []
    for options in ({"bf16": True}, {"bf16": True, "one_graph": True}, {}):
        keeper = Keeper()
        trainer = build_trainer(str(tmp_path), 3, {"chunk": 4, **options}, [keeper])
        trainer.train()
        found.append((trainer.step_losses[0], torch.cat([each.flatten() for each in keeper.gradients.values()])))
    (loss, cached), (same_loss, same), (full_loss, full) = found
    assert loss == pytest.approx(same_loss, rel=1e-5)
    # Sums of gradients that have 8 bits each, in another order.
    assert float((cached - same).norm()) < 0.01 * float(same.norm())
    assert loss == pytest.approx(full_loss, rel=0.05)
    assert loss != pytest.approx(full_loss, rel=1e-5)
    assert torch.nn.functional.cosine_similarity(cached, full, dim=0) > 0.98


def test_several_gpus_in_one_process_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(ValueError, match="torchrun --nproc-per-node 2"):
        build_trainer(str(tmp_path), 2, {})


def test_a_chunk_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loss_chunk_size"):
        build_trainer(str(tmp_path), 2, {"chunk": 0})


DROPOUT = {"dropout": 0.1, "config": {"mos_dropout": 0.0}}
# What two processes do, what they do it like, and how many ladders there are in all.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    **{f"{name}, gathered": ({"config": config}, {"config": config}, 4) for name, config in OBJECTIVES.items()},
    **{
        f"{name}, gathered and cached": ({"config": config, "seed": 1, "chunk": 3}, {"config": config, "seed": 1}, 8)
        for name, config in OBJECTIVES.items()
    },
    "accumulated": ({"accumulation": 2, "chunk": 5}, {"accumulation": 2}, 4),
    "one ladder per process": ({"seed": 2}, {"seed": 2}, 2),
}


def run_two(folder: Path, cases: dict[str, tuple[dict[str, Any], int]]) -> dict[str, dict[str, Any]]:
    """Run the worker in two processes; options and number of ladders per case."""
    output = folder / "results.pt"
    described = {name: {"options": options, "ladders": ladders} for name, (options, ladders) in cases.items()}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(WORKER), str(output), "2", json.dumps(described)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(output, weights_only=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Results of two processes."""
    cases = {name: (options, ladders) for name, (options, _, ladders) in CASES.items()}
    cases["detached"] = ({"detached": True}, 4)
    cases["dropout, cached"] = ({**DROPOUT, "chunk": 3}, 4)
    cases["dropout, one graph"] = ({**DROPOUT, "chunk": 3, "one_graph": True}, 4)
    cases["dropout, other chunks"] = ({**DROPOUT, "chunk": 5, "one_graph": True}, 4)
    return run_two(tmp_path_factory.mktemp("two"), cases)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_update_of_one_with_the_same_batch(
    tmp_path: Path, two: dict[str, dict[str, Any]], case: str
) -> None:
    _, options, ladders = CASES[case]
    one = run_case(str(tmp_path), ladders, options)
    assert (one["processes"], two[case]["processes"]) == (1, 2)
    assert two[case]["losses"] == pytest.approx(one["losses"], rel=1e-6, abs=1e-5)
    assert_same(two[case]["weights"], one["weights"])


@pytest.mark.slow
def test_two_processes_that_cache_gradients_repeat_their_dropout(two: dict[str, dict[str, Any]]) -> None:
    cached, expected, other = (two[f"dropout, {name}"] for name in ("cached", "one graph", "other chunks"))
    assert cached["losses"] == pytest.approx(expected["losses"], abs=1e-5)
    assert_same(cached["weights"], expected["weights"])
    # Other chunks draw other dropout, so that the losses above can't be the same by chance.
    assert other["losses"] != pytest.approx(expected["losses"], abs=1e-3)


@pytest.mark.slow
def test_a_gather_without_gradients_would_be_noticed(tmp_path: Path, two: dict[str, dict[str, Any]]) -> None:
    one, detached = run_case(str(tmp_path), 4, {}), two["detached"]
    assert detached["losses"][0] == pytest.approx(one["losses"][0], abs=1e-5)
    differences = [(one["weights"][name] - detached["weights"][name]).abs().max() for name in one["weights"]]
    assert max(differences) > 1e-3
