"""The NISQA corpus (Mittag et al., Interspeech 2021; Zenodo record 4728081)."""

from __future__ import annotations

from pathlib import Path

from ..corpus import corpus_root, read_table
from ..ratings import Row

SPLIT_GROUPS = {
    "train": ("TRAIN_SIM", "TRAIN_LIVE"),
    "val": ("VAL_SIM", "VAL_LIVE"),
    "test": ("TEST_FOR", "TEST_P501", "TEST_LIVETALK"),
}

# The tables do not say which end of a scale is good. It is the upper one on all: the NISQA model, trained on these
# columns, gives white noise a noisiness of 1.95 (example in the documentation of torchmetrics).
_RATINGS = {"mos": "mos", "noisiness": "noi", "coloration": "col", "discontinuity": "dis", "loudness": "loud"}
_CORPUS_TABLE = "NISQA_corpus_file.csv"
_SPLIT_TABLES = "NISQA_*_file.csv"
_NEEDED = ("db", "filepath_deg", "mos")


def read_nisqa(root: Path) -> list[Row]:
    """Read the ratings per file.

    Each split has a table `NISQA_<split>/NISQA_<split>_file.csv`; for a split whose folder lacks it, the rows of
    `NISQA_corpus_file.csv` are taken. The tables of simulated and live splits differ in their columns; what is read
    here is in all of them. The corpus publishes means, standard deviations and numbers of votes, no single votes.

    Args:
        root: `NISQA_Corpus`, the folder above it, or the folder of one split.

    Returns:
        Rows with `split` (`TRAIN_SIM`, `TRAIN_LIVE`, `VAL_SIM`, `VAL_LIVE`, `TEST_FOR`, `TEST_P501`, `TEST_LIVETALK`)
        and `condition` (the number `con`, which counts within a split).

    Raises:
        FileNotFoundError: If neither kind of table is there.
        ValueError: If a table lacks a column.
    """
    own = [table for table in sorted(root.glob(_SPLIT_TABLES)) if table.name != _CORPUS_TABLE]
    if own:
        return _rows(own, root.parent)
    # Two underscores: the folder of the whole corpus, NISQA_Corpus, is none of its splits.
    in_folders = f"NISQA_*_*/{_SPLIT_TABLES}"
    base = corpus_root(root, expected=(in_folders, _CORPUS_TABLE), what="the NISQA corpus")
    tables = sorted(base.glob(in_folders))
    rows = _rows(tables, base)
    if (base / _CORPUS_TABLE).is_file():
        covered = {table.parent.name for table in tables}
        folders = {folder.name for folder in base.glob("NISQA_*") if folder.is_dir()} - covered
        rows += [row for row in _rows([base / _CORPUS_TABLE], base) if f"NISQA_{row['split']}" in folders]
    if not rows:
        raise FileNotFoundError(f"{base} holds {_CORPUS_TABLE}, but none of the folders of its splits (NISQA_*)")
    return rows


def _rows(tables: list[Path], base: Path) -> list[Row]:
    return [_row(row, base) for table in tables for row in read_table(table, _NEEDED)]


def _row(row: dict[str, str], base: Path) -> Row:
    reference = base / row["filepath_ref"] if row.get("filepath_ref") else None
    return {
        "audio": str(base / row["filepath_deg"]),
        "file": row["filepath_deg"],
        **{name: row.get(column) for name, column in _RATINGS.items()},
        **{f"{name}_std": row.get(f"{column}_std") for name, column in _RATINGS.items()},
        "n_votes": row.get("votes"),
        "condition": row.get("con"),
        "split": row["db"].removeprefix("NISQA_"),
        "reference_audio": str(reference) if reference is not None and reference.is_file() else None,
    }
