from __future__ import annotations

from pathlib import Path

import datasets
import generate_jnd_pairs
import pytest

from jsqa_hf.cli import main


def test_script_saves_ladders_of_every_repetition(
    speech_folder: Path, noise_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "speech": speech_folder,
        "noise": noise_folder,
        "output_dir": tmp_path / "pairs",
        "limit": 4,
        "repetitions": 2,
        "levels": 3,
        "snr_min": 0,
        "snr_max": 30,
        "duration_s": 0.5,
    }
    assert (
        generate_jnd_pairs.main([word for name, value in arguments.items() for word in (f"--{name}", str(value))]) == 0
    )
    pairs = datasets.load_from_disk(tmp_path / "pairs")
    assert len(set(pairs["content_id"])) == len(pairs) == 8
    assert all(len(clips) == 6 for clips in pairs["clips"])
    assert all(0 <= snr_db <= 30 for snrs_db in pairs["snr_db"] for snr_db in snrs_db)
    assert set(pairs["duration_s"]) == {0.5}
    assert "8 ladders, 48 clips, 0.01 h; SNR 0 to 10 dB: " in capsys.readouterr().out


def test_command_line_overrides_the_yaml_file(speech_folder: Path, noise_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "pairs.yaml"
    config.write_text(f"speech: {speech_folder}\nnoise: {noise_folder}\nlimit: 3\nseed: 7\n")
    generate_jnd_pairs.main([str(config), "--output_dir", str(tmp_path / "pairs"), "--limit", "1"])
    assert datasets.load_from_disk(tmp_path / "pairs")["seed"][:] == [7]


def test_split_selects_rows_of_csv_files_and_needs_one(
    speech_folder: Path, noise_folder: Path, tmp_path: Path
) -> None:
    files = sorted(speech_folder.glob("*.flac"))
    listing = tmp_path / "speech.csv"
    listing.write_text(f"file,split\n{files[0]},train\n{files[1]},test\n")
    common = ["--noise", str(noise_folder), "--speech_split", "test", "--output_dir"]
    generate_jnd_pairs.main(["--speech", str(listing), *common, str(tmp_path / "pairs")])
    assert datasets.load_from_disk(tmp_path / "pairs")["speech_id"][:] == [files[1].stem]
    with pytest.raises(ValueError, match="folder, which has no splits"):
        generate_jnd_pairs.main(["--speech", str(speech_folder), *common, str(tmp_path / "others")])
    assert not (tmp_path / "others").exists()


def test_script_takes_the_options_of_the_command_with_dashes_or_underscores(
    speech_folder: Path, noise_folder: Path, tmp_path: Path
) -> None:
    common = ["--speech", str(speech_folder), "--noise", str(noise_folder), "--limit=2", "--seed=3"]
    generate_jnd_pairs.main(
        [*common, "--output_dir", str(tmp_path / "script"), "--distortions", "noise[0:30]", "clipping"]
    )
    assert (
        main(["pairs", *common, "--output-dir", str(tmp_path / "command"), "--distortions", "noise[0:30] clipping"])
        == 0
    )
    both = [datasets.load_from_disk(tmp_path / name) for name in ("script", "command")]
    assert both[0][:] == both[1][:]
