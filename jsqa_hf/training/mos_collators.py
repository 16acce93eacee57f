"""Rated clips, and ladders of JND pairs beside them → batches of stage 2."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F
from transformers import BatchFeature

from ..feature_extraction_jsqa import JSQAFeatureExtractor
from .collators import ContrastiveCollator, decode_column_value

Crop = Literal["none", "start", "random"]


class MOSCollator:
    """Rated clips of [`jsqa_hf.data.load_mos`] with labels → a batch of [`JSQAForMOSRegression`].

    Args:
        feature_extractor: resamples and pads the clips.
        max_duration_s: longer clips are cut, unless `crop` is `"none"` (30, the clip length of the paper).
        crop: what is left of longer clips: all of them (`"none"`), their `"start"`, or a `"random"` part. Which one
            is known from seed, epoch, listening test and file alone, so that neither the number of processes or
            workers nor a resumed run changes it.
        seed: of the crops.

    Attributes:
        epoch: of the crops, counted from 0; [`MOSTrainer`] keeps it in step.
    """

    def __init__(
        self,
        feature_extractor: JSQAFeatureExtractor,
        max_duration_s: float = 30.0,
        crop: Crop = "start",
        seed: int = 0,
    ) -> None:
        if crop not in ("none", "start", "random"):
            raise ValueError(f"crop must be none, start or random, got {crop!r}")
        if not max_duration_s > 0:
            raise ValueError(f"max_duration_s must be positive, got {max_duration_s}; crop none leaves clips whole")
        self.feature_extractor = feature_extractor
        self.max_duration_s = max_duration_s
        self.crop = crop
        self.seed = seed
        # In memory that the workers share: they may outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows with `audio`, and perhaps `labels`, `clip_weight` and `corpus_id` → tensors.

        `input_values` and `attention_mask` (clips, samples), and where the rows tell, `labels` (clips, outputs),
        `clip_weights` and `corpus_ids` (clips,). Labels of a row may be one number for one output, and None where a
        rating is missing.

        Raises:
            ValueError: if a clip cannot be decoded or used; the message names its file. If there is no `audio`, as a
                plain `Trainer` removes it by default.
        """
        if "audio" not in rows[0]:
            raise ValueError(
                f"the rows have no audio, only {', '.join(rows[0])}: set remove_unused_columns=False in the "
                "TrainingArguments, or use MOSTrainer"
            )
        clips = [self._samples(row) for row in rows]
        batch = self.feature_extractor.pad(BatchFeature({"input_values": clips}), return_tensors="pt")
        result = dict(batch)
        if any("labels" in row for row in rows):
            result["labels"] = torch.stack([_labels(row["labels"]) for row in rows])
        if all("clip_weight" in row for row in rows):
            result["clip_weights"] = torch.tensor([row["clip_weight"] for row in rows])
        if all("corpus_id" in row for row in rows):
            result["corpus_ids"] = torch.tensor([row["corpus_id"] for row in rows])
        return result

    def _samples(self, row: Mapping[str, Any]) -> np.ndarray:
        samples, sampling_rate = decode_column_value(row["audio"])
        if self.crop != "none":
            length = round(self.max_duration_s * sampling_rate)
            start = self._start(row, samples.shape[1] - length)
            samples = samples[:, start : start + length]
        try:
            return self.feature_extractor(samples, sampling_rate=sampling_rate)["input_values"][0]
        except ValueError as error:
            raise ValueError(f"{_file_name(row) or 'clip'}: {error}") from error

    def _start(self, row: Mapping[str, Any], last: int) -> int:
        if self.crop == "start" or last <= 0:
            return 0
        return int(self.random(row).integers(last + 1))

    def random(self, row: Mapping[str, Any], *purpose: str) -> np.random.Generator:
        """A generator for what is drawn for a row in this epoch."""
        # Not the path: the same data may lie elsewhere on another machine.
        key = json.dumps([self.seed, self.epoch, row.get("corpus_id"), _file_name(row), *purpose])
        digest = hashlib.sha256(key.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))


def _file_name(row: Mapping[str, Any]) -> str | None:
    if row.get("file"):
        return row["file"]
    audio = row["audio"]
    return os.fspath(audio) if isinstance(audio, str | os.PathLike) else audio.get("path")


def _labels(given: Any) -> torch.Tensor:
    """(outputs,) of a row; NaN where there is None."""
    values = given if isinstance(given, torch.Tensor | np.ndarray | list | tuple) else [given]
    if isinstance(values, list | tuple):
        values = [math.nan if value is None else value for value in values]
    return torch.as_tensor(values, dtype=torch.float32).detach().reshape(-1)


class LadderedMOSCollator(MOSCollator):
    """As [`MOSCollator`], with ladders of JND pairs in every batch, which nobody has rated.

    They let [`JSQAForMOSRegression`] learn which of two clips is better where ratings are few.

    Args:
        ladders: rows of [`jsqa_hf.jnd.JNDPairGenerator`].
        ladders_per_clip: how many come with a rated clip, above 0; 0.5 gives one to every other clip on average. Which
            ones, and to which clips, is known as crops are.
        args, kwargs: see [`MOSCollator`].
    """

    def __init__(self, ladders: Any, ladders_per_clip: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not ladders_per_clip > 0:
            raise ValueError(f"ladders_per_clip must be above 0, got {ladders_per_clip}")
        if "severity_jnd" not in ladders[0]:
            raise ValueError("the JND pairs have no column severity_jnd: make them with `jsqa pairs`")
        self.ladders, self.ladders_per_clip = ladders, ladders_per_clip
        self.collate_ladders = ContrastiveCollator(self.feature_extractor)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As [`MOSCollator`], the clips of the ladders last.

        Their `labels` are NaN, their `clip_weights` 1 and their `corpus_ids` 0. `content_ids`, `quality` and
        `distortion_ids` (clips,) are as of [`ContrastiveCollator`]; every rated clip is a content of its own.
        """
        batch = super().__call__(rows)
        count = len(rows)
        batch["content_ids"] = -1 - torch.arange(count)
        batch["quality"] = torch.zeros(count)
        batch["distortion_ids"] = torch.zeros(count, dtype=torch.int64)
        drawn = [self.ladders[index] for row in rows for index in self._drawn(row)]
        if not drawn:
            return batch
        ladders = self.collate_ladders(drawn)
        further = len(ladders["input_values"])
        for name, value in (("labels", float("nan")), ("clip_weights", 1.0), ("corpus_ids", 0)):
            if name in batch:
                ladders[name] = batch[name].new_full((further, *batch[name].shape[1:]), value)
        samples = max(part["input_values"].shape[1] for part in (batch, ladders))
        for part in (batch, ladders):
            for name in ("input_values", "attention_mask"):
                part[name] = F.pad(part[name], (0, samples - part[name].shape[1]))
        return {name: torch.cat([values, ladders[name]]) for name, values in batch.items()}

    def _drawn(self, row: Mapping[str, Any]) -> list[int]:
        generator = self.random(row, "ladders")
        count = int(self.ladders_per_clip + generator.random())
        return generator.integers(len(self.ladders), size=count).tolist()  # type: ignore[no-any-return]
