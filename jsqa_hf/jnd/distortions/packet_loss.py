"""Lost packets, one by one or in bursts, concealed or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..thresholds import Threshold
from .base import Distorted, Distortion, Draw, Stage, register

Concealment = Literal["repeat", "none"]
CONCEALMENTS: tuple[Concealment, ...] = ("repeat", "none")

# The usual packet of speech over IP (RFC 3551 clause 4.2).
PACKET_S = 0.02

# Of ITU-T G.711 Appendix I: pitch from 200 Hz to 66 Hz, found on the last 20 ms, full level for 10 ms of a gap, then
# down to silence at 60 ms.
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.005, 0.015
MATCHED_S = 0.02
FADE_START_S, FADE_END_S = 0.01, 0.06

# Our choice: overlap of one repeated period and the next, as a share of the period, and length of the transition to
# the packet after a gap.
OVERLAP = 0.25
TRANSITION_S = 0.004


def _threshold(just_noticeable: float, clearly_different: float, found: str) -> Threshold:
    return Threshold(
        quantity="loss rate",
        unit="%",
        just_noticeable=just_noticeable,
        clearly_different=clearly_different,
        assumption=True,
        source=(
            "Fitted by us to the auditory model Zimtohrli 0.2.1 on six utterances of LibriSpeech, two draws each: as "
            "large for it as 3 dB and 8 dB of SNR are between 0 and 20 dB. "
            f"It asked for {found} between 0 and 20 % of loss."
        ),
    )


class _Loss(Distortion):
    """What both kinds of loss share. `threshold_unconcealed` holds the steps without concealment."""

    stage = Stage.NETWORK
    threshold_unconcealed: ClassVar[Threshold]
    severity_range = (1.0, 30.0)

    def __init__(self, *, concealment: Concealment = "repeat", **options: Any) -> None:
        super().__init__(**options)
        if concealment not in CONCEALMENTS:
            raise ValueError(f"concealment must be one of {', '.join(CONCEALMENTS)}, got {concealment!r}")
        self.concealment = concealment
        if concealment == "none":
            steps = options.get("just_noticeable"), options.get("clearly_different")
            self.threshold = type(self).threshold_unconcealed.with_steps(*steps)

    def order(self, rng: np.random.Generator, packets: int) -> NDArray[np.intp]:
        """Indices of all packets in the order in which they are lost as the rate rises."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Draw the order in which packets are lost, so that a higher rate loses these and more."""
        return Draw(self.order(rng, -(-length // round(PACKET_S * sampling_rate))))

    def distort(
        self, speech: NDArray[np.float64], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """See `Distortion.distort`. The number of lost packets is the loss rate times the number of all, rounded.

        Of a rate within one JND of a lower one it is that of the lower one and the difference rounded down, so that
        what is lost is within one JND, too: one packet of a short clip can be more than that.

        Measured: `loss_percent`, the share of packets that were lost, and `mean_burst_packets`, the mean number of
        lost packets in a row (0 without loss).
        """
        counts: dict[float, int] = {}
        anchor = -np.inf
        for percent in sorted(map(float, severities)):
            if not 0 <= percent <= 100:
                raise ValueError(f"a loss rate must be from 0 to 100 %, got {percent:g}")
            if self.threshold.jnds_between(anchor, percent) > 1 + 1e-9:
                anchor = percent
            more = int((percent - anchor) / 100 * draw.values.size)
            counts[percent] = int(anchor / 100 * draw.values.size + 0.5) + more
        return [self._lose(speech, counts[float(percent)], draw.values, sampling_rate) for percent in severities]

    def _lose(self, speech: NDArray[np.float64], count: int, order: NDArray[np.intp], sampling_rate: int) -> Distorted:
        lost = np.zeros(order.size, dtype=bool)
        lost[order[:count]] = True
        edges = np.flatnonzero(np.diff(lost, prepend=False, append=False)).reshape(-1, 2)
        packet = round(PACKET_S * sampling_rate)
        samples = speech.copy()
        for start, end in np.minimum(edges * packet, speech.size):
            if self.concealment == "none":
                samples[start:end] = 0.0
            else:
                _conceal(samples, int(start), int(end), sampling_rate)
        bursts = edges[:, 1] - edges[:, 0]
        return Distorted(
            samples,
            {
                "loss_percent": 100 * float(lost.mean()),
                "mean_burst_packets": float(bursts.mean()) if bursts.size else 0.0,
            },
        )


@register
class PacketLoss(_Loss):
    """Lose packets of 20 ms independently of each other.

    Args:
        concealment: What is heard instead of a lost packet: `"repeat"` repeats the last pitch period and fades it out
            within 60 ms, after the idea of ITU-T G.711 Appendix I; `"none"` is silence. Fixed, not drawn, as the
            steps differ: without concealment they are smaller.
        options: Arguments of `Distortion`.

    Raises:
        ValueError: If there is no such concealment.
    """

    name = "packet-loss"
    summary = "packets of 20 ms lost at random and concealed; severity: loss rate in percent"
    threshold = _threshold(0.8, 10.0, "0.6 to 1.0 % and 4.2 to 8.0 % (up to 12 % in docs/verification.md)")
    threshold_unconcealed = _threshold(0.5, 2.5, "0.4 to 0.6 % and 2.0 to 3.0 %")

    def order(self, rng: np.random.Generator, packets: int) -> NDArray[np.intp]:
        """Any order is as likely as any other."""
        return rng.permutation(packets)


@register
class BurstLoss(_Loss):
    """Lose packets of 20 ms in bursts, by the model of Gilbert (Bell System Technical Journal 1960).

    In the bad state every packet is lost, in the good one none is (Elliott's extension allows other probabilities).
    Packets leave the bad state with the same probability at any loss rate; the rate is set by how often they enter it.

    Args:
        mean_burst_packets: Mean number of packets lost in a row, above 1. At 4 packets (default, our choice) a mean
            burst of 80 ms is longer than what concealment can bridge.
        concealment: As in `PacketLoss`.
        options: Arguments of `Distortion`.

    Raises:
        ValueError: If an argument is out of range.
    """

    name = "burst-loss"
    summary = "packets of 20 ms lost in bursts and concealed; severity: loss rate in percent"
    threshold = _threshold(0.6, 4.0, "0.5 to 0.7 % and 2.8 to 3.7 % (up to 4.1 % in docs/verification.md)")
    threshold_unconcealed = _threshold(0.5, 2.0, "0.4 to 0.6 % and 1.6 to 2.5 %")

    def __init__(
        self, *, mean_burst_packets: float = 4.0, concealment: Concealment = "repeat", **options: Any
    ) -> None:
        super().__init__(concealment=concealment, **options)
        if not 1 < mean_burst_packets < np.inf:
            raise ValueError(f"mean_burst_packets must be above 1, got {mean_burst_packets}")
        self.mean_burst_packets = float(mean_burst_packets)

    def order(self, rng: np.random.Generator, packets: int) -> NDArray[np.intp]:
        """By the probability of entering the bad state from which on each packet is lost.

        One uniform number per packet decides about both states: below the probability of entering, a packet is lost
        in any case; below the one of staying, if the packet before was lost, so from the same probability on as that.
        """
        staying = 1 - 1 / self.mean_burst_packets
        lost_from = rng.random(packets)
        for packet in range(1, packets):
            if lost_from[packet] < staying:
                lost_from[packet] = min(lost_from[packet], lost_from[packet - 1])
        return np.argsort(lost_from, kind="stable")


def _conceal(samples: NDArray[np.float64], start: int, end: int, sampling_rate: int) -> None:
    """Fill a gap in place with the last pitch period before it, repeated, and blend it into what follows."""
    transition = min(round(TRANSITION_S * sampling_rate), samples.size - end)
    synthetic = np.zeros(end - start + transition)
    period = _pitch_period(samples[:start], sampling_rate)
    if period:
        synthetic = _repeat(samples[:start], period, synthetic.size)
        time_s = np.arange(synthetic.size) / sampling_rate
        synthetic *= np.clip((FADE_END_S - time_s) / (FADE_END_S - FADE_START_S), 0.0, 1.0)
    samples[start:end] = synthetic[: end - start]
    rising = (np.arange(transition) + 1) / (transition + 1)
    samples[end : end + transition] *= rising
    samples[end : end + transition] += (1 - rising) * synthetic[end - start :]


def _pitch_period(history: NDArray[np.float64], sampling_rate: int) -> int:
    """Lag of the highest normalised correlation of the last 20 ms with what was before; 0 if that is too short."""
    matched = round(MATCHED_S * sampling_rate)
    lags = np.arange(round(SHORTEST_PERIOD_S * sampling_rate), round(LONGEST_PERIOD_S * sampling_rate) + 1)
    if history.size < matched + lags[-1]:
        return 0
    recent = history[-matched - lags[-1] :]
    # Element j of both belongs to the stretch that starts j samples into `recent`, so to the lag `lags[-1] - j`.
    products = np.correlate(recent, recent[-matched:])
    total = np.concatenate([[0.0], np.cumsum(recent**2)])
    energies = total[matched:] - total[:-matched]
    # The floor keeps rounding in near-silence from winning.
    similarity = products / np.sqrt(np.maximum(energies, 1e-9 * total[-1] + np.finfo(np.float64).tiny))
    return int(lags[np.argmax(similarity[lags[-1] - lags])])


def _repeat(history: NDArray[np.float64], period: int, length: int) -> NDArray[np.float64]:
    """Repeat the last period; its end is blended into what was before its start, so that there is no step."""
    overlap = int(OVERLAP * period)
    cycle = history[-period:].copy()
    rising = (np.arange(overlap) + 1) / (overlap + 1)
    cycle[-overlap:] = (1 - rising) * cycle[-overlap:] + rising * history[-period - overlap : -period]
    return np.resize(cycle, length)
