"""Decoding of audio files and of audio bytes, whatever the format.

libsndfile (through `soundfile`) reads WAV, FLAC, Ogg, Opus, AIFF and relatives; MP3, and what libsndfile can't read
(M4A/AAC, AMR, WMA, the sound of MP4 and WebM videos), goes to FFmpeg (through PyAV, `av`). Both libraries bring their
decoders in their wheels, so nothing has to be installed on the system.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from typing import IO, Any, NamedTuple, cast

import numpy as np
import soundfile

try:
    import av
except ImportError:  # What libsndfile reads can then still be decoded.
    av = None  # type: ignore[assignment]

__all__ = ["AudioDecodingError", "AudioStream", "DecodedAudio", "decode_audio", "open_audio"]

# Recordings may be longer than memory is large, and a damaged header may announce more samples than there are, in any
# number of channels.
_BLOCK_FRAMES = 1 << 18
_BLOCK_VALUES = 1 << 21
_MERGED_FRAMES = 1 << 16

# The containers that FFmpeg may open. Without the list a text file could be taken for a playlist, which FFmpeg would
# follow to other files and hosts, and headerless formats would be read into noise.
_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,eac3,flac,flv,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,"
    "mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,qcp,rm,tak,tta,voc,w64,wav,wv"
)

# Metadata in another encoding than UTF-8 is no reason to refuse the sound. PyAV 19 takes them without being told to.
_TOLERANT: dict[str, Any] = {"metadata_errors": "ignore"}
if av is None or int(av.__version__.split(".")[0]) >= 19:
    _TOLERANT = {}


class DecodedAudio(NamedTuple):
    """Samples as they come out of a decoder, at the rate and with the channels of the file.

    Attributes:
        samples: float32 array of shape (channels, time); integer formats are scaled to [-1, 1), float formats are left
            as they are.
        sampling_rate: in Hz.
    """

    samples: np.ndarray
    sampling_rate: int


class AudioStream:
    """Audio that is read block by block, once.

    Args:
        blocks: arrays of shape (time,), or (channels, time) with the same number of channels in all.
        sampling_rate: in Hz.
        name: the file's name for messages, empty where there is none.

    Attributes:
        sampling_rate: as passed.
        name: as passed.
        frames_read: number of samples (per channel) that have been given out so far.
        duration_s: length of the whole audio in seconds; None until the last block has been given out, because headers
            are silent about it or wrong too often.
    """

    def __init__(self, blocks: Iterable[np.ndarray], sampling_rate: int, name: str = "") -> None:
        self.sampling_rate = sampling_rate
        self.name = name
        self.frames_read = 0
        self.duration_s: float | None = None
        self._blocks = iter(blocks)

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.frames_read += block.shape[-1]
            yield block
        self.duration_s = self.frames_read / self.sampling_rate


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
        AudioDecodingError: the file doesn't exist, isn't a regular file, is empty, isn't audio, holds no samples, or
            can't be read to its end.
    """
    with open_audio(source) as stream:
        try:
            return DecodedAudio(np.concatenate(list(stream), axis=1), stream.sampling_rate)
        except AudioDecodingError as error:
            raise AudioDecodingError(error.reason, stream.name) from error


@contextmanager
def open_audio(source: str | os.PathLike[str] | bytes) -> Iterator[AudioStream]:
    """Decode a file block by block: what `decode_audio` gives, in memory that doesn't grow with its length.

    Args:
        source: see `decode_audio`.

    Yields:
        An `AudioStream` of float32 blocks of shape (channels, time), at most 2**18 samples long.

    Raises:
        AudioDecodingError: see `decode_audio`; all of these are found out before the stream is given out, but for a
            read that fails later on, which is raised where the stream gets there.
    """
    name = "" if isinstance(source, bytes) else os.fspath(source)
    with _open_source(source, name) as file, closing(_decode_file(file)) as blocks:
        try:
            first = next(blocks, None)
            if first is None:
                raise AudioDecodingError("holds no audio samples (the header is there, the sound is not)")
        except AudioDecodingError as error:
            raise AudioDecodingError(error.reason, name) from error
        yield AudioStream((block.samples for block in chain([first], blocks)), first.sampling_rate, name)


def _decode_file(file: _TolerantFile) -> Generator[DecodedAudio, None, None]:
    """Blocks of a file, or why it can't be decoded."""
    try:
        yield from _decode(cast("IO[bytes]", file))
    except AudioDecodingError:
        if file.error is None:
            raise
    if file.error is not None:
        raise AudioDecodingError(f"can't be read: {file.error.strerror or file.error}") from file.error


def _decode(file: IO[bytes]) -> Iterator[DecodedAudio]:
    """Blocks from libsndfile, and from FFmpeg where libsndfile reads nothing, or from where on it fails."""
    shape, frames = None, 0
    # libsndfile's MP3 decoder writes every oddity of a file to stderr; FFmpeg gives the same samples silently.
    if av is None or not (_is_mpeg_audio(file) or _is_chained_ogg(file)):
        file.seek(0)
        try:
            with soundfile.SoundFile(file) as sound:
                shape = sound.channels, sound.samplerate
                length = min(_BLOCK_FRAMES, max(1, _BLOCK_VALUES // sound.channels))
                while len(block := sound.read(length, dtype="float32", always_2d=True)):
                    frames += len(block)
                    yield DecodedAudio(block.T, sound.samplerate)
            if frames:
                return
        except soundfile.SoundFileError:
            pass
    try:
        yield from _without_first(_merged(_decode_with_pyav(file)), frames, shape if frames else None)
    except AudioDecodingError:
        if shape is None:
            raise


def _merged(blocks: Iterable[DecodedAudio]) -> Iterator[DecodedAudio]:
    """Join FFmpeg's frames of some milliseconds to blocks that are worth working on."""
    parts: list[np.ndarray] = []
    frames = sampling_rate = 0
    for samples, sampling_rate in blocks:
        parts.append(samples)
        frames += samples.shape[1]
        if frames >= _MERGED_FRAMES:
            yield DecodedAudio(np.concatenate(parts, axis=1), sampling_rate)
            parts, frames = [], 0
    if parts:
        yield DecodedAudio(np.concatenate(parts, axis=1), sampling_rate)


def _without_first(
    blocks: Iterable[DecodedAudio], frames: int, shape: tuple[int, int] | None
) -> Iterator[DecodedAudio]:
    """Leave out the samples that have been read already; `shape` is their number of channels and their rate."""
    for samples, sampling_rate in blocks:
        if shape is not None and shape != (samples.shape[0], sampling_rate):
            return
        skipped = min(frames, samples.shape[1])
        frames -= skipped
        if samples.shape[1] > skipped:
            yield DecodedAudio(samples[:, skipped:], sampling_rate)


def _is_mpeg_audio(file: IO[bytes]) -> bool:
    """Whether the file starts like an MP3 file: with an ID3 tag or with the eleven set bits of a frame header."""
    start = file.read(3)
    file.seek(0)
    return start == b"ID3" or (len(start) == 3 and start[0] == 0xFF and start[1] >= 0xE0)


def _is_chained_ogg(file: IO[bytes]) -> bool:
    """Whether the file is several Ogg recordings one behind the other; libsndfile reads the first.

    That is so where a stream begins behind pages that don't begin one; see RFC 3533, sections 4 and 6.
    """
    position, has_content = 0, False
    while True:
        file.seek(position)
        header = file.read(27)
        if len(header) < 27 or not header.startswith(b"OggS"):
            return False
        begins = bool(header[5] & 0x02)
        if begins and has_content:
            return True
        has_content = has_content or not begins
        position += 27 + header[26] + sum(file.read(header[26]))


@contextmanager
def _open_source(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[_TolerantFile]:
    """Open a path or wrap bytes as a seekable file; anything that reading could block on is refused."""
    try:
        file = _open_file(source)
    except AudioDecodingError as error:
        raise AudioDecodingError(error.reason, name) from error
    with file:
        yield _TolerantFile(file)


class _TolerantFile:
    """A file whose `seek` to where there is nothing gives -1, as that of C, and which ends where it can't be read.

    Damaged files make the libraries seek so. An exception inside their callbacks would be printed, with a traceback,
    and one of reading then be taken for the end.

    Attributes:
        error: what kept a part of the file from being read; None if nothing did.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self.error = error
            return b""

    def readinto(self, buffer: Any) -> int:
        try:
            return self._file.readinto(buffer)
        except OSError as error:
            self.error = error
            return 0


def _open_file(source: str | os.PathLike[str] | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        if not source:
            raise AudioDecodingError("is empty (0 bytes)")
        return io.BytesIO(source)
    try:
        if "\0" in os.fsdecode(source):
            raise AudioDecodingError("can't be opened: its name holds a zero byte")
        status = os.stat(source)
        if stat.S_ISDIR(status.st_mode):
            raise AudioDecodingError("is a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioDecodingError("is not a regular file (a pipe or a device); save the audio to a file first")
        if status.st_size == 0:
            raise AudioDecodingError("is empty (0 bytes)")
        # Opened by descriptor, the file has no name, so that neither library guesses a format from the extension.
        return os.fdopen(os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError:
        raise AudioDecodingError("no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, AudioDecodingError):
            raise
        raise AudioDecodingError(f"can't be opened: {getattr(error, 'strerror', None) or error}") from error


def _decode_with_pyav(file: IO[bytes]) -> Iterator[DecodedAudio]:
    """Decode the first audio stream with FFmpeg, or say why that is impossible."""
    if av is None:
        raise AudioDecodingError(
            "libsndfile can't read this format; install PyAV (pip install av) or convert the file to WAV or FLAC"
        )
    file.seek(0)
    try:
        container = av.open(file, "r", options={"format_whitelist": _CONTAINERS}, **_TOLERANT)
    except av.FFmpegError as error:
        raise AudioDecodingError(_not_audio(file, error)) from error
    with container:
        if not container.streams.audio:
            raise AudioDecodingError(f"has no audio stream (container: {container.format.long_name})")
        empty = True
        for block in _float_blocks(container, container.streams.audio[0]):
            empty = False
            yield block
        if empty:
            raise AudioDecodingError("has an audio stream of which nothing can be decoded; it is damaged or encrypted")


def _not_audio(file: IO[bytes], error: Exception) -> str:
    file.seek(0)
    if file.read(6) == b"\x93NUMPY":
        return "is a NumPy array, not audio; load it yourself and pass the array with its sampling rate"
    detail = getattr(error, "strerror", None) or error
    return f"is not audio in a format that libsndfile or FFmpeg can read, or is damaged or incomplete ({detail})"


def _float_blocks(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[DecodedAudio]:
    """Decode a stream block by block as float32, at the rate and in the channel layout of its first frame."""
    resampler = incoming = outgoing = None
    for frame in _decodable_frames(container, stream):
        described = (frame.format.name, frame.layout.name, frame.sample_rate)
        # What the decoder gives, not what the container announces: the two differ for HE-AAC.
        _, layout, rate = outgoing or described
        try:
            if resampler is None or described != incoming:
                # A resampler serves frames of one kind; recordings of broadcasts and calls can change theirs midway.
                # Interleaved, because PyAV 18 reads beyond the planes of eight and more channels, and crashes.
                incoming, resampler = described, av.AudioResampler(format="flt", layout=layout, rate=rate)
            blocks = [
                converted.to_ndarray().reshape(-1, converted.layout.nb_channels).T
                for converted in resampler.resample(frame)
            ]
        except (av.FFmpegError, ValueError):
            # Damage can give a frame a rate or a layout that there is not.
            resampler = None
            continue
        outgoing = outgoing or described
        yield from (DecodedAudio(block, rate) for block in blocks)


def _decodable_frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """The frames of a stream without those that are damaged, up to where the file breaks off."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError, av.FFmpegError):
            # PyAV looks in vain for the stream of a packet if damage made FFmpeg add a stream midway.
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
