"""Ratings of a listening test → a `datasets.Dataset` with standard columns, and its labels for a model.

What every reader of `jsqa_hf.data.mos` shares. A row is a dict with the path of the clip under `audio`, its name in
the table under `file`, and ratings as they stand in the table, text or number, or lists of single votes.
"""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets

from .corpus import Check, OnError, existing_rows, to_dataset, unique_rows
from .files import refuse

DIMENSIONS = (
    "mos",
    "noisiness",
    "coloration",
    "discontinuity",
    "loudness",
    "signal",
    "background",
    "reverberation",
)
"""What clips are rated on: overall quality (ITU-T P.800, P.808), the four dimensions of ITU-T P.804, the speech signal
and background noise of ITU-T P.835, and reverberation, which the P.808 toolkit adds to P.804 (Naderi et al., arXiv
2309.07385)."""

Row = dict[str, Any]

_TEXT_COLUMNS = ("file", "system", "condition", "corpus", "split")
_RATING_COLUMNS = (*DIMENSIONS, *(f"{name}_std" for name in DIMENSIONS))
_FEATURES: dict[str, Any] = {
    "audio": datasets.Audio(decode=False),
    "file": datasets.Value("string"),
    **{name: datasets.Value("float64") for name in _RATING_COLUMNS},
    "n_votes": datasets.Value("int64"),
    **{f"{name}_n_votes": datasets.Value("int64") for name in DIMENSIONS[1:]},
    "votes": datasets.List(datasets.Value("float64")),
    "listener": datasets.List(datasets.Value("string")),
    **{name: datasets.Value("string") for name in _TEXT_COLUMNS[1:]},
    "reference_audio": datasets.Audio(decode=False),
}
STANDARD_COLUMNS = tuple(_FEATURES)
_NAMES_IN_MESSAGE = 3
_OUTSIDE = "outside the scale"
_REPEATED = (
    "; rows of single votes need the column vote or listener, several listening tests the column corpus, and corpora "
    "such as NISQA are read by name (nisqa:PATH)"
)
_ZERO_IN_FRONT = re.compile(r"\s*[+-]?0\d")


def ratings_dataset(
    rows: Sequence[Row],
    *,
    what: str,
    score_range: tuple[float, float] | None,
    on_error: OnError = "raise",
    check: Check | None = "exists",
    rated: Collection[str] = DIMENSIONS,
) -> datasets.Dataset:
    """Check the rows of a listening test and make a dataset of them.

    `mos`, `n_votes` and `mos_std` (the sample standard deviation) are computed from the `votes` of a row where they
    are not given, as are those of a dimension that is a list of single votes; `n_votes` is that of overall quality if
    this has votes, and `noisiness_n_votes` etc. tell where a dimension has another number. A column that is empty in
    all rows is left out.

    Args:
        rows: At least one; keys that are no standard column become columns of their own.
        what: Name of the corpus or table, for messages.
        score_range: Lowest and highest value of the scale of all ratings and votes; `None` checks nothing.
        on_error: `"raise"`, or `"skip"` to leave out rows that can't be used, with one warning per kind of error.
        check: Whether each clip is looked for (`"exists"`), decoded (`"decode"`) or left unseen (`None`).
        rated: Those of `DIMENSIONS` that are ratings for certain. In a test of overall quality another one, of which
            no row has a rating on the scale, is a further column: `background` may be a type of noise, `loudness` a
            level.

    Returns:
        Dataset with those of `STANDARD_COLUMNS` that the test has, in that order, and further columns behind them.

    Raises:
        FileNotFoundError: If clips are missing.
        ValueError: If a rating is no number or outside the scale, a deviation is negative, a number of votes is not
            whole, a clip is listed twice in one `corpus` or can't be decoded, or no row is left.
    """
    others = _other_quantities(rows, score_range, rated)
    rows = [{**row, **{name: values[index] for name, values in others.items()}} for index, row in enumerate(rows)]
    parsed = _parsed_rows(rows, what, score_range, on_error, [name for name in DIMENSIONS if name not in others])
    # Several tests may have clips in common, such as anchors.
    parsed = unique_rows(parsed, "audio", what=what, on_error=on_error, hint=_REPEATED, within="corpus")
    parsed = existing_rows(parsed, what=what, on_error=on_error, check=check)
    names = list(dict.fromkeys(name for row in parsed for name, value in row.items() if value is not None))
    features = {name: feature for name, feature in _FEATURES.items() if name in names and name not in others}
    for name in names:
        if name not in features:
            number = all(isinstance(row.get(name), float | int | None) for row in parsed)
            features[name] = datasets.Value("float64" if number else "string")
    return to_dataset([{name: row.get(name) for name in features} for row in parsed], datasets.Features(features))


def with_labels(
    dataset: datasets.Dataset,
    outputs: Sequence[str],
    score_range: tuple[float, float] | None = None,
    on_error: OnError = "raise",
    what: str = "the table of ratings",
) -> datasets.Dataset:
    """Add the column `labels`, which a MOS model is trained on and compared with, in place of one that is there.

    Args:
        dataset: Of [`jsqa_hf.data.load_mos`].
        outputs: Columns with numbers, in the order of the model's outputs. One of `DIMENSIONS` may be absent from
            the dataset (not rated there), though not all of them.
        score_range: Lowest and highest value of their scale; `None` checks nothing.
        on_error: `"raise"` raises for labels outside the scale; `"skip"` leaves their rows out with a warning.
        what: Name of the corpus or table, for messages.

    Returns:
        The dataset with `labels`, a list of one float per output, NaN where there is no rating.

    Raises:
        ValueError: If an output is neither a column nor one of `DIMENSIONS`, a column does not hold numbers, none of
            the outputs is rated, or a label lies outside the scale.
    """
    there = [name for name in outputs if name in dataset.column_names]
    unknown = [name for name in outputs if name not in there and name not in DIMENSIONS]
    numeric = [name for name, value in dataset.features.items() if getattr(value, "dtype", "") in ("float64", "int64")]
    if unknown or not there or set(there) - set(numeric):
        raise ValueError(
            f"{what}: the labels {', '.join(outputs)} can't be made: the columns with numbers are {', '.join(numeric)}"
        )
    columns = [dataset[name][:] if name in there else [None] * len(dataset) for name in outputs]
    labels = [[math.nan if value is None else float(value) for value in row] for row in zip(*columns, strict=True)]
    low, high = score_range or (-math.inf, math.inf)
    problems = {
        index: f"{name} of {dataset[index]['file']} is {value:g}, {_OUTSIDE} {low:g} to {high:g}"
        for index, row in enumerate(labels)
        for name, value in zip(outputs, row, strict=True)
        if value < low or value > high
    }
    if "labels" in dataset.column_names:
        dataset = dataset.remove_columns("labels")
    dataset = dataset.add_column("labels", labels, feature=datasets.List(datasets.Value("float64")))
    if not problems:
        return dataset
    _leave_out(list(problems.values()), len(labels), what, on_error)
    return dataset.select([index for index in range(len(labels)) if index not in problems])


def rows_per_clip(votes: Iterable[Row], what: str) -> list[Row]:
    """Collect rows of single votes (`audio`, `vote`, perhaps `listener`) into one row per clip, in their order.

    A clip of several corpora has a row for each.

    Those of `DIMENSIONS` that differ between the rows of any clip become lists of single votes, too, and further
    columns with numbers that do become means. Further columns with text are kept where a clip has one value.

    Args:
        votes: Rows.
        what: Name of the table, for messages.

    Raises:
        ValueError: If the rows of a clip differ in another standard column, such as `split`.
    """
    clips: dict[tuple[str, Any], list[Row]] = {}
    for row in votes:
        clips.setdefault((row["audio"], row.get("corpus")), []).append(row)
    # A column that never differs may hold the mean of a clip in each of its rows.
    single = {
        name
        for rows in clips.values()
        for name in DIMENSIONS
        if any(row.get(name) != rows[0].get(name) for row in rows)
    }
    return [_clip(rows, single, what) for rows in clips.values()]


def _clip(rows: list[Row], single: set[str], what: str) -> Row:
    clip: Row = {}
    for name, first in rows[0].items():
        values = [row.get(name) for row in rows]
        others = [value for value in values if value != first]
        if name in single:
            clip[name] = values
        elif not others or name == "file":
            clip[name] = first
        elif name in _FEATURES and name != "listener":
            raise ValueError(
                f"{what}: {name} of {rows[0]['file']} is {first!r} in one row and {others[0]!r} in another: all rows "
                "of a clip must agree on it"
            )
        elif all(isinstance(value, float | None) for value in values):
            clip[name] = statistics.fmean(value for value in values if value is not None)
    clip.pop("vote", None)
    listener = [row["listener"] for row in rows] if all(row.get("listener") for row in rows) else None
    return {**clip, "votes": [row["vote"] for row in rows], "listener": listener}


def numbers_or_text(cells: Sequence[Any]) -> list[float | str | None]:
    """Numbers if all cells are numbers or empty, else text; so are names of digits, such as 1_23 and 01."""
    given = [None if cell == "" else cell for cell in cells]
    try:
        if not any(isinstance(cell, str) and _ZERO_IN_FRONT.match(cell) for cell in given):
            return [None if cell is None else _float(cell) for cell in given]
    except (TypeError, ValueError):
        pass
    return [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in given]


def files_by_name(root: Path) -> dict[str, list[Path]]:
    """All files under a folder by their names in lower case, each list sorted."""
    found: dict[str, list[Path]] = {}
    for folder, _, names in os.walk(root, onerror=refuse):
        for name in names:
            found.setdefault(name.lower(), []).append(Path(folder, name))
    return {name: sorted(paths) for name, paths in found.items()}


def _parsed_rows(
    rows: Sequence[Row],
    what: str,
    score_range: tuple[float, float] | None,
    on_error: OnError,
    dimensions: Sequence[str],
) -> list[Row]:
    parsed, problems = [], []
    for row in rows:
        try:
            parsed.append(_parsed(row, score_range, dimensions))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        _leave_out(problems, len(rows), what, on_error)
    return parsed


def _leave_out(problems: Sequence[str], rows: int, what: str, on_error: OnError) -> None:
    message = f"{what}: {len(problems)} of {rows} rows have ratings that can't be used"
    listed = "; ".join(problems[:_NAMES_IN_MESSAGE])
    if on_error == "raise" or len(problems) == rows:
        scale = (
            ", or give the scale of these ratings (score_range; --score-range of jsqa evaluate, --score_ranges or "
            "--eval_score_ranges of finetune_mos.py)"
        )
        mend = f"correct them{scale if any(_OUTSIDE in problem for problem in problems) else ''}"
        raise ValueError(f"{message}: {listed}; {mend}")
    warnings.warn(f"{message} and are left out: {listed}", stacklevel=3)


def _other_quantities(
    rows: Sequence[Row], score_range: tuple[float, float] | None, rated: Collection[str]
) -> dict[str, list[float | str | None]]:
    """Columns that have the name of a dimension, but no rating on it, and those of their deviations and votes."""
    if not any(row.get("mos") or row.get("votes") for row in rows):
        return {}
    names = [name for name in DIMENSIONS if name not in rated and _is_other(rows, name, score_range)]
    columns = [column for name in names for column in (name, f"{name}_std", f"{name}_n_votes")]
    return {column: numbers_or_text([row.get(column) for row in rows]) for column in columns}


def _is_other(rows: Sequence[Row], name: str, score_range: tuple[float, float] | None) -> bool:
    strange = False
    for row in rows:
        value = row.get(name)
        for one in value if isinstance(value, list) else [value]:
            try:
                if _number(one, name, row["file"], score_range) is not None:
                    return False
            except ValueError:
                strange = True
    return strange


def _parsed(row: Row, score_range: tuple[float, float] | None, dimensions: Sequence[str]) -> Row:
    """The row with absolute paths, numbers for text, means for single votes and `None` for what is empty."""
    file = row["file"]
    new = {key: None if value == "" else value for key, value in row.items()}
    new["audio"] = os.path.abspath(row["audio"])
    new |= {name: str(new[name]) for name in _TEXT_COLUMNS if new.get(name) is not None}
    cells = [_number(vote, "a vote", file, score_range) for vote in new.get("votes") or ()]
    if listeners := new.get("listener"):
        new["listener"] = [str(who) for who, vote in zip(listeners, cells, strict=True) if vote is not None]
    votes = [vote for vote in cells if vote is not None]
    new["votes"] = votes or None
    counts = {}
    for name in dimensions:
        new[name], new[f"{name}_std"], counts[name] = _rating(new, name, votes if name == "mos" else [], score_range)
    overall = len(votes) or counts.get("mos") or max(counts.values(), default=0) or None
    n_votes = _count(new, "n_votes")
    new["n_votes"] = overall if n_votes is None else n_votes
    for name in (name for name in dimensions if name != "mos"):
        column = f"{name}_n_votes"
        own = _count(new, column) or counts[name]
        new[column] = own if own and own != new["n_votes"] else None
    if new["mos"] is not None and new["n_votes"] is not None and new["n_votes"] < 1:
        raise ValueError(f"n_votes of {file} is {new['n_votes']}, and a rating needs at least one vote")
    return new


def _rating(
    row: Row, name: str, votes: list[float], score_range: tuple[float, float] | None
) -> tuple[float | None, float | None, int]:
    """Mean and standard deviation on a dimension, and the number of single votes that its cell lists.

    Where they are not given, they are those of `votes` or, without these, of the single votes.
    """
    value = row.get(name)
    cells = value if isinstance(value, list) else [value]
    given = [_number(cell, name, row["file"], score_range) for cell in cells]
    ratings = [rating for rating in given if rating is not None]
    mean = statistics.fmean(ratings or votes) if ratings or votes else None
    std = _number(row.get(f"{name}_std"), f"{name}_std", row["file"], None)
    if std is not None and std < 0:
        raise ValueError(f"{name}_std of {row['file']} is {std:g}, below 0; leave it empty where it isn't known")
    sample = votes or ratings
    if std is None and len(sample) > 1:
        std = statistics.stdev(sample)
    return mean, std, len(ratings) if isinstance(value, list) else 0


def _count(row: Row, name: str) -> int | None:
    number = _number(row.get(name), name, row["file"], None)
    if number is not None and not number.is_integer():
        raise ValueError(f"{name} of {row['file']} is {number:g}, which is no whole number")
    return None if number is None else int(number)


def _float(value: Any) -> float:
    """As `float`, which takes 1_23 for 123, but without that."""
    if isinstance(value, str) and "_" in value:
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _number(value: Any, name: str, file: str, score_range: tuple[float, float] | None) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = _float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of {file} is {value!r}, which is not a number") from error
    if math.isnan(number):
        return None
    if score_range is not None and not score_range[0] <= number <= score_range[1]:
        low, high = score_range
        raise ValueError(f"{name} of {file} is {number:g}, {_OUTSIDE} {low:g} to {high:g}")
    if math.isinf(number):
        raise ValueError(f"{name} of {file} is {number:g}, which is not finite")
    return number
