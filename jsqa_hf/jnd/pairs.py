"""Generation of JND pairs: one content, several clearly different qualities, two indistinguishable clips of each.

The unit is the *ladder*: one excerpt of speech and one excerpt of noise, mixed at K levels of SNR so far apart that
listeners tell them from each other, and at each level at two SNRs within one just-noticeable difference. Every clip
thus has one positive (the other clip of its level) and, as the words and the noise are the same, the other levels of
the ladder as negatives that only quality can tell apart.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import datasets
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..audio import decode_audio
from .levels import active_speech_level, rms_level
from .mixing import NOMINAL_LEVEL_DBOV, Mixture, SpeechLevel, loop_to_length, mix_at_snrs
from .thresholds import SNR_THRESHOLD

# Our choice: a crop with less speech than this is drawn again.
MIN_ACTIVITY_FACTOR = 0.3
# Our choice: an excerpt of noise below this is taken as silent, since 16 bits leave nothing but quantisation steps.
SILENCE_DBOV = -80.0
MAX_DRAWS = 8

_INPUT_COLUMNS = ("audio", "speech_id", "speaker_id")
_NOISE_COLUMNS = ("audio", "noise_id", "noise_type")


def sample_ladder_snrs(
    rng: np.random.Generator,
    levels: int,
    snr_range: tuple[float, float],
    jnd_db: float = SNR_THRESHOLD.just_noticeable,
    min_step_db: float = SNR_THRESHOLD.clearly_different,
) -> NDArray[np.float64]:
    """Draw the SNRs of one ladder.

    The difference within a pair is uniform in [-jnd_db, jnd_db]. Given the differences, the positions of the pairs are
    uniform over all placements in which every pair lies inside the range and any two SNRs of different levels are at
    least `min_step_db` apart. The order of the levels is random.

    Args:
        rng: Source of randomness.
        levels: Number of levels K, at least 1.
        snr_range: Lowest and highest SNR in dB.
        jnd_db: Largest difference within a pair, in dB.
        min_step_db: Smallest difference between SNRs of different levels, in dB.

    Returns:
        Shape `(levels, 2)`, in dB.

    Raises:
        ValueError: If the arguments are out of their range, or `snr_range` is too small for the levels.
    """
    low, high = snr_range
    _check_ladder(levels, low, high, jnd_db, min_step_db)
    differences = rng.uniform(-jnd_db, jnd_db, size=levels)
    widths = np.abs(differences)
    slack = high - low - widths.sum() - (levels - 1) * min_step_db
    # Lower end of each pair: K sorted points in the slack, pushed apart by the pairs and steps below them.
    below = np.concatenate([[0.0], np.cumsum(widths + min_step_db)[:-1]])
    lower = low + np.sort(rng.uniform(0.0, slack, size=levels)) + below
    centres = lower + widths / 2
    snrs = np.stack([centres - differences / 2, centres + differences / 2], axis=1)
    return np.clip(rng.permutation(snrs), low, high)


def _check_ladder(levels: int, low: float, high: float, jnd_db: float, min_step_db: float) -> None:
    if levels < 1:
        raise ValueError(f"a ladder needs at least 1 level, got {levels}")
    if not 0 < jnd_db < min_step_db:
        raise ValueError(f"0 < jnd_db < min_step_db must hold, got jnd_db={jnd_db} and min_step_db={min_step_db}")
    needed = levels * jnd_db + (levels - 1) * min_step_db
    if not high - low >= needed:
        raise ValueError(
            f"{levels} levels of {jnd_db} dB with steps of {min_step_db} dB need an SNR range of {needed} dB, but "
            f"snr_range=({low}, {high}) has {high - low} dB: widen snr_range, or lower levels, jnd_db or min_step_db"
        )


class _Excerpt(NamedTuple):
    samples: NDArray[np.float64]
    offset: int


class JNDPairGenerator:
    """Turns utterances into ladders of JND pairs: a batched function for `Dataset.map` and `Dataset.set_transform`.

    Input columns: `audio` (what an `Audio(decode=False)` column yields, a path, or a dict with `array` and
    `sampling_rate`), `speech_id`, `speaker_id`, and optionally `repetition` (int, 0 where absent). Output columns, one
    row per input row, no others:

    - `content_id`: `"<speech_id>#<repetition>"`;
    - `clips`: 2K clips, level after level, both clips of a pair next to each other, all of the same length;
    - `snr_db`: 2K floats, in dB, as defined in `mix_at_snrs`;
    - `speech_id`, `speaker_id`, `noise_id`, `noise_type`;
    - `speech_offset_s`, `noise_offset_s`, `duration_s`: where the excerpts start and how long they are, in seconds;
    - `level_dbov`: level of the clips, the same in all clips of the ladder;
    - `seed`, `sampling_rate`.

    A row is a pure function of the arguments, `speech_id` and `repetition`: neither the order of the rows, nor the
    batch size, nor the number of processes matters. Other speech under the same id gets the same draws, so ids must be
    unique. With `map`, pass `features=generator.features` and `remove_columns=dataset.column_names`.

    Args:
        noise: Rows with the columns `audio` (as above), `noise_id` and `noise_type`.
        levels: Number of levels K of a ladder.
        snr_range: Lowest and highest SNR in dB.
        jnd_db: Largest SNR difference within a pair, in dB.
        min_step_db: Smallest SNR difference between levels, in dB.
        duration_s: Length of the excerpts in seconds; shorter utterances, and all of them with `None`, stay whole.
        level_dbov: Level of the clips in dBov, or the range it is drawn from once per ladder. Ladders that would
            exceed full scale get less, see `mix_at_snrs`.
        speech_level: How the level of the speech is measured, `"p56"` or `"rms"`.
        seed: Another seed gives other excerpts, noises, SNRs and levels.
        sampling_rate: Of the clips, in Hz; speech and noise of other rates are resampled.
        encoding: `"flac"` gives clips as `{"bytes": 16-bit FLAC, "path": None}`, `"array"` as float32 arrays.

    Raises:
        ValueError: In the constructor for arguments out of range or a noise column missing; in a call for a missing
            column, or speech or noise that is unreadable or silent, naming it.
    """

    def __init__(
        self,
        noise: datasets.Dataset | Sequence[Mapping[str, Any]],
        *,
        levels: int = 2,
        snr_range: tuple[float, float] = (-5.0, 40.0),
        jnd_db: float = SNR_THRESHOLD.just_noticeable,
        min_step_db: float = SNR_THRESHOLD.clearly_different,
        duration_s: float | None = None,
        level_dbov: float | tuple[float, float] = NOMINAL_LEVEL_DBOV,
        speech_level: SpeechLevel = "p56",
        seed: int = 0,
        sampling_rate: int = 16000,
        encoding: Literal["flac", "array"] = "flac",
    ) -> None:
        _check_ladder(levels, *snr_range, jnd_db, min_step_db)
        low, high = (level_dbov, level_dbov) if isinstance(level_dbov, (int, float)) else level_dbov
        if not low <= high <= 0:
            raise ValueError(f"level_dbov must be a level or a range (low, high) up to 0 dBov, got {level_dbov}")
        if duration_s is not None and not duration_s > 0:
            raise ValueError(f"duration_s must be positive or None, got {duration_s}")
        if sampling_rate <= 0:
            raise ValueError(f"sampling_rate must be positive, got {sampling_rate}")
        if speech_level not in ("p56", "rms"):
            raise ValueError(f'speech_level must be "p56" or "rms", got {speech_level!r}')
        if encoding not in ("flac", "array"):
            raise ValueError(f'encoding must be "flac" or "array", got {encoding!r}')
        self.noise = _checked_noise(noise)
        self.levels = levels
        self.snr_range = (snr_range[0], snr_range[1])
        self.jnd_db = jnd_db
        self.min_step_db = min_step_db
        self.duration_s = duration_s
        self.level_range = (low, high)
        self.speech_level = speech_level
        self.seed = seed
        self.sampling_rate = sampling_rate
        self.encoding = encoding

    @property
    def features(self) -> datasets.Features:
        """Types of the output columns."""
        text, number, integer = (datasets.Value(dtype) for dtype in ("string", "float64", "int64"))
        clip = datasets.Audio(decode=False) if self.encoding == "flac" else datasets.List(datasets.Value("float32"))
        return datasets.Features(
            {
                "content_id": text,
                "clips": datasets.List(clip),
                "snr_db": datasets.List(number),
                "speech_id": text,
                "speaker_id": text,
                "speech_offset_s": number,
                "noise_id": text,
                "noise_type": text,
                "noise_offset_s": number,
                "duration_s": number,
                "level_dbov": number,
                "seed": integer,
                "sampling_rate": integer,
            }
        )

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Make one ladder of every row of a batch."""
        missing = [column for column in _INPUT_COLUMNS if column not in batch]
        if missing:
            raise ValueError(f"the speech lacks the column(s) {', '.join(missing)}; it has {', '.join(batch)}")
        columns = [batch[column] for column in _INPUT_COLUMNS]
        repetitions = batch["repetition"] if "repetition" in batch else [0] * len(columns[0])
        rows = [self._ladder(*row) for row in zip(*columns, repetitions, strict=True)]
        return {column: [row[column] for row in rows] for column in self.features}

    def _ladder(self, audio: Any, speech_id: Any, speaker_id: Any, repetition: int) -> dict[str, Any]:
        # One stream per kind of draw, so that a redrawn crop does not change which noise is taken.
        speech_rng, noise_rng, ladder_rng = _random_streams(self.seed, str(speech_id), int(repetition))
        try:
            speech = self._draw_speech(speech_rng, audio)
            noise, noise_row = self._draw_noise(noise_rng, speech.samples.size)
            snrs_db = sample_ladder_snrs(ladder_rng, self.levels, self.snr_range, self.jnd_db, self.min_step_db)
            mixtures = mix_at_snrs(
                speech.samples,
                noise.samples,
                snrs_db.ravel().tolist(),
                self.sampling_rate,
                speech_level=self.speech_level,
                level_dbov=ladder_rng.uniform(*self.level_range),
            )
        except ValueError as error:
            raise ValueError(f"no JND pairs for speech {speech_id!r}: {error}") from error
        return {
            "content_id": f"{speech_id}#{repetition}",
            "clips": [self._encode(mixture) for mixture in mixtures],
            "snr_db": [mixture.snr_db for mixture in mixtures],
            "speech_id": str(speech_id),
            "speaker_id": str(speaker_id),
            "speech_offset_s": speech.offset / self.sampling_rate,
            "noise_id": noise_row["noise_id"],
            "noise_type": noise_row["noise_type"],
            "noise_offset_s": noise.offset / self.sampling_rate,
            "duration_s": speech.samples.size / self.sampling_rate,
            "level_dbov": mixtures[0].level_dbov,
            "seed": self.seed,
            "sampling_rate": self.sampling_rate,
        }

    def _draw_speech(self, rng: np.random.Generator, audio: Any) -> _Excerpt:
        """Draw a crop that holds speech, or the one with most speech of several draws.

        How much speech a crop holds is its power relative to the active power of the whole utterance. The activity
        factor of the crop alone would not do: P.56 takes the steady background of a pause for speech.
        """
        samples = _load_mono(audio, self.sampling_rate)
        length = samples.size if self.duration_s is None else round(self.duration_s * self.sampling_rate)
        if samples.size <= length:
            return _Excerpt(samples, 0)
        active_power = 10 ** (active_speech_level(samples, self.sampling_rate).level_dbov / 10)
        best_activity, best_offset = -1.0, 0
        for _ in range(MAX_DRAWS):
            offset = int(rng.integers(samples.size - length + 1))
            crop = samples[offset : offset + length]
            activity = float(np.dot(crop, crop)) / length / active_power
            if activity > best_activity:
                best_activity, best_offset = activity, offset
            if activity >= MIN_ACTIVITY_FACTOR:
                break
        return _Excerpt(samples[best_offset : best_offset + length], best_offset)

    def _draw_noise(self, rng: np.random.Generator, length: int) -> tuple[_Excerpt, Mapping[str, Any]]:
        """Draw a noise and an excerpt of it that is not silent; noise shorter than the excerpt is repeated."""
        row = self.noise[int(rng.integers(len(self.noise)))]
        try:
            samples = _load_mono(row["audio"], self.sampling_rate)
        except ValueError as error:
            raise ValueError(f"noise {row['noise_id']!r}: {error}") from error
        offsets = samples.size - length + 1 if samples.size >= length else samples.size
        for _ in range(MAX_DRAWS):
            offset = int(rng.integers(offsets))
            excerpt = loop_to_length(samples, offset, length)
            if _is_audible(excerpt):
                return _Excerpt(excerpt, offset), row
        # A short sound in a long silence: around its loudest sample.
        offset = int(np.clip(np.abs(samples).argmax() - rng.integers(length), 0, offsets - 1))
        excerpt = loop_to_length(samples, offset, length)
        if _is_audible(excerpt):
            return _Excerpt(excerpt, offset), row
        raise ValueError(f"noise {row['noise_id']!r} is silent (below {SILENCE_DBOV:g} dBov): remove the file")

    def _encode(self, mixture: Mixture) -> Any:
        if self.encoding == "array":
            return mixture.samples
        # Rounded here, as libsndfile scales floats by 32767 but reads them back by 32768.
        pcm = np.rint(mixture.samples * 32768).astype(np.int16)
        buffer = io.BytesIO()
        soundfile.write(buffer, pcm, self.sampling_rate, format="FLAC", subtype="PCM_16")
        return {"bytes": buffer.getvalue(), "path": None}


def _checked_noise(
    noise: datasets.Dataset | Sequence[Mapping[str, Any]],
) -> datasets.Dataset | Sequence[Mapping[str, Any]]:
    """Check that the noise has rows and columns, and keep `datasets` from decoding its audio."""
    if len(noise) == 0:
        raise ValueError("the noise is empty: at least one row is needed")
    columns = noise.column_names if isinstance(noise, datasets.Dataset) else list(noise[0])
    missing = [column for column in _NOISE_COLUMNS if column not in columns]
    if missing:
        raise ValueError(f"the noise lacks the column(s) {', '.join(missing)}; it has {', '.join(columns)}")
    if isinstance(noise, datasets.Dataset) and isinstance(noise.features["audio"], datasets.Audio):
        return noise.cast_column("audio", datasets.Audio(decode=False))
    return noise


def _is_audible(excerpt: NDArray[np.float64]) -> bool:
    return bool(excerpt.any()) and rms_level(excerpt) >= SILENCE_DBOV


def _random_streams(seed: int, speech_id: str, repetition: int) -> list[np.random.Generator]:
    """Return independent generators for the crop, the noise and the ladder of one row."""
    digest = hashlib.sha256(json.dumps([seed, speech_id, repetition]).encode()).digest()
    children = np.random.SeedSequence(int.from_bytes(digest, "big")).spawn(3)
    return [np.random.default_rng(child) for child in children]


def _load_mono(audio: Any, sampling_rate: int) -> NDArray[np.float64]:
    """Decode one value of an audio column, average its channels and resample it. Shape `(time,)`."""
    if isinstance(audio, Mapping) and audio.get("array") is not None:
        samples, rate = np.atleast_2d(np.asarray(audio["array"], dtype=np.float64)), audio["sampling_rate"]
    else:
        source = (audio.get("bytes") or audio.get("path")) if isinstance(audio, Mapping) else audio
        if not isinstance(source, (str, bytes)):
            raise ValueError(
                f"cannot read audio of type {type(audio).__name__}: it must be a path, a dict with bytes or path, or "
                "a dict with array and sampling_rate; cast the column to datasets.Audio(decode=False)"
            )
        samples, rate = decode_audio(source)
    mono = samples.mean(axis=0, dtype=np.float64)
    if mono.size == 0 or not np.isfinite(mono).all():
        raise ValueError("the audio holds no samples, or NaN or infinite ones")
    return mono if rate == sampling_rate else soxr.resample(mono, rate, sampling_rate, quality="HQ")
