"""Clips that are drawn by their number alone: those that a folder lacks are made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from growing_table import growing_table, read_rows
from tqdm import tqdm
from workers import map_with


def make_missing(
    folder: Path,
    columns: Sequence[str],
    factory: Callable[[], Callable[[int], dict[str, Any]]],
    clips: int,
    num_proc: int,
) -> int:
    """Make the clips from 0 on that `ratings.csv` in a folder lacks, and add their rows.

    Args:
        folder: gets the folder `clips`, too, for the factory's files, whose names are the numbers.
        columns: of the table.
        factory: gives, in each process, what makes a clip; its row has `number`, and `error` if there is no clip.
        clips: how many there are to be.
        num_proc: number of processes.

    Returns:
        How many could not be made; the reasons are on stderr.
    """
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    table = folder / "ratings.csv"
    rows = read_rows(table)
    done = {int(Path(row["file"]).stem) for row in rows}
    todo = [number for number in range(clips) if number not in done]
    failed = 0
    with growing_table(table, columns, rows) as write, map_with(factory, todo, num_proc) as made:
        for row in tqdm(made, total=len(todo)):
            if "error" in row:
                failed += 1
                print(f"clip {row['number']}: {row['error']}", file=sys.stderr)
                continue
            write([row])
    return failed
