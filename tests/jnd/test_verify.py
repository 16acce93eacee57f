from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray

from jsqa_hf.jnd import JNDPairGenerator
from jsqa_hf.jnd.calibration import Calibration, calibrate
from jsqa_hf.jnd.distortions import AdditiveNoise
from jsqa_hf.jnd.judges import Judge, make_judge
from jsqa_hf.jnd.levels import rms_level
from jsqa_hf.jnd.psychometric import PsychometricCurve
from jsqa_hf.jnd.verification_report import markdown_table, plot_report, report_as_json, report_as_markdown
from jsqa_hf.jnd.verify import verify

SAMPLING_RATE = 16000


class LevelJudge(Judge):
    """Finds a difference of d dB in level as large as a distance of d squared."""

    name = "level"
    sampling_rate = SAMPLING_RATE

    def _measure(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        return (rms_level(first) - rms_level(second)) ** 2


# To this judge a step of the SNR by s dB is as large as a step of the level by s / 3 dB.
CALIBRATION = Calibration("level", (3.0, 9.0, 30.0), (1.0, 9.0, 100.0), (1.0,) * 3, (1.0,) * 3, pairs=1)


def ladder(levels_db: list[float], **columns: Any) -> dict[str, Any]:
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLING_RATE) / SAMPLING_RATE)
    clips = [(0.1 * 10 ** (level / 20) * tone).astype(np.float32) for level in levels_db]
    row = {"clips": clips, "severity": levels_db, "distortion": "level", "sampling_rate": SAMPLING_RATE}
    return {**row, "severity_unit": "dB", **columns}


def test_calibration_turns_distances_into_steps_and_back() -> None:
    assert CALIBRATION.just_noticeable == pytest.approx(1.0)
    assert CALIBRATION.clearly_different == pytest.approx((8 / 3) ** 2)
    steps = np.array([0.0, 1.5, 3.0, 7.0, 20.0])
    distances = [CALIBRATION.distance_at(step) for step in steps]
    assert CALIBRATION.equivalent_step(distances) == pytest.approx(steps)
    assert CALIBRATION.equivalent_step(1e6) == 30.0
    listeners = PsychometricCurve(6.0, 1.0, 0.0, 0.0, 1)
    assert CALIBRATION.probability(4.0, listeners) == pytest.approx(0.5)


def test_positives_are_the_clips_of_a_level_and_negatives_the_nearest_of_neighbouring_levels() -> None:
    report = verify([ladder([0.0, 0.5, -20.0, -18.0, -6.0, -7.0])], LevelJudge(), CALIBRATION)
    pairs = [(pair.kind, pair.severities) for pair in report.pairs]
    assert pairs == [
        ("positive", (0.0, 0.5)),
        ("positive", (-20.0, -18.0)),
        ("positive", (-6.0, -7.0)),
        ("negative", (-18.0, -7.0)),
        ("negative", (-6.0, 0.0)),
    ]
    assert [pair.equivalent_db for pair in report.pairs] == pytest.approx([1.5, 6.0, 3.0, 30.0, 18.0], abs=0.5)


def test_shares_of_pairs_that_are_as_meant() -> None:
    rows = [ladder([0.0, step, -6.0, -6.0 - step]) for step in (0.1, 0.5, 1.5, 2.5)]
    rows.append(ladder([0.0, 0.0, -0.5, -0.5]))
    positives, negatives = verify(rows, LevelJudge(), CALIBRATION).bins(1)
    assert (positives.kind, positives.pairs, negatives.kind, negatives.pairs) == ("positive", 10, "negative", 5)
    assert positives.unheard == pytest.approx(0.6) and positives.heard == pytest.approx(0.4)
    assert negatives.heard == pytest.approx(0.8) and negatives.clear == pytest.approx(0.8)
    assert positives.identical == pytest.approx(0.2) and negatives.identical == 0
    low, high = verify(rows, LevelJudge(), CALIBRATION).bins(2)[:2]
    assert low.severity[1] < high.severity[0] and low.pairs == high.pairs == 5


def test_sample_is_reproducible_and_independent_of_the_container() -> None:
    rows = [ladder([0.0, 0.1 * step], content_id=f"c{step}") for step in range(20)]
    dataset = datasets.Dataset.from_list([{**row, "clips": [clip.tolist() for clip in row["clips"]]} for row in rows])
    chosen = [pair.content_id for pair in verify(rows, LevelJudge(), CALIBRATION, sample=5, seed=1).pairs]
    assert chosen == [pair.content_id for pair in verify(dataset, LevelJudge(), CALIBRATION, sample=5, seed=1).pairs]
    assert len(set(chosen)) == 5
    assert chosen != [pair.content_id for pair in verify(rows, LevelJudge(), CALIBRATION, sample=5, seed=2).pairs]
    streamed = verify(iter(rows), LevelJudge(), CALIBRATION, sample=3)
    assert [pair.content_id for pair in streamed.pairs] == ["c0", "c1", "c2"]


def test_what_the_judge_refuses_is_counted() -> None:
    silent = ladder([0.0, 0.1], content_id="quiet")
    silent["clips"][1] = 0 * silent["clips"][1]
    report = verify([silent, ladder([0.0, 0.1])], LevelJudge(), CALIBRATION)
    assert [(refusal.content_id, "silence" in refusal.reason) for refusal in report.refusals] == [("quiet", True)]
    assert report_as_json(report)["refusals"]["level"]["pairs"] == 1
    assert "Not judged: 1 pairs of level" in report_as_markdown(report)


def test_bad_rows_are_named() -> None:
    with pytest.raises(ValueError, match="lack the column.s. severity"):
        verify([{"clips": [], "distortion": "x"}], LevelJudge(), CALIBRATION)
    with pytest.raises(ValueError, match="'odd' has 3 clips"):
        verify([ladder([0.0, 0.1, 0.2], content_id="odd")], LevelJudge(), CALIBRATION)
    with pytest.raises(ValueError, match="need the column sampling_rate"):
        row = ladder([0.0, 0.1])
        del row["sampling_rate"]
        verify([row], LevelJudge(), CALIBRATION)
    with pytest.raises(ValueError, match="no pairs"):
        verify([], LevelJudge(), CALIBRATION)
    with pytest.raises(ValueError, match="calibration is of level"):
        verify([], make_judge("zimtohrli"), CALIBRATION)


def test_report_renders_and_escapes_names(tmp_path: Path) -> None:
    listeners = PsychometricCurve(5.0, 1.0, 0.0, 0.0, 1)
    rows = [ladder([0.0, 0.5, -6.0, -7.0], distortion="<b>|$x_y$"), ladder([1.0, 1.0], severity=[])]
    report = verify(rows, LevelJudge(), CALIBRATION, listeners=listeners)
    table = report_as_markdown(report)
    assert "&lt;b&gt;\\|$x\\_y$" in table and "<b>" not in table
    assert "listeners who hear it" in table and "100%" in table
    assert json.loads(json.dumps(report_as_json(report), allow_nan=False))["judge"] == "level"
    for name in ("plot.png", "plot.svg"):
        plot_report(report, tmp_path / name)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "just noticeable" in (tmp_path / "plot.svg").read_text()
    assert markdown_table(["a"], [["line\nbreak"]]).splitlines()[-1] == "| line break |"


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = verify([ladder([0.0, 0.5])], LevelJudge(), CALIBRATION)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"jsqa_hf\[verify\]"):
        plot_report(report, tmp_path / "plot.png")


@pytest.mark.parametrize("encoding", ["flac", "array"])
def test_pairs_in_noise_pass_and_swapped_ones_fail(
    speech: datasets.Dataset, noise: datasets.Dataset, encoding: str
) -> None:
    pytest.importorskip("zimtohrli")
    judge = make_judge("zimtohrli")
    utterances = [np.asarray(read, dtype=np.float64) for read in _samples(speech)]
    calibration = calibrate(judge, utterances[:3], AdditiveNoise(noise), steps_db=(1.0, 3.0, 8.0, 20.0))
    assert calibration.pairs == 9 and np.all(np.diff(calibration.distances) > 0)
    generator = JNDPairGenerator(noise, levels=2, snr_range=(0.0, 30.0), seed=1, encoding=encoding)  # type: ignore[arg-type]
    output = generator(speech[:])
    rows = [{column: values[index] for column, values in output.items()} for index in range(len(speech))]
    positives, negatives = verify(rows, judge, calibration).bins(1)
    assert positives.unheard > 0.7 and negatives.heard > 0.9
    # Clips of different levels passed off as those of one level are found out.
    swapped = [{**row, "clips": [row["clips"][index] for index in (0, 2, 1, 3)]} for row in rows]
    assert verify(swapped, judge, calibration).bins(1)[0].unheard < 0.2


def _samples(speech: datasets.Dataset) -> list[NDArray[np.float32]]:
    from jsqa_hf.jnd.excerpts import load_mono

    return [load_mono(row["audio"], SAMPLING_RATE) for row in speech]
