"""Clips with what they should be rated: listening tests and other sets that the measures are compared on.

None of them takes part in training or in any choice of ours but as the card of jsqa-tiny says. Clips are mono at 16
kHz, where full-band speech has lost what is above 8 kHz.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
import soundfile
from numpy.typing import ArrayLike
from peers import SAMPLING_RATE

from jsqa_hf.audio import decode_audio
from jsqa_hf.data.corpus import read_table
from jsqa_hf.jnd import loop_to_length, mix_at_snr
from jsqa_hf.resampling import resample
from jsqa_hf.waveforms import to_mono

DATA = Path(__file__).resolve().parents[1] / "examples" / "data"
SNRS_DB = (0, 10, 20, 30, 40)
# Length of the clips of the sweep, in s: the same for all, so that one does not count more than another.
DURATION_S = 4.0
# Of the test of enhanced speech: what the file names say for the rows of its table, and for the columns.
ENHANCED = ("noisy", "pe-se-bvm", "pe-bh-blw", "mmse", "mmse-se-bvm", "mmse-bh-blw")
NOISES = ("mod-pink-5", "mod-pink-10", "factory-5", "factory-10", "babble-5", "babble-10")


@dataclass(frozen=True)
class RatedClips:
    """A set of clips with what they should be rated.

    Attributes:
        clips: (samples,) float32 at 16 kHz each.
        references: the clean clips, of the same lengths; empty where there are none.
        ratings: (clips,) MOS from 1 to 5, or another quantity that grows with quality.
        are_mos: whether they are MOS, so that errors have a meaning.
        made_by: measures that the ratings come from.
    """

    clips: list[np.ndarray]
    references: list[np.ndarray]
    ratings: np.ndarray
    are_mos: bool = True
    made_by: tuple[str, ...] = ()


def read_clip(path: str | Path) -> np.ndarray:
    """A file as mono float32 at 16 kHz."""
    samples, sampling_rate = decode_audio(path)
    return resample(to_mono(samples), sampling_rate, SAMPLING_RATE)


def held_out(name: str) -> list[dict[str, str]]:
    """The rows of a table in `examples/data` that were held out."""
    return [row for row in read_table(DATA / name, ("file", "split")) if row["split"] == "test"]


def noise_mixtures(snrs_db: Sequence[float]) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Speech of every held-out speaker in every held-out noise, cut to the same length.

    Yields:
        The speech (samples,) float32, and its mixtures at each SNR, likewise.
    """
    for speech_row in held_out("speech/speech.csv"):
        speech = soundfile.read(DATA / "speech" / speech_row["file"])[0][: round(DURATION_S * SAMPLING_RATE)]
        for noise_row in held_out("noise/noise.csv"):
            noise = loop_to_length(soundfile.read(DATA / "noise" / noise_row["file"])[0], 0, len(speech))
            mixtures = [mix_at_snr(speech, noise, snr, SAMPLING_RATE) for snr in snrs_db]
            yield speech.astype(np.float32), mixtures


def with_references(clips: list[np.ndarray], references: list[np.ndarray], ratings: np.ndarray) -> RatedClips:
    """Clips and references cut to the shorter of each two; they begin together, but for delays of codecs."""
    lengths = [min(len(clip), len(reference)) for clip, reference in zip(clips, references, strict=True)]
    return RatedClips(
        [clip[:length] for clip, length in zip(clips, lengths, strict=True)],
        [reference[:length] for reference, length in zip(references, lengths, strict=True)],
        ratings,
    )


def p835(folder: Path, band: str, limit: int | None) -> RatedClips:
    """The rated clips of the talkers that were held out, with the talker's clean clip (condition c0) as reference."""
    test = held_out("p835/ratings.csv")
    talkers = {row["talker"] for row in test}
    rows = [
        row
        for row in read_table(folder / "ratings.csv", ("file", "band", "talker"))
        if row["band"] == band and row["talker"] in talkers
    ][:limit]
    clips = [read_clip(folder / row["file"]) for row in rows]
    references = [read_clip(folder / band / f"c0_{row['talker']}.flac") for row in rows]
    # As the column is called here, and in the source.
    ratings = np.array([float(row.get("mos") or row["ovrl_mos"]) for row in rows])
    return with_references(clips, references, ratings)


def noise_sweep(limit: int | None) -> RatedClips:
    """Speech of held-out speakers in held-out kinds of noise; what should be told apart is the SNR, in dB."""
    clips: list[np.ndarray] = []
    references: list[np.ndarray] = []
    for speech, mixtures in noise_mixtures(SNRS_DB):
        clips += mixtures
        references += [speech] * len(mixtures)
    snrs = np.resize(np.array(SNRS_DB, dtype=float), len(clips))
    return RatedClips(clips[:limit], references[:limit], snrs[:limit], are_mos=False)


def slotest(folder: str, limit: int | None) -> RatedClips:
    """SLOTest, German, with codecs and time clipping, and the talker's clean clip (condition C01) as reference.

    Its scale of 1 to 7 is brought to 1 to 5.
    """
    rows = read_table(Path(folder) / "ratings.csv", ("file", "talker", "mos"))[:limit]
    clips = [read_clip(Path(folder) / row["file"]) for row in rows]
    references = [read_clip(Path(folder) / f"{row['talker']}_C01.flac") for row in rows]
    return with_references(clips, references, np.array([1 + (float(row["mos"]) - 1) * 4 / 6 for row in rows]))


def simulated(table: str, limit: int | None) -> RatedClips:
    """Degraded speech with labels of measures, without references."""
    rows = read_table(table, ("file", "mos"))[:limit]
    clips = [read_clip(Path(table).parent / row["file"]) for row in rows]
    ratings = np.array([float(row["mos"]) for row in rows])
    return RatedClips(clips, [], ratings, made_by=("distillmos", "pesq"))


def neural_codecs(folder: str, limit: int | None) -> RatedClips:
    """English speech through three codecs with neural networks, seven conditions, 8 to 11 listeners a clip.

    From Stahl, Windtner and Sontacchi, "A Bitrate-Scalable Variational Recurrent Mel-Spectrogram Coder for Real-Time
    Resynthesis-Based Speech Coding", IEEE Access 12 (2024): `mushra_results_dataset` of
    github.com/BenjSta/bernoulli-var-speech-codec (CC BY 4.0). MUSHRA's 0 to 100 is brought to 1 to 5. The hidden
    reference is left out as a rated clip: it is what measures with a reference compare with.
    """
    audio = Path(folder) / "audio"
    # The anchors were rated, but their audio is not there.
    table = read_table(Path(folder) / "ratings_formated_filtered.csv", ("file", "signal", "condition", "ratings"))
    there = [row for row in table if row["file"]]
    reference = {row["signal"]: row["file"] for row in there if row["condition"] == "Reference"}
    rows = [row for row in there if row["condition"] != "Reference"][:limit]
    clips = [read_clip(audio / row["file"]) for row in rows]
    references = [read_clip(audio / reference[row["signal"]]) for row in rows]
    return with_references(clips, references, np.array([from_mushra(json.loads(row["ratings"])) for row in rows]))


def enhanced_speech(folder: str, limit: int | None) -> RatedClips:
    """English sentences in noise at 5 and 10 dB SNR, as they are and after five kinds of enhancement, 14 listeners.

    From Barysenka and Vorobiov, "SNR-based inter-component phase estimation using bi-phase prior statistics for
    single-channel speech enhancement", IEEE/ACM TASLP 31 (2023), 10.1109/TASLP.2023.3284514:
    github.com/SiarheiBarysenka/inter-component-phase-speech-enhancement-MUSHRA (no licence is stated). MUSHRA's 0 to
    100 is brought to 1 to 5; the clean clips are the references.
    """
    votes = scipy.io.loadmat(Path(folder) / "matlab" / "icpr_mushra_data.mat", variable_names=["data"])["data"]
    audio = Path(folder) / "gui" / "configs" / "resources" / "audio"
    clips, references, ratings = [], [], []
    for row, system in enumerate(ENHANCED):
        for column, noise in enumerate(NOISES):
            (path,) = audio.glob(f"*-{noise}-{system}.wav")
            clips.append(read_clip(path))
            references.append(read_clip(audio / f"{path.name.split('-')[0]}-clean.wav"))
            ratings.append(from_mushra(votes[row, column]))
    return with_references(clips[:limit], references[:limit], np.array(ratings[:limit]))


def from_mushra(votes: ArrayLike) -> float:
    """Mean of votes from 0 to 100, brought to 1 to 5."""
    return float(1 + np.mean(np.asarray(votes)) / 25)
