"""Tables of any origin, alone and in folders, and tests of reverberant speech."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mos_trees import write_clip, write_text

from jsqa_hf.data import load_mos, with_labels
from jsqa_hf.evaluation_data import load_listening_test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav"):
        write_clip(tmp_path / "my test" / "clips" / name)
    return tmp_path / "my test"


def test_standard_columns_are_recognised_and_further_ones_kept(folder: Path) -> None:
    table = write_text(
        folder / "ratings.csv",
        "Filename,MOS,noisiness,n_votes,system,split,snr_db,codec",
        "clips/a.wav,3.5,,12,s1,train,10,opus",
        "clips/b.wav,2,4,12,s2,test,,amr",
        encoding="utf-8-sig",
        newline="\r\n",
    )
    first, second = load_mos("csv", table)
    assert first == {
        "audio": {"bytes": None, "path": str(folder / "clips" / "a.wav")},
        "file": "clips/a.wav",
        "mos": 3.5,
        "noisiness": None,
        "n_votes": 12,
        "system": "s1",
        "corpus": "my test",
        "split": "train",
        "snr_db": 10.0,
        "codec": "opus",
    }
    assert (second["noisiness"], second["snr_db"]) == (4.0, None)
    assert load_mos("csv", table, split="test")["file"][:] == ["clips/b.wav"]


def test_names_of_digits_stay_apart(folder: Path) -> None:
    rows = ("clips/a.wav,3,84_121123,01,1", "clips/b.wav,2,841_21123,1,02.5")
    rated = load_mos("csv", write_text(folder / "ratings.csv", "file,mos,talker,codec,zero", *rows))
    assert rated["talker"][:] == ["84_121123", "841_21123"]
    assert (rated["codec"][:], rated["zero"][:]) == (["01", "1"], ["1", "02.5"])
    table = write_text(folder / "ratings.csv", "file,mos,snr_db", "clips/a.wav,3,-0.5", "clips/b.wav,4_5,0")
    with pytest.raises(ValueError, match=r"mos of clips/b\.wav is '4_5', which is not a number"):
        load_mos("csv", table)
    write_text(folder / "ratings.csv", "file,mos,snr_db", "clips/a.wav,3,-0.5", "clips/b.wav,4,0")
    assert load_mos("csv", table)["snr_db"][:] == [-0.5, 0.0]


def test_other_quantities_by_the_name_of_a_dimension_are_further_columns(folder: Path) -> None:
    header = "file,mos,Background,loudness,loudness_std,signal"
    rows = ("clips/a.wav,3,babble,-23.1,0.5,2", "clips/b.wav,2,,-26,,good")
    table = write_text(folder / "ratings.csv", header, *rows[:1])
    (row,) = load_mos("csv", table, score_range=(1, 5))
    assert (row["background"], row["loudness"], row["loudness_std"], row["signal"]) == ("babble", -23.1, 0.5, 2.0)
    assert load_mos("csv", table)["loudness"][:] == [-23.1]
    with pytest.raises(ValueError, match="background of clips/a.wav is 'babble', which is not a number"):
        load_mos("csv", table, columns={"background": "Background"})
    with pytest.raises(ValueError, match="mos, background can.t be made: the columns with numbers are mos, "):
        with_labels(load_mos("csv", table), ["mos", "background"])
    with pytest.raises(ValueError, match="loudness of clips/a.wav is -23.1, outside the scale 1 to 5"):
        with_labels(load_mos("csv", table, score_range=(1, 5)), ["loudness"], (1, 5))
    # One cell among ratings is a mistake, and so is what is the only rating.
    write_text(table, header, *rows)
    with pytest.raises(ValueError, match=r"1 of 2 rows .*signal of clips/b\.wav is 'good', which is not a number"):
        load_mos("csv", table, score_range=(1, 5))
    write_text(table, "file,noisiness", "clips/a.wav,-23")
    with pytest.raises(ValueError, match="noisiness of clips/a.wav is -23, outside the scale"):
        load_mos("csv", table, score_range=(1, 5))


def test_semicolons_and_decimal_commas(folder: Path) -> None:
    table = write_text(folder / "ratings.csv", "file;MOS;text", "clips/a.wav;3,5;one, two", "clips/b.wav;2;x")
    first, second = load_mos("csv", table)
    assert (first["mos"], second["mos"], first["text"]) == (3.5, 2.0, "one, two")


def test_blanks_and_tabs_of_a_spreadsheet(folder: Path) -> None:
    table = write_text(folder / "ratings.csv", "file \tMOS ", "clips/a.wav\t3,5")
    assert load_mos("csv", table)["mos"][:] == [3.5]


def test_other_names_and_another_folder(folder: Path) -> None:
    table = write_text(folder / "list.tsv", "clip\tscore\traters", "a.wav\t80\t3", "b.wav\t20\t3")
    rated = load_mos(
        "csv",
        table,
        columns={"file": "clip", "mos": "score", "n_votes": "raters"},
        audio_root=folder / "clips",
        score_range=(0, 100),
    )
    assert (rated["mos"][:], rated["n_votes"][:]) == ([80.0, 20.0], [3, 3])


@pytest.mark.parametrize("file", ["file", "FILE", "clip"])
def test_a_column_audio_beside_that_of_the_files_is_left_out(folder: Path, file: str) -> None:
    rows = ("clips/a.wav,clips/b.wav,3,-6", "clips/b.wav,clips/a.wav,4,-6")
    table = write_text(folder / "ratings.csv", f"{file},audio,mos,level", *rows)
    rated = load_mos("csv", table, columns={"file": "clip"} if file == "clip" else None)
    assert [row["audio"]["path"] for row in rated] == [str(folder / "clips" / name) for name in ("a.wav", "b.wav")]
    assert (rated["file"][:], rated["level"][:]) == (["clips/a.wav", "clips/b.wav"], [-6.0, -6.0])


def test_named_columns_go_before_those_of_the_standard_names(folder: Path) -> None:
    table = write_text(
        folder / "ratings.csv",
        "file,path,MOS,mos,expert,n_votes,raters,split,fold,votes,v1,v2",
        "clips/b.wav,clips/a.wav,1,30,5,8,2,train,f1,8,5,3",
        "clips/a.wav,clips/b.wav,2,80,4,8,2,train,f2,8,1,1",
    )
    columns = {"file": "path", "mos": "expert", "n_votes": "raters", "split": "fold"}
    rated = load_mos("csv", table, columns=columns, split="f1")
    expected = {"file": "clips/a.wav", "mos": 5.0, "n_votes": 2, "split": "f1", "MOS": 1.0}
    assert rated.select_columns(list(expected))[:] == {name: [value] for name, value in expected.items()}
    assert load_mos("csv", table, columns={"votes": ["v1", "v2"]})["votes"][:] == [[5.0, 3.0], [1.0, 1.0]]
    assert load_mos("csv", table)["mos"][:] == [30.0, 80.0]
    # As of jsqa evaluate --outputs, where `mos` is on another scale.
    test = load_listening_test(str(table), ["mos"], (1, 5), columns=["expert"], score_range=(1, 5))
    assert test.labels().tolist() == [[5.0], [4.0]]


def test_votes_in_columns(folder: Path) -> None:
    table = write_text(folder / "votes.csv", "file,anna,bert,carl", "clips/a.wav,5,3,", "clips/b.wav,2,2,2")
    rated = load_mos("csv", table, columns={"votes": ["anna", "bert", "carl"]})
    assert rated["votes"][:] == [[5.0, 3.0], [2.0, 2.0, 2.0]]
    assert rated["listener"][:] == [["anna", "bert"], ["anna", "bert", "carl"]]
    assert (rated["mos"][:], rated["n_votes"][:]) == ([4.0, 2.0], [2, 3])
    assert rated["mos_std"][:] == [pytest.approx(2**0.5), 0.0]


def test_votes_in_rows(folder: Path) -> None:
    rows = ("clips/a.wav,anna,5,opus,1", "clips/b.wav,anna,2,amr,2", "clips/a.wav,bert,2,opus,3")
    table = write_text(folder / "votes.csv", "file,rater,vote,codec,second", *rows)
    rated = load_mos("csv", table, columns={"listener": "rater"})
    assert rated[0]["votes"] == [5.0, 2.0]
    assert rated[0]["listener"] == ["anna", "bert"]
    assert (rated["mos"][:], rated["codec"][:]) == ([3.5, 2.0], ["opus", "amr"])
    assert rated["second"][:] == [2.0, 2.0]


def test_votes_in_rows_on_several_dimensions(folder: Path) -> None:
    rows = ("clips/a.wav,l1,4,4,4", "clips/a.wav,l2,4,2,4", "clips/b.wav,l1,3,1,2", "clips/b.wav,l2,5,1,2")
    table = write_text(folder / "votes.csv", "file,listener,mos,noisiness,loudness", *rows)
    first, second = load_mos("csv", table, score_range=(1, 5))
    assert (first["mos"], first["votes"], first["listener"], first["n_votes"]) == (4.0, [4.0, 4.0], ["l1", "l2"], 2)
    assert (first["noisiness"], first["noisiness_std"]) == (3.0, pytest.approx(2**0.5))
    assert (second["noisiness"], second["noisiness_std"]) == (1.0, 0.0)
    # The same in all rows of every clip: the rating of the clip.
    assert (first["loudness"], second["loudness"]) == (4.0, 2.0) and "loudness_std" not in first
    table = write_text(folder / "votes.csv", "file,listener,noisiness", "clips/a.wav,l1,4", "clips/a.wav,l2,2")
    assert load_mos("csv", table).select_columns(["noisiness", "n_votes"])[0] == {"noisiness": 3.0, "n_votes": 2}
    with pytest.raises(ValueError, match=r"noisiness of clips/a\.wav is 4, outside the scale 1 to 3"):
        load_mos("csv", table, score_range=(1, 3))


def test_the_number_of_votes_on_a_dimension_is_its_own(folder: Path) -> None:
    rows = [f"clips/{clip}.wav,l{listener},{3 + listener % 2}" for clip in "ab" for listener in range(8)]
    cells = [str(1 + listener) if listener < {"a": 3, "b": 8}[clip] else "" for clip in "ab" for listener in range(8)]
    rated = [f"{row},{cell}" for row, cell in zip(rows, cells, strict=True)]
    table = write_text(folder / "votes.csv", "file,listener,vote,noisiness", *rated)
    first, second = load_mos("csv", table)
    assert (first["n_votes"], first["noisiness_n_votes"]) == (8, 3)
    assert (second["n_votes"], second["noisiness_n_votes"]) == (8, None)
    test = load_listening_test(str(table), ["mos", "noisiness"], (1, 10))
    assert [test.clips(name, [0], [0], [0]).n_votes.tolist() for name in ("mos", "noisiness")] == [[8, 8], [3, 8]]
    # Overall quality decides, where it has fewer; a table may tell the number, too.
    table = write_text(folder / "votes.csv", "file,listener,noisiness,vote", *rated)
    first, second = load_mos("csv", table)
    assert (first["n_votes"], first["noisiness_n_votes"]) == (3, 8)
    table = write_text(folder / "given.csv", "file,mos,signal,n_votes,signal_n_votes", "clips/a.wav,3,2,8,5")
    assert load_mos("csv", table).select_columns(["n_votes", "signal_n_votes"])[0] == {
        "n_votes": 8,
        "signal_n_votes": 5,
    }


def test_rows_of_votes_that_contradict_each_other_are_refused(folder: Path) -> None:
    table = write_text(folder / "votes.csv", "file,vote,split", "clips/a.wav,4,train", "clips/a.wav,5,test")
    with pytest.raises(ValueError, match=r"votes\.csv: split of clips/a\.wav is 'train' in one row and 'test' in"):
        load_mos("csv", table, split="train")


def test_listening_tests_may_have_clips_in_common(folder: Path) -> None:
    rows = [f"clips/{clip}.wav,{corpus},{mos}" for corpus, mos in (("one", 2), ("two", 3)) for clip in "ab"]
    table = write_text(folder / "ratings.csv", "file,corpus,mos", *rows)
    assert load_mos("csv", table)["mos"][:] == [2.0, 2.0, 3.0, 3.0]
    again = write_text(folder / "again.csv", "file,corpus,mos", *rows, "clips/a.wav,two,5")
    with pytest.raises(ValueError, match=r"1 rows repeat one: .*a\.wav; .*several listening tests the column corpus"):
        load_mos("csv", again)
    votes = [f"{row},{listener}" for row in rows for listener in ("anna", "bert")]
    rated = load_mos("csv", write_text(folder / "votes.csv", "file,corpus,vote,listener", *votes))
    assert (rated["corpus"][:], rated["n_votes"][:]) == (["one", "one", "two", "two"], [2, 2, 2, 2])


def test_votes_without_their_listeners_need_a_column_of_that_name(folder: Path) -> None:
    table = write_text(folder / "votes.csv", "file,mos", "clips/a.wav,3", "clips/a.wav,5")
    with pytest.raises(ValueError, match=r"1 rows repeat one: .*a\.wav; rows of single votes need the column vote"):
        load_mos("csv", table)
    assert load_mos("csv", table, columns={"vote": "mos"})["mos"][:] == [4.0]


@pytest.mark.parametrize("cell", ["24", "24.0"])
def test_one_value_in_the_column_votes_is_their_number(folder: Path, cell: str) -> None:
    table = write_text(folder / "ratings.csv", "file,mos,votes", f"clips/a.wav,3.1,{cell}")
    expected = {"file": "clips/a.wav", "mos": 3.1, "n_votes": 24}
    assert load_mos("csv", table).select_columns(list(expected))[0] == expected
    assert not {"votes", "mos_std"} & set(load_mos("csv", table).column_names)
    table = write_text(folder / "ratings.jsonl", json.dumps({"file": "clips/a.wav", "mos": 3.1, "votes": 24}))
    assert load_mos("csv", table)["n_votes"][:] == [24]
    table = write_text(folder / "ratings.csv", "file;mos;votes", "clips/a.wav;3;3, 4, 5")
    with pytest.raises(ValueError, match=r"n_votes of clips/a\.wav is '3, 4, 5', which is not a number"):
        load_mos("csv", table)
    # Two votes, which a decimal comma makes one number.
    table = write_text(folder / "ratings.csv", "file;mos;votes", "clips/a.wav;4,5;4,5")
    with pytest.raises(ValueError, match=r"n_votes of clips/a\.wav is 4\.5, which is no whole number"):
        load_mos("csv", table)
    table = write_text(folder / "ratings.csv", "file,mos,signal,n_votes,signal_n_votes", "clips/a.wav,4,3,8,4.5")
    with pytest.raises(ValueError, match=r"signal_n_votes of clips/a\.wav is 4\.5, which is no whole number"):
        load_mos("csv", table)


def test_json_lines(folder: Path) -> None:
    records = [
        {"audio": "clips/a.wav", "mos": 3.5, "votes": [3, 4], "listener": ["x", "y"]},
        {"audio": "clips/b.wav", "mos": None, "signal": 2, "room": {"height": 3}},
    ]
    table = write_text(folder / "ratings.jsonl", *map(json.dumps, records), "")
    first, second = load_mos("csv", table)
    assert (first["votes"], first["listener"], first["mos_std"]) == ([3.0, 4.0], ["x", "y"], pytest.approx(0.5**0.5))
    assert (second["mos"], second["signal"], second["room"]) == (None, 2.0, '{"height": 3}')


def test_what_is_no_folder_is_told_from_what_does_not_exist(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ratings.csv does not exist: pass a table of ratings"):
        load_mos("folder", folder / "ratings.csv")
    with pytest.raises(FileNotFoundError, match="a.wav is not a folder: pass a table of ratings"):
        load_mos("folder", folder / "clips" / "a.wav")


def test_tcd_voip_is_read_by_its_name_alone(folder: Path) -> None:
    table = write_text(folder / "mos.csv", "Filename,ConditionID,MOS", "C_01_ECHO_FA.wav,1,3", encoding="utf-8-sig")
    write_clip(folder / "C_01_ECHO_FA.wav")
    for name, root in (("csv", table), ("folder", folder)):
        with pytest.raises(ValueError, match=r"mos\.csv is of TCD-VoIP, .* testing only: pass tcd-voip:.*my test$"):
            load_mos(name, root)
    assert load_mos("tcd-voip", folder)["split"][:] == ["test"]


def test_a_folder_knows_its_table_by_the_columns(folder: Path) -> None:
    write_text(folder / "talkers.csv", "talker,sex", "f1,f")
    with pytest.raises(FileNotFoundError, match=r"no table with the columns file and mos: talkers\.csv lacks"):
        load_mos("folder", folder)
    write_text(folder / "scores.csv", "file,mos", "clips/a.wav,3")
    assert load_mos("folder", folder)["mos"][:] == [3.0]
    write_text(folder / "more.jsonl", '{"file": "clips/b.wav", "mos": 2}')
    with pytest.raises(ValueError, match=r"several tables of ratings: .*more\.jsonl, .*scores\.csv"):
        load_mos("folder", folder)


def test_reverberation_columns_have_one_name(folder: Path) -> None:
    write_text(folder / "scores.csv", "file,mos,RT60,drr_db,room,lamps", "clips/a.wav,3,0.6,-2.5,kitchen,4")
    (row,) = load_mos("reverb", folder)
    assert (row["t60"], row["drr"], row["room"], row["lamps"]) == (0.6, -2.5, "kitchen", 4.0)
    write_text(folder / "scores.csv", "file,mos,decay", "clips/a.wav,3,0.6")
    assert load_mos("reverb", folder, columns={"t60": "decay"})["t60"][:] == [0.6]
    write_text(folder / "more.csv", "file,mos,decay,t60,edt,expert", "clips/a.wav,3,0.6,0.1,0.2,5")
    (row,) = load_mos("reverb", folder / "more.csv", columns={"t60": "decay", "mos": "expert"})
    assert (row["t60"], row["edt"], row["mos"]) == (0.6, 0.2, 5.0)
    (row,) = load_mos("reverb", folder / "more.csv", columns={"t60": "edt"})
    assert (row["t60"], row["edt"], row["decay"]) == (0.2, 0.2, 0.6)
    (folder / "more.csv").unlink()
    with pytest.raises(ValueError, match=r"lacks columns on reverberation \(t60, edt"):
        load_mos("reverb", folder)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "file,score\na.wav,3\n",
            {},
            r"ratings\.csv lacks the column\(s\) mos; it has file, score; rename them, or .* --outputs of jsqa",
        ),
        ("clip,mos\na.wav,3\n", {}, r"ratings\.csv lacks the column\(s\) file"),
        ("file,mos\na.wav,3\n", {"columns": {"mos": "score"}}, r"lacks the column\(s\) score"),
        ("file,mos\na.wav,3\n", {"columns": {"naturalness": "mos"}}, r"no standard column\(s\) naturalness"),
        ("file,mos\n", {}, "lists no files"),
        ("file,mos\na.wav,3\n", {"split": "test"}, "has no splits"),
        ("file,mos,split\na.wav,3,train\n", {"split": "test"}, "no rows of split test; its splits are train"),
    ],
)
def test_tables_that_lack_something(tmp_path: Path, text: str, options: dict, message: str) -> None:
    (tmp_path / "ratings.csv").write_text(text)
    write_clip(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=message):
        load_mos("csv", tmp_path / "ratings.csv", **options)


def test_files_of_other_formats_and_broken_json(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.csv does not exist"):
        load_mos("csv", tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"ratings\.xls must be a CSV"):
        load_mos("csv", write_text(tmp_path / "ratings.xls", "file"))
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        load_mos("csv", write_text(tmp_path / "ratings.jsonl", '{"file": "a", "mos": 1}', "{"))
