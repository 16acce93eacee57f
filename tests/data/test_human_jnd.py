from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from jsqa_hf.audio import decode_audio
from jsqa_hf.data.human_jnd import FILES, load_human_jnd

WORDS = "f4_script5_produced_clipped_80.0.wav"
LINES = {
    "linear": [
        f"0.02_{WORDS}\t0.2_{WORDS}\t1\tcrickets",
        f"300_{WORDS}\t41.5_{WORDS}\t0\tmp3",
        f"13.0_24.0_45.0_{WORDS}\t27.8_-0.0_55.23_{WORDS}\t1\t reverb_noise",
        f"2_{WORDS}\t2_{WORDS}\t0\tsiren",
    ],
    "eq": [
        f"eq_1/13.0_27.0_78.0_{WORDS}\teq_1/41.5_27.0_78.0_{WORDS}\t0",
        f"eq_1/13.0_27.0_78.0_{WORDS}\teq_1/13.0_27.0_78.0_{WORDS}\t1",
    ],
    "reverb": [f"reverb_1/89.0_6.0_{WORDS}_h151_Train_1txts.wav\treverb_1/26.78_9.41_{WORDS}_h151_Train_1txts.wav\t1"],
    "combined": [f"combined_3/0.0_0.0_0.0_34.0_{WORDS}\tcombined_3/0.0_0.0_0.0_94.0_{WORDS}\t1"],
}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for subset, lines in LINES.items():
        (folder / FILES[subset]).write_text("\n".join(lines) + "\n\n")
    return folder


def test_answers_and_the_severity_of_what_differs(labels: Path) -> None:
    rows = list(load_human_jnd(labels))
    assert [row["subset"] for row in rows] == ["linear"] * 4 + ["eq", "reverb", "combined"]
    noise, mp3, room, repeated, equalised, reverberant, combined = rows
    assert (noise["distortion"], noise["noise_type"], noise["different"]) == ("noise", "crickets", 1)
    assert np.diff(noise["severity"]) == pytest.approx([20.0])
    assert repeated["severity"][0] == repeated["severity"][1] and repeated["different"] == 0
    assert mp3["severity"] == [300.0, 41.5] and "kbit/s" in mp3["quantity"] and mp3["noise_type"] == ""
    assert room["distortion"] == "reverberation" and room["severity"] == [] and room["levels"][1] == [27.8, 0, 55.23]
    assert equalised["quantity"] == "attenuation below 500 Hz in dB"
    assert equalised["severity"] == pytest.approx([2.6, 8.3])
    assert reverberant["room"] == "h151_Train_1txts" and reverberant["severity"] == []
    assert combined["levels"] == [[0, 0, 0, 34.0], [0, 0, 0, 94.0]]
    assert {(row["speech_id"], row["speaker_id"]) for row in rows} == {("f4_script5_produced_clipped_80.0", "f4")}


def test_subsets_and_folder_above(labels: Path) -> None:
    assert set(load_human_jnd(labels.parent, subsets=["reverb"])["subset"]) == {"reverb"}
    with pytest.raises(ValueError, match="subsets must be some of linear, eq"):
        load_human_jnd(labels, subsets=["mp3"])
    (labels / FILES["reverb"]).unlink()
    with pytest.raises(FileNotFoundError, match="leave 'reverb' out"):
        load_human_jnd(labels)
    assert len(load_human_jnd(labels, subsets=["combined"])) == 1


def test_clips_where_the_recordings_are_there(labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings" / "crickets_list"
    folder.mkdir(parents=True)
    for multiplier in ("0.02", "0.2"):
        soundfile.write(folder / f"{multiplier}_{WORDS}", np.full(100, float(multiplier)), 16000)
    rows = load_human_jnd(labels, subsets=["linear"], audio_root=tmp_path / "recordings")
    assert [len(row["clips"]) for row in rows] == [2, 0, 0, 0]
    samples = [decode_audio(clip["path"])[0] for clip in rows[0]["clips"]]
    assert [float(clip.max()) for clip in samples] == pytest.approx([0.02, 0.2], abs=1e-3)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_human_jnd(labels, audio_root=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"0.02_{WORDS}\t0.2_{WORDS}\t2\tcrickets", "separated by tabs"),
        (f"0.02_{WORDS}\t0.2_{WORDS}\t1", "separated by tabs"),
        (f"{WORDS}\t0.2_{WORDS}\t1\tcrickets", "levels in front"),
        (f"0.02_{WORDS}\t0.2_m{WORDS[1:]}\t1\tcrickets", "the same words"),
        (f"0.02_{WORDS}\t0.2_1_{WORDS}\t1\tcrickets", "equally many levels"),
    ],
)
def test_a_malformed_line_is_named(labels: Path, line: str, message: str) -> None:
    (labels / FILES["linear"]).write_text(LINES["linear"][0] + "\n" + line)
    with pytest.raises(ValueError, match=f"dataset_linear.txt, line 2: .*{message}"):
        load_human_jnd(labels)
