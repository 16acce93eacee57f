"""How much of a training step is not the backbone: data, heads, losses, optimiser, Trainer.

    python benchmarks/training.py
    python benchmarks/training.py --model_size paper --steps 4 --stage1_duration_s 30

For each stage a run of `Trainer` is timed by the clock, from its first step to its last with all that lies between,
against forward and backward passes of the bare `HubertModel` on the very tensors of that run, one after each step.
Further: the share of time that a step waits for data, with 0, 1 and 2 workers; the share of padding with and without
grouping by length; and the largest memory of a step of stage 1, with and without cached gradients. Writes
`training.json` and `.md`.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import HubertModel, Trainer, TrainerCallback, TrainingArguments

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression
from jsqa_hf.data import load_mos, load_noise, load_speech, parse_mos_source, parse_source, with_labels
from jsqa_hf.jnd import JNDPairGenerator
from jsqa_hf.training import (
    ContrastiveCollator,
    ContrastiveTrainer,
    MOSCollator,
    MOSTrainer,
    parse_arguments,
    repeat_with_index,
    run_script,
    with_lengths,
    write_metrics,
)
from jsqa_hf.training.lengths import BatchesByLength, padding_waste

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "examples" / "data"


@dataclass
class BenchmarkArguments:
    """What to train on, and how much."""

    speech: str = field(default=str(DATA / "speech" / "speech.csv"), metadata={"help": "source of speech"})
    noise: str = field(default=str(DATA / "noise" / "noise.csv"), metadata={"help": "source of noise"})
    ratings: str = field(default=f"p835:{DATA / 'p835'}", metadata={"help": "a listening test"})
    model_size: str = field(default="tiny", metadata={"help": "tiny or paper"})
    steps: int = field(default=12, metadata={"help": "steps to time in each stage"})
    ladders: int = field(default=6, metadata={"help": "ladders in a batch of stage 1, of three levels"})
    clips: int = field(default=8, metadata={"help": "clips in a batch of stage 2"})
    stage1_duration_s: float = field(default=3.0, metadata={"help": "length of the clips of stage 1"})
    memory_model_size: str = field(default="paper", metadata={"help": "tiny or paper, for the memory test"})
    memory_duration_s: float = field(default=30.0, metadata={"help": "length of the clips of the memory test"})
    output_dir: str = field(default=str(REPOSITORY / "docs" / "results"), metadata={"help": "folder to write to"})


class StepClock(TrainerCallback):
    """Times the steps of a run, and after each of them the bare backbone on the same tensors.

    In turns, because the speed of a machine drifts by more than what is measured here. The first step warms up.
    """

    def __init__(self, backbone: HubertModel, batches: Sequence[Mapping[str, torch.Tensor]]) -> None:
        self.backbone = backbone.train()
        self.batches = batches
        self.step_s: list[float] = []
        self.backbone_s: list[float] = []
        self._start = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time, and time the backbone."""
        end = time.perf_counter()
        batch = self.batches[len(self.step_s)]
        self.backbone.zero_grad()
        output = self.backbone(batch["input_values"], attention_mask=batch["attention_mask"]).last_hidden_state
        output.square().mean().backward()
        self.step_s.append(end - self._start)
        self._start = time.perf_counter()
        self.backbone_s.append(self._start - end)


def configuration(args: BenchmarkArguments) -> JSQAConfig:
    """Of the size that the arguments name."""
    return JSQAConfig.paper() if args.model_size == "paper" else JSQAConfig.tiny()


def training_arguments(batch_size: int, steps: int, workers: int = 0) -> TrainingArguments:
    """A run that saves and logs nothing."""
    return TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=batch_size,
        max_steps=steps,
        dataloader_num_workers=workers,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def stage1(args: BenchmarkArguments, steps: int, workers: int = 0, **options: Any) -> ContrastiveTrainer:
    """Pretraining, with pairs made on the fly."""
    speech, noise = load_speech(*parse_source(args.speech)), load_noise(*parse_source(args.noise))
    ladders = repeat_with_index(speech, steps * args.ladders)
    ladders.set_transform(JNDPairGenerator(noise, levels=3, duration_s=args.stage1_duration_s, encoding="array"))
    return ContrastiveTrainer(
        model=JSQAForContrastivePretraining(configuration(args)),
        args=training_arguments(args.ladders, steps, workers),
        train_dataset=ladders,
        data_collator=ContrastiveCollator(JSQAFeatureExtractor()),
        **options,
    )


def stage2(args: BenchmarkArguments, steps: int, workers: int = 0) -> MOSTrainer:
    """Fine-tuning on human ratings."""
    rated = with_labels(load_mos(*parse_mos_source(args.ratings)), ["mos"])
    return MOSTrainer(
        model=JSQAForMOSRegression(configuration(args)),
        args=training_arguments(args.clips, steps, workers),
        train_dataset=rated,
        data_collator=MOSCollator(JSQAFeatureExtractor()),
    )


def whole_step(trainer: Trainer) -> dict[str, float]:
    """Seconds by the clock per step of a run, and per forward and backward pass of a bare `HubertModel`."""
    batches: list[Any] = []
    collate = trainer.data_collator

    def keep(rows: Any) -> Any:
        batches.append(dict(collate(rows)))
        return dict(batches[-1])

    trainer.data_collator = keep
    clock = StepClock(HubertModel(trainer.model.config.hubert_config), batches)
    trainer.add_callback(clock)
    trainer.train()
    step, backbone = (sum(times[1:]) / len(times[1:]) for times in (clock.step_s, clock.backbone_s))
    return {"step_s": step, "backbone_s": backbone, "ratio": step / backbone}


def waiting(build: Callable[..., Trainer], args: BenchmarkArguments) -> dict[str, float]:
    """Share of the time of a loop of training steps in which it waits for the next batch, by number of workers."""
    shares = {}
    for workers in (0, 1, 2):
        trainer = build(args, args.steps, workers)
        trainer.current_gradient_accumulation_steps = 1
        trainer.create_optimizer()
        batches = iter(trainer.get_train_dataloader())
        next(batches)
        waited = 0.0
        start = time.perf_counter()
        for _ in range(args.steps - 1):
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                break
            waited += time.perf_counter() - asked
            trainer.training_step(trainer.model, batch)
            trainer.optimizer.step()
            trainer.model.zero_grad()
        shares[str(workers)] = waited / (time.perf_counter() - start)
    return shares


def padding(args: BenchmarkArguments) -> dict[str, float]:
    """Share of padding in the batches of whole utterances, drawn at random and grouped by length."""
    speech = with_lengths(load_speech(*parse_source(args.speech)), None)
    lengths = speech["length"][:]
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(lengths), generator=generator).tolist()
    grouped = list(BatchesByLength(lengths, args.clips))
    return {
        name: padding_waste([lengths[index] for index in order], args.clips)
        for name, order in (("random", shuffled), ("grouped", grouped))
    }


def _memory(args: BenchmarkArguments, chunk: int | None, queue: Any) -> None:
    """One step of stage 1 on long clips, in a process of its own; reports its largest memory in MiB."""
    args.ladders, args.stage1_duration_s, args.model_size = 2, args.memory_duration_s, args.memory_model_size
    trainer = stage1(args, 1, loss_chunk_size=chunk)
    process, finished, sizes = psutil.Process(), threading.Event(), []

    def watch() -> None:
        while not finished.wait(0.005):
            sizes.append(process.memory_info().rss)

    before = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    trainer.train()
    finished.set()
    watcher.join()
    queue.put((max(sizes) - before) / 2**20)


def memory(args: BenchmarkArguments) -> dict[str, float]:
    """MiB that a step of two ladders of three levels, that is of 12 clips, takes beyond the model, by chunk."""
    context = multiprocessing.get_context("spawn")
    results = {}
    for chunk in (None, 2):
        queue = context.Queue()
        process = context.Process(target=_memory, args=(args, chunk, queue))
        process.start()
        results["at once" if chunk is None else f"chunks of {chunk}"] = queue.get()
        process.join()
    return results


def as_markdown(results: Mapping[str, Any]) -> str:
    """The results as tables."""
    lines = [
        "# Speed of training",
        "",
        f"{results['parameters'] / 1e6:.1f} M parameters, {results['threads']} threads, by the clock. Made by "
        f"`python benchmarks/training.py`.",
        "",
        "| stage | whole step | bare backbone | ratio | waiting for data with 0 / 1 / 2 workers |",
        "|---|---|---|---|---|",
    ]
    for name in ("stage 1", "stage 2"):
        row = results[name]
        shares = " / ".join(f"{share:.1%}" for share in row["waiting"].values())
        lines.append(f"| {name} | {row['step_s']:.3f} s | {row['backbone_s']:.3f} s | {row['ratio']:.2f} | {shares} |")
    waste = results["padding"]
    lines += [
        "",
        f"Padding in batches of whole utterances: {waste['random']:.1%} drawn at random, {waste['grouped']:.1%} "
        "grouped by length.",
        "",
        f"Memory of a step of stage 1 of the {results['memory_model_size']} size, on 12 clips of "
        f"{results['memory_duration_s']:g} s: "
        + ", ".join(f"{mebibytes:.0f} MiB {name}" for name, mebibytes in results["memory_mib"].items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    (args,) = parse_arguments((BenchmarkArguments,), argv)
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "memory_duration_s": args.memory_duration_s}
    results["memory_model_size"] = args.memory_model_size
    for name, build in (("stage 1", stage1), ("stage 2", stage2)):
        trainer = build(args, args.steps)
        results["parameters"] = sum(parameter.numel() for parameter in trainer.model.parameters())
        results[name] = whole_step(trainer)
        results[name]["waiting"] = waiting(build, args)
    results["padding"] = padding(args)
    results["memory_mib"] = memory(args)
    folder = Path(args.output_dir)
    write_metrics(folder / "training.json", results)
    table = as_markdown(results)
    (folder / "training.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    sys.exit(run_script(main))
