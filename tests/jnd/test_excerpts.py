from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from jsqa_hf.jnd import load_mono
from jsqa_hf.jnd.excerpts import Recording, draw_noise, draw_speech, draw_talker
from jsqa_hf.jnd.levels import rms_level

RATE = 16000
SAMPLES = np.random.default_rng(0).uniform(-0.5, 0.5, size=(2 * RATE, 2))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same two seconds of stereo noise in several formats and at several rates."""
    folder = tmp_path_factory.mktemp("files")
    paths = {}
    for suffix in ("wav", "flac", "ogg"):
        paths[suffix] = folder / f"noise.{suffix}"
        soundfile.write(paths[suffix], SAMPLES, RATE)
    paths["48k"] = folder / "noise48.wav"
    soundfile.write(paths["48k"], np.repeat(SAMPLES, 3, axis=0), 48000)
    return paths


def whole(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0].mean(axis=1)


@settings(deadline=None, max_examples=30)
@given(
    start=st.integers(0, 2 * RATE - 1), length=st.integers(1, 3 * RATE), kind=st.sampled_from(["wav", "flac", "ogg"])
)
def test_an_excerpt_is_the_same_as_cut_out_of_the_whole_file(
    files: dict[str, Path], start: int, length: int, kind: str
) -> None:
    with Recording(str(files[kind])) as recording:
        assert (recording.length, recording.sampling_rate) == (2 * RATE, RATE)
        excerpt = recording.read(RATE, start, length)
        again = recording.read(RATE, start, length)
    np.testing.assert_array_equal(excerpt, again)
    np.testing.assert_allclose(excerpt, whole(files[kind])[start : start + length], atol=1e-7)


def test_sources_of_all_kinds_hold_the_same_samples(files: dict[str, Path]) -> None:
    expected = whole(files["wav"])
    sources: list[Any] = [
        str(files["wav"]),
        {"path": str(files["wav"]), "bytes": None},
        {"path": None, "bytes": files["wav"].read_bytes()},
        {"array": soundfile.read(files["wav"])[0].T, "sampling_rate": RATE},
    ]
    for source in sources:
        np.testing.assert_allclose(load_mono(source, RATE), expected, atol=1e-7)


def test_one_channel_can_be_taken(files: dict[str, Path]) -> None:
    stereo = soundfile.read(files["flac"], dtype="float32")[0]
    for channel in (0, 1):
        np.testing.assert_array_equal(load_mono(str(files["flac"]), RATE, channel=channel), stereo[:, channel])


def test_other_rates_are_resampled_to_the_length_asked_for(files: dict[str, Path]) -> None:
    with Recording(str(files["48k"])) as recording:
        assert recording.length == 6 * RATE
        assert recording.read(RATE).size == 2 * RATE
        assert recording.read(RATE, 4800, 1001).size == 1001


def test_a_file_that_ends_before_its_header_says_so_gives_what_is_there(
    files: dict[str, Path], tmp_path: Path
) -> None:
    content = files["wav"].read_bytes()
    broken = tmp_path / "broken.wav"
    broken.write_bytes(content[: len(content) // 2])
    samples = load_mono(str(broken), RATE)
    assert abs(samples.size - RATE) <= 16
    excerpt = draw_noise(np.random.default_rng(0), str(broken), RATE, 2 * RATE)
    assert excerpt.samples.size == 2 * RATE


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), length=st.integers(100, 5 * RATE))
def test_noise_is_repeated_to_the_length_asked_for(files: dict[str, Path], seed: int, length: int) -> None:
    excerpt = draw_noise(np.random.default_rng(seed), str(files["flac"]), RATE, length)
    start = round(excerpt.offset_s * RATE)
    repeated = np.resize(np.roll(whole(files["flac"]), -start), length)
    np.testing.assert_allclose(excerpt.samples, repeated - repeated.mean(), atol=1e-6)


@pytest.mark.parametrize("background", [0.0, 3e-4])
@pytest.mark.parametrize("seed", range(5))
def test_a_few_words_in_a_long_recording_are_found(background: float, seed: int) -> None:
    rng = np.random.default_rng(1)
    samples = background * rng.standard_normal(60 * RATE)
    samples[40 * RATE : 41 * RATE] += 0.1 * rng.standard_normal(RATE)
    audio = {"array": samples, "sampling_rate": RATE}
    excerpt = draw_speech(np.random.default_rng(seed), audio, RATE, 2.0)
    start = round(excerpt.offset_s * RATE)
    assert start < 41 * RATE and start + 2 * RATE > 40 * RATE
    assert rms_level(excerpt.samples) > -33
    talker = draw_talker(np.random.default_rng(seed), audio, RATE, 2 * RATE)
    assert rms_level(talker.samples) > -33
    assert draw_talker(np.random.default_rng(seed), audio, RATE, 70 * RATE).samples.size == 70 * RATE


def test_an_offset_is_no_noise() -> None:
    samples = 0.1 + 0.001 * np.random.default_rng(0).standard_normal(3 * RATE)
    drawn = draw_noise(np.random.default_rng(0), {"array": samples, "sampling_rate": RATE}, RATE, RATE).samples
    assert rms_level(drawn) == pytest.approx(-60, abs=0.2)
    with pytest.raises(ValueError, match="is silent"):
        draw_noise(np.random.default_rng(0), {"array": np.full(RATE, 0.1), "sampling_rate": RATE}, RATE, RATE // 2)


def test_arrays_are_mono_whichever_axis_the_channels_are() -> None:
    stereo = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    for array in (stereo, stereo.T):
        np.testing.assert_allclose(load_mono({"array": array, "sampling_rate": RATE}, RATE), stereo.mean(axis=0))


def test_a_path_object_is_a_path(files: dict[str, Path]) -> None:
    np.testing.assert_array_equal(load_mono(files["flac"], RATE), load_mono(str(files["flac"]), RATE))
    np.testing.assert_array_equal(load_mono({"path": files["flac"]}, RATE), load_mono(str(files["flac"]), RATE))


def test_speech_of_a_few_milliseconds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lasts 10\.0 ms"):
        draw_speech(np.random.default_rng(0), {"array": np.ones(160), "sampling_rate": RATE}, RATE, None)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (3, "cannot read audio of type int"),
        ({"path": None, "bytes": None}, "cannot read audio"),
        ("nowhere.wav", "nowhere.wav: no such file"),
        ({"array": np.zeros(0), "sampling_rate": RATE}, "no samples"),
        ({"array": np.array([0.0, np.inf]), "sampling_rate": RATE}, "NaN or infinite"),
        ({"bytes": b"text, not audio", "path": None}, "is not audio"),
    ],
)
def test_what_cannot_be_read_is_refused(audio: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_mono(audio, RATE)


def test_bytes_that_hold_no_samples_are_refused() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((0, 1)), RATE, format="WAV")
    with pytest.raises(ValueError, match="no samples"):
        load_mono({"bytes": buffer.getvalue(), "path": None}, RATE)
