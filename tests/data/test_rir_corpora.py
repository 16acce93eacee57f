from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from trees import touch, write

from jsqa_hf.data import load_rirs

MEASURED = {
    "RVB2014_type1_rir_largeroom1_far_angla": "RVB2014/largeroom1",
    "RVB2014_type2_rir_simroom1_near_angla": "RVB2014/simroom1",
    "RWCP_type1_rir_circle_e1c_imp010": "RWCP/e1c",
    "RWCP_type2_rir_cirline_ofc_imp090": "RWCP/ofc",
    "RWCP_type4_rir_p30r": "RWCP/type4",
    "air_type1_air_binaural_aula_carolina_1_7_90_3": "AIR/aula_carolina",
    "air_type1_air_binaural_booth_1_2": "AIR/booth",
    "air_type1_air_binaural_stairway_1_1_90": "AIR/stairway",
    "air_type1_air_phone_stairway1_hfrp": "AIR/stairway1",
    "something_else": "something_else",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "RIRS_NOISES"
    touch(root / "real_rirs_isotropic_noises", *(f"{name}.wav" for name in MEASURED), "rir_list")
    touch(root / "real_rirs_isotropic_noises", "RVB2014_type1_noise_largeroom1_1.wav")
    touch(root / "real_rirs_isotropic_noises", "RWCP_type5_noise_cirline_ofc_ambient1.wav")
    for size in ("small", "large"):
        touch(root / "simulated_rirs" / f"{size}room", "Room001/Room001-00001.wav", "room_info", "rir_list")
    touch(root / "pointsource_noises", "noise-free-sound-0000.wav")
    return root


def test_simulated_rooms_of_all_sizes_are_told_apart(corpus: Path) -> None:
    rirs = load_rirs("rirs_noises", corpus.parent, subsets=["simulated"])
    assert rirs["rir_id"][:] == ["largeroom/Room001-00001", "smallroom/Room001-00001"]
    assert rirs["room"][:] == ["largeroom/Room001", "smallroom/Room001"]
    assert rirs.features == datasets.Features(
        {
            "audio": datasets.Audio(decode=False),
            **dict.fromkeys(("rir_id", "room", "corpus"), datasets.Value("string")),
        }
    )


def test_measured_responses_without_the_noises_beside_them(corpus: Path) -> None:
    rirs = load_rirs("rirs_noises", corpus, subsets=["real"])
    assert dict(zip(rirs["rir_id"], rirs["room"], strict=True)) == MEASURED
    assert len(load_rirs("rirs_noises", corpus)) == len(MEASURED) + 2


def test_unknown_subset_and_wrong_folder(corpus: Path) -> None:
    with pytest.raises(ValueError, match="subsets simulated, real; got 'real'"):
        load_rirs("rirs_noises", corpus, subsets="real")
    with pytest.raises(FileNotFoundError, match="looked for simulated_rirs, real_rirs.*found noise-free-sound"):
        load_rirs("rirs_noises", corpus / "pointsource_noises")


def test_folders_and_tables(tmp_path: Path) -> None:
    touch(tmp_path, "hall/a.wav", "hall/b.wav", "office/a.flac")
    assert load_rirs("folder", tmp_path)["room"][:] == ["hall", "hall", "office"]
    table = write(
        tmp_path / "rirs.csv", "file,rir_id,room,split\nhall/a.wav,h,great hall,test\noffice/a.flac,,,train\n"
    )
    assert load_rirs("csv", table)["rir_id"][:] == ["h", "office/a"]
    assert load_rirs("csv", table, split="test")["room"][:] == ["great hall"]
