"""The study's harness: folds, runs that are done once, statistics, and who is said to win."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ablations
import ablations_report
import claim
import claim_report
import learning_rates
import numpy as np
import objectives
import pretrain_contrastive
import pytest
import runs
import scaling
import scaling_report
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs import Job, run_jobs
from micro import MACHINE, STAGE1, StudyArguments, finetuning_job, of_split, pretraining_job, read_table, settings_of
from scipy import stats
from small import small_config
from statistics_of_runs import METRICS, agreement, compare_arms, paired_tests

from jsqa_hf import JSQAConfig, JSQAModel
from jsqa_hf.metrics import mos_metrics
from jsqa_hf.training import CardArguments, RunArguments, parse_arguments

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


@cache
def table(gain: float, seeds: int = 5) -> dict[str, Any]:
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
    with pytest.raises(ValueError, match="budgets of 51 clips"):
        claim.nested_subsets(rows, [51], 0)


def test_each_budget_has_a_table_to_train_on_for_every_seed_and_the_same_one_to_test_on(tmp_path: Path):
    rows, held_out = ([{"file": f"/{name}{number}", "mos": "3"} for number in range(9)] for name in "ab")
    tables = dict(claim.tables_of_budgets(tmp_path, "p835", rows, held_out, [4, 0], [0, 1]))
    assert list(tables) == ["p835-4", "p835-all"]
    for name, count in (("p835-4", 4), ("p835-all", 9)):
        for seed in (0, 1):
            ((train, test),) = tables[name][seed]
            assert len(read_table(train)) == count and len(read_table(test)) == 9
    assert not dict(claim.tables_of_budgets(tmp_path, "p835", rows, held_out, [], [0]))


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


def test_what_seeds_do_not_agree_on_is_not_clear_however_narrow_the_interval():
    treated, control, rated = arms(0.2, seeds=2, clips=300)
    # One seed gains a little, the other much: what a third would do, two do not tell.
    treated[0] = control[0] + 0.1 * (treated[0] - control[0])
    row = compare_arms(treated, control, rated, resamples=400)["mae"]
    assert row["change_interval"][1] < 0 and row["t_test_p"] > 0.05
    assert row["better"] == "treated" and not row["clear"]
    alone = compare_arms(treated[1:], control[1:], rated, resamples=50)["mae"]
    assert alone["change_interval"][1] < 0 and not alone["clear"]


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
        with pytest.raises(ChildProcessError, match="1 of .* bad: no luck"):
            run_jobs(jobs, tmp_path, counting)
    assert (tmp_path / "done.txt").read_text().split() == ["bad", "good", "bad"]


def test_workers_end_with_a_study_that_is_terminated(tmp_path: Path):
    (tmp_path / "sleeping.py").write_text(
        "import os, time\n"
        "def work(job, folder):\n"
        "    (folder / 'pid').write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
    )
    code = (
        "import pathlib, jobs, sleeping\n"
        "if __name__ == '__main__':\n"
        f"    jobs.run_jobs([jobs.Job('a', 'b', [])], pathlib.Path({str(tmp_path)!r}), sleeping.work)\n"
    )
    (tmp_path / "study.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(claim.__file__).parent)])}
    with subprocess.Popen(
        [sys.executable, tmp_path / "study.py"], env=environment, stderr=subprocess.DEVNULL
    ) as study:
        waited_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        worker = int((tmp_path / "pid").read_text())
        study.terminate()
        assert study.wait(20) == 128 + signal.SIGTERM
    waited_for(lambda: not is_alive(worker))


def waited_for(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_report_says_who_wins():
    text = claim_report.markdown({"one": table(0.3), "other": table(-0.3)})
    assert "**Scratch is better in 4 of 8 figures**" in text
    assert "**Pretraining is better in 4 of 8 figures**" in text
    scratch, pretraining = text.partition("Pretraining is better in")[::2]
    assert "- clearly: other RMSE, other MAE, other PCC, other SRCC" in scratch
    assert "- clearly: one RMSE, one MAE, one PCC, one SRCC" in pretraining
    assert "-18.0 %" in text and "can't be below 0.0625" in text


def test_a_change_of_correlations_about_0_is_not_relative():
    treated, control, rated = arms(0.1, clips=40)
    rows = compare_arms(treated, np.random.default_rng(1).permuted(control, axis=1), rated, resamples=100)
    assert rows["pcc"]["relative_change"] is None and rows["rmse"]["relative_change"] < 0
    text = claim_report.markdown({"one": {"clips": 40, "seeds": [0], "metrics": rows}})
    (line,) = [line for line in text.splitlines() if line.startswith("| PCC")]
    assert f"| {rows['pcc']['change']:+.3f} |" in line and "| +15.0 % |" in line


def test_a_trial_is_called_one_and_reports_go_beside_the_runs_unless_asked_for_elsewhere():
    assert "no figures to quote" in claim_report.markdown({"one": table(0.3)}, trial=True)
    assert "no figures to quote" not in claim_report.markdown({"one": table(0.3)})
    args = StudyArguments("out", "", "", "", "", "")
    assert args.results == Path("out", "results")
    assert replace(args, results_dir="elsewhere").results == Path("elsewhere")


def test_the_claim_lies_within_or_outside_an_interval():
    row = {"relative_change_interval": [-0.3, -0.1]}
    assert claim_report.claim_within("rmse", row) is True and claim_report.claim_within("pcc", row) is False
    assert claim_report.claim_within("pcc", {"relative_change_interval": None}) is None


def noise_table(folder: Path, kinds: int) -> ablations.AblationArguments:
    """Two recordings of each kind, the last kind in both splits."""
    with open(folder / "noise.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "type", "split"])
        writer.writerows([f"{kind}-{number}.wav", kind, "train"] for kind in range(kinds) for number in range(2))
        writer.writerow(["other.wav", kinds - 1, "test"])
    return ablations.AblationArguments(str(folder / "out"), "", str(folder / "noise.csv"), "", "", "")


def test_noise_of_few_kinds_is_part_of_noise_of_many_and_of_none_that_is_tested(tmp_path: Path):
    args = noise_table(tmp_path, 8)
    files = {
        kinds: [row["file"] for row in read_table(ablations.noise_of_kinds(args, kinds, 0))] for kinds in (1, 4, 7)
    }
    assert [len(names) for names in files.values()] == [1, 4, 7]
    assert set(files[1]) < set(files[4]) < set(files[7])
    assert {Path(name).name.partition("-")[0] for name in files[7]} == {str(kind) for kind in range(7)}
    with pytest.raises(ValueError, match="has 7 kinds"):
        ablations.noise_of_kinds(args, 8, 0)


def test_every_variant_is_made_of_options_that_stage_1_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(JSQAConfig, "tiny", classmethod(lambda cls, **kwargs: small_config(**kwargs)))
    args = noise_table(tmp_path, 102)
    rows = [{"audio": {"array": np.arange(9) / 9, "sampling_rate": runs.RATE}, "noise_id": "a", "noise_type": "b"}]
    kinds = (pretrain_contrastive.PretrainingArguments, CardArguments, RunArguments)
    for name in ablations.VARIANTS:
        extra = ablations.options(name, args, 0, ["noise", "mnru"])
        parsed, _, _ = parse_arguments(kinds, [*STAGE1, *MACHINE, *extra, f"--output_dir={tmp_path}"])
        generator = pretrain_contrastive.build_generator(parsed, rows, 0)
        pretrain_contrastive.build_model(parsed)
        assert generator.levels == parsed.levels
        assert set(parsed.distortions) <= {"noise", "mnru", "all"}


def variant(gain: float) -> dict[str, Any]:
    test = {other: table(gain)["metrics"] for other in (ablations.BASE, ablations.SCRATCH)}
    distances = {"noise": [{"quality_correlation": 0.5, "content_preference": 0.25}]}
    return {"tests": {"p835": test, "simulated": test}, "distances": distances}


def test_the_report_says_which_variants_are_better_than_the_papers():
    report = {"paper": variant(0), "good": variant(0.3), "bad": variant(-0.3)}
    text = ablations_report.markdown(report, 5)
    assert "p835: clearly better than `paper` in SRCC: good;\n  clearly worse: bad." in text
    assert "p835: clearly better than training from scratch in SRCC: good;\n  clearly worse: bad." in text
    assert "| 0.500 | 0.250 | – |" in text


BUDGETS = (50, 100, 200, 400, 800)


def test_a_power_law_is_found_again_whatever_the_level_of_a_seed():
    runs = {steps: [1 - a * steps**-0.2 for a in (0.9, 0.9 * 1.2, 0.9 / 1.2)] for steps in BUDGETS}
    law = scaling.fit_power_law(runs, [1600])
    assert (law["a"], law["b"]) == (pytest.approx(0.9), pytest.approx(0.2))
    assert law["b_interval"] == pytest.approx([0.2, 0.2]) and law["r_squared"] == pytest.approx(1)
    assert law["expected"]["1600"]["srcc"] == pytest.approx(1 - 0.9 * 1600**-0.2)


def test_a_law_of_one_seed_is_the_regression_of_scipy():
    steps, srcc = np.array(BUDGETS), np.array([0.5, 0.55, 0.53, 0.6, 0.66])
    law = scaling.fit_power_law({int(step): [value] for step, value in zip(steps, srcc, strict=True)}, [])
    line = stats.linregress(np.log(steps), np.log(1 - srcc))
    assert (law["b"], law["r_squared"]) == (pytest.approx(-line.slope), pytest.approx(line.rvalue**2))
    width = stats.t.ppf(0.975, 3) * line.stderr
    assert law["b_interval"] == pytest.approx([-line.slope - width, -line.slope + width])
    assert law["residuals"] == pytest.approx(srcc - 1 + np.exp(line.intercept + line.slope * np.log(steps)))


def test_its_intervals_hold_what_they_say_though_seeds_differ():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        levels = rng.normal(0, 0.3, 2)
        runs = {
            steps: (1 - 0.9 * steps**-0.2 * np.exp(levels + rng.normal(0, 0.1, 2))).tolist()
            for steps in (*BUDGETS, 1600)
        }
        further = scaling.mean_srcc(runs.pop(1600))
        law = scaling.fit_power_law(runs, [1600])
        low, high = law["expected"]["1600"]["interval"]
        held.append((low <= further <= high, law["b_interval"][0] <= 0.2 <= law["b_interval"][1]))
    # Three standard deviations of the share about 0.95.
    assert np.mean(held, axis=0) == pytest.approx(0.95, abs=0.033)


@pytest.mark.parametrize(("exponent", "told"), [(-0.2, "helps"), (0.2, "harms")])
def test_the_report_says_whether_more_pretraining_helps(exponent: float, told: str):
    rng = np.random.default_rng(0)
    made = {steps: (1 - 0.3 * steps**exponent * rng.uniform(0.95, 1.05, 3)).tolist() for steps in (50, 100, 200, 400)}
    text = scaling_report.markdown({"tiny, p835": scaling.curve({0: [0.0, 0.1], **made})})
    assert f"more pretraining {told}." in text
    assert "its interval held" in text


def test_too_few_runs_have_no_law():
    assert scaling.fit_power_law({50: [0.5], 100: [0.6]}, [200]) is None
    assert scaling.fit_power_law({50: [0.5, 0.6]}, [200]) is None
    assert scaling.fit_power_law({50: [0.5], 100: [0.6], 200: [float("nan")]}, [400]) is None
    assert "| – |" in scaling_report.markdown({"tiny, p835": scaling.curve({50: [0.5], 100: [0.6]})})


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
    job = pretraining_job("stage1", args, seed=3, size="tiny")
    start = job.arguments[0].removeprefix("--backbone=")
    model = JSQAModel.from_pretrained(start)
    assert model.config.hidden_size == 64
    assert model.config.hubert_config.hidden_dropout == 0
    assert list(model.config.hubert_config.conv_stride) == list(JSQAConfig.tiny().hubert_config.conv_stride)
    assert pretraining_job("stage1", args, seed=3, size="tiny") == job
    assert "--from_scratch=True" in finetuning_job("x", args, "m", 0, "a", "b", from_scratch=True).arguments
    assert {row["split"] for row in of_split(read_table(paths["p835"]), "test")} == {"test"}


def test_a_model_of_stage_1_is_judged_as_at_the_end_of_its_training(tmp_path: Path):
    corpus = runs.write_corpus(tmp_path / "corpus")
    held_out = [f"--eval_{kind}={corpus / kind}" for kind in ("speech", "noise")]
    words = runs.pretraining(corpus, tmp_path / "model", *held_out, "--eval_ladders=4", "--max_steps=2")
    trained = pretrain_contrastive.main(words)
    judged = objectives.judge(str(tmp_path / "model"), words)
    assert {"quality_correlation", "content_preference", "projection_spread"} <= judged.keys()
    assert judged == pytest.approx({name: trained[f"eval_{name}"] for name in judged}, rel=1e-4)


def test_a_learning_rate_is_chosen_by_the_mean_error_of_its_arm_and_head():
    errors = {2e-3: (0.9, 0.5), 5e-4: (0.6, 0.6)}
    figures = {
        ("scratch", "random head", rate, clips): {"rmse": rmse, "srcc": 0.5}
        for rate, pair in errors.items()
        for clips, rmse in zip((100, 1000), pair, strict=True)
    }
    best = learning_rates.best_rates(figures)
    assert best == {("scratch", "random head"): 5e-4}
    assert "| scratch | random head | **0.0005** | 0.600 | 0.500 |" in learning_rates.markdown(figures, best)


def test_no_clip_that_learning_rates_are_judged_by_is_learned(tmp_path: Path):
    paths = study_corpus(tmp_path / "corpus")
    given = {name: paths[name] for name in ("speech", "noise", "p835", "sim_train", "sim_test")}
    args = learning_rates.RateArguments(str(tmp_path), **given, seeds=[0, 1], budgets=[2, 6], held_back=3)
    stage1, stage2 = learning_rates.plan(args)
    assert (len(stage1), len(stage2)) == (2, 2 * 2 * 2 * 2 * 3)
    for job in stage2.values():
        (path,) = (word.removeprefix("--ratings=") for word in job.arguments if word.startswith("--ratings="))
        learned, judged = ({row["file"] for row in read_table(table)} for table in (path, job.tests["test"]))
        assert len(judged) == 3
        assert not learned & judged
    with pytest.raises(ValueError, match="1 folders for 2 seeds"):
        learning_rates.plan(replace(args, pretrained=["elsewhere"]))


def test_a_report_holds_what_changes_its_runs_and_no_path():
    args = claim.ClaimArguments("out/runs", "speech.csv", "n/noise.csv", "p", "a/b", "c/d", jobs=2, pretrained=["x/y"])
    settings = settings_of(args)
    assert settings["learning_rate"] == 2e-3
    assert settings["budgets"] == args.budgets
    assert not {"output_dir", "noise", "sim_train", "pretrained", "jobs"} & set(settings)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Two steps of everything, on seconds of audio."""
    paths = study_corpus(tmp_path / "corpus")
    arguments = [f"--{name}={path}" for name, path in paths.items() if name != "slotest"]
    folders = [f"--output_dir={tmp_path / 'out'}", f"--results_dir={tmp_path / 'results'}"]
    return [*arguments, *folders, "--stage1_steps=2", "--steps=2", "--eval_ladders=2", "--jobs=2"]


@pytest.mark.slow
def test_two_steps_of_the_claim_end_in_a_report(tmp_path: Path, words: list[str]):
    options = ["--seeds", "0", "--budgets", "8", "0", "--objective", "distortions=noise", "duration_s=0.8"]
    slotest = f"--slotest={tmp_path / 'corpus' / 'rated' / 'ratings.csv'}"
    claim.main([*words, *options, slotest])
    report = json.loads((tmp_path / "results" / "claim.json").read_text())
    clips = {name: table["clips"] for name, table in report["tables"].items()}
    assert clips == {"slotest": 8, "p835": 4, "simulated-8": 16, "simulated-all": 16}
    assert "eval_quality_correlation" in report["pretraining"]["stage1/0"]
    assert (tmp_path / "results" / "claim.png").stat().st_size > 0


@pytest.mark.slow
def test_two_steps_of_ablations_and_of_scaling_end_in_reports(tmp_path: Path, words: list[str]):
    options = ["--seeds", "0", "--budget=8"]
    beside = [f"all distortions, masked {what} and package's objective" for what in ("prediction", "levels")]
    variants = ["severity, supervised", "masked prediction", "any SNR of the same content", *beside]
    ablations.main([*words, *options, "--variants", *variants])
    report = json.loads((tmp_path / "results" / "ablations.json").read_text())["variants"]
    assert set(report) == {"paper", "scratch", *variants}
    assert len(report["severity, supervised"]["distances"]["unseen distortions"]) == 1
    scaling.main([*words, *options, "--multiples", "1", "2", "--sizes", "tiny"])
    curves = json.loads((tmp_path / "results" / "scaling.json").read_text())["curves"]
    assert {name: set(one["srcc"]) for name, one in curves.items()} == {
        "tiny, p835": {"0", "2", "4"},
        "tiny, simulated": {"0", "2", "4"},
    }


@pytest.mark.slow
def test_two_steps_at_every_learning_rate_end_in_a_report(tmp_path: Path, words: list[str]):
    options = ["--seeds", "0", "--budgets", "4", "--held_back", "3", "--rates", "2e-3", "5e-4"]
    learning_rates.main([*words, *options])
    report = json.loads((tmp_path / "results" / "learning_rates.json").read_text())
    assert len(report["runs"]) == 2 * 2 * 2
    assert {row["learning_rate"] for row in report["best"]} <= {2e-3, 5e-4}
