"""Agreement of predicted with rated quality."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
from scipy import stats

_DESCRIPTION = "RMSE, MAE, Pearson (PCC) and Spearman (SRCC) correlation of predicted with rated speech quality."
_CITATION = """@inproceedings{fan2025jsqa,
  title = {{JSQA}: Speech Quality Assessment with Perceptually-Inspired Contrastive Pretraining Based on {JND} Audio Pairs},
  author = {Fan, Junyi and Williamson, Donald},
  booktitle = {IEEE Workshop on Applications of Signal Processing to Audio and Acoustics},
  year = {2025}
}"""  # noqa: E501


def mos_metrics(
    predictions: Sequence[float] | np.ndarray, references: Sequence[float] | np.ndarray
) -> dict[str, float]:
    """RMSE, MAE, PCC and SRCC over the clips that have a rating.

    Args:
        predictions: (clips,) predicted ratings.
        references: (clips,) ratings on the same scale, NaN where a clip was not rated.

    Returns:
        `rmse` and `mae` in units of the scale, `pcc` and `srcc` in [-1, 1] (NaN where either side does not vary), and
        `n`, the number of rated clips.

    Raises:
        ValueError: if the lengths differ or fewer than two clips are rated.
    """
    predicted, rated = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
    if predicted.shape != rated.shape or predicted.ndim != 1:
        raise ValueError(f"{predicted.shape} predictions do not fit {rated.shape} ratings: give one of each per clip")
    known = ~np.isnan(rated)
    predicted, rated = predicted[known], rated[known]
    if len(rated) < 2:
        raise ValueError(f"{len(rated)} clips are rated, but a correlation needs at least 2")
    error = predicted - rated
    varies = np.ptp(predicted) > 0 and np.ptp(rated) > 0
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "pcc": float(stats.pearsonr(predicted, rated).statistic) if varies else float("nan"),
        "srcc": float(stats.spearmanr(predicted, rated).statistic) if varies else float("nan"),
        "n": len(rated),
    }


class SpeechQualityMetrics(evaluate.Metric):
    """[`mos_metrics`] as an `evaluate` metric: `SpeechQualityMetrics().compute(predictions=..., references=...)`."""

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description="predictions and references: one rating per clip, on the same scale.",
            features=datasets.Features({"predictions": number, "references": number}),
        )

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return mos_metrics(predictions, references)


__all__ = ["SpeechQualityMetrics", "mos_metrics"]
