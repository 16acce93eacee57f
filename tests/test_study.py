"""The study's harness: folds, runs that are done once, statistics, and who is said to win."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import runs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "study"))

import claim
import claim_report
from jobs import Job, run_jobs
from micro import StudyArguments, finetuning_job, of_split, pretraining_job, read_table
from statistics_of_runs import METRICS, agreement, compare_arms, paired_tests

from jsqa_hf import JSQAConfig, JSQAModel
from jsqa_hf.metrics import mos_metrics

COUNTING = """
def work(job, folder):
    with open(folder / "done.txt", "a") as file:
        file.write(job.name + "\\n")
    if job.kind == "fails":
        raise ValueError("no luck")
    return {"words": job.arguments}
"""


def arms(gain: float, seeds: int = 5, clips: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of two arms whose errors have standard deviations of 0.5 and `gain` less, and ratings."""
    rng = np.random.default_rng(0)
    rated = rng.uniform(1, 5, clips)
    treated, control = (rated + rng.normal(0, size, (seeds, clips)) for size in (0.5 - gain, 0.5))
    return treated, control, rated


def table(gain: float, seeds: int = 5) -> dict[str, object]:
    treated, control, rated = arms(gain, seeds)
    return {
        "clips": len(rated),
        "seeds": list(range(seeds)),
        "metrics": compare_arms(treated, control, rated, resamples=200),
    }


@settings(deadline=None, max_examples=20)
@given(talkers=st.integers(2, 5), conditions=st.integers(5, 30), seed=st.integers(0, 99))
def test_folds_hold_out_talkers_and_conditions(talkers: int, conditions: int, seed: int):
    rows = [{"talker": f"t{a}", "condition": f"c{b}"} for a in range(talkers) for b in range(conditions)]
    tested = []
    for train, test in claim.held_out_folds(rows, seed):
        assert train and test
        for name in ("talker", "condition"):
            assert not {row[name] for row in train} & {row[name] for row in test}
        tested += test
    assert sorted(row["condition"] for row in tested) == sorted(f"c{b}" for b in range(conditions))
    assert len({row["talker"] for row in tested}) == talkers


def test_holding_both_out_takes_two_talkers():
    with pytest.raises(ValueError, match="1 talkers"):
        claim.held_out_folds([{"talker": "a", "condition": str(number)} for number in range(9)])


def test_small_budgets_are_part_of_large_ones_and_differ_between_seeds():
    rows = [{"file": str(number)} for number in range(50)]
    first, second = (claim.nested_subsets(rows, [5, 20, 0], seed) for seed in (0, 1))
    names = {budget: {row["file"] for row in subset} for budget, subset in first.items()}
    assert [len(names[budget]) for budget in (5, 20, 0)] == [5, 20, 50]
    assert names[5] < names[20] < names[0]
    assert first[5] != second[5] and first == claim.nested_subsets(rows, [5, 20, 0], 0)
    with pytest.raises(ValueError, match="--budgets"):
        claim.nested_subsets(rows, [51], 0)


def test_dimensions_are_brought_to_the_scale_of_the_overall_rating(tmp_path: Path):
    path = tmp_path / "dimensions.csv"
    path.write_text("file,talker,condition,noisiness,coloration,discontinuity,loudness\na.wav,a,c,1,4,7,2.5\n")
    (row,) = claim.with_dimensions([{"talker": "a", "condition": "c"}], str(path), (1, 7))
    assert [float(row[name]) for name in claim.DIMENSIONS] == [1, 3, 5, 2]
    with pytest.raises(ValueError, match="talker b"):
        claim.with_dimensions([{"talker": "b", "condition": "c"}], str(path), (1, 7))


def test_agreement_is_that_of_the_package():
    treated, _, rated = arms(0.1)
    together = agreement(treated, rated)
    for number, predicted in enumerate(treated):
        expected = mos_metrics(predicted, rated)
        assert {name: together[name][number] for name in METRICS} == pytest.approx(
            {name: expected[name] for name in METRICS}
        )


def test_tests_over_seeds_are_those_of_scipy():
    treated, control, rated = arms(0.1)
    for name, row in compare_arms(treated, control, rated, resamples=20).items():
        first, second = agreement(treated, rated)[name], agreement(control, rated)[name]
        assert row["t_test_p"] == pytest.approx(stats.ttest_rel(first, second).pvalue)
        assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
        assert row["relative_change"] == pytest.approx(first.mean() / second.mean() - 1)


def test_the_interval_of_one_seed_is_the_bootstrap_of_scipy():
    treated, control, rated = arms(0.2, seeds=1)
    row = compare_arms(treated, control, rated, resamples=4000)["mae"]
    difference = np.abs(treated[0] - rated) - np.abs(control[0] - rated)
    expected = stats.bootstrap((difference,), np.mean, n_resamples=4000, method="percentile", random_state=1)
    assert row["change_interval"] == pytest.approx(list(expected.confidence_interval), abs=0.015)


def test_clips_of_a_group_are_drawn_together_which_widens_the_interval():
    treated, control, rated = (np.repeat(values, 4, axis=-1) for values in arms(0.1, clips=20))
    widths = [
        np.ptp(compare_arms(treated, control, rated, groups, resamples=400)["rmse"]["change_interval"])
        for groups in (None, np.repeat(np.arange(20), 4).tolist())
    ]
    assert widths[1] > 1.3 * widths[0]


@pytest.mark.parametrize(("gain", "better"), [(0.3, "treated"), (-0.3, "control")])
def test_a_large_effect_is_clear_in_its_direction(gain: float, better: str):
    for row in table(gain)["metrics"].values():
        assert row["better"] == better and row["clear"]


def test_arms_that_are_the_same_do_not_differ():
    treated, _, rated = arms(0.1)
    for row in compare_arms(treated, treated, rated, resamples=50).values():
        assert (row["change"], row["better"], row["clear"]) == (0, "neither", False)
        assert (row["t_test_p"], row["wilcoxon_p"]) == (None, None)


def test_what_is_not_defined_is_none():
    treated, _, rated = arms(0.1)
    row = compare_arms(treated, np.full_like(treated, 3.0), rated, resamples=50)["pcc"]
    assert row["control"] is row["relative_change"] is row["change_interval"] is None
    json.dumps(row, allow_nan=False)
    assert paired_tests([0.5], [0.4]) == {"t_test_p": None, "wilcoxon_p": None}
    with pytest.raises(ValueError, match="do not fit"):
        compare_arms(treated, treated[:2], rated)


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function for jobs, in a module that the processes can import."""
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    import counting

    yield counting.work
    del sys.modules["counting"]


def test_finished_runs_are_not_done_again(tmp_path: Path, counting):
    jobs = [Job(f"part/{number}", "works", [str(number)]) for number in range(3)]
    run_jobs(jobs[:2], tmp_path, counting, 2)
    results = run_jobs(jobs, tmp_path, counting, 2)
    assert results == {f"part/{number}": {"words": [str(number)]} for number in range(3)}
    assert run_jobs(jobs, tmp_path, counting, 2) == results
    done = (tmp_path / "done.txt").read_text().split()
    assert sorted(done) == ["part/0", "part/1", "part/2"]
    with pytest.raises(ValueError, match="other settings"):
        run_jobs([Job("part/0", "works", ["else"])], tmp_path, counting)


def test_a_run_that_fails_stops_no_other_and_is_tried_again(tmp_path: Path, counting):
    jobs = [Job("bad", "fails", []), Job("good", "works", [])]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="1 of .* bad: no luck"):
            run_jobs(jobs, tmp_path, counting)
    assert (tmp_path / "done.txt").read_text().split() == ["bad", "good", "bad"]


def test_the_report_says_who_wins():
    text = claim_report.markdown({"one": table(0.3), "other": table(-0.3)})
    assert "**Scratch is better in 4 of 8 figures**" in text
    assert "**Pretraining is better in 4 of 8 figures**" in text
    scratch, pretraining = text.partition("Pretraining is better in")[::2]
    assert "- clearly: other RMSE, other MAE, other PCC, other SRCC" in scratch
    assert "- clearly: one RMSE, one MAE, one PCC, one SRCC" in pretraining
    assert "-18.0 %" in text and "can't be below 0.0625" in text


def test_the_claim_lies_within_or_outside_an_interval():
    row = {"relative_change_interval": [-0.3, -0.1]}
    assert claim_report.claim_within("rmse", row) is True and claim_report.claim_within("pcc", row) is False
    assert claim_report.claim_within("pcc", {"relative_change_interval": None}) is None


def study_corpus(root: Path) -> dict[str, str]:
    """Tones, noise and ratings for both stages; paths by argument."""
    corpus = runs.write_corpus(root)
    paths = {}
    for kind in ("speech", "noise"):
        with open(corpus / f"{kind}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "split", "speaker_id" if kind == "speech" else "type"])
            for number, path in enumerate(sorted((corpus / kind).iterdir())):
                writer.writerow([path, "train" if number < 2 else "test", number])
        paths[kind] = str(corpus / f"{kind}.csv")
    ratings = corpus / "rated" / "ratings.csv"
    rows = read_table(ratings)
    with open(ratings, "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "talker", "condition"])
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({**row, "talker": f"t{number % 2}", "condition": f"c{number // 2}"})
    return {**paths, **dict.fromkeys(("p835", "slotest", "sim_train", "sim_test"), str(ratings))}


def test_both_stages_start_from_the_shape_that_the_study_names(tmp_path: Path):
    paths = study_corpus(tmp_path / "corpus")
    args = StudyArguments(str(tmp_path / "out"), *(paths[name] for name in ("speech", "noise", "p835")), "", "")
    job = pretraining_job("stage1", args, seed=3, size="nano")
    backbone = job.arguments[0].removeprefix("--backbone=")
    model = JSQAModel.from_backbone(backbone)
    assert model.config.hidden_size == 64
    assert list(model.config.hubert_config.conv_stride) == list(JSQAConfig.tiny().hubert_config.conv_stride)
    assert pretraining_job("stage1", args, seed=3, size="nano") == job
    assert "--from_scratch=True" in finetuning_job("x", args, "m", 0, "a", "b", from_scratch=True).arguments
    assert {row["split"] for row in of_split(read_table(paths["p835"]), "test")} == {"test"}


@pytest.mark.slow
def test_two_steps_of_everything_end_in_a_report(tmp_path: Path):
    paths = study_corpus(tmp_path / "corpus")
    arguments = [f"--{name}={path}" for name, path in paths.items()]
    small = ["--stage1_steps=2", "--steps=2", "--eval_ladders=2", "--budgets", "8", "0", "--seeds", "0", "1"]
    words = [*arguments, *small, "--objective", "distortions=noise", "duration_s=0.5"]
    words += [f"--output_dir={tmp_path / 'out'}", f"--results_dir={tmp_path / 'results'}", "--jobs=2"]
    assert claim.main([*words, "--parts", "p835", "simulated"]) == 0
    report = json.loads((tmp_path / "results" / "claim.json").read_text())
    assert set(report["tables"]) == {"p835", "simulated-8", "simulated-all"}
    assert report["tables"]["p835"]["clips"] == 4
    assert (tmp_path / "results" / "claim.png").stat().st_size > 0
