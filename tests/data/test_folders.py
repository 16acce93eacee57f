from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

from jsqa_hf.data import load_noise_folder, load_speech_folder

AUDIO = datasets.Audio(decode=False)


def write_audio(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones(160), 16000)
    return path


def test_librispeech_names_give_speech_and_speaker(tmp_path: Path) -> None:
    file = write_audio(tmp_path / "test-other" / "1688" / "1688-142285-0000.flac")
    speech = load_speech_folder(tmp_path)
    assert speech.features == datasets.Features(
        {"audio": AUDIO, "speech_id": datasets.Value("string"), "speaker_id": datasets.Value("string")}
    )
    assert speech[0] == {
        "audio": {"bytes": None, "path": str(file)},
        "speech_id": "1688-142285-0000",
        "speaker_id": "1688",
    }


def test_other_names_give_relative_path_and_parent_folder_in_sorted_order(tmp_path: Path) -> None:
    for name in ("bob/one.WAV", "alice/two.flac", "alice/one.wav", "alice/notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not audio")
        else:
            write_audio(tmp_path / name)
    speech = load_speech_folder(str(tmp_path))
    assert speech["speech_id"][:] == ["alice/one", "alice/two", "bob/one"]
    assert speech["speaker_id"][:] == ["alice", "alice", "bob"]


def test_csv_gives_ids_and_splits(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_audio(tmp_path / "audio" / name)
    listing = tmp_path / "speech.csv"
    listing.write_text(
        "file,speech_id,speaker_id,split\naudio/b.wav,two,eve,train\naudio/a.wav,,,train\naudio/c.wav,x,y,test\n"
    )
    assert load_speech_folder(listing)["speech_id"][:] == ["two", "audio/a", "x"]
    train = load_speech_folder(listing, split="train")
    assert train["speaker_id"][:] == ["eve", "audio"]
    assert train[0]["audio"]["path"] == str(tmp_path / "audio" / "b.wav")


def test_noise_types_come_from_the_list_in_the_folder_or_else_from_the_names(tmp_path: Path) -> None:
    for name in ("bus_1.wav", "rain.flac", "outdoor/rain.flac"):
        write_audio(tmp_path / name)
    assert load_noise_folder(tmp_path)["noise_type"][:] == ["bus_1", "rain", "rain"]
    (tmp_path / "noise.csv").write_text("file,type\nbus_1.wav,bus\noutdoor/rain.flac,storm\n")
    noise = load_noise_folder(tmp_path)
    assert noise["noise_id"][:] == ["bus_1", "outdoor/rain", "rain"]
    assert noise["noise_type"][:] == ["bus", "storm", "rain"]
    assert noise.features["audio"] == AUDIO


def test_noise_csv_gives_ids_types_and_splits(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav")
    write_audio(tmp_path / "b.wav")
    listing = tmp_path / "list.csv"
    listing.write_text("file,noise_id,type,split\na.wav,first,bus,train\nb.wav,second,,test\n", encoding="utf-8-sig")
    assert load_noise_folder(listing)["noise_type"][:] == ["bus", "b"]
    assert load_noise_folder(listing, split="test")["noise_id"][:] == ["second"]


@pytest.mark.parametrize("load", [load_speech_folder, load_noise_folder])
class TestErrors:
    def test_missing_path(self, load, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
            load(tmp_path / "nowhere")

    def test_folder_without_audio(self, load, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="holds no audio files"):
            load(tmp_path)

    def test_csv_without_the_column_file(self, load, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text("path,type\na.wav,bus\n")
        with pytest.raises(ValueError, match="lacks the column.* file; it has path, type"):
            load(tmp_path / "list.csv")

    def test_empty_csv(self, load, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text("file\n")
        with pytest.raises(ValueError, match="lists no files"):
            load(tmp_path / "list.csv")

    def test_listed_file_that_does_not_exist(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        (tmp_path / "list.csv").write_text("file\na.wav\nb.wav\n")
        with pytest.raises(FileNotFoundError, match=r"1 of 2 files.*b\.wav"):
            load(tmp_path / "list.csv")

    def test_split_without_rows_or_without_column_or_of_a_folder(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        (tmp_path / "with.csv").write_text("file,split\na.wav,train\n")
        (tmp_path / "without.csv").write_text("file\na.wav\n")
        with pytest.raises(ValueError, match="no rows of split 'test'; its splits are train"):
            load(tmp_path / "with.csv", split="test")
        with pytest.raises(ValueError, match="lacks the column.* split"):
            load(tmp_path / "without.csv", split="train")
        with pytest.raises(ValueError, match="is a folder"):
            load(tmp_path, split="train")

    def test_two_files_with_one_id(self, load, tmp_path: Path) -> None:
        write_audio(tmp_path / "a.wav")
        write_audio(tmp_path / "a.flac")
        with pytest.raises(ValueError, match="2 files have the .*_id 'a'"):
            load(tmp_path)
