"""Datasets with the columns of those on the Hub, read from local folders: the Hub itself is not asked."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

from jsqa_hf.audio import decode_audio
from jsqa_hf.data import load_noise, load_rirs, load_speech

AUDIO = datasets.Audio(decode=False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def clip(name: str) -> dict[str, Any]:
    """A tenth of a second as it is embedded in Parquet files."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(4800, 0.1), 48000, format="FLAC")
    return {"bytes": buffer.getvalue(), "path": name}


def publish(folder: Path, split: str, rows: list[dict[str, Any]], **features: Any) -> str:
    """Write rows as a dataset repository has them, and return its address."""
    folder.mkdir(exist_ok=True)
    typed = datasets.Features({"audio": AUDIO, **features}) if features else None
    table = {name: [row[name] for row in rows] for name in rows[0]}
    dataset = datasets.Dataset.from_dict(table, features=typed)
    if typed is None:
        dataset = dataset.cast_column("audio", AUDIO)
    dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return f"hub:{folder}"


@pytest.fixture
def librispeech(tmp_path: Path) -> str:
    rows = [
        {
            "file": f"/home/x/{name}.flac",
            "audio": clip(f"{name}.flac"),
            "text": "CHAPTER ONE",
            "speaker_id": int(name.split("-")[0]),
            "chapter_id": 1240,
            "id": name,
        }
        for name in ("103-1240-0000", "103-1240-0001", "19-198-0000")
    ]
    return publish(tmp_path / "librispeech_asr", "train", rows)


@pytest.mark.parametrize("streaming", [False, True])
def test_librispeech(librispeech: str, streaming: bool) -> None:
    speech = load_speech("librispeech", librispeech, split="train", streaming=streaming)
    assert isinstance(speech, datasets.IterableDataset if streaming else datasets.Dataset)
    assert speech.features == datasets.Features(
        {"audio": AUDIO, **dict.fromkeys(("speech_id", "speaker_id", "corpus"), datasets.Value("string"))}
    )
    rows = list(speech)
    assert [row["speech_id"] for row in rows] == ["103-1240-0000", "103-1240-0001", "19-198-0000"]
    assert [row["speaker_id"] for row in rows] == ["103", "103", "19"]
    decoded = decode_audio(rows[2]["audio"]["bytes"])
    assert (decoded.sampling_rate, decoded.samples.shape) == (48000, (1, 4800))


def test_the_columns_are_those_of_the_corpus_on_disk(librispeech: str, tmp_path: Path) -> None:
    folder = tmp_path / "LibriSpeech" / "dev-clean" / "1" / "2"
    folder.mkdir(parents=True)
    (folder / "1-2-0000.flac").touch()
    on_disk = load_speech("librispeech", tmp_path / "LibriSpeech", split="dev", text=True)
    on_hub = load_speech("librispeech", librispeech, split="train", text=True)
    assert on_disk.features == on_hub.features
    assert len(datasets.concatenate_datasets([on_disk, on_hub])) == 4


def test_audio_is_not_written_a_second_time(librispeech: str, tmp_path: Path) -> None:
    datasets.load_dataset(librispeech.removeprefix("hub:"), split="train")
    before = sorted(tmp_path.rglob("*.arrow"))
    load_speech("librispeech", librispeech, split="train")
    assert before and sorted(tmp_path.rglob("*.arrow")) == before


@pytest.mark.parametrize("streaming", [False, True])
def test_common_voice_and_libritts(tmp_path: Path, streaming: bool) -> None:
    voice = {"client_id": "a1", "path": "de_train_0/common_voice_de_1.mp3", "audio": clip("1.mp3"), "sentence": "Ja."}
    root = publish(tmp_path / "cv", "train", [voice])
    (row,) = load_speech("common-voice", root, split="train", text=True, streaming=streaming)
    assert (row["speech_id"], row["speaker_id"], row["text"]) == ("common_voice_de_1", "a1", "Ja.")
    tts = {"audio": clip("a.wav"), "text_normalized": "Mister X.", "speaker_id": "84", "id": "84_1_2_3"}
    root = publish(tmp_path / "libritts", "dev", [tts])
    (row,) = load_speech("libritts", root, split="validation", text=True, streaming=streaming)
    assert (row["speech_id"], row["speaker_id"], row["text"]) == ("84_1_2_3", "84", "Mister X.")


@pytest.mark.parametrize("streaming", [False, True])
def test_esc50_folds_and_categories(tmp_path: Path, streaming: bool) -> None:
    rows = [
        {"filename": f"{fold}-1-A-0.wav", "fold": fold, "target": 0, "category": category, "audio": clip("x.wav")}
        for fold, category in ((1, "dog"), (1, "rain"), (2, "wind"))
    ]
    rows[1]["filename"] = "1-2-A-10.wav"
    root = publish(tmp_path / "esc50", "train", rows)
    noise = load_noise("esc50", root, split="train", folds=[1], exclude=["dog"], streaming=streaming)
    (row,) = noise
    assert (row["noise_id"], row["noise_type"], row["labels"]) == ("1-2-A-10", "rain", ["rain"])
    assert row["corpus"] == "esc50" and row["audio"]["bytes"]


@pytest.mark.parametrize("streaming", [False, True])
def test_audioset(tmp_path: Path, streaming: bool) -> None:
    rows = [
        {
            "video_id": name,
            "audio": clip(f"{name}.flac"),
            "labels": [f"/m/{index}" for index, _ in enumerate(labels)],
            "human_labels": labels,
        }
        for name, labels in (("--PJHxphWEs", ["Speech", "Gush"]), ("-0RWZT-miFs", ["Car", "Vehicle"]))
    ]
    root = publish(tmp_path / "AudioSet", "train", rows)
    (row,) = load_noise("audioset", root, split="train", exclude=["Speech"], streaming=streaming)
    assert (row["noise_id"], row["noise_type"], row["labels"]) == ("-0RWZT-miFs", "Car", ["Car", "Vehicle"])


def test_labels_that_are_misspelt_or_missing(tmp_path: Path) -> None:
    rows = [
        {"video_id": name, "audio": clip(f"{name}.flac"), "human_labels": labels}
        for name, labels in (("a", ["Speech"]), ("b", []))
    ]
    root = publish(tmp_path / "AudioSet", "train", rows)
    with pytest.raises(ValueError, match=r"no clip of audioset has the label\(s\) Speach: correct exclude"):
        load_noise("audioset", root, split="train", exclude=["Speach"])
    assert load_noise("audioset", root, split="train", exclude=["Speech"])["noise_type"][:] == ["unknown"]


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_with_our_own_columns(tmp_path: Path, streaming: bool) -> None:
    rows = [{"rir_id": "a", "room": 3, "audio": clip("a.wav"), "t60_s": 0.4}]
    folder = publish(tmp_path / "mine", "train", rows).removeprefix("hub:")
    (row,) = load_rirs("hub", folder, split="train", streaming=streaming)
    assert {**row, "audio": None} == {"audio": None, "rir_id": "a", "room": "3", "corpus": folder}


class TestErrors:
    def test_folders_of_files_say_what_they_need(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("torchcodec", "torchcodec.encoders"):
            monkeypatch.setitem(sys.modules, module, None)
        folder = tmp_path / "mine"
        (folder / "train").mkdir(parents=True)
        soundfile.write(folder / "train" / "a.wav", np.full(480, 0.1), 48000)
        (folder / "train" / "metadata.csv").write_text("file_name,speech_id,speaker_id\na.wav,a,x\n")
        with pytest.raises(ValueError, match="mine can't be loaded: .*torchcodec"):
            load_speech("hub", folder, split="train")

    def test_split_is_needed(self, librispeech: str) -> None:
        with pytest.raises(ValueError, match="needs a split: pass split="):
            load_speech("librispeech", librispeech)

    def test_missing_columns_are_named(self, librispeech: str) -> None:
        with pytest.raises(ValueError, match="lacks the column.* path, client_id, sentence .*has .*speaker_id"):
            load_speech("common-voice", librispeech, split="train")

    def test_repeated_identifiers(self, tmp_path: Path) -> None:
        rows = [{"id": "1-2-3", "speaker_id": 1, "text": "", "audio": clip(f"{index}.flac")} for index in range(2)]
        root = publish(tmp_path / "twice", "train", rows)
        with pytest.raises(ValueError, match="speech_id must be unique"):
            load_speech("librispeech", root, split="train")
        with pytest.warns(UserWarning, match="1 rows that repeat"):
            kept = load_speech("librispeech", root, split="train", on_error="skip")
        assert [audio["path"] for audio in kept["audio"]] == ["0.flac"]

    def test_what_the_hub_has_not(self, librispeech: str) -> None:
        with pytest.raises(ValueError, match="'demand' can't be loaded from the Hub as noise, only audioset"):
            load_noise("demand", librispeech, split="train")
        with pytest.raises(ValueError, match="librispeech has the option.* text; got mic"):
            load_speech("librispeech", librispeech, split="train", mic=1)
        with pytest.raises(ValueError, match="check='decode' is for corpora on disk"):
            load_speech("librispeech", librispeech, split="train", check="decode")
        with pytest.raises(ValueError, match="no clip of esc50 is left"):
            rows = [{"filename": "a.wav", "fold": 1, "category": "dog", "audio": clip("a.wav")}]
            root = publish(Path(librispeech.removeprefix("hub:")).parent / "esc", "train", rows)
            load_noise("esc50", root, split="train", folds=[2])
