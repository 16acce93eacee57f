from __future__ import annotations

import json
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "examples" / "data"


@pytest.mark.slow
def test_benchmark_writes_what_it_documents(tmp_path: Path) -> None:
    pytest.importorskip("zimtohrli")
    import verify_jnd

    words = "f4_script5_produced_clipped_80.0.wav"
    steps = [(step, int(step > 4)) for step in range(9)] * 3 + [(8, 0), (1, 1)]
    lines = [f"1_{words}\t{10 ** (step / 20)}_{words}\t{different}\tpink_noise" for step, different in steps]
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "dataset_linear.txt").write_text("\n".join(lines))
    attenuated = [
        f"eq_1/0.0_10.0_0.0_{words}\teq_1/0.0_{10 + 5 * step}.0_0.0_{words}\t{d}" for step, d in steps if step
    ]
    (labels / "dataset_eq.txt").write_text("\n".join(attenuated))
    options = {
        "speech": DATA / "speech",
        "noise": DATA / "noise",
        "human_jnd": labels,
        "output_dir": tmp_path / "out",
        "utterances": 1,
        "ladders": 2,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    verify_jnd.main([*arguments, "--judges", "zimtohrli", "--distortions", "mnru"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "draws.json",
        "listeners.json",
        "listeners.png",
        "pairs.json",
        "pairs-zimtohrli.md",
        "pairs-zimtohrli.png",
        "thresholds.json",
        "thresholds-zimtohrli.md",
    }
    texts = [path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix != ".png"]
    assert not any(str(tmp_path) in text or str(REPOSITORY) in text for text in texts)
    bins = json.loads((tmp_path / "out" / "pairs.json").read_text())["zimtohrli"]["all"]
    assert {bin_["kind"]: bin_["pairs"] for bin_ in bins} == {"positive": 4, "negative": 2}


def test_the_page_tells_the_steps_of_the_drr_in_the_range_that_it_names() -> None:
    fits = json.loads((REPOSITORY / "docs" / "results" / "jnd-verification" / "thresholds.json").read_text())
    names = ("just_noticeable", "clearly_different")
    (drr,) = (fit for fit in fits["zimtohrli"]["fits"] if fit["distortion"] == "direct-to-reverberant")
    steps = [step for step in drr["steps"] if step["severity"] < 2]
    ends = [f"{end([step[name] for step in steps]):.1f}" for name in names for end in (min, max)]
    told = "{} to {}, {} to {} dB from -10 to 1.7 dB".format(*ends)
    assert f"| DRR, three rooms | 2.5, 7 dB | {told} |" in (REPOSITORY / "docs" / "verification.md").read_text()
