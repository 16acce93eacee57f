"""Makers of bad and of odd audio files."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

RATE = 16000
SECONDS = 0.6

Make = Callable[[Path], object]


def speech_like(sampling_rate: int = RATE, seconds: float = SECONDS, channels: int = 1) -> np.ndarray:
    """(time, channels): noise that comes and goes four times a second, all channels different."""
    time = np.arange(round(seconds * sampling_rate))[:, None] / sampling_rate
    noise = np.random.default_rng(0).normal(0, 0.1, (len(time), channels))
    return (noise * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))).clip(-1, 1)


def write(sampling_rate: int = RATE, subtype: str | None = None, **options: Any) -> Make:
    """A maker of a file that libsndfile writes."""
    samples = speech_like(sampling_rate, **options)
    return lambda path: soundfile.write(path, samples, sampling_rate, subtype=subtype)


def write_samples(samples: np.ndarray, subtype: str = "FLOAT") -> Make:
    return lambda path: soundfile.write(path, samples, RATE, subtype=subtype)


def encode(
    codec: str, sampling_rate: int = 48000, video: str = "", container: str | None = None, layout: str = "mono"
) -> Make:
    """A maker of a file that FFmpeg writes, with a few black pictures where a video codec is given."""

    def make(path: Path) -> None:
        with av.open(str(path), "w", format=container) as file:
            pictures = file.add_stream(video, rate=5, width=16, height=16, pix_fmt="yuv420p") if video else None
            sound = file.add_stream(codec, rate=sampling_rate, layout=layout) if codec else None
            if pictures:
                for index in range(3):
                    black = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
                    black.pts = index
                    file.mux(pictures.encode(black))
                file.mux(pictures.encode(None))
            if sound:
                samples = speech_like(sampling_rate, channels=av.AudioLayout(layout).nb_channels)
                interleaved = samples.astype(np.float32).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
                frame.rate = sampling_rate
                resampler = av.AudioResampler(sound.format, sound.layout, sampling_rate, sound.frame_size or 1024)
                for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                    file.mux(sound.encode(part))

    return make


def changed(make: Make, change: Callable[[bytes], bytes]) -> Make:
    """A maker of a file that another maker writes, with other bytes."""

    def make_changed(path: Path) -> None:
        make(path)
        path.write_bytes(change(path.read_bytes()))

    return make_changed


def cut(make: Make) -> Make:
    return changed(make, lambda content: content[: len(content) // 2])


def wav_that_announces(sampling_rate: int = RATE, data_bytes: int | None = None) -> Make:
    """A maker of a WAV file with other numbers in its header than fit its samples."""

    def change(content: bytes) -> bytes:
        header = bytearray(content)
        header[24:28] = struct.pack("<I", sampling_rate)
        if data_bytes is not None:
            header[4:8] = struct.pack("<I", min(data_bytes + 36, 0xFFFFFFFF))
            header[40:44] = struct.pack("<I", data_bytes)
        return bytes(header)

    return changed(write(subtype="PCM_16"), change)


def announce_long_mp4(content: bytes) -> bytes:
    """Set the duration of movie, track and medium to the longest that fits."""
    changed_content = bytearray(content)
    for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        start = content.index(box) + offset
        changed_content[start : start + 4] = b"\x7f\xff\xff\xff"
    return bytes(changed_content)


def overwrite_sound(content: bytes) -> bytes:
    """Set all bytes between the name of the `mdat` box and the index of an MP4 to 255."""
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    return content[:start] + b"\xff" * (end - start) + content[end:]


def announce_long_flac(content: bytes) -> bytes:
    """Set the number of samples in STREAMINFO, of 36 bits, to the largest: 69 billion."""
    return content[:21] + bytes([content[21] | 0x0F]) + b"\xff" * 4 + content[26:]


def write_silence(seconds: float, sampling_rate: int = 8000) -> Make:
    """A maker of a file of silence, written in pieces: 1 kB for each minute in FLAC."""

    def make(path: Path) -> None:
        with soundfile.SoundFile(path, "w", sampling_rate, 1) as file:
            for _ in range(round(seconds / 60)):
                file.write(np.zeros(60 * sampling_rate))

    return make


def make_many_channels(path: Path) -> None:
    """1024 channels, the most that libsndfile reads; the file is sparse."""
    soundfile.write(path, np.zeros((1, 1024)), RATE)
    frames = 100_000
    with open(path, "r+b") as file:
        start = file.read().index(b"data") + 4
        file.seek(start)
        file.write(struct.pack("<I", frames * 2048))
        file.truncate(start + 4 + frames * 2048)


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no audio")


def make_circle_of_folders(path: Path) -> None:
    path.mkdir()
    write()(path / "a.wav")
    (path / "again").symlink_to(path, target_is_directory=True)


def make_unreadable(path: Path) -> None:
    write()(path)
    path.chmod(0)


def make_socket(path: Path) -> None:
    # By a relative path, because that of a socket must be short.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}" if os.path.isdir("/proc/self/fd") else str(path))
    finally:
        os.close(folder)


def make_name_that_is_not_utf8(path: Path) -> None:
    # libsndfile's own function for paths takes only what can be written in UTF-8.
    write()(path.with_name("utf8.wav"))
    path.with_name("utf8.wav").rename(path)


def nothing(path: Path) -> None:
    """What doesn't exist needs no maker."""
