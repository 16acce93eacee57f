"""Excerpts of recordings: reading no more of a file than is needed, and drawing stretches that hold sound."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..audio import decode_audio
from ..waveforms import MINIMUM_DURATION_S
from .levels import active_speech_level, rms_level
from .mixing import loop_to_length

# Our choice: a crop with less speech than this is drawn again.
MIN_ACTIVITY_FACTOR = 0.3
# Our choice: an excerpt of noise below this is taken as silent, since 16 bits leave nothing but quantisation steps.
SILENCE_DBOV = -80.0
MAX_DRAWS = 8

# Formats in which libsndfile finds any sample at once and gives it the same as when reading from the start.
_SEEKABLE_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF"})


class Excerpt(NamedTuple):
    """A stretch of a recording.

    Attributes:
        samples: Shape `(time,)`, float32, mono, at the rate asked for.
        offset_s: Where it starts in the recording, in seconds.
    """

    samples: NDArray[np.float32]
    offset_s: float


class Recording:
    """One value of an audio column, of which excerpts can be read; a context manager that closes the file.

    Args:
        audio: A path, a dict with `bytes` or `path` (what an `Audio(decode=False)` column yields), or a dict with
            `array` (shape `(time,)`, `(channels, time)` or `(time, channels)`) and `sampling_rate`.
        channel: Number of the channel to take, from 0; None takes the mean of all.

    Raises:
        ValueError: If it is none of these, or cannot be decoded; the message names the file.

    Attributes:
        length: Number of samples (per channel), at its own rate.
        sampling_rate: Of the recording, in Hz.
    """

    def __init__(self, audio: Any, channel: int | None = None) -> None:
        self._channel = channel
        self._sound: soundfile.SoundFile | None = None
        if isinstance(audio, Mapping) and audio.get("array") is not None:
            array = np.atleast_2d(np.asarray(audio["array"], dtype=np.float32))
            # Channels are fewer than samples: soundfile has them last.
            self._samples = self._mono(array.T if array.shape[0] > array.shape[1] > 0 else array)
            self.sampling_rate = int(audio["sampling_rate"])
        else:
            self._source = _path_or_bytes(audio)
            self._sound = _open_seekable(self._source)
            if self._sound is None:
                self._decode()
            else:
                self.sampling_rate = self._sound.samplerate
        self.length = self._samples.size if self._sound is None else self._sound.frames
        if self.length == 0:
            raise ValueError("the audio holds no samples")

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._sound is not None:
            self._sound.close()

    def read(self, sampling_rate: int, start: int = 0, length: int | None = None) -> NDArray[np.float32]:
        """Read samples, average the channels and resample.

        Args:
            sampling_rate: Of the result, in Hz.
            start: First sample, counted at the rate of the recording.
            length: Number of samples of the result, at its rate; all that follow if None.

        Returns:
            Shape `(time,)`, float32; less than `length` where the recording ends.

        Raises:
            ValueError: If the samples cannot be decoded, or are NaN or infinite.
        """
        stop = self.length
        if length is not None:
            stop = min(stop, start - (-length * self.sampling_rate // sampling_rate))
        native = self._read_native(start, stop)
        if not np.isfinite(native).all():
            raise ValueError("the audio holds NaN or infinite samples")
        if sampling_rate != self.sampling_rate:
            native = soxr.resample(native, self.sampling_rate, sampling_rate, quality="HQ")
        return native if length is None else native[:length]

    def _read_native(self, start: int, stop: int) -> NDArray[np.float32]:
        if self._sound is not None:
            try:
                if self._sound.tell() != start:
                    self._sound.seek(start)
                block = self._sound.read(stop - start, dtype="float32", always_2d=True)
                if len(block) == stop - start:
                    return self._mono(block.T)
            except soundfile.SoundFileError:
                pass
            # A damaged file; what the header promises is not there.
            self._sound.close()
            self._sound = None
            self._decode()
        return self._samples[start:stop]

    def _mono(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._channel is not None:
            return samples[self._channel]
        return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _decode(self) -> None:
        samples, self.sampling_rate = decode_audio(self._source)
        self._samples = self._mono(samples)


def _path_or_bytes(audio: Any) -> str | bytes:
    source = (audio.get("bytes") or audio.get("path")) if isinstance(audio, Mapping) else audio
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    if not isinstance(source, (str, bytes)):
        raise ValueError(
            f"cannot read audio of type {type(audio).__name__}: it must be a path, a dict with bytes or path, "
            "or a dict with array and sampling_rate; cast the column to datasets.Audio(decode=False)"
        )
    return source


def _open_seekable(source: str | bytes) -> soundfile.SoundFile | None:
    """Open a file, or return None for what has to be decoded from its start or is not a plain audio file."""
    try:
        sound = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (soundfile.SoundFileError, OSError):
        return None
    # Files that were never finished announce as many samples as the format can count.
    if sound.format in _SEEKABLE_FORMATS and sound.frames < 2**31:
        return sound
    sound.close()
    return None


def load_mono(audio: Any, sampling_rate: int, channel: int | None = None) -> NDArray[np.float32]:
    """Decode one value of an audio column, average its channels and resample it.

    Args:
        audio: See `Recording`.
        sampling_rate: Of the result, in Hz.
        channel: Take this channel instead of the mean of all.

    Returns:
        Shape `(time,)`, float32.

    Raises:
        ValueError: If it cannot be decoded, is empty, or holds NaN or infinite samples.
    """
    with Recording(audio, channel) as recording:
        return recording.read(sampling_rate)


def draw_speech(rng: np.random.Generator, audio: Any, sampling_rate: int, duration_s: float | None) -> Excerpt:
    """Draw a crop that holds speech; after several draws without, take the one with most of all.

    How much speech a crop holds is its power relative to the active power of the whole utterance. The activity factor
    of the crop alone would not do: P.56 takes the steady background of a pause for speech.

    Args:
        rng: Source of randomness.
        audio: See `Recording`.
        sampling_rate: Of the result, in Hz.
        duration_s: Length of the crop; shorter utterances, and all of them with None, stay whole.

    Raises:
        ValueError: If the audio cannot be decoded, is shorter than 50 ms, or the whole utterance is silent.
    """
    return _draw_crop(rng, load_mono(audio, sampling_rate), sampling_rate, duration_s)


def draw_talker(rng: np.random.Generator, audio: Any, sampling_rate: int, length: int) -> Excerpt:
    """Draw an excerpt of so many samples that holds speech; a recording shorter than that is repeated.

    Raises:
        ValueError: As `draw_speech` and `draw_noise`.
    """
    with Recording(audio) as recording:
        samples = recording.read(sampling_rate)
        excerpt = _draw_crop(rng, samples, sampling_rate, length / sampling_rate)
        if excerpt.samples.size == length:
            return excerpt
        return _draw_sounding(rng, recording, sampling_rate, length, samples)


def draw_noise(rng: np.random.Generator, audio: Any, sampling_rate: int, length: int) -> Excerpt:
    """Draw an excerpt that is not silent; a recording shorter than the excerpt is repeated.

    Its mean is taken off: nobody hears an offset, which would count as noise.

    Args:
        rng: Source of randomness.
        audio: See `Recording`.
        sampling_rate: Of the result, in Hz.
        length: Of the result, in samples.

    Raises:
        ValueError: If the recording cannot be decoded or is silent.
    """
    with Recording(audio) as recording:
        is_short = recording.length * sampling_rate < length * recording.sampling_rate
        whole = recording.read(sampling_rate) if is_short else None
        return _draw_sounding(rng, recording, sampling_rate, length, whole)


def _draw_crop(
    rng: np.random.Generator, speech: NDArray[np.float32], sampling_rate: int, duration_s: float | None
) -> Excerpt:
    """See `draw_speech`."""
    if speech.size < MINIMUM_DURATION_S * sampling_rate:
        raise ValueError(f"the speech lasts {1000 * speech.size / sampling_rate:.1f} ms, which is too short")
    length = speech.size if duration_s is None else round(duration_s * sampling_rate)
    if speech.size <= length:
        return Excerpt(speech, 0.0)
    active_power = 10 ** (active_speech_level(speech, sampling_rate).level_dbov / 10)
    for _ in range(MAX_DRAWS):
        offset = int(rng.integers(speech.size - length + 1))
        crop = speech[offset : offset + length]
        if float(np.dot(crop, crop)) / length / active_power >= MIN_ACTIVITY_FACTOR:
            break
    else:
        # A few words in a long recording.
        energy = np.cumsum(np.concatenate([[0.0], speech.astype(np.float64) ** 2]))
        offset = int(np.argmax(energy[length:] - energy[:-length]))
    return Excerpt(speech[offset : offset + length], offset / sampling_rate)


def _draw_sounding(
    rng: np.random.Generator,
    recording: Recording,
    sampling_rate: int,
    length: int,
    whole: NDArray[np.float32] | None,
) -> Excerpt:
    """See `draw_noise`; `whole`: all samples of a recording that is shorter than the excerpt, else None."""
    needed = -(-length * recording.sampling_rate // sampling_rate)
    offsets = recording.length if whole is not None else recording.length - needed + 1
    for attempt in range(MAX_DRAWS + 1):
        if attempt < MAX_DRAWS:
            offset = int(rng.integers(offsets))
        else:
            # A short sound in a long silence: around its loudest sample.
            loudest = int(np.abs(recording.read(recording.sampling_rate)).argmax())
            offset = int(np.clip(loudest - rng.integers(needed), 0, offsets - 1))
        if whole is not None:
            samples = loop_to_length(whole, offset * sampling_rate // recording.sampling_rate, length)
        else:
            samples = recording.read(sampling_rate, offset, length)
            # Short only if the file ends before its header says so.
            samples = samples if samples.size == length else loop_to_length(samples, 0, length)
        samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
        if samples.any() and rms_level(samples) >= SILENCE_DBOV:
            return Excerpt(samples, offset / recording.sampling_rate)
    raise ValueError(f"is silent (below {SILENCE_DBOV:g} dBov): remove the file")


class Recordings:
    """Rows of recordings from which distortions draw.

    Args:
        rows: With the column `audio` (see `Recording`) and the columns of `needed`.
        needed: Further columns, the first of which names a row in messages.
        what: What they are, for messages: `"noise"`.

    Raises:
        ValueError: If there are no rows, or a column is missing.
    """

    def __init__(self, rows: datasets.Dataset | Sequence[Mapping[str, Any]], needed: Sequence[str], what: str) -> None:
        if len(rows) == 0:
            raise ValueError(f"the {what} is empty: at least one row is needed")
        columns = rows.column_names if isinstance(rows, datasets.Dataset) else list(rows[0])
        missing = [column for column in ("audio", *needed) if column not in columns]
        if missing:
            raise ValueError(f"the {what} lacks the column(s) {', '.join(missing)}; it has {', '.join(columns)}")
        if isinstance(rows, datasets.Dataset) and isinstance(rows.features["audio"], datasets.Audio):
            # Else datasets would decode, which takes torchcodec.
            rows = rows.cast_column("audio", datasets.Audio(decode=False))
        self.rows = rows
        self.name_column = needed[0]
        self.what = what

    def draw_row(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw a row."""
        return self.rows[int(rng.integers(len(self.rows)))]

    def draw(
        self,
        rng: np.random.Generator,
        sampling_rate: int,
        length: int,
        draw: Callable[[np.random.Generator, Any, int, int], Excerpt] = draw_noise,
    ) -> tuple[Excerpt, Mapping[str, Any]]:
        """Draw a row, and an excerpt of it by `draw`.

        Raises:
            ValueError: If the recording cannot be used; the message names it.
        """
        row = self.draw_row(rng)
        try:
            return draw(rng, row["audio"], sampling_rate, length), row
        except ValueError as error:
            raise ValueError(f"{self.what} {row[self.name_column]!r} {error}") from error
