"""Finding audio files, and scoring many of them although some are bad."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import pickle
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from datasets.fingerprint import Hasher
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SAMPLING_RATE, small_config

from jsqa_hf import (
    JSQAFeatureExtractor,
    JSQAForContrastivePretraining,
    JSQAForMOSRegression,
    SpeechQualityPipeline,
    score_engine,
)
from jsqa_hf.audio_files import find_each_once
from jsqa_hf.score_engine import ScoreEngine
from jsqa_hf.scoring import FileScore, NothingFound, SpeechScorer, find_audio_files, load_pipeline, score_files


def noise(seconds: float, seed: int = 0, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02 * (1 + seed), int(seconds * sampling_rate))


@pytest.fixture(scope="module")
def rate() -> SpeechQualityPipeline:
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config()).eval()
    with torch.no_grad():
        model.head.output.weight[0].mul_(50.0)
        model.head.output.bias[1] = -4.0
    return SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for seed, seconds in enumerate([0.3, 1.1, 0.06, 0.7, 2.0]):
        paths.append(folder / f"{seed}.wav")
        soundfile.write(paths[-1], noise(seconds, seed), SAMPLING_RATE)
    return paths


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to search in, which is also the current one. The files are empty: nothing here reads them."""
    for name in [
        "b.wav",
        "a.MP3",
        "notes.txt",
        ".hidden.wav",
        "sub/c.flac",
        "sub/deep/d.m4a",
        ".git/e.wav",
        "br[1].wav",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_the_audio_files_below_it_in_order(tree: Path) -> None:
    names = ["a.MP3", "b.wav", "br[1].wav", "sub/c.flac", "sub/deep/d.m4a"]
    assert list(find_audio_files([str(tree)])) == [str(tree / name) for name in names]


def test_addresses_are_given_as_they_are_and_their_errors_name_them_once(rate: SpeechQualityPipeline) -> None:
    # Nobody listens at the port 1, and the second is no address.
    addresses = ["http://127.0.0.1:1/a.wav?token=1", "http://[::1"]
    results = list(score_files(find_audio_files(addresses), rate))
    assert [result.file for result in results] == addresses
    for result in results:
        assert result.error is not None and result.error.startswith("can't be fetched (")


def test_files_are_given_as_they_are_even_if_they_do_not_exist(tree: Path) -> None:
    given = ["notes.txt", ".hidden.wav", "missing.wav", "./b.wav"]
    assert list(find_audio_files(given)) == given
    assert list(find_audio_files([tree / "b.wav"])) == [str(tree / "b.wav")]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.wav", ["b.wav", "br[1].wav"]),
        ("*", ["a.MP3", "b.wav", "br[1].wav"]),
        ("**/*.flac", ["sub/c.flac"]),
        ("**", ["a.MP3", "b.wav", "br[1].wav", "sub/c.flac", "sub/deep/d.m4a"]),
        ("sub/**/?.*", ["sub/c.flac", "sub/deep/d.m4a"]),
        ("*.txt", ["notes.txt"]),
        ("br[1].wav", ["br[1].wav"]),
        ("[bx].wav", ["b.wav"]),
    ],
)
def test_patterns_give_what_they_match(tree: Path, pattern: str, found: list[str]) -> None:
    assert list(find_audio_files([pattern])) == found
    if pattern != "br[1].wav":
        assert list(find_audio_files([str(tree / pattern)])) == [str(tree / name) for name in found]


@pytest.mark.parametrize("source", ["nothing", "no*.wav", "nothing/*", "*.xyz", "a**b", "missing/**/*.wav"])
def test_an_input_that_leads_to_no_file_is_reported(tree: Path, source: str) -> None:
    found = list(find_audio_files(["b.wav", source]))
    assert found[0] == "b.wav"
    assert isinstance(found[1], NothingFound)
    assert found[1].source == source
    assert len(found) == 2


def test_links_in_a_circle_are_searched_once(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "sub" / "self").symlink_to(tree / "sub")
    assert len(list(find_audio_files(["."]))) == 5
    assert list(find_audio_files(["sub/**/*.flac"])) == ["sub/c.flac"]


def test_a_linked_folder_is_searched(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "x.wav").touch()
    (tree / "nothing" / "link").symlink_to(elsewhere)
    assert list(find_audio_files(["nothing"])) == ["nothing/link/x.wav"]


def test_a_file_under_several_names_is_found_once_and_a_link_is_another(tree: Path) -> None:
    (tree / "link.wav").symlink_to("b.wav")
    given = ["sub/c.flac", "./b.wav", "b.wav", str(tree), "no*.wav", "sub/../b.wav"]
    names = ["a.MP3", "br[1].wav", "link.wav", "sub/deep/d.m4a"]
    found = list(find_each_once(given))
    assert found[:6] == ["sub/c.flac", "./b.wav", *(str(tree / name) for name in names)]
    assert isinstance(found[6], NothingFound)
    assert found[7:] == ["sub/../b.wav"]
    addresses = ["http://h//a", "http://h/a", "http://h/a/"]
    assert list(find_each_once([*addresses, *addresses])) == addresses


def test_standard_input_gives_one_path_per_line(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"b.wav\r\n\nsub\ncaf\xe9.wav\n-\nnothing"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    found = list(find_audio_files(["a.MP3", "-"]))
    assert found[:5] == ["a.MP3", "b.wav", "sub/c.flac", "sub/deep/d.m4a", os.fsdecode(b"caf\xe9.wav")]
    assert isinstance(found[5], NothingFound)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"\n")))
    assert list(find_audio_files(["-"])) == [NothingFound("-", "standard input holds no paths")]


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 100])
def test_results_come_in_order_with_the_scores_of_the_pipeline(
    rate: SpeechQualityPipeline, files: list[Path], batch_size: int | None
) -> None:
    results = list(score_files(files, rate, batch_size=batch_size))
    assert [result.file for result in results] == [str(path) for path in files]
    assert np.std([result.scores["mos"] for result in results]) > 0.01
    for path, result in zip(files, results, strict=True):
        assert result.error is None
        assert result.scores == pytest.approx(rate(path), abs=1e-4)
        assert result.duration_s == pytest.approx(soundfile.info(path).duration)


def test_the_duration_is_that_of_the_original_file(rate: SpeechQualityPipeline, tmp_path: Path) -> None:
    stereo = np.stack([noise(0.5, sampling_rate=44100), noise(0.5, sampling_rate=44100)], axis=1)
    soundfile.write(tmp_path / "a.flac", stereo, 44100)
    assert [result.duration_s for result in score_files([tmp_path / "a.flac"], rate)] == [0.5]


@settings(deadline=None, max_examples=5)
@given(
    order=st.permutations(range(10)),
    batch_size=st.integers(1, 7),
    num_workers=st.integers(1, 5),
    window_s=st.sampled_from([0.4, 30.0]),
)
def test_a_score_depends_on_nothing_but_the_file(
    rate: SpeechQualityPipeline,
    files: list[Path],
    order: list[int],
    batch_size: int,
    num_workers: int,
    window_s: float,
) -> None:
    alone = [rate(path, window_s=window_s) for path in files]
    paths = [*files, *files]
    results = score_files(
        [paths[index] for index in order], rate, batch_size=batch_size, num_workers=num_workers, window_s=window_s
    )
    for index, result in zip(order, results, strict=True):
        assert result.file == str(paths[index])
        assert result.scores == pytest.approx(alone[index % len(files)], abs=1e-4)


def test_a_file_shorter_than_a_frame_is_rated_alone_as_in_a_batch(files: list[Path]) -> None:
    hubert = {"conv_dim": (8,), "conv_kernel": (1600,), "conv_stride": (640,)}
    model = JSQAForMOSRegression(small_config(hubert=hubert)).eval()
    # 60 ms, where a frame sees 100 ms.
    both = [files[2], files[4]]
    alone, together = (
        [result.scores for result in score_files(both, load_pipeline(model, "cpu"), batch_size=size, num_workers=1)]
        for size in (1, 2)
    )
    assert alone[0] == pytest.approx(together[0], abs=1e-4)
    assert alone[1] == pytest.approx(together[1], abs=1e-4)
    assert alone[0] and alone[1]


def test_batches_are_of_similar_length(rate: SpeechQualityPipeline, files: list[Path], tmp_path: Path) -> None:
    for index in range(16):
        soundfile.write(tmp_path / f"{index}.wav", noise(0.3 if index % 2 else 1.5, index), SAMPLING_RATE)
    paths = [tmp_path / f"{index}.wav" for index in range(16)]
    padding = []
    forward = rate.forward

    def recorded(inputs: dict[str, Any]) -> Any:
        padding.append(float((1 - inputs["attention_mask"].float()).mean()))
        return forward(inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate, "forward", recorded)
        # One thread reads, and it comes first: the batches are those of the whole read-ahead.
        engine = ScoreEngine(rate, batch_size=4, num_workers=1, parameters={})
        engine._has_batch_or_ends = (  # type: ignore[method-assign]
            lambda: engine._stopped or len(engine._windows) == 16 or engine._exhausted and not engine._reading
        )
        assert all(result.error is None for result in engine.run((str(path), path) for path in paths))
    assert padding == [0.0] * 4


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_bad_file_gets_a_reason_and_the_others_their_scores(
    rate: SpeechQualityPipeline, files: list[Path], tmp_path: Path, batch_size: int
) -> None:
    (tmp_path / "text.wav").write_text("text")
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    soundfile.write(tmp_path / "short.wav", noise(0.01), SAMPLING_RATE)
    bad: dict[str | Path | NothingFound, str] = {
        tmp_path / "text.wav": "is not audio",
        tmp_path / "silence.wav": "digital silence cannot be rated",
        NothingFound("empty", "there are no audio files in this folder"): "no audio files in this folder",
        tmp_path / "short.wav": "at least 50 ms",
        tmp_path / "missing.wav": "no such file",
    }
    paths = [item for pair in zip(bad, files, strict=True) for item in pair]
    results = list(score_files(paths, rate, batch_size=batch_size))
    assert len(results) == 10
    for (path, reason), result in zip(bad.items(), results[::2], strict=True):
        name = path.source if isinstance(path, NothingFound) else str(path)
        assert result.file == name
        assert result.error is not None
        assert reason in result.error
        assert name not in result.error
        assert result.scores == {}
    for path, result in zip(files, results[1::2], strict=True):
        assert result.scores == pytest.approx(rate(path), abs=1e-4)
    assert results[2].duration_s == 1.0
    assert results[0].duration_s is None


def test_windows_of_long_files_are_averaged_across_batches(rate: SpeechQualityPipeline, files: list[Path]) -> None:
    expected = [rate(path, window_s=0.5, confidence=0.8) for path in files]
    for batch_size in (1, 3, 4):
        results = score_files(files, rate, batch_size=batch_size, window_s=0.5, confidence=0.8)
        for result, wanted in zip(results, expected, strict=True):
            assert result.scores == pytest.approx(wanted, abs=1e-4)


def test_defaults_of_a_given_pipeline_are_kept(rate: SpeechQualityPipeline, files: list[Path]) -> None:
    narrow = SpeechQualityPipeline(
        model=rate.model, feature_extractor=rate.feature_extractor, device="cpu", confidence=0.5, window_s=0.5
    )
    result = next(score_files(files[4:], narrow))
    assert result.scores == pytest.approx(narrow(files[4]), abs=1e-4)
    assert result.scores != pytest.approx(rate(files[4]), abs=1e-4)


def test_a_file_that_turns_bad_late_has_an_error_and_no_score(
    rate: SpeechQualityPipeline, files: list[Path], tmp_path: Path
) -> None:
    samples = noise(4.0)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "late.wav", samples, SAMPLING_RATE, subtype="FLOAT")
    for batch_size in (1, 3):
        paths = [files[0], tmp_path / "late.wav", files[1]]
        results = list(score_files(paths, rate, batch_size=batch_size, window_s=1.0))
        assert "NaN" in str(results[1].error)
        assert results[1].scores == {}
        assert results[0].scores == pytest.approx(rate(files[0]), abs=1e-4)
        assert results[2].scores == pytest.approx(rate(files[1], window_s=1.0), abs=1e-4)


def test_only_the_culprit_of_a_failing_batch_is_marked(
    rate: SpeechQualityPipeline, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [rate(path) for path in files]
    poisoned = soundfile.info(files[3]).frames
    forward = rate.forward

    def fails_on_file_3(inputs: dict[str, Any]) -> Any:
        if poisoned in inputs["attention_mask"].sum(-1):
            raise RuntimeError("out of memory")
        return forward(inputs)

    monkeypatch.setattr(rate, "forward", fails_on_file_3)
    results = list(score_files(files, rate, batch_size=5))
    assert [result.error for result in results] == [None, None, None, "RuntimeError: out of memory", None]
    for index in (0, 1, 2, 4):
        assert results[index].scores == pytest.approx(expected[index], abs=1e-4)


def test_an_unforeseen_error_in_one_file_does_not_end_the_run(
    rate: SpeechQualityPipeline, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_input = score_engine.open_input

    def crashes_on_file_1(source: Any, rate: int) -> Any:
        if source == files[1]:
            raise MemoryError
        return open_input(source, rate)

    monkeypatch.setattr(score_engine, "open_input", crashes_on_file_1)
    results = list(score_files(files, rate, batch_size=2))
    assert [result.error for result in results] == [None, "MemoryError", None, None, None]


def test_an_interruption_is_not_taken_for_a_bad_file(
    rate: SpeechQualityPipeline, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rate, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(score_files(files, rate))


def test_an_interruption_gives_what_was_finished_out_of_turn(
    rate: SpeechQualityPipeline, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    open_input = score_engine.open_input

    def holds_up_file_1(source: Any, rate: int) -> Any:
        if source == files[1]:
            go_on.wait()
        return open_input(source, rate)

    monkeypatch.setattr(score_engine, "open_input", holds_up_file_1)
    engine = ScoreEngine(rate, batch_size=1, num_workers=2, parameters={})
    results: Any = engine.run((str(path), path) for path in files)
    assert next(results).file == str(files[0])
    while sum(task.done for task in engine._tasks) < 3:
        time.sleep(0.01)
    finished = [results.throw(KeyboardInterrupt())]
    go_on.set()
    with pytest.raises(KeyboardInterrupt):
        finished.extend(iter(results.__next__, None))
    assert [result.file for result in finished] == [str(path) for path in files[2:]]
    assert all(result.scores == pytest.approx(rate(result.file), abs=1e-4) for result in finished)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_at_any_moment_is_a_keyboard_interrupt(rate: SpeechQualityPipeline, files: list[Path]) -> None:
    moments = random.Random(0)
    for _ in range(20):
        interruption = threading.Timer(moments.uniform(0, 0.1), os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            interruption.start()
            for _ in score_files(itertools.cycle(files), rate, num_workers=2):
                pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_of_the_paths_comes_after_the_results_before_it(
    rate: SpeechQualityPipeline, files: list[Path]
) -> None:
    def paths() -> Iterator[Path]:
        yield from files[:2]
        raise OSError("list is gone")

    results = score_files(paths(), rate)
    assert [next(results).file, next(results).file] == [str(path) for path in files[:2]]
    with pytest.raises(OSError, match="list is gone"):
        next(results)


def test_threads_end_with_the_results_even_if_nobody_wants_them_all(
    rate: SpeechQualityPipeline, files: list[Path]
) -> None:
    before, cores = threading.active_count(), torch.get_num_threads()
    results: Any = score_files(files * 20, rate, num_workers=3)
    next(results)
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before
    assert torch.get_num_threads() == cores


def test_ten_thousand_paths_are_read_only_a_few_ahead(rate: SpeechQualityPipeline, files: list[Path]) -> None:
    read = 0

    def paths() -> Iterator[Path]:
        nonlocal read
        for index in range(10_000):
            read += 1
            # A good file that waits for its batch to fill, and bad ones behind it, which don't.
            yield files[0] if index % 1000 == 0 else Path(f"missing{index}.wav")

    given = 0
    for result in score_files(paths(), rate, batch_size=4, num_workers=2):
        given += 1
        assert read - given <= 16
        assert (result.error is None) == (given % 1000 == 1)
    assert given == read == 10_000


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_column_is_scored_with_map(
    rate: SpeechQualityPipeline, files: list[Path], tmp_path: Path, as_bytes: bool
) -> None:
    (tmp_path / "bad.wav").write_text("text")
    # In the order of a first batch without errors and a last one of nothing else.
    paths = [*files, tmp_path / "bad.wav"]
    audio: list[Any] = [{"bytes": path.read_bytes(), "path": None} if as_bytes else str(path) for path in paths]
    dataset = Dataset.from_dict({"audio": audio}).cast_column("audio", Audio(decode=False))
    scored = dataset.map(SpeechScorer("audio", rate), batched=True, batch_size=5)
    assert scored.column_names == ["audio", "mos", "mos_low", "mos_high", "duration_s", "error"]
    for path, row in zip(files, scored, strict=False):
        assert {name: row[name] for name in ("mos", "mos_low", "mos_high")} == pytest.approx(rate(path), abs=1e-4)
        assert row["duration_s"] == pytest.approx(soundfile.info(path).duration)
        assert row["error"] == ""
    assert np.isnan([scored[5]["mos"], scored[5]["mos_low"], scored[5]["mos_high"], scored[5]["duration_s"]]).all()
    assert "is not audio" in scored[5]["error"]


@pytest.mark.parametrize(
    "single",
    [
        *("rec/a.wav", Path("a.wav"), np.str_("a.wav"), b"RIFF", None),
        *({"array": np.zeros(800), "sampling_rate": SAMPLING_RATE}, np.zeros(800), torch.zeros(800), [0.0] * 800),
    ],
    ids=lambda single: type(single).__name__,
)
def test_a_single_row_is_not_taken_for_a_batch(rate: SpeechQualityPipeline, single: Any) -> None:
    with pytest.raises(TypeError, match="batched=True"):
        SpeechScorer("audio", rate)({"audio": single})


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_column_in_another_format_is_a_batch(rate: SpeechQualityPipeline, kind: str) -> None:
    clips = np.stack([noise(0.3, seed).astype(np.float32) for seed in range(3)])
    dataset = Dataset.from_dict({"audio": clips}).with_format(kind)
    scored = dataset.map(SpeechScorer("audio", rate), batched=True)
    assert scored["mos"][:] == pytest.approx([rate(clip)["mos"] for clip in clips], abs=1e-4)


def test_a_numpy_column_of_paths_is_a_batch(rate: SpeechQualityPipeline, files: list[Path]) -> None:
    paths = Dataset.from_dict({"audio": [str(path) for path in files[:2]]}).with_format("numpy")
    scored = paths.map(SpeechScorer("audio", rate), batched=True)
    assert scored["mos"][:] == pytest.approx([rate(path)["mos"] for path in files[:2]], abs=1e-4)


@pytest.mark.parametrize("missing", [math.nan, None])
def test_a_path_that_is_missing_is_a_row_with_an_error(
    rate: SpeechQualityPipeline, files: list[Path], missing: float | None
) -> None:
    scored = SpeechScorer("audio", rate)({"audio": [missing, str(files[0])]})
    assert scored["mos"][1] == pytest.approx(rate(files[0])["mos"], abs=1e-4)
    assert scored["error"][0] and not scored["error"][1]


def test_a_scorer_has_the_same_fingerprint_for_the_same_model_only(small_checkpoint: Path) -> None:
    first, same = (
        SpeechScorer(model=small_checkpoint, device="cpu"),
        SpeechScorer(model=small_checkpoint, device="cpu"),
    )
    assert Hasher.hash(first) == Hasher.hash(same)
    assert Hasher.hash(first) != Hasher.hash(SpeechScorer(model=small_checkpoint, device="cpu", window_s=5.0))
    copy = pickle.loads(pickle.dumps(first))
    assert Hasher.hash(first) == Hasher.hash(copy)
    with torch.no_grad():
        copy.pipeline.model.head.output.bias[0] += 1.0
    assert Hasher.hash(first) != Hasher.hash(copy)


def test_a_scorer_keeps_its_number_format_in_other_processes(small_checkpoint: Path) -> None:
    scorer = SpeechScorer("audio", load_pipeline(small_checkpoint, "cpu", "bfloat16"))
    copy = pickle.loads(pickle.dumps(scorer))
    clip = {"audio": [noise(1.0)]}
    assert copy.pipeline.model.dtype == torch.bfloat16
    assert copy(clip) == scorer(clip)


def test_a_column_that_is_not_there_is_named(rate: SpeechQualityPipeline) -> None:
    with pytest.raises(KeyError, match="no column 'audio' among .'sound'."):
        SpeechScorer("audio", rate)({"sound": []})


def test_parameters_out_of_range_are_refused_at_the_call(rate: SpeechQualityPipeline) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        score_files([], rate, batch_size=0)
    with pytest.raises(ValueError, match="num_workers"):
        score_files([], rate, num_workers=0)
    with pytest.raises(ValueError, match="window_s"):
        score_files([], rate, window_s=-1.0)
    with pytest.raises(ValueError, match="device"):
        score_files([], rate, device="cpu")


def test_a_result_without_scores_is_the_default() -> None:
    assert FileScore("a.wav") == FileScore("a.wav", scores={}, duration_s=None, error=None)


def test_a_model_is_taken_as_folder_object_or_pipeline(
    rate: SpeechQualityPipeline, files: list[Path], small_checkpoint: Path, small_model: JSQAForMOSRegression
) -> None:
    from_folder, from_name, from_object = (
        list(score_files(files, given, device="cpu"))
        for given in (small_checkpoint, str(small_checkpoint), small_model)
    )
    assert from_folder == from_name == from_object
    assert load_pipeline(rate) is rate


def test_half_precision_changes_scores_a_little(files: list[Path], small_checkpoint: Path) -> None:
    full, half = (load_pipeline(small_checkpoint, "cpu", dtype) for dtype in (None, "bfloat16"))
    assert {weights.dtype for weights in half.model.parameters()} == {torch.bfloat16}
    differences = [abs(full(str(file))["mos"] - half(str(file))["mos"]) for file in files]
    assert 0 < max(differences) < 0.05


def test_a_number_format_is_for_checkpoints(small_model: JSQAForMOSRegression) -> None:
    with pytest.raises(ValueError, match="checkpoints only"):
        load_pipeline(small_model, "cpu", "bfloat16")


def test_a_checkpoint_without_a_trained_mos_head_is_refused(tmp_path: Path) -> None:
    JSQAForContrastivePretraining(small_config()).save_pretrained(tmp_path)
    JSQAFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="hasn't been fine-tuned on ratings"):
        load_pipeline(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    with pytest.raises(ValueError, match="type 'hubert', not of type 'jsqa'"):
        load_pipeline(tmp_path)


def test_a_name_that_is_not_found_offline_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"^mistyped: .*couldn't connect"):
        load_pipeline("mistyped")


@pytest.mark.parametrize("name", ["./missing", "../missing", "/missing", "a/b/c"])
def test_a_missing_folder_is_not_asked_for_on_the_hub(name: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_pipeline(name)
