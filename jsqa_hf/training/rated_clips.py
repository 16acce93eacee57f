"""The rated clips that stage 2 learns from: several listening tests on the scale of one model."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np

from ..data import load_mos, parse_mos_source, with_labels
from ..data.corpus import OnError
from ..data.mos import MOS_CORPORA

# Of the ratings, where they have them: for `votes_of_half_weight` and for batches by length.
_KEPT_COLUMNS = ("n_votes", "duration_s")


def load_rated_clips(
    sources: Sequence[str],
    outputs: Sequence[str],
    score_range: Sequence[float],
    *,
    splits: Sequence[str] | None = None,
    score_ranges: Sequence[float] | None = None,
    on_error: OnError = "raise",
    to_train_on: bool = False,
) -> datasets.Dataset:
    """The rated clips of all listening tests, one after the other, on the scale of the model.

    Args:
        sources: of ratings, as [`jsqa_hf.data.parse_mos_source`] takes them.
        outputs: columns of the ratings, in the order of the model's outputs.
        score_range: lowest and highest value of the model's scale.
        splits: one for all sources, or one for each; `all` is every row, and so is None.
        score_ranges: lowest and highest value of each source's scale, as [`rating_scales`] takes them.
        on_error: `"skip"` leaves out clips that are missing and ratings that can't be used.
        to_train_on: whether to refuse splits for testing that nobody asked for.

    Returns:
        Rows with `audio`, `file`, `labels` (one rating per output, NaN where there is none), `corpus_id` (number of
        the source), and `n_votes` and `duration_s` where the ratings have them as numbers.

    Raises:
        ValueError: if there is not one scale or split per source, or a source has splits for testing.
    """
    scales = rating_scales(sources, score_range, score_ranges)
    each = list(splits or [""])
    each = each * len(sources) if len(each) == 1 else each
    if len(each) != len(sources):
        raise ValueError(
            f"--split or --eval_split has {len(each)} values, but there are {len(sources)} sources of ratings"
        )
    parts = []
    for number, (source, split, (low, high)) in enumerate(zip(sources, each, scales, strict=True)):
        name, root = parse_mos_source(source)
        kept = None if split in ("", "all") else split
        rated = load_mos(name, root, split=kept, score_range=(low, high), on_error=on_error)
        if to_train_on and not split:
            _refuse_splits_for_testing(rated, source)
        rated = with_labels(rated, outputs, (low, high), on_error, source)
        labels = on_scale(rated["labels"][:], (low, high), (score_range[0], score_range[1]))
        # Numbers only: tables may say "0.5 s".
        numbers = [name for name in _KEPT_COLUMNS if getattr(rated.features.get(name), "dtype", "string") != "string"]
        part = rated.select_columns(["audio", "file", *numbers])
        parts.append(part.add_column("corpus_id", [number] * len(rated)).add_column("labels", labels))
    return datasets.concatenate_datasets(parts)


def rating_scales(
    sources: Sequence[str], score_range: Sequence[float], score_ranges: Sequence[float] | None = None
) -> list[tuple[float, float]]:
    """Lowest and highest value of the scale of each source of ratings.

    Args:
        sources: as [`jsqa_hf.data.parse_mos_source`] takes them.
        score_range: of the model.
        score_ranges: both values for each source, one after the other; if None, that of a corpus by name, else that
            of the model.

    Raises:
        ValueError: if there are not two for each source, or they are no ends of a scale.
    """
    if score_ranges is None:
        known = [MOS_CORPORA[parse_mos_source(source)[0]].score_range or score_range for source in sources]
        return [(low, high) for low, high in known]
    # Pairs will do as well.
    score_ranges = np.reshape(score_ranges, -1).tolist()
    scales = list(zip(score_ranges[::2], score_ranges[1::2], strict=False))
    ends = all(-math.inf < low < high < math.inf for low, high in scales)
    if len(score_ranges) != 2 * len(sources) or not ends:
        raise ValueError(
            "--score_ranges or --eval_score_ranges: give the lowest and then the highest value for each of the "
            f"sources of ratings (here {len(sources)}), not {' '.join(format(value, 'g') for value in score_ranges)}"
        )
    return scales


def corpus_names(sources: Sequence[str]) -> list[str]:
    """Names for sources of ratings that differ, and do not tell where they lie on this machine."""
    names: list[str] = []
    for source in sources:
        kind, root = parse_mos_source(source)
        name = Path(root).stem if kind in ("csv", "folder") else kind
        same = sum(other == name or other.startswith(f"{name} ") for other in names)
        names.append(f"{name} {same + 1}" if same else name)
    return names


def refuse_clips_of_both(train: datasets.Dataset, evaluation: datasets.Dataset) -> None:
    """Refuse to evaluate on files that are trained on, whatever path leads to them.

    Raises:
        ValueError: if there are any; both are of [`load_rated_clips`].
    """
    trained, held_out = ({os.path.realpath(audio["path"]) for audio in rows["audio"]} for rows in (train, evaluation))
    if both := sorted(trained & held_out):
        raise ValueError(
            f"{len(both)} of {len(held_out)} clips to evaluate on are trained on, too, such as {both[0]}: give "
            "--split and --eval_split that have no clip in common"
        )


def check_rated(train: datasets.Dataset, outputs: Sequence[str], anchored: bool) -> None:
    """Refuse outputs that no clip is rated on: they would stay what chance made them.

    With offsets of corpora (`anchored`), the same holds for the scale of outputs that the first of them lacks.

    Raises:
        ValueError: if there are any; `train` is of [`load_rated_clips`].
    """
    rated = ~np.isnan(np.array(train["labels"][:]))
    first = rated[np.array(train["corpus_id"][:]) == 0]
    for column, name in enumerate(outputs):
        if not rated[:, column].any():
            raise ValueError(f"no clip to train on has a rating of {name}: leave it out of --outputs")
        if anchored and not first[:, column].any():
            raise ValueError(
                f"the first of --ratings, whose scale --corpus_offsets keeps, has no rating of {name}: put one first "
                "that has all outputs"
            )


def _refuse_splits_for_testing(rated: datasets.Dataset, source: str) -> None:
    """Refuse ratings with a split whose name starts with `test`, as those of published corpora do."""
    splits = sorted(set(rated["split"]) - {None}) if "split" in rated.column_names else []
    if testing := [name for name in splits if name.lower().startswith("test")]:
        raise ValueError(
            f"{source} has splits for testing ({', '.join(testing)}): name those to train on with --split (there are "
            f"{', '.join(splits)}), or take every clip with --split all"
        )


def on_scale(
    ratings: Sequence[Sequence[float]], given: tuple[float, float], wanted: tuple[float, float]
) -> list[list[float]]:
    """Map ratings linearly from their own scale to another.

    Args:
        ratings: (clips, outputs), NaN where there is none.
        given: lowest and highest value of their scale.
        wanted: the same of the other one.
    """
    if tuple(given) == tuple(wanted):
        return [list(row) for row in ratings]
    (low, high), (lowest, highest) = given, wanted
    return (lowest + (np.array(ratings) - low) * (highest - lowest) / (high - low)).tolist()
