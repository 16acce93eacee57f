"""Audio in any form → the padded 16 kHz mono batch that the JSQA models take."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType

from .waveforms import prepare_clip


class JSQAFeatureExtractor(SequenceFeatureExtractor):
    """Audio clips → `input_values` and `attention_mask`. The level is kept: loudness is part of quality.

    Args:
        feature_size: 1, a mono waveform.
        sampling_rate: rate in Hz that the model expects.
        padding_value: what fills shorter clips.
        kwargs: passed on to `SequenceFeatureExtractor`.

    Raises:
        ValueError: for a `padding_side` other than `"right"`.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self, feature_size: int = 1, sampling_rate: int = 16000, padding_value: float = 0.0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("return_attention_mask", True)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        if self.padding_side != "right":
            raise ValueError(
                f"`padding_side` must be 'right', as the models take the start of a row for the clip, but is "
                f"{self.padding_side!r}"
            )

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """Prepare one clip or a batch of clips.

        Args:
            raw_speech: one clip, or a list of clips of any lengths and channel counts, see
                `jsqa_hf.waveforms.to_mono`. A clip is an array or tensor (time,), (channels, time) or
                (time, channels), or a list of floats. A batch is a list of clips, or an array (batch, channels, time).
            sampling_rate: rate of the clips in Hz. Clips at another rate than the model's are resampled.
            padding, max_length, truncation, pad_to_multiple_of: as everywhere in transformers; lengths in samples at
                the model's rate. By default the batch is padded to its longest clip.
            return_attention_mask: overrides the extractor's own setting (True).
            return_tensors: `"pt"` or `"np"`.

        Returns:
            `BatchFeature` with `input_values` (batch, samples) float32 and `attention_mask` (batch, samples).

        Raises:
            ValueError: if the sampling rate is missing, or a clip is empty, shorter than 50 ms, not finite, or not
                scaled to full scale 1. In a batch the message names the clip's position.
        """
        if sampling_rate is None:
            raise ValueError(
                "`sampling_rate` is missing: give the rate of the audio in Hz, such as sampling_rate=48000"
            )
        is_number = isinstance(sampling_rate, Real) and not isinstance(sampling_rate, bool)
        if not is_number or not sampling_rate > 0 or sampling_rate % 1:
            raise ValueError(f"`sampling_rate` must be a whole number of Hz above 0, but is {sampling_rate!r}")
        clips, batched = self._as_list(raw_speech)
        prepared = []
        for position, clip in enumerate(clips):
            try:
                prepared.append(prepare_clip(clip, int(sampling_rate), self.sampling_rate))
            except ValueError as error:
                raise ValueError(f"clip {position} of the batch: {error}" if batched else str(error)) from error
        return self.pad(
            BatchFeature({"input_values": prepared}),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )

    @staticmethod
    def _as_list(raw_speech: Any) -> tuple[Sequence[Any], bool]:
        if isinstance(raw_speech, list | tuple):
            if not raw_speech:
                raise ValueError("there are no clips: the list is empty")
            if isinstance(raw_speech[0], int | float | np.floating | np.integer):
                return [raw_speech], False
            return raw_speech, True
        if getattr(raw_speech, "ndim", None) == 3:
            return list(raw_speech), True
        return [raw_speech], False


__all__ = ["JSQAFeatureExtractor"]
