"""The quality gate: thresholds, baselines and their test, JUnit and JSON, exit codes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small import SAMPLING_RATE, small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression
from jsqa_hf.baseline import Baseline, compare_with_baseline, read_baseline, write_baseline
from jsqa_hf.cli import main
from jsqa_hf.gate import GateOptions, GateResult, check_scores
from jsqa_hf.gate_formats import as_json, as_junit, as_text
from jsqa_hf.scoring import FileScore, score_files

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def scored(**mos: float | None) -> list[tuple[str, FileScore, float]]:
    """Files by name (`__` is a folder's end), None for one that couldn't be rated."""
    return [
        (
            (file := name.replace("__", "/")),
            FileScore(file, {}, None, "is not audio") if value is None else FileScore(file, {"mos": value}, 1.0),
            0.25,
        )
        for name, value in mos.items()
    ]


# Thresholds.


def test_every_file_must_reach_the_lowest_mos() -> None:
    result = check_scores(scored(a=3.5, b=3.4999, c=3.49996), GateOptions(min_mos=3.5))
    assert [file.passed for file in result.files] == [True, False, True]
    assert result.files[1].failure == "MOS 3.4999 is below 3.5"
    assert not result.passed
    assert check_scores(scored(a=3.5, b=4.0), GateOptions(min_mos=3.5)).passed
    assert check_scores(scored(a=1.0), GateOptions()).passed


def test_the_mean_of_all_and_of_each_folder_must_not_be_under_the_limit() -> None:
    files = scored(a=4.0, x__b=4.0, x__c=4.0, y__d=2.0)
    result = check_scores(files, GateOptions(fail_under=3.5))
    assert [(verdict.name, verdict.passed) for verdict in result.verdicts] == [("mean MOS", True)]
    assert all(file.passed for file in result.files)
    assert result.passed
    result = check_scores(files, GateOptions(fail_under=3.5, by_folder=True))
    assert {verdict.name: verdict.passed for verdict in result.verdicts} == {
        "mean MOS": True,
        "mean MOS of folder .": True,
        "mean MOS of folder x": True,
        "mean MOS of folder y": False,
    }
    assert not result.passed
    assert "2.0000 is below 3.5" in result.verdicts[-1].message
    assert not check_scores(scored(a=3.0, b=3.9), GateOptions(fail_under=3.5)).passed


def test_a_file_that_can_not_be_rated_fails_whatever_is_asked() -> None:
    result = check_scores(scored(a=4.0, b=None), GateOptions())
    assert [file.passed for file in result.files] == [True, False]
    assert result.mos == {"a": 4.0}
    assert not result.passed
    nothing = check_scores(scored(a=None), GateOptions(fail_under=1.0), Baseline({"a": 4.0}))
    assert nothing.verdicts[0].message == "no file could be rated"
    assert nothing.comparison is None


# The test against a baseline.


def against(differences: list[float], max_drop: float = 0.0, alpha: float = 0.05):
    names = [f"{number}.wav" for number in range(len(differences))]
    baseline = Baseline(dict.fromkeys(names, 3.0))
    mos = {name: 3.0 + change for name, change in zip(names, differences, strict=True)}
    return compare_with_baseline(mos, baseline, max_drop=max_drop, alpha=alpha)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-15000, 15000), min_size=1, max_size=8), st.integers(0, 10))
def test_the_p_value_is_the_share_of_sign_flips_with_as_low_a_mean(changes: list[int], drop: int) -> None:
    result = against([change / 10_000 for change in changes], max_drop=drop / 10)
    # In units of 1/10000 MOS, where sums are exact.
    shifted = [change + 1000 * drop for change in changes]
    sums = [
        sum(sign * value for sign, value in zip(signs, shifted, strict=True))
        for signs in itertools.product((1, -1), repeat=len(shifted))
    ]
    assert result.p_value == pytest.approx(np.mean([total <= sum(shifted) for total in sums]))
    assert result.mean_difference == pytest.approx(np.mean(changes) / 10_000)


def test_with_many_files_it_agrees_with_student_and_is_the_same_every_time() -> None:
    changes = np.random.default_rng(1).normal(-0.05, 0.3, 150).round(4)
    result = against(changes.tolist())
    assert result.p_value == pytest.approx(stats.ttest_1samp(changes, 0, alternative="less").pvalue, abs=0.01)
    interval = stats.ttest_1samp(changes, 0).confidence_interval(0.95)
    assert result.interval == pytest.approx((interval.low, interval.high))
    assert result.effect_size == pytest.approx(changes.mean() / changes.std(ddof=1))
    assert against(changes.tolist()) == result


def test_it_rejects_an_unchanged_mean_as_rarely_as_alpha_says() -> None:
    rng = np.random.default_rng(2)
    found = [against(rng.normal(0, 0.3, 8).tolist(), alpha=0.1).is_worse for _ in range(200)]
    # Within three standard errors.
    assert abs(np.mean(found) - 0.1) < 0.065


def test_only_a_drop_that_is_larger_than_allowed_is_worse() -> None:
    assert against([-0.3, -0.2, -0.25, -0.31, -0.22, -0.27]).is_worse
    assert against([-0.3, -0.2, -0.25, -0.31, -0.22, -0.27], max_drop=0.1).is_worse
    assert not against([-0.3, -0.2, -0.25, -0.31, -0.22, -0.27], max_drop=0.3).is_worse
    assert not against([0.3, 0.2, 0.25, 0.31, 0.22, 0.27]).is_worse
    equal = against([0.0] * 6)
    assert equal.p_value == 1
    assert equal.effect_size is None
    same_drop = against([-0.2] * 6)
    assert same_drop.p_value == 1 / 64
    assert same_drop.is_worse
    assert same_drop.effect_size is None


def test_it_says_when_there_are_too_few_files_to_tell() -> None:
    few = against([-2.0] * 4)
    assert (few.is_worse, few.can_tell) == (False, False)
    assert against([-2.0] * 5).can_tell
    assert not against([-0.1] * 20, alpha=0.00009).can_tell
    assert against([-2.0]).interval is None
    result = check_scores(scored(a=1.0), GateOptions(), Baseline({"a": 3.0}))
    assert "which so few files can't be" in result.verdicts[0].message


def test_files_are_matched_by_name_and_others_are_listed() -> None:
    baseline = Baseline({"a": 3.0, "gone": 3.0, "bad": 3.0})
    result = compare_with_baseline({"a": 3.1, "new": 1.0, "bad": None}, baseline, max_drop=0, alpha=0.05)
    assert result.differences == {"a": 0.1}
    assert result.added == ["new"]
    assert result.missing == ["gone"]
    with pytest.raises(ValueError, match="no file of this run is in the baseline"):
        compare_with_baseline({"new": 1.0}, baseline, max_drop=0, alpha=0.05)
    for drop in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"`max_drop` must not be below 0, and be finite, but is {drop}"):
            compare_with_baseline({"a": 1.0}, baseline, max_drop=drop, alpha=0.05)
    with pytest.raises(ValueError, match="`alpha` must lie between 0 and 1"):
        compare_with_baseline({"a": 1.0}, baseline, max_drop=0, alpha=1)


# Stored baselines.


def test_a_baseline_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9\n.wav")
    write_baseline(tmp_path / "b.json", {"x/a.wav": 3.123456, odd: 2.0}, "abc")
    assert read_baseline(tmp_path / "b.json", []) == Baseline({"x/a.wav": 3.1235, odd: 2.0}, "abc")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    (tmp_path / "link.json").symlink_to("b.json")
    write_baseline(tmp_path / "link.json", {"y.wav": 2.0}, "abc")
    assert (tmp_path / "link.json").is_symlink()
    assert read_baseline(tmp_path / "b.json", []) == Baseline({"y.wav": 2.0}, "abc")


@pytest.mark.parametrize(
    ("files", "names", "expected"),
    [
        (["old/a.wav", "old/x/b.wav", "old/gone.wav"], ["a.wav", "x/b.wav"], ["a.wav", "x/b.wav", "gone.wav"]),
        (["/data/old/x/a.wav", "/data/old/x/b.wav"], ["x/a.wav", "x/b.wav"], ["x/a.wav", "x/b.wav"]),
        (["a.wav", "b.wav"], ["a.wav"], ["a.wav", "b.wav"]),
        # The same name in two folders: most files decide.
        (["o/a.wav", "o/x/a.wav", "o/x/b.wav"], ["a.wav", "x/a.wav", "x/b.wav"], ["a.wav", "x/a.wav", "x/b.wav"]),
        (["old/a.wav"], ["z.wav"], ["old/a.wav"]),
    ],
)
def test_the_folder_of_a_table_of_scores_is_taken_off(
    tmp_path: Path, files: list[str], names: list[str], expected: list[str]
) -> None:
    rows = [f"{name},3.5,3.0,4.0,1.0," for name in files]
    (tmp_path / "s.csv").write_text("\r\n".join(["file,mos,mos_low,mos_high,duration_s,error", *rows, ""]))
    baseline = read_baseline(tmp_path / "s.csv", names)
    assert list(baseline.mos) == expected
    assert baseline.fingerprint is None


def test_of_several_folders_with_the_same_names_the_one_that_is_checked_counts(tmp_path: Path) -> None:
    table = tmp_path / "s.csv"
    rows = [f"out/{system}/{name}.wav,{mos},{mos},{mos},1," for system, mos in (("a", 3), ("b", 4)) for name in "xy"]
    table.write_text("\n".join(["file,mos,mos_low,mos_high,duration_s,error", *rows]))
    names = ["x.wav", "y.wav"]
    assert read_baseline(table, names, tmp_path / "out" / "b").mos == {"x.wav": 4.0, "y.wav": 4.0}
    assert read_baseline(table, names, tmp_path / "out" / "a").mos == {"x.wav": 3.0, "y.wav": 3.0}
    with pytest.raises(ValueError, match="several folders, out/a/, out/b/, of which none"):
        read_baseline(table, names, tmp_path / "elsewhere")
    both = [f"{system}/{name}" for system in "ab" for name in names]
    assert read_baseline(table, both, tmp_path / "elsewhere").mos == dict(zip(both, (3.0, 3.0, 4.0, 4.0), strict=True))


def test_a_folder_in_the_checked_one_that_has_its_name_is_part_of_the_run(tmp_path: Path) -> None:
    def read(files: list[str], names: list[str]) -> list[str]:
        rows = [f"{name},3.5,3.0,4.0,1.0," for name in files]
        (tmp_path / "s.csv").write_text("\n".join(["file,mos,mos_low,mos_high,duration_s,error", *rows]))
        return list(read_baseline(tmp_path / "s.csv", names, tmp_path / "out").mos)

    # Made in the folder: unchanged, and with a file that is gone.
    for names in (["a.wav", "b.wav", "out/a.wav"], ["a.wav", "out/a.wav"]):
        assert read(["a.wav", "b.wav", "out/a.wav"], names) == ["a.wav", "b.wav", "out/a.wav"]
    # Made in the folder above, which has files of these names, too.
    assert read(["a.wav", "b.wav", "out/a.wav"], ["a.wav", "b.wav"]) == ["a.wav"]
    assert read(["out/a.wav", "out/out/a.wav"], ["a.wav", "out/a.wav"]) == ["a.wav", "out/a.wav"]


def test_what_is_no_baseline_is_refused_by_name(tmp_path: Path) -> None:
    for content in ("text", "[]", "{}", '{"format": "other", "mos": {}}', '{"format": "jsqa-baseline-1", "mos": []}'):
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(ValueError, match=r"b\.json: is neither a baseline"):
            read_baseline(tmp_path / "b.json", [])
    write_baseline(tmp_path / "b.json", {}, "abc")
    with pytest.raises(ValueError, match="holds no scores"):
        read_baseline(tmp_path / "b.json", [])
    write_baseline(tmp_path / "b.json", {"a.wav": 3.0, "b.wav": float("nan")}, "abc")
    with pytest.raises(ValueError, match=r"b\.json: the score of b\.wav is nan"):
        read_baseline(tmp_path / "b.json", [])
    for content, complaint in (
        ("file,mos,mos_low,mos_high,duration_s,error\nb.wav,nan,3,4,1,\n", "line 2: mos is 'nan'; leave it empty"),
        ("file;mos\na.wav;3\n", r"line 2: the column 'file' is missing among \['file;mos'\]"),
        ("file,mos,error\na.wav,3\n", "line 2: has fewer cells"),
        ("file,mos\na.wav,3\na.wav,1\n", "line 3: a.wav is there twice"),
        ("file,mos\na.wav,3\n./a.wav,1\n", "line 3: ./a.wav is there twice"),
    ):
        (tmp_path / "b.csv").write_text(content)
        with pytest.raises(ValueError, match=rf"b\.csv, {complaint}"):
            read_baseline(tmp_path / "b.csv", [])
    (tmp_path / "b.parquet").write_text("text")
    with pytest.raises(ValueError, match=r"b\.parquet: is not Parquet"):
        read_baseline(tmp_path / "b.parquet", [])


def test_of_a_table_of_scores_file_and_mos_are_enough_and_its_own_columns_are_left_alone(tmp_path: Path) -> None:
    table = tmp_path / "s.csv"
    for content in ("file,mos\na.wav,3\n", "file,system,mos,error\na.wav,codec,3,\nb.wav,codec,,is empty\n"):
        table.write_text(content)
        assert read_baseline(table, ["a.wav"]) == Baseline({"a.wav": 3.0})


# What is written.


ODD = "x/" + os.fsdecode(b"a\xe9<&>\"'\x1b[2J\x00") + "\ufffe]]>.wav"


@pytest.fixture
def result() -> GateResult:
    files = [*scored(a=2.0, x__b=4.0), (ODD, FileScore(ODD, {}, None, "bad \x01 & <worse>"), 1.0)]
    return check_scores(files, GateOptions(min_mos=3.0, fail_under=3.5, by_folder=True), Baseline({"a": 4.0, "z": 1}))


def test_junit_has_a_case_for_each_file_and_check_and_counts_them(result: GateResult) -> None:
    suites = ElementTree.fromstring(as_junit(result, STARTED))
    (suite,) = suites
    assert (suites.tag, suite.tag) == ("testsuites", "testsuite")
    # In the order that the schema of Ant asks for.
    assert [child.tag for child in suite if child.tag != "testcase"] == ["properties", "system-out", "system-err"]
    cases = suite.findall("testcase")
    assert all(set(case.attrib) == {"classname", "name", "time"} for case in cases)
    assert [(case.get("classname"), case.get("name")) for case in cases[:2]] == [("files", "a"), ("files/x", "b")]
    assert len(cases) == len(result.files) + len(result.verdicts) == 7
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time", "timestamp")} == {
        "tests": "7",
        "failures": str(len(suite.findall("testcase/failure"))),
        "errors": str(len(suite.findall("testcase/error"))),
        "skipped": "0",
        "time": "1.500",
        "timestamp": "2026-01-02T03:04:05",
    }
    assert suite.get("failures") == "3"
    assert suite.get("errors") == "1"
    assert cases[0].find("failure").get("message") == "MOS 2.0000 is below 3"
    assert len(cases[1]) == 0


def test_junit_escapes_what_xml_does_not_take(result: GateResult) -> None:
    document = as_junit(result, STARTED)
    case = ElementTree.fromstring(document)[0].findall("testcase")[2]
    assert case.get("name") == "a\\udce9<&>\"'\\x1b[2J\\x00\\ufffe]]>.wav"
    assert case.find("error").text == "bad \\x01 & <worse>"
    assert not set(document) & (set(range(32)) - {10})


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_junit_takes_any_name_and_reason(name: str, reason: str) -> None:
    made = as_junit(check_scores([(name, FileScore(name, error=reason), 0.0)], GateOptions()), STARTED)
    assert ElementTree.fromstring(made)[0].get("errors") == "1"


def test_json_holds_scores_reasons_and_figures(result: GateResult) -> None:
    content = json.loads(as_json(result, GateOptions(min_mos=3.0), "abc"))
    assert content["passed"] is False
    assert content["options"]["min_mos"] == 3.0
    assert content["model_fingerprint"] == "abc"
    assert [file["file"] for file in content["files"]] == ["a", "x/b", ODD]
    assert [file["reason"] for file in content["files"]] == ["MOS 2.0000 is below 3", None, "bad \x01 & <worse>"]
    assert content["files"][0]["mos"] == 2.0
    assert content["baseline"]["mean_difference"] == -2.0
    assert content["baseline"]["missing"] == ["z"]
    assert len(content["verdicts"]) == 4


def test_lines_name_what_failed_and_are_not_endless(result: GateResult) -> None:
    text = as_text(result)
    assert text.startswith("FAILED a: MOS 2.0000 is below 3\nFAILED x/a")
    assert "\x1b" not in text
    assert "missing z" in text
    assert "largest drop -2.0000 a" in text
    assert text.endswith("FAILED: 1 of 3 files are good enough, 2 of 4 checks failed")
    many = check_scores(scored(**{f"f{number}": 1.0 for number in range(50)}), GateOptions(min_mos=2.0))
    assert as_text(many).splitlines()[-2:] == [
        "... and 30 more files that failed",
        "FAILED: 0 of 50 files are good enough",
    ]
    assert as_text(check_scores(scored(a=3.0), GateOptions())) == "passed: 1 of 1 files are good enough"


# The command.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MOS model whose scores differ from clip to clip."""
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config())
    with torch.no_grad():
        model.head.output.weight[0].mul_(50.0)
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    JSQAFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with clips in `out`."""
    for number, name in enumerate(["a.wav", "x/b.wav", "x/c.wav"]):
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(number).normal(0, 0.02 * (1 + 3 * number), SAMPLING_RATE // 2)
        soundfile.write(path, samples, SAMPLING_RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Check = Callable[..., int]


@pytest.fixture
def check(checkpoint: Path) -> Check:
    """`jsqa check out` with that model, on the CPU."""
    return lambda *arguments: main(["check", "out", "--model", str(checkpoint), "--device", "cpu", *arguments])


def test_the_exit_code_and_the_files_tell_the_result(
    check: Check, folder: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a.wav", "x/b.wav", "x/c.wav"]
    scores = [
        result.scores["mos"] for result in score_files([f"out/{name}" for name in names], checkpoint, device="cpu")
    ]
    assert max(scores) - min(scores) > 0.01
    limit = (max(scores) + min(scores)) / 2
    assert check("--min-mos", f"{limit}", "--junit", "r.xml", "--json", "r.json") == 1
    failed = [name for name, mos in zip(names, scores, strict=True) if mos < limit]
    content = json.loads((folder / "r.json").read_text())
    assert [file["file"] for file in content["files"] if not file["passed"]] == failed
    assert [file["mos"] for file in content["files"]] == pytest.approx(scores, abs=1e-4)
    suite = ElementTree.parse(folder / "r.xml").getroot()[0]
    assert int(suite.get("failures")) == len(failed)
    assert "FAILED: " in capsys.readouterr().out
    assert check("--min-mos", f"{min(scores) - 0.01}", "--fail-under", f"{np.mean(scores) - 0.01}") == 0
    assert capsys.readouterr().out.endswith("passed: 3 of 3 files are good enough, 0 of 1 checks failed\n")
    assert check("--fail-under", f"{np.mean(scores) + 0.01}") == 1


def test_a_run_equals_its_own_baseline_and_others_are_told_apart(
    check: Check, folder: Path, checkpoint: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check("--save-baseline", "b.json") == 0
    assert check("--baseline", "b.json", "--max-drop", "0", "--json", "r.json") == 0
    content = json.loads((folder / "r.json").read_text())
    assert content["baseline"]["differences"] == {"a.wav": 0.0, "x/b.wav": 0.0, "x/c.wav": 0.0}
    # What another run of the same model scored higher.
    stored = json.loads((folder / "b.json").read_text())
    stored["mos"] = {name: value + 0.5 for name, value in stored["mos"].items()}
    (folder / "high.json").write_text(json.dumps(stored))
    assert check("--baseline", "high.json", "--alpha", "0.2") == 1
    assert "FAILED mean MOS against the baseline: -0.5000 MOS over 3 files" in capsys.readouterr().out
    assert check("--baseline", "high.json", "--alpha", "0.2", "--max-drop", "0.6") == 0
    # The new baseline takes the place of the old one.
    assert check("--baseline", "high.json", "--max-drop", "0.6", "--save-baseline", "high.json") == 0
    assert json.loads((folder / "high.json").read_text()) == json.loads((folder / "b.json").read_text())
    # A failed run doesn't become a baseline.
    assert check("--min-mos", "5", "--save-baseline", "b2.json") == 1
    assert "no baseline was stored" in capsys.readouterr().err
    assert not (folder / "b2.json").exists()
    assert main(["check", "out", "--model", str(small_checkpoint), "--device", "cpu", "--baseline", "b.json"]) == 2
    assert "another model" in capsys.readouterr().err
    assert check("--dtype", "bfloat16", "--baseline", "b.json") == 2
    assert "another model" in capsys.readouterr().err


def test_results_of_jsqa_score_are_a_baseline(
    check: Check, folder: Path, checkpoint: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(checkpoint), "--device", "cpu"]
    assert main(["score", "out", *model, "--output", "s.csv"]) == 0
    assert check("--baseline", "s.csv", "--max-drop", "0", "--json", "r.json") == 0
    content = json.loads((folder / "r.json").read_text())
    assert set(content["baseline"]["differences"].values()) == {0.0}
    assert content["baseline"]["added"] == content["baseline"]["missing"] == []
    assert main(["check", "out", "--model", str(small_checkpoint), "--device", "cpu", "--baseline", "s.csv"]) == 2
    assert "another model" in capsys.readouterr().err
    os.rename(folder / "s.csv.meta.json", folder / "elsewhere.json")
    assert check("--baseline", "s.csv") == 0
    assert "s.csv: nothing tells of which model it is; keep its .meta.json" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("option", ["--junit", "--json"])
def test_a_full_disk_is_told_with_the_file_and_the_verdict_is_not_lost(
    option: str, check: Check, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(option, "/dev/full") == 2
    told = capsys.readouterr()
    assert told.err == "jsqa: /dev/full: No space left on device\n"
    assert told.out == "passed: 3 of 3 files are good enough\n"


def test_a_bad_file_fails_the_gate_with_its_reason(
    check: Check, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out" / "text.wav").write_text("text")
    assert check("--junit", "r.xml") == 1
    assert "FAILED text.wav: is not audio" in capsys.readouterr().out
    suite = ElementTree.parse(folder / "r.xml").getroot()[0]
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-mos", "35"], "--min-mos is a MOS from 1 to 5"),
        (["--fail-under", "0.5"], "--fail-under is a MOS from 1 to 5"),
        (["--group-by", "folder"], "--group-by is about --fail-under"),
        (["--max-drop", "0.1"], "are about a --baseline"),
        (["--baseline", "missing.json"], "missing.json: No such file"),
        (["--baseline", "out/a.wav"], "neither a baseline"),
        (["--baseline", "missing.json", "--alpha", "2"], "--alpha must lie between 0 and 1"),
        (["--baseline", "missing.json", "--max-drop", "inf"], "--max-drop must not be below 0, and be finite, but is"),
        (["--junit", "nowhere/r.xml"], "no file can be written there"),
        (["--baseline", "b.json", "--json", "./b.json"], "--json ./b.json is one of the inputs"),
        (["--baseline", "b.json", "--junit", "b.json"], "--junit b.json is one of the inputs"),
        (["--json", "x", "--junit", "out/../x"], "--json x is also written by --junit: name two files"),
        (["--json", "x", "--save-baseline", "x"], "--save-baseline x is also written by --json"),
        (["--save-baseline", "b.csv"], "--save-baseline b.csv would be read as results of jsqa score"),
        (["--save-baseline", "b.JSONL"], "name a .json file"),
        (["--baseline", "b.parquet", "--save-baseline", "b.parquet"], "--save-baseline b.parquet would be read"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_rated(
    check: Check, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_gate_without_files_is_not_passed(
    folder: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    assert main(["check", "empty", "--model", str(checkpoint)]) == 2
    assert "there are no audio files" in capsys.readouterr().err
    assert main(["check", "missing"]) == 2
    assert "missing: no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_command_on_the_example_data(tmp_path: Path) -> None:
    speech = Path(__file__).parents[1] / "examples" / "data" / "p835" / "wb"
    for condition in ("c0", "c1"):
        (tmp_path / "out" / condition).mkdir(parents=True)
        for path in sorted(speech.glob(f"{condition}_*.flac")):
            (tmp_path / "out" / condition / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "jsqa_hf", "check", "out", "--device", "cpu", "--fail-under", "3.5"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)

    # Clean speech is rated above 3.5, speech in noise at 0 dB below; so on average they are not above.
    done = run("--group-by", "folder", "--junit", "r.xml", "--save-baseline", "b.json")
    assert done.returncode == 1
    assert "passed mean MOS of folder c0" in done.stdout
    assert "FAILED mean MOS of folder c1" in done.stdout
    assert ElementTree.parse(tmp_path / "r.xml").getroot()[0].get("tests") == "15"
    shutil.rmtree(tmp_path / "out" / "c1")
    done = run("--save-baseline", "b.json")
    assert (done.returncode, done.stderr) == (0, "")
    # Noise where there was none.
    for path in sorted(speech.glob("c1_*.flac")):
        (tmp_path / "out" / "c0" / path.name.replace("c1", "c0")).write_bytes(path.read_bytes())
    command[-2:] = []
    done = run("--baseline", "b.json")
    assert done.returncode == 1
    assert "FAILED mean MOS against the baseline" in done.stdout
