"""Agreement of predicted with rated quality, and how finely predictions tell quality apart."""

from __future__ import annotations

from .agreement import condition_metrics, metric_intervals, mos_metrics, p1401_metrics
from .discrimination import MonotonicityViolations, RankingAccuracy, monotonicity_violations, pair_ranking_accuracy
from .evaluate_metric import SpeechQualityMetrics
from .mapping import fit_mapping
from .p1401 import Conditions, condition_means, pcc_interval, rating_ci95, rmse, rmse_interval, rmse_star

__all__ = [
    "Conditions",
    "MonotonicityViolations",
    "RankingAccuracy",
    "SpeechQualityMetrics",
    "condition_means",
    "condition_metrics",
    "fit_mapping",
    "metric_intervals",
    "monotonicity_violations",
    "mos_metrics",
    "p1401_metrics",
    "pair_ranking_accuracy",
    "pcc_interval",
    "rating_ci95",
    "rmse",
    "rmse_interval",
    "rmse_star",
]
