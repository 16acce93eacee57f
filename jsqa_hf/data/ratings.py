"""Listening tests → `datasets.Dataset`s with the columns that fine-tuning and evaluation expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import datasets

from .folders import listed_files


def load_ratings_csv(
    path: str | Path,
    outputs: Sequence[str] = ("mos",),
    *,
    split: str | None = None,
    score_range: tuple[float, float] | None = None,
) -> datasets.Dataset:
    """List the rated clips of a CSV file.

    Args:
        path: CSV file with a column `file` (paths relative to the CSV file, or absolute), one column per rating, and
            optionally `split`. An empty cell means that the clip was not rated.
        outputs: columns of the ratings to read, in the order of the model's outputs.
        split: keep only the rows whose column `split` has this value.
        score_range: lowest and highest value of the rating scale, if it is to be checked.

    Returns:
        Dataset with the columns `audio` (`Audio(decode=False)`), `file` (as in the CSV file) and `labels` (a list of
        one float per output, NaN where there is no rating).

    Raises:
        FileNotFoundError: if the CSV file or a listed clip does not exist.
        ValueError: if a column is missing, a rating is not a number or outside the scale, or there are no rows.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: pass a CSV file with the columns file, {', '.join(outputs)}")
    rows = listed_files(path, split, needed=outputs)
    labels = [[_rating(row, name, path, score_range) for name in outputs] for row in rows]
    columns = {
        "audio": [str(path.parent / row["file"]) for row in rows],
        "file": [row["file"] for row in rows],
        "labels": labels,
    }
    return datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))


def _rating(row: dict[str, str], name: str, path: Path, score_range: tuple[float, float] | None) -> float:
    text = (row[name] or "").strip()
    if not text:
        return math.nan
    try:
        rating = float(text)
    except ValueError as error:
        raise ValueError(f"{path}: {name} of {row['file']} is {text!r}, which is not a number") from error
    if score_range is not None and not score_range[0] <= rating <= score_range[1]:
        raise ValueError(
            f"{path}: {name} of {row['file']} is {rating:g}, outside the scale {score_range[0]:g} to "
            f"{score_range[1]:g}: correct it, or give the scale of these ratings as score range"
        )
    return rating
