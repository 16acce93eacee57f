"""Streams: the same result as for the whole file, soon, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import SAMPLING_RATE, small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf.live import LiveScorer


@pytest.fixture(scope="module")
def rate() -> SpeechQualityPipeline:
    torch.manual_seed(0)
    model = JSQAForMOSRegression(small_config(mos_output_names=["noisiness", "mos"])).eval()
    return SpeechQualityPipeline(model=model, feature_extractor=JSQAFeatureExtractor(), device="cpu", window_s=5.0)


def call(seconds: float, sampling_rate: int = SAMPLING_RATE, channels: int = 1) -> np.ndarray:
    """(channels, time): noise, with near silence from 3 to 9 s and digital silence from 12 to 18 s."""
    generator = np.random.default_rng(0)
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    gain = np.where((time >= 3) & (time < 9), 1e-5, 0.1) * ((time < 12) | (time >= 18))
    return (gain * generator.normal(0, 1, (channels, len(time)))).astype(np.float32)


def stream(live: LiveScorer, samples: np.ndarray, sizes: list[int]) -> tuple[list[dict[str, Any]], Any]:
    updates, start, turn = [], 0, 0
    while start < samples.shape[-1]:
        updates += live.feed(samples[..., start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    result = live.finish()
    return updates + result.updates, result


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 30_000), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 2000),
    seconds=st.floats(0.1, 22.0),
    sampling_rate=st.sampled_from([8000, 16000]),
    channels=st.integers(1, 2),
)
def test_a_stream_gets_exactly_what_the_whole_gets(
    rate: SpeechQualityPipeline, sizes: list[int], seconds: float, sampling_rate: int, channels: int
) -> None:
    # How long a chunk is doesn't matter, once the first has told that there are channels.
    sizes = [max(sizes[0], channels), *sizes[1:]]
    samples = call(seconds, sampling_rate, channels)
    live = LiveScorer(rate, sampling_rate=sampling_rate, confidence=0.8)
    updates, result = stream(live, samples, sizes)
    whole = rate({"array": samples, "sampling_rate": sampling_rate}, curve=True, confidence=0.8)
    assert updates == whole.pop("curve")
    assert result.scores == whole
    assert result.duration_s == samples.shape[-1] / sampling_rate


def test_pauses_are_told_as_such(rate: SpeechQualityPipeline) -> None:
    updates, _ = stream(LiveScorer(rate, sampling_rate=SAMPLING_RATE), call(20.0), [1600])
    pauses = [step["start_s"] for step in updates if step["mos"] is None]
    assert pauses == [4.0, 5.0, 6.0, 7.0, 8.0, 13.0, 14.0, 15.0, 16.0, 17.0]


def test_a_step_is_told_within_two_seconds_of_its_end(rate: SpeechQualityPipeline) -> None:
    live = LiveScorer(rate, sampling_rate=48000)
    samples = call(12.0, 48000)[0]
    delays = []
    for index in range(0, len(samples), 960):
        for step in live.feed(samples[index : index + 960]):
            delays.append((index + 960) / 48000 - step["end_s"])
    assert len(delays) >= 9
    assert max(delays[2:]) < 2.0
    assert max(delays) < 3.5


def test_integers_are_pcm(rate: SpeechQualityPipeline) -> None:
    samples = np.round(call(6.0, channels=2) * 32768).astype(np.int16)
    floats = samples / np.float32(32768)
    results = [stream(LiveScorer(rate, sampling_rate=SAMPLING_RATE), given, [999]) for given in (samples, floats)]
    assert results[0][0] == results[1][0]
    assert results[0][1].scores == results[1][1].scores


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.full(100, np.nan), "NaN .*first at 0:01"),
        (np.full(100, 9.0), "full scale"),
        (np.zeros((9, 100)), "9 channels"),
        (np.zeros((1024, 1)), r"\(1024, 1\): if it is \(time, channels\), pass chunk.T"),
        (np.zeros((8, 2)), r"\(8, 2\): if it is \(time, channels\), pass chunk.T"),
        (np.zeros((2, 3, 4)), "shape"),
        (np.zeros(10, dtype=complex), "complex"),
    ],
)
def test_a_bad_chunk_is_refused_and_the_stream_goes_on(
    rate: SpeechQualityPipeline, chunk: np.ndarray, message: str
) -> None:
    live, untouched = (LiveScorer(rate, sampling_rate=SAMPLING_RATE) for _ in range(2))
    samples = call(2.0)
    for scorer in (live, untouched):
        scorer.feed(samples[:, :SAMPLING_RATE])
    with pytest.raises(ValueError, match=message):
        live.feed(chunk)
    for scorer in (live, untouched):
        scorer.feed(samples[:, SAMPLING_RATE:])
    assert live.finish() == untouched.finish()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tensors_are_taken_as_arrays(rate: SpeechQualityPipeline, dtype: torch.dtype) -> None:
    samples = torch.from_numpy(call(1.0)).to(dtype)
    of_tensors, of_arrays = (LiveScorer(rate, sampling_rate=SAMPLING_RATE) for _ in range(2))
    of_tensors.feed(samples.requires_grad_())
    of_arrays.feed(samples.detach().float().numpy())
    assert of_tensors.finish() == of_arrays.finish()


def test_a_chunk_without_samples_changes_nothing(rate: SpeechQualityPipeline) -> None:
    live, untouched = (LiveScorer(rate, sampling_rate=SAMPLING_RATE) for _ in range(2))
    for nothing in (np.zeros((0, 1024)), np.zeros((2, 0)), np.zeros(0)):
        assert live.feed(nothing) == []
    for scorer in (live, untouched):
        scorer.feed(call(1.0))
    assert live.finish() == untouched.finish()


def test_what_cannot_be_rated_is_refused_at_the_end(rate: SpeechQualityPipeline) -> None:
    for samples, message in ((np.zeros(SAMPLING_RATE), "digital silence"), (np.ones(10), "at least 50 ms")):
        live = LiveScorer(rate, sampling_rate=SAMPLING_RATE)
        live.feed(samples)
        with pytest.raises(ValueError, match=message):
            live.finish()
    with pytest.raises(ValueError, match="empty"):
        LiveScorer(rate, sampling_rate=SAMPLING_RATE).finish()


def test_a_scorer_serves_one_stream(rate: SpeechQualityPipeline) -> None:
    live = LiveScorer(rate, sampling_rate=SAMPLING_RATE)
    live.feed(call(1.0))
    live.finish()
    for use in (live.finish, lambda: live.feed(call(1.0))):
        with pytest.raises(ValueError, match="the stream has ended"):
            use()


def test_parameters_out_of_range_are_refused(rate: SpeechQualityPipeline) -> None:
    for parameters in ({"curve_step_s": 0.0}, {"sampling_rate": 0.5}, {"window_s": -1.0}, {"curve": False}):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            LiveScorer(rate, **{"sampling_rate": SAMPLING_RATE, **parameters})  # type: ignore[arg-type]
