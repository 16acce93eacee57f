"""Train networks to give the scores of a teacher on speech that is degraded as training goes, before stage 2.

    python benchmarks/study/distill.py --speech speech.csv --noise noise.csv --rirs rirs \
        --split train --output_dir runs/distilled --shapes tiny medium paper --steps 4000 --device cuda

Stage 1 first, for each network: ladders of speech in noise, and which of two clips of a ladder is better, in JNDs.
Then every network learns DistillMOS (MIT licence) on the same clips, none of which comes twice: clean speech, or clips
of the package's own distortions (codecs, lost packets, rooms), under up to four degradations of `degradations.py`.
The scores are on DistillMOS's scale until stage 2, on ratings of listeners, mends that. Some utterances are held out
for the figures that are printed. Takes minutes on a GPU and days on a CPU. A run is not resumed: it is short.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from degradations import EPSILON, Bank, BatchDegrader, active_level
from held_out import SAMPLING_RATE
from micro import settings_of, shape_of
from numpy.typing import NDArray
from simulated_ratings import Degrader, SimulationArguments
from torch import Tensor
from torch.nn import functional as F
from workers import map_with

from jsqa_hf import JSQAConfig, JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression
from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.jnd import SNR_THRESHOLD
from jsqa_hf.jnd.excerpts import load_mono
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.training import parse_arguments, run_script, write_metrics

# Samples that DistillMOS looks at at a time; what is shorter it pads with zeros.
TEACHER_SAMPLES = 122880
# One utterance of so many is held out.
HELD_OUT = 12
LADDER = 4
# A few lengths only: libraries of GPUs plan anew for every other one.
DURATIONS_S = (3.04, 4.16, 5.44, 7.68)
# Large networks see only part of every batch, so that they do not take all of the time.
SHARES = {"paper": 0.375}
# Learning rates by shape. Our choice.
RATES = {"tiny": 2e-3, "small": 1.5e-3, "medium": 8e-4, "paper": 5e-4}


@dataclass
class DistillationArguments:
    """Data, networks and steps."""

    speech: str = field(metadata={"help": "clean speech: NAME:PATH, a folder, or a CSV file"})
    noise: str = field(metadata={"help": "noise, likewise"})
    output_dir: str = field(metadata={"help": "folder for the networks, by shape"})
    rirs: str | None = field(default=None, metadata={"help": "room impulse responses"})
    split: str | None = field(default=None, metadata={"help": "value of the columns `split` of speech and noise"})
    shapes: list[str] = field(default_factory=lambda: ["tiny"], metadata={"help": f"of {', '.join(RATES)}"})
    stage1_steps: int = field(default=500, metadata={"help": "steps of stage 1"})
    steps: int = field(default=4000, metadata={"help": "steps of the distillation"})
    batch_size: int = field(default=128, metadata={"help": "clips per step"})
    degraded_clips: int = field(default=4000, metadata={"help": "clips of the package's distortions to start from"})
    degraded_share: float = field(default=0.45, metadata={"help": "how many of the clips start from those"})
    validation_clips: int = field(default=512, metadata={"help": "of held-out utterances"})
    log_steps: int = field(default=250, metadata={"help": "steps between figures"})
    seed: int = field(default=0, metadata={"help": "of weights and draws"})
    num_proc: int = field(default=1, metadata={"help": "processes for the package's distortions"})
    device: str = field(default="cpu", metadata={"help": "such as cuda"})


def held_out(speech_id: str) -> bool:
    """Whether an utterance is left for the figures."""
    return int(hashlib.md5(speech_id.encode()).hexdigest(), 16) % HELD_OUT == 0


def configuration(shape: str) -> JSQAConfig:
    """Of a network."""
    if shape == "paper":
        # As in the tiny one: what its narrow layers need to learn in few steps.
        hubert = JSQAConfig.paper().hubert_config.to_dict() | {"do_stable_layer_norm": True, "initializer_range": 0.04}
    else:
        hubert = shape_of(shape)
    return JSQAConfig(hubert_config=hubert, contrastive_loss="none", jnd_preference_weight=1.0)


def to_tensor(audio: Any) -> Tensor:
    """(samples,) float16 of a recording, at a peak of 1."""
    samples = load_mono(audio, SAMPLING_RATE)
    return torch.from_numpy(samples / max(1e-4, float(np.abs(samples).max()))).half()


class Material:
    """Clean speech, noise and clips of the package's distortions, in the memory of the device."""

    def __init__(self, args: DistillationArguments) -> None:
        speech = load_speech(*parse_source(args.speech), split=args.split)
        rows = [(to_tensor(row["audio"]), held_out(row["speech_id"])) for row in speech]
        self.training = Bank([clip for clip, held in rows if not held], args.device)
        self.validation = Bank([clip for clip, held in rows if held], args.device)
        noise = load_noise(*parse_source(args.noise), split=args.split)
        self.noise = Bank([to_tensor(row["audio"]) for row in noise], args.device)
        self.rirs = []
        if args.rirs:
            self.rirs = [to_tensor(row["audio"]).float() for row in load_rirs(*parse_source(args.rirs))]

    def collect(self, made: Iterable[tuple[NDArray[np.float16], str] | None], device: str) -> int:
        """Wait for what [`Distorter`] makes; returns how many clips there are."""
        clips = [(torch.from_numpy(one[0]), held_out(one[1])) for one in made if one is not None]
        self.degraded = Bank([clip for clip, held in clips if not held], device)
        self.degraded_validation = Bank([clip for clip, held in clips if held], device)
        return len(clips)

    def draw(self, generator: torch.Generator, count: int, samples: int, share: float, *, held: bool) -> Tensor:
        """(count, samples) clean speech and, in that share, degraded clips, in random order."""
        clean, degraded = (self.validation, self.degraded_validation) if held else (self.training, self.degraded)
        of_them = round(count * share)
        parts = [clean.draw(generator, count - of_them, samples), degraded.draw(generator, of_them, samples)]
        order = torch.randperm(count, generator=generator, device=parts[0].device)
        return torch.cat(parts)[order]


class Distorter:
    """Makes clips of the package's distortions by their number: samples at a peak of 1, and the `speech_id`."""

    def __init__(self, args: DistillationArguments) -> None:
        torch.set_num_threads(1)
        options = SimulationArguments(args.speech, args.noise, args.output_dir, rirs=args.rirs, seed=args.seed)
        options.speech_split = options.noise_split = args.split
        self.degrader = Degrader(options)

    def __call__(self, number: int) -> tuple[NDArray[np.float16], str] | None:
        rng, row = self.degrader.draw(number)
        try:
            samples, _ = self.degrader.degrade(rng, self.degrader.excerpt(rng, row))
        except ValueError:
            return None
        return (samples / max(1e-4, np.abs(samples).max())).astype(np.float16), row["speech_id"]


class Teacher:
    """DistillMOS, in batches."""

    def __init__(self, device: str) -> None:
        from distillmos import ConvTransformerSQAModel

        self.model = ConvTransformerSQAModel(segmenting_in_forward=False).to(device).eval()
        self.device = device

    @torch.no_grad()
    def __call__(self, clips: Tensor) -> Tensor:
        """(batch, samples), at most `TEACHER_SAMPLES` → (batch,) scores from 1 to 5."""
        clips = F.pad(clips, (0, TEACHER_SAMPLES - clips.shape[-1]))
        with autocast(self.device):
            return self.model(clips).float().flatten()


def autocast(device: str) -> Any:
    """Half precision where the device is made for it."""
    return torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda"))


class Student:
    """A network with its optimiser."""

    def __init__(self, model: Any, shape: str, steps: int, device: str) -> None:
        self.model, self.device, self.share = model.to(device).train(), device, SHARES.get(shape, 1.0)
        parameters = [one for one in model.parameters() if one.requires_grad]
        groups = [
            {"params": [one for one in parameters if one.ndim > 1], "weight_decay": 0.01},
            {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, RATES[shape], (0.9, 0.98), fused=device.startswith("cuda"))
        warmup = min(300, steps // 5 + 1)

        def share(step: int) -> float:
            return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, share)

    def learn(self, **inputs: Tensor) -> Tensor:
        """A step on its share of the batch; returns the loss, still on the device."""
        inputs = {name: values[: round(len(values) * self.share)] for name, values in inputs.items()}
        with autocast(self.device):
            loss: Tensor = self.model(**inputs).loss
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad()
        return loss.detach()


def clip_samples(rng: np.random.Generator) -> int:
    """A random length of the clips of a step."""
    return round(float(rng.choice(DURATIONS_S)) * SAMPLING_RATE)


def pretrain(
    args: DistillationArguments, material: Material
) -> tuple[dict[str, JSQAForContrastivePretraining], list[dict[str, Any]]]:
    """Stage 1 of all networks on the same ladders; also their losses by step."""
    rng, generator = np.random.default_rng(args.seed), torch.Generator(args.device).manual_seed(args.seed)
    students = {}
    for shape in args.shapes:
        torch.manual_seed(args.seed)
        model = JSQAForContrastivePretraining(configuration(shape))
        students[shape] = Student(model, shape, args.stage1_steps, args.device)
    contents = args.batch_size // LADDER
    ids = torch.arange(contents, device=args.device).repeat_interleave(LADDER)
    history: list[dict[str, Any]] = []
    start = time.monotonic()
    for step in range(args.stage1_steps):
        samples = clip_samples(rng) // 2
        speech = material.training.draw(generator, contents, samples)
        noise = material.noise.draw(generator, contents, samples)
        snr = -5 + 45 * torch.rand(contents, LADDER, generator=generator, device=args.device)
        scale = active_level(speech) / (noise.square().mean(-1, keepdim=True).sqrt() + EPSILON) / 10 ** (snr / 20)
        clips = (speech[:, None] + noise[:, None] * scale[..., None]).flatten(0, 1)
        level = 10 ** ((-32 + 12 * torch.rand(len(clips), 1, generator=generator, device=args.device)) / 20)
        labels = {"pair_ids": ids, "content_ids": ids, "distortion_ids": torch.zeros_like(ids)}
        inputs = clips / active_level(clips) * level
        losses = {
            shape: student.learn(input_values=inputs, quality=snr.flatten() / SNR_THRESHOLD.just_noticeable, **labels)
            for shape, student in students.items()
        }
        if (step + 1) % args.log_steps == 0 or step + 1 == args.stage1_steps:
            figures = {shape: round(loss.item(), 4) for shape, loss in losses.items()}
            history.append({"step": step + 1, "seconds": time.monotonic() - start, "loss": figures})
            print(f"stage 1, step {step + 1}, {history[-1]['seconds']:.0f} s: {figures}", flush=True)
    return {shape: student.model for shape, student in students.items()}, history


def distill(
    args: DistillationArguments,
    material: Material,
    pretrained: dict[str, JSQAForContrastivePretraining],
    stage1: list[dict[str, Any]],
) -> None:
    """Train all networks, and save them and the figures every `log_steps`, so that a run may be cut short."""
    rng, generator = np.random.default_rng(args.seed), torch.Generator(args.device).manual_seed(args.seed + 1)
    degrade = BatchDegrader(material.noise, material.rirs, args.seed + 2, args.device)
    teacher = Teacher(args.device)
    validation = validation_batches(args, material, teacher)
    students = {}
    for shape, base in pretrained.items():
        torch.manual_seed(args.seed)
        model = JSQAForMOSRegression(JSQAConfig(hubert_config=base.config.hubert_config))
        model.jsqa.load_state_dict(base.jsqa.state_dict())
        students[shape] = Student(model, shape, args.steps, args.device)
    history: list[dict[str, Any]] = []
    start = time.monotonic()
    for step in range(args.steps):
        samples = clip_samples(rng)
        clips = degrade(material.draw(generator, args.batch_size, samples, args.degraded_share, held=False))
        scores = teacher(clips)
        for student in students.values():
            student.learn(input_values=clips, labels=scores)
        if (step + 1) % args.log_steps == 0 or step + 1 == args.steps:
            figures = {shape: agreement(student, validation) for shape, student in students.items()}
            history.append({"step": step + 1, "seconds": time.monotonic() - start, "agreement": figures})
            text = {shape: f"PCC {one['pcc']:.3f} RMSE {one['rmse']:.3f}" for shape, one in figures.items()}
            print(f"step {step + 1}, {history[-1]['seconds']:.0f} s: {text}", flush=True)
            for shape, student in students.items():
                student.model.save_pretrained(Path(args.output_dir) / shape)
                JSQAFeatureExtractor().save_pretrained(Path(args.output_dir) / shape)
            write_report(args, students, validation, stage1, history)


def write_report(
    args: DistillationArguments,
    students: dict[str, Student],
    validation: Sequence[tuple[Tensor, Tensor]],
    stage1: list[dict[str, Any]],
    history: list[dict[str, Any]],
) -> None:
    """Write `distillation.json`: settings without paths, sizes, spread of the teacher's scores, figures by step."""
    scores = torch.cat([scores for _, scores in validation])
    report = {
        "settings": settings_of(args),
        "parameters": {shape: student.model.num_parameters() for shape, student in students.items()},
        "teacher": {"mean": float(scores.mean()), "standard_deviation": float(scores.std())},
        "stage1": stage1,
        "history": history,
    }
    write_metrics(Path(args.output_dir) / "distillation.json", report)


def validation_batches(
    args: DistillationArguments, material: Material, teacher: Teacher
) -> list[tuple[Tensor, Tensor]]:
    """Clips of held-out utterances, and what the teacher says."""
    rng, generator = np.random.default_rng(args.seed + 3), torch.Generator(args.device).manual_seed(args.seed + 3)
    degrade = BatchDegrader(material.noise, material.rirs, args.seed + 4, args.device)
    batches = []
    for _ in range(math.ceil(args.validation_clips / args.batch_size)):
        samples = clip_samples(rng)
        clips = degrade(material.draw(generator, args.batch_size, samples, args.degraded_share, held=True))
        batches.append((clips, teacher(clips)))
    return batches


@torch.no_grad()
def agreement(student: Student, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Of a network with the teacher."""
    student.model.eval()
    with autocast(student.device):
        predicted = torch.cat([student.model(clips).scores.float()[:, 0] for clips, _ in batches])
    student.model.train()
    wanted = torch.cat([scores for _, scores in batches])
    return {name: float(value) for name, value in mos_metrics(predicted.cpu().numpy(), wanted.cpu().numpy()).items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Do both."""
    (args,) = parse_arguments((DistillationArguments,), argv)
    if unknown := [shape for shape in args.shapes if shape not in RATES]:
        raise ValueError(f"there is no shape {unknown[0]!r}; there are: {', '.join(RATES)}")
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    start = time.monotonic()
    material = Material(args)
    # The processor makes them while stage 1, which does not need them, keeps the device busy.
    with map_with(partial(Distorter, args), range(args.degraded_clips), args.num_proc) as made:
        pretrained, stage1 = pretrain(args, material)
        count = material.collect(made, args.device)
    print(f"{count} degraded clips, {time.monotonic() - start:.0f} s", flush=True)
    distill(args, material, pretrained, stage1)


if __name__ == "__main__":
    sys.exit(run_script(main))
