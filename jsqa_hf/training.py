"""What the training scripts share: arguments, collators, and the Trainer that both stages use."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import yaml
from transformers import BatchFeature, EvalPrediction, HfArgumentParser, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from .audio import decode_audio
from .feature_extraction_jsqa import JSQAFeatureExtractor
from .metrics import mos_metrics


def parse_arguments(dataclass_types: Sequence[type], argv: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Read arguments from a YAML file and the command line.

    Args:
        dataclass_types: dataclasses as `HfArgumentParser` takes them.
        argv: command line without the program's name; `sys.argv[1:]` if None. If its first word ends in `.yaml` or
            `.yml`, the values of that file are the defaults that the rest overrides.

    Returns:
        One instance per dataclass.

    Raises:
        SystemExit: for arguments that do not exist or miss, with a message on stderr, as `argparse` does.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(list(dataclass_types), allow_abbrev=False)  # type: ignore[arg-type]
    if words and Path(words[0]).suffix in {".yaml", ".yml"}:
        config = Path(words.pop(0))
        values = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        unknown = set(values) - {action.dest for action in parser._actions}
        if unknown:
            parser.error(f"{config}: {', '.join(sorted(unknown))} is not an argument; --help lists them")
        for action in parser._actions:
            if action.dest in values:
                action.required = False
        parser.set_defaults(**values)
    *parsed, unused = parser.parse_args_into_dataclasses(
        words, return_remaining_strings=True, look_for_args_file=False
    )
    if unused:
        parser.error(f"unrecognized arguments: {' '.join(unused)}")
    return tuple(parsed)


def decode_column_value(audio: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """One value of an `Audio(decode=False)` column → samples (channels, time) float32 and sampling rate in Hz."""
    return decode_audio(audio["bytes"] if audio.get("bytes") else audio["path"])


class ContrastiveCollator:
    """Ladders of [`jsqa_hf.jnd.JNDPairGenerator`] → a batch of [`JSQAForContrastivePretraining`].

    Args:
        feature_extractor: pads the clips.
    """

    def __init__(self, feature_extractor: JSQAFeatureExtractor) -> None:
        self.feature_extractor = feature_extractor

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows with `clips` (two per level, level after level) → `input_values`, `attention_mask` (clips, samples),
        `pair_ids` and `content_ids` (clips,)."""
        clips: list[np.ndarray] = []
        pair_ids: list[int] = []
        content_ids: list[int] = []
        for content, row in enumerate(rows):
            for clip in row["clips"]:
                pair_ids.append(len(clips) // 2)
                content_ids.append(content)
                clips.append(self._samples(clip))
        batch = self.feature_extractor(clips, sampling_rate=self.feature_extractor.sampling_rate, return_tensors="pt")
        return {**batch, "pair_ids": torch.tensor(pair_ids), "content_ids": torch.tensor(content_ids)}

    def _samples(self, clip: Any) -> np.ndarray:
        if isinstance(clip, Mapping):
            samples, _ = decode_column_value(clip)
            return samples[0]
        return np.asarray(clip, dtype=np.float32)


class MOSCollator:
    """Rated clips of [`jsqa_hf.data.load_mos`] with labels → a batch of [`JSQAForMOSRegression`].

    Args:
        feature_extractor: resamples and pads the clips.
        max_duration_s: longer clips are cut to their first seconds (30, the clip length of the paper).
    """

    def __init__(self, feature_extractor: JSQAFeatureExtractor, max_duration_s: float = 30.0) -> None:
        self.feature_extractor = feature_extractor
        self.max_duration_s = max_duration_s

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows with `audio` and `labels` → `input_values`, `attention_mask` and `labels` (clips, outputs).

        Raises:
            ValueError: if a clip cannot be decoded or used; the message names its file.
        """
        clips = [self._samples(row) for row in rows]
        batch = self.feature_extractor.pad(BatchFeature({"input_values": clips}), return_tensors="pt")
        return {**batch, "labels": torch.tensor([row["labels"] for row in rows], dtype=torch.float32)}

    def _samples(self, row: Mapping[str, Any]) -> np.ndarray:
        samples, sampling_rate = decode_column_value(row["audio"])
        samples = samples[:, : round(self.max_duration_s * sampling_rate)]
        try:
            return self.feature_extractor(samples, sampling_rate=sampling_rate)["input_values"][0]
        except ValueError as error:
            raise ValueError(f"{row.get('file', 'clip')}: {error}") from error


def repeat_with_index(dataset: datasets.Dataset, rows: int) -> datasets.Dataset:
    """Repeat a dataset until it has at least `rows` rows, and number the passes in the column `repetition`.

    With [`jsqa_hf.jnd.JNDPairGenerator`] every pass over the same utterances then makes new pairs, and which ones is
    known from the row alone: there is no epoch to keep in step between processes or to restore on resuming.
    """
    passes = max(1, -(-rows // len(dataset)))
    repetition = np.repeat(np.arange(passes), len(dataset))
    return dataset.repeat(passes).add_column("repetition", repetition)


def compute_mos_metrics(output_names: Sequence[str]) -> Any:
    """A `compute_metrics` function for Trainer: [`mos_metrics`] per rated output, under its name if several."""

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        scores, labels = prediction.predictions[0], np.asarray(prediction.label_ids)
        results: dict[str, float] = {}
        for column, name in enumerate(output_names):
            if np.isnan(labels[:, column]).all():
                continue
            metrics = mos_metrics(scores[:, column], labels[:, column])
            prefix = "" if len(output_names) == 1 else f"{name}_"
            results.update({f"{prefix}{key}": value for key, value in metrics.items()})
        return results

    return compute


def run_training(trainer: Trainer, args: TrainingArguments) -> dict[str, float]:
    """Train, resuming from the last checkpoint in the output folder if there is one; save the model and the metrics.

    Returns:
        All metrics, also in `metrics.json` in the output folder.
    """
    output = Path(str(args.output_dir))
    last_checkpoint = get_last_checkpoint(str(output)) if output.is_dir() else None
    metrics = trainer.train(resume_from_checkpoint=last_checkpoint).metrics
    metrics["train_steps"] = trainer.state.global_step
    evaluations = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    # There is none where `dataloader_drop_last` leaves no whole batch to evaluate on.
    if args.eval_on_start and evaluations:
        metrics["initial_eval_loss"] = evaluations[0]
    if trainer.eval_dataset is not None:
        metrics |= trainer.evaluate()
    trainer.save_model()
    trainer.save_state()
    if trainer.is_world_process_zero():
        write_metrics(output / "metrics.json", metrics)
    return metrics


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(metrics), indent=2, sort_keys=True) + "\n", encoding="utf-8")


__all__ = [
    "ContrastiveCollator",
    "MOSCollator",
    "compute_mos_metrics",
    "parse_arguments",
    "repeat_with_index",
    "run_training",
    "write_metrics",
]
