"""Measures of what an embedding of JND ladders has learned: quality, content, the speaker, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from ..losses import CLEARLY_DIFFERENT_JNDS
from .collators import comparable_group

# Our choices: folds of the speaker probe, and its penalty per training clip (features have unit variance).
PROBE_FOLDS = 5
PROBE_PENALTY = 0.1


@dataclass(frozen=True)
class ClipTable:
    """What is known of the clips of ladders; one entry per clip in every array.

    Attributes:
        content: Number of the ladder; its clips differ in nothing but quality.
        pair: Number of the JND pair.
        group: Clips of the same group have severities that compare.
        position: Severity in JNDs.
        snr_db: SNR in dB; NaN where it is not what varies in the ladder.
        distortion: Name of the distortion that varies.
        speech, speaker: Ids; `""` where the speaker is unknown.
    """

    content: NDArray[np.int64]
    pair: NDArray[np.int64]
    group: NDArray[np.int64]
    position: NDArray[np.float64]
    snr_db: NDArray[np.float64]
    distortion: NDArray[np.str_]
    speech: NDArray[np.str_]
    speaker: NDArray[np.str_]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> ClipTable:
        """From rows of [`jsqa_hf.jnd.JNDPairGenerator`], whose clips need not be there.

        Raises:
            ValueError: if there are fewer than two ladders, or one of them has one level only.
        """
        if len(rows) < 2:
            raise ValueError("at least two evaluation ladders are needed: raise --eval_ladders")
        positions = [np.asarray(row["severity_jnd"], dtype=float) for row in rows]
        for row, position in zip(rows, positions, strict=True):
            if len(position) < 4 or np.ptp(position) <= 1:
                raise ValueError(
                    f"evaluation ladder {row['content_id']!r} has one level of quality only: raise --levels"
                )
        counts = [len(position) for position in positions]

        def repeated(values: Sequence[Any]) -> NDArray[Any]:
            return np.repeat(np.array(values), counts)

        return cls(
            content=repeated(range(len(rows))),
            pair=np.arange(sum(counts)) // 2,
            group=repeated([comparable_group(row) for row in rows]),
            position=np.concatenate(positions),
            snr_db=np.concatenate([_varied_snrs(row, count) for row, count in zip(rows, counts, strict=True)]),
            distortion=repeated([row["distortion"] for row in rows]),
            speech=repeated([str(row["speech_id"]) for row in rows]),
            speaker=repeated([str(row.get("speaker_id") or "") for row in rows]),
        )

    def __len__(self) -> int:
        return len(self.content)


def _varied_snrs(row: Mapping[str, Any], count: int) -> NDArray[np.float64]:
    # In chains there may be noise whose SNR stays the same.
    snrs_db = row.get("snr_db")
    varied = snrs_db is not None and np.allclose(snrs_db, row["severity"], atol=0.1)
    return np.array(snrs_db, dtype=float) if varied else np.full(count, np.nan)


def pairwise_distances(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Euclidean distances between all rows of (clips, dim), in float64."""
    vectors = np.asarray(vectors, dtype=np.float64)
    return cdist(vectors, vectors)


def alignment(distances: NDArray[np.float64], pair: NDArray[np.int64]) -> float:
    r"""Mean squared distance of pair mates, \(E\,\lVert f(x) - f(y) \rVert^2\); 0 is best.

    Wang and Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere, ICML 2020, with their \(\alpha = 2\).

    Args:
        distances: (clips, clips), between vectors of unit length.
        pair: (clips,) integers, the same for the members of a pair.
    """
    first, second = np.triu_indices(len(pair), k=1)
    mates = pair[first] == pair[second]
    return float(np.mean(distances[first, second][mates] ** 2))


def uniformity(distances: NDArray[np.float64]) -> float:
    r"""How evenly vectors fill the sphere, \(\log E\,e^{-2 \lVert f(x) - f(y) \rVert^2}\); 0: all are equal.

    Lower is better. Of Wang and Isola as [`alignment`], with their \(t = 2\). In many dimensions it tends to -4.

    Args:
        distances: (clips, clips), between vectors of unit length.
    """
    squared = distances[np.triu_indices(len(distances), k=1)] ** 2
    return float(np.log(np.mean(np.exp(-2 * squared))))


def effective_rank(vectors: NDArray[Any]) -> float:
    r"""Number of dimensions in use, from 1 to the number of dimensions.

    \(\exp(-\sum_k p_k \log p_k)\) over the singular values, scaled to a sum of 1, of the vectors without their mean
    (Roy and Vetterli, The effective rank, EUSIPCO 2007); 1 if all vectors are equal.

    Args:
        vectors: (clips, dim).
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    if singular[0] <= 1e-9 * np.linalg.norm(vectors):
        return 1.0
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def spread(vectors: NDArray[Any]) -> float:
    r"""Mean standard deviation per dimension of the vectors at unit length, times \(\sqrt{dim}\).

    About 1 for vectors all over the sphere, 0 for collapsed ones (Chen and He, SimSiam, CVPR 2021).

    Args:
        vectors: (clips, dim).
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return float(unit.std(axis=0).mean() * np.sqrt(vectors.shape[1]))


def quality_correlations(distances: NDArray[np.float64], clips: ClipTable) -> dict[str, list[float]]:
    """Spearman correlation of distance with the difference of the severity, within each ladder.

    The differences are those of positions in JNDs: for noise up to an SNR of 15 dB the SNR difference over 3 dB, and
    above it less, as listeners hear less of it. A ladder whose distances are all equal counts as 0.

    Args:
        distances: (clips, clips).
        clips: of these clips.

    Returns:
        Correlations of the ladders by the distortion that varies.
    """
    correlations: dict[str, list[float]] = {}
    for content in np.unique(clips.content):
        index = np.flatnonzero(clips.content == content)
        first, second = (index[half] for half in np.triu_indices(len(index), k=1))
        apart, distance = np.abs(clips.position[first] - clips.position[second]), distances[first, second]
        if np.ptp(apart) == 0:
            continue
        order = float(spearmanr(distance, apart).statistic) if np.ptp(distance) > 0 else 0.0
        correlations.setdefault(str(clips.distortion[index[0]]), []).append(order)
    return correlations


def retrieval(distances: NDArray[np.float64], clips: ClipTable) -> tuple[float, float] | None:
    """Whether the nearest clip of other speech sounds as good.

    For each clip the candidates are the clips of other speech whose severity compares; those within one JND are right.
    Clips with no right or no wrong candidate are no queries.

    Args:
        distances: (clips, clips).
        clips: of these clips.

    Returns:
        Share of the queries whose nearest candidate is right, and the same for a candidate drawn at random; None if
        there are no queries.
    """
    hits, chances = [], []
    candidates = _comparable(clips) & (clips.speech[:, None] != clips.speech[None, :])
    right = np.abs(clips.position[:, None] - clips.position[None, :]) <= 1
    for clip in range(len(clips)):
        index = np.flatnonzero(candidates[clip])
        if index.size and 0 < right[clip, index].sum() < index.size:
            nearest = distances[clip, index] <= distances[clip, index].min()
            hits.append(right[clip, index][nearest].mean())
            chances.append(right[clip, index].mean())
    return (float(np.mean(hits)), float(np.mean(chances))) if hits else None


def content_preference(distances: NDArray[np.float64], clips: ClipTable) -> float | None:
    """How often a clearly different quality of the same content is nearer than the same quality of other speech.

    Over all triplets of a clip, one of its ladder that is clearly different, and one of other speech within one JND:
    0 if quality alone counts, 1 if content alone does, 0.5 if the distances tell nothing. Ties count half.

    Args:
        distances: (clips, clips).
        clips: of these clips.

    Returns:
        Mean over the clips that have such triplets; None if there are none.
    """
    apart = np.abs(clips.position[:, None] - clips.position[None, :])
    same_content = (clips.content[:, None] == clips.content[None, :]) & (apart >= CLEARLY_DIFFERENT_JNDS)
    same_quality = _comparable(clips) & (clips.speech[:, None] != clips.speech[None, :]) & (apart <= 1)
    shares = []
    for clip in range(len(clips)):
        content, quality = distances[clip, same_content[clip]], distances[clip, same_quality[clip]]
        if content.size and quality.size:
            difference = content[:, None] - quality[None, :]
            shares.append(np.mean(difference < 0) + 0.5 * np.mean(difference == 0))
    return float(np.mean(shares)) if shares else None


def speaker_leakage(embeddings: NDArray[Any], clips: ClipTable) -> tuple[float, float] | None:
    """How well a linear probe tells the speaker of an utterance that it was not trained on.

    Ridge classification in closed form, cross-validated over utterances: all clips of an utterance are in one fold.
    What an utterance shares with others of its speaker besides the voice, such as the recording, helps as well.

    Args:
        embeddings: (clips, dim).
        clips: of these clips. Speakers with one utterance only are left out.

    Returns:
        Accuracy, as the mean over the speakers, and that of guessing; None unless two speakers have two utterances.
    """
    fold = np.full(len(clips), -1)
    known = np.unique(clips.speaker[clips.speaker != ""])
    for speaker in known:
        of_speaker = clips.speaker == speaker
        utterances, number = np.unique(clips.speech[of_speaker], return_inverse=True)
        if len(utterances) >= 2:
            fold[of_speaker] = number % PROBE_FOLDS
    speakers, target = np.unique(clips.speaker[fold >= 0], return_inverse=True)
    if len(speakers) < 2:
        return None
    features, fold = np.asarray(embeddings, dtype=np.float64)[fold >= 0], fold[fold >= 0]
    right = np.zeros(len(target))
    for held_out in np.unique(fold):
        test = fold == held_out
        predicted = _ridge_classify(features[~test], target[~test], features[test])
        right[test] = predicted == target[test]
    accuracy = np.mean([right[target == speaker].mean() for speaker in range(len(speakers))])
    return float(accuracy), 1 / len(speakers)


def _ridge_classify(
    train: NDArray[np.float64], target: NDArray[np.int64], test: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Class of each test row by least squares on the classes, with a penalty."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 1e-9 * (1 + np.abs(mean)), deviation, np.inf)
    train, test = (train - mean) / scale, (test - mean) / scale
    classes = np.eye(target.max() + 1)[target]
    gram = train.T @ train + PROBE_PENALTY * len(train) * np.eye(train.shape[1])
    weights = np.linalg.solve(gram, train.T @ (classes - classes.mean(axis=0)))
    return (test @ weights + classes.mean(axis=0)).argmax(axis=1)


def _comparable(clips: ClipTable) -> NDArray[np.bool_]:
    return clips.group[:, None] == clips.group[None, :]
