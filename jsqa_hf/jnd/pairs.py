"""Generation of JND pairs: one content, several clearly different qualities, two indistinguishable clips of each.

The unit is the *ladder*: one excerpt of speech under one distortion (one excerpt of noise, one room, one pattern of
lost packets) at K severities so far apart that listeners tell them from each other, and at each level at two
severities within one just-noticeable difference. Every clip thus has one positive (the other clip of its level) and,
as all else is the same, the other levels of the ladder as negatives that only quality can tell apart.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import datasets
import numpy as np
import soundfile
from numpy.typing import NDArray

from ..waveforms import MINIMUM_DURATION_S
from .chains import Chain, Link
from .distortions.base import Distortion
from .distortions.noise import AdditiveNoise, Rows
from .excerpts import draw_speech
from .ladders import LadderSampler, Partner
from .mixing import NOMINAL_LEVEL_DBOV, SpeechLevel, bring_to_level, measure_speech

Encoding = Literal["flac", "wav", "array"]

_INPUT_COLUMNS = ("audio", "speech_id", "speaker_id")


class JNDPairGenerator:
    """Turns utterances into ladders of JND pairs: a batched function for `Dataset.map` and `Dataset.set_transform`.

    Input columns: `audio` (what an `Audio(decode=False)` column yields, a path, or a dict with `array` and
    `sampling_rate`), `speech_id`, `speaker_id`, and optionally `repetition` (int, 0 where absent). Output columns, one
    row per input row, no others:

    - `content_id`: `"<speech_id>#<repetition>"`, in later epochs `"<speech_id>#<epoch>.<repetition>"`;
    - `clips`: 2K clips, level after level, both clips of a pair next to each other, all of the same length;
    - `distortion`: name of the distortion that is varied, `chain`: names of all that were applied, joined by `+`;
    - `severity`: 2K floats, in the unit of `severity_unit`; `severity_jnd`: the same as positions on an axis on which
      one unit is one JND (`Threshold.position`), with the sign that makes it rise towards the better;
    - `snr_db`: 2K floats, the SNR in dB as defined in `add_at_snrs`; null where no noise was added;
    - `level_dbov`: 2K floats, the level of each clip as measured, in dBov;
    - `speech_id`, `speaker_id`, `noise_id`, `noise_type` (null where no noise was added);
    - `speech_offset_s`, `noise_offset_s`, `duration_s`: where the excerpts start and how long they are, in seconds;
    - `seed`, `epoch`, `repetition`, `sampling_rate`;
    - `provenance`: JSON with whatever else it takes to make the clips anew: for each distortion of the chain what was
      drawn and what was measured, and the gains in dB that were applied before (to the speech) and after (to each
      clip).

    A row is a pure function of the arguments, `epoch`, `speech_id` and `repetition`: neither the order of the rows,
    nor the batch size, nor the number of processes matters. Other speech under the same id gets the same draws, so ids
    must be unique. With `map`, pass `features=generator.features` and `remove_columns=dataset.column_names`; and
    `cache_file_name` for speech in memory, as `load_speech` gives it, or `datasets` keeps the pairs there, too: 1 MB
    for each ladder of 10 seconds and 3 levels. A file that is there already is taken for the result, whatever made it.

    Args:
        noise: Rows with the columns `audio` (as above), `noise_id` and `noise_type`, for the pairs of the paper:
            speech in additive noise. Omit it with `distortions`.
        distortions: What to distort the speech with, instead of noise alone. Each ladder draws one of them; a
            sequence within is a chain, applied as a whole in the order of its stages, of which one distortion, drawn
            for each ladder, is varied.
        levels: Number of levels K of a ladder.
        snr_range: Lowest and highest SNR in dB. This and the next three go with `noise`; distortions bring their own.
        snr_grid: Draw the first SNR of each pair from these instead of from all of the range.
        jnd_db: Largest SNR difference within a pair, in dB.
        min_step_db: Smallest SNR difference between levels, in dB, where the noise is clearly audible; where
            `SNR_THRESHOLD` says that steps are less audible, more.
        partner: How the second clip of a pair differs from the first, `partner_step` for `"fixed"`, and
            `growing_jnd`: see `LadderSampler`.
        duration_s: Length of the excerpts in seconds; shorter utterances, and all of them with `None`, stay whole.
        level_dbov: Level of the clips in dBov, or the range it is drawn from once per ladder. Ladders that would
            exceed full scale get less, see `bring_to_level`. Where the level itself is varied, clips keep theirs;
            where a chain sets it once, all get that one.
        speech_level: How levels are measured, `"p56"` or `"rms"`.
        seed: Another seed gives other excerpts, noises, severities and levels.
        epoch: So does another epoch; `set_epoch` changes it.
        sampling_rate: Of the clips, in Hz; speech and noise of other rates are resampled.
        encoding: `"flac"` and `"wav"` give clips as `{"bytes": 16-bit audio, "path": None}`, `"array"` as float32
            arrays. WAV takes a tenth of the time of FLAC, and twice the space.

    Raises:
        ValueError: In the constructor for arguments out of range or a noise column missing; in a call for a missing
            column, a row that is no batch, or speech or noise that is unreadable or silent, naming it.
    """

    def __init__(
        self,
        noise: Rows | None = None,
        *,
        distortions: Sequence[Distortion | Sequence[Distortion]] | None = None,
        levels: int = 2,
        snr_range: tuple[float, float] | None = None,
        snr_grid: Sequence[float] | None = None,
        jnd_db: float | None = None,
        min_step_db: float | None = None,
        partner: Partner = "uniform",
        partner_step: float | None = None,
        growing_jnd: bool = False,
        duration_s: float | None = None,
        level_dbov: float | tuple[float, float] = NOMINAL_LEVEL_DBOV,
        speech_level: SpeechLevel = "p56",
        seed: int = 0,
        epoch: int = 0,
        sampling_rate: int = 16000,
        encoding: Encoding = "flac",
    ) -> None:
        low, high = (level_dbov, level_dbov) if isinstance(level_dbov, (int, float, np.number)) else level_dbov
        if not low <= high <= 0:
            raise ValueError(f"level_dbov must be a level or a range (low, high) up to 0 dBov, got {level_dbov}")
        if duration_s is not None and not duration_s >= MINIMUM_DURATION_S:
            raise ValueError(f"duration_s must be at least {MINIMUM_DURATION_S}, or None, got {duration_s}")
        if sampling_rate <= 0:
            raise ValueError(f"sampling_rate must be positive, got {sampling_rate}")
        if speech_level not in ("p56", "rms"):
            raise ValueError(f'speech_level must be "p56" or "rms", got {speech_level!r}')
        if encoding not in get_args(Encoding):
            raise ValueError(f"encoding must be one of {', '.join(get_args(Encoding))}, got {encoding!r}")
        if (noise is None) == (distortions is None):
            raise ValueError("give either noise or distortions")
        steps = {
            "severity_range": snr_range,
            "severity_grid": snr_grid,
            "just_noticeable": jnd_db,
            "clearly_different": min_step_db,
        }
        if noise is not None:
            distortions = [AdditiveNoise(noise, speech_level=speech_level, **steps)]
        elif any(value is not None for value in steps.values()):
            raise ValueError("snr_range, snr_grid, jnd_db and min_step_db go with noise; distortions bring their own")
        if not distortions:
            raise ValueError("distortions must name at least one")
        ladder = {"levels": levels, "partner": partner, "partner_step": partner_step, "growing_jnd": growing_jnd}
        self.chains = [_chain(entry, sampling_rate, ladder) for entry in distortions]
        self.levels = levels
        self.duration_s = duration_s
        self.level_range = (float(low), float(high))
        self.speech_level = speech_level
        self.seed = int(seed)
        self.epoch = int(epoch)
        self.sampling_rate = sampling_rate
        self.encoding = encoding

    def content_id(self, speech_id: Any, repetition: int) -> str:
        """Name of a ladder in this epoch, see the column `content_id`."""
        epoch = f"{self.epoch}." if self.epoch else ""
        return f"{speech_id}#{epoch}{repetition}"

    def set_epoch(self, epoch: int) -> None:
        """Make other pairs of the same speech from now on."""
        self.epoch = epoch

    @property
    def features(self) -> datasets.Features:
        """Types of the output columns."""
        text, number, integer = (datasets.Value(dtype) for dtype in ("string", "float64", "int64"))
        clip = datasets.List(datasets.Value("float32")) if self.encoding == "array" else datasets.Audio(decode=False)
        return datasets.Features(
            {
                "content_id": text,
                "clips": datasets.List(clip),
                "distortion": text,
                "chain": text,
                "severity": datasets.List(number),
                "severity_unit": text,
                "severity_jnd": datasets.List(number),
                "snr_db": datasets.List(number),
                "level_dbov": datasets.List(number),
                "speech_id": text,
                "speaker_id": text,
                "speech_offset_s": number,
                "noise_id": text,
                "noise_type": text,
                "noise_offset_s": number,
                "duration_s": number,
                "seed": integer,
                "epoch": integer,
                "repetition": integer,
                "sampling_rate": integer,
                "provenance": text,
            }
        )

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Make one ladder of every row of a batch."""
        missing = [column for column in _INPUT_COLUMNS if column not in batch]
        if missing:
            raise ValueError(f"the speech lacks the column(s) {', '.join(missing)}; it has {', '.join(batch)}")
        if np.ndim(batch["speech_id"]) == 0:
            raise ValueError("the speech comes as a single row, not as a batch: pass batched=True to map")
        columns = [batch[column] for column in _INPUT_COLUMNS]
        repetitions = batch["repetition"] if "repetition" in batch else [0] * len(columns[0])
        rows = [self._ladder(*row) for row in zip(*columns, repetitions, strict=True)]
        return {column: [row[column] for row in rows] for column in self.features}

    def _ladder(self, audio: Any, speech_id: Any, speaker_id: Any, repetition: int) -> dict[str, Any]:
        # One stream per kind of draw, so that a redrawn crop does not change which noise is taken.
        speech_rng, chain_rng, level_rng = self._random_streams(str(speech_id), int(repetition))
        try:
            speech = draw_speech(speech_rng, audio, self.sampling_rate, self.duration_s)
            chain = self.chains[int(chain_rng.integers(len(self.chains)))]
            gain_db = 0.0
            if chain.uses_level:
                gain_db = NOMINAL_LEVEL_DBOV - measure_speech(speech.samples, self.sampling_rate, self.speech_level)
            scaled = speech.samples if gain_db == 0 else speech.samples * 10 ** (gain_db / 20)
            clips, varied, links = chain.apply(scaled, chain_rng, self.sampling_rate)
            level_dbov = _level_set(links, varied, float(level_rng.uniform(*self.level_range)))
            levelled = bring_to_level(clips, level_dbov, self.sampling_rate, speech_level=self.speech_level)
        except ValueError as error:
            raise ValueError(f"no JND pairs for speech {speech_id!r}: {error}") from error
        threshold = varied.distortion.threshold
        towards_better = 1.0 if varied.distortion.worse == "lower" else -1.0
        provenance = {
            "speech_gain_db": gain_db,
            "chain": [link.provenance() for link in links],
            "clip_gain_db": levelled.gains_db,
        }
        return {
            "content_id": self.content_id(speech_id, repetition),
            "clips": [self._encode(clip) for clip in levelled.clips],
            "distortion": varied.distortion.name,
            "chain": "+".join(link.distortion.name for link in links),
            "severity": varied.severities,
            "severity_unit": threshold.unit,
            "severity_jnd": (towards_better * threshold.position(varied.severities)).tolist(),
            **_noise_columns(links, len(clips)),
            "level_dbov": levelled.levels_dbov,
            "speech_id": str(speech_id),
            "speaker_id": str(speaker_id),
            "speech_offset_s": speech.offset_s,
            "duration_s": speech.samples.size / self.sampling_rate,
            "seed": self.seed,
            "epoch": self.epoch,
            "repetition": int(repetition),
            "sampling_rate": self.sampling_rate,
            "provenance": json.dumps(provenance),
        }

    def _random_streams(self, speech_id: str, repetition: int) -> list[np.random.Generator]:
        """Return independent generators for the crop, the distortions and the level of one row."""
        key = json.dumps([self.seed, self.epoch, speech_id, repetition])
        digest = hashlib.sha256(key.encode()).digest()
        children = np.random.SeedSequence(int.from_bytes(digest, "big")).spawn(3)
        return [np.random.default_rng(child) for child in children]

    def _encode(self, clip: NDArray[np.float32]) -> Any:
        if self.encoding == "array":
            return clip
        # Rounded here, as libsndfile scales floats by 32767 but reads them back by 32768.
        pcm = np.rint(clip * 32768).astype(np.int16)
        buffer = io.BytesIO()
        # The lowest level of FLAC is a fifth faster than the default, and 1 % larger (LibriSpeech in noise).
        level = 0.0 if self.encoding == "flac" else None
        soundfile.write(
            buffer, pcm, self.sampling_rate, format=self.encoding.upper(), subtype="PCM_16", compression_level=level
        )
        return {"bytes": buffer.getvalue(), "path": None}


def _chain(entry: Distortion | Sequence[Distortion], sampling_rate: int, ladder: Mapping[str, Any]) -> Chain:
    """A chain, each distortion of which can be varied; `ladder`: what the `LadderSampler` of any of them takes."""
    distortions = [entry] if isinstance(entry, Distortion) else entry
    samplers = {
        distortion.name: LadderSampler(
            distortion.threshold,
            distortion.severity_range,
            grid=distortion.severity_grid,
            discrete=distortion.discrete,
            worse=distortion.worse,
            jumps=distortion.jumps(sampling_rate),
            **ladder,
        )
        for distortion in distortions
    }
    return Chain(distortions, samplers)


def _level_set(links: Sequence[Link], varied: Link, otherwise_dbov: float) -> float | None:
    """Level that all clips are brought to, in dBov; None if the level is what is varied."""
    if varied.distortion.sets_level:
        return None
    return next((link.severities[0] for link in links if link.distortion.sets_level), otherwise_dbov)


def _noise_columns(links: Sequence[Link], clips: int) -> dict[str, Any]:
    """The columns that tell of the noise, from the link that added some."""
    columns: dict[str, Any] = {"snr_db": None, "noise_id": None, "noise_type": None, "noise_offset_s": None}
    for link in links:
        if all("snr_db" in measured for measured in link.measured):
            snrs_db = [measured["snr_db"] for measured in link.measured]
            columns["snr_db"] = snrs_db if len(snrs_db) == clips else snrs_db * clips
            columns |= {name: link.draw.provenance.get(name) for name in ("noise_id", "noise_type", "noise_offset_s")}
    return columns
