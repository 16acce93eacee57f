"""Corpora of listening tests, each from the layout that it has on disk, as datasets with one set of columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets

from ..corpus import Check, OnError, split_names
from ..loading import parse_source
from ..ratings import DIMENSIONS, Row, ratings_dataset
from .bvcc import read_bvcc
from .conferencing import read_pstn, read_tencent
from .nisqa import SPLIT_GROUPS, read_nisqa
from .p808 import read_p808, read_p835
from .tables import read_csv, read_folder, read_reverb
from .tcd_voip import read_tcd_voip

ACR_SCALE = (1.0, 5.0)
"""The five categories of an absolute category rating, from bad to excellent (ITU-T P.800)."""


class MOSCorpus(NamedTuple):
    """How a corpus is read.

    Attributes:
        read: root and options → rows.
        score_range: lowest and highest value of its scale; `None` where each table has its own.
        split_groups: names that stand for several splits, in lower case.
    """

    read: Callable[..., list[Row]]
    score_range: tuple[float, float] | None
    split_groups: Mapping[str, Sequence[str]] = {}


MOS_CORPORA: dict[str, MOSCorpus] = {
    "nisqa": MOSCorpus(read_nisqa, ACR_SCALE, SPLIT_GROUPS),
    "tcd-voip": MOSCorpus(read_tcd_voip, ACR_SCALE),
    "bvcc": MOSCorpus(read_bvcc, ACR_SCALE),
    "tencent": MOSCorpus(read_tencent, ACR_SCALE),
    "pstn": MOSCorpus(read_pstn, ACR_SCALE),
    "p808": MOSCorpus(read_p808, ACR_SCALE),
    "p835": MOSCorpus(read_p835, ACR_SCALE),
    "reverb": MOSCorpus(read_reverb, None),
    "csv": MOSCorpus(read_csv, None),
    "folder": MOSCorpus(read_folder, None),
}


def load_mos(
    name: str,
    root: str | os.PathLike[str],
    *,
    split: str | Sequence[str] | None = None,
    score_range: tuple[float, float] | None = None,
    on_error: OnError = "raise",
    check: Check | None = "exists",
    **options: Any,
) -> datasets.Dataset:
    """Load the clips and ratings of a listening test.

    The layouts are described in `docs/corpora.md`. Ratings stay on the scale of their labels; in every named corpus
    that is 1 to 5, and higher is better on all dimensions (a high noisiness rating means *little* noise). Clips stay
    undecoded and at their own sampling rates.

    TCD-VoIP and the TEST splits of NISQA are for testing only: results published on them assume that no model was
    trained on them.

    Args:
        name: `nisqa`, `tcd-voip`, `bvcc`, `tencent`, `pstn`, `p808`, `p835`, `reverb`, `csv` or `folder`.
        root: Folder of the corpus (or the folder above it), or the table of `csv`, `p808`, `p835`.
        split: One or several values of the column `split` to keep, in a text with commas between them; for `nisqa`
            also `train`, `val` and `test`, which stand for all splits of that kind.
        score_range: Lowest and highest value of the scale, in place of that of the corpus. Without it, the ratings of
            `csv`, `folder` and `reverb` are not checked against any scale.
        on_error: `"raise"`, or `"skip"` to leave out clips that are missing or unreadable, repeated clips, and ratings
            outside the scale, with a warning that counts and names them.
        check: Whether each clip is looked for (`"exists"`), decoded as well (`"decode"`) or left unseen (`None`).
        options: Of the reader: `columns` (`csv`, `folder`, `reverb`) maps standard columns to those of the table, and
            `audio_root` (the same, `p808` and `p835`) is the folder of the clips where it is not that of the table.

    Returns:
        Dataset with `audio`, `file` (as in the table), `mos`, and what the test has of `noisiness`, `coloration`,
        `discontinuity`, `loudness`, `signal`, `background`, their standard deviations `mos_std` etc., `n_votes`,
        `votes` (on overall quality, one per listener), `listener` (who gave them), `system`, `condition`, `corpus`,
        `split`, `reference_audio` (`None` where the file is not there). Some corpora have further columns; so is, in
        `csv`, `folder` and `reverb` beside `mos`, a dimension that `columns` does not name and of which no row has a
        rating on the scale, such as `background` with types of noise.

    Raises:
        FileNotFoundError: If the root is not that of the corpus, or clips are missing.
        ValueError: If the name or the split is unknown, or ratings or clips can't be used; names them.
        TypeError: If the reader of this corpus has no such option.
        ImportError: If the workbook of TCD-VoIP is to be read without `openpyxl`.
    """
    if name not in MOS_CORPORA:
        raise ValueError(f"there is no listening test {name!r}; known are {', '.join(MOS_CORPORA)}")
    corpus = MOS_CORPORA[name]
    rows = [{"corpus": name, **row} for row in corpus.read(Path(root).absolute(), **options)]
    what = f"{name} ({root})"
    if split is not None:
        rows = _of_splits(rows, split_names(split), corpus.split_groups, what)
    scale = corpus.score_range if score_range is None else score_range
    # What a column of anyone's table holds is told by its name and its cells alone.
    rated = ("mos", *(options.get("columns") or ())) if corpus.score_range is None else DIMENSIONS
    return ratings_dataset(rows, what=what, score_range=scale, on_error=on_error, check=check, rated=rated)


def parse_mos_source(text: str) -> tuple[str, str]:
    """Read a listening test from a command line.

    Args:
        text: `NAME:ROOT`, such as `nisqa:/data/NISQA_Corpus`; or the path of a table (`csv`) or a folder (`folder`).

    Returns:
        The arguments `name` and `root` of `load_mos`.

    Raises:
        ValueError: If there is no root, or what stands before the colon is no listening test and no part of a path.
    """
    name, colon, root = text.partition(":")
    if colon and root and name in MOS_CORPORA:
        return name, root
    try:
        name, root = parse_source(text)
    except ValueError:
        name = ""
    if name not in MOS_CORPORA:
        raise ValueError(f"{text!r} is no path: pass a path, or NAME:PATH with one of {', '.join(MOS_CORPORA)}")
    return name, root


def _of_splits(rows: list[Row], names: Sequence[str], groups: Mapping[str, Sequence[str]], what: str) -> list[Row]:
    wanted = {split for name in names for split in groups.get(name.lower(), [name])}
    there = {str(row["split"]) for row in rows if row.get("split")}
    if not there:
        raise ValueError(f"{what} has no splits: it lacks the column split")
    if missing := sorted(wanted - there):
        raise ValueError(
            f"{what} has no rows of split {', '.join(missing)}; its splits are {', '.join(sorted(there))}"
        )
    return [row for row in rows if str(row.get("split")) in wanted]


__all__ = ["MOS_CORPORA", "MOSCorpus", "load_mos", "parse_mos_source"]
