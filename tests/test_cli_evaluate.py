"""`jsqa evaluate`, and what it is made of: figures per clip, condition and corpus, residuals, files."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small import SAMPLING_RATE, small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression, scoring
from jsqa_hf.cli import main
from jsqa_hf.evaluation import RatedClips, evaluate_clips, residual_table, summary, write_json
from jsqa_hf.intervals import bootstrap_intervals
from jsqa_hf.metrics import mos_metrics, rating_ci95, rmse_interval, rmse_star
from jsqa_hf.scoring import FileScore

CONDITIONS = ("clean", "noise", "clipping")
ENDS = (("", 0.0), ("_low", -0.4), ("_high", 0.4))


def clips(number: int = 24, corpora: Sequence[str] = ("one",)) -> RatedClips:
    """Ratings of 8 conditions, and predictions that are 0.3 too high, 1.3 in the first condition."""
    rng = np.random.default_rng(0)
    condition = np.arange(number) % 8
    rated = np.clip(1.2 + 0.5 * condition + rng.normal(0, 0.2, number), 1, 5)
    predicted = rated + 0.3 + (condition == 0) + rng.normal(0, 0.1, number)
    return RatedClips(
        files=[f"{index}.wav" for index in range(number)],
        predicted=predicted,
        low=predicted - 0.5,
        high=predicted + 0.5,
        rated=rated,
        std=np.full(number, 0.7),
        n_votes=np.full(number, 9.0),
        conditions=[f"c{index}" for index in condition],
        corpora=[corpora[index * len(corpora) // number] for index in range(number)],
    )


def test_figures_are_those_of_clips_and_of_means_per_condition() -> None:
    rated = clips()
    result = evaluate_clips(rated, resamples=0)
    assert result["clips"]["rmse"] == mos_metrics(rated.predicted, rated.rated)["rmse"]
    expected = rmse_star(rated.predicted - rated.rated, rating_ci95(rated.std, rated.n_votes))
    assert result["clips"]["rmse_star"] == expected
    means = [[values[index::8].mean() for index in range(8)] for values in (rated.predicted, rated.rated)]
    assert result["conditions"]["n"] == 8
    assert result["conditions"]["pcc"] == pytest.approx(mos_metrics(*means)["pcc"])
    assert result["clips"]["intervals_bootstrap"] == {}
    # All but the 3 clips of the first condition lie within 0.5 of their rating.
    assert result["clips"]["interval_coverage_95"] == 21 / 24
    assert "corpora" not in result


def test_corpora_are_evaluated_by_themselves_and_their_conditions_are_not_mixed() -> None:
    rated = clips(48, ("one", "two"))
    result = evaluate_clips(rated, resamples=0)
    assert result["conditions"]["n"] == 16
    assert list(result["corpora"]) == ["one", "two"]
    first = evaluate_clips(rated.choose(np.arange(24)), resamples=0)
    assert result["corpora"]["one"] == first
    assert rated.condition_means().names[:2] == ["one: c0", "one: c1"]
    # One clip is no corpus to correlate.
    single = replace(rated, corpora=["one"] * 47 + ["two"])
    assert evaluate_clips(single, resamples=0)["corpora"]["two"] is None


def test_what_is_missing_is_counted_and_left_out() -> None:
    rated = clips()
    rated.rated[0], rated.predicted[1] = np.nan, np.nan
    some = replace(rated, conditions=[None, *rated.conditions[1:-1], None], n_votes=np.full(24, np.nan))
    result = evaluate_clips(some, resamples=50)
    assert (result["clips"]["n"], result["clips"]["n_unrated"], result["clips"]["n_unpredicted"]) == (22, 1, 1)
    assert result["conditions"]["n"] == 8
    assert not {"n_unrated", "n_unpredicted"} & set(result["conditions"])
    assert math.isnan(result["clips"]["rmse_star"])
    assert "rmse_star" not in result["clips"]["intervals_bootstrap"]
    none = replace(rated, conditions=[None] * 24)
    assert evaluate_clips(none, resamples=0)["conditions"] is None
    with pytest.raises(ValueError, match="at least 2"):
        evaluate_clips(replace(rated, predicted=np.full(24, np.nan)), resamples=0)


def test_bootstrap_over_conditions_is_wider_where_their_clips_err_alike() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), 10)
    errors = rng.normal(0, 1, 20)[groups] + rng.normal(0, 0.1, 200)

    def bias(chosen: np.ndarray) -> dict[str, float]:
        return {"bias": float(errors[chosen].mean())}

    (low, high), (first, last) = (
        bootstrap_intervals(bias, 200, of, resamples=500)["bias"] for of in (None, groups.tolist())
    )
    # Ten clips that err alike tell as much as one: the interval is wider by the square root of 10.
    assert (last - first) / (high - low) == pytest.approx(math.sqrt(10), rel=0.2)


def test_few_conditions_show_the_intervals_of_p1401_and_their_clips_none() -> None:
    def shown(rated: RatedClips) -> dict[str, list[str]]:
        lines = [re.split(r"\s{2,}", line) for line in summary(evaluate_clips(rated, resamples=20)).splitlines()]
        return {line[0]: line[1:] for line in lines[2:11]}

    rated = clips(60)
    low, high = rmse_interval(mos_metrics(*rated.condition_means()[1:3])["rmse"], 8)
    few = shown(rated)
    assert "[" not in "".join(row[0] for row in few.values())
    assert few["rmse"][1].endswith(f" [{low:.3f}, {high:.3f}]")
    assert "[" not in few["mae"][1]
    independent = shown(replace(rated.choose(np.arange(19)), conditions=[None] * 19))
    assert ["[" in independent[name][0] for name in ("rmse", "mae", "pcc", "srcc")] == [True, False, True, False]
    many = shown(replace(rated, conditions=[f"c{index // 3}" for index in range(60)]))
    assert all("[" in many[name][level] for name in ("rmse", "mae", "pcc", "kendall_tau") for level in (0, 1))
    assert ["[" in cell for cell in many["rmse_first_order"]] == [False, True]


def test_a_clip_without_condition_is_a_unit_of_its_own_and_leaves_those_of_the_others_together() -> None:
    rated = clips(60)
    one_without = evaluate_clips(replace(rated, conditions=[None, *rated.conditions[1:]]), resamples=100)["clips"]
    assert (one_without["n_independent"], one_without["intervals_bootstrap"]) == (9, {})
    conditions = [f"c{index // 2}" for index in range(60)]
    few_without = replace(rated, conditions=[None, None, *conditions[2:]])
    named = replace(rated, conditions=["first", "second", *conditions[2:]])
    assert evaluate_clips(few_without, resamples=100)["clips"] == evaluate_clips(named, resamples=100)["clips"]
    # None has a condition, or all have the same one: clips count.
    for same in (None, "c"):
        assert evaluate_clips(replace(rated, conditions=[same] * 60), resamples=0)["clips"]["n_independent"] == 60


def test_residuals_tell_where_a_model_errs() -> None:
    rated = clips()
    rows = residual_table(rated, rated.conditions)
    assert len(rows) == 8
    assert rows[0]["group"] == "c0"
    residuals = (rated.predicted - rated.rated)[::8]
    assert rows[0]["bias"] == pytest.approx(residuals.mean())
    assert rows[0]["bias_ci95"] == pytest.approx(4.302653 * residuals.std(ddof=1) / math.sqrt(3))
    assert rows[0]["bias"] - rows[0]["bias_ci95"] < 1.3 < rows[0]["bias"] + rows[0]["bias_ci95"]
    alone = residual_table(rated, ["x", *[None] * 23])
    assert {row["group"]: row["n"] for row in alone} == {"(not known)": 23, "x": 1}
    assert next(row for row in alone if row["n"] == 1)["residual_std"] is None


def test_the_summary_has_every_figure_in_a_column_per_level() -> None:
    rated = clips(48, ("one", "two"))
    text = summary(evaluate_clips(rated, resamples=20), residual_table(rated, rated.conditions), "condition")
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["n", "rmse", "mae"]
    assert lines[0].endswith("  two, conditions")
    assert len({len(line) for line in lines[:12]}) == 1
    assert sum(line.startswith("c") for line in lines) == 9


def test_json_has_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "x.json", {"a": math.nan, "b": [1.5, math.inf], "c": ("ü", None)})
    assert json.loads((tmp_path / "new" / "x.json").read_text("utf-8")) == {
        "a": None,
        "b": [1.5, None],
        "c": ["ü", None],
    }


def test_json_takes_names_that_are_not_utf_8(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.csv")
    write_json(tmp_path / "x.json", {odd: odd})
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {odd: odd}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ratings of nine clips, of which one is not there and one has no rating."""
    lines = ["file,mos,mos_std,n_votes,condition,distortion"]
    for index in range(9):
        name = f"{index}.wav"
        if index != 4:
            samples = np.random.default_rng(index).normal(0, 0.02 * (index + 1), SAMPLING_RATE // 4)
            soundfile.write(tmp_path / name, samples, SAMPLING_RATE)
        mos = "" if index == 8 else 1.5 + 0.4 * index
        lines.append(f"{name},{mos},0.5,8,{CONDITIONS[index % 3]},d{index % 2}")
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Scores by the number in the file's name instead of those of a model; gives the files that were rated."""
    asked: list[str] = []

    def score(paths: Any, *_: Any, **__: Any) -> Iterator[FileScore]:
        for path in paths:
            asked.append(Path(path).name)
            mos = 2.0 + 0.3 * int(Path(path).stem)
            exists = Path(path).exists()
            values = {f"{name}{end}": mos + by for name in ("mos", "noisiness") for end, by in ENDS} if exists else {}
            yield FileScore(str(path), values, 0.25 if exists else None, None if exists else "no such file")

    monkeypatch.setattr("jsqa_hf.score_engine.rate_paths", score)
    return asked


def evaluate(table: Path, checkpoint: Path, *arguments: str) -> int:
    return main(["evaluate", "--data", str(table), "--model", str(checkpoint), "--device", "cpu", *arguments])


def test_a_table_is_rated_compared_printed_and_saved(
    table: Path, small_checkpoint: Path, scores: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "evaluation.json"
    saved = ["--json", str(out), "--predictions", str(tmp_path / "scores.csv"), "--resamples", "100"]
    assert evaluate(table, small_checkpoint, *saved) == 1
    captured = capsys.readouterr()
    assert captured.err == f"jsqa: {tmp_path / '4.wav'}: no such file\n"
    # The clip without rating is not worth the time.
    assert scores == [f"{index}.wav" for index in range(8)]
    content = json.loads(out.read_text())
    assert content["n_failed"] == 1
    figures = content["outputs"]["mos"]
    assert (figures["clips"]["n"], figures["clips"]["n_unrated"], figures["clips"]["n_unpredicted"]) == (7, 1, 1)
    errors = [0.5 - 0.1 * index for index in range(8) if index != 4]
    assert figures["clips"]["rmse"] == pytest.approx(math.sqrt(np.mean(np.square(errors))))
    # The scores are a line through the ratings.
    assert figures["clips"]["rmse_first_order"] == pytest.approx(0, abs=1e-9)
    assert figures["conditions"]["n"] == 3
    assert figures["conditions"]["rmse_third_order"] is None
    assert content["settings"]["residuals_by"] == "distortion"
    assert content["settings"]["data"] == table.name
    assert content["settings"]["model"] == Path(small_checkpoint).name
    assert {row["group"] for row in figures["residuals"]} == {"d0", "d1"}
    assert f"rmse  {figures['clips']['rmse']:.3f}" in " ".join(captured.out.split()).replace("rmse ", "rmse  ")
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert rows[2] == {
        "file": "2.wav",
        "mos": "2.3000",
        "mos_predicted": "2.6000",
        "mos_predicted_low": "2.2000",
        "mos_predicted_high": "3.0000",
    }
    assert rows[4]["mos_predicted"] == ""


def test_a_small_model_is_evaluated_for_real(
    table: Path, small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--json", str(tmp_path / "x.json"), "--plot", str(tmp_path / "x.svg"), "--resamples", "0"]
    assert evaluate(table, small_checkpoint, *arguments) == 1
    assert "4.wav" in capsys.readouterr().err
    figures = json.loads((tmp_path / "x.json").read_text())["outputs"]["mos"]["clips"]
    assert figures["n"] == 7
    paths = [tmp_path / f"{index}.wav" for index in range(8) if index != 4]
    results = scoring.score_files(paths, small_checkpoint, device="cpu")
    expected = mos_metrics(
        [one.scores["mos"] for one in results], [1.5 + 0.4 * index for index in range(8) if index != 4]
    )
    assert figures["rmse"] == pytest.approx(expected["rmse"], abs=1e-5)
    assert "<svg" in (tmp_path / "x.svg").read_text()
    assert not (tmp_path / "x.png").exists()


def test_another_scale_is_mapped_to_that_of_the_model(
    table: Path, small_checkpoint: Path, scores: list[str], tmp_path: Path
) -> None:
    assert evaluate(table, small_checkpoint, "--json", str(tmp_path / "five.json"), "--resamples", "0") == 1
    lines = table.read_text().splitlines()
    cells = [line.split(",") for line in lines[1:]]
    for row in cells:
        row[1] = row[1] and str(25 * (float(row[1]) - 1))
        row[2] = str(25 * float(row[2]))
    table.write_text("\n".join([lines[0], *map(",".join, cells)]) + "\n")
    arguments = ["--json", str(tmp_path / "hundred.json"), "--score-range", "0", "100", "--resamples", "0"]
    assert evaluate(table, small_checkpoint, *arguments) == 1
    five, hundred = (
        json.loads((tmp_path / name).read_text())["outputs"]["mos"]["clips"] for name in ("five.json", "hundred.json")
    )
    for name in ("rmse", "mae", "pcc", "rmse_star", "rmse_first_order"):
        assert hundred[name] == pytest.approx(five[name], abs=1e-9), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "weather"], "no column 'weather' to group residuals by; there are file, mos, "),
        (["--by", "audio"], "no column 'audio' to group residuals by; there are file, mos, "),
        (["--resamples", "-1"], "--resamples must be 0 or at least 100"),
        (["--resamples", "1"], "--resamples must be 0 or at least 100"),
        (["--seed", "-1"], "--seed must be 0 or more, but is -1"),
        (["--score-range", "5", "1"], "lowest and the highest"),
        (["--score-range", "0", "inf"], "lowest and the highest value, not [0.0, inf]"),
        (["--score-range", "0", "2"], "outside the scale 0 to 2"),
        (["--score-range", "0", "2"], "give the scale of these ratings (score_range; --score-range of jsqa evaluate"),
        (["--split", "test"], "no splits"),
        (["--outputs", "mos", "noisiness"], "one column of ratings for each"),
        (["--outputs", "score"], "score"),
        (["--plot", "x.xyz"], "--plot x.xyz: its name must end in .png, .svg, .pdf"),
        (["--json", "0.wav"], "--json 0.wav is the name of an audio file"),
        (["--json", "x.y", "--predictions", "./x.y"], "--predictions ./x.y is also written by --json: name two files"),
        (["--json", "x.png"], "--plot x.png is also written by --json: name two files"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_one_line(
    table: Path,
    small_checkpoint: Path,
    scores: list[str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert evaluate(table, small_checkpoint, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_ratings_of_a_corpus_by_name_outside_the_scale_are_named(
    small_checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "pstn_train.csv").write_text("filename,MOS,std,95%CI,votes\na.wav,4.5,0.5,0.4,5\n")
    arguments = ["--data", f"pstn:{tmp_path}", "--model", str(small_checkpoint), "--outputs", "votes"]
    assert main(["evaluate", *arguments, "--score-range", "1", "4"]) == 2
    assert "mos of a.wav is 4.5, outside the scale 1 to 4" in capsys.readouterr().err


def test_the_table_of_ratings_is_not_overwritten(
    table: Path, small_checkpoint: Path, scores: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = table.read_bytes()
    assert (
        evaluate(table, small_checkpoint, "--predictions", f"{table.parent}/../{table.parent.name}/ratings.csv") == 2
    )
    assert "is one of the inputs" in capsys.readouterr().err
    assert table.read_bytes() == before
    assert not scores


def test_nor_is_that_of_a_folder(
    table: Path, small_checkpoint: Path, scores: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = table.read_bytes()
    for option in ("--predictions", "--json"):
        assert evaluate(table.parent, small_checkpoint, option, str(table)) == 2
        assert "is one of the inputs" in capsys.readouterr().err
    assert table.read_bytes() == before
    assert not scores


def test_new_files_may_be_written_into_the_folder_of_the_ratings_and_figures_again(
    table: Path, small_checkpoint: Path, scores: list[str]
) -> None:
    new = [table.parent / "figures.json", table.parent / "predictions.csv"]
    new[0].write_text("{}")
    evaluate(table.parent, small_checkpoint, "--json", str(new[0]), "--predictions", str(new[1]), "--resamples", "0")
    assert scores and all(path.stat().st_size > 2 for path in new)


def test_the_only_ratings_may_be_in_a_column_of_another_name(
    table: Path, small_checkpoint: Path, scores: list[str], tmp_path: Path
) -> None:
    assert evaluate(table, small_checkpoint, "--json", str(tmp_path / "mos.json"), "--resamples", "0") == 1
    table.write_text(table.read_text().replace("file,mos,mos_std", "file,naturalness,spread"))
    named = ["--json", str(tmp_path / "named.json"), "--resamples", "0", "--outputs", "naturalness"]
    assert evaluate(table, small_checkpoint, *named) == 1
    mos, other = (json.loads((tmp_path / f"{name}.json").read_text())["outputs"]["mos"] for name in ("mos", "named"))
    assert other["clips"]["rmse"] == mos["clips"]["rmse"]


def test_too_few_scores_are_an_error(
    table: Path, small_checkpoint: Path, scores: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(1, 8):
        (table.parent / f"{index}.wav").unlink(missing_ok=True)
    assert evaluate(table, small_checkpoint) == 2
    assert "1 of 8 rated clips could be scored" in capsys.readouterr().err


def test_an_output_with_one_rated_clip_is_null_and_leaves_the_figures_of_the_others(
    table: Path, scores: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    JSQAForMOSRegression(small_config(mos_output_names=["mos", "noisiness"])).save_pretrained(tmp_path / "two")
    JSQAFeatureExtractor().save_pretrained(tmp_path / "two")
    lines = table.read_text().splitlines()
    # The other one is of the clip that is not there.
    cells = ["noisiness", "3.0", "", "", "", "2.0", "", "", "", ""]
    table.write_text("".join(f"{line},{cell}\n" for line, cell in zip(lines, cells, strict=True)))
    out, predictions = tmp_path / "x.json", tmp_path / "scores.csv"
    saved = ["--json", str(out), "--predictions", str(predictions), "--resamples", "0"]
    assert evaluate(table, tmp_path / "two", *saved) == 1
    assert (
        f"jsqa: {table}: no figures of noisiness, which take 2 clips with both a rating and a score, not 1\n"
        in capsys.readouterr().err
    )
    outputs = json.loads(out.read_text())["outputs"]
    assert outputs["noisiness"] is None and outputs["mos"]["clips"]["n"] == 7
    assert out.with_suffix(".png").exists()
    # With no figures at all it is an error, though the scores are not lost.
    predictions.unlink()
    table.write_text("file,mos,noisiness\n0.wav,3,\n1.wav,,3\n")
    assert evaluate(table, tmp_path / "two", *saved) == 2
    assert f"jsqa: {table}: no output has 2 clips" in capsys.readouterr().err
    assert predictions.exists()


def test_a_clip_of_two_listening_tests_counts_in_both(
    table: Path, small_checkpoint: Path, scores: list[str], tmp_path: Path
) -> None:
    rows = ["0.wav,2,one", "1.wav,3,one", "2.wav,3.5,one", "0.wav,1.5,two", "1.wav,2,two", "3.wav,3,two"]
    table.write_text("\n".join(["file,mos,corpus", *rows]) + "\n")
    assert evaluate(table, small_checkpoint, "--json", str(tmp_path / "x.json"), "--resamples", "0") == 0
    figures = json.loads((tmp_path / "x.json").read_text())["outputs"]["mos"]
    assert (figures["clips"]["n"], [figures["corpora"][name]["clips"]["n"] for name in ("one", "two")]) == (6, [3, 3])
    # Scores of 2.0, 2.3 and 2.9.
    assert figures["corpora"]["two"]["clips"]["mae"] == pytest.approx((0.5 + 0.3 + 0.1) / 3)


def test_without_matplotlib_only_a_plot_that_was_asked_for_is_an_error(
    table: Path,
    small_checkpoint: Path,
    scores: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    arguments = ["--json", str(tmp_path / "x.json"), "--resamples", "0"]
    assert evaluate(table, small_checkpoint, *arguments) == 1
    assert 'pip install "jsqa_hf[report]"' in capsys.readouterr().err
    assert evaluate(table, small_checkpoint, *arguments, "--plot", str(tmp_path / "x.png")) == 2
