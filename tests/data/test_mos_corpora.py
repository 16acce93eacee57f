"""Each public corpus from a miniature tree with its layout: file names, columns, encodings."""

from __future__ import annotations

import builtins
from pathlib import Path

import datasets
import openpyxl
import pytest
from mos_trees import write_clip, write_text

from jsqa_hf.audio import decode_audio
from jsqa_hf.data import load_mos
from jsqa_hf.evaluation import evaluate_clips
from jsqa_hf.evaluation_data import load_listening_test

AUDIO = datasets.Audio(decode=False)

# The header of the simulated splits, and a shorter one for the others, whose columns are known to differ from it.
NISQA_SIM = (
    "db,con,file,con_description,filename_deg,filename_ref,source,lang,votes,mos,noi,col,dis,loud,noi_std,col_std,"
    "dis_std,loud_std,mos_std,filepath_deg,filepath_ref,filter,timeclipping,wbgn"
)
NISQA_LIVE = (
    "db,con,file,filename_deg,filename_ref,lang,votes,mos,noi,dis,col,loud,mos_std,noi_std,dis_std,col_std,loud_std,"
    "filepath_deg,filepath_ref"
)


def nisqa_row(split: str, file: str, con: int = 7) -> str:
    if "SIM" in split:
        cells = f"NISQA_{split},{con},{file},codec,{file}.wav,{file}.wav,dns,en,5,3.2,3.9,2.1,4.0,3.5,.1,.2,.3,.4,.5,"
        return f"{cells}NISQA_{split}/deg/{file}.wav,NISQA_{split}/ref/{file}.wav,bandpass,,x"
    cells = f"NISQA_{split},{con},{file},{file}.wav,{file}.wav,en,5,2.5,3.9,4.0,2.1,3.5,.5,.1,.3,.2,.4,"
    return f"{cells}NISQA_{split}/deg/{file}.wav,"


@pytest.fixture
def nisqa(tmp_path: Path) -> Path:
    root = tmp_path / "NISQA_Corpus"
    for split in ("TRAIN_SIM", "TRAIN_LIVE", "VAL_SIM", "VAL_LIVE", "TEST_FOR", "TEST_P501", "TEST_LIVETALK"):
        folder = root / f"NISQA_{split}"
        header = NISQA_SIM if "SIM" in split else NISQA_LIVE
        write_text(folder / f"NISQA_{split}_file.csv", header, nisqa_row(split, f"c1_{split}"))
        write_text(folder / f"NISQA_{split}_con.csv", "db,con,mos")
        write_clip(folder / "deg" / f"c1_{split}.wav", 48000)
    write_clip(root / "NISQA_TRAIN_SIM" / "ref" / "c1_TRAIN_SIM.wav", 48000)
    write_text(root / "NISQA_corpus_file.csv", NISQA_LIVE, nisqa_row("TRAIN_LIVE", "c1_TRAIN_LIVE"))
    return root


class TestNISQA:
    def test_all_splits_and_columns(self, nisqa: Path) -> None:
        rated = load_mos("nisqa", nisqa.parent)
        assert sorted(rated["split"][:]) == sorted(
            ["TRAIN_SIM", "TRAIN_LIVE", "VAL_SIM", "VAL_LIVE", "TEST_FOR", "TEST_P501", "TEST_LIVETALK"]
        )
        row = rated.filter(lambda split: split == "TRAIN_SIM", input_columns="split")[0]
        assert row == {
            "audio": {"bytes": None, "path": str(nisqa / "NISQA_TRAIN_SIM" / "deg" / "c1_TRAIN_SIM.wav")},
            "file": "NISQA_TRAIN_SIM/deg/c1_TRAIN_SIM.wav",
            "mos": 3.2,
            "noisiness": 3.9,
            "coloration": 2.1,
            "discontinuity": 4.0,
            "loudness": 3.5,
            "mos_std": 0.5,
            "noisiness_std": 0.1,
            "coloration_std": 0.2,
            "discontinuity_std": 0.3,
            "loudness_std": 0.4,
            "n_votes": 5,
            "condition": "7",
            "corpus": "NISQA_TRAIN_SIM",
            "split": "TRAIN_SIM",
            "reference_audio": {"bytes": None, "path": str(nisqa / "NISQA_TRAIN_SIM" / "ref" / "c1_TRAIN_SIM.wav")},
        }
        assert rated.features["audio"] == rated.features["reference_audio"] == AUDIO

    def test_columns_go_by_their_names_where_their_order_differs(self, nisqa: Path) -> None:
        row = load_mos("nisqa", nisqa, split="TRAIN_LIVE")[0]
        assert (row["noisiness"], row["coloration"], row["discontinuity"]) == (3.9, 2.1, 4.0)
        assert "reference_audio" not in row

    def test_splits_by_name_and_by_kind(self, nisqa: Path) -> None:
        assert load_mos("nisqa", nisqa, split="train")["split"][:] == ["TRAIN_LIVE", "TRAIN_SIM"]
        both = load_mos("nisqa", nisqa, split=["VAL_SIM", "TEST_FOR"])
        assert set(both["split"][:]) == {"VAL_SIM", "TEST_FOR"}
        with pytest.raises(ValueError, match="no rows of split TEST_NSC; its splits are TEST_FOR, "):
            load_mos("nisqa", nisqa, split="TEST_NSC")

    def test_conditions_of_splits_with_one_number_stay_apart(self, nisqa: Path) -> None:
        test = load_listening_test(f"nisqa:{nisqa}", ["mos"], (1, 5), split="test")
        names = ["NISQA_TEST_FOR", "NISQA_TEST_LIVETALK", "NISQA_TEST_P501"]
        assert test.groups() == ("condition", [f"{name}: 7" for name in names])
        figures = evaluate_clips(test.clips("mos", [2.5, 3.5, 4.5], [1] * 3, [5] * 3), resamples=0)
        assert figures["conditions"]["n"] == figures["clips"]["n_independent"] == 3
        assert figures["conditions"]["mae"] == pytest.approx(1)
        assert list(figures["corpora"]) == names

    @pytest.mark.parametrize("end", ["per_user", "per_user_file"])
    def test_single_votes_are_taken_where_they_are(self, nisqa: Path, end: str) -> None:
        folder = nisqa / "NISQA_TEST_FOR"
        lines = ["user,filepath_deg,mos"]
        lines += [f"u{user},NISQA_TEST_FOR/deg/c1_TEST_FOR.wav,{vote}" for user, vote in enumerate((2, 3, 4))]
        write_text(folder / f"NISQA_TEST_FOR_{end}.csv", *lines)
        for root in (nisqa, folder):
            (row,) = load_mos("nisqa", root, split="TEST_FOR")
            assert row["votes"] == [2.0, 3.0, 4.0] and row["listener"] == ["u0", "u1", "u2"]
            assert (row["mos"], row["n_votes"]) == (2.5, 5)
        write_text(folder / f"NISQA_TEST_FOR_{end}.csv", "who,clip,score", "u1,c1,3")
        with pytest.warns(UserWarning, match=f"{end}.csv: the votes are left out.*has who, clip, score"):
            assert "votes" not in load_mos("nisqa", nisqa, split="TEST_FOR").column_names

    def test_one_split_folder_is_enough(self, nisqa: Path) -> None:
        assert load_mos("nisqa", nisqa / "NISQA_TEST_FOR")["split"][:] == ["TEST_FOR"]

    def test_the_table_of_the_corpus_stands_in_for_that_of_a_split(self, nisqa: Path) -> None:
        (nisqa / "NISQA_TRAIN_LIVE" / "NISQA_TRAIN_LIVE_file.csv").unlink()
        rated = load_mos("nisqa", nisqa)
        assert len(rated) == 7
        assert rated.filter(lambda split: split == "TRAIN_LIVE", input_columns="split")["mos"][:] == [2.5]

    def test_full_band_clips_keep_their_rate(self, nisqa: Path) -> None:
        path = load_mos("nisqa", nisqa, split="TEST_P501", check="decode")[0]["audio"]["path"]
        assert decode_audio(path).sampling_rate == 48000

    def test_another_folder_is_refused(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "deg" / "a.wav")
        with pytest.raises(FileNotFoundError, match=r"not the folder of the NISQA corpus.*found deg"):
            load_mos("nisqa", tmp_path)


TCD_CLIPS = ("C_01_ECHO_FA.wav", "C_02_CHOP_MK.wav")


def write_tcd_voip(root: Path) -> None:
    write_clip(root / "Test Set" / "echo" / "C_01_ECHO_FA.wav", 48000)
    write_clip(root / "Test Set" / "chop" / "C_02_CHOP_MK.WAV", 48000)
    write_clip(root / "Test Set" / "echo" / "ref" / "R_01_ECHO_FA.wav", 48000)
    write_text(root / "README.txt", "TCD-VoIP")


def write_tcd_workbook(root: Path) -> Path:
    workbook = openpyxl.Workbook()
    workbook.active.title = "Conditions"
    sheet = workbook.create_sheet("Subjective Test Scores")
    sheet.append(["Filename", "ConditionID", "sample MOS", "listener  # ->", *range(1, 25)])
    sheet.append([TCD_CLIPS[0], 1, 3.5, None, *[3, 4] * 12])
    sheet.append([TCD_CLIPS[1], 2, 1.0, None, *[1] * 23, None])
    path = root / "TCD VOIP - Test Set Conditions and MOS Results.xlsx"
    workbook.save(path)
    return path


class TestTCDVoIP:
    def test_workbook_with_the_votes_of_24_listeners(self, tmp_path: Path) -> None:
        write_tcd_voip(tmp_path)
        write_tcd_workbook(tmp_path)
        first, second = load_mos("tcd-voip", tmp_path)
        assert first["audio"]["path"].endswith("echo/C_01_ECHO_FA.wav")
        assert first["reference_audio"]["path"].endswith("ref/R_01_ECHO_FA.wav")
        assert (first["mos"], first["n_votes"], first["votes"]) == (3.5, 24, [3.0, 4.0] * 12)
        assert first["mos_std"] == pytest.approx((24 * 0.25 / 23) ** 0.5)
        assert (first["condition"], first["degradation"], first["split"]) == ("echo_01", "echo", "test")
        assert (second["n_votes"], second["listener"][-1], second["reference_audio"]) == (23, "23", None)

    @pytest.mark.parametrize(
        ("header", "rows", "encoding"),
        [
            ("Filename,ConditionID,MOS", (f"{TCD_CLIPS[0]},1,3.5", f"{TCD_CLIPS[1]},2,1"), "utf-8-sig"),
            ("Filename;ConditionID;MOS", (f"{TCD_CLIPS[0]};1;3,5", f"{TCD_CLIPS[1]};2;1"), "utf-8-sig"),
            (
                "Filename,ConditionID,sample MOS,listener  # ->,1,2",
                (f"{TCD_CLIPS[0]},1,3.5,,3,4", f"{TCD_CLIPS[1]},2,1,,1,"),
                "utf-8",
            ),
        ],
    )
    def test_tables_of_other_distributions(self, tmp_path: Path, header: str, rows: tuple, encoding: str) -> None:
        write_tcd_voip(tmp_path / "TCD-VOIP")
        table = tmp_path / "TCD-VOIP" / "scores.csv"
        write_text(table, header, *rows, encoding=encoding, newline="\r\n")
        write_text(tmp_path / "TCD-VOIP" / "other.csv", "talker,sex", "FA,f")
        rated = load_mos("tcd-voip", tmp_path)
        assert rated["mos"][:] == [3.5, 1.0]
        assert rated["condition"][:] == ["echo_01", "chop_02"]
        assert ("votes" in rated.column_names) == ("sample" in header)

    def test_a_workbook_without_openpyxl_names_the_extra(self, tmp_path: Path, monkeypatch) -> None:
        write_tcd_voip(tmp_path)
        write_tcd_workbook(tmp_path)
        real_import = builtins.__import__

        def without_openpyxl(name, *args, **kwargs):
            if name == "openpyxl":
                raise ImportError(name)
            return real_import(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without_openpyxl)
        with pytest.raises(ImportError, match=r"pip install 'jsqa_hf\[data\]'"):
            load_mos("tcd-voip", tmp_path)

    @pytest.mark.parametrize("row", ["echo.wav,1,3", "C_01_ECHO_FA.wav,one,3"])
    def test_rows_of_another_corpus_are_named(self, tmp_path: Path, row: str) -> None:
        write_text(tmp_path / "scores.csv", "Filename,ConditionID,MOS", row)
        with pytest.raises(ValueError, match=f"{row.split(',')[0]} with the ConditionID .* is not of TCD-VoIP"):
            load_mos("tcd-voip", tmp_path)

    def test_nothing_to_read_and_two_copies(self, tmp_path: Path) -> None:
        write_tcd_voip(tmp_path / "one")
        with pytest.raises(FileNotFoundError, match="neither the workbook"):
            load_mos("tcd-voip", tmp_path)
        with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
            load_mos("tcd-voip", tmp_path / "nowhere")
        write_tcd_voip(tmp_path / "two")
        write_tcd_workbook(tmp_path / "two")
        with pytest.raises(ValueError, match="C_01_ECHO_FA.wav is there more than once"):
            load_mos("tcd-voip", tmp_path)


@pytest.fixture
def bvcc(tmp_path: Path) -> Path:
    root = tmp_path / "main" / "DATA"
    about = "{{}}_30-39_{listener}_Female_Valid_1_No"
    for number, (votes, means) in enumerate(
        [("TRAINSET", "train_mos_list.txt"), ("DEVSET", "val_mos_list.txt"), ("TESTSET", "test_mos_list.txt")]
    ):
        file = f"sys64e2f-utt9c183c{number}.wav"
        write_clip(root / "wav" / file)
        lines = [
            f"sys64e2f,{file},{score},VDP1ovyrBzg8_1,{about.format(listener=listener)}"
            for score, listener in ((4, "bZPQE7w4Zl3g"), (3, "a_b"), (5, "c"))
        ]
        write_text(root / "sets" / votes, *lines)
        write_text(root / "sets" / means, f"{file},4.0")
    write_text(root / "mydata_system.csv", "system_ID,mean", "sys64e2f,4.0")
    return root


class TestBVCC:
    def test_votes_become_means(self, bvcc: Path) -> None:
        for root in (bvcc, bvcc.parent):
            rated = load_mos("bvcc", root)
            assert rated["split"][:] == ["train", "dev", "test"]
            assert rated[0]["votes"] == [4.0, 3.0, 5.0]
            assert rated[0]["listener"] == ["bZPQE7w4Zl3g", "a_b", "c"]
            assert (rated[0]["mos"], rated[0]["n_votes"], rated[0]["mos_std"]) == (4.0, 3, 1.0)
            assert (rated[0]["system"], rated[0]["file"]) == ("sys64e2f", "sys64e2f-utt9c183c0.wav")

    def test_lists_of_means_stand_in_for_missing_votes(self, bvcc: Path) -> None:
        (bvcc / "sets" / "DEVSET").unlink()
        dev = load_mos("bvcc", bvcc, split="dev")[0]
        assert (dev["mos"], dev["system"], dev["file"]) == (4.0, "sys64e2f", "sys64e2f-utt9c183c1.wav")

    def test_clips_that_may_not_be_passed_on_can_be_left_out(self, bvcc: Path) -> None:
        (bvcc / "wav" / "sys64e2f-utt9c183c0.wav").unlink()
        with pytest.raises(FileNotFoundError, match="1 of 3 clips"):
            load_mos("bvcc", bvcc)
        with pytest.warns(UserWarning, match="1 of 3 clips are missing or unreadable and left out"):
            assert load_mos("bvcc", bvcc, on_error="skip")["split"][:] == ["dev", "test"]

    def test_a_broken_line_is_named(self, bvcc: Path) -> None:
        write_text(bvcc / "sets" / "TRAINSET", "sys64e2f,sys64e2f-utt9c183c0.wav")
        with pytest.raises(ValueError, match="TRAINSET: line 1 is 'sys64e2f,sys64e2f-utt9c183c0.wav'"):
            load_mos("bvcc", bvcc)


def test_tencent(tmp_path: Path) -> None:
    root = tmp_path / "TencentCorups"
    for kind in ("withoutReverberationTrainDevMOS", "withReverberationTrainDevMOS"):
        write_clip(root / kind / "0000.wav")
        write_text(root / f"{kind}.csv", "deg_wav,mos", f"./{kind}/0000.wav,3.25")
    rated = load_mos("tencent", tmp_path)
    assert rated["split"][:] == ["without_reverberation", "with_reverberation"]
    assert rated[0]["audio"]["path"] == str(root / "withoutReverberationTrainDevMOS" / "0000.wav")
    assert rated[1]["file"] == "./withReverberationTrainDevMOS/0000.wav"
    (root / "withoutReverberationTrainDevMOS.csv").unlink()
    assert len(load_mos("tencent", root)) == 1


def test_pstn(tmp_path: Path) -> None:
    write_clip(tmp_path / "pstn_train" / "0001_a.wav", 8000)
    write_text(tmp_path / "pstn_train" / "pstn_train.csv", "filename,MOS,std,95%CI,votes", "0001_a.wav,2.4,0.8,0.7,5")
    row = load_mos("pstn", tmp_path)[0]
    assert (row["mos"], row["mos_std"], row["n_votes"], row["corpus"]) == (2.4, 0.8, 5, "pstn")
    assert decode_audio(row["audio"]["path"]).sampling_rate == 8000
