"""The claim repeated in one command: its steps, and the tables that it begins with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import claim
import map_ratings
import numpy as np
import pytest
import reproduce_claim
import simulated_ratings
import tables
import teacher_ratings
import workers
from micro import REPOSITORY, read_table, settings_of
from scipy import stats

from jsqa_hf.training import parse_arguments

ARGUMENTS = {
    "tables": tables.TableArguments,
    "simulated_ratings": simulated_ratings.SimulationArguments,
    "teacher_ratings": teacher_ratings.TeacherArguments,
    "map_ratings": map_ratings.MappingArguments,
    "claim": claim.ClaimArguments,
}
STUDY = REPOSITORY / "docs" / "results" / "study"
SCRIPTS = ["tables", *["simulated_ratings"] * 2, *["teacher_ratings"] * 4, *["map_ratings"] * 2, "claim"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Recordings without a sound, which the tables do not listen to."""
    folder = tmp_path / "data"
    for path in ("librispeech/train-clean-100/1-2-3", "librispeech/test-other/4/4-5-6", "picovoice/a"):
        (folder / path).parent.mkdir(parents=True)
        (folder / f"{path}.flac").touch()
    (folder / "rir").mkdir()
    written = {
        "noise": ["file,type", "a.flac,rain", "b.flac,train"],
        "p835": [
            "file,band,talker,condition,ovrl_mos",
            *(f"{talker}.flac,wb,{talker},c0,4" for talker in ("f1", "f3")),
        ],
        "slotest": ["file,talker,condition,mos", "a.flac,F1,C01,7", "b.flac,F2,C01,4"],
    }
    for name, lines in written.items():
        (folder / name).mkdir()
        (folder / name / ("noise.csv" if name == "noise" else "ratings.csv")).write_text("\n".join(lines) + "\n")
    return folder


def parsed(data: Path, **options: Any) -> list[tuple[str, Any]]:
    """Scripts with their arguments, as they would read them."""
    steps = reproduce_claim.plan(reproduce_claim.ReproductionArguments(str(data), "out", [7, 8], 2, **options))
    return [(script, parse_arguments((ARGUMENTS[script],), words)[0]) for script, words in steps]


def test_the_settings_are_those_of_the_figures_that_are_kept(data: Path):
    steps = parsed(data)
    assert [script for script, _ in steps] == SCRIPTS
    kept = json.loads((REPOSITORY / "docs" / "results" / "study" / "claim.json").read_text())
    *_, (_, args) = steps
    settings = {**settings_of(args), "pretrained_elsewhere": False, "seeds": kept["settings"]["seeds"]}
    assert {name: settings[name] for name in kept["settings"]} == kept["settings"]
    parts = [f"simulated-{budget or 'all'}" for budget in args.budgets]
    others = {"p835", "slotest", *(f"slotest {name}" for name in claim.DIMENSIONS)}
    assert set(kept["tables"]) == {*parts, *others}
    made = [(one.clips, one.seed, one.speech_split, one.split) for script, one in steps if script.startswith("sim")]
    assert made == [(1900, 0, "train", "train"), (300, 1, "test", "test")]
    assert (args.results, args.trial, args.seeds) == (Path("out", "results"), False, [7, 8])


def test_the_claim_is_made_at_every_rate_from_scratch_with_one_stage_1(data: Path):
    steps = parsed(data, stage1_steps=3200, scratch_learning_rate=[2e-3, 5e-4])
    assert [script for script, _ in steps] == [*SCRIPTS, "claim"]
    (_, first), (_, second) = steps[-2:]
    assert first.pretrained is None
    assert second.pretrained == [f"{first.output_dir}/stage1/{seed}" for seed in first.seeds]
    assert first.output_dir != second.output_dir and first.results != second.results
    for name, args in (("", first), ("_same_rate", second)):
        kept = report_of(f"claim_longer_pretraining{name}")["settings"]
        same = ("learning_rate", "scratch_learning_rate", "stage1_steps", "steps", "fit_head", "parts")
        assert {option: getattr(args, option) for option in same} == {option: kept[option] for option in same}
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "reproduce_claim.py --stage1_steps 3200 --scratch_learning_rate 2e-3 5e-4`" in page


def test_every_step_takes_what_those_before_it_make(data: Path):
    for quick in (False, True):
        steps = parsed(data, quick=quick)
        made = {f"out/tables/{name}.csv" for name in ("speech", "noise", "p835", "slotest")}
        for script, args in steps[1:]:
            names = ("speech", "noise", "ratings", "simulated", "p835", "slotest", "sim_train", "sim_test")
            for taken in (getattr(args, name, None) for name in names):
                assert made.issuperset([] if taken is None else [taken] if isinstance(taken, str) else taken)
            if script == "simulated_ratings":
                made.add(f"{args.output_dir}/ratings.csv")
            elif script == "map_ratings":
                made.add(str(Path(args.simulated).with_name("mapped.csv")))


def test_a_quick_run_is_small_and_called_a_trial(data: Path):
    steps = parsed(data, quick=True)
    *_, (_, args) = steps
    assert args.trial and args.parts == ["simulated"] and args.stage1_steps < 10
    assert max(one.clips for script, one in steps if script == "simulated_ratings") < 100


def test_without_slotest_all_other_parts_are_done(data: Path):
    (data / "slotest" / "ratings.csv").unlink()
    (data / "slotest").rmdir()
    *_, (_, args) = parsed(data)
    assert args.slotest is None and "p835" in args.parts


def test_the_steps_are_done_in_their_order(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    monkeypatch.setattr(reproduce_claim, "require_bench", lambda *modules, **options: None)
    monkeypatch.setattr(
        reproduce_claim,
        "importlib",
        SimpleNamespace(import_module=lambda name: SimpleNamespace(main=lambda words: done.append(name))),
    )
    reproduce_claim.main([f"--data={data}", f"--output_dir={tmp_path}", "--seeds", "7"])
    assert done == SCRIPTS


def test_without_a_codec_of_the_claim_nothing_begins(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = {"lc3": None}
    monkeypatch.setattr(
        workers, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda it: found.get(it, it)))
    )
    with pytest.raises(ImportError, match=r"^lc3 missing: .*\[degrade\]"):
        reproduce_claim.main([f"--data={data}", f"--output_dir={tmp_path / 'out'}", "--seeds", "7"])
    assert not (tmp_path / "out").exists()


def test_tables_share_no_talker_and_no_kind_of_noise(data: Path, tmp_path: Path):
    tables.main([f"--data={data}", f"--output_dir={tmp_path / 'tables'}"])
    for name, what in {"speech": "speaker_id", "noise": "type", "p835": "talker", "slotest": "talker"}.items():
        rows = read_table(tmp_path / "tables" / f"{name}.csv")
        train, test = ({row[what] for row in rows if row["split"] == split} for split in ("train", "test"))
        assert train and test and not train & test
    assert {row["mos"] for row in read_table(tmp_path / "tables" / "slotest.csv")} == {"5.0000", "3.0000"}


def test_tables_without_rows_of_a_split_are_refused(data: Path, tmp_path: Path):
    with open(data / "noise" / "noise.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file", "type"], ["a.flac", "rain"]])
    with pytest.raises(ValueError, match="no noise to test on"):
        tables.main([f"--data={data}", f"--output_dir={tmp_path / 'tables'}"])


def report_of(name: str) -> dict[str, Any]:
    """A result of the study that is kept."""
    return json.loads((STUDY / f"{name}.json").read_text())


def test_the_pages_tell_how_long_the_kept_runs_of_stage_1_took() -> None:
    runs = [run for name in ("claim", "claim_new_seeds") for run in report_of(name)["pretraining"].values()]
    minutes = [run["train_runtime"] * 3200 / run["train_steps"] / 60 for run in runs]
    told = f"{min(minutes):.0f} to {max(minutes):.0f} minutes of one core"
    for page in ("README.md", "docs/pretraining.md"):
        assert told in " ".join((REPOSITORY / page).read_text(encoding="utf-8").split())


def test_the_readme_tells_what_the_seeds_alone_say_of_the_first_row() -> None:
    rmse = report_of("claim_longer_pretraining")["tables"]["simulated-100"]["metrics"]["rmse"]
    seeds = stats.ttest_rel(rmse["treated_runs"], rmse["control_runs"])
    low, high = (100 * end / rmse["control"] for end in seeds.confidence_interval())
    page = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    assert f"than one over its five seeds alone, {low:.1f} to {high:.1f} % (p {seeds.pvalue:.2f})" in page


def test_the_readme_tells_what_longer_fine_tuning_leaves_and_whether_clearly() -> None:
    page = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    short, long, same = (report_of(name)["tables"] for name in ("claim", "claim_more_steps", "claim_same_rate"))
    rmse = {
        name: [100 * -part[name]["metrics"]["rmse"]["relative_change"] for part in (long, short)]
        for name in ("simulated-100", "simulated-1000")
    }
    (few, of_few), (many, of_many) = rmse.values()
    assert f"{few:.0f} and {many:.0f} % are left of {of_few:.0f} and {of_many:.0f} after 960" in page
    assert not any(long[name]["metrics"]["rmse"]["clear"] for name in rmse) and "no longer clearly" in page
    # From scratch at the better of two rates.
    better = [
        min((part[name]["metrics"]["rmse"] for part in (short, same)), key=lambda one: one["control"]) for name in same
    ]
    falls = [100 * -one["relative_change"] for one in better]
    assert f"After 800 steps RMSE falls by {min(falls):.0f} to {max(falls):.0f} %" in page


def test_the_pages_count_the_figures_of_tests_rated_by_people_that_are_better_from_scratch() -> None:
    readme, page = (
        " ".join((REPOSITORY / name).read_text(encoding="utf-8").split())
        for name in ("README.md", "docs/pretraining.md")
    )
    told = []
    for name in ("claim", "claim_longer_pretraining"):
        tables = {test: one for test, one in report_of(name)["tables"].items() if not test.startswith("simulated")}
        figures = [(test, one) for test, table in tables.items() for one in table["metrics"].values()]
        assert len(figures) == 24
        scratch = [one["better"] == "control" for _, one in figures]
        low = [(test, one["better"]) for test, one in figures if one["t_test_p"] < 0.05]
        told.append((sum(scratch), sum(one["clear"] for _, one in figures), low))
    (short, none, of_short), (long, one, of_long) = told
    assert none == 0 and f"training from scratch is better in {short}, in none clearly; in two the paired" in page
    assert sorted(better for _, better in of_short) == ["control", "treated"]
    assert one == 1 and f"Of their 24 figures {long} are better from scratch, one of them clearly" in page
    assert len(of_long) == 7 and "in all seven it is for training from scratch" in page
    assert all(test.startswith("slotest ") and better == "control" for test, better in of_long)
    assert f"of 24 figures {long} are better from scratch, though only one clearly" in readme


def test_the_page_tells_where_more_pretraining_helps_on_ratings_of_people() -> None:
    page = " ".join((REPOSITORY / "docs" / "pretraining.md").read_text(encoding="utf-8").split())
    curve = report_of("scaling_longer")["curves"]["tiny, p835"]
    power, (least, most) = curve["law"]["b"], curve["law"]["b_interval"]
    scratch, *pretrained = (f"{np.mean(curve['srcc'][steps]):.3f}" for steps in ("0", "200", "800", "3200"))
    assert (
        f"On P.835 more pretraining helps as well (to the power of -{power:.2f}, -{most:.2f} to -{least:.2f}): "
        f"{', '.join(pretrained[:2])} and {pretrained[2]}, but from scratch it is {scratch}." in page
    )
