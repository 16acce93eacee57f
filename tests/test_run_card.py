"""The model card of a run: figures, intervals, calibration, and names that try to break it."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import finetune_mos
import numpy as np
import pytest
import runs
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from scipy import stats

from jsqa_hf.escaping import escape_markdown, plain_line
from jsqa_hf.intervals import interval_calibration
from jsqa_hf.model_card import Compute, OutputResult, RunSummary, evaluate_outputs, render_run_card
from jsqa_hf.training import CardArguments
from jsqa_hf.training.run_card import _earlier_hours, _emissions, _with_stored_pairs, source_name

MARKDOWN = MarkdownIt("commonmark").enable("table")
NASTY = "a|b\n---\nlicense: mit\n# H <script>x</script> [l](http://e.vil) {{ 7 * 7 }} `c` *e* \"q\" 'r' \x00: - !!x"


def ratings(clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions whose errors are as normal as their variances say, the variances, and ratings."""
    rng = np.random.default_rng(seed)
    rated = rng.uniform(1, 5, clips)
    deviations = rng.uniform(0.2, 0.8, clips)
    return rated + rng.normal(0, deviations), deviations**2, rated


def of_one_output(name: str, clips: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, OutputResult]:
    return evaluate_outputs([name], *(values[:, None] for values in clips))


def summary(**values: object) -> RunSummary:
    run = RunSummary(
        name="mos",
        stage="finetuning",
        step=100,
        total_steps=100,
        compute=Compute(2.5, 0, ["GPU 1"], 2, 1000, 900, audio_hours=0.5),
        arguments={"learning_rate": 1e-4, "seed": 3},
        training_data={"ratings": ["nisqa"]},
        evaluation_data=["nisqa"],
        evaluation_split="test",
        rows={"train": 1234, "eval": 40},
        score_range=(1.0, 5.0),
        sampling_rate=16000,
        output_names=["mos"],
        results=of_one_output("mos", ratings(40)),
        license="apache-2.0",
        language=["en"],
        base_model="user/pretrained",
        datasets=["user/data"],
    )
    return replace(run, **values)


def shown(markdown: str) -> str:
    """The text that a reader sees."""
    return html.unescape(re.sub("<[^>]*>", "", MARKDOWN.render(markdown))).strip()


def test_true_variances_are_calibrated_and_small_ones_are_not():
    predicted, variances, rated = ratings(20000)
    calibration = interval_calibration(predicted, variances, rated)
    assert calibration["error_ratio"] == pytest.approx(1, abs=0.02)
    for level, share in calibration["coverage"].items():
        assert share == pytest.approx(level, abs=0.01)
    # The mean deviation is 0.5.
    assert calibration["width_95"] == pytest.approx(2 * 1.96 * 0.5, abs=0.02)
    too_sure = interval_calibration(predicted, variances / 4, rated)
    assert too_sure["error_ratio"] == pytest.approx(2, abs=0.04)
    assert too_sure["coverage"][0.95] == pytest.approx(2 * stats.norm.cdf(1.96 / 2) - 1, abs=0.01)


@settings(deadline=None, max_examples=200)
@given(st.text(min_size=1))
def test_any_text_is_shown_as_it_is(text: str):
    assert shown(f"It is |{escape_markdown(text)}| here") == f"It is |{plain_line(text)}| here"
    rendered = MARKDOWN.render(f"| a | b |\n|---|---|\n| {escape_markdown(text)} | x |\n")
    assert (rendered.count("<table>"), rendered.count("<td>")) == (1, 2)


def test_the_card_holds_the_figures():
    run = summary()
    card = ModelCard(render_run_card(run))
    metrics = run.results["mos"].metrics
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        name: round(metrics[name], 4) for name in ("rmse", "mae", "pcc", "srcc")
    }
    assert {(result.dataset_name, result.dataset_split) for result in card.data.eval_results} == {("nisqa", "test")}
    assert (card.data.base_model, card.data.license) == ("user/pretrained", "apache-2.0")
    assert (card.data.datasets, card.data.pipeline_tag) == (["user/data"], "audio-classification")
    assert card.data.library_name == "transformers"
    text = shown(card.text)
    low, high = run.results["mos"].intervals["rmse"]
    assert f"{metrics['rmse']:.3f} [{low:.3f}, {high:.3f}]" in text
    assert "2.50 hours of wall clock on 2 × GPU 1. 1,000 parameters, 900 of them trained." in text
    assert "30.0 minutes of audio" in text
    assert "1,234 rated clips" in text
    assert "the 95 % interval holds" in text
    width = run.results["mos"].calibration["width_95"]
    assert f"The 95 % interval is {width:.2f} wide on average, before the ends of the scale cut it." in text
    assert "were not measured" in text
    # Header and row of procedure, header and row of results.
    assert MARKDOWN.render(card.text).count("<table>") == 2
    for title in ("Use", "Training data", "Procedure", "Results", "Calibration", "Limits", "Compute", "Citation"):
        assert f"## {title}\n" in card.text


def test_every_output_keeps_its_own_figures():
    results = {"mos": summary().results["mos"], **of_one_output("noisiness", ratings(30, seed=1))}
    card = ModelCard(render_run_card(summary(results=results)))
    assert {(one.dataset_name, one.metric_type, one.metric_value) for one in card.data.eval_results} == {
        (f"nisqa: {output}", name, round(result.metrics[name], 4))
        for output, result in results.items()
        for name in ("rmse", "mae", "pcc", "srcc")
    }


def test_names_can_neither_break_the_metadata_nor_the_text():
    run = summary(
        name=NASTY,
        training_data={"ratings": [NASTY]},
        evaluation_data=[NASTY],
        evaluation_split=NASTY,
        base_model=None,
        base_name=NASTY,
        output_names=[NASTY, "mos"],
        arguments={"distortions": [NASTY], "learning_rate": 1},
        compute=replace(summary().compute, devices=[NASTY]),
    )
    run = replace(run, results={NASTY: summary().results["mos"]})
    card, plain = ModelCard(render_run_card(run)), ModelCard(render_run_card(summary()))
    assert card.data.license == "apache-2.0"
    assert {result.dataset_name for result in card.data.eval_results} == {plain_line(NASTY)}
    rendered, ordinary = MARKDOWN.render(card.text), MARKDOWN.render(plain.text)
    for tag in ("<h1>", "<h2>", "<a ", "<table>", "<script>", "<em>"):
        assert rendered.count(tag) == ordinary.count(tag), tag
    assert "{{ 7 * 7 }}" in shown(card.text)


def test_a_card_without_results_says_so():
    card = ModelCard(
        render_run_card(summary(results={}, metrics={}, license=None, base_model=None, from_scratch=True))
    )
    assert card.data.eval_results is None
    assert "license" not in card.data.to_dict()
    text = " ".join(shown(card.text).split())
    assert "how good this model is, is not known" in text
    assert "Its licence was not stated" in text
    assert "Started from random weights" in text


def test_a_card_claims_nothing_of_a_start_and_of_data_that_are_not_known():
    text = render_run_card(summary(base_model=None, evaluation_data=[], evaluation_split=None))
    assert "Started from" not in text
    assert "\nIn brackets, from 20 clips on" in text


def test_a_model_that_does_not_rate_overall_quality_is_not_shown_as_a_pipeline():
    text = render_run_card(summary(output_names=["noisiness", "loudness"]))
    assert "Outputs: noisiness, loudness." in text
    assert "AutoModel.from_pretrained" in text
    assert "pipeline(" not in text


def test_the_card_of_an_adapter_says_how_to_put_it_on_its_base_model():
    card = ModelCard(render_run_card(summary(saved="adapter", repo_id="user/adapter")))
    assert (card.data.library_name, card.data.base_model) == ("peft", "user/pretrained")
    assert 'base = JSQAForMOSRegression.from_pretrained("user/pretrained")' in card.text
    assert 'PeftModel.from_pretrained(base, "user/adapter")' in card.text
    assert "The repository holds the code" not in card.text


def test_the_card_of_stage_1():
    calibration = {"pairs": 80, "contents": 10, "error_jnds": 0.4}
    run = summary(
        stage="pretraining", output_names=[], results={}, metrics={"alignment": 0.125}, jnd_calibration=calibration
    )
    text = shown(ModelCard(render_run_card(run)).text)
    assert "no ratings" in text
    assert "0.125" in text
    assert "on 80 pairs of 10 utterances; mean absolute error on held-out utterances 0.400 JNDs" in text


def test_arguments_without_effect_are_not_shown():
    unused = {"loss": "none", "temperature": 0.1, "negatives": "all", "false_negatives": "keep"}
    unused |= {"ratings": ["nisqa"], "jnd_preference_weight": 0.1, "max_steps": 4, "num_train_epochs": 10}
    card = render_run_card(summary(arguments=unused))
    assert table_of_arguments(card) == {"contrastive loss": "none", "steps, if fixed": "4"}
    card = render_run_card(summary(arguments={**unused, "loss": "nt_xent", "pairs": "pairs", "max_steps": -1}))
    assert table_of_arguments(card).keys() == {
        *("contrastive loss", "temperature", "negatives", "clips of other content at the same quality"),
        *("weight of preferences", "epochs"),
    }


def table_of_arguments(card: str) -> dict[str, str]:
    """The values by name, of the table under Procedure."""
    rows = [line.strip("| ").split(" | ") for line in card.partition("|---|---|\n")[2].split("\n\n")[0].splitlines()]
    return {row[0]: html.unescape(row[1]).replace("\\", "") for row in rows if len(row) == 2}


def test_outputs_that_nobody_rated_have_no_results():
    scores, variances, labels = (np.stack([values] * 2, axis=1) for values in ratings(10))
    labels[:, 1] = np.nan
    assert set(evaluate_outputs(["mos", "noisiness"], scores, variances, labels)) == {"mos"}


def test_emissions_are_those_of_all_starts(tmp_path: Path):
    assert _emissions(tmp_path / "none.csv") == (None, None, None)
    path = tmp_path / "emissions.csv"
    path.write_text("emissions,energy_consumed,country_name\n0.002,0.01,Canada\n0.001,0.02,Canada\n")
    energy, emissions, place = _emissions(path)
    assert place == "Canada"
    assert (energy, emissions) == pytest.approx((0.03, 3.0))
    compute = replace(summary().compute, energy_kwh=energy, emissions_g=emissions, emissions_place=place)
    card = ModelCard(render_run_card(summary(compute=compute)))
    assert card.data.co2_eq_emissions["emissions"] == pytest.approx(3.0)
    assert "0.0300 kWh and 3.00 g of CO2 equivalent, for electricity of Canada" in shown(card.text)
    path.write_text("run_id\na\n")
    with pytest.raises(ValueError, match="not as CodeCarbon writes it"):
        _emissions(path)


def test_hours_are_those_of_all_starts(tmp_path: Path):
    path = tmp_path / "run.json"
    assert _earlier_hours(path, 1.0) == (1.0, 0)
    starts = [{"status": "stopped by SIGTERM", "wall_time_s": 3600.0}, {"status": "running"}, {"status": "running"}]
    path.write_text(json.dumps({"starts": starts}))
    assert _earlier_hours(path, 1.0) == (2.0, 1)
    starts[-1] = {"status": "finished", "wall_time_s": 1800.0}
    path.write_text(json.dumps({"starts": starts}))
    assert _earlier_hours(path, 1.0) == (1.5, 1)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("nisqa:/data/people/NISQA_Corpus", "nisqa"),
        ("librispeech:/data/LibriSpeech", "librispeech"),
        ("esc50:hub:ashraq/esc50", "ashraq/esc50"),
        ("librispeech:hub:openslr/librispeech_asr:clean", "openslr/librispeech_asr"),
        ("hub:openslr/librispeech_asr", "openslr/librispeech_asr"),
        ("hub:openslr/librispeech_asr:clean", "openslr/librispeech_asr"),
        ("/home/somebody/tests/ratings.csv", "tests/ratings.csv"),
        ("/home/somebody/clips", "clips"),
    ],
)
def test_a_card_does_not_tell_where_the_data_lies(source: str, name: str):
    assert source_name(source) == name


def test_stored_pairs_are_described_by_their_record_and_not_by_options_that_they_were_not_made_with(tmp_path: Path):
    pairs = tmp_path / "pairs"
    run = {"pairs": str(pairs), "distortions": ["noise"], "levels": 2, "duration_s": 30.0, "speech": None, "seed": 3}
    assert set(_with_stored_pairs(run).values()) == {str(pairs), None, 3}
    pairs.mkdir()
    made = {"speech": "librispeech:/data", "distortions": ["clipping"], "levels": 3, "duration_s": 0.9, "seed": 7}
    (pairs / "jsqa_pairs.json").write_text(json.dumps({"options": made}))
    described = _with_stored_pairs(run)
    assert {name: described[name] for name in made} == {**made, "seed": 3}
    text = render_run_card(summary(stage="pretraining", output_names=[], results={}, arguments=described))
    assert "| distortions | clipping |" in text
    assert "| quality levels per content | 3 |" in text
    assert "| clip length of pairs in s | 0.9 |" in text


def test_datasets_of_the_card_are_ids():
    with pytest.raises(ValueError, match="--card_datasets: 'Libri Speech' is no Hub id"):
        CardArguments(card_datasets=["Libri Speech"])


def test_a_run_writes_its_card_and_its_arguments(tmp_path: Path):
    corpus = runs.write_corpus(tmp_path / "corpus")
    output = tmp_path / "mos"
    options = ["--eval_split=test", "--license=mit", "--num_train_epochs=1", "--hub_token=hf_secret"]
    metrics = finetune_mos.main(runs.finetuning(corpus, output, *options))
    card = ModelCard.load(output / "README.md")
    assert card.data.license == "mit"
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == pytest.approx(
        {name: metrics[f"eval_{name}"] for name in ("rmse", "mae", "pcc", "srcc")}, abs=1e-4
    )
    # 12 clips of half a second.
    assert "6.00 seconds of audio" in card.text
    assert str(corpus) not in card.content
    assert "ratings\\.csv, split train\n- 12 rated clips\n" in card.text
    arguments = (output / "training_args.json").read_text()
    assert json.loads(arguments)["split"] == ["train"]
    assert "hf_secret" not in arguments
