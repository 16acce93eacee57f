"""Damage of every kind, from the bytes to the score: it gives a score or a reason, and never a crash or a hang."""

from __future__ import annotations

import faulthandler
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch
from bad_audio import encode, make_many_channels, speech_like, write
from bad_input_table import CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf.audio import AudioDecodingError, decode_audio, open_audio
from jsqa_hf.scoring import score_files
from jsqa_hf.windows import mix_to_mono

HEALTHY = {
    "pcm.wav": write(seconds=0.2),
    "float.wav": write(subtype="FLOAT", seconds=0.1, channels=2),
    "alaw.wav": write(8000, "ALAW", seconds=0.2),
    "a.flac": write(seconds=0.2),
    "a.aiff": write(seconds=0.1),
    "a.w64": write(seconds=0.1),
    "a.caf": write(seconds=0.1),
    "a.mp3": write(seconds=0.4),
    "a.ogg": write(seconds=0.3),
    "a.opus": encode("libopus", container="ogg"),
    "a.aac": encode("aac", 16000),
    "a.m4a": encode("aac", 16000),
    "71.m4a": encode("aac", layout="7.1"),
    "a.webm": encode("libopus"),
    "a.mka": encode("pcm_s16le", 8000),
    "a.ts": encode("aac", 16000),
    "a.tta": encode("tta", 8000),
    "a.mp2": encode("mp2", 16000),
    "adpcm.wav": encode("adpcm_ima_wav", 16000),
    "video.mp4": encode("aac", 16000, video="mpeg4"),
}

# Where headers have sizes, rates and numbers of channels, these do most harm.
EXTREMES = [
    *(bytes(2), bytes(4), b"\xff" * 2, b"\xff" * 4, b"\xff" * 8),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00", b"\x01\x00\x00\x00"),
]

HANGS_AFTER_S = 120


class Edit(NamedTuple):
    """A change of the bytes at `position`, counted from the start again after the end."""

    kind: str
    position: int
    length: int
    new: bytes

    def of(self, content: bytes, other: bytes) -> bytes:
        """The changed content; `other` is that of a second file, for a splice."""
        at = self.position % (len(content) + 1)
        before, after = content[:at], content[at:]
        return {
            "overwrite": before + self.new + after[len(self.new) :],
            "insert": before + self.new + after,
            "remove": before + after[self.length :],
            "repeat": before + 50 * after[: self.length] + after,
            "zero": before + bytes(self.length) + after[self.length :],
            "cut": before,
            "splice": before + other[at:],
        }[self.kind]


EDITS = st.lists(
    st.builds(
        Edit,
        kind=st.sampled_from([*3 * ["overwrite"], "insert", "remove", "repeat", "zero", "cut", "splice"]),
        position=st.one_of(st.integers(0, 100), st.integers(0, 1 << 16)),
        length=st.integers(1, 300),
        new=st.one_of(st.sampled_from(EXTREMES), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("healthy")
    for name, make in HEALTHY.items():
        make(folder / name)
    return {name: (folder / name).read_bytes() for name in HEALTHY}


@pytest.fixture(scope="module")
def rate() -> SpeechQualityPipeline:
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config()).eval()
    return SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), device="cpu")


@pytest.fixture(autouse=True)
def ends_if_it_hangs() -> Iterator[None]:
    """Nothing but the end of the process stops a native library that hangs; where it hung is then printed."""
    faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def check(rate: SpeechQualityPipeline, path: Path) -> None:
    """Score a file: there are scores, or a reason of the table in docs/bad_input.md."""
    [result] = score_files([path], rate, num_workers=1)
    if result.error is not None:
        assert result.scores == {}
        assert without_numbers(result.error).startswith(REASONS), result.error
        return
    assert result.duration_s is not None
    assert result.duration_s > 0
    assert 1.0 <= result.scores["mos_low"] <= result.scores["mos"] <= result.scores["mos_high"] <= 5.0


def without_numbers(reason: str) -> str:
    return re.sub(r"\d[\d.]*", "#", reason)


REASONS = tuple({without_numbers(case.reason) for case in CASES if case.reason})


def damage_and_check(
    rate: SpeechQualityPipeline, healthy: dict[str, bytes], path: Path, name: str, other: str, edits: list[Edit]
) -> None:
    content = healthy[name]
    for edit in edits:
        content = edit.of(content, healthy[other])
    path.write_bytes(content)
    check(rate, path)


FUZZ = {
    "name": st.sampled_from(sorted(HEALTHY)),
    "other": st.sampled_from(sorted(HEALTHY)),
    "edits": EDITS,
}
WITHOUT_LIMITS = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_what_is_to_be_damaged_is_rated(
    rate: SpeechQualityPipeline, healthy: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(healthy[name])
    [result] = score_files([tmp_path / name], rate)
    assert result.error is None


@settings(max_examples=400, **WITHOUT_LIMITS)
@given(**FUZZ)
def test_damage_gives_scores_or_a_reason(
    rate: SpeechQualityPipeline, healthy: dict[str, bytes], tmp_path: Path, name: str, other: str, edits: list[Edit]
) -> None:
    damage_and_check(rate, healthy, tmp_path / "damaged", name, other, edits)


@pytest.mark.slow
@settings(max_examples=5000, **WITHOUT_LIMITS)
@given(**FUZZ)
def test_much_damage_gives_scores_or_a_reason(
    rate: SpeechQualityPipeline, healthy: dict[str, bytes], tmp_path: Path, name: str, other: str, edits: list[Edit]
) -> None:
    faulthandler.dump_traceback_later(30 * HANGS_AFTER_S, exit=True)
    damage_and_check(rate, healthy, tmp_path / "damaged", name, other, edits)


# What was found


def test_a_size_that_points_to_before_the_file_prints_no_traceback(
    rate: SpeechQualityPipeline, healthy: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    edit = Edit("overwrite", 31, 0, b"\xff" * 8)
    damage_and_check(rate, healthy, tmp_path / "a.aiff", "a.aiff", "a.aiff", [edit])
    assert capfd.readouterr().err == ""


def test_a_number_of_channels_that_there_is_not_is_a_decoding_error(healthy: dict[str, bytes]) -> None:
    edit = Edit("overwrite", 47, 0, b"\x80\x00\x00\x00")
    with pytest.raises(AudioDecodingError, match="nothing can be decoded"):
        decode_audio(edit.of(healthy["a.caf"], b""))


def test_a_stream_that_ffmpeg_finds_midway_is_a_decoding_error() -> None:
    content = bytearray(465)
    content[:3] = b"FLV"
    for position, byte in {8: 9, 13: 8, 16: 7, 24: 86, 27: 212, 250: 223, 251: 8, 254: 191, 262: 175, 263: 1}.items():
        content[position] = byte
    content[456:461] = bytes([202, 40, 0, 0, 206])
    with pytest.raises(AudioDecodingError, match="nothing can be decoded"):
        decode_audio(bytes(content))


@pytest.mark.parametrize("layout", ["7.1", "9.1.6", "22.2"])
def test_channels_beyond_those_that_pyav_counts_rightly_do_not_end_the_process(tmp_path: Path, layout: str) -> None:
    # PyAV 18 takes what lies behind the planes of eight and more channels in memory for further planes.
    channels = av.AudioLayout(layout).nb_channels
    encode("pcm_f32le", layout=layout)(tmp_path / "a.mka")
    samples = decode_audio(tmp_path / "a.mka").samples
    np.testing.assert_array_equal(samples, speech_like(48000, channels=channels).T.astype(np.float32))


def test_many_channels_take_no_more_memory_than_few(tmp_path: Path) -> None:
    make_many_channels(tmp_path / "a.wav")
    with open_audio(tmp_path / "a.wav") as stream:
        sizes = [block.shape for block in stream]
    assert {channels for channels, _ in sizes} == {1024}
    assert max(1024 * length for _, length in sizes) <= 1 << 21
    assert sum(length for _, length in sizes) == 100_000


def test_infinities_of_both_signs_are_told_without_a_warning(tmp_path: Path) -> None:
    samples = speech_like(channels=2)
    samples[100] = np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="NaN or infinite"):
            mix_to_mono(samples.T)
