"""What an evaluation starts from: the rated clips of a listening test on the scale of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import datasets
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .data import DIMENSIONS, load_mos, parse_mos_source, with_labels
from .data.corpus import OnError
from .data.mos import MOS_CORPORA
from .evaluation import RatedClips, condition_names
from .training import on_scale

__all__ = ["ListeningTest", "load_listening_test"]

# Columns that tell the distortion, the first that is there counts.
_DISTORTION_COLUMNS = ("distortion", "degradation", "condition")


@dataclass(frozen=True)
class ListeningTest:
    """Clips and ratings.

    Attributes:
        dataset: of [`jsqa_hf.data.load_mos`], with `labels`: per clip one rating for each output of the model, on the
            model's scale, NaN where there is none.
        output_names: names of the model's outputs.
        columns: columns of the ratings of these outputs.
        units: what one unit of the scale of the ratings is on that of the model.
    """

    dataset: datasets.Dataset
    output_names: Sequence[str]
    columns: Sequence[str]
    units: float

    def labels(self) -> NDArray[np.float64]:
        """(clips, outputs) ratings on the scale of the model."""
        return np.array(self.dataset["labels"][:], dtype=float)

    def rated_outputs(self) -> list[str]:
        """Names of the outputs that any clip is rated on."""
        rated = (~np.isnan(self.labels())).sum(axis=0)
        return [name for name, number in zip(self.output_names, rated, strict=True) if number]

    def clips(self, output: str, predicted: ArrayLike, low: ArrayLike, high: ArrayLike) -> RatedClips:
        """Ratings of one output with (clips,) predictions and the ends of their 95 % intervals."""
        index = list(self.output_names).index(output)
        own = self._numbers(f"{self.columns[index]}_n_votes")
        return RatedClips(
            files=self.dataset["file"][:],
            predicted=np.asarray(predicted, dtype=float),
            low=np.asarray(low, dtype=float),
            high=np.asarray(high, dtype=float),
            rated=self.labels()[:, index],
            std=self._numbers(f"{self.columns[index]}_std") * self.units,
            n_votes=np.where(np.isnan(own), self._numbers("n_votes"), own),
            conditions=self._column("condition"),
            corpora=self._corpora(),
        )

    def groups(self, column: str | None = None) -> tuple[str, list[str | None]]:
        """A column whose values group the clips, and these values as text; default: the one with the distortion.

        Conditions of several listening tests are apart, as [`jsqa_hf.evaluation.condition_names`] tells.

        Raises:
            ValueError: if there is no such column.
        """
        there = [name for name in self.dataset.column_names if name not in ("audio", "labels")]
        name = column or next((name for name in _DISTORTION_COLUMNS if name in there), "corpus")
        if name not in there:
            raise ValueError(f"there is no column {name!r} to group residuals by; there are {', '.join(there)}")
        values = self._column(name)
        # Whole numbers come as floats where some are missing, and 6 digits would make two of them one.
        whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
        texts = [None if value is None else str(value) or None for value in whole]
        return name, condition_names(self._corpora(), texts) if name == "condition" else texts

    def _corpora(self) -> list[str]:
        return [str(name) for name in self._column("corpus")]

    def _column(self, name: str) -> list[Any]:
        there = name in self.dataset.column_names
        return self.dataset[name][:] if there else [None] * len(self.dataset)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        return np.array([math.nan if value is None else float(value) for value in self._column(name)])


def load_listening_test(
    source: str,
    output_names: Sequence[str],
    model_range: Sequence[float],
    *,
    columns: Sequence[str] | None = None,
    split: str | None = None,
    score_range: Sequence[float] | None = None,
    must_exist: bool = True,
    on_error: OnError = "raise",
) -> ListeningTest:
    """Load clips and ratings, and map the ratings to the scale of a model.

    Args:
        source: a table, a folder with one, or `NAME:ROOT`, see [`jsqa_hf.data.parse_mos_source`].
        output_names: names of the model's outputs.
        model_range: lowest and highest value of the model's scale.
        columns: columns with the ratings of these outputs, in their order; default: those of the same names.
        split: value of the column `split` to keep, or several with commas between them; default: all.
        score_range: lowest and highest value of the scale of the ratings; default: that of a corpus by name, the
            model's for other tables.
        must_exist: whether a missing clip is an error here.
        on_error: as in [`jsqa_hf.data.load_mos`].

    Returns:
        The listening test.

    Raises:
        FileNotFoundError: if there is no such table, or clips are missing that must exist.
        ValueError: if the ratings can't be used, or ranges or columns don't fit.
    """
    if columns is not None and len(columns) != len(output_names):
        raise ValueError(f"the model has the outputs {', '.join(output_names)}: give one column of ratings for each")
    if score_range is not None and not (
        len(score_range) == 2 and all(map(math.isfinite, score_range)) and score_range[0] < score_range[1]
    ):
        raise ValueError(f"a score range is the lowest and the highest value, not {list(score_range)}")
    corpus, root = parse_mos_source(source)
    of_corpus = MOS_CORPORA[corpus].score_range
    given = of_corpus if score_range is None else (float(score_range[0]), float(score_range[1]))
    wanted = (float(model_range[0]), float(model_range[1]))
    check = "exists" if must_exist else None
    names = list(columns or output_names)
    options: dict[str, Any] = {"split": split, "score_range": given, "check": check, "on_error": on_error}
    load = partial(load_mos, corpus, root, **options)
    try:
        rated = load()
    except ValueError:
        own = {name: column for name, column in zip(output_names, names, strict=True) if name != column}
        # A corpus by name takes no `columns`.
        if of_corpus is not None or not own or not set(own) <= set(DIMENSIONS):
            raise
        # A table whose only ratings are in columns of other names.
        rated = load(columns=own)
        names = [name if name in own else column for name, column in zip(output_names, names, strict=True)]
    rated = with_labels(rated, names, given or wanted, on_error, source)
    if given is None:
        return ListeningTest(rated, output_names, names, 1.0)
    labels = on_scale(rated["labels"][:], given, wanted)
    rated = rated.remove_columns("labels").add_column("labels", labels)
    return ListeningTest(rated, output_names, names, (wanted[1] - wanted[0]) / (given[1] - given[0]))
