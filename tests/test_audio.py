"""Decoding of audio files: formats, damage, and what isn't audio."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jsqa_hf import audio
from jsqa_hf.audio import AudioDecodingError, decode_audio, open_audio

FREQUENCY = 440.0


def tone(sampling_rate: int = 16000, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    """(channels, time): a tone whose amplitude falls from channel to channel, 0.4, 0.2, 0.133, ..."""
    time = np.arange(int(sampling_rate * seconds)) / sampling_rate
    wave = 0.4 * np.sin(2 * np.pi * FREQUENCY * time)
    return np.stack([wave / (1 + channel) for channel in range(channels)]).astype(np.float32)


def encode(
    path: Path, codec: str, sampling_rate: int = 16000, channels: int = 1, seconds: float = 1.0, video: str = ""
) -> Path:
    """Write the tone with PyAV, beside a tiny black video where a video codec is given."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(video, rate=5, width=16, height=16, pix_fmt="yuv420p") if video else None
        stream = container.add_stream(codec, rate=sampling_rate, layout=layout) if codec else None
        if pictures:
            for index in range(5):
                black = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
                black.pts = index
                container.mux(pictures.encode(black))
            container.mux(pictures.encode(None))
        if stream:
            frame = av.AudioFrame.from_ndarray(tone(sampling_rate, seconds, channels), format="fltp", layout=layout)
            frame.rate = sampling_rate
            resampler = av.AudioResampler(stream.format, stream.layout, sampling_rate, stream.frame_size or 1024)
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(part))
    return path


def level_of_tone(samples: np.ndarray, sampling_rate: int) -> float:
    """Amplitude of the test tone in the middle half of one channel, by projection on sine and cosine."""
    quarter = len(samples) // 4
    middle = samples[quarter : 3 * quarter].astype(np.float64)
    phase = 2 * np.pi * FREQUENCY * np.arange(len(middle)) / sampling_rate
    return 2 * abs(np.mean(middle * np.exp(-1j * phase)))


@pytest.mark.parametrize(
    ("extension", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("wav", "PCM_32", 2**-24),
        ("wav", "FLOAT", 0.0),
        ("wav", "DOUBLE", 0.0),
        ("wav", "PCM_U8", 2**-7),
        ("wav", "ULAW", 0.02),
        ("flac", "PCM_16", 2**-15),
        ("aiff", "PCM_24", 2**-23),
        ("w64", "PCM_16", 2**-15),
        ("caf", "PCM_16", 2**-15),
    ],
)
def test_a_lossless_file_gives_back_its_samples_scaled_to_full_scale_1(
    tmp_path: Path, extension: str, subtype: str, tolerance: float
) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, tone(44100, 0.5, 2).T, 44100, subtype=subtype)
    decoded = decode_audio(path)
    assert decoded.sampling_rate == 44100
    assert decoded.samples.dtype == np.float32
    assert decoded.samples.shape == (2, 22050)
    np.testing.assert_allclose(decoded.samples, tone(44100, 0.5, 2), atol=tolerance, rtol=0)


def test_float_samples_above_full_scale_are_kept(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 4 * tone()[0], 16000, subtype="FLOAT")
    assert np.abs(decode_audio(tmp_path / "a.wav").samples).max() == pytest.approx(1.6, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "format_", "subtype", "sampling_rate"),
    [
        ("a.ogg", "OGG", "VORBIS", 44100),
        ("a.opus", "OGG", "OPUS", 48000),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 22050),
    ],
)
def test_lossy_formats_of_libsndfile_keep_level_length_and_channels(
    tmp_path: Path, name: str, format_: str, subtype: str, sampling_rate: int
) -> None:
    soundfile.write(tmp_path / name, tone(sampling_rate, 1.0, 2).T, sampling_rate, format=format_, subtype=subtype)
    samples, rate = decode_audio(tmp_path / name)
    assert rate == sampling_rate
    assert samples.shape == (2, sampling_rate)
    assert level_of_tone(samples[0], rate) == pytest.approx(0.4, rel=0.03)
    assert level_of_tone(samples[1], rate) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize(
    ("name", "codec", "sampling_rate", "channels", "video"),
    [
        ("a.m4a", "aac", 44100, 2, ""),
        ("six.m4a", "aac", 48000, 6, ""),
        ("lossless.m4a", "alac", 44100, 2, ""),
        ("a.aac", "aac", 16000, 1, ""),
        ("a.webm", "libopus", 48000, 1, ""),
        ("video.webm", "libopus", 48000, 2, "libvpx"),
        ("video.mp4", "aac", 44100, 1, "mpeg4"),
        ("a.amr", "libopencore_amrnb", 8000, 1, ""),
        ("g722.wav", "g722", 16000, 1, ""),
        ("a.ac3", "ac3", 48000, 2, ""),
    ],
)
def test_what_libsndfile_cannot_read_is_decoded_by_ffmpeg(
    tmp_path: Path, name: str, codec: str, sampling_rate: int, channels: int, video: str
) -> None:
    path = encode(tmp_path / name, codec, sampling_rate, channels, video=video)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(path)
    samples, rate = decode_audio(path)
    assert rate == sampling_rate
    assert samples.dtype == np.float32
    assert samples.shape[0] == channels
    assert samples.shape[1] / rate == pytest.approx(1.0, abs=0.1)
    tolerance = 0.2 if codec == "libopencore_amrnb" else 0.05
    assert level_of_tone(samples[0], rate) == pytest.approx(0.4, rel=tolerance)


def test_mp3_through_ffmpeg_equals_mp3_through_libsndfile(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (30000, 2))
    soundfile.write(tmp_path / "a.mp3", noise, 44100)
    expected, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    np.testing.assert_allclose(decode_audio(tmp_path / "a.mp3").samples.T, expected, atol=1e-4)


def test_a_damaged_mp3_is_decoded_without_output_of_native_libraries(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(44100, 3.0)[0], 44100)
    content = bytearray((tmp_path / "a.mp3").read_bytes())
    content[3000::97] = bytes(byte ^ 0xFF for byte in content[3000::97])
    assert decode_audio(bytes(content)).samples.shape[1] > 44100
    assert capfd.readouterr().err == ""


def test_bytes_give_the_same_as_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone()[0], 16000)
    encode(tmp_path / "a.m4a", "aac")
    for name in ("a.flac", "a.m4a"):
        from_path, from_bytes = decode_audio(tmp_path / name), decode_audio((tmp_path / name).read_bytes())
        assert from_path.sampling_rate == from_bytes.sampling_rate
        np.testing.assert_array_equal(from_path.samples, from_bytes.samples)


def test_the_content_counts_and_not_the_extension(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone()[0], 16000)
    (tmp_path / "a.wav").rename(tmp_path / "a.raw")
    assert decode_audio(tmp_path / "a.raw").samples.shape == (1, 16000)


def test_a_name_that_is_not_utf8_is_no_obstacle(tmp_path: Path) -> None:
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9.wav"))
    soundfile.write(tmp_path / "a.wav", tone()[0], 16000)
    try:
        os.rename(tmp_path / "a.wav", path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert decode_audio(path).samples.shape == (1, 16000)


def test_metadata_that_is_not_utf8_is_no_obstacle(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mka", "pcm_s16le")
    data = path.read_bytes()
    assert b"Lavf" in data  # The name of the encoder.
    assert decode_audio(data.replace(b"Lavf", b"\xe9t\xe9!")).samples.shape == (1, 16000)


def test_a_stream_that_changes_rate_and_channels_midway_comes_out_at_its_first_rate(tmp_path: Path) -> None:
    first = encode(tmp_path / "a.aac", "aac", 16000, 1).read_bytes()
    second = encode(tmp_path / "b.aac", "aac", 44100, 2, seconds=2.0).read_bytes()
    samples, rate = decode_audio(first + second)
    assert (samples.shape[0], rate) == (1, 16000)
    assert samples.shape[1] / rate == pytest.approx(3.0, abs=0.25)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_video_without_sound(path: Path) -> None:
    encode(path, "", video="mpeg4")


def make_headless_mp4(path: Path) -> None:
    encode(path, "aac")
    path.write_bytes(path.read_bytes()[:3000])


NOT_AUDIO: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing.wav", lambda path: None, "no such file"),
    ("folder.wav", make_folder, "is a folder"),
    ("empty.wav", lambda path: path.touch(), "is empty"),
    ("text.wav", lambda path: path.write_text("this is text\n" * 100), "is not audio"),
    ("text.g722", lambda path: path.write_text("this is text\n" * 100), "is not audio"),
    ("random.mp3", lambda path: path.write_bytes(np.random.default_rng(1).bytes(50000)), "is not audio"),
    ("zeros.bin", lambda path: path.write_bytes(bytes(5000)), "is not audio"),
    ("header.wav", lambda path: soundfile.write(path, np.zeros((0, 1)), 16000), "holds no audio samples"),
    ("silent.mp4", make_video_without_sound, "has no audio stream"),
    ("cut.m4a", make_headless_mp4, "is not audio .* damaged or incomplete"),
]


@pytest.mark.parametrize(("name", "make", "reason"), NOT_AUDIO, ids=[name for name, _, _ in NOT_AUDIO])
def test_what_is_not_audio_is_refused_with_name_and_reason(
    tmp_path: Path, name: str, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(AudioDecodingError, match=f"{name}: {reason}") as caught:
        decode_audio(tmp_path / name)
    assert name not in caught.value.reason
    assert isinstance(caught.value, ValueError)


def test_no_bytes_are_refused() -> None:
    with pytest.raises(AudioDecodingError, match="^is empty"):
        decode_audio(b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioDecodingError, match="is not a regular file"):
        decode_audio(tmp_path / "pipe.wav")


class Tattletale:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_numpy_array_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "unpickled"
    np.save(tmp_path / "a.npy", np.array([Tattletale(trace)], dtype=object), allow_pickle=True)
    (tmp_path / "a.wav").write_bytes(pickle.dumps(Tattletale(trace)))
    with pytest.raises(AudioDecodingError, match="is a NumPy array"):
        decode_audio(tmp_path / "a.npy")
    with pytest.raises(AudioDecodingError, match="is not audio"):
        decode_audio(tmp_path / "a.wav")
    assert not trace.exists()


@pytest.mark.parametrize(
    "playlist",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.aac\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile a.aac\n"],
    ids=["hls", "concat"],
)
def test_playlists_are_not_followed_to_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, playlist: str
) -> None:
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "a.aac", "aac")
    for path in (tmp_path / "list.m3u8", tmp_path / "list.wav"):
        path.write_text(playlist)
        with pytest.raises(AudioDecodingError, match="is not audio"):
            decode_audio(path)


def test_damage_in_the_middle_of_a_long_file_costs_only_the_damaged_part(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * 16000)
    soundfile.write(tmp_path / "a.flac", noise, 16000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    middle = 2 * len(content) // 3
    content[middle : middle + 100] = bytes(100)
    samples, rate = decode_audio(bytes(content))
    assert 29.0 < samples.shape[1] / rate <= 30.0


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.aiff", "a.webm", "a.aac", "a.amr"])
def test_a_file_that_breaks_off_gives_what_is_there(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libopus", "a.aac": "aac", "a.amr": "libopencore_amrnb"}.get(name)
    sampling_rate = {"a.webm": 48000, "a.amr": 8000}.get(name, 16000)
    if codec:
        encode(tmp_path / name, codec, sampling_rate, seconds=8.0)
    else:
        # Noise, because a tone is compressed into so little that nothing of it can be cut off.
        noise = np.random.default_rng(0).normal(0, 0.1, 8 * sampling_rate)
        soundfile.write(tmp_path / name, noise, sampling_rate)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    samples, rate = decode_audio(tmp_path / name)
    assert 2.5 < samples.shape[1] / rate < 5.0
    assert np.isfinite(samples).all()


@pytest.mark.parametrize(("name", "codec", "video"), [("a.m4a", "aac", ""), ("a.webm", "libopus", "libvpx")])
def test_ffmpeg_gives_blocks_that_add_up_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str, video: str
) -> None:
    path = encode(tmp_path / name, codec, 48000, 2, seconds=2.0, video=video)
    whole = decode_audio(path)
    monkeypatch.setattr(audio, "_MERGED_FRAMES", 5000)
    with open_audio(path) as stream:
        blocks = list(stream)
    assert len(blocks) > 10
    assert stream.duration_s == stream.frames_read / 48000 == whole.samples.shape[1] / 48000
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole.samples)


def test_ffmpeg_goes_on_where_libsndfile_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * 16000).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", noise, 16000)
    expected = decode_audio(tmp_path / "a.flac").samples
    content = bytearray((tmp_path / "a.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    (tmp_path / "a.flac").write_bytes(content)
    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 16000)
    with pytest.raises(soundfile.SoundFileError), soundfile.SoundFile(tmp_path / "a.flac") as sound:
        while len(sound.read(16000)):
            pass
    samples = decode_audio(tmp_path / "a.flac").samples
    # A frame or two of 4096 samples are lost; what is before and behind is there once.
    np.testing.assert_array_equal(samples[:, : 13 * 16000], expected[:, : 13 * 16000])
    np.testing.assert_array_equal(samples[:, -13 * 16000 :], expected[:, -13 * 16000 :])
    assert 29.0 < samples.shape[1] / 16000 <= 30.0


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_ogg_recordings_one_behind_the_other_are_read_to_the_end(tmp_path: Path, name: str) -> None:
    subtype = "VORBIS" if name == "a.ogg" else "OPUS"
    contents = []
    for seconds in (1.0, 2.0):
        soundfile.write(tmp_path / name, tone(48000, seconds)[0], 48000, format="OGG", subtype=subtype)
        contents.append((tmp_path / name).read_bytes())
    samples, rate = decode_audio(b"".join(contents))
    assert samples.shape[1] / rate == pytest.approx(3.0, abs=0.03)
    assert level_of_tone(samples[0, -rate:], rate) == pytest.approx(0.4, rel=0.03)


class BadSector(io.BytesIO):
    """A file of which only the first part can be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 50_000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_file_that_can_be_read_in_part_is_an_error_and_not_its_first_part(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * 16000)
    soundfile.write(tmp_path / name, noise, 16000)
    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 16000)
    monkeypatch.setattr(audio, "_open_file", lambda path: BadSector(Path(path).read_bytes()))
    with pytest.raises(AudioDecodingError, match=rf"{name}: can't be read: Input/output error"):
        decode_audio(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_a_file_is_closed_when_its_stream_is_left_early(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.tile(tone()[0], 40), 16000)
    with open_audio(tmp_path / "a.flac") as stream:
        next(iter(stream))
    assert stream.duration_s is None
    assert list(stream) == []


def test_a_header_that_announces_too_much_does_not_exhaust_memory(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone()[0], 16000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    # The 36-bit number of samples in STREAMINFO: about 69 billion, that is 275 GB of float32.
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"
    samples, _ = decode_audio(bytes(content))
    assert 12000 < samples.shape[1] <= 16000


def test_without_pyav_libsndfile_still_decodes_and_the_rest_names_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.mp3", tone()[0], 16000)
    encode(tmp_path / "a.m4a", "aac")
    monkeypatch.setattr(audio, "av", None)
    assert decode_audio(tmp_path / "a.mp3").samples.shape == (1, 16000)
    with pytest.raises(AudioDecodingError, match="a.m4a: .*pip install av"):
        decode_audio(tmp_path / "a.m4a")


def test_the_module_needs_neither_torch_nor_transformers() -> None:
    spec = importlib.util.find_spec("jsqa_hf.audio")
    assert spec is not None
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('audio', {spec.origin!r})\n"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "print(sorted({'torch', 'transformers', 'jsqa_hf'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("healthy")
    for name in ("a.wav", "a.flac", "a.ogg"):
        soundfile.write(folder / name, tone(seconds=0.3)[0], 16000)
    encode(folder / "a.m4a", "aac", seconds=0.3)
    encode(folder / "a.webm", "libopus", 48000, seconds=0.3)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_samples_or_a_decoding_error(healthy: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(healthy)))
    changes = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=20)
    for position, byte in data.draw(changes):
        content[position] = byte
    content = content[: data.draw(st.integers(1, len(content)))]
    try:
        samples, sampling_rate = decode_audio(bytes(content))
    except AudioDecodingError as error:
        assert error.reason
    else:
        assert samples.ndim == 2
        assert samples.shape[1] > 0
        assert samples.dtype == np.float32
        assert sampling_rate > 0
