"""Comparing clips in JNDs: two of them, and each of many with every other."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SAMPLING_RATE, small_config

import jsqa_hf
from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining, JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf import comparison as module
from jsqa_hf.cli import main
from jsqa_hf.comparison import Comparer, Comparison, compare, load_comparer
from jsqa_hf.comparison_formats import as_text
from jsqa_hf.jnd_matrix import ProjectedFiles, find_outliers, jnd_rows, project_files
from jsqa_hf.scoring import NothingFound
from jsqa_hf.speech_activity import Activity

# Small enough that clips of the small, untrained model lie on it.
CALIBRATION = {"distances": [0.0, 0.1, 0.4], "jnds": [0.0, 1.0, 7.0], "error_jnds": 0.5}


SPEECH = Path(__file__).resolve().parents[1] / "examples" / "data" / "speech"


def noise(seconds: float = 0.5, seed: int = 0, level: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, int(seconds * SAMPLING_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def contrastive() -> JSQAForContrastivePretraining:
    torch.manual_seed(1)
    return JSQAForContrastivePretraining(small_config(jnd_calibration=CALIBRATION)).eval()


@pytest.fixture(scope="module")
def checkpoint(contrastive: JSQAForContrastivePretraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrastive")
    contrastive.save_pretrained(folder)
    JSQAFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rate() -> SpeechQualityPipeline:
    """A MOS model whose scores differ from clip to clip; what panels differ by is no error between two clips."""
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config(mos_panel_std=1.0)).eval()
    with torch.no_grad():
        model.head.output.weight[0].mul_(50.0)
        model.head.output.bias[1] = -4.0
    return SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), device="cpu")


@pytest.fixture(scope="module")
def comparer(contrastive: JSQAForContrastivePretraining, rate: SpeechQualityPipeline) -> Comparer:
    return Comparer(contrastive, rate)


def test_two_clips_are_as_far_apart_as_the_model_says_on_its_scale(comparer: Comparer) -> None:
    a, b = noise(), noise(0.8, seed=1, level=0.2)
    result = comparer.compare(a, b)
    expected = comparer.model.compare(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    assert float(expected.distances) > 0.01
    assert result.jnds == pytest.approx(float(expected.jnds), abs=1e-4)
    assert result.probability_noticed == pytest.approx(float(expected.probability_noticed), abs=1e-4)
    assert result.jnds_error == 0.5


def test_the_better_clip_is_the_one_that_the_pipeline_rates_higher(
    comparer: Comparer, rate: SpeechQualityPipeline
) -> None:
    a, b = noise(), noise(0.8, seed=1, level=0.2)
    scores = {"a": rate(a), "b": rate(b)}
    result = comparer.compare(a, b)
    assert result.mos_a == pytest.approx(scores["a"]["mos"], abs=1e-6)
    assert result.mos_b == pytest.approx(scores["b"]["mos"], abs=1e-6)
    assert result.better == max(scores, key=lambda name: scores[name]["mos"])
    # Independently, by drawing opinions of both from the Gaussians that the model predicts.
    rng, draws = np.random.default_rng(0), {}
    for name, audio in (("a", a), ("b", b)):
        output = rate.model(torch.from_numpy(audio)[None])
        draws[name] = rng.normal(output.scores.item(), output.variances.item() ** 0.5, 200_000)
    worse = "b" if result.better == "a" else "a"
    assert 0.55 < result.better_confidence < 1
    assert result.better_confidence == pytest.approx(np.mean(draws[result.better] > draws[worse]), abs=0.01)


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0.1, 0.6))
def test_the_order_of_the_two_does_not_matter(comparer: Comparer, seed: int, other: int, seconds: float) -> None:
    a, b = noise(0.5, seed), noise(seconds, other, level=0.1)
    forth, back = comparer.compare(a, b), comparer.compare(b, a)
    assert forth.jnds == back.jnds
    assert forth.better != back.better
    assert (forth.mos_a, forth.mos_b) == (back.mos_b, back.mos_a)
    assert forth.better_confidence == back.better_confidence >= 0.5


@pytest.mark.parametrize("seconds", [0.5, 31.0])
def test_a_clip_is_nothing_apart_from_itself(comparer: Comparer, seconds: float) -> None:
    clip = noise(seconds)
    result = comparer.compare(clip, clip.copy())
    assert result.jnds == result.probability_noticed == 0
    assert result.below_one_jnd
    assert result.better_confidence == 0.5


def test_windows_of_a_long_clip_count_as_in_its_score(
    comparer: Comparer, contrastive: JSQAForContrastivePretraining, rate: SpeechQualityPipeline
) -> None:
    narrow = SpeechQualityPipeline(
        model=rate.model, feature_extractor=rate.feature_extractor, device="cpu", window_s=1.0
    )
    clip = np.concatenate([noise(1.2, 0), noise(1.2, 1, level=0.3)])
    long = Comparer(contrastive, narrow)
    # Independently: the weights with which the pipeline averages scores.
    windows = list(narrow.preprocess(clip, window_s=1.0))
    assert len(windows) > 2
    threshold = sum((window["activity"] for window in windows), Activity()).threshold
    weights = [window["activity"].counts[threshold] for window in windows]
    assert all(weights)
    with torch.no_grad():
        projections = [contrastive(window["input_values"]).projections[0].double().numpy() for window in windows]
    mean = np.average(projections, axis=0, weights=weights)
    projected = long.project(clip)
    assert np.linalg.norm(projected) == pytest.approx(1)
    np.testing.assert_allclose(projected, mean / np.linalg.norm(mean), atol=1e-5)
    assert long.compare(clip, noise()).mos_a == pytest.approx(narrow(clip)["mos"], abs=1e-5)


def test_beyond_the_calibration_the_number_of_jnds_is_a_lower_limit(
    contrastive: JSQAForContrastivePretraining, rate: SpeechQualityPipeline
) -> None:
    comparer = Comparer(contrastive, rate)
    a, b = noise(), noise(0.8, seed=1, level=0.2)
    assert not comparer.compare(a, b).beyond_scale
    comparer.scale = replace(comparer.scale, distances=[0.0, 1e-5, 1e-4])
    result = comparer.compare(a, b)
    assert result.beyond_scale
    assert result.jnds == 7.0


def test_files_and_their_samples_compare_alike(checkpoint: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    a, b = noise(), noise(seed=1, level=0.2)
    soundfile.write(tmp_path / "a.wav", a, SAMPLING_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", b, SAMPLING_RATE, subtype="FLOAT")
    result = compare(tmp_path / "a.wav", tmp_path / "b.wav", checkpoint, mos_model=small_checkpoint, device="cpu")
    assert isinstance(result, Comparison)
    assert result == compare(a, b, load_comparer(checkpoint, small_checkpoint, "cpu"))


def test_a_clip_that_can_not_be_used_is_named(comparer: Comparer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    with pytest.raises(ValueError, match=r"silence\.wav.*digital silence"):
        comparer.compare(noise(), tmp_path / "silence.wav")


def test_models_that_can_not_compare_are_refused(
    small_checkpoint: Path, tmp_path: Path, rate: SpeechQualityPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="checkpoint of stage 1"):
        load_comparer(small_checkpoint, rate)
    JSQAForContrastivePretraining(small_config()).save_pretrained(tmp_path / "not-calibrated")
    with pytest.raises(ValueError, match="not-calibrated.*no JND calibration"):
        load_comparer(tmp_path / "not-calibrated", rate)
    with pytest.raises(ValueError, match="no JND calibration"):
        load_comparer(JSQAForContrastivePretraining(small_config()), rate)
    with pytest.raises(ValueError, match="8000 Hz.*16000 Hz"):
        load_comparer(
            JSQAForContrastivePretraining(small_config(jnd_calibration=CALIBRATION, sampling_rate=8000)), rate
        )
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_comparer(tmp_path / "missing", rate)
    monkeypatch.setattr(module, "DEFAULT_COMPARISON_CHECKPOINT", tmp_path / "jsqa-tiny-jnd")
    with pytest.raises(FileNotFoundError, match="jsqa-tiny-jnd is missing"):
        load_comparer(None, rate)


@pytest.mark.skipif(not jsqa_hf.DEFAULT_COMPARISON_CHECKPOINT.is_dir(), reason="no model for comparisons comes along")
def test_the_default_model_is_calibrated() -> None:
    assert load_comparer(device="cpu").scale.pairs > 0


@pytest.mark.skipif(not jsqa_hf.DEFAULT_COMPARISON_CHECKPOINT.is_dir(), reason="no model for comparisons comes along")
def test_to_the_default_model_neither_a_delay_nor_the_other_sign_is_a_difference() -> None:
    """Medians far above those that `benchmarks/comparison.py` measures, and far below the step of a JND of noise."""
    comparer = load_comparer(device="cpu")
    speech = [soundfile.read(path, dtype="float32")[0] for path in sorted(SPEECH.rglob("*.flac"))[:5]]
    for change in (lambda clip: clip[16:], lambda clip: clip[1601:], lambda clip: -clip):
        assert np.median([comparer.compare(clip, change(clip)).jnds for clip in speech]) < 0.8
    noisier = [clip + np.resize(noise(seed=1, level=0.005), len(clip)) for clip in speech]
    assert np.median([comparer.compare(*pair).jnds for pair in zip(speech, noisier, strict=True)]) > 2


# Many clips.


def write(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLING_RATE, subtype="FLOAT")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: in `x` five clips that sound alike and one that doesn't, in `y` two, and a bad one."""
    for number in range(5):
        write(tmp_path / "x" / f"{number}.wav", noise(seed=number))
    write(tmp_path / "x" / "odd.wav", np.cumsum(noise(seed=9)).astype(np.float32) * 0.1)
    write(tmp_path / "y" / "6.wav", noise(0.7, seed=6))
    write(tmp_path / "y" / "7.wav", noise(0.7, seed=7, level=0.2))
    (tmp_path / "y" / "text.wav").write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_matrix_holds_what_the_comparison_of_two_says(comparer: Comparer, folder: Path) -> None:
    paths = ["x/0.wav", "y/text.wav", "y/6.wav", "x/odd.wav", NothingFound("z/*.wav", "no match")]
    projected = project_files(paths, comparer)
    assert projected.files == ["x/0.wav", "y/6.wav", "x/odd.wav"]
    assert list(projected.errors) == ["y/text.wav", "z/*.wav"]
    assert "is not audio" in projected.errors["y/text.wav"]
    assert "text.wav" not in projected.errors["y/text.wav"]
    matrix = np.array(list(jnd_rows(projected, comparer)))
    assert (np.diag(matrix) == 0).all()
    assert (matrix == matrix.T).all()
    for row, a in enumerate(projected.files):
        for column, b in enumerate(projected.files):
            assert matrix[row, column] == pytest.approx(comparer.compare(a, b).jnds, abs=1e-6)


def planted(jnds: list[list[float]]) -> ProjectedFiles:
    """Files at given places, in JNDs of a straight scale: not on the sphere, but distances are all that counts."""
    return ProjectedFiles([f"{number}.wav" for number in range(len(jnds))], 0.1 * np.array(jnds))


@pytest.fixture
def straight(comparer: Comparer) -> Comparer:
    """A comparer on whose scale a distance of 0.1 is a JND."""
    made = Comparer(comparer.model, comparer.pipeline)
    made.scale = replace(made.scale, distances=[0.0, 10.0], jnds=[0.0, 100.0])
    return made


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 30), st.integers(0, 10_000), st.floats(10, 90))
def test_a_file_far_from_its_group_is_the_outlier(comparer: Comparer, size: int, seed: int, away: float) -> None:
    straight = Comparer(comparer.model, comparer.pipeline)
    straight.scale = replace(straight.scale, distances=[0.0, 10.0], jnds=[0.0, 100.0])
    places = np.random.default_rng(seed).uniform(0, 0.5, (size, 3))
    places[seed % size, 0] += away
    # Another group, far away and scattered, must not matter.
    others = np.random.default_rng(seed).uniform(200, 300, (7, 3))
    rows = find_outliers(planted([*places.tolist(), *others.tolist()]), straight, ["a"] * size + ["b"] * len(others))
    assert [row.file for row in rows if row.is_outlier and row.group == "a"] == [f"{seed % size}.wav"]


def test_distances_and_scores_are_those_of_the_published_formula(straight: Comparer) -> None:
    places = np.random.default_rng(0).normal(0, 3, (9, 4))
    rows = find_outliers(planted(places.tolist()), straight, ["a"] * 9)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    medians = np.array([np.median(np.delete(apart[index], index)) for index in range(9)])
    assert [row.median_jnds for row in rows] == pytest.approx(medians.tolist())
    z = 0.6745 * (medians - np.median(medians)) / np.median(np.abs(medians - np.median(medians)))
    assert [row.robust_z for row in rows] == pytest.approx(z.tolist())


def test_what_is_no_jnd_farther_away_or_in_a_small_group_is_no_outlier(straight: Comparer) -> None:
    uniform = [[0.001 * number] for number in range(9)]
    rows = find_outliers(planted([*uniform, [0.9]]), straight, ["a"] * 10)
    assert rows[-1].robust_z > 100
    assert not any(row.is_outlier for row in rows)
    rows = find_outliers(planted([[0.0], [0.1], [0.2], [50.0], [0.0]]), straight, [*"aaaab"])
    assert [row.robust_z for row in rows] == [None] * 5
    assert not any(row.is_outlier for row in rows)
    assert rows[3].median_jnds == pytest.approx(49.9)
    assert rows[4].median_jnds is None
    equal = find_outliers(planted([[1.0]] * 6), straight, ["a"] * 6)
    assert [row.robust_z for row in equal] == [0.0] * 6
    # More than half equal: the median absolute deviation is 0, the mean one is not.
    rows = find_outliers(planted([[1.0]] * 5 + [[9.0]]), straight, ["a"] * 6)
    assert [row.is_outlier for row in rows] == [False] * 5 + [True]


def test_the_number_of_groups_must_fit(straight: Comparer) -> None:
    with pytest.raises(ValueError, match="1 groups do not fit 2 files"):
        find_outliers(planted([[0.0], [1.0]]), straight, ["a"])


# The command.


Compare = Callable[..., int]


@pytest.fixture
def run(checkpoint: Path, small_checkpoint: Path) -> Compare:
    """`jsqa compare` with the small models, on the CPU."""
    models = ["--model", str(checkpoint), "--mos-model", str(small_checkpoint), "--device", "cpu"]
    return lambda *arguments: main(["compare", *models, *arguments])


def test_two_files_give_sentences_or_a_record(
    run: Compare, folder: Path, checkpoint: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = compare("x/0.wav", "y/7.wav", checkpoint, mos_model=small_checkpoint, device="cpu")
    assert run("x/0.wav", "y/7.wav") == 0
    text = capsys.readouterr().out
    assert f"difference: {expected.jnds:.1f} JNDs (typical error 0.5)" in text
    assert f"(MOS {expected.mos_a:.2f} of a, {expected.mos_b:.2f} of b)" in text
    assert run("x/0.wav", "y/7.wav", "--format", "json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record == {
        "a": "x/0.wav",
        "b": "y/7.wav",
        **{
            name: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value
            for name, value in asdict(expected).items()
        },
    }
    assert run("x/0.wav", "y/7.wav", "--output", "out.csv") == 0
    (row,) = csv.DictReader(io.StringIO((folder / "out.csv").read_text()))
    assert row["b"] == "y/7.wav"
    assert float(row["jnds"]) == record["jnds"]
    assert row["beyond_scale"] == "false"


def test_sentences_say_what_the_numbers_alone_would_not() -> None:
    result = Comparison(0.4, 0.06, 3.5, 3.6, "b", 0.6, False, 0.5)
    assert "less than one just-noticeable difference" in as_text("a", "b", result)
    assert "better: b, confidence 60% (MOS 3.50 of a, 3.60 of b)" in as_text("a", "b", result)
    far = replace(result, jnds=9.0, beyond_scale=True, better_confidence=0.504)
    assert "difference: at least 9.0 JNDs; at least 6% of listeners" in as_text("a", "b", far)
    assert "better: neither (MOS 3.50 of a, 3.60 of b)" in as_text("a", "b", far)
    assert "just-noticeable" not in as_text("a", "b", far)
    assert "\x1b" not in as_text("\x1b[2J", "b", far)
    for confidence, text in ((0.99, "confidence 99%"), (0.991, "confidence above 99%"), (1.0, "confidence above 99%")):
        assert f"better: b, {text} (" in as_text("a", "b", replace(result, better_confidence=confidence))


@pytest.mark.parametrize(
    "arguments", [["x", "y/6.wav"], ["x", "./x", "y/6.wav"], ["x/0.wav", "x/1.wav", "./x/0.wav", "--matrix"]]
)
def test_more_files_give_a_symmetric_matrix(
    run: Compare, folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0][1:] == [row[0] for row in rows[1:]]
    assert len(rows) == (3 if "--matrix" in arguments else 8)
    matrix = np.array([row[1:] for row in rows[1:]], dtype=float)
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 0).all()
    assert matrix.max() > 0
    assert run(*arguments, "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["files"] == rows[0][1:]
    np.testing.assert_array_equal(result["jnds"], matrix)
    assert matrix.max() <= result["largest_jnds"] == CALIBRATION["jnds"][-1]
    assert result["errors"] == {}


def test_a_bad_file_is_left_out_and_gives_exit_code_1(
    run: Compare, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("y", "--format", "json") == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["files"] == ["y/6.wav", "y/7.wav"]
    assert "is not audio" in result["errors"]["y/text.wav"]
    assert "jsqa: y/text.wav: " in captured.err
    assert run("x/0.wav", "y/text.wav", "--output", "out.json") == 1
    assert "y/text.wav" in capsys.readouterr().err
    assert not (folder / "out.json").exists()
    assert run("x/0.wav", "missing.wav") == 1
    assert "missing.wav" in capsys.readouterr().err
    (folder / "empty").mkdir()
    (folder / "out.csv").write_text("keep")
    assert run("empty", "--output", "out.csv") == 1
    assert (folder / "out.csv").read_text() == "keep"
    assert "no audio files in this folder" in capsys.readouterr().err


def test_groups_name_the_odd_file(run: Compare, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(".", "--group-by", "folder") == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows if row["is_outlier"] == "true"] == ["./x/odd.wav"]
    assert {row["group"] for row in rows} == {"x", "y"}
    assert [row["robust_z"] for row in rows if row["group"] == "y"] == ["", ""]
    assert run("x", "--group-by", "folder", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in result["files"] if row["is_outlier"]] == ["x/odd.wav"]


def test_results_that_are_there_stay_until_there_are_new_ones(
    run: Compare, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jsqa_hf.jnd_matrix.find_outliers", interrupted)
    (folder / "out.csv").write_text("keep")
    assert run("x", "--group-by", "folder", "--output", "out.csv") == 130
    assert (folder / "out.csv").read_text() == "keep"


def test_wrong_usage_is_told(
    run: Compare, folder: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("x", "--format", "text") == 2
    assert "csv, json" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("x/0.wav", "x/1.wav", "--matrix", "--group-by", "folder")
    assert "argument --group-by: not allowed with argument --matrix" in capsys.readouterr().err
    assert run("x/0.wav", "x/1.wav", "--output", "./x/1.wav") == 2
    assert "is the name of an audio file" in capsys.readouterr().err
    assert run("x/0.wav", "x/1.wav", "--model", str(small_checkpoint)) == 2
    assert "stage 1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_command_on_the_example_data() -> None:
    speech = Path(__file__).parents[1] / "examples" / "data" / "p835" / "wb"
    command = [sys.executable, "-m", "jsqa_hf", "compare", "--device", "cpu", "--format", "json"]

    def run(a: str, b: str) -> dict[str, Any]:
        done = subprocess.run([*command, str(speech / a), str(speech / b)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    # Clean speech, and the same speech in white noise at 0 dB.
    apart = run("c1_f3.flac", "c0_f3.flac")
    assert apart["better"] == "b"
    assert apart["better_confidence"] > 0.9
    assert apart["jnds"] > 1
    assert run("c0_f3.flac", "c0_f3.flac")["jnds"] == 0
