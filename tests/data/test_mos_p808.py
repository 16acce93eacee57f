"""Tables as the P.808 toolkit writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mos_trees import write_clip, write_text

from jsqa_hf.data import load_mos

URL = "https://account.blob.core.windows.net/test/clips"
REPOSITORY = Path(__file__).resolve().parents[2]


def test_one_scale_with_votes_and_conditions(tmp_path: Path) -> None:
    for name in ("D501_C03_M2.wav", "D501_C04_F1.wav"):
        write_clip(tmp_path / "clips" / name)
    write_text(
        tmp_path / "batch_votes_per_clip.csv",
        "file_url,n,MOS,std,95%CI,short_file_name,condition_num,Unknown,vote_1,vote_2,vote_3",
        f"{URL}/D501_C03_M2.wav?sv=2020&sig=a%2Fb,3,4.0,1.0,1.13,D501_C03_M2.wav,03,,3,4,5",
        f"{URL}/D501_C04_F1.wav,1,2,,,D501_C04_F1.wav,04,,2,,",
    )
    write_text(tmp_path / "batch_votes_per_cond.csv", "condition_name,n,MOS", "03,3,4.0")
    first, second = load_mos("p808", tmp_path)
    assert first["audio"]["path"] == str(tmp_path / "clips" / "D501_C03_M2.wav")
    assert (first["mos"], first["mos_std"], first["n_votes"]) == (4.0, 1.0, 3)
    assert (first["votes"], first["condition"]) == ([3.0, 4.0, 5.0], "03")
    assert (second["votes"], second["mos_std"]) == ([2.0], None)


def test_single_votes_name_their_listeners(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    header = "HITId,workerid,assignment_id,assignmentstatus,file,short_file_name,vote,question_type"
    table = write_text(
        tmp_path / "batch_votes_per_worker_.csv",
        header,
        *(f"h,{worker},s,Approved,{URL}/a.wav,a.wav,{vote},MOS" for worker, vote in (("W1", 2), ("W2", 5))),
    )
    (row,) = load_mos("p808", table)
    assert (row["listener"], row["votes"], row["mos"], row["n_votes"]) == (["W1", "W2"], [2.0, 5.0], 3.5, 2)
    assert "condition" not in row
    mixed = write_text(
        tmp_path / "batch_all_votes_per_clip.csv",
        header,
        *(f"h,W1,s,Approved,{URL}/a.wav,a.wav,3,{scale}" for scale in ("MOS_SIG", "MOS_BAK")),
    )
    with pytest.raises(ValueError, match="has votes on MOS_BAK, MOS_SIG: pass the table of one test on overall"):
        load_mos("p808", mixed)


@pytest.mark.parametrize(("scale", "fits"), [("MOS_OVRL", True), ("MOS_BAK", False), ("DMOS", False)])
def test_single_votes_on_other_scales_than_overall_quality_are_refused(tmp_path: Path, scale: str, fits: bool) -> None:
    write_clip(tmp_path / "a.wav")
    table = write_text(
        tmp_path / "batch_votes_per_worker_.csv", "workerid,file,vote,question_type", f"W1,{URL}/a.wav,2,{scale}"
    )
    if fits:
        assert load_mos("p808", table)["mos"][:] == [2.0]
        return
    with pytest.raises(ValueError, match=f"has votes on {scale}: pass the table of one test on overall quality"):
        load_mos("p808", table)


def test_tables_that_a_spreadsheet_has_saved_with_semicolons(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    one = "file_url;n;MOS;std;95%CI;short_file_name;vote_1;vote_2"
    write_text(tmp_path / "one_votes_per_clip.csv", one, f"{URL}/a.wav;2;3,5;0,7;0,9;a.wav;3;4", encoding="utf-8-sig")
    write_text(tmp_path / "three_votes_per_clip_ovrl.csv", "file_url;MOS_OVRL", f"{URL}/a.wav;2,5")
    (row,) = load_mos("p808", tmp_path)
    assert (row["mos"], row["mos_std"], row["votes"]) == (3.5, 0.7, [3.0, 4.0])
    assert load_mos("p835", tmp_path)["mos"][:] == [2.5]
    single = write_text(tmp_path / "votes.csv", "workerid;file;vote", f"W1;{URL}/a.wav;2", f"W2;{URL}/a.wav;5")
    assert load_mos("p808", single)["votes"][:] == [[2.0, 5.0]]


def write_p835(folder: Path) -> None:
    for scale, mos in (("bak", 2), ("sig", 4), ("ovrl", 3)):
        write_text(
            folder / f"batch_votes_per_clip_{scale}.csv",
            f"file_url,n,MOS_{scale.upper()},std_{scale},95%CI_{scale},short_file_name,vote_1,vote_2",
            f"{URL}/a.wav,2,{mos},0.{mos},0.5,a.wav,{mos},{mos}",
        )


def test_the_scales_of_p835_are_joined_and_votes_are_on_overall_quality(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    write_p835(tmp_path)
    (row,) = load_mos("p835", tmp_path)
    assert (row["mos"], row["signal"], row["background"]) == (3.0, 4.0, 2.0)
    assert (row["mos_std"], row["signal_std"], row["background_std"]) == (0.3, 0.4, 0.2)
    assert (row["votes"], row["n_votes"]) == ([3.0, 3.0], 2)


@pytest.mark.parametrize(("name", "scale"), [("p808", ""), ("p835", "_ovrl")])
def test_several_tests_in_a_folder_are_several_corpora(tmp_path: Path, name: str, scale: str) -> None:
    for clip in ("anchor.wav", "x1.wav", "x2.wav"):
        write_clip(tmp_path / clip)
    header = f"file_url,MOS{scale.upper()},short_file_name,condition_num"
    for number in (1, 2):
        clips = [f"{URL}/{clip}.wav,{number},{clip}.wav,03" for clip in ("anchor", f"x{number}")]
        write_text(tmp_path / f"t{number}_votes_per_clip{scale}.csv", header, *clips)
    rated = load_mos(name, tmp_path)
    assert rated["corpus"][:] == ["t1", "t1", "t2", "t2"]
    assert [Path(audio["path"]).stem for audio in rated["audio"]] == ["anchor", "x1", "anchor", "x2"]
    assert (rated["mos"][:], rated["condition"][:]) == ([1.0, 1.0, 2.0, 2.0], ["03"] * 4)
    copy = tmp_path / f"t1 (1)_votes_per_clip{scale}.csv"
    copy.write_bytes((tmp_path / f"t1_votes_per_clip{scale}.csv").read_bytes())
    with pytest.raises(ValueError, match=r"the tables of t1 \(1\) and t1 are the same: remove one"):
        load_mos(name, tmp_path)
    copy.unlink()
    (tmp_path / f"t2_votes_per_clip{scale}.csv").unlink()
    assert load_mos(name, tmp_path)["corpus"][:] == [name, name]


def test_the_joint_table_of_p804_scales(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "elsewhere" / "a.wav")
    scales = {"col": 2, "disc": 3, "loud": 4, "noise": 5, "reverb": 1, "sig": 2.5, "ovrl": 1.5}
    cells = [f"MOS_{scale.upper()},std_{scale},95%CI_{scale}" for scale in scales]
    write_text(
        tmp_path / "batch_votes_per_clip_all-scales.csv",
        ",".join(["file_url,n", *cells]),
        ",".join([f"{URL}/a.wav,4", *(f"{mos},0.5,0.2" for mos in scales.values())]),
    )
    (row,) = load_mos("p835", tmp_path, audio_root=clip.parent)
    rated = {name: row[name] for name in row if name in ("mos", "signal") or f"{name}_std" in row}
    assert rated == {
        "mos": 1.5,
        "noisiness": 5.0,
        "coloration": 2.0,
        "discontinuity": 3.0,
        "loudness": 4.0,
        "signal": 2.5,
        "reverberation": 1.0,
    }


def test_the_example_data(tmp_path: Path) -> None:
    rated = load_mos("p835", REPOSITORY / "examples" / "data" / "p835", split="test")
    assert len(rated) == 26
    assert {"mos", "signal", "background", "mos_std", "n_votes", "condition"} <= set(rated.column_names)


def test_clips_are_found_by_the_end_of_their_address_first(tmp_path: Path) -> None:
    for folder in ("c01", "c02"):
        write_clip(tmp_path / folder / "a.wav")
    table = "file_url,n,MOS,std,95%CI,short_file_name"
    write_text(
        tmp_path / "x_votes_per_clip.csv", table, f"{URL}/c01/a.wav,1,2,,,a.wav", f"{URL}/c02/a.wav,1,3,,,a.wav"
    )
    assert [Path(audio["path"]).parent.name for audio in load_mos("p808", tmp_path)["audio"]] == ["c01", "c02"]
    write_text(tmp_path / "x_votes_per_clip.csv", table, "a.wav,1,2,,,a.wav")
    with pytest.raises(ValueError, match="could be .*: pass the folder of one as audio_root"):
        load_mos("p808", tmp_path)


def test_clips_are_found_by_their_whole_address_in_any_folder(tmp_path: Path) -> None:
    for system in ("modelA", "modelB"):
        write_clip(tmp_path / "audio" / system / "c1.wav")
    table = write_text(
        tmp_path / "x_votes_per_clip.csv", "file_url,MOS", "https://x/modela/c1.wav,1", "https://x/modelB/c1.wav,5"
    )
    assert [Path(audio["path"]).parent.name for audio in load_mos("p808", table)["audio"]] == ["modelA", "modelB"]
    write_text(table, "file_url,MOS", "c1.wav,1", "https://x/modelB/c1.wav,5")
    (tmp_path / "audio" / "modelA" / "c1.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 clips are missing or unreadable: \S+/c1\.wav \(no such"):
        load_mos("p808", table)


@pytest.mark.parametrize("name", ["p808", "p835"])
@pytest.mark.parametrize("there", ["noisy/c1.wav", "wav/noisy/c1.wav", "noisy/clips/c1.wav"])
def test_a_clip_that_is_missing_does_not_take_the_audio_of_another_folder(
    tmp_path: Path, name: str, there: str
) -> None:
    write_clip(tmp_path / there)
    scale = "_ovrl" if name == "p835" else ""
    table = write_text(
        tmp_path / f"x_votes_per_clip{scale}.csv",
        f"file_url,MOS{scale.upper()}",
        "https://x/enhanced/clips/c1.wav,4.5",
    )
    with (
        pytest.warns(
            UserWarning, match=rf"1 clips are missing, but .* such as \S+{there} for https://x/enhanced/clips/c1"
        ),
        pytest.raises(FileNotFoundError, match=r"1 of 1 clips .*/enhanced/clips/c1\.wav \(no such file"),
    ):
        load_mos(name, table)
    with pytest.warns(UserWarning, match="put the table beside them or pass audio_root"):
        assert load_mos(name, table, check=None)["mos"][:] == [4.5]
    assert load_mos(name, table, audio_root=(tmp_path / there).parent)["mos"][:] == [4.5]


@pytest.mark.parametrize("there", ["audio/modelA/c1.wav", "modelA/c1.wav", "c1.wav"])
def test_a_file_is_given_to_no_other_clip_of_its_name(tmp_path: Path, there: str) -> None:
    write_clip(tmp_path / there)
    write_clip(tmp_path / "c2.wav")
    rows = (
        f"https://x/{clip},{mos}" for clip, mos in (("modelB/c1.wav", 5), ("modelA/c1.wav", 1), ("modelA/c2.wav", 2))
    )
    table = write_text(tmp_path / "x_votes_per_clip.csv", "file_url,MOS", *rows)
    with pytest.raises(FileNotFoundError, match=r"of 3 clips .*/modelB/c1\.wav \(no such file"):
        load_mos("p808", table)
    with pytest.warns(UserWarning, match=r"of 3 clips .*/modelB/c1\.wav \(no such file"):
        kept = load_mos("p808", table, on_error="skip")
    # A name that no other clip has is enough beside the table.
    assert kept["mos"][:] == ([2.0] if there == "c1.wav" else [1.0, 2.0])


@pytest.mark.parametrize("name", ["p808", "p835"])
def test_folders_without_results_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a table nor a folder"):
        load_mos(name, tmp_path)
    write_text(tmp_path / "ratings.csv", "file,score", "a.wav,3")
    with pytest.raises(ValueError, match="lacks the column.*MOS" if name == "p808" else "has no ratings"):
        load_mos(name, tmp_path / "ratings.csv")
