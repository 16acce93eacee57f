"""The metrics for Hugging Face `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from .agreement import condition_metrics, mos_metrics, p1401_metrics
from .p1401 import condition_means, rating_ci95

_DESCRIPTION = (
    "Agreement of predicted with rated speech quality: RMSE, MAE, Pearson (PCC) and Spearman (SRCC) correlation, "
    "Kendall's tau, and the errors of ITU-T P.1401 after first- and third-order mapping, per clip and per condition."
)
_INPUTS = """
Args:
    predictions: one predicted rating per clip, NaN where there is none: such clips are left out.
    references: one rating per clip on the same scale, NaN where a clip was not rated.
    p1401: also RMSE after mapping, RMSE* and the intervals of ITU-T P.1401.
    mos_std: sample standard deviation of the votes on each clip, for RMSE*.
    n_votes: number of votes on each clip, for RMSE*.
    conditions: name of the condition of each clip, None or NaN where it has none; the figures are then those of the
        means per condition, of which n is the number: clips and conditions that are left out aren't counted.
"""
_CITATION = """@inproceedings{fan2025jsqa,
  title = {{JSQA}: Speech Quality Assessment with Perceptually-Inspired Contrastive Pretraining Based on {JND} Audio Pairs},
  author = {Fan, Junyi and Williamson, Donald},
  booktitle = {IEEE Workshop on Applications of Signal Processing to Audio and Acoustics},
  year = {2025}
}"""  # noqa: E501


class SpeechQualityMetrics(evaluate.Metric):
    """[`mos_metrics`] and [`p1401_metrics`] as an `evaluate` metric.

    `SpeechQualityMetrics().compute(predictions=..., references=...)`, or `p1401=True`, `mos_std`, `n_votes` and
    `conditions` with it, see `inputs_description`.
    """

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": number, "references": number}),
        )

    def _compute(
        self,
        predictions: Sequence[float],
        references: Sequence[float],
        p1401: bool = False,
        mos_std: Sequence[float] | None = None,
        n_votes: Sequence[float] | None = None,
        conditions: Sequence[Any] | None = None,
    ) -> dict[str, Any]:
        given = {"references": references, "mos_std": mos_std, "n_votes": n_votes, "conditions": conditions}
        for name, values in given.items():
            if values is not None and len(values) != len(predictions):
                raise ValueError(f"{len(values)} {name} for {len(predictions)} clips: give one of each per clip")
        predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
        deviations, votes = (
            np.full(rated.shape, np.nan) if values is None else np.asarray(values, dtype=float)
            for values in (mos_std, n_votes)
        )
        if conditions is not None:
            means = condition_means(conditions, predicted, rated, deviations, votes)
            return condition_metrics(means) if p1401 else mos_metrics(means.predicted, means.rated)
        if p1401:
            return p1401_metrics(predicted, rated, rating_ci95(deviations, votes))
        return mos_metrics(predicted, rated)
