"""Long audio: windows, speech activity, quality over time, and memory."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import long_audio as benchmark
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SAMPLING_RATE, small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf.audio import AudioStream, decode_audio, open_audio
from jsqa_hf.jnd.levels import active_speech_level
from jsqa_hf.recent_values import RecentValues
from jsqa_hf.resampling import resample
from jsqa_hf.speech_activity import FLOOR_DBOV, Activity, SpeechActivity
from jsqa_hf.streaming_resampler import StreamingResampler
from jsqa_hf.windowed_scores import WeightedMean
from jsqa_hf.windows import CURVE_WINDOW_S, Window, Windower

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def rate() -> SpeechQualityPipeline:
    """Two outputs, with random weights of a size that tells clips well apart."""
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config(mos_output_names=["noisiness", "mos"], level_windows=1)).eval()
    with torch.no_grad():
        for layer in (model.head.dense, model.head.output):
            layer.weight.mul_(10.0)
    return SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), device="cpu")


def bursts(seconds: float, sampling_rate: int = SAMPLING_RATE, seed: int = 0) -> np.ndarray:
    """(time,): noise whose level and colour change from second to second, as far as a model is concerned."""
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(int(np.ceil(seconds))):
        noise = generator.normal(0, 10 ** generator.uniform(-2, -1), sampling_rate)
        parts.append(np.convolve(noise, generator.normal(0, 1, 4), "same"))
    return np.concatenate(parts)[: round(seconds * sampling_rate)].astype(np.float32)


def windows_of(samples: np.ndarray, sampling_rate: int, sizes: list[int], **options: Any) -> list[Window]:
    """Windows of audio that is fed in chunks of the given sizes, over and over."""
    windower = Windower(sampling_rate, **{"model_rate": SAMPLING_RATE, "window_s": 2.0, **options})
    windows, start, turn = [], 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        windows += windower.feed(samples[start : start + size])
        start, turn = start + size, turn + 1
    return windows + list(windower.finish())


def weights_of(windows: list[dict[str, Any]]) -> list[float]:
    """Active milliseconds of the cells of windows, by one threshold for all."""
    threshold = sum((window["activity"] for window in windows), Activity()).threshold
    return [window["activity"].counts[threshold] for window in windows]


def scores_of(rate: SpeechQualityPipeline, samples: np.ndarray) -> float:
    return rate({"array": samples, "sampling_rate": SAMPLING_RATE})["mos"]


# Windows


@pytest.mark.parametrize("seconds", [2.01, 2.5, 3.0, 3.9, 4.0, 7.3])
@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
def test_windows_overlap_by_half_and_their_cells_share_out_the_audio(seconds: float, sampling_rate: int) -> None:
    samples = bursts(seconds, sampling_rate)
    windows = windows_of(samples, sampling_rate, [10_000])
    whole = resample(samples, sampling_rate, SAMPLING_RATE)
    for window in windows:
        start = round(window.start_s * SAMPLING_RATE)
        assert len(window.samples) == 2 * SAMPLING_RATE
        assert window.end_s - window.start_s == pytest.approx(2.0)
        np.testing.assert_allclose(window.samples, whole[start : start + 2 * SAMPLING_RATE], atol=1e-6)
        (start_s, end_s), length_s = window.cells[0], window.end_s + 1e-3
        assert window.start_s <= start_s < end_s <= length_s
    assert [window.start_s for window in windows[:-1]] == [float(index) for index in range(len(windows) - 1)]
    assert round(windows[-1].end_s * SAMPLING_RATE) == len(whole)
    edges = [windows[0].cells[0][0], *(window.cells[0][1] for window in windows)]
    assert edges == [0.0, *(window.cells[0][0] for window in windows[1:]), pytest.approx(len(samples) / sampling_rate)]


@pytest.mark.parametrize("sampling_rate", [11025, 16000, 48000])
@pytest.mark.parametrize("seconds", [0.03, 0.7, 1.99, 2.0])
def test_audio_that_is_not_longer_than_a_window_is_one_window_as_it_is(seconds: float, sampling_rate: int) -> None:
    samples = bursts(seconds, sampling_rate)
    [window] = windows_of(samples, sampling_rate, [1234])
    assert window.sampling_rate == sampling_rate
    np.testing.assert_array_equal(window.samples, samples)
    assert window.cells == ((0.0, len(samples) / sampling_rate),)


def test_a_short_clip_is_rated_as_without_windows(rate: SpeechQualityPipeline) -> None:
    stereo = np.stack([bursts(3.0, 44100), bursts(3.0, 44100, seed=1)])
    features = JSQAFeatureExtractor()(stereo, sampling_rate=44100, return_tensors="pt")
    with torch.inference_mode():
        expected = rate.model(**features).scores[0, 1].item()
    for curve in (False, True):
        assert rate({"array": stereo, "sampling_rate": 44100}, curve=curve)["mos"] == expected


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 400),
    seconds=st.floats(0.1, 7.0),
    sampling_rate=st.sampled_from([8000, 16000, 22050]),
    curve_step_s=st.sampled_from([None, 0.5, 1.0]),
)
def test_windows_do_not_depend_on_the_chunks_that_audio_comes_in(
    sizes: list[int], seconds: float, sampling_rate: int, curve_step_s: float | None
) -> None:
    samples = bursts(seconds, sampling_rate)
    expected = windows_of(samples, sampling_rate, [len(samples)], curve_step_s=curve_step_s)
    windows = windows_of(samples, sampling_rate, sizes, curve_step_s=curve_step_s)
    assert len(windows) == len(expected)
    for window, wanted in zip(windows, expected, strict=True):
        np.testing.assert_array_equal(window.samples, wanted.samples)
        assert (window.purpose, window.cells, window.speech_s) == (wanted.purpose, wanted.cells, wanted.speech_s)
        np.testing.assert_array_equal(window.activity.counts, wanted.activity.counts)


def test_the_score_of_long_audio_is_the_mean_over_its_windows(rate: SpeechQualityPipeline) -> None:
    samples = bursts(5.0)
    parts = [scores_of(rate, samples[start * SAMPLING_RATE :][: 2 * SAMPLING_RATE]) for start in range(4)]
    # Noise without pauses is active all the time: a window in the middle stands for its 1 s in the middle.
    expected = np.average(parts, weights=[1.5, 1.0, 1.0, 1.5])
    assert np.std(parts) > 0.02
    for batch_size in (1, 3):
        assert rate(samples, window_s=2.0, batch_size=batch_size)["mos"] == pytest.approx(expected, abs=2e-3)


def test_pauses_do_not_count(rate: SpeechQualityPipeline) -> None:
    faint = 1e-4 * bursts(6.0, seed=1)
    speech = bursts(1.0)
    samples = np.concatenate([speech, faint[: 3 * SAMPLING_RATE], speech, faint])
    weights = weights_of(list(rate.preprocess(samples, window_s=2.0)))
    # With the hang-over, 0.2 s behind each second.
    assert sum(weights) == pytest.approx(2400, abs=300)


@pytest.mark.parametrize("starts_with_pause", [False, True])
def test_noise_of_the_room_in_a_pause_longer_than_a_window_does_not_count(
    rate: SpeechQualityPipeline, starts_with_pause: bool
) -> None:
    # 40 dB apart; the noise is 15 dB above what is too faint for speech.
    speech, room = (level * np.random.default_rng(0).normal(0, 1, 8 * SAMPLING_RATE) for level in (0.1, 0.001))
    parts = [room, speech] if starts_with_pause else [speech, room]
    windows = list(rate.preprocess(np.concatenate(parts), window_s=2.0))
    weights = weights_of(windows[::-1] if starts_with_pause else windows)
    # The first stands for 1.5 s, further ones for 1 s; the hang-over is 0.2 s, behind the speech.
    assert weights[:7] == pytest.approx([1500, *[1000] * 6], abs=100)
    assert weights[7] == pytest.approx(500, abs=300)
    assert not any(weights[8:])


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_a_constant_is_silence_at_any_rate(rate: SpeechQualityPipeline, sampling_rate: int, seconds: float) -> None:
    samples = np.full(round(seconds * sampling_rate), 0.5, np.float32)
    for curve in (False, True):
        with pytest.raises(ValueError, match="digital silence"):
            rate({"array": samples, "sampling_rate": sampling_rate}, window_s=2.0, curve=curve)


def test_sums_for_the_score_do_not_grow_with_the_number_of_windows() -> None:
    mean = WeightedMean()
    output = {"scores": np.ones((1, 3)), "variances": np.ones((1, 3)), "cells": ((0.0, 1.0),), "activity": Activity()}
    sizes = []
    for _ in range(3):
        mean.add(output)
        sizes.append(len(pickle.dumps(mean)))
    assert sizes[0] == sizes[2]


def test_windows_of_digital_silence_are_left_out(rate: SpeechQualityPipeline) -> None:
    silence = np.zeros(4 * SAMPLING_RATE, dtype=np.float32)
    samples = np.concatenate([silence, bursts(2.0), silence])
    windows = list(rate.preprocess(samples, window_s=2.0))
    assert [window["start_s"] for window in windows] == [3.0, 4.0, 5.0]
    assert [window["is_last"] for window in windows] == [False, False, True]
    assert windows[-1]["read_s"] == 10.0
    parts = [scores_of(rate, samples[start * SAMPLING_RATE :][: 2 * SAMPLING_RATE]) for start in (3, 4, 5)]
    assert rate(samples, window_s=2.0)["mos"] == pytest.approx(
        np.average(parts, weights=weights_of(windows)), abs=1e-4
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 9.0])
def test_a_bad_sample_late_in_a_file_is_told_with_its_time(
    rate: SpeechQualityPipeline, tmp_path: Path, value: float
) -> None:
    samples = np.tile(bursts(10.0, 4000), 18)
    samples[150 * 4000 + 1000] = value
    soundfile.write(tmp_path / "late.wav", samples, 4000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"late\.wav: .*\(first at 2:30\.25\)"):
        rate(tmp_path / "late.wav", window_s=60.0)


@pytest.mark.parametrize("sampling_rate", [1, 3999, 768_001, 2**31 - 1])
def test_a_header_with_a_rate_of_no_audio_is_refused_and_not_rated_for_days(
    rate: SpeechQualityPipeline, tmp_path: Path, sampling_rate: int
) -> None:
    soundfile.write(tmp_path / "odd.wav", bursts(1.0), sampling_rate)
    with pytest.raises(ValueError, match=rf"odd\.wav: a sampling rate of {sampling_rate} Hz"):
        rate(tmp_path / "odd.wav")


def test_a_file_that_breaks_off_is_rated_up_to_there(rate: SpeechQualityPipeline, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", bursts(20.0), SAMPLING_RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    whole = decode_audio(tmp_path / "a.flac").samples[0]
    assert 8.0 < len(whole) / SAMPLING_RATE < 12.0
    assert rate(tmp_path / "a.flac", window_s=3.0)["mos"] == pytest.approx(rate(whole, window_s=3.0)["mos"], abs=1e-4)


# Blocks


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus"])
def test_blocks_of_a_file_are_what_decoding_at_once_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sampling_rate = 48000 if name == "a.opus" else 44100
    format_ = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    stereo = np.stack([bursts(3.0, sampling_rate), bursts(3.0, sampling_rate, seed=1)], axis=1)
    soundfile.write(tmp_path / name, np.clip(stereo, -1, 1), sampling_rate, **format_)
    whole = decode_audio(tmp_path / name)
    monkeypatch.setattr("jsqa_hf.audio._BLOCK_FRAMES", 10_000)
    monkeypatch.setattr("jsqa_hf.audio._MERGED_FRAMES", 10_000)
    with open_audio(tmp_path / name) as stream:
        assert stream.duration_s is None
        blocks = list(stream)
    assert len(blocks) > 5
    assert stream.duration_s == whole.samples.shape[1] / sampling_rate
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole.samples)


@pytest.mark.parametrize("rates", [(8000, 16000), (44100, 16000), (44104, 16000), (44101, 16000), (96000, 8000)])
@pytest.mark.parametrize("without_torchaudio", [False, True])
def test_resampling_piece_by_piece_gives_what_resampling_at_once_does(
    rates: tuple[int, int], without_torchaudio: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without_torchaudio:
        monkeypatch.setattr("jsqa_hf.resampling._import_torchaudio", lambda: None)
    samples = bursts(1.3, rates[0])
    resampler = StreamingResampler(*rates)
    pieces = [resampler.feed(piece) for piece in np.array_split(samples, [17, 4000, 4001, 30_000])]
    joined = np.concatenate([*pieces, resampler.feed(np.zeros(0, np.float32), last=True)])
    np.testing.assert_allclose(joined, resample(samples, *rates), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 6000), max_size=20), memory=st.integers(1, 8000))
def test_recent_values_are_found_by_their_position(sizes: list[int], memory: int) -> None:
    values, kept = np.arange(sum(sizes)), RecentValues(np.int64)
    for end in np.cumsum(sizes, dtype=int):
        kept.append(values[kept.end : end])
        kept.forget(end - memory)
        start = max(0, end - memory)
        np.testing.assert_array_equal(kept[0:end], values[start:end])
        middle = (start + end) // 2
        np.testing.assert_array_equal(kept[middle : end + 5], values[middle:end])
    assert len(kept._store) <= max(1 << 12, 4 * (memory + 6000))


# Speech activity


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_activity_agrees_with_the_activity_factor_of_p56(sampling_rate: int, share: float) -> None:
    generator = np.random.default_rng(0)
    gate = (np.arange(20 * sampling_rate) / sampling_rate) % 4.0 < 4.0 * share
    samples = generator.normal(0, 0.05, len(gate)) * np.where(gate, 1.0, 1e-3)
    activity = SpeechActivity(sampling_rate, 20.0)
    for piece in np.array_split(samples, 7):
        activity.feed(piece)
    assert activity.active_s(0.0, 20.0) / 20.0 == pytest.approx(
        active_speech_level(samples, sampling_rate).activity_factor, abs=0.02
    )


def test_activity_is_told_apart_by_cells() -> None:
    samples = np.concatenate([bursts(2.0), 1e-3 * bursts(2.0), bursts(1.0)])
    activity = SpeechActivity(SAMPLING_RATE, 10.0)
    activity.feed(samples)
    seconds = [activity.active_s(*cell) for cell in [(0.0, 1.0), (1.0, 2.0), (2.5, 3.9), (4.0, 5.0)]]
    assert seconds == pytest.approx([1.0, 1.0, 0.0, 1.0], abs=0.06)


@pytest.mark.parametrize("level_dbov", [-200.0, FLOOR_DBOV - 3])
def test_what_is_too_faint_is_no_speech(level_dbov: float) -> None:
    samples = np.random.default_rng(0).normal(0, 10 ** (level_dbov / 20), 3 * SAMPLING_RATE)
    activity = SpeechActivity(SAMPLING_RATE, 10.0)
    activity.feed(samples)
    assert activity.active_s(0.0, 3.0) == 0.0


def test_a_constant_offset_is_no_speech() -> None:
    samples = np.concatenate([1e-4 * bursts(4.0), bursts(2.0), 1e-4 * bursts(4.0)])
    seconds = []
    for offset in (0.0, 0.02):
        activity = SpeechActivity(SAMPLING_RATE, 12.0)
        activity.feed(samples + offset)
        seconds.append(activity.active_s(0.0, 10.0))
    assert seconds[0] == pytest.approx(2.2, abs=0.1)
    assert seconds[1] == pytest.approx(seconds[0], abs=0.02)


def test_a_click_in_silence_is_active_for_the_hangover() -> None:
    samples = np.zeros(3 * SAMPLING_RATE)
    samples[SAMPLING_RATE] = 1.0
    activity = SpeechActivity(SAMPLING_RATE, 10.0)
    activity.feed(samples)
    assert activity.active_s(0.0, 3.0) == pytest.approx(0.2, abs=0.05)


# Quality over time


@pytest.mark.parametrize(("seconds", "step_s"), [(0.4, 1.0), (3.2, 1.0), (7.3, 1.0), (9.0, 0.5), (6.0, 2.5)])
def test_a_curve_has_a_value_for_every_step(rate: SpeechQualityPipeline, seconds: float, step_s: float) -> None:
    result = rate(bursts(seconds), curve=True, curve_step_s=step_s, window_s=5.0)
    curve = result.pop("curve")
    assert result == pytest.approx(rate(bursts(seconds), window_s=5.0))
    assert [step["start_s"] for step in curve] == pytest.approx(np.arange(0, seconds, step_s))
    assert [step["end_s"] for step in curve] == pytest.approx([*np.arange(step_s, seconds, step_s), seconds])
    names = [f"{name}{ending}" for name in ("mos", "noisiness") for ending in ("", "_low", "_high")]
    for step in curve:
        assert list(step) == ["start_s", "end_s", *names, "speech_s"]
        assert step["mos_low"] <= step["mos"] <= step["mos_high"]
        assert step["speech_s"] == pytest.approx(step["end_s"] - step["start_s"], abs=0.05)


def test_a_step_is_rated_by_the_audio_around_its_middle(rate: SpeechQualityPipeline) -> None:
    samples = bursts(10.0)
    curve = rate(samples, curve=True)["curve"]
    for index, step in enumerate(curve):
        start_s = min(max(index + 0.5 - CURVE_WINDOW_S / 2, 0.0), 10.0 - CURVE_WINDOW_S)
        around = samples[round(start_s * SAMPLING_RATE) :][: round(CURVE_WINDOW_S * SAMPLING_RATE)]
        assert step["mos"] == pytest.approx(scores_of(rate, around), abs=1e-4)
    assert np.std([step["mos"] for step in curve]) > 0.02


def test_pauses_are_gaps_in_the_curve(rate: SpeechQualityPipeline) -> None:
    pause = 1e-3 * bursts(6.0, seed=1)
    samples = np.concatenate([bursts(3.0), pause, bursts(3.0), np.zeros(6 * SAMPLING_RATE, np.float32)])
    curve = rate(samples, curve=True)["curve"]
    assert [step["mos"] is None for step in curve] == [step["speech_s"] == 0.0 for step in curve]
    # One second more than the speech: P.56 holds on for 0.2 s.
    assert [index for index, step in enumerate(curve) if step["mos"] is not None] == [0, 1, 2, 3, 9, 10, 11, 12]


def test_a_pause_of_any_length_behind_speech_is_a_gap_in_the_curve(rate: SpeechQualityPipeline) -> None:
    speech, room = (level * np.random.default_rng(0).normal(0, 1, 42 * SAMPLING_RATE) for level in (0.1, 0.001))
    curve = rate(np.concatenate([speech[: 3 * SAMPLING_RATE], room]), curve=True)["curve"]
    assert [index for index, step in enumerate(curve) if step["mos"] is not None] == [0, 1, 2, 3]


def test_a_curve_does_not_depend_on_batches(rate: SpeechQualityPipeline) -> None:
    clips = [bursts(7.0), bursts(3.0, seed=1)]
    single, batched = (rate(clips, curve=True, window_s=2.0, batch_size=size) for size in (1, 4))
    for one, other in zip(single, batched, strict=True):
        assert [step["mos"] for step in one["curve"]] == pytest.approx([s["mos"] for s in other["curve"]], abs=1e-4)


# Memory


def test_a_stream_of_any_length_is_worked_on_in_bounded_memory() -> None:
    windower = Windower(SAMPLING_RATE, SAMPLING_RATE, 2.0, 1.0)
    minute = bursts(60.0)
    for _ in range(3):
        for window in windower.feed(minute):
            assert len(window.samples) <= CURVE_WINDOW_S * SAMPLING_RATE
    assert len(windower._resampled._store) < 30 * SAMPLING_RATE
    assert windower._resampled.start > 170 * SAMPLING_RATE


def test_blocks_are_read_only_as_windows_are_taken(rate: SpeechQualityPipeline) -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield np.random.default_rng(read).normal(0, 0.1, (2, SAMPLING_RATE)).astype(np.float32)

    windows = rate.preprocess(AudioStream(endless(), SAMPLING_RATE), window_s=2.0)
    starts = [next(windows)["start_s"] for _ in range(20)]
    assert starts == [float(index) for index in range(20)]
    assert read <= 26


MEASURE = """
import resource, sys
import numpy as np, torch
from jsqa_hf.scoring import load_pipeline
rate = load_pipeline(device="cpu")
# So that what libraries allocate once isn't counted.
list(rate.preprocess(np.random.default_rng(0).normal(0, 0.1, 45 * 16000), curve=True))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for window in rate.preprocess(sys.argv[1], curve=True):
    read_s = window["read_s"]
assert 3590 < read_s < 3620, read_s
print("MIB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
@pytest.mark.parametrize("extension", ["wav", "flac", "mp3"])
def test_an_hour_of_stereo_takes_little_memory(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"hour.{extension}"
    minute = np.stack([bursts(60.0, 44100), bursts(60.0, 44100, seed=1)], axis=1).clip(-1, 1)
    if extension == "mp3":
        # MP3 files that are joined are one, and an hour takes minutes to encode.
        soundfile.write(path, minute, 44100)
        path.write_bytes(path.read_bytes() * 60)
    else:
        with soundfile.SoundFile(path, "w", 44100, 2) as file:
            for _ in range(60):
                file.write(minute)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    # At once it would be 1.2 GB for the samples alone.
    assert float(done.stdout.split("MIB")[1]) < 100


def test_the_page_says_what_was_measured() -> None:
    page = (REPOSITORY / "docs" / "long_audio.md").read_text(encoding="utf-8")
    measured = json.loads((REPOSITORY / "docs" / "results" / "long_audio.json").read_text())
    names = {
        "decoding at once, for comparison": "decode at once",
        "reading as windows: decoding in blocks, mixing, resampling, speech activity": "read windows",
        "score": "score",
        "score and curve": "score with curve",
    }
    for title, name in names.items():
        costs = measured[name]
        memory = costs["growth_of_peak_memory_mib"] / 1024
        assert f"| {title} | {costs['cpu_s']:.0f} s | {memory:.{1 if memory > 1 else 2}f} GiB |" in page
        assert costs["memory_at_rest_mib"] + costs["growth_of_peak_memory_mib"] == pytest.approx(
            costs["peak_memory_mib"], abs=0.11
        )
    assert f"take {measured['score']['memory_at_rest_mib'] / 1024:.2f} GiB at rest" in page
    for row in measured["curve_windows"]:
        length, spread, *drops = row.values()
        cells = " | ".join(f"{value:.2f}" for value in (*drops, spread))
        assert f"{length:.0f} s | {cells} |" in page.replace("**", "")
    for row in measured["pauses"]:
        cells = f" | {row['speech_alone']:.2f} | {row['pause_behind']:.2f} |"
        assert re.search(rf"\| {row['noise_dbov']:.0f} dBov[^|]*{re.escape(cells)}", page)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_curve_is_measured_from_the_memory_at_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores before it, in the same process, would have raised the peak that it is measured from."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, bursts(5.0), SAMPLING_RATE)
    benchmark.measure(str(path), "score with curve")
    costs = json.loads(capsys.readouterr().out)
    assert costs["outcome"] == 5
    assert 0 < costs["memory_at_rest_mib"] <= costs["peak_memory_mib"]


def test_pauses_are_measured_behind_and_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "NOISE_DBOV", (-60.0,))
    (row,) = benchmark.pauses(4.0)
    assert list(row) == ["noise_dbov", "speech_alone", "pause_behind", "pause_in_front"]
    assert all(1 <= row[name] <= 5 for name in list(row)[1:])
