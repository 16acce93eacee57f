from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.data.files import audio_files

AUDIO = datasets.Audio(decode=False)


def write_audio(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones(160), 16000)
    return path


def test_librispeech_names_give_speech_and_speaker(tmp_path: Path) -> None:
    file = write_audio(tmp_path / "test-other" / "1688" / "1688-142285-0000.flac")
    speech = load_speech("folder", tmp_path)
    assert speech.features == datasets.Features(
        {
            "audio": AUDIO,
            "speech_id": datasets.Value("string"),
            "speaker_id": datasets.Value("string"),
            "corpus": datasets.Value("string"),
        }
    )
    assert speech[0] == {
        "audio": {"bytes": None, "path": str(file)},
        "speech_id": "1688-142285-0000",
        "speaker_id": "1688",
        "corpus": tmp_path.name,
    }


def test_other_names_give_relative_path_and_parent_folder_in_sorted_order(tmp_path: Path) -> None:
    for name in ("bob/one.WAV", "alice/two.flac", "alice/one.wav", "alice/notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not audio")
        else:
            write_audio(tmp_path / name)
    speech = load_speech("folder", str(tmp_path))
    assert speech["speech_id"][:] == ["alice/one", "alice/two", "bob/one"]
    assert speech["speaker_id"][:] == ["alice", "alice", "bob"]


def test_csv_gives_ids_and_splits(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_audio(tmp_path / "audio" / name)
    listing = tmp_path / "speech.csv"
    listing.write_text(
        "file,speech_id,speaker_id,split\naudio/b.wav,two,eve,train\naudio/a.wav,,,train\naudio/c.wav,x,y,test\n"
    )
    assert load_speech("csv", listing)["speech_id"][:] == ["two", "audio/a", "x"]
    train = load_speech("csv", listing, split="train")
    assert train["speaker_id"][:] == ["eve", "audio"]
    assert train[0]["audio"]["path"] == str(tmp_path / "audio" / "b.wav")


def test_noise_types_come_from_the_list_in_the_folder_or_else_from_the_names(tmp_path: Path) -> None:
    for name in ("bus_1.wav", "rain.flac", "outdoor/rain.flac"):
        write_audio(tmp_path / name)
    assert load_noise("folder", tmp_path)["noise_type"][:] == ["bus_1", "rain", "rain"]
    (tmp_path / "noise.csv").write_text("file,type\nbus_1.wav,bus\noutdoor/rain.flac,storm\n")
    noise = load_noise("folder", tmp_path)
    assert noise["noise_id"][:] == ["bus_1", "outdoor/rain", "rain"]
    assert noise["noise_type"][:] == ["bus", "storm", "rain"]
    assert noise.features["audio"] == AUDIO


def test_a_list_of_types_that_fits_no_file_does_not_pass_unseen(tmp_path: Path) -> None:
    for name in ("rain1.flac", "rain2.flac", "bus.wav"):
        write_audio(tmp_path / name)
    (tmp_path / "noise.csv").write_text("file,type\nrain1.wav,rain\nrain2.wav,rain\nbus.wav,bus\n")
    with pytest.warns(UserWarning, match=r"2 of 3 files in \S+noise\.csv are not there, such as \S+rain1\.wav:"):
        assert load_noise("folder", tmp_path)["noise_type"][:] == ["bus", "rain1", "rain2"]


def test_noise_csv_gives_ids_types_and_splits(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav")
    write_audio(tmp_path / "b.wav")
    listing = tmp_path / "list.csv"
    listing.write_text("file,noise_id,type,split\na.wav,first,bus,train\nb.wav,second,,test\n", encoding="utf-8-sig")
    assert load_noise("csv", listing)["noise_type"][:] == ["bus", "b"]
    assert load_noise("csv", listing, split="test")["noise_id"][:] == ["second"]


@pytest.mark.parametrize("load", [load_speech, load_noise, load_rirs])
class TestErrors:
    def test_missing_path(self, load, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
            load("folder", tmp_path / "nowhere")

    def test_folder_without_audio(self, load, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="holds no audio files"):
            load("folder", tmp_path)

    def test_csv_without_the_column_file(self, load, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text("clip,type\na.wav,bus\n")
        with pytest.raises(ValueError, match="lacks the column.* file; it has clip, type"):
            load("csv", tmp_path / "list.csv")

    def test_empty_csv(self, load, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text("file\n")
        with pytest.raises(ValueError, match="lists no files"):
            load("csv", tmp_path / "list.csv")

    @pytest.mark.parametrize("text", ["File ;mos\na.wav;3\n", "mos\tPath\n3\ta.wav\n"])
    def test_tables_as_spreadsheets_write_them(self, load, tmp_path: Path, text: str) -> None:
        write_audio(tmp_path / "a.wav")
        (tmp_path / "list.csv").write_text(text)
        assert load("csv", tmp_path / "list.csv")[0]["audio"]["path"] == str(tmp_path / "a.wav")

    def test_listed_file_that_does_not_exist(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        (tmp_path / "list.csv").write_text("file\na.wav\nb.wav\n")
        with pytest.raises(FileNotFoundError, match=r"1 of 2 clips.*b\.wav"):
            load("csv", tmp_path / "list.csv")

    def test_split_without_rows_or_without_column_or_of_a_folder(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        (tmp_path / "with.csv").write_text("file,split\na.wav,train\n")
        (tmp_path / "without.csv").write_text("file\na.wav\n")
        with pytest.raises(ValueError, match="no rows of split test; its splits are train"):
            load("csv", tmp_path / "with.csv", split="test")
        with pytest.raises(ValueError, match="lacks the column.* split"):
            load("csv", tmp_path / "without.csv", split="train")
        with pytest.raises(ValueError, match="is a folder"):
            load("folder", tmp_path, split="train")

    def test_two_files_with_one_id(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        write_audio(tmp_path / "a.flac")
        with pytest.raises(ValueError, match="_id must be unique, .*'a'"):
            load("folder", tmp_path)

    def test_unknown_corpus_and_unknown_option(self, load, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="'timit' is no corpus of .*: pass one of .*csv, .*folder"):
            load("timit", tmp_path)
        with pytest.raises(ValueError, match="folder has the option.* split.*; got channel"):
            load("folder", tmp_path, channel=2)

    def test_an_option_that_is_none_is_not_given(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        assert len(load("folder", tmp_path, split=None, channel=None)) == 1

    def test_unreadable_clips_are_named_or_skipped(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "good.wav")
        (tmp_path / "bad.wav").write_text("no sound")
        assert len(load("folder", tmp_path)) == 2
        with pytest.raises(ValueError, match=r"1 of 2 clips.*bad\.wav \(is not audio"):
            load("folder", tmp_path, check="decode")
        with pytest.warns(UserWarning, match=r"1 of 2 clips.*bad\.wav"):
            kept = load("folder", tmp_path, check="decode", on_error="skip")
        assert [audio["path"] for audio in kept["audio"]] == [str(tmp_path / "good.wav")]

    def test_repeated_identifiers_are_skipped(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        write_audio(tmp_path / "a.flac")
        with pytest.warns(UserWarning, match="1 rows that repeat"):
            assert len(load("folder", tmp_path, on_error="skip")) == 1

    def test_streaming_gives_the_same_rows(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "x" / "a.wav")
        write_audio(tmp_path / "y" / "b.wav")
        rows = load("folder", tmp_path)
        stream = load("folder", tmp_path, streaming=True)
        assert isinstance(stream, datasets.IterableDataset)
        assert list(stream) == list(rows) and stream.features == rows.features


def test_tables_may_hold_text_and_tabs(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav")
    (tmp_path / "list.tsv").write_text('file\ttext\tcorpus\na.wav\tHe said "no\tmine\n')
    speech = load_speech("csv", tmp_path / "list.tsv", text=True)
    assert speech["text"][:] == ['He said "no'] and speech["corpus"][:] == ["mine"]
    with pytest.raises(ValueError, match="is a folder, which has no text"):
        load_speech("folder", tmp_path, text=True)


def test_original_rates_and_channels_stay(tmp_path: Path) -> None:
    for rate in (8000, 48000):
        soundfile.write(tmp_path / f"{rate}.wav", np.zeros((rate // 100, 2)), rate)
    speech = load_speech("folder", tmp_path, check="decode")
    infos = [soundfile.info(audio["path"]) for audio in speech["audio"]]
    assert [(info.samplerate, info.channels) for info in infos] == [(48000, 2), (8000, 2)]


def test_search_is_sorted_and_survives_links_in_circles(tmp_path: Path) -> None:
    for name in ("b/1.ogg", "b-c/2.mp3", "a.sph", "b/.hidden.wav", ".cache/3.wav", "b/4.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert audio_files(tmp_path) == [str(tmp_path / name) for name in ("a.sph", "b/1.ogg", "b-c/2.mp3")]


def test_every_corpus_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="no corpus: pass NAME:PATH with one of ") as error:
        parse_source("unknown:/data")
    for name in str(error.value).rpartition(" one of ")[2].split(", "):
        assert f"| `{name}` |" in documented


class TestParseSource:
    def test_name_and_root(self, tmp_path: Path) -> None:
        assert parse_source("librispeech:/data/LibriSpeech") == ("librispeech", "/data/LibriSpeech")
        assert parse_source("esc50:hub:ashraq/esc50") == ("esc50", "hub:ashraq/esc50")
        assert parse_source("hub:me/mine:config") == ("hub", "me/mine:config")
        assert parse_source("rirs_noises:C:\\data") == ("rirs_noises", "C:\\data")

    def test_paths(self, tmp_path: Path) -> None:
        (tmp_path / "list.csv").touch()
        (tmp_path / "odd:name").mkdir()
        for root in (str(tmp_path), str(tmp_path / "odd:name"), "not/there/yet", "musan", "C:\\data"):
            assert parse_source(root) == ("folder", root)
        assert parse_source(str(tmp_path / "list.csv")) == ("csv", str(tmp_path / "list.csv"))

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match="'librispech' no corpus.*librispeech"):
            parse_source("librispech:/data")
        with pytest.raises(ValueError, match="names no path"):
            parse_source("musan:")
        with pytest.raises(ValueError, match="an empty source"):
            parse_source("")
