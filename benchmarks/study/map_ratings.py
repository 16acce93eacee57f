"""Put measures of simulated clips onto the scale of listeners, and choose which of them make the labels.

    pip install -e ".[bench]"
    python benchmarks/study/map_ratings.py --ratings examples/data/p835/ratings.csv --simulated simulated/ratings.csv

PESQ-WB and DistillMOS (from `teacher_ratings.py`, beside both tables) are mapped to the ratings by the monotonic
third-order mapping of ITU-T P.1401; a mixture is the mean of what its members map to. Leave-one-talker-out over the
talkers with `split` = train tells which predicts listeners best, on average over all tables of ratings, and only that
chooses; the held-out talkers are printed beside it. The labels are on the scale of the first table. The reference of
each talker is its condition c0 or C01. `--also zimtohrli visqol` reports all mixtures with these, too; the labels are
of the first two measures. Writes `mapped.csv` beside the simulated ratings, with the mapped value as `mos`. Below the
lowest value among the rated clips a mapping falls in a straight line to 1 at the lowest that the measure gives, which
is an assumption. Clips without PESQ, as `degraded_clips.py` makes them, are labelled by DistillMOS alone.

With `--scale distillmos` the measures stay as they are: the labels are their mean, moved by as much as brings it to
the mean of DistillMOS over the clips of this table. The report tells how well each mixture agrees with every table
both ways: by mappings that were fitted to the first table, and as it is.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soxr
from growing_table import read_rows
from numpy.typing import NDArray
from simulated_ratings import zimtohrli_mos
from workers import require_bench

from jsqa_hf.audio import decode_audio
from jsqa_hf.data.corpus import read_table
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.metrics.mapping import fit_mapping
from jsqa_hf.training import parse_arguments, run_script

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from peers import PEERS, SAMPLING_RATE, Rate  # noqa: E402 - it is a script beside this folder

WORST = {
    # ITU-T P.862.2: the mapping of the lowest raw score, -0.5.
    "pesq": 0.999 + 4 / (1 + math.exp(1.3669 * 0.5 + 3.8224)),
    "distillmos": 1.0,
    # Both give a MOS.
    "zimtohrli": 1.0,
    "visqol": 1.0,
}
REFERENCES = ("c0", "C01")
MEASURES = ("pesq", "distillmos")

Values = dict[str, NDArray[np.float64]]


def rate_visqol(clean: NDArray[np.float64], degraded: NDArray[np.float64]) -> float:
    """MOS-LQO of ViSQOL in its mode for speech, by its polynomial mapping."""
    (scores,) = _visqol()([degraded.astype(np.float32)], [clean.astype(np.float32)]).values()
    return float(scores[0])


@lru_cache
def _visqol() -> Rate:
    return PEERS["visqol"].load("", 1).rate


FURTHER = {"zimtohrli": zimtohrli_mos, "visqol": rate_visqol}


@dataclass
class MappingArguments:
    """Whose scale, and what to put onto it."""

    ratings: list[str] = field(
        metadata={"help": "CSV files with the columns file, mos, talker, condition and split; the first has the scale"}
    )
    simulated: str = field(metadata={"help": "ratings.csv of simulated_ratings.py"})
    report: str | None = field(default=None, metadata={"help": "JSON file for the figures of all mixtures"})
    scale: Literal["listeners", "distillmos"] = field(
        default="listeners", metadata={"help": "of the labels: that of the first table, or that of DistillMOS"}
    )
    also: list[str] = field(
        default_factory=list, metadata={"help": f"further measures to report: {' or '.join(FURTHER)}"}
    )


def load(path: Path) -> np.ndarray:
    """Mono samples at the rate of PESQ."""
    samples, rate = decode_audio(path)
    return soxr.resample(samples.mean(0), rate, SAMPLING_RATE)


def teacher_values(table: str, rows: Sequence[dict[str, str]]) -> NDArray[np.float64]:
    """DistillMOS of the rows of a table.

    Raises:
        ValueError: if not all of them have been rated.
    """
    path = Path(table).parent / "teacher_distillmos.csv"
    values = {row["file"]: row["distillmos"] for row in read_rows(path)}
    if missing := sum(row["file"] not in values for row in rows):
        raise ValueError(
            f"{path} lacks {missing} of {len(rows)} clips: run teacher_ratings.py --ratings {table} to its end"
        )
    return np.array([float(values[row["file"]]) for row in rows])


@lru_cache
def rated_clips(
    path: str, also: tuple[str, ...] = ()
) -> tuple[Values, NDArray[np.float64], NDArray[np.str_], NDArray[np.bool_]]:
    """Measures, MOS and talker of each clip, and whether it is held out."""
    import pesq

    rows, folder = read_table(path, ("file", "mos", "talker", "condition", "split")), Path(path).parent
    references = {row["talker"]: load(folder / row["file"]) for row in rows if row["condition"] in REFERENCES}
    pairs = [(references[row["talker"]], load(folder / row["file"])) for row in rows]
    further = {name: np.array([FURTHER[name](*pair) for pair in pairs]) for name in also}
    scores = [pesq.pesq(SAMPLING_RATE, *pair, "wb") for pair in pairs]
    return (
        {"pesq": np.array(scores), "distillmos": teacher_values(path, rows), **further},
        np.array([float(row["mos"]) for row in rows]),
        np.array([row["talker"] for row in rows]),
        np.array([row["split"] != "train" for row in rows]),
    )


def fit(mixture: Sequence[str], values: Values, mos: NDArray[np.float64]) -> Callable[[Values], NDArray[np.float64]]:
    """The mapping of a mixture."""
    mappings = {name: fit_mapping(values[name], mos, 3) for name in mixture}
    ranges = {name: (values[name].min(), values[name].max()) for name in mixture}

    def apply(other: Values) -> NDArray[np.float64]:
        mapped = []
        for name in mixture:
            low, high = ranges[name]
            below = np.interp(other[name], [WORST[name], low], [1.0, mappings[name](low)])
            inside = mappings[name](other[name].clip(low, high))
            mapped.append(np.where(other[name] < low, below, inside))
        return np.mean(mapped, axis=0)

    return apply


def mixtures_of(measures: Sequence[str]) -> list[tuple[str, ...]]:
    """Every measure, every two of them, and so on."""
    return [mixture for number in range(1, len(measures) + 1) for mixture in itertools.combinations(measures, number)]


def chosen(values: Values, where: NDArray[np.bool_]) -> Values:
    """The values of some clips."""
    return {name: value[where] for name, value in values.items()}


def moved_to(teacher: NDArray[np.float64], values: Values) -> NDArray[np.float64]:
    """The mean of the measures, as high on average as the teacher."""
    mean = np.mean(list(values.values()), axis=0)
    return np.clip(mean + np.mean(teacher - mean), 1.0, 5.0)


def compare_mixtures(ratings: str, first: str, also: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Agreement of every mixture with listeners.

    Args:
        ratings: the table.
        first: the table to whose scale labels are brought.
        also: further measures.

    Returns:
        By mixture `leave_one_talker_out` and `held_out`, mapped by the other talkers of this table; `by_first` and
        `held_out_by_first`, mapped by the training talkers of the first; `as_is` and `held_out_as_is`, not mapped.
    """
    values, mos, talkers, held_out = rated_clips(ratings, tuple(also))
    first_values, first_mos, _, first_held_out = rated_clips(first, tuple(also))
    figures = {}
    for mixture in mixtures_of([*MEASURES, *also]):
        predicted = np.full(len(mos), np.nan)
        for talker in np.unique(talkers[~held_out]):
            own = talkers == talker
            predicted[own] = fit(mixture, chosen(values, ~held_out & ~own), mos[~held_out & ~own])(chosen(values, own))
        final = fit(mixture, chosen(values, ~held_out), mos[~held_out])(chosen(values, held_out))
        figures["+".join(mixture)] = {
            "leave_one_talker_out": mos_metrics(predicted[~held_out], mos[~held_out]),
            "held_out": mos_metrics(final, mos[held_out]),
        }
        by_first = fit(mixture, chosen(first_values, ~first_held_out), first_mos[~first_held_out])(values)
        as_is = np.mean([values[name] for name in mixture], axis=0)
        for name, mixed in (("by_first", by_first), ("as_is", as_is)):
            figures["+".join(mixture)][name] = mos_metrics(mixed[~held_out], mos[~held_out])
            figures["+".join(mixture)][f"held_out_{name}"] = mos_metrics(mixed[held_out], mos[held_out])
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Choose, fit, test and apply the mapping."""
    (args,) = parse_arguments((MappingArguments,), argv)
    require_bench("pesq", *({"visqol", "zimtohrli"} & set(args.also)))
    for table in (*args.ratings, args.simulated):
        # Before what takes long.
        teacher_values(table, read_table(table, ("file",)))
    figures = [compare_mixtures(path, args.ratings[0], args.also) for path in args.ratings]
    errors = {
        name: np.mean([of_table[name]["leave_one_talker_out"]["rmse"] for of_table in figures])
        for name in map("+".join, mixtures_of(MEASURES))
    }
    best = min(errors, key=errors.__getitem__)
    text = json.dumps({"chosen": best, "mixtures": figures}, indent=2)
    print(text)
    if args.report:
        Path(args.report).write_text(text + "\n", encoding="utf-8")
    values, mos, _, held_out = rated_clips(args.ratings[0], tuple(args.also))
    rows = read_table(args.simulated, ("file",))
    simulated = {"distillmos": teacher_values(args.simulated, rows)}
    if "pesq" in rows[0]:
        simulated["pesq"] = np.array([float(row["pesq"]) for row in rows])
    labels = [name for name in best.split("+") if name in simulated]
    if args.scale == "distillmos":
        mapped = moved_to(simulated["distillmos"], {name: simulated[name] for name in labels})
    else:
        mapped = fit(labels, chosen(values, ~held_out), mos[~held_out])(simulated)
    with (Path(args.simulated).parent / "mapped.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys([*rows[0], "mos", "distillmos"])))
        writer.writeheader()
        for row, value, teacher in zip(rows, mapped, simulated["distillmos"], strict=True):
            writer.writerow({**row, "mos": f"{value:.4f}", "distillmos": f"{teacher:.4f}"})


if __name__ == "__main__":
    sys.exit(run_script(main))
