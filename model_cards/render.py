"""Render the model cards from their templates and the figures under `docs/results`.

    python model_cards/render.py

Writes the cards here and, the same text, as README.md of the checkpoints that ship.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from jsqa_hf import DEFAULT_CHECKPOINT, DEFAULT_COMPARISON_CHECKPOINT
from jsqa_hf.data.corpus import read_table
from jsqa_hf.model_card import METRIC_NAMES, card_metadata

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "docs" / "results"
RATINGS = FOLDER.parent / "examples" / "data" / "p835" / "ratings.csv"
PREFIX = "eval_quality_correlation_"


def load(name: str, model: str = "jsqa-tiny") -> dict[str, Any]:
    """Figures of one result file."""
    return json.loads((RESULTS / model / f"{name}.json").read_text(encoding="utf-8"))


def clips(name: str) -> dict[str, Any]:
    """Figures per clip of a result file of `jsqa evaluate`."""
    return load(name)["outputs"]["mos"]["clips"]


def result_rows(human: dict[str, float]) -> list[dict[str, Any]]:
    """The table of results."""
    slotest = "SLOTest, German, laboratory test of codecs and more (mapped from 1 to 7)"
    simulated = "simulated: unheard speakers and kinds of noise, 25 distortions, by the measures"
    rows = [
        ("P.835 clips of unheard talkers, 16 kHz", "P.835, 16 kHz", human),
        ("the same talkers and conditions, 48 kHz", "P.835, 48 kHz", clips("p835_fullband")),
        (slotest, "SLOTest", clips("slotest")),
        ("of which the talkers F2 and M2", "its talkers F2 and M2", clips("slotest_unseen_talkers")),
        (simulated, "simulated", clips("simulated")),
        ("simulated: lost packets, concealed or silent, by the measures", "lost packets", clips("simulated_losses")),
    ]
    return [{"name": name, "short": short, **figures} for name, short, figures in rows]


def card_data(human: dict[str, float]) -> ModelCardData:
    """Metadata for the Hub."""
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name="speech quality assessment",
            dataset_type="p835-reference-conditions",
            dataset_name="P.835 reference conditions, wideband, talkers f3 and m3",
            metric_type=metric,
            metric_name=name,
            metric_value=round(human[metric], 4),
        )
        for metric, name in METRIC_NAMES.items()
    ]
    return card_metadata(
        "jsqa-tiny",
        results,
        datasets=["openslr/librispeech_asr", "mispeech/speechocean762"],
        language=["en", "ml", "de", "es", "nl"],
        license="apache-2.0",
    )


def render_mos_model() -> str:
    """The card of jsqa-tiny, as Markdown with its metadata."""
    evaluation, finetuning, whole = load("evaluation"), load("finetuning"), load("finetuning_long_crops")
    human = evaluation["p835_wideband_held_out_talkers"]
    card = ModelCard.from_template(
        card_data(human),
        template_path=str(FOLDER / "jsqa-tiny.md.jinja"),
        minutes=round((finetuning["train_runtime"] + whole["train_runtime"]) / 60),
        distillation=load("distillation"),
        averaging=load("averaging"),
        before=load("averaging_before"),
        further=load("finetuning_public_recordings"),
        further_other=load("finetuning_public_recordings_other_order"),
        natural=clips("natural"),
        natural_before=clips("natural_before"),
        natural_corpora=load("natural")["outputs"]["mos"]["corpora"],
        label_figures=load("labels")["mixtures"][1]["pesq+distillmos"],
        slotest=clips("slotest"),
        whole=whole,
        finetuning_steps=finetuning["train_steps"],
        epochs=round(finetuning["epoch"]),
        human=human,
        sweeps=evaluation["held_out_speakers_in_held_out_noise"],
        gain=evaluation["clean_speech_at_lower_gain"],
        delays=evaluation["p835_clips_begun_later"],
        results=result_rows(human),
        monotonicity=load("soundness", "study")["monotonicity"],
        least_followed=least_followed(),
        worst=worst_groups(),
        conditions=p835_conditions(),
        small_steps=small_steps(),
        codecs=beside_peers("Neural codecs"),
        enhancement=beside_peers("Enhanced speech"),
    )
    return card.content


def least_followed(count: int = 3) -> list[tuple[str, float]]:
    """Distortions along which most steps go the wrong way, with that share, the worst first."""
    found = load("soundness", "study")["monotonicity"]["distortions"]
    wrong = [(name, one["wrong_steps"]) for name, one in found.items()]
    return sorted(wrong, key=lambda one: -one[1])[:count]


def worst_groups(count: int = 3, fewest: int = 2) -> dict[str, list[dict[str, Any]]]:
    """The conditions, or distortions, of the largest errors, by test; those of fewer clips are left out."""
    tests = {
        "P.835, 48 kHz": "p835_fullband",
        "SLOTest": "slotest",
        "Simulated": "simulated",
        "Lost packets": "simulated_losses",
    }
    worst = {}
    for title, name in tests.items():
        known = [
            one for one in load(name)["outputs"]["mos"]["residuals"] if one["n"] >= fewest and one["group"][0] != "("
        ]
        worst[title] = sorted(known, key=lambda one: -one["rmse"])[:count]
    return worst


def p835_conditions() -> dict[str, str]:
    """What the conditions of the P.835 clips are, by their names."""
    kinds = {"snr_db": "white noise at {} dB SNR", "mnru_q_db": "MNRU at {} dB"}
    return {
        row["condition"]: ", ".join(text.format(row[column]) for column, text in kinds.items() if row[column])
        or "clean"
        for row in read_table(RATINGS, ("condition", *kinds))
    }


def small_steps() -> dict[str, Any]:
    """The pairs that are nearest to each other, a third of a JND apart: how many are ranked rightly, by measure."""
    found = load("fine_discrimination", "study")
    return {part: found[part]["0.33"]["ranked_rightly"] for part in ("noise", "others")}


def beside_peers(of_set: str) -> dict[str, dict[str, float]]:
    """Figures of a set of `accuracy.json` by measure; of several scores of one, those for the overall quality."""
    peers = json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))["sets"][of_set]["peers"]
    scores = {name: one["scores"] for name, one in peers.items()}
    return {name: of_peer.get("P.808") or next(iter(of_peer.values())) for name, of_peer in scores.items()}


def by_distortion(pretraining: dict[str, Any]) -> list[tuple[str, float]]:
    """Correlation of distance and severity difference for each distortion that was evaluated."""
    return sorted((key.removeprefix(PREFIX), value) for key, value in pretraining.items() if key.startswith(PREFIX))


def render_contrastive_model() -> str:
    """The card of jsqa-tiny-jnd."""
    pretraining = load("pretraining", "jsqa-tiny-jnd")
    data = card_metadata(
        "jsqa-tiny-jnd", [], datasets=["openslr/librispeech_asr"], language="en", license="apache-2.0"
    )
    card = ModelCard.from_template(
        data,
        template_path=str(FOLDER / "jsqa-tiny-jnd.md.jinja"),
        hours=pretraining["train_runtime"] / 3600,
        steps=pretraining["train_steps"],
        by_distortion=by_distortion(pretraining),
        least=sorted(by_distortion(pretraining), key=lambda one: one[1])[:3],
        scale=load("scale", "jsqa-tiny-jnd"),
        m=pretraining,
        jnds=json.loads((RESULTS / "comparison.json").read_text(encoding="utf-8"))["median_jnds"],
    )
    return card.content


CARDS = {
    "jsqa-tiny": (render_mos_model, DEFAULT_CHECKPOINT),
    "jsqa-tiny-jnd": (render_contrastive_model, DEFAULT_COMPARISON_CHECKPOINT),
}


def main() -> None:
    """Render and write."""
    for name, (render, checkpoint) in CARDS.items():
        for path in (FOLDER / f"{name}.md", checkpoint / "README.md"):
            path.write_text(render(), encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
