from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from trees import touch, write

from jsqa_hf.data import load_noise

STRING = datasets.Value("string")
COLUMNS = {"audio": datasets.Audio(decode=False), **dict.fromkeys(("noise_id", "noise_type", "corpus"), STRING)}


class TestCHiME3:
    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        audio = tmp_path / "CHiME3" / "data" / "audio" / "16kHz"
        for name in ("BGD_150203_010_PED", "BGD_150203_010_STR", "BGD_150204_010_BUS", "BGD_150205_040_CAF"):
            touch(audio / "backgrounds", *(f"{name}.CH{channel}.wav" for channel in range(1, 7)))
        touch(audio / "isolated", "tr05_bus_simu/011C0201_BUS.CH5.wav", "dt05_bth/F01_050C0101_BTH.CH5.wav")
        return tmp_path / "CHiME3"

    def test_one_channel_of_the_backgrounds_whichever_folder_is_passed(self, corpus: Path) -> None:
        inside = corpus / "data" / "audio" / "16kHz"
        for root in (corpus.parent, corpus, corpus / "data", inside.parent, inside, inside / "backgrounds"):
            noise = load_noise("chime3", root)
            assert noise["noise_type"][:] == ["pedestrian", "street", "bus", "cafe"]
        assert noise["noise_id"][0] == "BGD_150203_010_PED.CH5"
        assert noise.features == datasets.Features(COLUMNS)
        assert load_noise("chime3", corpus, channel=1)["noise_id"][3] == "BGD_150205_040_CAF.CH1"

    def test_wrong_channel_and_wrong_folder(self, corpus: Path) -> None:
        with pytest.raises(ValueError, match="channels 1 to 6, got channel=0"):
            load_noise("chime3", corpus, channel=0)
        with pytest.raises(FileNotFoundError, match=r"BGD_\*\.wav.*found dt05_bth, tr05_bus_simu"):
            load_noise("chime3", corpus / "data" / "audio" / "16kHz" / "isolated")
        for path in corpus.rglob("*.CH5.wav"):
            path.unlink()
        with pytest.raises(FileNotFoundError, match=r"no recordings BGD_\*\.CH5\.wav"):
            load_noise("chime3", corpus)


class TestDEMAND:
    def test_both_depths_of_unpacking(self, tmp_path: Path) -> None:
        for folder in ("DKITCHEN_16k/DKITCHEN", "SCAFE_48k/SCAFE", "TBUS"):
            touch(tmp_path / "DEMAND" / folder, *(f"ch{channel:02d}.wav" for channel in range(1, 17)))
        for root in (tmp_path, tmp_path / "DEMAND"):
            noise = load_noise("demand", root)
            assert noise["noise_id"][:] == ["DKITCHEN/ch01", "SCAFE/ch01", "TBUS/ch01"]
            assert noise["noise_type"][:] == ["DKITCHEN", "SCAFE", "TBUS"]
        assert load_noise("demand", tmp_path, channel=16)["noise_id"][2] == "TBUS/ch16"

    def test_the_same_environment_at_two_rates_is_no_second_recording(self, tmp_path: Path) -> None:
        touch(tmp_path, "TBUS_16k/TBUS/ch01.wav", "TBUS_48k/TBUS/ch01.wav")
        with pytest.raises(ValueError, match="'TBUS/ch01'.*TBUS_16k.*TBUS_48k"):
            load_noise("demand", tmp_path)


def test_musan_subsets(tmp_path: Path) -> None:
    touch(
        tmp_path / "musan",
        *("README", "noise/free-sound/noise-free-sound-0000.wav", "noise/free-sound/ANNOTATIONS"),
        *("noise/sound-bible/noise-sound-bible-0000.wav", "music/fma/music-fma-0000.wav"),
        "speech/us-gov/speech-us-gov-0000.wav",
    )
    noise = load_noise("musan", tmp_path)
    assert noise["noise_id"][:] == ["noise-free-sound-0000", "noise-sound-bible-0000"]
    # Noise of another corpus beside it.
    touch(tmp_path, "noise/my_own.wav")
    assert load_noise("musan", tmp_path)["noise_id"][:] == noise["noise_id"][:]
    both = load_noise("musan", tmp_path / "musan", subsets=("noise", "music"))
    assert both["noise_type"][:] == ["noise", "noise", "music"]
    with pytest.raises(ValueError, match="MUSAN has noise, music, speech; got 'music'"):
        load_noise("musan", tmp_path, subsets="music")


class TestESC50:
    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        root = tmp_path / "ESC-50-master"
        rows = ["1-100032-A-0.wav,1,0,dog,True,100032,A", "5-9032-A-10.wav,5,10,rain,True,9032,A"]
        write(root / "meta" / "esc50.csv", "\n".join(["filename,fold,target,category,esc10,src_file,take", *rows]))
        touch(root / "audio", "1-100032-A-0.wav", "5-9032-A-10.wav")
        return root

    def test_categories_and_folds(self, corpus: Path) -> None:
        noise = load_noise("esc50", corpus.parent)
        assert noise["noise_type"][:] == ["dog", "rain"]
        assert noise.features == datasets.Features({**COLUMNS, "labels": datasets.List(STRING)})
        assert load_noise("esc50", corpus, folds=[5])["noise_id"][:] == ["5-9032-A-10"]
        assert load_noise("esc50", corpus, exclude=["dog"])["noise_type"][:] == ["rain"]

    def test_a_label_to_leave_out_must_occur(self, corpus: Path) -> None:
        with pytest.raises(ValueError, match="no clip of ESC-50 has the label.* Dog"):
            load_noise("esc50", corpus, exclude=["Dog"])
        with pytest.raises(ValueError, match="is left without the labels dog, rain"):
            load_noise("esc50", corpus, exclude=["dog", "rain"])


class TestFSD50K:
    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        truth = tmp_path / "FSD50K.ground_truth"
        dev = ['64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train', "16399,Rain,/m/06mb1,val"]
        write(truth / "dev.csv", "\n".join(["fname,labels,mids,split", *dev]))
        write(truth / "eval.csv", 'fname,labels,mids\n37199,"Bus,Vehicle","/m/01bjv,/m/07yv9"\n')
        write(truth / "vocabulary.csv", "0,Accelerating_and_revving_and_vroom,/m/07q2z82\n")
        touch(tmp_path, "FSD50K.dev_audio/64760.wav", "FSD50K.dev_audio/16399.wav", "FSD50K.eval_audio/37199.wav")
        return tmp_path

    def test_labels(self, corpus: Path) -> None:
        noise = load_noise("fsd50k", corpus)
        assert noise["noise_type"][:] == ["Electric_guitar", "Rain", "Bus"]
        assert noise["labels"][0] == ["Electric_guitar", "Guitar", "Music"]
        assert load_noise("fsd50k", corpus, exclude=["Music", "Vehicle"])["noise_id"][:] == ["16399"]

    @pytest.mark.parametrize(
        ("split", "ids"),
        [
            ("dev", ["64760", "16399"]),
            ("eval", ["37199"]),
            ("train", ["64760"]),
            ("val", ["16399"]),
            ("train, val", ["64760", "16399"]),
            ("val,eval", ["16399", "37199"]),
            ("dev,train", ["64760", "16399"]),
        ],
    )
    def test_splits(self, corpus: Path, split: str, ids: list[str]) -> None:
        assert load_noise("fsd50k", corpus, split=split)["noise_id"][:] == ids

    def test_unknown_split(self, corpus: Path) -> None:
        with pytest.raises(ValueError, match=r"FSD50K has dev, eval, train, val; got \['test', 'val'\]"):
            load_noise("fsd50k", corpus, split="val,test")


class TestAudioSet:
    TABLE = (
        "# Segments csv created Sun Mar  5 10:54:31 2017\n"
        "# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=4\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'
        '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw"\n'
        'YaEUX4UjZbI, 0.000, 10.000, "/m/06mb1"\n'
    )

    @pytest.fixture
    def clips(self, tmp_path: Path) -> Path:
        write(tmp_path / "balanced_train_segments.csv", self.TABLE)
        # The names that several download tools give; the third identifier starts with Y itself.
        touch(tmp_path, "a/--PJHxphWEs_30.000_40.000.flac", "a/Y-0RWZT-miFs.wav", "b/YaEUX4UjZbI.m4a")
        return tmp_path

    def test_clips_are_found_by_their_identifier(self, clips: Path) -> None:
        noise = load_noise("audioset", clips)
        assert noise["noise_id"][:] == ["--PJHxphWEs", "-0RWZT-miFs", "YaEUX4UjZbI"]
        assert noise["labels"][0] == ["/m/09x0r", "/t/dd00088"]

    def test_names_of_the_labels(self, clips: Path) -> None:
        names = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n500,/m/06mb1,Rain\n7,/t/dd00088,Gush\n'
        write(clips / "class_labels_indices.csv", names)
        noise = load_noise("audioset", clips, exclude=["Speech"])
        assert noise["noise_type"][:] == ["/m/03v3yw", "Rain"]

    def test_clips_and_table_that_do_not_fit(self, clips: Path) -> None:
        touch(clips, "other.wav")
        with pytest.warns(UserWarning, match=r"1 clips in .* are not in the table: .*other\.wav"):
            assert len(load_noise("audioset", clips)) == 3
        table = write(clips / "elsewhere" / "eval.csv", "# YTID\nABCDEFGHIJK, 0.000, 10.000, /m/1\n")
        with pytest.raises(ValueError, match="none of the 4 clips"):
            load_noise("audioset", clips, table=str(table))
        with pytest.raises(ValueError, match=r"eval\.csv: 'x, y' is not YTID"):
            load_noise("audioset", clips, table=str(write(table, "x, y\n")))
        with pytest.raises(FileNotFoundError, match=r"table such as balanced_train_segments\.csv"):
            load_noise("audioset", clips / "a")
