"""Whether distances and ratings behave as hearing does, on speakers and noises that no model was trained on.

    python benchmarks/study/soundness.py

- Distance: clips of one content at SNRs from -3 to 15 dB, where a JND is 3 dB throughout; the share of listeners that
  the comparison expects to notice a step, and its slope at one JND, stand beside those of listeners.
- Content: measures of `jsqa_hf.training.embedding_measures` on pairs as in the pretraining.
- Monotonicity: the predicted MOS along the whole range of every registered distortion, in steps of equally many JNDs
  (of a codec with few bit rates, all of them). A rater that follows the severity has 0 % wrong steps and a rank
  correlation of 1, one that guesses 50 % and 0, a constant one 0 % and 0.
- Robustness: how far the predicted MOS moves when clips are padded, amplified, resampled, or their halves swapped.

Writes `soundness.json`, `.md` and `.png`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harmless_changes import CHANGES
from held_out import (
    SAMPLING_RATE,
    Material,
    MaterialArguments,
    Rate,
    clip_input,
    load_material,
    mean_with_interval,
    model_name,
    rate_with,
)
from numpy.typing import NDArray
from scipy.stats import spearmanr
from soundness_report import as_markdown, plot
from tqdm import tqdm

from jsqa_hf.comparison import load_comparer
from jsqa_hf.jnd import SNR_THRESHOLD, Distortion, JNDPairGenerator
from jsqa_hf.jnd.psychometric import fit_psychometric_curve
from jsqa_hf.jnd_scale import JNDScale
from jsqa_hf.metrics import monotonicity_violations
from jsqa_hf.training import ContrastiveCollator, parse_arguments, run_script, write_metrics
from jsqa_hf.training.embedding import embed_ladders
from jsqa_hf.training.embedding_measures import (
    ClipTable,
    alignment,
    content_preference,
    effective_rank,
    pairwise_distances,
    quality_correlations,
    retrieval,
    speaker_leakage,
    spread,
    uniformity,
)

JND_DB = SNR_THRESHOLD.just_noticeable
# Where a JND of the SNR is 3 dB throughout, in steps of half a JND.
SNRS_DB = tuple(np.arange(-3.0, 15.1, JND_DB / 2).tolist())
NOISE = "noise"
# SNR of the noisy clips whose robustness is measured. Our choice.
ROBUSTNESS_SNR_DB = 10.0


@dataclass
class SoundnessArguments(MaterialArguments):
    """Which models, and on how many clips."""

    mos_model: str | None = field(default=None, metadata={"help": "MOS model; default: that of the package"})
    contrastive_model: str | None = field(default=None, metadata={"help": "contrastive model, likewise"})
    noise_repetitions: int = field(default=2, metadata={"help": "noises per speaker, for the distances"})
    ladders: int = field(default=32, metadata={"help": "ladders of pairs, for the measures of content"})
    contents: int = field(default=4, metadata={"help": "excerpts per distortion, for monotonicity"})
    levels: int = field(default=8, metadata={"help": "severities over the range of a distortion"})
    threads: int = field(default=1, metadata={"help": "of each model"})
    output_dir: str = field(default="runs/soundness/results", metadata={"help": "folder to write to"})


def distance_curve(material: Material, observer: Any, repetitions: int = 2) -> dict[str, Any]:
    """Distances between clips of one content by the difference of their SNRs.

    Args:
        material: with noise.
        observer: projects clips and has a JND scale, as a `Comparer` does.
        repetitions: noises for each speaker.

    Returns:
        `steps`, for each difference in dB the means of `distance`, `jnds`, `probability` (share of listeners expected
        to notice) and `noticed` (share of the pairs with a probability of a half or more), and `listeners`; the slopes
        of the probability at one JND in 1/dB; the step that half of the pairs and half of the listeners notice in dB;
        `rank_correlation` of distance and difference within contents.
    """
    first, second = np.triu_indices(len(SNRS_DB), k=1)
    steps = np.round(np.abs(np.subtract.outer(SNRS_DB, SNRS_DB))[first, second], 3)
    contents = [(speaker, repetition) for speaker in range(len(material.rows)) for repetition in range(repetitions)]
    speakers = [speaker for speaker, _ in contents]
    projections = (
        [observer.project(clip_input(clip)) for clip in material.degrade(NOISE, speaker, SNRS_DB, repetition)]
        for speaker, repetition in tqdm(contents, desc="distances")
    )
    # Rows are contents, columns pairs of their clips.
    distances = np.array([pairwise_distances(np.array(of_content))[first, second] for of_content in projections])
    jnds = observer.scale.jnds_between(distances)
    probability = observer.scale.probability_noticed(jnds)
    noticed = (probability >= 0.5).astype(float)
    table = {"distance": distances, "jnds": jnds, "probability": probability, "noticed": noticed}
    correlations = [float(spearmanr(one, steps).statistic) if np.ptp(one) > 0 else 0.0 for one in distances]
    listeners = JNDScale([0.0, 1.0], [0.0, 1.0])
    results: dict[str, Any] = {"steps": {}}
    for step in np.unique(steps):
        chosen = steps == step
        groups = np.repeat(speakers, chosen.sum()).tolist()
        results["steps"][f"{step:g}"] = {
            name: mean_with_interval(values[:, chosen].ravel(), groups, material.seed)
            for name, values in table.items()
        } | {"listeners": round(float(listeners.probability_noticed(step / JND_DB)), 4)}

    def slope(name: str) -> float:
        low, high = (results["steps"][f"{share * JND_DB:g}"][name] for share in (0.5, 1.5))
        low, high = (value["mean"] if isinstance(value, dict) else value for value in (low, high))
        return round((high - low) / JND_DB, 4)

    # Where the share 1 - lapse, times what a log-logistic gives, is a half.
    half = listeners.half_noticed_jnds * (0.5 / (0.5 - listeners.lapse)) ** (1 / listeners.slope)
    results |= {
        "slope_at_jnd": slope("probability"),
        "slope_at_jnd_of_listeners": slope("listeners"),
        "half_noticed_db": _half_noticed(np.tile(steps, len(contents)), noticed.ravel()),
        "half_noticed_db_of_listeners": round(half * JND_DB, 2),
        "rank_correlation": mean_with_interval(correlations, speakers, material.seed),
    }
    return results


def _half_noticed(steps: NDArray[np.float64], noticed: NDArray[np.float64]) -> float | None:
    """Step that a half is called noticeable of, by a fitted curve; None if it is beyond all steps."""
    try:
        curve = fit_psychometric_curve(steps.tolist(), noticed.astype(int).tolist(), guess=0.0, lapse=0.0)
    except ValueError:
        return None
    return round(curve.centre, 2) if 0 <= curve.centre <= steps.max() else None


def content_measures(material: Material, model: Any, collator: Any, scale: JNDScale, ladders: int) -> dict[str, Any]:
    """How much of content and speaker is in the projections (and, of the speaker, in the embeddings).

    Args:
        material: with noise.
        model: contrastive.
        collator: makes batches for it.
        scale: of its distances.
        ladders: number of ladders, of one utterance after the other.

    Returns:
        Measures by name; None where the material does not allow them. `median_jnds_other_speech` is what the scale
        makes of other speech in other noise at the same SNR, which would be 0 if content did not count.
    """
    generator = JNDPairGenerator(
        material.noise, levels=3, duration_s=len(material.speech[0]) / SAMPLING_RATE, seed=material.seed
    )
    count = len(material.rows)
    rows = [material.rows[number % count] for number in range(ladders)]
    batch = {name: [row[name] for row in rows] for name in ("audio", "speech_id", "speaker_id")}
    made = generator({**batch, "repetition": [number // count for number in range(ladders)]})
    dataset = [{name: made[name][number] for name in made} for number in range(ladders)]
    projections, embeddings, described = embed_ladders(model, dataset, collator)
    clips = ClipTable.from_rows(described)
    distances = pairwise_distances(projections)
    found, probe = retrieval(distances, clips), speaker_leakage(embeddings, clips)
    same_quality = np.abs(clips.position[:, None] - clips.position[None, :]) <= 1
    other_speech = same_quality & (clips.speech[:, None] != clips.speech[None, :])
    measures: dict[str, Any] = {
        "content_preference": content_preference(distances, clips),
        "median_jnds_other_speech": (
            float(np.median(scale.jnds_between(distances[other_speech]))) if other_speech.any() else None
        ),
        "retrieval": found and found[0],
        "retrieval_by_chance": found and found[1],
        "quality_correlation": float(np.mean(quality_correlations(distances, clips)[NOISE])),
        "speaker_accuracy": probe and probe[0],
        "speaker_accuracy_by_chance": probe and probe[1],
        "alignment": alignment(distances, clips.pair),
        "uniformity": uniformity(distances),
        "effective_rank": effective_rank(projections),
        "spread": spread(projections),
    }
    rounded = {name: None if value is None else round(value, 4) for name, value in measures.items()}
    return {**rounded, "clips": len(clips), "ladders": ladders}


def severity_steps(distortion: Distortion, levels: int) -> NDArray[np.float64]:
    """Severities equally many JNDs apart over the whole range, or all that there are."""
    if distortion.discrete and distortion.severity_grid is not None:
        return np.array(distortion.severity_grid)
    low, high = distortion.threshold.position(distortion.severity_range)
    return np.clip(distortion.threshold.value(np.linspace(low, high, levels)), *distortion.severity_range)


def monotonicity(material: Material, rate: Rate, contents: int = 4, levels: int = 8) -> dict[str, Any]:
    """Whether the score falls along the severity of each distortion.

    Args:
        material: what is degraded.
        rate: scores clips.
        contents: excerpts per distortion, of one speaker after the other.
        levels: severities over the range of a distortion.

    Returns:
        `distortions`, for each the share of `wrong_steps` (the score rises towards the worse), the mean
        `rank_correlation` of score and quality (0 for a constant score), `largest_rise`, `step_jnds` (median size of
        the steps) and `mos` (mean score from best to worst); and both shares over `all`.
    """
    distortions, wrong, ranks, speakers = {}, [], [], []
    for number, (name, distortion) in enumerate(tqdm(material.distortions.items(), desc="monotonicity")):
        severities = severity_steps(distortion, levels)
        positions = distortion.threshold.position(severities)
        badness = -positions if distortion.worse == "lower" else positions
        # One speaker after the other, over all distortions.
        places = [divmod(number * contents + place, len(material.rows)) for place in range(contents)]
        scores = np.array(
            [rate(material.degrade(name, speaker, severities.tolist(), repetition)) for repetition, speaker in places]
        )
        each = [monotonicity_violations(values, badness) for values in scores]
        rank = [float(spearmanr(values, -badness).statistic) if np.ptp(values) > 0 else 0.0 for values in scores]
        distortions[name] = {
            "wrong_steps": round(float(np.mean([one.rate for one in each])), 4),
            "rank_correlation": round(float(np.mean(rank)), 4),
            "largest_rise": round(max(one.largest_rise for one in each), 4),
            "step_jnds": round(float(np.median(np.diff(np.sort(positions)))), 2),
            "mos": np.round(scores.mean(0)[np.argsort(badness)], 3).tolist(),
        }
        wrong += [one.rate for one in each]
        ranks += rank
        speakers += [speaker for _, speaker in places]
    return {
        "distortions": distortions,
        "all": {
            "wrong_steps": mean_with_interval(wrong, speakers, material.seed),
            "rank_correlation": mean_with_interval(ranks, speakers, material.seed),
        },
    }


def robustness(material: Material, rate: Rate, observer: Any) -> dict[str, Any]:
    """How far scores move when clips are changed in what hardly matters.

    The clips are the speech of each speaker, clean and in noise at 10 dB.

    Returns:
        For each change `mean_change` of the score, `mean_absolute_change`, `largest_change` (with its sign) and `jnds`
        between the clips before and after.
    """
    clips, speakers = [], []
    for speaker, speech in enumerate(material.speech):
        clips += [speech.astype(np.float32), *material.degrade(NOISE, speaker, [ROBUSTNESS_SNR_DB])]
        speakers += [speaker, speaker]
    scores = rate(clips)
    projections = [observer.project(clip_input(clip)) for clip in clips]
    results = {}
    for name, change in tqdm(CHANGES.items(), desc="robustness"):
        changed = [change(clip) for clip in clips]
        moved = rate(changed) - scores
        jnds = [
            float(observer.scale.jnds_between(observer.distances(before, observer.project(clip_input(clip))[None])[0]))
            for before, clip in zip(projections, changed, strict=True)
        ]
        results[name] = {
            "mean_change": mean_with_interval(moved, speakers, material.seed),
            "mean_absolute_change": round(float(np.abs(moved).mean()), 4),
            "largest_change": round(float(moved[np.abs(moved).argmax()]), 4),
            "jnds": round(float(np.mean(jnds)), 3),
        }
    return results


def measure(args: SoundnessArguments, observer: Any) -> dict[str, Any]:
    """All figures, as they are written; `observer` is a `Comparer`."""
    material = load_material(args)
    rate = rate_with(observer.pipeline)
    collator = ContrastiveCollator(observer.pipeline.feature_extractor)
    return {
        "mos_model": model_name(args.mos_model, "jsqa-tiny"),
        "contrastive_model": model_name(args.contrastive_model, "jsqa-tiny-jnd"),
        "speakers": len(material.rows),
        "left_out": material.left_out,
        "distance": distance_curve(material, observer, args.noise_repetitions),
        "content": content_measures(material, observer.model, collator, observer.scale, args.ladders),
        "monotonicity": monotonicity(material, rate, args.contents, args.levels),
        "robustness": robustness(material, rate, observer),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write."""
    (args,) = parse_arguments([SoundnessArguments], argv)
    torch.set_num_threads(args.threads)
    results: Mapping[str, Any] = measure(args, load_comparer(args.contrastive_model, args.mos_model, "cpu"))
    folder = Path(args.output_dir)
    write_metrics(folder / "soundness.json", results)
    text = as_markdown(results)
    (folder / "soundness.md").write_text(text, encoding="utf-8")
    plot(results, folder / "soundness.png")
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
