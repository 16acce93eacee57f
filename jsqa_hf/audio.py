"""Decoding of audio files and of audio bytes, whatever the format.

libsndfile (through `soundfile`) reads WAV, FLAC, Ogg, Opus, AIFF and relatives; MP3, and what libsndfile can't read
(M4A/AAC, AMR, WMA, the sound of MP4 and WebM videos), goes to FFmpeg (through PyAV, `av`). Both libraries bring their
decoders in their wheels, so nothing has to be installed on the system.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

import numpy as np
import soundfile

try:
    import av
except ImportError:  # What libsndfile reads can then still be decoded.
    av = None  # type: ignore[assignment]

__all__ = ["AudioDecodingError", "DecodedAudio", "decode_audio"]

# Reading in blocks: a damaged header may announce more samples than memory holds.
_BLOCK_FRAMES = 1 << 18

# The containers that FFmpeg may open. Without the list a text file could be taken for a playlist, which FFmpeg would
# follow to other files and hosts, and headerless formats would be read into noise.
_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,eac3,flac,flv,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,"
    "mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,qcp,rm,tak,tta,voc,w64,wav,wv"
)


class DecodedAudio(NamedTuple):
    """Samples as they come out of a decoder, at the rate and with the channels of the file.

    Attributes:
        samples: float32 array of shape (channels, time); integer formats are scaled to [-1, 1), float formats are left
            as they are.
        sampling_rate: in Hz.
    """

    samples: np.ndarray
    sampling_rate: int


class AudioDecodingError(ValueError):
    """A file (or a byte string) that can't be decoded.

    Args:
        reason: what is wrong and what would mend it.
        source: the file's name, which the message starts with.

    Attributes:
        reason: as passed, for a caller that names the file by itself.
    """

    def __init__(self, reason: str, source: str = "") -> None:
        super().__init__(f"{source}: {reason}" if source else reason)
        self.reason = reason


def decode_audio(source: str | os.PathLike[str] | bytes) -> DecodedAudio:
    """Decode a whole audio file, or the first audio stream of a video file.

    A file that breaks off (an interrupted recording or download) gives the samples up to the break. Nothing is
    downmixed, resampled or normalised here.

    Args:
        source: path of a regular file, or the content of such a file as bytes.

    Returns:
        float32 samples of shape (channels, time), at least one of them, and the sampling rate in Hz.

    Raises:
        AudioDecodingError: the file doesn't exist, isn't a regular file, is empty, isn't audio, or holds no samples.
    """
    name = "" if isinstance(source, bytes) else os.fspath(source)
    try:
        with _open_source(source) as stream:
            return _decode_stream(stream)
    except AudioDecodingError as error:
        raise AudioDecodingError(error.reason, name) from error


def _decode_stream(stream: IO[bytes]) -> DecodedAudio:
    """Decode with libsndfile, and with FFmpeg what libsndfile reads not at all or not to the end."""
    partial = None
    # libsndfile's MP3 decoder writes every oddity of a file to stderr; FFmpeg gives the same samples silently.
    if av is None or not _is_mpeg_audio(stream):
        decoded, complete = _decode_with_soundfile(stream)
        if decoded is not None and complete:
            return decoded
        partial = decoded
    try:
        decoded = _decode_with_pyav(stream)
    except AudioDecodingError:
        if partial is None:
            raise
        decoded = partial
    if decoded.samples.shape[1] == 0:
        raise AudioDecodingError("holds no audio samples (the header is there, the sound is not)")
    return decoded


def _is_mpeg_audio(stream: IO[bytes]) -> bool:
    """Whether the stream starts like an MP3 file: with an ID3 tag or with the eleven set bits of a frame header."""
    start = stream.read(3)
    stream.seek(0)
    return start == b"ID3" or (len(start) == 3 and start[0] == 0xFF and start[1] >= 0xE0)


@contextmanager
def _open_source(source: str | os.PathLike[str] | bytes) -> Iterator[IO[bytes]]:
    """Open a path or wrap bytes as a seekable stream; anything that reading could block on is refused."""
    if isinstance(source, bytes):
        if not source:
            raise AudioDecodingError("is empty (0 bytes)")
        yield io.BytesIO(source)
        return
    try:
        status = os.stat(source)
        if stat.S_ISDIR(status.st_mode):
            raise AudioDecodingError("is a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioDecodingError("is not a regular file (a pipe or a device); save the audio to a file first")
        if status.st_size == 0:
            raise AudioDecodingError("is empty (0 bytes)")
        # Opened by descriptor, the stream has no name, so that neither library guesses a format from the extension.
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise AudioDecodingError("no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, AudioDecodingError):
            raise
        raise AudioDecodingError(f"can't be opened: {getattr(error, 'strerror', None) or error}") from error
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def _decode_with_soundfile(stream: IO[bytes]) -> tuple[DecodedAudio | None, bool]:
    """Decode with libsndfile: what it can read (None for an unknown format), and whether that is the whole file."""
    stream.seek(0)
    blocks: list[np.ndarray] = []
    complete = True
    try:
        with soundfile.SoundFile(stream) as sound:
            sampling_rate, channels = sound.samplerate, sound.channels
            try:
                while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                    blocks.append(block)
            except soundfile.SoundFileError:
                complete = False
    except soundfile.SoundFileError:
        return None, False
    samples = np.concatenate([np.zeros((channels, 0), np.float32), *(block.T for block in blocks)], axis=1)
    return DecodedAudio(samples, sampling_rate), complete and bool(blocks)


def _decode_with_pyav(stream: IO[bytes]) -> DecodedAudio:
    """Decode the first audio stream with FFmpeg, or say why that is impossible."""
    if av is None:
        raise AudioDecodingError(
            "libsndfile can't read this format; install PyAV (pip install av) or convert the file to WAV or FLAC"
        )
    stream.seek(0)
    try:
        # Metadata in another encoding than UTF-8 is no reason to refuse the sound.
        container = av.open(stream, "r", metadata_errors="ignore", options={"format_whitelist": _CONTAINERS})
    except av.FFmpegError as error:
        raise AudioDecodingError(_not_audio(stream, error)) from error
    with container:
        if not container.streams.audio:
            raise AudioDecodingError(f"has no audio stream (container: {container.format.long_name})")
        blocks = list(_float_blocks(container, container.streams.audio[0]))
    if not blocks:
        raise AudioDecodingError("has an audio stream of which nothing can be decoded; it is damaged or encrypted")
    return DecodedAudio(np.concatenate([samples for samples, _ in blocks], axis=1), blocks[0].sampling_rate)


def _not_audio(stream: IO[bytes], error: Exception) -> str:
    stream.seek(0)
    if stream.read(6) == b"\x93NUMPY":
        return "is a NumPy array, not audio; load it yourself and pass the array with its sampling rate"
    detail = getattr(error, "strerror", None) or error
    return f"is not audio in a format that libsndfile or FFmpeg can read, or is damaged or incomplete ({detail})"


def _float_blocks(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[DecodedAudio]:
    """Decode a stream block by block as float32, at the rate and in the channel layout of its first frame."""
    resampler = None
    incoming = outgoing = None
    for frame in _decodable_frames(container, stream):
        described = (frame.format.name, frame.layout.name, frame.sample_rate)
        # What the decoder gives, not what the container announces: the two differ for HE-AAC.
        outgoing = outgoing or described
        if resampler is None or described != incoming:
            # A resampler serves frames of one kind; recordings of broadcasts and calls can change theirs midway.
            incoming, resampler = described, av.AudioResampler(format="fltp", layout=outgoing[1], rate=outgoing[2])
        for converted in resampler.resample(frame):
            yield DecodedAudio(converted.to_ndarray(), outgoing[2])


def _decodable_frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """The frames of a stream without those that are damaged, up to where the file breaks off."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
