"""The NISQA corpus (Mittag et al., Interspeech 2021; Zenodo record 4728081)."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath

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
# Tables of single votes, one row per listener and clip. Only their name is known to us, so that several names of their
# columns are tried.
_VOTE_TABLES = "*_per_user*.csv"
_VOTE_FILE_COLUMNS = ("filepath_deg", "filename_deg", "file")
_LISTENER_COLUMNS = ("user", "user_id", "worker", "worker_id", "listener", "subject", "participant")


def read_nisqa(root: Path) -> list[Row]:
    """Read the ratings per file.

    Each split has a table `NISQA_<split>/NISQA_<split>_file.csv`; for a split whose folder lacks it, the rows of
    `NISQA_corpus_file.csv` are taken. The tables of simulated and live splits differ in their columns; what is read
    here is in all of them. Single votes on the overall quality come from a table `*_per_user.csv` beside them, where
    there is one; one with unknown columns is left out with a warning.

    Args:
        root: `NISQA_Corpus`, the folder above it, or the folder of one split.

    Returns:
        Rows with `split` (`TRAIN_SIM`, `TRAIN_LIVE`, `VAL_SIM`, `VAL_LIVE`, `TEST_FOR`, `TEST_P501`,
        `TEST_LIVETALK`), `corpus` (`NISQA_<split>`, a listening test of its own), `condition` (the number `con`, which
        counts within a split), and `votes` and `listener` where they are known.

    Raises:
        FileNotFoundError: If neither kind of table is there.
        ValueError: If a table lacks a column.
    """
    own = [table for table in _split_tables(root, _SPLIT_TABLES) if table.name != _CORPUS_TABLE]
    if own:
        return _rows(own, root.parent)
    # Two underscores: the folder of the whole corpus, NISQA_Corpus, is none of its splits.
    in_folders = f"NISQA_*_*/{_SPLIT_TABLES}"
    base = corpus_root(root, expected=(in_folders, _CORPUS_TABLE), what="the NISQA corpus")
    tables = _split_tables(base, in_folders)
    rows = _rows(tables, base)
    if (base / _CORPUS_TABLE).is_file():
        covered = {table.parent.name for table in tables}
        folders = {folder.name for folder in base.glob("NISQA_*") if folder.is_dir()} - covered
        rows += [row for row in _rows([base / _CORPUS_TABLE], base) if f"NISQA_{row['split']}" in folders]
    if not rows:
        raise FileNotFoundError(f"{base} holds {_CORPUS_TABLE}, but none of the folders of its splits (NISQA_*)")
    return rows


def _split_tables(folder: Path, pattern: str) -> list[Path]:
    """Tables of ratings per file, without those of single votes, whose names may end as theirs."""
    return [table for table in sorted(folder.glob(pattern)) if not table.match(_VOTE_TABLES)]


def _rows(tables: list[Path], base: Path) -> list[Row]:
    rows = []
    for table in tables:
        votes = _votes(table.parent)
        for row in read_table(table, _NEEDED):
            rows.append(_row(row, base) | votes.get(PurePosixPath(row["filepath_deg"]).name, {}))
    return rows


def _votes(folder: Path) -> dict[str, Row]:
    """Single votes and their listeners by the name of the clip, from the tables in a folder."""
    votes: dict[str, Row] = {}
    for table in sorted(folder.glob(_VOTE_TABLES)):
        records = read_table(table, ())
        file = next((name for name in _VOTE_FILE_COLUMNS if name in records[0]), None)
        listener = next((name for name in _LISTENER_COLUMNS if name in records[0]), None)
        if file is None or "mos" not in records[0]:
            warnings.warn(
                f"{table}: the votes are left out; it needs mos and one of the columns "
                f"{', '.join(_VOTE_FILE_COLUMNS)}, but has {', '.join(records[0])}",
                stacklevel=2,
            )
            continue
        for record in records:
            clip = votes.setdefault(PurePosixPath(record[file]).name, {"votes": [], "listener": []})
            clip["votes"].append(record["mos"])
            clip["listener"].append(record[listener] if listener else str(len(clip["listener"])))
    return votes


def _row(row: dict[str, str], base: Path) -> Row:
    reference = base / row["filepath_ref"] if row.get("filepath_ref") else None
    split = row["db"].removeprefix("NISQA_")
    return {
        "audio": str(base / row["filepath_deg"]),
        "file": row["filepath_deg"],
        **{name: row.get(column) for name, column in _RATINGS.items()},
        **{f"{name}_std": row.get(f"{column}_std") for name, column in _RATINGS.items()},
        "n_votes": row.get("votes"),
        "condition": row.get("con"),
        "corpus": f"NISQA_{split}",
        "split": split,
        "reference_audio": str(reference) if reference is not None and reference.is_file() else None,
    }
