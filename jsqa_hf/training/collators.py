"""Ladders of JND pairs → batches of stage 1."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch

from ..audio import decode_audio
from ..feature_extraction_jsqa import JSQAFeatureExtractor
from ..resampling import resample
from ..waveforms import to_mono


def decode_column_value(audio: Mapping[str, Any] | str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """One value of an `Audio(decode=False)` column → samples (channels, time) float32 and sampling rate in Hz.

    A path will do. A decoded one, with `array` and `sampling_rate`, becomes mono, see `jsqa_hf.waveforms.to_mono`.
    """
    if isinstance(audio, str | os.PathLike):
        return decode_audio(audio)
    if "array" in audio:
        return to_mono(audio["array"])[None], int(audio["sampling_rate"])
    return decode_audio(audio["bytes"] if audio.get("bytes") else audio["path"])


_MOST_PASSES_TO_REPEAT = 100


class ContrastiveCollator:
    """Ladders of [`jsqa_hf.jnd.JNDPairGenerator`] → a batch of [`JSQAForContrastivePretraining`].

    Args:
        feature_extractor: pads the clips, once they are resampled to its rate.
        max_delay_s: up to so many seconds are cut off the start of a clip, and the sign of half of the clips is
            changed. Nobody hears either, but a model that has only seen pairs in step takes both for differences. How
            much, and of which clips, is known from their samples alone.

    Raises:
        ValueError: if `max_delay_s` is negative.
    """

    def __init__(self, feature_extractor: JSQAFeatureExtractor, max_delay_s: float = 0.0) -> None:
        if not max_delay_s >= 0:
            raise ValueError(f"max_delay_s must not be below 0, got {max_delay_s}")
        self.feature_extractor = feature_extractor
        self.max_delay_s = max_delay_s

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows with `clips` (two per level, level after level) → tensors.

        Clips are encoded, or arrays at the rate in `sampling_rate`; without that, at that of the feature extractor.

        `input_values` and `attention_mask` (clips, samples); `pair_ids` and `content_ids` (clips,), counted from 0;
        from rows that tell of severities, `quality` (clips,), in JNDs, and `distortion_ids` (clips,), the same for
        clips whose severities compare: those of one distortion, and within a chain of several those of one content,
        as the other distortions differ between contents.
        """
        clips = [self._samples(clip, row.get("sampling_rate")) for row in rows for clip in row["clips"]]
        contents = [content for content, row in enumerate(rows) for _ in row["clips"]]
        batch = self.feature_extractor(clips, sampling_rate=self.feature_extractor.sampling_rate, return_tensors="pt")
        labels = {"pair_ids": torch.arange(len(clips)) // 2, "content_ids": torch.tensor(contents)}
        if all("severity_jnd" in row for row in rows):
            labels["quality"] = torch.tensor([jnds for row in rows for jnds in row["severity_jnd"]])
            labels["distortion_ids"] = torch.tensor([comparable_group(rows[content]) for content in contents])
        return {**batch, **labels}

    def _samples(self, clip: Any, array_rate: int | None) -> np.ndarray:
        new_rate = self.feature_extractor.sampling_rate
        channels, rate = decode_column_value(clip) if isinstance(clip, Mapping) else ([clip], array_rate or new_rate)
        samples = resample(np.asarray(channels[0], dtype=np.float32), rate, new_rate)
        return self._out_of_step(samples) if self.max_delay_s else samples

    def _out_of_step(self, samples: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(zlib.crc32(samples.tobytes()))
        longest = round(self.max_delay_s * self.feature_extractor.sampling_rate)
        # Half of the clip stays, however short it is.
        start = int(rng.integers(min(longest, len(samples) // 2) + 1))
        return samples[start:] * np.float32(rng.choice((-1, 1)))


def comparable_group(row: Mapping[str, Any]) -> int:
    """An id for what severities compare among, the same in every process."""
    name = row["distortion"] if row["chain"] == row["distortion"] else f"{row['chain']} of {row['content_id']}"
    return zlib.crc32(name.encode())


def repeat_with_index(dataset: datasets.Dataset, rows: int) -> datasets.Dataset:
    """Repeat a dataset until it has at least `rows` rows, and number the passes in the column `repetition`.

    With [`jsqa_hf.jnd.JNDPairGenerator`] every pass over the same utterances then makes new pairs, and which ones is
    known from the row alone: there is no epoch to keep in step between processes or to restore on resuming.
    """
    passes = max(1, -(-rows // len(dataset)))
    repetition = np.repeat(np.arange(passes), len(dataset))
    # `repeat` copies nothing, but every access gets slower with the number of passes.
    if passes <= _MOST_PASSES_TO_REPEAT:
        repeated = dataset.repeat(passes)
    else:
        repeated = dataset.select(np.tile(np.arange(len(dataset)), passes))
    return repeated.add_column("repetition", repetition)
