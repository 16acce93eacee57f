"""Diagnostics of stage 1: whether a model learns quality, or content, or nothing, seen at every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from ..feature_extraction_jsqa import JSQAFeatureExtractor
from .calibration import calibrate
from .collators import ContrastiveCollator
from .diagnostics_plot import plot_distances
from .embedding import embed_ladders
from .embedding_measures import (
    ClipTable,
    alignment,
    content_preference,
    effective_rank,
    pairwise_distances,
    quality_correlations,
    retrieval,
    speaker_leakage,
    spread,
    uniformity,
)
from .runs import write_metrics

logger = logging.get_logger(__name__)

# Our choices: what a warning is given for.
COLLAPSED_SPREAD = 0.05
WEAK_CORRELATION = 0.3
CONTENT_RULES = 0.9


def contrastive_diagnostics(
    projections: NDArray[Any], embeddings: NDArray[Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """All diagnostics of the clips of some ladders.

    Args:
        projections: (clips, `config.projection_size`), of unit length; ladder after ladder.
        embeddings: (clips, `config.embedding_size`).
        rows: the ladders, as [`jsqa_hf.jnd.JNDPairGenerator`] makes them; their clips need not be there. There must be
            at least two, each of at least two levels. Only ladders of the same distortion, alone and not in a chain,
            can be compared with each other.

    Returns:
        - `alignment`, `uniformity`: of the projections (Wang and Isola 2020);
        - `quality_correlation`: Spearman correlation of distance and severity difference at fixed content, mean over
          the ladders; `quality_correlation_DISTORTION` where several distortions vary;
        - `retrieval`, `retrieval_chance`: share of the clips whose nearest clip of other speech is within one JND, and
          of any clip of other speech;
        - `content_preference`: how often a clearly different quality of the same content is nearer than the same
          quality of other speech; 0 if quality alone counts, 1 if content alone does;
        - `speaker_accuracy`, `speaker_chance`: of a linear probe of the embeddings, by held-out utterances;
        - `projection_rank`, `embedding_rank` (effective, Roy and Vetterli 2007), `projection_spread`,
          `embedding_spread` (standard deviation per dimension; 0: collapsed).

        Without what ladders of the same distortion and other speech need, or speakers with two utterances, the
        measures that need it are left out.

    Raises:
        ValueError: if the ladders are not as described.
    """
    clips = ClipTable.from_rows(rows)
    return _measures(np.asarray(projections), np.asarray(embeddings), clips, pairwise_distances(projections))


def _measures(
    projections: NDArray[Any], embeddings: NDArray[Any], clips: ClipTable, distances: NDArray[np.float64]
) -> dict[str, float]:
    correlations = quality_correlations(distances, clips)
    results = {
        "alignment": alignment(distances, clips.pair),
        "uniformity": uniformity(distances),
        "quality_correlation": float(np.mean([value for values in correlations.values() for value in values])),
        "projection_rank": effective_rank(projections),
        "projection_spread": spread(projections),
        "embedding_rank": effective_rank(embeddings),
        "embedding_spread": spread(embeddings),
    }
    if len(correlations) > 1:
        results |= {f"quality_correlation_{name}": float(np.mean(values)) for name, values in correlations.items()}
    found, probe = retrieval(distances, clips), speaker_leakage(embeddings, clips)
    if found is not None:
        results["retrieval"], results["retrieval_chance"] = found
    preference = content_preference(distances, clips)
    if preference is not None:
        results["content_preference"] = preference
    if probe is not None:
        results["speaker_accuracy"], results["speaker_chance"] = probe
    return results


def describe_problems(metrics: Mapping[str, float]) -> list[str]:
    """What looks wrong in diagnostics, in words; the bounds are our choice.

    Args:
        metrics: from [`contrastive_diagnostics`].
    """
    problems = []
    if metrics["projection_spread"] < COLLAPSED_SPREAD:
        problems.append(f"the projections have collapsed (spread {metrics['projection_spread']:.3g})")
    if metrics["quality_correlation"] < WEAK_CORRELATION:
        problems.append(
            f"distances hardly follow the severity (quality_correlation {metrics['quality_correlation']:.2f})"
        )
    if metrics.get("content_preference", 0.0) > CONTENT_RULES:
        problems.append(
            f"content counts, and not quality (content_preference {metrics['content_preference']:.2f}, "
            f"retrieval {metrics['retrieval']:.2f} against {metrics['retrieval_chance']:.2f} by chance)"
        )
    return problems


class ContrastiveDiagnostics(TrainerCallback):
    """Measures, plots and calibrates the model of stage 1 at every evaluation; given to [`ContrastiveTrainer`].

    The numbers go to `diagnostics/step-N.json` in the output folder and with the other metrics to the logs, a plot to
    `step-N.png` if matplotlib is installed, and the JND calibration into the configuration of the model, from which it
    is taken out again once the weights change.

    Args:
        ladders: held-out ladders with their clips, see [`contrastive_diagnostics`]; the same object as the trainer's
            `eval_dataset`, or as one of several. The first 256 are used. For the speaker probe, speakers need at least
            two utterances.
        feature_extractor: prepares the clips.
        max_delay_s: see [`ContrastiveCollator`].
    """

    def __init__(self, ladders: Any, feature_extractor: JSQAFeatureExtractor, max_delay_s: float = 0.0) -> None:
        self.ladders = ladders
        self.collator = ContrastiveCollator(feature_extractor, max_delay_s)
        self._warned: set[str] = set()

    def __call__(self, model: nn.Module, args: TrainingArguments, step: int) -> dict[str, float]:
        """Evaluate a model; all processes must call this, and all get the same.

        Args:
            model: a [`JSQAForContrastivePretraining`].
            args: tells batch size, workers and output folder.
            step: number in the names of the files.

        Returns:
            See [`contrastive_diagnostics`]; with a calibration also its `jnd_error`, in JNDs. Empty, with a warning,
            if the ladders are not as described there.
        """
        projections, embeddings, rows = embed_ladders(
            model,
            self.ladders,
            self.collator,
            batch_size=args.per_device_eval_batch_size,
            workers=args.dataloader_num_workers,
        )
        try:
            clips = ClipTable.from_rows(rows)
        except ValueError as error:
            self._warn_once(f"no diagnostics: {error}")
            return {}
        results: list[Any] = [None, None]
        if PartialState().is_main_process:
            results = list(self._evaluate(projections, embeddings, clips, Path(str(args.output_dir)), step))
        if PartialState().num_processes > 1:
            broadcast_object_list(results)
        metrics, scale = results
        config: Any = model.config
        config.jnd_calibration = scale
        return metrics  # type: ignore[no-any-return]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The weights have changed: a calibration of the former ones is none of these."""
        kwargs["model"].config.jnd_calibration = None

    def _evaluate(
        self, projections: NDArray[Any], embeddings: NDArray[Any], clips: ClipTable, output: Path, step: int
    ) -> tuple[dict[str, float], dict[str, Any] | None]:
        distances = pairwise_distances(projections)
        metrics = _measures(projections, embeddings, clips, distances)
        for problem in describe_problems(metrics) if step > 0 else []:
            logger.warning(f"step {step}: {problem}")
        if "speaker_accuracy" not in metrics:
            self._warn_once("no speaker probe: the evaluation speech has no two speakers with two utterances each")
        if "retrieval" not in metrics:
            self._warn_once("no retrieval: no two evaluation ladders have the same distortion alone and other speech")
        scale = None
        try:
            scale = calibrate(distances, clips)
            metrics["jnd_error"] = float(scale.error_jnds or 0.0)
        except ValueError as error:
            self._warn_once(f"no JND calibration: {error}")
        folder = output / "diagnostics"
        write_metrics(folder / f"step-{step}.json", metrics)
        try:
            plot_distances(distances, clips, metrics, folder / f"step-{step}.png", scale=scale)
        except ImportError as error:
            self._warn_once(f"no plots of the diagnostics: {error}")
        return metrics, None if scale is None else asdict(scale)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)
