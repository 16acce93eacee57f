"""The metrics for Hugging Face `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from .agreement import mos_metrics, p1401_metrics
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
    conditions: name of the condition of each clip, None where it has none; the figures are then those of the means per
        condition.
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
        predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
        deviations, votes = (
            np.full(rated.shape, np.nan) if values is None else np.asarray(values, dtype=float)
            for values in (mos_std, n_votes)
        )
        ci95 = rating_ci95(deviations, votes)
        if not predicted.shape == rated.shape == ci95.shape:
            raise ValueError(f"{len(predicted)} predictions for {len(rated)} clips: give one of each per clip")
        used = ~np.isnan(predicted) & ~np.isnan(rated)
        if conditions is not None:
            if len(conditions) != len(predicted):
                raise ValueError(f"{len(conditions)} conditions for {len(predicted)} clips: give one of each per clip")
            # By number, as names need not be of a kind that can be sorted; a clip without a condition is left out.
            number = {name: place for place, name in enumerate(dict.fromkeys(conditions)) if name is not None}
            known = np.array([number.get(name, -1) for name in conditions], dtype=int)
            used &= known >= 0
            means = condition_means(
                known[used], predicted[used], rated[used], std=deviations[used], n_votes=votes[used]
            )
            predicted, rated, ci95 = means.predicted, means.rated, means.ci95
        elif not p1401:
            # Those of P.1401 leave them out, too, and say how many.
            predicted, rated = predicted[used], rated[used]
        return p1401_metrics(predicted, rated, ci95) if p1401 else mos_metrics(predicted, rated)
