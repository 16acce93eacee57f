"""The model card says what the result files say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import default_model
import numpy as np
import pytest
from huggingface_hub import ModelCard

from jsqa_hf import DEFAULT_CHECKPOINT

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "docs" / "results" / "jsqa-tiny"


def test_both_copies_of_the_card_are_what_the_figures_render_to():
    spec = importlib.util.spec_from_file_location("render", REPOSITORY / "model_cards" / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, (render, checkpoint) in module.CARDS.items():
        for path in (REPOSITORY / "model_cards" / f"{name}.md", checkpoint / "README.md"):
            assert path.read_text(encoding="utf-8") == render(), f"{path} is out of date: python model_cards/render.py"


def test_the_metadata_holds_the_measured_figures():
    data = ModelCard.load(DEFAULT_CHECKPOINT / "README.md").data
    human = json.loads((RESULTS / "evaluation.json").read_text())["p835_wideband_held_out_talkers"]
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "apache-2.0",
        "transformers",
        "audio-classification",
    )
    assert {result.metric_type: result.metric_value for result in data.eval_results} == pytest.approx(
        {name: human[name] for name in ("rmse", "mae", "pcc", "srcc")}, abs=1e-4
    )


def test_the_readme_tells_how_wide_the_intervals_are_and_what_they_hold():
    narrow = json.loads((RESULTS / "evaluation.json").read_text())["p835_wideband_held_out_talkers"]
    full, slotest = (
        json.loads((RESULTS / f"{name}.json").read_text())["outputs"]["mos"]["clips"]["interval_coverage_95"]
        for name in ("p835_fullband", "slotest")
    )
    page = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    assert narrow["interval_coverage_95"] == 1
    assert (
        f"On P.835 they are {narrow['interval_width_95']:.1f} points wide, half of the scale and more than is needed "
        f"there: they hold all its ratings ({full:.0%} in full band), and {slotest:.0%} of SLOTest's."
    ).replace("%", " %") in page


def test_the_readme_counts_the_distortions_that_have_pairs_a_third_of_a_jnd_apart():
    found = json.loads((RESULTS.parent / "study" / "fine_discrimination.json").read_text())
    pairs = {name: one["jnds"]["n"] for name, one in found["distortions"].items()}
    fewer = sorted(name for name, count in pairs.items() if count < max(pairs.values()))
    small = found["others"]["0.33"]
    ours, distillmos, dnsmos = (
        100 * small["ranked_rightly"][name]["mean"] for name in ("jsqa", "distillmos", "dnsmos")
    )
    assert fewer == ["amr-nb", "codec2", "g726", "mp3"] and small["jnds"]["n"] == 2 * (len(pairs) - len(fewer))
    assert (
        f"across {len(pairs) - len(fewer)} other distortions, which it was trained to rank, in {ours:.0f} % of "
        f"{small['jnds']['n']} pairs a third of a JND apart (DistillMOS {distillmos:.0f} %, DNSMOS {dnsmos:.0f} %). "
        "AMR, Codec 2, G.726 and MP3 have no step so small."
    ) in " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())


def test_the_page_of_results_tells_that_both_versions_were_averaged_with_ladders_of_their_own():
    now, before = (
        json.loads((RESULTS / f"{name}.json").read_text())["ranked_rightly"]
        for name in ("averaging", "averaging_before")
    )
    assert set(now) - set(before) == {"talkers"}
    page = " ".join((RESULTS.parent / "README.md").read_text(encoding="utf-8").split())
    assert (
        "For step 4 both were made anew with the training speech as `--talkers`: `averaging.json` "
        f"({100 * now['all']:.0f} % ranked rightly) and `averaging_before.json` ({100 * before['all']:.0f} %) are of "
        "different ladders."
    ) in page


def test_the_page_of_training_tells_of_both_versions_what_was_averaged():
    page = " ".join((REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8").split())
    now, before = (
        json.loads((RESULTS / f"{name}.json").read_text())["held_out"]["mos"]["pcc"]
        for name in ("averaging", "averaging_before")
    )
    after = json.loads((RESULTS / "finetuning_long_crops.json").read_text())["eval_pcc"]
    told = page.partition("The version before was that of the networks before and after stage 2:")[2]
    before_told, _, now_told = told.partition("today's model is the mean of two runs on these")
    assert f"(PCC {before:.3f} and {after:.3f})" in before_told
    assert now_told.startswith(f", from the version before (PCC {now:.3f} with their labels, on other clips)")


def test_scores_of_the_noise_sweep_are_told_as_means(monkeypatch: pytest.MonkeyPatch):
    """They were told as a limit, which many clips exceed."""
    clip = np.zeros(4, dtype=np.float32)
    sweeps_of_scores = [[float(mos) for mos in range(10)], [2.0 + mos / 10 for mos in range(10)]]
    mixtures = [(clip, [clip + mos for mos in sweep]) for sweep in sweeps_of_scores]
    monkeypatch.setattr(default_model, "noise_mixtures", lambda snrs_db: iter(mixtures))
    sweeps = default_model.noise_sweeps(lambda audio: {"mos": float(audio["array"][0])})
    at_40_db = [sweeps[name][-1] for name in ("least_score", "mean_score", "largest_score")]
    assert at_40_db == pytest.approx([2.9, 5.95, 9.0])
    sweeps = json.loads((RESULTS / "evaluation.json").read_text())["held_out_speakers_in_held_out_noise"]
    texts = []
    for at, word in ((-1, " on average"), (0, "")):
        mean, least, largest = (sweeps[f"{name}_score"][at] for name in ("mean", "least", "largest"))
        texts.append(f"{mean:.1f}{word} ({least:.1f} to {largest:.1f})")
    card = " ".join((REPOSITORY / "model_cards" / "jsqa-tiny.md").read_text(encoding="utf-8").split())
    assert f"at 40 dB SNR {texts[0]}, and at -5 dB {texts[1]}." in card
