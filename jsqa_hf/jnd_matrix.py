"""Many clips: each compared with every other in JNDs, and those that don't sound like the rest of their group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .audio_files import NothingFound
from .comparison import Comparer, Projection
from .score_engine import failure_reason

__all__ = ["GroupedFile", "ProjectedFiles", "find_outliers", "jnd_rows", "project_files"]

# Iglewicz and Hoaglin (How to Detect and Handle Outliers, ASQC 1993) call a modified z-score above 3.5 an outlier;
# 0.6745 is the third quartile of the normal distribution, so that the score is in standard deviations for normal data.
OUTLIER_Z = 3.5
_THIRD_QUARTILE = 0.6745
# Their score where the median absolute deviation is 0: the mean absolute deviation of normal data is 1/1.253314
# standard deviations.
_MEAN_DEVIATIONS = 1.253314

# Our choices: in smaller groups no file is called an outlier; and what is not a JND farther away than is usual in its
# group is not heard to stand out, however uniform the group.
SMALLEST_GROUP = 5
LEAST_EXCESS_JNDS = 1.0


@dataclass(frozen=True)
class ProjectedFiles:
    """Files with what is needed to compare them.

    Attributes:
        files: paths of those that could be used, in order.
        projections: (files, projection_size), see `Comparer.project`.
        errors: the reason, on one line, for each that couldn't.
    """

    files: list[str]
    projections: NDArray[np.float64]
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupedFile:
    """How a file sounds beside the others of its group.

    Attributes:
        file: its path.
        group: name of the group.
        median_jnds: median number of JNDs to the others of the group; None if there are no others.
        robust_z: modified z-score of `median_jnds` among those of the group, above 0 if the file is farther away than
            is usual; None in groups of fewer than 5 files.
        is_outlier: `robust_z` is above 3.5, and `median_jnds` at least 1 JND above the median of the group.
    """

    file: str
    group: str
    median_jnds: float | None
    robust_z: float | None
    is_outlier: bool


def project_files(paths: Iterable[str | NothingFound], comparer: Comparer) -> ProjectedFiles:
    """Take every file through the model once; of a file only its projection is kept (1 kB or so).

    Args:
        paths: such as what `jsqa_hf.scoring.find_audio_files` gives.
        comparer: brings the model.
    """
    files: list[str] = []
    projections: list[Projection] = []
    errors: dict[str, str] = {}
    for path in paths:
        if isinstance(path, NothingFound):
            errors[path.source] = path.reason
            continue
        try:
            projections.append(comparer.project(path))
            files.append(path)
        except Exception as error:
            errors[path] = failure_reason(error).removeprefix(f"{path}: ")
    return ProjectedFiles(files, np.array(projections), errors)


def jnd_rows(projected: ProjectedFiles, comparer: Comparer) -> Iterator[NDArray[np.float64]]:
    """The matrix of JNDs row by row, so that it is never held as a whole.

    Args:
        projected: n files.
        comparer: that they were projected with.

    Yields:
        (n,) JNDs from one file to each, in order. The matrix is symmetric, with zeros on its diagonal.
    """
    for projection in projected.projections:
        yield comparer.scale.jnds_between(comparer.distances(projection, projected.projections))


def find_outliers(projected: ProjectedFiles, comparer: Comparer, groups: Sequence[str]) -> list[GroupedFile]:
    """Tell which files don't sound like the rest of their group.

    Each file has a median number of JNDs to the others of its group. Those that are far above the median of these
    medians, measured by their median absolute deviation, are outliers (modified z-score of Iglewicz and Hoaglin, 1993,
    above 3.5), if it is by at least one JND. The median keeps up to half of a group from hiding itself.

    Args:
        projected: the files.
        comparer: that they were projected with.
        groups: name of the group of each file.

    Returns:
        One for each file, in order.

    Raises:
        ValueError: if there are not as many groups as files.
    """
    if len(groups) != len(projected.files):
        raise ValueError(f"{len(groups)} groups do not fit {len(projected.files)} files: give one for each")
    rows: list[GroupedFile | None] = [None] * len(groups)
    for group in dict.fromkeys(groups):
        members = [index for index, name in enumerate(groups) if name == group]
        medians = _median_jnds(projected.projections[members], comparer)
        scores = modified_z_scores(medians) if len(members) >= SMALLEST_GROUP else [None] * len(members)
        usual = float(np.median(medians)) if len(members) > 1 else math.nan
        for index, median, score in zip(members, medians, scores, strict=True):
            is_outlier = score is not None and bool(score > OUTLIER_Z and median - usual >= LEAST_EXCESS_JNDS)
            median_jnds = None if math.isnan(median) else float(median)
            rows[index] = GroupedFile(projected.files[index], group, median_jnds, score, is_outlier)
    return [row for row in rows if row is not None]


def folder_of(path: str) -> str:
    """The folder that a file lies in, as a name of a group."""
    return str(Path(path).parent)


def modified_z_scores(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """How far each value is from the median, in robust standard deviations (Iglewicz and Hoaglin, 1993).

    Args:
        values: finite, at least one.

    Returns:
        One for each value, with its sign. Where more than half of the values are equal, the mean absolute deviation
        takes the place of the median one.
    """
    deviations = np.asarray(values, dtype=float) - np.median(values)
    deviation = float(stats.median_abs_deviation(values)) / _THIRD_QUARTILE
    if deviation == 0:
        deviation = float(np.abs(deviations).mean()) * _MEAN_DEVIATIONS
    return (deviations / deviation if deviation else deviations).tolist()


def _median_jnds(projections: NDArray[np.float64], comparer: Comparer) -> NDArray[np.float64]:
    medians = np.full(len(projections), math.nan)
    if len(projections) > 1:
        for index, projection in enumerate(projections):
            others = np.delete(projections, index, axis=0)
            medians[index] = np.median(comparer.scale.jnds_between(comparer.distances(projection, others)))
    return medians
