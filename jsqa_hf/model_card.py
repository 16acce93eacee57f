"""Model cards rendered from what a run measured: metadata for the Hub, and text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .escaping import escape_markdown, plain_line
from .intervals import interval_calibration
from .metrics import metric_intervals, mos_metrics

METRIC_NAMES = {"rmse": "RMSE", "mae": "MAE", "pcc": "Pearson correlation", "srcc": "Spearman correlation"}
TAGS = ("speech-quality-assessment", "mos", "hubert", "jsqa")
TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
# Where to load a model from, in the card of one that is on no Hub yet.
THIS_FOLDER = "path/to/this/folder"
# A model with its configuration, an adapter of PEFT, or the bare weights of any other module.
Saved = Literal["model", "adapter", "weights"]


@dataclass(frozen=True)
class OutputResult:
    """How well one output agrees with the ratings.

    Attributes:
        metrics: of [`jsqa_hf.metrics.mos_metrics`].
        intervals: of [`jsqa_hf.metrics.metric_intervals`], 95 %.
        calibration: of [`jsqa_hf.intervals.interval_calibration`].
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    calibration: Mapping[str, Any]


@dataclass(frozen=True)
class Compute:
    """What a run took, as measured.

    Attributes:
        hours: of wall clock, of all starts that were ended and not killed.
        killed_starts: number of starts of unknown length.
        devices: names of accelerators, empty on CPU; `processes` of them or of CPU processes.
        processes: number of processes.
        parameters: number of the model's parameters, and of those trained.
        trained_parameters: of these, those that the run changed.
        audio_hours: of audio that went through the model in training, each pass counted; None if it wasn't counted.
        energy_kwh: that CodeCarbon measured or estimated; None without it.
        emissions_g: grams of CO2 equivalent, likewise.
        emissions_place: country whose electricity that is for. CodeCarbon assumes one if it can't find it out.
    """

    hours: float
    killed_starts: int
    devices: Sequence[str]
    processes: int
    parameters: int
    trained_parameters: int
    audio_hours: float | None = None
    energy_kwh: float | None = None
    emissions_g: float | None = None
    emissions_place: str | None = None


@dataclass(frozen=True)
class RunSummary:
    """What a model card says about a run; all text is plain, and escaped where it is rendered.

    Attributes:
        name: of the model.
        stage: `pretraining` or `finetuning`.
        step: optimiser steps done; `total_steps` in all.
        total_steps: of the run.
        compute: what it took.
        arguments: all arguments of the run by name.
        training_data: what it was trained on: use → names.
        training_splits: of these: use → splits; without those that are not known.
        evaluation_data: names of what it was evaluated on, and `evaluation_split`.
        evaluation_split: of these.
        rows: number of clips or ladders by use; None where it isn't known.
        output_names: of a MOS model.
        results: of a MOS model, by output, and by set if there were several.
        metrics: other figures of the last evaluation.
        evaluated_step: step of the weights that `results` and `metrics` are of; None if they are of these weights.
        score_range: lowest and highest rating.
        sampling_rate: in Hz.
        jnd_calibration: of a contrastive model, if it has one.
        versions: of packages.
        repo_id: on the Hub, if known.
        base_model: Hub id of what it started from; `base_name` if that was a folder.
        base_name: name of a folder with the model that it started from.
        from_scratch: whether it started from random weights; if not, and without either name, that isn't known.
        saved: what the run saved.
        datasets: Hub ids.
        license: identifier as the Hub knows it; None: not stated.
        language: codes of languages.
    """

    name: str
    stage: str
    step: int
    total_steps: int
    compute: Compute
    arguments: Mapping[str, Any]
    training_data: Mapping[str, Sequence[str]]
    evaluation_data: Sequence[str]
    rows: Mapping[str, int | None]
    score_range: tuple[float, float]
    sampling_rate: int
    evaluation_split: str | None = None
    output_names: Sequence[str] = ()
    results: Mapping[str, OutputResult] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    evaluated_step: int | None = None
    jnd_calibration: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    training_splits: Mapping[str, str] = field(default_factory=dict)
    repo_id: str | None = None
    base_model: str | None = None
    base_name: str | None = None
    from_scratch: bool = False
    saved: Saved = "model"
    datasets: Sequence[str] = ()
    license: str | None = None
    language: Sequence[str] = ()


def evaluate_outputs(names: Sequence[str], scores: Any, variances: Any, labels: Any) -> dict[str, OutputResult]:
    """Results of those outputs that at least two clips are rated on.

    Args:
        names: of the outputs.
        scores: (clips, outputs) predicted ratings.
        variances: (clips, outputs) their variances.
        labels: (clips, outputs) ratings, NaN where there is none.
    """
    results = {}
    for column, name in enumerate(names):
        predicted, variance, rated = scores[:, column], variances[:, column], labels[:, column]
        if np.count_nonzero(~np.isnan(rated)) >= 2:
            results[name] = OutputResult(
                mos_metrics(predicted, rated),
                metric_intervals(predicted, rated),
                interval_calibration(predicted, variance, rated),
            )
    return results


def card_metadata(
    name: str,
    eval_results: Sequence[EvalResult],
    *,
    datasets: Sequence[str] = (),
    language: str | Sequence[str] = (),
    library_name: str = "transformers",
    **values: Any,
) -> ModelCardData:
    """Metadata of a JSQA model for the Hub.

    The Hub has no task of rating speech. `audio-classification` is the nearest, and the one whose Auto class the model
    has.

    Args:
        name: of the model.
        eval_results: for the `model-index`.
        datasets: Hub ids.
        language: code or codes of languages.
        library_name: what loads it.
        values: further fields of `ModelCardData`; those that are None are left out.

    Raises:
        ValueError: if `huggingface_hub` does not take them.
    """
    metrics = sorted({result.metric_type for result in eval_results}, key=[*METRIC_NAMES].index)
    return ModelCardData(
        library_name=library_name,
        pipeline_tag="audio-classification",
        tags=list(TAGS),
        # A part of the model-index.
        model_name=plain_line(name) if eval_results else None,
        eval_results=list(eval_results) or None,
        datasets=list(datasets) or None,
        metrics=metrics or None,
        language=language if isinstance(language, str) else list(language) or None,
        **{key: value for key, value in values.items() if value is not None},
    )


def render_run_card(run: RunSummary) -> str:
    """The model card of a run: Markdown with metadata.

    Raises:
        ValueError: if the metadata is not valid.
    """
    card = ModelCard.from_template(
        _metadata(run),
        template_path=str(TEMPLATE),
        run=run,
        source=run.repo_id or THIS_FOLDER,
        text=escape_markdown,
        number=_number,
        duration=_duration,
        metric_names=METRIC_NAMES,
        procedure=_procedure(run.arguments),
    )
    # Read back as the Hub does: a card whose metadata does not survive that must not be pushed.
    read = ModelCard(card.content)
    if read.data.to_dict() != card.data.to_dict():
        raise ValueError("the metadata of the model card does not read back as it was written")
    return card.content


def _metadata(run: RunSummary) -> ModelCardData:
    evaluated = plain_line(", ".join(run.evaluation_data)) or "ratings"
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name="speech quality assessment",
            # Not on the Hub: a slug, as the field must not be empty.
            dataset_type=re.sub(r"[^a-z0-9]+", "-", evaluated.lower()).strip("-") or "ratings",
            dataset_name=evaluated if len(run.results) == 1 else f"{evaluated}: {plain_line(output)}",
            # Without it, results of several outputs would count as ones of the same data, under the first name.
            dataset_config=None if len(run.results) == 1 else plain_line(output),
            dataset_split=None if run.evaluation_split is None else plain_line(run.evaluation_split),
            metric_type=metric,
            metric_name=name,
            metric_value=round(result.metrics[metric], 4),
        )
        for output, result in run.results.items()
        for metric, name in METRIC_NAMES.items()
        # Of other weights they would be claimed for these.
        if run.evaluated_step is None and math.isfinite(result.metrics[metric])
    ]
    emissions = None
    if run.compute.emissions_g is not None:
        emissions = {
            "emissions": run.compute.emissions_g,
            "source": "codecarbon",
            "geographical_location": plain_line(run.compute.emissions_place or "not known"),
            "training_type": "pre-training" if run.stage == "pretraining" else "fine-tuning",
        }
    return card_metadata(
        run.name,
        results,
        datasets=run.datasets,
        language=run.language,
        library_name="peft" if run.saved == "adapter" else "transformers",
        license=run.license,
        base_model=run.base_model,
        co2_eq_emissions=emissions,
    )


# The arguments that a reader looks for first; all are in training_args.json.
_SHOWN = {
    "learning_rate": "learning rate",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warm-up, steps or share",
    "optim": "optimiser",
    "weight_decay": "weight decay",
    "max_grad_norm": "largest gradient norm",
    "per_device_train_batch_size": "batch per process",
    "gradient_accumulation_steps": "batches per step",
    "num_train_epochs": "epochs",
    "max_steps": "steps, if fixed",
    "bf16": "bfloat16",
    "fp16": "float16",
    "seed": "seed",
    "loss": "contrastive loss",
    "negatives": "negatives",
    "false_negatives": "clips of other content at the same quality",
    "temperature": "temperature",
    "jnd_margin_weight": "weight of the JND margin",
    "jnd_preference_weight": "weight of preferences",
    "distortions": "distortions",
    "levels": "quality levels per content",
    "duration_s": "clip length of pairs in s",
    "mos_loss": "loss",
    "mos_agreement_loss": "agreement loss",
    "mos_dropout": "dropout of the head",
    "head_only_steps": "steps of the head alone",
    "layer_decay": "learning rate per layer",
    "freeze_base_model": "head alone",
    "max_duration_s": "longest clip in s",
    "crop": "part of longer clips",
    "interval_coverage": "share of held-out ratings that the 95 % intervals were fitted to",
}


def _procedure(arguments: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: arguments.get(key) for key, name in _SHOWN.items() if _is_used(key, arguments)}
    return {
        name: ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        for name, value in shown.items()
        if value is not None and value != -1
    }


def _is_used(key: str, arguments: Mapping[str, Any]) -> bool:
    """Whether an argument had any effect, given the others."""
    if key == "num_train_epochs":
        return arguments.get("max_steps", -1) <= 0
    if key in ("negatives", "false_negatives", "temperature"):
        return arguments.get("loss") != "none"
    # Stage 2 has pairs to prefer one of only if they are given.
    return key != "jnd_preference_weight" or "ratings" not in arguments or bool(arguments.get("pairs"))


def _number(value: float, digits: int = 3) -> str:
    """Significant digits, without an exponent."""
    if not math.isfinite(value):
        return "not defined"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{_number(hours)} hours"
    return f"{_number(60 * hours)} minutes" if hours >= 1 / 60 else f"{_number(3600 * hours)} seconds"
