"""What a run tells its model card."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import Trainer

from ..data import parse_mos_source
from ..data.hub import HUB_PREFIX
from ..jnd.new_folder import RECORD_NAME as PAIRS_RECORD_NAME
from ..model_card import Compute, OutputResult, RunSummary, evaluate_outputs
from ..modeling_jsqa import JSQAForContrastivePretraining, JSQAForMOSRegression
from .arguments import resolved_arguments
from .inner_model import inner_model, saved_as
from .record import RECORD_NAME, describe_hardware, package_versions

EMISSIONS_NAME = "emissions.csv"
_TRAINING_SOURCES = {
    "pairs": "pairs",
    "speech": "speech",
    "noise": "noise",
    "talkers": "other talkers",
    "rirs": "room impulse responses",
    "ratings": "ratings",
}
_SPLITS = {
    "speech": "speech_split",
    "noise": "noise_split",
    "other talkers": "talkers_split",
    "room impulse responses": "rirs_split",
    "ratings": "split",
}
# Options that pairs are made with, which those of a run with stored pairs do not tell.
_OF_PAIRS = (
    *("speech", "noise", "talkers", "rirs", "speech_split", "noise_split", "talkers_split", "rirs_split"),
    *("distortions", "levels", "duration_s"),
)


@dataclass
class CardArguments:
    """What a run can't know, but its model card should say."""

    license: str | None = field(default=None, metadata={"help": "of the model, as the Hub names it: apache-2.0, ..."})
    language: list[str] = field(default_factory=list, metadata={"help": "codes of the languages of the data: en, ..."})
    card_datasets: list[str] = field(
        default_factory=list, metadata={"help": "Hub ids of datasets behind local paths: openslr/librispeech_asr, ..."}
    )

    def __post_init__(self) -> None:
        for name in self.card_datasets:
            if not _is_hub_id(name):
                raise ValueError(f"--card_datasets: {name!r} is no Hub id such as openslr/librispeech_asr")


def summarise_run(
    trainer: Trainer,
    arguments: Sequence[Any],
    predictions: Mapping[str, tuple[Any, Any, Any]],
    steps: tuple[int, int | None],
    hours: float,
    finished: bool,
) -> RunSummary:
    """All that the model card says about a run.

    Args:
        trainer: of the run.
        arguments: further dataclasses of arguments, among them perhaps [`CardArguments`].
        predictions: scores, variances and labels of the last evaluation, (clips, outputs) each, by the name of the
            set, which is empty for the only one.
        steps: which the weights are of, and which those that were evaluated last; None if this start evaluated none.
        hours: since this start of the run.
        finished: whether no more steps are to come.
    """
    trained: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    rater = inner_model(trained, JSQAForMOSRegression)
    model = rater or inner_model(trained, JSQAForContrastivePretraining) or trained
    values = _with_stored_pairs(resolved_arguments([*arguments, trainer.args]))
    card = next((part for part in arguments if isinstance(part, CardArguments)), CardArguments())
    output = Path(str(trainer.args.output_dir))
    step, repo_id = trainer.state.global_step, trainer.args.hub_model_id if trainer.args.push_to_hub else None
    start, from_scratch = _start(model, values)
    training = {use: _as_list(values.get(name)) for name, use in _TRAINING_SOURCES.items()}
    evaluation = _evaluation_sources(values)
    sources = [text for texts in training.values() for text in texts]
    logged_step, metrics = _last_evaluation(trainer.state.log_history)
    weights_step, evaluated_step = steps[0], logged_step if steps[1] is None else steps[1]
    return RunSummary(
        name=(repo_id or output.absolute().name).rpartition("/")[2],
        stage="finetuning" if rater else "pretraining",
        step=step,
        total_steps=step if finished else trainer.state.max_steps,
        compute=_compute(trainer, trained, model.config.sampling_rate, output, hours),
        arguments=values,
        training_data={use: [source_name(text) for text in texts] for use, texts in training.items() if texts},
        training_splits={use: ", ".join(_as_list(values[name])) for use, name in _SPLITS.items() if values.get(name)},
        evaluation_data=[source_name(text) for text in evaluation],
        evaluation_split=", ".join(_as_list(values.get("eval_split") or values.get("eval_speech_split"))) or None,
        rows={use: _length(rows) for use, rows in (("train", trainer.train_dataset), ("eval", trainer.eval_dataset))},
        results=_results(model.config.mos_output_names, predictions) if rater else {},
        metrics=metrics,
        evaluated_step=None if evaluated_step == weights_step else evaluated_step,
        output_names=model.config.mos_output_names if rater else (),
        score_range=tuple(model.config.mos_score_range),
        sampling_rate=model.config.sampling_rate,
        jnd_calibration=None if rater else getattr(model.config, "jnd_calibration", None),
        versions=package_versions(),
        repo_id=repo_id,
        saved=saved_as(trained),
        from_scratch=from_scratch,
        base_model=start if start and _is_hub_id(start) else None,
        base_name=Path(start).absolute().name if start and not _is_hub_id(start) else None,
        datasets=sorted({*card.card_datasets, *filter(None, map(_dataset_id, sources))}),
        license=card.license,
        language=card.language,
    )


def _with_stored_pairs(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of a run, in which those about pairs are those that its stored pairs, if any, were made with.

    None where that isn't known: pairs on the Hub, or from before there were records.
    """
    if not values.get("pairs"):
        return values
    try:
        record = json.loads((Path(values["pairs"]) / PAIRS_RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {}
    options = (record.get("options") if isinstance(record, dict) else None) or {}
    return {**values, **{name: options.get(name) for name in _OF_PAIRS}}


def _start(model: Any, values: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Hub id or folder of what a run started from, if known, and whether it is known to be random weights.

    The scripts' arguments tell; a model that came without them knows where it was loaded from.
    """
    if not values.keys() & {"model", "backbone"}:
        return getattr(model, "name_or_path", None) or None, False
    start = None if values.get("from_scratch") else values.get("model") or values.get("backbone")
    return start, start is None


def _results(output_names: Sequence[str], predictions: Mapping[str, tuple[Any, Any, Any]]) -> dict[str, OutputResult]:
    """Of each output on each set."""
    return {
        f"{output} on {name}" if name else output: result
        for name, evaluated in predictions.items()
        for output, result in evaluate_outputs(output_names, *evaluated).items()
    }


def source_name(text: str) -> str:
    """The name of a corpus as a card may show it, without the folders of the machine that it lies on."""
    hub_id = _dataset_id(text)
    if hub_id is not None:
        return hub_id
    name, root = _parsed(text)
    if name not in ("csv", "folder"):
        return name
    path = Path(root).absolute()
    # A table's own name, such as ratings.csv, says little.
    return f"{path.parent.name}/{path.name}" if path.suffix else path.name


def _parsed(text: str) -> tuple[str, str]:
    try:
        return parse_mos_source(text)
    except ValueError:
        name, colon, root = text.partition(":")
        return (name, root) if colon and root and "/" not in name else ("folder", text)


def _dataset_id(text: str) -> str | None:
    """The Hub id in `hub:OWNER/NAME` or `hub:OWNER/NAME:CONFIG`, with or without a corpus before it, or by itself."""
    root = text if text.startswith(HUB_PREFIX) else _parsed(text)[1]
    name = root.removeprefix(HUB_PREFIX).partition(":")[0] if root.startswith(HUB_PREFIX) else root
    return name if _is_hub_id(name) else None


def _is_hub_id(text: str) -> bool:
    """True for `owner/name` where no such path exists."""
    if text.count("/") != 1 or Path(text).exists():
        return False
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def _evaluation_sources(values: Mapping[str, Any]) -> list[str]:
    """Stage 2 evaluates on other splits of the same tests unless others are given."""
    if values.get("eval_split") and not values.get("eval_ratings"):
        return _as_list(values.get("ratings"))
    return [text for name in ("eval_ratings", "eval_speech", "eval_noise") for text in _as_list(values.get(name))]


def _as_list(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(one) for one in value]


def _length(rows: Any) -> int | None:
    """Number of rows, of all sets if there are several; None if one does not know its own."""
    if isinstance(rows, Mapping):
        lengths = [_length(one) for one in rows.values()]
        return None if None in lengths else sum(filter(None, lengths))
    return len(rows) if hasattr(rows, "__len__") else None


def _last_evaluation(log_history: Sequence[Mapping[str, Any]]) -> tuple[int | None, dict[str, float]]:
    """Step, None if there was none, and figures of the last evaluation, without those of its speed."""
    evaluations = [log for log in log_history if any(name.startswith("eval_") for name in log)]
    step = evaluations[-1].get("step") if evaluations else None
    # Each of several sets has an entry of its own.
    last = {name: value for log in evaluations if log.get("step") == step for name, value in log.items()}
    ignored = ("_runtime", "_per_second")
    return step, {
        name.removeprefix("eval_"): float(value)
        for name, value in last.items()
        if name.startswith("eval_") and not name.endswith(ignored) and isinstance(value, (int, float))
    }


def _compute(trainer: Trainer, model: Any, sampling_rate: int, output: Path, hours: float) -> Compute:
    earlier, killed = _earlier_hours(output / RECORD_NAME, hours)
    energy, emissions, place = _emissions(output / EMISSIONS_NAME)
    seen = trainer.state.num_input_tokens_seen
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return Compute(
        hours=earlier,
        killed_starts=killed,
        devices=[] if trainer.args.device.type == "cpu" else describe_hardware()["accelerators"],
        processes=trainer.args.world_size,
        parameters=sum(size for size, _ in sizes),
        trained_parameters=sum(size for size, trained in sizes if trained),
        audio_hours=seen / sampling_rate / 3600 if seen else None,
        energy_kwh=energy,
        emissions_g=emissions,
        emissions_place=place,
    )


def _earlier_hours(record: Path, hours: float) -> tuple[float, int]:
    """Hours of all starts, and how many earlier ones were killed; this one is the last, if it is still running."""
    try:
        starts = json.loads(record.read_text(encoding="utf-8"))["starts"]
    except FileNotFoundError:
        return hours, 0
    if starts and starts[-1]["status"] == "running":
        starts = starts[:-1]
    else:
        hours = 0.0
    known = [start["wall_time_s"] for start in starts if "wall_time_s" in start]
    return hours + sum(known) / 3600, len(starts) - len(known)


def _emissions(path: Path) -> tuple[float | None, float | None, str | None]:
    """kWh and grams that CodeCarbon wrote, over all starts, and the countries whose electricity it counted with."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        energy = sum(float(row["energy_consumed"]) for row in rows)
        # CodeCarbon writes kilograms.
        grams = 1000 * sum(float(row["emissions"]) for row in rows)
        return energy, grams, ", ".join(sorted({row["country_name"] for row in rows}))
    except FileNotFoundError:
        return None, None, None
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not as CodeCarbon writes it ({error!r}); move it away") from error
