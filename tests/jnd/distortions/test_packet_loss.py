from __future__ import annotations

import numpy as np
import pytest
from behaviour import assert_behaves, assert_worse_and_worse, distort, sdr_db, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jsqa_hf.jnd.distortions import make_distortion

NAMES = ["packet-loss", "burst-loss"]


def lost_packets(name: str, percent: float, seed: int = 1, packets: int = 100, **options) -> NDArray[np.bool_]:
    """Which packets of a constant signal come out as silence."""
    distortion = make_distortion(name, concealment="none", **options)
    ones = np.ones(320 * packets)
    draw = distortion.draw(np.random.default_rng(seed), ones.size, 16000)
    (result,) = distortion.distort(ones, [percent], draw, 16000)
    silent = result.samples.reshape(packets, 320) == 0
    assert (silent.all(axis=1) | ~silent.any(axis=1)).all()
    return silent.all(axis=1)


def run_lengths(lost: NDArray[np.bool_]) -> list[int]:
    return [len(run) for run in "".join("x" if packet else " " for packet in lost).split()]


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
@pytest.mark.parametrize("name", NAMES)
def test_behaves_as_a_distortion(name: str, sampling_rate: int) -> None:
    assert_behaves(make_distortion(name), [0, 2, 30, 100], sampling_rate)


@pytest.mark.parametrize("concealment", ["repeat", "none"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_more_loss_is_worse(name: str, concealment: str, seed: int) -> None:
    assert_worse_and_worse(make_distortion(name, concealment=concealment), [2, 6, 15, 30, 60], seed)


@settings(deadline=None, max_examples=30)
@given(name=st.sampled_from(NAMES), percent=st.floats(0, 100), more=st.floats(0, 100), seed=st.integers(0, 1000))
def test_the_rate_is_the_one_asked_for_and_a_higher_one_loses_the_same_packets_and_more(
    name: str, percent: float, more: float, seed: int
) -> None:
    few, many = sorted([percent, more])
    at_few, at_many = lost_packets(name, few, seed), lost_packets(name, many, seed)
    assert abs(np.count_nonzero(at_few) - few) <= 0.5 + 1e-9
    assert not (at_few & ~at_many).any()


@settings(deadline=None, max_examples=50)
@given(
    name=st.sampled_from(NAMES),
    percent=st.floats(0, 30),
    jnds=st.floats(-1, 1),
    packets=st.integers(25, 500),
    seed=st.integers(0, 1000),
)
def test_what_is_lost_of_a_pair_is_within_one_jnd_however_short_the_clip(
    name: str, percent: float, jnds: float, packets: int, seed: int
) -> None:
    distortion = make_distortion(name)
    jnd = distortion.threshold
    other = float(np.clip(jnd.value(jnd.position(percent) + jnds), 0, 100))
    speech = np.ones(320 * packets)
    draw = distortion.draw(np.random.default_rng(seed), speech.size, 16000)
    first, second = (one.measured["loss_percent"] for one in distortion.distort(speech, [percent, other], draw, 16000))
    assert abs(first - second) <= abs(percent - other) + 1e-9
    assert abs(min(first, second) - min(percent, other)) <= 50 / packets + 1e-9


def test_small_steps_in_a_row_add_up() -> None:
    rates = np.arange(0, 20, 0.2)
    results = distort(make_distortion("packet-loss"), utterance(), rates.tolist())
    lost = [result.measured["loss_percent"] for result in results]
    np.testing.assert_allclose(lost, rates, atol=1.5)
    backwards = distort(make_distortion("packet-loss"), utterance(), rates[::-1].tolist())
    assert [result.measured["loss_percent"] for result in backwards] == lost[::-1]
    assert (np.diff(lost) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_lost_is_measured(name: str) -> None:
    (result,) = distort(make_distortion(name), np.ones(32000), [17])
    lost = lost_packets(name, 17)
    assert result.measured["loss_percent"] == pytest.approx(100 * lost.mean())
    assert result.measured["mean_burst_packets"] == pytest.approx(np.mean(run_lengths(lost)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("concealment", ["repeat", "none"])
def test_without_loss_nothing_changes(name: str, concealment: str) -> None:
    speech = utterance()
    (result,) = distort(make_distortion(name, concealment=concealment), speech, [0])
    assert np.array_equal(result.samples, speech)
    assert result.measured == {"loss_percent": 0.0, "mean_burst_packets": 0.0}


def test_single_losses_are_as_frequent_as_chance_has_it() -> None:
    lost = lost_packets("packet-loss", 20, packets=20000)
    # Of independent losses at a rate p, the mean run is 1 / (1 - p), and a run is longer than one with probability p.
    runs = run_lengths(lost)
    assert np.mean(runs) == pytest.approx(1 / 0.8, rel=0.02)
    assert np.mean(np.array(runs) > 1) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(("percent", "mean_burst"), [(2, 4.0), (20, 4.0), (10, 2.0), (5, 8.0)])
def test_bursts_are_as_long_as_the_model_of_gilbert_has_it(percent: float, mean_burst: float) -> None:
    lost = lost_packets("burst-loss", percent, packets=200000, mean_burst_packets=mean_burst)
    runs = np.array(run_lengths(lost))
    assert runs.mean() == pytest.approx(mean_burst, rel=0.1)
    # Geometric: after each lost packet the burst goes on with the same probability.
    for length in (1, 2, 3):
        assert np.mean(runs[runs >= length] > length) == pytest.approx(1 - 1 / mean_burst, abs=0.05)
    # So are the gaps between them.
    gaps = np.array(run_lengths(~lost))
    assert np.median(gaps) == pytest.approx(np.log(2) * gaps.mean(), rel=0.15)


def test_a_steady_voice_goes_on_where_a_packet_is_repeated() -> None:
    time = np.arange(32000) / 16000
    voice = sum(np.sin(2 * np.pi * 125 * harmonic * time) / harmonic for harmonic in range(1, 11))
    repeated, silent = (
        distort(make_distortion("packet-loss", concealment=concealment), voice, [5])[0]
        for concealment in ("repeat", "none")
    )
    assert sdr_db(voice, repeated) > sdr_db(voice, silent) + 8
    # The first 10 ms of a gap are at full level, and the period of 8 ms is a whole number of samples.
    lost = lost_packets("packet-loss", 5)
    first = next(index for index in np.flatnonzero(lost) if not lost[index - 1])
    gap = slice(320 * first, 320 * first + 160)
    assert repeated.samples[gap] == pytest.approx(voice[gap], abs=1e-9)


def test_long_gaps_fade_to_silence_within_60_ms() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(16000)
    distortion = make_distortion("burst-loss", mean_burst_packets=30)
    draw = distortion.draw(np.random.default_rng(3), samples.size, 16000)
    (result,) = distortion.distort(samples, [60], draw, 16000)
    lost = lost_packets("burst-loss", 60, seed=3, packets=50, mean_burst_packets=30)
    starts = [index for index in range(1, 44) if lost[index : index + 6].all() and not lost[index - 1]]
    assert starts
    for start in starts:
        gap = result.samples[320 * start : 320 * (start + 6)]
        assert (gap[960:] == 0).all()
        levels = [np.sqrt(np.mean(gap[at : at + 160] ** 2)) for at in range(0, 960, 160)]
        assert levels == sorted(levels, reverse=True) or levels[0] > 2 * levels[3] > 4 * levels[5]


def test_a_gap_ends_without_a_step_and_leaves_later_samples_alone() -> None:
    constant = np.ones(32000)
    distortion = make_distortion("packet-loss")
    draw = distortion.draw(np.random.default_rng(1), constant.size, 16000)
    (result,) = distortion.distort(constant, [1], draw, 16000)
    (packet,) = np.flatnonzero(lost_packets("packet-loss", 1))
    end = 320 * (packet + 1)
    assert np.abs(np.diff(result.samples)).max() < 0.05
    assert np.array_equal(result.samples[end + 64 :], constant[end + 64 :])


def test_without_enough_before_it_a_gap_is_silent() -> None:
    speech = utterance(duration_s=0.3)
    (result,) = distort(make_distortion("packet-loss"), speech, [100])
    assert not result.samples.any()


def test_steps_depend_on_the_concealment_and_can_be_chosen() -> None:
    concealed, silent = make_distortion("packet-loss"), make_distortion("packet-loss", concealment="none")
    assert silent.threshold.just_noticeable < concealed.threshold.just_noticeable
    chosen = make_distortion("burst-loss", concealment="none", just_noticeable=1.0, clearly_different=9.0)
    assert (chosen.threshold.just_noticeable, chosen.threshold.clearly_different) == (1.0, 9.0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="concealment must be one of repeat, none"):
        make_distortion("packet-loss", concealment="magic")
    with pytest.raises(ValueError, match="mean_burst_packets must be above 1"):
        make_distortion("burst-loss", mean_burst_packets=1.0)
    for percent in (-1, 101, np.nan):
        with pytest.raises(ValueError, match="from 0 to 100 %"):
            distort(make_distortion("packet-loss"), utterance(), [percent])
