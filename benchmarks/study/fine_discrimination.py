"""Whether models tell apart what listeners hardly do: pairs of one content a few just-noticeable differences apart.

    pip install -e ".[bench]"
    python benchmarks/study/fine_discrimination.py --human_jnd human_jnd

For each excerpt and distortion, clips at steps of 1/3 to 4 JNDs (of the SNR: 1 to 12 dB) from one drawn severity, up
or down; of codecs with few bit rates, the pairs nearest to the steps. Counted are the pairs of which the better clip
gets the higher MOS (ties half; guessing gives 50 %), and those that the comparison calls noticeable. Beside them
stands the share of listeners who noticed such steps of noise. Writes `fine_discrimination.json`, `.md` and `.png`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fine_discrimination_report import as_markdown, plot
from held_out import (
    REPOSITORY,
    Material,
    MaterialArguments,
    Rate,
    clip_input,
    generator,
    load_material,
    mean_with_interval,
    model_name,
    rate_with,
)
from numpy.typing import NDArray
from tqdm import tqdm

from jsqa_hf.comparison import load_comparer
from jsqa_hf.jnd import SNR_THRESHOLD, Distortion
from jsqa_hf.jnd_scale import JNDScale
from jsqa_hf.training import parse_arguments, run_script, write_metrics

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

SNR_STEPS_DB = (1.0, 3.0, 4.5, 6.0, 8.0, 12.0)
STEPS = tuple(step / SNR_THRESHOLD.just_noticeable for step in SNR_STEPS_DB)
"""Steps in JNDs, of whatever distortion."""
# Where a JND of the SNR is 3 dB throughout (see `SNR_THRESHOLD`), and the noise masks some of the speech at most.
SNR_RANGE_DB = (0.0, 15.0)
# Our choice: how far a step between two bit rates of a codec may be from the step wanted.
GRID_TOLERANCE = 0.15
NOISE = "noise"
OURS = "jsqa"


@dataclass
class FineArguments(MaterialArguments):
    """Which models, and on how many clips."""

    mos_model: str | None = field(default=None, metadata={"help": "MOS model; default: that of the package"})
    contrastive_model: str | None = field(default=None, metadata={"help": "contrastive model, likewise"})
    peers: list[str] = field(
        default_factory=lambda: ["dnsmos", "distillmos"],
        metadata={
            "help": "names of benchmarks/peers.py that need no reference, or none; some take seconds per clip. Shares "
            "of others stay as they are, where an earlier run judged as many pairs"
        },
    )
    human_jnd: str | None = field(default=None, metadata={"help": "folder with the label files of PerceptualAudio"})
    noise_repetitions: int = field(default=3, metadata={"help": "noises per speaker"})
    contents: int = field(default=2, metadata={"help": "excerpts per distortion other than noise"})
    threads: int = field(default=1, metadata={"help": "of each model"})
    output_dir: str = field(default="runs/fine_discrimination/results", metadata={"help": "folder to write to"})


class Pair(NamedTuple):
    """Two severities of a ladder: the wanted step in JNDs, and the places of the better and the worse one."""

    step: float
    better: int
    worse: int


def draw_pairs(
    distortion: Distortion, rng: np.random.Generator, steps: Sequence[float] = STEPS
) -> tuple[list[float], list[Pair]]:
    """Severities of one content, and which of them are a step apart.

    Args:
        distortion: of noise, only SNRs from 0 to 15 dB are drawn.
        rng: source of what is drawn.
        steps: in JNDs, rising; those that the range has no room for are left out.

    Returns:
        Severities, and pairs of them.
    """
    if distortion.discrete and distortion.severity_grid is not None:
        severities = list(distortion.severity_grid)
        positions = distortion.threshold.position(severities)
        found = [_nearest(positions, step) for step in steps]
        places = [(step, *pair) for step, pair in zip(steps, found, strict=True) if pair]
    else:
        bounds = SNR_RANGE_DB if distortion.name == NOISE else distortion.severity_range
        low, high = distortion.threshold.position(bounds)
        fitting = [step for step in steps if step <= high - low + 1e-9]
        if not fitting:
            return [], []
        start = rng.uniform(low, max(low, high - fitting[-1]))
        offsets = np.array([0.0, *fitting])
        positions = start + offsets if rng.random() < 0.5 else low + high - start - offsets
        severities = np.clip(distortion.threshold.value(positions), *bounds).tolist()
        places = [(step, 0, place) for place, step in enumerate(fitting, start=1)]
    worse_is_lower = distortion.worse == "lower"
    pairs = [
        Pair(step, *((a, b) if (severities[a] > severities[b]) == worse_is_lower else (b, a))) for step, a, b in places
    ]
    used = sorted({place for pair in pairs for place in pair[1:]})
    renumbered = {place: number for number, place in enumerate(used)}
    return [severities[place] for place in used], [
        Pair(pair.step, renumbered[pair.better], renumbered[pair.worse]) for pair in pairs
    ]


def _nearest(positions: NDArray[np.float64], step: float) -> tuple[int, int] | None:
    first, second = np.triu_indices(len(positions), k=1)
    errors = np.abs(np.abs(positions[first] - positions[second]) - step)
    best = int(errors.argmin())
    return (int(first[best]), int(second[best])) if errors[best] <= GRID_TOLERANCE * step else None


def judge_pairs(
    material: Material, raters: Mapping[str, Rate], observer: Any, *, noise_repetitions: int = 3, contents: int = 2
) -> list[dict[str, Any]]:
    """Make all pairs and have them judged.

    Args:
        material: what is degraded.
        raters: measures of quality, by name.
        observer: projects clips and has a JND scale, as a `Comparer` does.
        noise_repetitions: noises for each speaker.
        contents: excerpts for every other distortion, of one speaker after the other.

    Returns:
        One row per pair: `distortion`, `speaker`, `step` in JNDs, `severities` and `scores` by rater, of the better
        clip and the worse one, `jnds` and `probability` of the comparison.
    """
    speakers = len(material.rows)
    tasks = []
    for number, name in enumerate(material.distortions):
        if name == NOISE:
            tasks += [(name, speaker, turn) for turn in range(noise_repetitions) for speaker in range(speakers)]
        else:
            places = [number * contents + place for place in range(contents)]
            tasks += [(name, place % speakers, place // speakers) for place in places]
    rows = []
    for name, speaker, repetition in tqdm(tasks):
        rng = generator(material.seed, "severities", material.rows[speaker]["speech_id"], name, repetition)
        severities, pairs = draw_pairs(material.distortions[name], rng)
        if not pairs:
            continue
        clips = material.degrade(name, speaker, severities, repetition)
        scores = {rater: np.asarray(rate(clips), dtype=float) for rater, rate in raters.items()}
        projections = np.array([observer.project(clip_input(clip)) for clip in clips])
        for pair in pairs:
            distance = observer.distances(projections[pair.better], projections[pair.worse][None])[0]
            jnds = float(observer.scale.jnds_between(distance))
            rows.append(
                {
                    "distortion": name,
                    "speaker": speaker,
                    "step": pair.step,
                    "severities": [severities[pair.better], severities[pair.worse]],
                    "scores": {rater: [value[pair.better], value[pair.worse]] for rater, value in scores.items()},
                    "jnds": jnds,
                    "probability": float(observer.scale.probability_noticed(jnds)),
                }
            )
    return rows


def summarize(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """Shares of pairs, with intervals by the bootstrap over speakers.

    Args:
        rows: of `judge_pairs`, at least one.
        seed: of the bootstrap.

    Returns:
        `ranked_rightly` by rater (pairs without scores left out), `noticed`, `probability` and `jnds`.
    """
    speakers = [row["speaker"] for row in rows]
    right = {}
    for rater in rows[0]["scores"]:
        differences = np.array([np.subtract(*row["scores"][rater]) for row in rows])
        rated = np.isfinite(differences)
        if rated.any():
            agreed = (np.sign(differences[rated]) + 1) / 2
            right[rater] = mean_with_interval(agreed, np.array(speakers)[rated].tolist(), seed)
    return {
        "ranked_rightly": right,
        "noticed": mean_with_interval([row["probability"] >= 0.5 for row in rows], speakers, seed),
        "probability": mean_with_interval([row["probability"] for row in rows], speakers, seed),
        "jnds": mean_with_interval([row["jnds"] for row in rows], speakers, seed),
    }


def by_step(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """`summarize` for each step, by its size in JNDs with two digits."""
    return {
        step_name(step): summarize([row for row in rows if row["step"] == step], seed)
        for step in STEPS
        if any(row["step"] == step for row in rows)
    }


def step_name(step: float) -> str:
    """A step as a key."""
    return f"{step:.2f}"


def listeners_by_step(labels: str | None) -> dict[str, Any]:
    """What listeners noticed of steps of noise.

    Args:
        labels: folder with the label files of PerceptualAudio; None for the fitted curve only.

    Returns:
        For each step the share `expected` by the fitted curve (guesses taken out, see `JNDScale`), and the share that
        answered so between it and its neighbours, with the guesses taken out by the share of false alarms.
    """
    curve = JNDScale([0.0, 1.0], [0.0, 1.0])
    results: dict[str, Any] = {
        step_name(step): {"expected": round(float(curve.probability_noticed(step)), 4)} for step in STEPS
    }
    if labels is None:
        return results
    from listeners import answer_shares, listener_curves

    answers = listener_curves(labels)
    guess = float(np.mean(answers["noise, same clips twice"][1]))
    inner = np.sqrt(np.array(SNR_STEPS_DB[1:]) * SNR_STEPS_DB[:-1])
    # The outer bounds as far from their steps as the inner ones, in ratio.
    edges = [SNR_STEPS_DB[0] ** 2 / inner[0], *inner, SNR_STEPS_DB[-1] ** 2 / inner[-1]]
    for share in answer_shares(*answers[NOISE], edges=edges):
        # The bounds of a step lie on both sides of it.
        (step,) = (step for step in SNR_STEPS_DB if share.low < step <= share.high)
        corrected = [max(0.0, (value - guess) / (1 - guess)) for value in (share.share, *share.interval)]
        results[step_name(step / SNR_THRESHOLD.just_noticeable)] |= {
            "answered": round(corrected[0], 4),
            "interval": [round(value, 4) for value in corrected[1:]],
            "answers": share.answers,
        }
    return results


def measure(args: FineArguments, raters: Mapping[str, Rate], observer: Any) -> dict[str, Any]:
    """All figures, as they are written."""
    material = load_material(args)
    rows = judge_pairs(material, raters, observer, noise_repetitions=args.noise_repetitions, contents=args.contents)
    noise = [row for row in rows if row["distortion"] == NOISE]
    others = [row for row in rows if row["distortion"] != NOISE]
    listeners = listeners_by_step(args.human_jnd)
    results: dict[str, Any] = {
        "mos_model": model_name(args.mos_model, "jsqa-tiny"),
        "contrastive_model": model_name(args.contrastive_model, "jsqa-tiny-jnd"),
        "speakers": len(material.rows),
        "left_out": material.left_out,
        "listeners": listeners,
        "noise": by_step(noise, args.seed),
        "others": by_step(others, args.seed),
        "distortions": {
            name: summarize([row for row in others if row["distortion"] == name], args.seed)
            for name in dict.fromkeys(row["distortion"] for row in others)
        },
    }
    gaps = [
        abs(values["probability"]["mean"] - listeners[step]["expected"]) for step, values in results["noise"].items()
    ]
    results["gap_to_listeners"] = round(float(np.mean(gaps)), 4) if gaps else None
    return results


def with_earlier(results: dict[str, Any], path: Path) -> dict[str, Any]:
    """Add the shares of measures that were not asked for this time from an earlier file, of the same pairs."""
    if not path.exists():
        return results
    earlier = json.loads(path.read_text(encoding="utf-8"))
    for part in ("noise", "others", "distortions"):
        for key, summary in results[part].items():
            known = earlier[part].get(key, {}).get("ranked_rightly", {})
            right = summary["ranked_rightly"]
            if OURS in known and OURS in right and known[OURS]["n"] == right[OURS]["n"]:
                summary["ranked_rightly"] = {**right, **{name: known[name] for name in known if name not in right}}
    return results


def load_raters(pipeline: Any, peers: Sequence[str], threads: int) -> dict[str, Rate]:
    """The MOS model, and the other measures by name; those that are not installed are told and left out."""
    raters: dict[str, Rate] = {OURS: rate_with(pipeline)}
    from peers import PEERS

    for name in peers:
        if name == "none":
            continue
        if name not in PEERS or PEERS[name].ours or PEERS[name].needs_reference:
            known = ", ".join(key for key, peer in PEERS.items() if not (peer.ours or peer.needs_reference))
            raise SystemExit(f"--peers {name}: it must be some of {known}, or none")
        try:
            peer = PEERS[name].load("", threads)
        except Exception as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        # The overall quality comes first.
        raters[name] = lambda clips, peer=peer: next(iter(peer.rate(clips, clips).values()))
    return raters


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write."""
    (args,) = parse_arguments([FineArguments], argv)
    torch.set_num_threads(args.threads)
    observer = load_comparer(args.contrastive_model, args.mos_model, "cpu")
    results = measure(args, load_raters(observer.pipeline, args.peers, args.threads), observer)
    folder = Path(args.output_dir)
    results = with_earlier(results, folder / "fine_discrimination.json")
    write_metrics(folder / "fine_discrimination.json", results)
    text = as_markdown(results)
    (folder / "fine_discrimination.md").write_text(text, encoding="utf-8")
    plot(results, folder / "fine_discrimination.png")
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
