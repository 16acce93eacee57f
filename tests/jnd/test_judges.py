from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from jsqa_hf.jnd.judges import JUDGES, Judge, PesqJudge, make_judge
from jsqa_hf.jnd.mixing import mix_at_snr

SAMPLING_RATE = 16000
MODULES = {"zimtohrli": "zimtohrli", "pesq": "pesq", "visqol": "visqol"}


@pytest.fixture(scope="module", params=sorted(JUDGES))
def judge(request: pytest.FixtureRequest) -> Judge:
    if importlib.util.find_spec(MODULES[request.param]) is None:
        pytest.skip(f"{request.param} is not installed")
    return make_judge(request.param)


def mixtures(snrs_db: list[float], seconds: float = 2.0) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    voice = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 3 * time) > -0.2)
    noise = rng.standard_normal(time.size)
    return [mix_at_snr(voice, noise, snr_db, SAMPLING_RATE) for snr_db in snrs_db]


def test_distance_grows_with_the_step_of_the_snr(judge: Judge) -> None:
    first, *others = mixtures([10, 13, 18, 25])
    distances = [judge.distance(first, other, SAMPLING_RATE) for other in others]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_distance_is_symmetric_and_zero_for_equal_clips(judge: Judge) -> None:
    first, second = mixtures([5, 12])
    there, back = judge.distance(first, second, SAMPLING_RATE), judge.distance(second, first, SAMPLING_RATE)
    assert there == pytest.approx(back, rel=1e-6)
    assert judge.distance(first, first.copy(), SAMPLING_RATE) == 0


def test_other_sampling_rates_are_resampled(judge: Judge) -> None:
    first, second = mixtures([5, 12])
    at_24000 = [soxr.resample(clip, SAMPLING_RATE, 24000) for clip in (first, second)]
    expected = judge.distance(first, second, SAMPLING_RATE)
    assert judge.distance(at_24000[0], at_24000[1], 24000) == pytest.approx(expected, rel=0.15)


def test_what_would_end_the_process_is_refused(judge: Judge) -> None:
    clip = mixtures([10])[0]
    broken = clip.copy()
    broken[7] = np.nan
    with pytest.raises(ValueError, match="at least 0.25 s"):
        judge.distance(clip[:1000], clip[:1000], SAMPLING_RATE)
    with pytest.raises(ValueError, match="at least 0.25 s"):
        judge.distance(clip[:0], clip[:0], SAMPLING_RATE)
    with pytest.raises(ValueError, match="silence"):
        judge.distance(clip, 0 * clip, SAMPLING_RATE)
    with pytest.raises(ValueError, match="silence"):
        judge.distance(clip, 1e-6 * clip, SAMPLING_RATE)
    with pytest.raises(ValueError, match="NaN"):
        judge.distance(broken, clip, SAMPLING_RATE)
    with pytest.raises(ValueError, match="same length"):
        judge.distance(clip, clip[:-1], SAMPLING_RATE)
    with pytest.raises(ValueError, match="sampling_rate"):
        judge.distance(clip, clip, 0)
    with pytest.raises(ValueError, match="shape"):
        judge.distance(np.stack([clip, clip]), clip, SAMPLING_RATE)


def test_best_score_of_pesq() -> None:
    # The figure that is commonly quoted for P.862.2.
    assert pytest.approx(4.644, abs=5e-4) == PesqJudge.BEST_SCORE


def test_unknown_and_missing_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="there is no judge 'peaq'; there are zimtohrli"):
        make_judge("peaq")
    monkeypatch.setitem(sys.modules, "zimtohrli", None)
    with pytest.raises(ImportError, match=r"pip install 'jsqa_hf\[verify\]'"):
        make_judge("zimtohrli")
