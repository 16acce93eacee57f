"""Tests of single codecs, against their standards and against other decoders."""

from __future__ import annotations

import io
import sys

import av
import numpy as np
import pytest
import soundfile
import soxr
from behaviour import distort, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_codecs import all_severities, real_speech

from jsqa_hf.jnd import JNDPairGenerator
from jsqa_hf.jnd.distortions import make_distortion
from jsqa_hf.jnd.distortions.codecs import optional
from jsqa_hf.jnd.distortions.codecs.ffmpeg import FFmpegCodec


def telephone_speech() -> NDArray[np.float64]:
    return soxr.resample(real_speech(), 16000, 8000)


def a_law_values() -> NDArray[np.float64]:
    """Output values of table 1a/G.711, full scale 4096 as in the recommendation: sixteen steps in each segment."""
    positive = [2 * step + 1 for step in range(16)]
    for segment in range(1, 8):
        positive += [(33 + 2 * step) * 2 ** (segment - 1) for step in range(16)]
    return np.array([-value for value in positive[::-1]] + positive) / 4096


def mu_law_values() -> NDArray[np.float64]:
    """Output values of table 2a/G.711 with its full scale of 8159, kept in a 14-bit number (full scale 8192)."""
    positive = [(33 + 2 * step) * 2**segment - 33 for segment in range(8) for step in range(16)]
    return np.array([-value for value in positive[::-1]] + positive) / 8192


@pytest.mark.parametrize(("name", "values"), [("a-law", a_law_values()), ("mu-law", mu_law_values())])
def test_g711_gives_the_output_value_next_to_the_input(name: str, values: NDArray[np.float64]) -> None:
    speech = np.concatenate([telephone_speech(), np.linspace(-0.7, 0.7, 20001)])
    (result,) = distort(make_distortion(name), speech, [0.0], 8000)
    nearest = values[np.abs(speech[:, np.newaxis] - values).argmin(axis=1)]
    # FFmpeg truncates to 14 bits first, which moves the edges between two values by up to one such step.
    assert (np.abs(speech - result.samples) <= np.abs(speech - nearest) + 2 / 8192).all()
    assert np.isin(np.round(result.samples * 32768), np.round(values * 32768)).all()
    assert np.mean(result.samples == nearest) > 0.9


@pytest.mark.parametrize("name", ["a-law", "mu-law"])
def test_g711_has_about_38_db_on_speech(name: str) -> None:
    speech = telephone_speech()
    (result,) = distort(make_distortion(name), speech, [0.0], 8000)
    ratio_db = 10 * np.log10(np.sum(speech**2) / np.sum((result.samples - speech) ** 2))
    assert ratio_db == pytest.approx(38, abs=1.5)
    assert result.measured["signal_to_error_db"] == pytest.approx(ratio_db, abs=1e-9)


def test_gsm_is_what_another_decoder_makes_of_it() -> None:
    speech = telephone_speech()
    file = io.BytesIO()
    soundfile.write(file, speech, 8000, format="WAV", subtype="GSM610")
    file.seek(0)
    with av.open(file, format="wav") as container:
        expected = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]) / 32768
    (result,) = distort(make_distortion("gsm"), speech, [0.0], 8000)
    assert np.abs(result.samples - expected[: speech.size]).max() <= 1 / 32768


@settings(deadline=None, max_examples=10)
@given(severity=st.floats(-20, 20), name=st.sampled_from(["a-law", "mu-law", "g723-1", "gsm"]))
def test_single_rate_codecs_scale_their_error(severity: float, name: str) -> None:
    speech = utterance(2, 1.0, 8000)
    coded, scaled = distort(make_distortion(name), speech, [0.0, severity], 8000)
    expected = speech + 10 ** (severity / 20) * (coded.samples - speech)
    assert np.allclose(scaled.samples, expected, rtol=0, atol=1e-12)
    ratio_db = 10 * np.log10(np.sum(speech**2) / np.sum((scaled.samples - speech) ** 2))
    assert scaled.measured["signal_to_error_db"] == pytest.approx(ratio_db, abs=1e-6)


def test_the_band_of_a_telephone_codec_is_cut_off_at_any_severity() -> None:
    speech = real_speech()
    (result,) = distort(make_distortion("mu-law"), speech, [-60.0])
    assert np.allclose(result.samples, soxr.resample(telephone_speech(), 8000, 16000), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("g726", 0.0), ("mp3", 0.04), ("amr-nb", 0.15), ("opus", 0.25), ("aac", 0.2), ("silk", 0.25)],
)
def test_bit_rates_are_about_those_asked_for(name: str, tolerance: float) -> None:
    if name == "silk":
        pytest.importorskip("pilk")
    distortion = make_distortion(name)
    severities = all_severities(distortion)
    measured = [result.measured["bitrate_kbps"] for result in distort(distortion, real_speech(), severities)]
    assert np.allclose(measured, severities, rtol=tolerance)
    assert (np.diff(measured) < 0).all()


@pytest.mark.parametrize(("name", "bitrate_kbps"), [("a-law", 64), ("mu-law", 64), ("g722", 64), ("g723-1", 6.4)])
def test_bit_rates_of_single_rate_codecs(name: str, bitrate_kbps: float) -> None:
    # 24 bytes per 30 ms are 6.4 kbit/s, of which G.723.1 uses 6.3.
    (result,) = distort(make_distortion(name), real_speech(), [0.0])
    assert result.measured["bitrate_kbps"] == pytest.approx(bitrate_kbps, rel=0.01)


def test_pesq_agrees_that_a_lower_mode_of_amr_is_worse() -> None:
    pesq = pytest.importorskip("pesq").pesq
    speech = telephone_speech()
    worse, better = distort(make_distortion("amr-nb"), speech, [4.75, 12.2], 8000)
    assert pesq(8000, speech, worse.samples, "nb") < pesq(8000, speech, better.samples, "nb") - 0.3


def test_mp3_halves_the_sampling_rate_where_mpeg_1_has_no_such_bit_rate() -> None:
    speech = utterance(2, 1.0, 48000)
    for result, bitrate_kbps in zip(distort(make_distortion("mp3"), speech, [8, 32], 48000), [8, 32], strict=True):
        assert result.measured["bitrate_kbps"] == pytest.approx(bitrate_kbps, rel=0.1)


def test_codec2_keeps_the_envelope_in_place() -> None:
    pytest.importorskip("pycodec2")
    speech = real_speech()
    smooth = np.hanning(320) / 160
    clean = np.convolve(np.abs(speech), smooth, "same")
    results = distort(make_distortion("codec2"), speech, [3.2, 0.7])
    for result, least_fit in zip(results, [0.8, 0.6], strict=True):
        coded = np.convolve(np.abs(result.samples), smooth, "same")
        lags = np.arange(-400, 401, 16)
        fits = [np.corrcoef(clean[400:-400], np.roll(coded, -lag)[400:-400])[0, 1] for lag in lags]
        # To within 5 ms.
        assert abs(lags[int(np.argmax(fits))]) <= 80
        assert max(fits) > least_fit


def test_lc3_fills_whole_bytes_and_leaves_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lc3")
    freed = []
    plain = optional._free_lc3

    def watch(coder: object, attribute: str) -> None:
        freed.append(len(getattr(coder, attribute)))
        plain(coder, attribute)
        assert getattr(coder, attribute) == []

    monkeypatch.setattr(optional, "_free_lc3", watch)
    (result,) = distort(make_distortion("lc3"), utterance(), [20.1])
    assert result.measured["bitrate_kbps"] == pytest.approx(20.0)
    assert freed == [1, 1]
    with pytest.raises(ValueError, match="lc3 must be between 16 and 320 kbit/s, got 12"):
        distort(make_distortion("lc3"), utterance(), [12.0])


def test_vorbis_qualities_beyond_the_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="vorbis must be between 0 and 10, got 11"):
        distort(make_distortion("vorbis"), utterance(), [11.0])


@pytest.mark.parametrize(("encoder", "decoder"), [("no_such_coder", "aac"), ("aac", "no_such_coder")])
def test_a_missing_encoder_or_decoder_is_named(encoder: str, decoder: str) -> None:
    codec = FFmpegCodec(encoder, decoder, sample_format="fltp")
    with pytest.raises(RuntimeError, match='built without the (en|de)coder no_such_coder; .*pip install "av<19"'):
        codec.transcode(utterance(0, 0.1), 16000, 32000)


def test_a_refusal_of_the_encoder_names_it() -> None:
    with pytest.raises(ValueError, match="encoder libopencore_amrnb refuses 16000 Hz at 12.2 kbit/s"):
        FFmpegCodec("libopencore_amrnb", "amrnb").transcode(utterance(0, 0.1), 16000, 12200)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lc3", None)
    with pytest.raises(ImportError, match=r"'lc3' needs lc3py, .*: pip install \"jsqa_hf\[degrade\]\""):
        make_distortion("lc3")


@pytest.mark.parametrize(("sampling_rate", "jumps"), [(16000, [(8.5, 9.0)]), (24000, [(8.5, 9.0), (11.0, 14.0)])])
def test_opus_narrows_the_band_only_within_its_jumps(sampling_rate: int, jumps: list[tuple[float, float]]) -> None:
    opus = make_distortion("opus", severity_range=(6, 64))
    assert list(opus.jumps(sampling_rate)) == jumps
    speech = soxr.resample(real_speech(duration_s=2.0), 16000, sampling_rate)
    speech += 0.05 * np.abs(speech) * np.random.default_rng(0).standard_normal(speech.size)
    ends = [6.0, *np.ravel(jumps).tolist(), 24.0]
    results = opus.distort(
        speech, ends, opus.draw(np.random.default_rng(0), speech.size, sampling_rate), sampling_rate
    )
    top = np.fft.rfftfreq(speech.size, 1 / sampling_rate) > 0.4 * sampling_rate
    powers_db = [10 * np.log10(np.square(np.abs(np.fft.rfft(result.samples)))[top].sum()) for result in results]
    steps_db = np.diff(powers_db)
    # From end to end: beside the jumps the upper band stays as it is, or as faint as it is.
    assert steps_db[-2] > 10
    assert np.abs(steps_db[-1]) < 6


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize(("name", "severity_range"), [("opus", None), ("opus", (6.0, 64.0)), ("mp3", None)])
def test_no_pair_lies_on_two_sides_of_a_jump(
    name: str, severity_range: tuple[float, float] | None, sampling_rate: int
) -> None:
    codec = make_distortion(name, severity_range=severity_range)
    (chain,) = JNDPairGenerator(distortions=[codec], sampling_rate=sampling_rate).chains
    rng = np.random.default_rng(0)
    rates = np.array([chain.samplers[name].sample(rng) for _ in range(100)])
    for low, high in codec.jumps(sampling_rate):
        assert ((rates <= low).all(axis=2) | (rates >= high).all(axis=2)).all()
