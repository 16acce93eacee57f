"""Quality over time of those files that a page shows in detail."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..score_engine import FileScore, rate_paths
from ..window_rater import WindowRater

__all__ = ["WithCurves", "add_curves"]

# Files of results hold four decimals, and arithmetic differs between devices; another model differs by far more.
# Our choice.
_SAME_MOS = 0.02


class WithCurves(NamedTuple):
    """Scores, some of them with curves.

    Attributes:
        files: as given, in their order.
        contradicted: paths of files that the model now rates otherwise, so that they got no curve.
    """

    files: list[FileScore]
    contradicted: list[str]


def add_curves(
    files: Sequence[FileScore],
    shown: Iterable[FileScore],
    rater: WindowRater,
    batch_size: int | None = None,
) -> WithCurves:
    """Rate some files over time.

    Args:
        files: scores.
        shown: those among them that are to have curves. Those that have one, or can't be opened, stay as they are.
        rater: the one that the scores are from.
        batch_size: see `jsqa_hf.scoring.score_files`.

    Returns:
        The same scores with curves. A curve that comes with another MOS than that in `files`, and so from another
        model, is left out.
    """
    given = {file.file: file for file in shown if not file.curve and os.path.isfile(file.file)}
    curves, contradicted = {}, []
    for rated in rate_paths(given, rater, batch_size=batch_size, curve=True):
        if not rated.scores:
            continue
        if abs(rated.scores["mos"] - given[rated.file].scores["mos"]) > _SAME_MOS:
            contradicted.append(rated.file)
        else:
            curves[rated.file] = rated.curve
    return WithCurves([replace(file, curve=curves.get(file.file, file.curve)) for file in files], contradicted)
