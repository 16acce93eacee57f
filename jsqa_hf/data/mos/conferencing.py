"""The Tencent and PSTN corpora of the ConferencingSpeech 2022 challenge (Yi et al., Interspeech 2022)."""

from __future__ import annotations

from pathlib import Path

from ..corpus import corpus_root, read_table
from ..ratings import Row

_TENCENT_TABLES = {"withoutReverberationTrainDevMOS.csv": False, "withReverberationTrainDevMOS.csv": True}
_PSTN_TABLE = "pstn_train.csv"


def read_tencent(root: Path) -> list[Row]:
    """Read the Chinese clips with simulated and live degradations, with and without reverberation.

    Args:
        root: `TencentCorups` (spelled so in the archive) with one or both of `withoutReverberationTrainDevMOS.csv` and
            `withReverberationTrainDevMOS.csv`, or the folder above it.

    Returns:
        Rows with `split` (`without_reverberation` or `with_reverberation`: the corpus has no other).

    Raises:
        FileNotFoundError: If neither table is there.
        ValueError: If a table lacks a column.
    """
    base = corpus_root(root, expected=tuple(_TENCENT_TABLES), what="the Tencent corpus (TencentCorups)")
    return [
        {
            "audio": str(base / row["deg_wav"]),
            "file": row["deg_wav"],
            "mos": row["mos"],
            "split": "with_reverberation" if reverberation else "without_reverberation",
        }
        for table, reverberation in _TENCENT_TABLES.items()
        if (base / table).is_file()
        for row in read_table(base / table, ("deg_wav", "mos"))
    ]


def read_pstn(root: Path) -> list[Row]:
    """Read the clips of calls over public telephone networks (Mittag et al., Interspeech 2020).

    Args:
        root: `pstn_train` with `pstn_train.csv` and the clips beside it, or the folder above it.

    Returns:
        Rows with `n_votes`, `mos_std` and the split `train`.

    Raises:
        FileNotFoundError: If the table is not there.
        ValueError: If the table lacks a column.
    """
    base = corpus_root(root, expected=(_PSTN_TABLE,), what="the PSTN corpus")
    return [
        {
            "audio": str(base / row["filename"]),
            "file": row["filename"],
            "mos": row["MOS"],
            "mos_std": row.get("std"),
            "n_votes": row.get("votes"),
            "split": "train",
        }
        for row in read_table(base / _PSTN_TABLE, ("filename", "MOS"))
    ]
