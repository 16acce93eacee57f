"""JND calibration of a contrastive model: how many just-noticeable differences a distance stands for."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from ..feature_extraction_jsqa import JSQAFeatureExtractor
from ..jnd_scale import JNDScale
from .collators import ContrastiveCollator
from .embedding import embed_ladders
from .embedding_measures import ClipTable, pairwise_distances

# Our choices: knots of a scale, pairs that a knot must rest on, and folds of the held-out error. Differences of more
# JNDs than MAX_JNDS, which all listeners notice but for lapses, count as so many: some distortions reach 50.
KNOTS = 16
PAIRS_PER_KNOT = 10
FOLDS = 5
MAX_JNDS = 10.0


def calibrate_model(
    model: Any,
    feature_extractor: JSQAFeatureExtractor,
    ladders: Any,
    *,
    batch_size: int = 8,
    max_delay_s: float = 0.0,
) -> JNDScale:
    """Calibrate a trained model; what is saved then brings the scale along.

    Args:
        model: a [`JSQAForContrastivePretraining`], whose `config.jnd_calibration` is set.
        feature_extractor: prepares the clips.
        ladders: dataset of [`jsqa_hf.jnd.JNDPairGenerator`] that the model was not trained on; see [`calibrate`].
        batch_size: ladders at once.
        max_delay_s: see [`ContrastiveCollator`].

    Raises:
        ValueError: see [`calibrate`].
    """
    collator = ContrastiveCollator(feature_extractor, max_delay_s)
    projections, _, rows = embed_ladders(model, ladders, collator, batch_size=batch_size)
    scale = calibrate(pairwise_distances(projections), ClipTable.from_rows(rows))
    model.config.jnd_calibration = asdict(scale)
    return scale


def calibrate(distances: NDArray[np.float64], clips: ClipTable) -> JNDScale:
    """Fit the scale of JNDs on pairs of clips that differ in nothing but a known number of JNDs.

    The pairs are all pairs of clips of the same ladder, which must not have been trained on. Whatever the distortion,
    one JND counts as one JND; more than 10 count as 10. Isotonic regression tells the mean distance of each number of
    JNDs, and the scale is the inverse of that. So a step of one JND reads as one JND on average, however many pairs of
    which size the ladders hold. The other regression, of the JNDs on the distance, has the smaller error on pairs like
    those of the ladders, but reads small steps as much larger: it draws everything to the mean of the pairs. Distances
    that do not grow any more end the scale.

    Args:
        distances: (clips, clips), Euclidean, between projections.
        clips: of these clips.

    Returns:
        The scale, with its error on held-out utterances (cross-validated).

    Raises:
        ValueError: if there are fewer than five utterances, or pairs too few or all at the same distance.
    """
    distance, jnds, speech = ladder_pairs(distances, clips)
    utterances, number = np.unique(speech, return_inverse=True)
    if len(utterances) < FOLDS:
        raise ValueError(
            f"a JND calibration needs held-out ladders of at least {FOLDS} utterances, got {len(utterances)}"
        )
    fold = number % FOLDS
    errors = np.empty(len(jnds))
    for held_out in range(FOLDS):
        test = fold == held_out
        errors[test] = _fit(distance[~test], jnds[~test]).jnds_between(distance[test]) - jnds[test]
    return replace(
        _fit(distance, jnds), pairs=len(jnds), contents=len(utterances), error_jnds=float(np.abs(errors).mean())
    )


def ladder_pairs(
    distances: NDArray[np.float64], clips: ClipTable
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
    """All pairs of clips of the same ladder.

    Args:
        distances: (clips, clips).
        clips: of these clips.

    Returns:
        Distance, number of JNDs between (at most 10), and utterance of each pair.
    """
    first, second = np.triu_indices(len(clips), k=1)
    same = clips.content[first] == clips.content[second]
    first, second = first[same], second[same]
    jnds = np.minimum(np.abs(clips.position[first] - clips.position[second]), MAX_JNDS)
    return distances[first, second], jnds, clips.speech[first]


def _fit(distance: NDArray[np.float64], jnds: NDArray[np.float64]) -> JNDScale:
    edges = np.unique(np.quantile(jnds, np.linspace(0, 1, 1 + max(1, min(KNOTS, len(jnds) // PAIRS_PER_KNOT)))))
    # As many pairs in each bin, but no two bins with pairs of the same number of JNDs.
    number = np.searchsorted(edges, jnds, side="right")
    _, number, sizes = np.unique(number, return_inverse=True, return_counts=True)
    fit = isotonic_regression(np.bincount(number, weights=distance) / sizes, weights=sizes)
    # Bins whose distances do not differ make one knot.
    starts = fit.blocks[:-1]
    knots = fit.x[starts]
    means = np.add.reduceat(np.bincount(number, weights=jnds), starts) / np.add.reduceat(sizes, starts)
    # Equal clips are nothing apart, and an interpolation needs distances that increase.
    rising = np.diff(np.concatenate([[0.0], knots])) > 1e-6
    if not rising.any():
        raise ValueError("a JND calibration needs more pairs, at different distances")
    return JNDScale([0.0, *knots[rising].tolist()], [0.0, *means[rising].tolist()])
