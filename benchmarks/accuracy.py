"""How well ratings are predicted, beside other measures on the same clips.

    pip install -e ".[bench]"
    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --slotest /data/SLOTest_2023 --p835_fullband /data/P.835 \
        --neural_codecs /data/bernoulli-var-speech-codec/mushra_results_dataset \
        --enhancement /data/inter-component-phase-speech-enhancement-MUSHRA \
        --simulated simulated_test/mapped.csv    # what isn't part of the repository

Sets (`rated_sets.py`): the rated P.835 clips of talkers that our model never heard, though it was trained on others in
the same listening test and conditions, so that errors compare only after a mapping; speech of held-out speakers in
held-out kinds of noise, where the rank of the SNR stands in for ratings; and on request the same talkers in full band,
SLOTest, two MUSHRA tests, of neural codecs and of enhanced speech, and simulated clips, whose labels are the mean of
PESQ and DistillMOS, which are left out there; whoever learned from these is flattered. Other measures may have been
trained on talkers or sentences of these sets. MUSHRA rates beside a reference, on a scale of its own: there only
correlations, and errors after a mapping, compare measures.
How fast they are is taken from what `inference.py` measured. Writes `accuracy.json` and `.md`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from inference import export_models
from peers import PEERS, LoadedPeer
from rated_sets import DATA, RatedClips, enhanced_speech, neural_codecs, noise_sweep, p835, simulated, slotest
from scipy import stats
from tqdm import tqdm

from jsqa_hf.metrics import p1401_metrics
from jsqa_hf.training import parse_arguments, run_script, write_metrics

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SETS = {
    "p835": "P.835, held-out talkers",
    "p835_fullband": "P.835, held-out talkers, full band",
    "slotest": "SLOTest",
    "neural_codecs": "Neural codecs",
    "enhancement": "Enhanced speech",
    "simulated": "Simulated, by PESQ and DistillMOS",
    "sweep": "SNR in held-out noise",
}


@dataclass
class BenchmarkArguments:
    """What to compare."""

    peers: list[str] = field(
        default_factory=lambda: list(PEERS),
        metadata={"help": "names of measures; figures of others stay as they are in accuracy.json"},
    )
    sets: list[str] = field(
        default_factory=lambda: list(SETS), metadata={"help": "which to rate, as far as they are at hand; likewise"}
    )
    slotest: str | None = field(default=None, metadata={"help": "folder with the clips of SLOTest and ratings.csv"})
    p835_fullband: str | None = field(
        default=None, metadata={"help": "folder with ratings.csv of the P.835 clips, those at 48 kHz among them"}
    )
    neural_codecs: str | None = field(
        default=None, metadata={"help": "folder mushra_results_dataset of bernoulli-var-speech-codec"}
    )
    enhancement: str | None = field(
        default=None, metadata={"help": "folder inter-component-phase-speech-enhancement-MUSHRA"}
    )
    simulated: str | None = field(default=None, metadata={"help": "table of map_ratings.py, of held-out speech"})
    limit: int | None = field(
        default=None,
        metadata={"help": "at most so many clips of a set, to see that it runs; takes an --output_dir of its own"},
    )
    output_dir: str = field(default=str(RESULTS), metadata={"help": "folder to write to"})


def evaluate(peer: LoadedPeer, rated: RatedClips, title: str) -> dict[str, Any]:
    """Rate a set one clip after the other.

    Returns:
        `scores`, for each of the measure's scores its figures.
    """
    results: list[dict[str, np.ndarray]] = []
    for index, clip in enumerate(tqdm(rated.clips, desc=title, leave=False)):
        results.append(peer.rate([clip], rated.references[index : index + 1]))
    scores = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
    return {"scores": {name: figures(values, rated) for name, values in scores.items()}}


def figures(scores: np.ndarray, rated: RatedClips) -> dict[str, Any]:
    """Agreement with the ratings; where they are no MOS, of ranks only."""
    if rated.are_mos:
        return p1401_metrics(scores, rated.ratings)
    valid = np.isfinite(scores)
    srcc = stats.spearmanr(scores[valid], rated.ratings[valid]).statistic
    return {"srcc": float(srcc), "n": int(valid.sum()), "n_unpredicted": int((~valid).sum())}


def table(of_set: Mapping[str, Any], are_mos: bool) -> list[str]:
    """A set's figures as lines of Markdown, the best correlation of ranks first."""
    names = ["srcc", "pcc", "rmse", "rmse_first_order", "rmse_third_order"] if are_mos else ["srcc"]
    titles = ["SRCC", "PCC", "RMSE", "after first-order mapping", "after third-order mapping"][: len(names)]
    rows = [
        (PEERS[name].title, score, values)
        for name, result in of_set.items()
        if "scores" in result
        for score, values in result["scores"].items()
    ]
    lines = ["| | score | " + " | ".join(titles) + " | clips |", "|---" * (len(names) + 3) + "|"]
    for title, score, values in sorted(rows, key=lambda row: -row[2]["srcc"]):
        cells = [f"{values[name]:.2f}" for name in names]
        lines.append(f"| {title} | {score} | " + " | ".join(cells) + f" | {values['n']} |")
    failed = [
        f"Left out: {PEERS[name].title} ({result['error']})" for name, result in of_set.items() if "error" in result
    ]
    return [*lines, "", *failed] if failed else lines


def real_time_factors(path: Path) -> dict[str, float]:
    """Seconds of one thread for a second of a clip of 10 s, by measure: of the last run in that file that has it."""
    factors: dict[str, float] = {}
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []:
        for name, measured in run.items():
            factor = measured.get("speed, threads=1", {}).get("10 s x 1")
            if factor is not None:
                factors[name] = factor
    return factors


def as_markdown(results: Mapping[str, Any], factors: Mapping[str, float]) -> str:
    """All tables."""
    lines = ["# Accuracy of ratings", "", "From `benchmarks/accuracy.py`, which tells what the sets are."]
    lines += ["Every measure is given clips at 16 kHz, also those that know full band."]
    for name, of_set in results["sets"].items():
        lines += ["", f"## {name}", "", *table(of_set["peers"], of_set["are_mos"])]
    lines += ["", "## The measures", "", "| | reference | weights | file, MB | real-time factor | licence |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, about in results["peers"].items():
        peer = PEERS[name]
        weights = "none" if about["parameters"] is None else f"{about['parameters'] / 1e6:.2f} million"
        size = "" if about["size"] is None else f"{about['size'] / 1e6:.1f}"
        reference = "needs one" if peer.needs_reference else "no"
        factor = f"{factors[name]:.4f}" if name in factors else ""
        lines.append(f"| {peer.title} | {reference} | {weights} | {size} | {factor} | {peer.licence} |")
    lines += [
        "",
        "Real-time factors: of a clip of 10 s on one thread, from the last run in `inference.json` that has it. The",
        "runs are of machines of different speed; ratios hold within a run (`inference.md`).",
    ]
    return "\n".join(lines) + "\n"


def make_sets(arguments: BenchmarkArguments) -> dict[str, RatedClips]:
    """The sets that are asked for and at hand.

    Raises:
        ValueError: for a set that does not exist.
    """
    if unknown := set(arguments.sets) - set(SETS):
        raise ValueError(f"--sets has no {', '.join(sorted(unknown))}: there are {', '.join(SETS)}")
    fullband, slotest_folder, table = arguments.p835_fullband, arguments.slotest, arguments.simulated
    codecs, enhancement = arguments.neural_codecs, arguments.enhancement
    makers: dict[str, Callable[[], RatedClips]] = {
        "p835": lambda: p835(DATA / "p835", "wb", arguments.limit),
        "sweep": lambda: noise_sweep(arguments.limit),
    }
    if fullband is not None:
        makers["p835_fullband"] = lambda: p835(Path(fullband), "fb", arguments.limit)
    if slotest_folder is not None:
        makers["slotest"] = lambda: slotest(slotest_folder, arguments.limit)
    if codecs is not None:
        makers["neural_codecs"] = lambda: neural_codecs(codecs, arguments.limit)
    if enhancement is not None:
        makers["enhancement"] = lambda: enhanced_speech(enhancement, arguments.limit)
    if table is not None:
        makers["simulated"] = lambda: simulated(table, arguments.limit)
    return {SETS[name]: make() for name, make in makers.items() if name in arguments.sets}


def measure(arguments: BenchmarkArguments) -> dict[str, Any]:
    """All measures on all sets; where one fails, the reason stands under `"error"`."""
    sets = make_sets(arguments)
    results: dict[str, Any] = {
        "peers": {},
        "sets": {name: {"are_mos": rated.are_mos, "peers": {}} for name, rated in sets.items()},
    }
    with tempfile.TemporaryDirectory() as exported:
        models = export_models(Path(exported)) if any(PEERS[name].ours for name in arguments.peers) else {}
        for name in arguments.peers:
            try:
                peer = PEERS[name].load(models.get(name, ""), os.cpu_count() or 1)
            except Exception as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            results["peers"][name] = {"parameters": peer.parameters, "size": peer.size}
            for set_name, rated in sets.items():
                if name in rated.made_by or (PEERS[name].needs_reference and not rated.references):
                    continue
                try:
                    outcome = evaluate(peer, rated, f"{name}, {set_name}")
                except Exception as error:
                    outcome = {"error": f"{type(error).__name__}: {error}"}
                results["sets"][set_name]["peers"][name] = outcome
    return results


def with_earlier(results: dict[str, Any], path: Path) -> dict[str, Any]:
    """Add what was not asked for this time, measures and sets, from an earlier file."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"peers": {}, "sets": {}}
    sets = {}
    for name in SETS.values():
        found = [of_set for of_set in (earlier["sets"].get(name), results["sets"].get(name)) if of_set is not None]
        if found:
            sets[name] = {**found[-1], "peers": {key: value for one in found for key, value in one["peers"].items()}}
    return {"peers": {**earlier["peers"], **results["peers"]}, "sets": sets}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write."""
    (arguments,) = parse_arguments([BenchmarkArguments], argv)
    folder = Path(arguments.output_dir)
    if arguments.limit is not None and folder.resolve() == RESULTS:
        raise ValueError("--limit gives no figures to keep: name another --output_dir than that of the results")
    if unknown := set(arguments.peers) - set(PEERS):
        raise ValueError(f"--peers has no {', '.join(sorted(unknown))}: there are {', '.join(PEERS)}")
    results = with_earlier(measure(arguments), folder / "accuracy.json")
    write_metrics(folder / "accuracy.json", results)
    text = as_markdown(results, real_time_factors(folder / "inference.json"))
    (folder / "accuracy.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
