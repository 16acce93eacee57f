"""The table of docs/bad_input.md: what there may be instead of a good audio file, and what comes out."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from bad_audio import (
    RATE,
    SECONDS,
    Make,
    announce_long_flac,
    announce_long_mp4,
    changed,
    cut,
    encode,
    make_circle_of_folders,
    make_folder,
    make_many_channels,
    make_name_that_is_not_utf8,
    make_socket,
    make_unreadable,
    nothing,
    overwrite_sound,
    speech_like,
    wav_that_announces,
    write,
    write_samples,
    write_silence,
)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        what: the first column, what the input is.
        name: of the file or folder.
        make: writes it.
        outcome: the second column: `rated`, perhaps with a remark, or `error:` with the start of the message in
            backticks.
        seconds: length of what is rated; None if nothing is, or if the length is not told (Ogg comes in pages).
        posix: whether it can exist on POSIX systems only.
    """

    what: str
    name: str
    make: Make
    outcome: str = "rated"
    seconds: float | None = SECONDS
    posix: bool = False

    @property
    def reason(self) -> str | None:
        """How the message starts, None if the input is rated."""
        return self.outcome.split("`")[1] if self.outcome.startswith("error:") else None


_NAN, _INFINITE, _CLIPPED, _UNSCALED = (speech_like() for _ in range(4))
_NAN[5000], _INFINITE[-1] = np.nan, -np.inf
_CLIPPED = np.clip(100 * _CLIPPED, -1, 1)
_UNSCALED = 32768 * _UNSCALED

NOT_AUDIO = "error: `is not audio in a format that libsndfile or FFmpeg can read, or is damaged or incomplete`"
NO_SAMPLES = "error: `holds no audio samples`"
SILENT = "error: `digital silence cannot be rated`"
UP_TO_THE_BREAK = "rated up to the break"
TO_MONO = "rated, as the mean of its channels"

CASES = [
    # Files that aren't there, or aren't files
    Case("missing file", "missing.wav", nothing, "error: `no such file`", None),
    Case("folder without audio", "folder", make_folder, "error: `there are no audio files in this folder`", None),
    Case("folder with links in a circle", "circle", make_circle_of_folders, "rated, each file once", posix=True),
    Case("pattern that matches nothing", "no*.wav", nothing, "error: `no audio file matches this pattern`", None),
    Case(
        "link to itself",
        "circle.wav",
        lambda path: path.symlink_to(path),
        "error: `can't be opened: Too many levels of symbolic links`",
        None,
        posix=True,
    ),
    Case(
        "link to nothing",
        "broken.wav",
        lambda path: path.symlink_to("gone.wav"),
        "error: `no such file`",
        None,
        posix=True,
    ),
    Case(
        "pipe (FIFO)",
        "pipe.wav",
        lambda path: os.mkfifo(path),
        "error: `is not a regular file (a pipe or a device)`",
        None,
        posix=True,
    ),
    Case("socket", "socket.wav", make_socket, "error: `is not a regular file (a pipe or a device)`", None, posix=True),
    Case(
        "file without permission to read",
        "forbidden.wav",
        make_unreadable,
        "error: `can't be opened: Permission denied`",
        None,
        posix=True,
    ),
    # Names
    Case("name that is not ASCII", "Größe 音声 🎧.wav", write()),
    Case("name with a line break", "two\nlines.wav", write(), posix=True),
    Case("name that is not UTF-8", os.fsdecode(b"caf\xe9.wav"), make_name_that_is_not_utf8, posix=True),
    Case("name of 255 bytes", "n" * 251 + ".wav", write(), posix=True),
    Case(
        "name that is too long",
        "n" * 300 + ".wav",
        nothing,
        "error: `can't be opened: File name too long`",
        None,
        posix=True,
    ),
    Case(
        "name with a zero byte",
        "zero\0byte.wav",
        nothing,
        "error: `can't be opened: its name holds a zero byte`",
        None,
    ),
    # Files that aren't audio
    Case("zero bytes", "empty.wav", lambda path: path.touch(), "error: `is empty (0 bytes)`", None),
    Case("text renamed `.wav`", "text.wav", lambda path: path.write_text("text\n" * 200), NOT_AUDIO, None),
    Case(
        "random bytes",
        "random.mp3",
        lambda path: path.write_bytes(np.random.default_rng(1).bytes(9999)),
        NOT_AUDIO,
        None,
    ),
    Case("zeros", "zeros.flac", lambda path: path.write_bytes(bytes(5000)), NOT_AUDIO, None),
    Case(
        "NumPy array", "a.npy", lambda path: np.save(path, np.zeros(5)), "error: `is a NumPy array, not audio`", None
    ),
    Case("playlist", "a.m3u8", lambda path: path.write_text("#EXTM3U\n#EXTINF:9,\n/etc/passwd\n"), NOT_AUDIO, None),
    # Damaged files
    Case("header only: WAV", "header.wav", write(seconds=0.0), NO_SAMPLES, None),
    Case("header only: FLAC", "header.flac", changed(write(), lambda content: content[:42]), NO_SAMPLES, None),
    Case("half a header", "half.wav", changed(write(), lambda content: content[:20]), NOT_AUDIO, None),
    Case("WAV that breaks off", "cut.wav", cut(write()), UP_TO_THE_BREAK, SECONDS / 2),
    Case("FLAC that breaks off", "cut.flac", cut(write()), UP_TO_THE_BREAK, SECONDS / 2),
    Case("MP3 that breaks off", "cut.mp3", cut(write()), UP_TO_THE_BREAK, SECONDS / 2),
    Case("Ogg that breaks off", "cut.ogg", cut(write(seconds=4.0)), UP_TO_THE_BREAK, None),
    Case("WebM that breaks off", "cut.webm", cut(encode("libopus")), UP_TO_THE_BREAK, SECONDS / 2),
    Case("M4A that breaks off before its index", "cut.m4a", cut(encode("aac")), NOT_AUDIO, None),
    Case(
        "M4A whose sound is overwritten",
        "overwritten.m4a",
        changed(encode("aac"), overwrite_sound),
        "error: `has an audio stream of which nothing can be decoded`",
        None,
    ),
    Case(
        "WAV of 10 hours that breaks off", "10h.wav", wav_that_announces(data_bytes=2 * RATE * 36000), UP_TO_THE_BREAK
    ),
    # Sounds
    Case(
        "10 ms",
        "10ms.wav",
        write(seconds=0.01),
        "error: `the clip lasts 10.0 ms, but at least 50 ms are needed`",
        None,
    ),
    Case("0.3 s", "300ms.wav", write(seconds=0.3), seconds=0.3),
    Case("digital silence", "silence.wav", write_samples(np.zeros(RATE), "PCM_16"), SILENT, None),
    Case("constant (DC)", "dc.wav", write_samples(np.full(RATE, 0.3)), SILENT, None),
    Case("clipped at full scale", "clipped.wav", write_samples(_CLIPPED, "PCM_16")),
    Case("NaN", "nan.wav", write_samples(_NAN), "error: `the clip has NaN or infinite samples`", None),
    Case(
        "infinity",
        "inf.wav",
        write_samples(_INFINITE, "DOUBLE"),
        "error: `the clip has NaN or infinite samples`",
        None,
    ),
    Case(
        "floats scaled like 16-bit PCM",
        "unscaled.wav",
        write_samples(_UNSCALED),
        "error: `the peak of the clip is`",
        None,
    ),
    # Formats
    *(Case(f"{rate / 1000:g} kHz", f"{rate}.wav", write(rate)) for rate in (8000, 11025, 44100, 48000, 96000, 192000)),
    Case("8 bit", "8bit.wav", write(subtype="PCM_U8")),
    Case("24 bit", "24bit.wav", write(subtype="PCM_24")),
    Case("float64", "float64.wav", write(subtype="DOUBLE")),
    Case("A-law", "alaw.wav", write(8000, "ALAW")),
    Case("mu-law", "mulaw.wav", write(8000, "ULAW")),
    Case("6 channels", "6channels.wav", write(channels=6), TO_MONO),
    Case("8 channels (7.1) in M4A", "71.m4a", encode("aac", layout="7.1"), TO_MONO),
    Case(
        "16 channels in Matroska",
        "16channels.mka",
        encode("pcm_s16le", layout="hexadecagonal"),
        "error: `16 channels are too many (at most 8)`",
        None,
    ),
    Case("9 channels", "9channels.wav", write(channels=9), "error: `9 channels are too many (at most 8)`", None),
    Case("MP3", "a.mp3", write()),
    Case("Ogg Vorbis", "a.ogg", write()),
    Case("Opus", "a.opus", encode("libopus", container="ogg")),
    Case(
        "Ogg Vorbis, two recordings in one file",
        "two.ogg",
        changed(write(), lambda content: 2 * content),
        seconds=None,
    ),
    Case("M4A", "a.m4a", encode("aac")),
    Case("WebM", "a.webm", encode("libopus")),
    Case("video: MP4", "video.mp4", encode("aac", video="mpeg4"), "rated, by its first audio stream"),
    Case("video: WebM", "video.webm", encode("libopus", video="libvpx"), "rated, by its first audio stream"),
    Case("video without sound", "mute.mp4", encode("", video="mpeg4"), "error: `has no audio stream`", None),
    # Headers that lie, and decompression bombs
    Case(
        "sampling rate of 1 Hz",
        "1hz.wav",
        wav_that_announces(1),
        "error: `a sampling rate of 1 Hz is not that of speech`",
        None,
    ),
    Case(
        "sampling rate of 1 GHz",
        "1ghz.wav",
        wav_that_announces(1 << 30),
        "error: `a sampling rate of 1073741824 Hz is not that of speech`",
        None,
    ),
    Case("WAV that announces 4 GB", "4gb.wav", wav_that_announces(data_bytes=0xFFFFFFF0), UP_TO_THE_BREAK),
    Case("FLAC that announces 69 billion samples", "long.flac", changed(write(), announce_long_flac), UP_TO_THE_BREAK),
    Case("MP4 that announces a year", "year.mp4", changed(encode("aac"), announce_long_mp4), UP_TO_THE_BREAK),
    Case(
        "1024 channels",
        "1024channels.wav",
        make_many_channels,
        "error: `1024 channels are too many (at most 8)`",
        None,
    ),
    Case("silence that is compressed to a thousandth", "silence.flac", write_silence(60), SILENT, None),
    # The tests of the fast kind lower the limit to 100 s.
    Case("more than 48 hours", "days.flac", write_silence(120), "error: `lasts longer than`", None),
]
