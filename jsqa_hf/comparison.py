"""Comparing clips: how many just-noticeable differences (JNDs) they are apart, who notices, and which is better.

The clips need neither alignment in time nor a reference. JNDs come from a contrastive model (stage 1) with a JND
calibration, the better clip from a MOS model (stage 2).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from . import (
    DEFAULT_COMPARISON_CHECKPOINT,
    JSQAForContrastivePretraining,
    JSQAForMOSRegression,
    SpeechQualityPipeline,
)
from .jnd_scale import JNDScale
from .scoring import load_pipeline, load_whole_model, locate_checkpoint
from .windowed_scores import WeightedMean

__all__ = ["Comparer", "Comparison", "Projection", "compare", "load_comparer"]

Projection = NDArray[np.float64]

ComparisonModel = str | os.PathLike[str] | JSQAForContrastivePretraining
MOSModel = str | os.PathLike[str] | JSQAForMOSRegression | SpeechQualityPipeline


@dataclass(frozen=True)
class Comparison:
    """How two clips, a and b, sound beside each other.

    Attributes:
        jnds: number of JNDs between them, 0 or more.
        probability_noticed: share of listeners expected to notice the difference, see `JNDScale`.
        mos_a, mos_b: their MOS, each as `SpeechQualityPipeline` rates it.
        better: the one with the higher MOS; "a" if both are equal (then with a confidence of 0.5).
        better_confidence: probability in [0.5, 1] that a listening panel also gives `better` the higher MOS, if the
            model's errors for the two clips are normally distributed with the variances that it predicts, and
            independent of each other, which those for clips of the same speech need not be (docs/comparing.md has what
            was measured). It says nothing about whether the difference is heard: `probability_noticed` does.
        beyond_scale: the clips are farther apart than any that the scale was measured on: `jnds` is a lower limit.
        jnds_error: mean absolute error of `jnds` on utterances held out from the calibration; None: not known.
    """

    jnds: float
    probability_noticed: float
    mos_a: float
    mos_b: float
    better: Literal["a", "b"]
    better_confidence: float
    beyond_scale: bool
    jnds_error: float | None

    @property
    def below_one_jnd(self) -> bool:
        """Whether the clips are less than one just-noticeable difference apart."""
        return self.jnds < 1


def compare(
    a: Any,
    b: Any,
    model: ComparisonModel | Comparer | None = None,
    *,
    mos_model: MOSModel | None = None,
    device: Any = None,
) -> Comparison:
    """Compare two clips, see [`Comparer.compare`]. For more than a few, make a [`Comparer`] once.

    Args:
        a, b: whatever `SpeechQualityPipeline` takes for one input: path, bytes, array at 16 kHz, dict.
        model: see `load_comparer`, or a `Comparer`.
        mos_model, device: see `load_comparer`.

    Raises:
        OSError, ValueError: see `load_comparer`, and `SpeechQualityPipeline` for clips that can't be used.
    """
    comparer = model if isinstance(model, Comparer) else load_comparer(model, mos_model, device)
    return comparer.compare(a, b)


def load_comparer(
    model: ComparisonModel | None = None, mos_model: MOSModel | None = None, device: Any = None
) -> Comparer:
    """Make a comparer from whatever tells the models.

    Args:
        model: the contrastive model: folder of a checkpoint, its name on the Hub, a loaded model, or None for
            `DEFAULT_COMPARISON_CHECKPOINT`.
        mos_model: what tells which is better, see `jsqa_hf.scoring.load_pipeline`.
        device: such as `"cpu"` or `"cuda:0"`; None takes an accelerator if there is one.

    Raises:
        OSError: there is no such checkpoint.
        ValueError: it isn't a contrastive model of JSQA, or has no JND calibration, or the two models take different
            sampling rates.
    """
    if not isinstance(model, JSQAForContrastivePretraining):
        model = _load_model(model)
    return Comparer(model, load_pipeline(mos_model, device))


def _load_model(checkpoint: str | os.PathLike[str] | None) -> JSQAForContrastivePretraining:
    if checkpoint is None:
        if not DEFAULT_COMPARISON_CHECKPOINT.is_dir():
            raise FileNotFoundError(
                f"no model for comparisons comes with this installation ({DEFAULT_COMPARISON_CHECKPOINT} is missing): "
                "name a pretrained one with a JND calibration"
            )
        checkpoint = DEFAULT_COMPARISON_CHECKPOINT
    name = locate_checkpoint(checkpoint)
    model = load_whole_model(
        JSQAForContrastivePretraining,
        name,
        "the contrastive model",
        "comparing needs a checkpoint of stage 1, the pretraining",
    )
    if model.config.jnd_scale is None:
        raise ValueError(f"{name}: {_NOT_CALIBRATED}")
    return model


_NOT_CALIBRATED = (
    "this contrastive model has no JND calibration: pretrain with evaluation speech (`--eval_speech`), or run "
    "`jsqa_hf.training.calibrate_model`"
)


class Comparer:
    """Compares clips with a contrastive and a MOS model.

    Clips are split into windows as by `SpeechQualityPipeline`. The projections of a clip's windows are averaged with
    the weights of their scores, and the mean is brought back to unit length, where the JND scale was measured (our
    choice): a clip of one window, up to 30 s, is compared as in the calibration; a longer one by its average sound, in
    which a short disturbance counts little. Memory doesn't grow with the length of clips.

    Args:
        model: contrastive, with a JND calibration.
        pipeline: rates MOS; its device is used for both.

    Raises:
        ValueError: if the model has no JND calibration, or the two take different sampling rates.
    """

    def __init__(self, model: JSQAForContrastivePretraining, pipeline: SpeechQualityPipeline) -> None:
        scale = model.config.jnd_scale
        if scale is None:
            raise ValueError(_NOT_CALIBRATED)
        if model.config.sampling_rate != pipeline.model.config.sampling_rate:
            raise ValueError(
                f"the contrastive model takes {model.config.sampling_rate} Hz, but the MOS model "
                f"{pipeline.model.config.sampling_rate} Hz; use two of the same rate"
            )
        self.scale: JNDScale = scale
        self.model: Any = model.eval().to(pipeline.device)
        self.pipeline = pipeline

    def compare(self, a: Any, b: Any) -> Comparison:
        """Compare two clips.

        Args:
            a, b: whatever `SpeechQualityPipeline` takes for one input. They need not be equally long, nor aligned if
                the model learned so, as the embedded one did (`max_delay_s` of `ContrastiveCollator`). The JND scale
                was measured on clips of the same speech: between different words or voices the number of JNDs also
                holds what is said and who says it.

        Raises:
            ValueError: a clip can't be decoded, is too short, silent, or not finite; see `SpeechQualityPipeline`.
            TypeError: an input is none of those.
        """
        first, mos_a, variance_a = self._project_and_rate(a)
        second, mos_b, variance_b = self._project_and_rate(b)
        distance = self.distances(first, second[None])[0]
        jnds = float(self.scale.jnds_between(distance))
        # Variances are above 0, see the MOS head.
        confidence = NormalDist().cdf(abs(mos_a - mos_b) / math.sqrt(variance_a + variance_b))
        return Comparison(
            jnds=jnds,
            probability_noticed=float(self.scale.probability_noticed(jnds)),
            mos_a=mos_a,
            mos_b=mos_b,
            better="a" if mos_a >= mos_b else "b",
            better_confidence=confidence,
            beyond_scale=bool(distance > self.scale.distances[-1]),
            jnds_error=self.scale.error_jnds,
        )

    def project(self, audio: Any) -> Projection:
        """Where a clip lies in the space of the contrastive model.

        Args:
            audio: see [`Comparer.compare`].

        Returns:
            (projection_size,), of unit length. Equal clips give equal ones.

        Raises:
            ValueError, TypeError: see [`Comparer.compare`].
        """
        mean = WeightedMean()
        for window in self._windows(audio):
            mean.add(self._project_window(window))
        return _direction(mean)

    def distances(self, projection: Projection, others: Projection) -> NDArray[np.float64]:
        """Euclidean distances from one projection, (projection_size,), to others, (clips, projection_size)."""
        return np.linalg.norm(others - projection, axis=-1)

    def _project_and_rate(self, audio: Any) -> tuple[Projection, float, float]:
        projections, ratings = WeightedMean(), WeightedMean()
        for window in self._windows(audio):
            projections.add(self._project_window(window))
            ratings.add(self.pipeline.forward(dict(window)))
        means, variances = ratings.result()
        scores = self.pipeline.name_scores(means, variances, 0.95)
        index = list(self.pipeline.model.config.mos_output_names).index("mos")
        return _direction(projections), scores["mos"], float(variances[index])

    def _windows(self, audio: Any) -> Iterator[dict[str, Any]]:
        parameters = {**self.pipeline._preprocess_params, "curve": False}
        return self.pipeline.preprocess(audio, **parameters)

    @torch.inference_mode()
    def _project_window(self, window: dict[str, Any]) -> dict[str, Any]:
        """The window as `WeightedMean` takes it, with its projection in the place of the scores."""
        inputs = {key: window[key].to(self.pipeline.device) for key in ("input_values", "attention_mask")}
        projections = self.model(**inputs, return_loss=False, return_dict=True).projections.double().cpu().numpy()
        return {**window, "scores": projections, "variances": np.zeros_like(projections)}


def _direction(mean: WeightedMean) -> Projection:
    total = mean.result()[0]
    length = np.linalg.norm(total)
    if not 0 < length < math.inf:
        raise ValueError("the contrastive model gives no finite projection; check its weights and its number format")
    return total / length
