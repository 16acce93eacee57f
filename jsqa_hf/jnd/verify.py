"""Are pairs what they claim to be? A judge listens to a sample of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration
from .excerpts import load_mono
from .judges import Judge
from .psychometric import PsychometricCurve

Kind = Literal["positive", "negative"]


class JudgedPair(NamedTuple):
    """Two clips of a ladder and what the judge says of them.

    Attributes:
        content_id, distortion, unit: Of the ladder; the unit of its severities.
        kind: `"positive"` for the two clips of a level, `"negative"` for the nearest clips of neighbouring levels.
        severities: Of both clips, NaN where unknown.
        distance: Of the judge.
        equivalent_db: Step of the SNR in dB that the judge finds as large.
    """

    content_id: str
    distortion: str
    unit: str
    kind: Kind
    severities: tuple[float, float]
    distance: float
    equivalent_db: float


class Refusal(NamedTuple):
    """A pair that the judge could not compare."""

    content_id: str
    distortion: str
    reason: str


class VerifiedBin(NamedTuple):
    """Pairs of one kind, of one distortion and of similar severity.

    Attributes:
        distortion, unit, kind: As in `JudgedPair`.
        severity: Lowest and highest mean severity of a pair in the bin.
        pairs: How many.
        distance, equivalent_db: 5th, 50th and 95th percentile.
        identical: Share of pairs with distance 0, that is of clips that are equal.
        unheard, heard, clear: Shares of pairs up to the distance of the just noticeable step of the SNR, above it, and
            from that of the clearly different step on. Good positives are unheard, good negatives heard.
        listeners: Mean share of listeners expected to hear the difference; None if no listeners were given.
    """

    distortion: str
    unit: str
    kind: Kind
    severity: tuple[float, float]
    pairs: int
    distance: tuple[float, float, float]
    equivalent_db: tuple[float, float, float]
    identical: float
    unheard: float
    heard: float
    clear: float
    listeners: float | None


@dataclass(frozen=True)
class VerificationReport:
    """What a judge says of a sample of pairs.

    Attributes:
        calibration: Of the judge.
        pairs: All that were judged.
        refusals: All that could not be.
        listeners: How many listeners hear a step of the SNR of so many dB, if known.
    """

    calibration: Calibration
    pairs: tuple[JudgedPair, ...]
    refusals: tuple[Refusal, ...] = ()
    listeners: PsychometricCurve | None = None

    def bins(self, severity_bins: int = 3) -> list[VerifiedBin]:
        """Summarise the pairs by distortion, kind and severity.

        Args:
            severity_bins: Number of bins of the severity, each with about as many pairs; 1 for all together.
        """
        groups: dict[tuple[str, Kind], list[JudgedPair]] = {}
        for pair in self.pairs:
            groups.setdefault((pair.distortion, pair.kind), []).append(pair)
        bins = []
        for _, group in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] == "negative")):
            group.sort(key=lambda pair: float(np.mean(pair.severities)))
            for index in np.array_split(np.arange(len(group)), min(severity_bins, len(group))):
                bins.append(self._summary([group[position] for position in index]))
        return bins

    def _summary(self, group: Sequence[JudgedPair]) -> VerifiedBin:
        distances = np.array([pair.distance for pair in group])
        means = [float(np.mean(pair.severities)) for pair in group]
        heard = float(np.mean(distances > self.calibration.just_noticeable))
        listeners = None
        if self.listeners is not None:
            listeners = float(self.calibration.probability(distances, self.listeners).mean())
        return VerifiedBin(
            group[0].distortion,
            group[0].unit,
            group[0].kind,
            (min(means), max(means)),
            len(group),
            _percentiles(distances),
            _percentiles(np.array([pair.equivalent_db for pair in group])),
            float(np.mean(distances == 0)),
            1 - heard,
            heard,
            float(np.mean(distances >= self.calibration.clearly_different)),
            listeners,
        )


def verify(
    pairs: datasets.Dataset | Iterable[Mapping[str, Any]],
    judge: Judge,
    calibration: Calibration,
    *,
    sample: int | None = None,
    seed: int = 0,
    listeners: PsychometricCurve | None = None,
) -> VerificationReport:
    """Have a judge compare the clips of JND pairs with each other.

    Positives are the two clips of each level. Negatives are clips of neighbouring levels, of which the two nearest in
    severity are compared: if these are told apart, so are the others.

    Args:
        pairs: Rows of ladders as `JNDPairGenerator` makes them (`clips` and `severity`, level after level, two to a
            level; `distortion`, and optionally `content_id`, `severity_unit` and, for clips as arrays,
            `sampling_rate`): a dataset, or anything that yields rows. Human-judged pairs with `clips` will do, too.
        judge: Whom to ask.
        calibration: Of this judge, by `calibrate`.
        sample: Judge only so many ladders, drawn by `seed`; of rows that have no length, the first ones.
        seed: Of the sample.
        listeners: How many listeners hear a step of the SNR of so many dB, to tell the share expected to hear each
            pair; for example from `fit_psychometric_curve` of the answers of `load_human_jnd`.

    Returns:
        The report. Pairs that the judge refuses (silence, no speech found) are listed in it.

    Raises:
        ValueError: If a column is missing, a row does not have two clips to a level, there are no rows, or the
            calibration is of another judge.
    """
    if calibration.judge != judge.name:
        raise ValueError(f"the calibration is of {calibration.judge}, but the judge is {judge.name}")
    judged: list[JudgedPair] = []
    refusals: list[Refusal] = []
    for number, row in enumerate(_sampled(pairs, sample, seed)):
        content_id = str(row.get("content_id", number))
        severities = _severities(row, content_id)
        samples = [_decoded(clip, row, judge.sampling_rate) for clip in row["clips"]]
        for kind, first, second in _comparisons(severities):
            try:
                distance = judge.distance(samples[first], samples[second], judge.sampling_rate)
            except ValueError as error:
                refusals.append(Refusal(content_id, row["distortion"], str(error)))
                continue
            judged.append(
                JudgedPair(
                    content_id,
                    row["distortion"],
                    row.get("severity_unit") or "",
                    kind,
                    (severities[first], severities[second]),
                    distance,
                    float(calibration.equivalent_step(distance)),
                )
            )
    if not judged and not refusals:
        raise ValueError("there are no pairs to verify")
    return VerificationReport(calibration, tuple(judged), tuple(refusals), listeners)


def _sampled(
    pairs: datasets.Dataset | Iterable[Mapping[str, Any]], sample: int | None, seed: int
) -> Iterable[Mapping[str, Any]]:
    if sample is None:
        return pairs
    if isinstance(pairs, (datasets.Dataset, Sequence)):
        index = np.random.default_rng(seed).permutation(len(pairs))[:sample]
        return (pairs[int(position)] for position in np.sort(index))
    return islice(pairs, sample)


def _severities(row: Mapping[str, Any], content_id: str) -> list[float]:
    """Of each clip, NaN where unknown; refuses a row that is no ladder."""
    missing = [column for column in ("clips", "severity", "distortion") if column not in row]
    if missing:
        raise ValueError(f"the pairs lack the column(s) {', '.join(missing)}; they have {', '.join(row)}")
    clips, severities = len(row["clips"]), list(row["severity"])
    if clips % 2 or not clips or len(severities) not in (0, clips):
        raise ValueError(f"{content_id!r} has {clips} clips and {len(severities)} severities: it needs two to a level")
    return severities or [float("nan")] * clips


def _decoded(clip: Any, row: Mapping[str, Any], sampling_rate: int) -> NDArray[np.float32]:
    if isinstance(clip, (list, np.ndarray)):
        if "sampling_rate" not in row:
            raise ValueError("clips that are arrays need the column sampling_rate")
        clip = {"array": np.asarray(clip, dtype=np.float32), "sampling_rate": row["sampling_rate"]}
    return load_mono(clip, sampling_rate)


def _comparisons(severities: Sequence[float]) -> list[tuple[Kind, int, int]]:
    """Which clips of a ladder to compare."""
    levels = [(index, index + 1) for index in range(0, len(severities), 2)]
    comparisons: list[tuple[Kind, int, int]] = [("positive", *level) for level in levels]
    levels.sort(key=lambda level: severities[level[0]] + severities[level[1]])
    for lower, upper in zip(levels, levels[1:], strict=False):
        top = max(lower, key=lambda index: severities[index])
        bottom = min(upper, key=lambda index: severities[index])
        comparisons.append(("negative", top, bottom))
    return comparisons


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    low, median, high = np.percentile(values, [5, 50, 95])
    return float(low), float(median), float(high)
