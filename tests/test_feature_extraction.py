"""JSQAFeatureExtractor: every form of audio, the level kept, clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoFeatureExtractor

from jsqa_hf import JSQAFeatureExtractor, resampling
from jsqa_hf.resampling import KAISER_BEST, resample
from jsqa_hf.streaming_resampler import StreamingResampler
from jsqa_hf.waveforms import to_mono

RATE = 16000


@pytest.fixture
def extractor() -> JSQAFeatureExtractor:
    return JSQAFeatureExtractor()


def tone(rate: int, seconds: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_every_form_of_the_same_clip_gives_the_same_values(extractor, noise):
    stereo = np.stack([noise, noise])
    forms = [noise, noise.tolist(), torch.from_numpy(noise), noise.astype(np.float64), stereo, stereo.T, [noise]]
    for form in forms:
        batch = extractor(form, sampling_rate=RATE, return_tensors="pt")
        assert batch["input_values"].shape == (1, RATE)
        torch.testing.assert_close(batch["input_values"][0], torch.from_numpy(noise))


def test_a_list_of_clips_of_any_length_and_channels_is_a_padded_batch(extractor, noise):
    clips = [noise, noise[:4000], np.stack([noise[:8000], -noise[:8000]]), torch.from_numpy(noise[:1000])]
    batch = extractor(clips, sampling_rate=RATE, return_tensors="pt")
    assert batch["input_values"].shape == batch["attention_mask"].shape == (4, RATE)
    assert batch["attention_mask"].sum(-1).tolist() == [16000, 4000, 8000, 1000]
    assert batch["input_values"][1, 4000:].abs().max() == 0
    assert batch["input_values"][2].abs().max() == 0, "opposite channels cancel in the average"


def test_a_batch_array_has_three_axes(extractor, noise):
    batch = extractor(np.stack([noise, 0.5 * noise])[:, None], sampling_rate=RATE, return_tensors="np")
    np.testing.assert_allclose(batch["input_values"], np.stack([noise, 0.5 * noise]))


@given(gain_db=st.floats(-60.0, 20.0))
@settings(max_examples=20, deadline=None)
def test_the_level_is_kept(gain_db):
    clip = tone(RATE)
    gain = 10 ** (gain_db / 20)
    values = JSQAFeatureExtractor()(gain * clip, sampling_rate=RATE, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(values, gain * clip, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "scale"), [(np.int16, 2**15), (np.int32, 2**31)])
def test_integer_pcm_is_scaled_by_its_full_scale(extractor, dtype, scale, noise):
    pcm = np.round(noise * scale).astype(dtype)
    values = extractor(pcm, sampling_rate=RATE, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(values, noise, atol=1 / 2**15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_any_precision_are_taken(extractor, dtype, noise):
    clip = torch.from_numpy(noise).to(dtype)
    values = extractor(clip, sampling_rate=RATE, return_tensors="pt")["input_values"][0]
    torch.testing.assert_close(values, clip.float())


def test_unsigned_eight_bit_pcm_is_centred(extractor):
    pcm = np.full(RATE, 128, dtype=np.uint8)
    pcm[::2] = 192
    values = extractor(pcm, sampling_rate=RATE, return_tensors="np")["input_values"][0]
    assert sorted(set(values.tolist())) == [0.0, 0.5]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 44099])
def test_a_tone_keeps_frequency_level_and_duration_at_any_rate(extractor, rate):
    values = extractor(tone(rate), sampling_rate=rate, return_tensors="np")["input_values"][0]
    assert len(values) == pytest.approx(RATE / 2, abs=2)
    middle = values[1000:-1000]
    expected = tone(RATE)[1000 : 1000 + len(middle)]
    np.testing.assert_allclose(middle, expected, atol=2e-3)


def test_resampling_agrees_with_soxr(noise):
    speechlike = scipy.signal.lfilter([1.0], [1.0, -0.9], noise).astype(np.float32) / 10
    for rate in (8000, 22050, 48000):
        ours = resample(speechlike, rate, RATE)
        theirs = soxr.resample(speechlike, rate, RATE, quality="VHQ")
        length = min(len(ours), len(theirs)) - 500
        difference = ours[500:length] - theirs[500:length]
        assert np.std(difference) < 0.02 * np.std(theirs), rate


def test_mixed_precision_leaves_audio_as_it_is(extractor, noise):
    expected, got = [], []
    for low, found in ((False, expected), (True, got)):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            found.append(extractor(noise, sampling_rate=48000, return_tensors="np")["input_values"])
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("samples", [1, 799, 48000, 600_001])
def test_without_torchaudio_resampling_is_the_same(rate: int, samples: int):
    clip = np.random.default_rng(rate).normal(0, 0.1, samples).astype(np.float32)
    ours, theirs = (resample(clip, rate, RATE, torchaudio=torchaudio) for torchaudio in (False, True))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 32000, 44100, 48000])
def test_resampling_without_torchaudio_is_the_exact_windowed_sinc_at_once_and_in_blocks(rate: int) -> None:
    clip = np.random.default_rng(rate).normal(0, 0.1, rate // 10).astype(np.float32)
    zeros, beta = KAISER_BEST["lowpass_filter_width"], KAISER_BEST["beta"]
    cutoff = KAISER_BEST["rolloff"] * min(rate, RATE)
    place = cutoff * (np.arange(len(clip)) / rate - np.arange(RATE // 10)[:, None] / RATE)
    window = np.i0(beta * np.sqrt(np.maximum(0, 1 - (place / zeros) ** 2))) / np.i0(beta)
    expected = (np.sinc(place) * window * (np.abs(place) < zeros)) @ clip * cutoff / rate
    np.testing.assert_allclose(resample(clip, rate, RATE, torchaudio=False)[: RATE // 10], expected, atol=1e-6)
    resampler = StreamingResampler(rate, RATE, torchaudio=False)
    blocks = [resampler.feed(block) for block in np.array_split(clip, 3)]
    blocks.append(resampler.feed(np.zeros(0, np.float32), last=True))
    np.testing.assert_allclose(np.concatenate(blocks)[: RATE // 10], expected, atol=1e-6)


def test_a_torchaudio_that_is_missing_changes_nothing(monkeypatch, extractor):
    before = extractor(tone(48000), sampling_rate=48000, return_tensors="np")["input_values"][0]
    monkeypatch.setattr(resampling, "_import_torchaudio", lambda: None)
    values = extractor(tone(48000), sampling_rate=48000, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(values, before, atol=2e-5)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.array([], dtype=np.float32), "empty"),
        ([], "empty"),
        (np.zeros((2, 0)), "empty"),
        (np.full(RATE, np.nan, dtype=np.float32), "NaN"),
        (np.append(np.zeros(RATE), np.inf), "infinite"),
        (np.zeros(799), r"49\.9 ms.*50 ms"),
        (32768 * tone(RATE), "divide integer PCM"),
        (np.zeros((20, RATE)), "list of clips"),
        (np.zeros((1, 1, 1, RATE)), "shape"),
        (np.float32(3.0), "shape"),
        (np.zeros(RATE, dtype=np.int64), "int64"),
        (np.array(["a", "b"]), "samples must be"),
        ([np.zeros(RATE), np.zeros(10)], "clip 1 of the batch"),
    ],
)
def test_bad_audio_is_refused_with_what_to_do(extractor, clip, message):
    with pytest.raises(ValueError, match=message):
        extractor(clip, sampling_rate=RATE)


@pytest.mark.parametrize("rate", [None, 0, -16000, 16000.5, True, float("nan"), float("inf"), "16000"])
def test_a_missing_or_impossible_rate_is_refused(extractor, noise, rate):
    with pytest.raises(ValueError, match="sampling_rate"):
        extractor(noise, sampling_rate=rate)


def test_padding_on_the_left_which_the_models_would_rate_is_refused():
    with pytest.raises(ValueError, match="`padding_side` must be 'right'"):
        JSQAFeatureExtractor(padding_side="left")


def test_fifty_milliseconds_at_any_rate_are_enough(extractor):
    for rate in (8000, 16000, 48000):
        assert extractor(tone(rate, 0.05), sampling_rate=rate)["input_values"][0].shape[0] == 800


def test_to_mono_does_not_touch_its_input(noise):
    original = noise.copy()
    to_mono(np.stack([noise, noise]))
    np.testing.assert_array_equal(noise, original)


def test_the_extractor_survives_saving_and_loading(extractor, tmp_path, small_checkpoint):
    loaded = AutoFeatureExtractor.from_pretrained(small_checkpoint)
    assert type(loaded) is JSQAFeatureExtractor
    assert loaded.sampling_rate == RATE
