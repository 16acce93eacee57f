from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from trees import touch, write

from jsqa_hf.data import load_speech

COLUMNS = {
    "audio": datasets.Audio(decode=False),
    **dict.fromkeys(("speech_id", "speaker_id", "corpus"), datasets.Value("string")),
}


class TestLibriSpeech:
    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        root = tmp_path / "LibriSpeech"
        touch(
            root,
            *("SPEAKERS.TXT", "LICENSE.TXT", "CHAPTERS.TXT"),
            *(f"train-clean-100/103/1240/103-1240-000{index}.flac" for index in (1, 0)),
            "train-clean-100/19/198/19-198-0000.flac",
            "dev-clean/1272/128104/1272-128104-0000.flac",
            "dev-clean/1272/128104/._1272-128104-0000.flac",
        )
        transcripts = root / "train-clean-100"
        write(transcripts / "103" / "1240" / "103-1240.trans.txt", "103-1240-0000 CHAPTER ONE\n103-1240-0001 THAT\n")
        write(transcripts / "19" / "198" / "19-198.trans.txt", "19-198-0000 NORTHANGER ABBEY\n")
        return root

    def test_names_give_speech_and_speaker_whichever_folder_is_passed(self, corpus: Path) -> None:
        ids = ["1272-128104-0000", "103-1240-0000", "103-1240-0001", "19-198-0000"]
        for root in (corpus, corpus.parent, str(corpus)):
            speech = load_speech("librispeech", root, split="train,dev")
            assert speech["speech_id"][:] == ids
            assert speech.features == datasets.Features(COLUMNS)
        assert speech[0] == {
            "audio": {"bytes": None, "path": str(corpus / "dev-clean/1272/128104/1272-128104-0000.flac")},
            "speech_id": "1272-128104-0000",
            "speaker_id": "1272",
            "corpus": "librispeech",
        }

    def test_other_folders_beside_the_corpus_do_not_matter(self, corpus: Path) -> None:
        touch(corpus.parent, "2024/notes.wav")
        assert len(load_speech("librispeech", corpus.parent)) == 3

    def test_an_archive_beside_the_corpus_does_not_hide_it(self, corpus: Path) -> None:
        touch(corpus.parent, "train-clean-100.tar.gz", "dev-clean.tar.gz")
        assert set(load_speech("librispeech", corpus.parent)["speaker_id"]) == {"103", "19"}

    def test_parts_by_option_and_by_folder(self, corpus: Path) -> None:
        touch(corpus, "train-clean-360/14/208/14-208-0000.flac")
        by_option = load_speech("librispeech", corpus, split="train-clean-100")
        by_folder = load_speech("librispeech", corpus / "train-clean-100")
        assert by_option["speaker_id"][:] == ["103", "103", "19"] == by_folder["speaker_id"][:]
        both = load_speech("librispeech", corpus, split="train-clean-360, dev-clean")
        assert both["speaker_id"][:] == ["1272", "14"]
        assert load_speech("librispeech", corpus / "dev-clean", split="dev")["speaker_id"][:] == ["1272"]
        with pytest.raises(FileNotFoundError, match="lacks the part.* train-other-500 .*there .dev-clean, train"):
            load_speech("librispeech", corpus, split=["train-other-500", "dev-clean"])
        with pytest.raises(ValueError, match="pass the folder above it"):
            load_speech("librispeech", corpus / "dev-clean", split="train-clean-100")

    def test_what_is_held_out_comes_only_by_name(self, corpus: Path) -> None:
        assert set(load_speech("librispeech", corpus)["speaker_id"]) == {"103", "19"}
        assert load_speech("librispeech", corpus, split="dev")["speaker_id"][:] == ["1272"]
        for part in corpus.glob("train-*"):
            part.rename(corpus.parent / part.name)
        with pytest.raises(FileNotFoundError, match=r"the part\(s\) train of LibriSpeech: name as the split what is"):
            load_speech("librispeech", corpus)

    def test_text(self, corpus: Path) -> None:
        speech = load_speech("librispeech", corpus, split="dev,train", text=True)
        assert speech["text"][:] == ["", "CHAPTER ONE", "THAT", "NORTHANGER ABBEY"]
        assert speech.features == datasets.Features({**COLUMNS, "text": datasets.Value("string")})

    def test_other_files_and_folders_are_refused(self, corpus: Path) -> None:
        touch(corpus.parent, "elsewhere/x1240/a.wav")
        with pytest.raises(
            FileNotFoundError, match=r"looked for train-\*/\*, dev-\*/\*, test-\*/\* in it .* found x1240"
        ):
            load_speech("librispeech", corpus.parent / "elsewhere")
        touch(corpus, "dev-clean/take2.wav")
        with pytest.raises(ValueError, match=r"take2\.wav isn't named as the files of LibriSpeech"):
            load_speech("librispeech", corpus, split="dev")


def test_libritts_with_its_transcripts(tmp_path: Path) -> None:
    chapter = tmp_path / "LibriTTS" / "dev-clean" / "84" / "121123"
    touch(
        chapter, "84_121123_000007_000001.wav", "84_121123_000008_000000.wav", "84_121123_000007_000001.original.txt"
    )
    write(chapter / "84_121123.trans.tsv", '84_121123_000007_000001\t"Mr. X."\t"Mister\u2028X."\n')
    (chapter / "._84_121123.trans.tsv").write_bytes(b"\x00\x05\x16\x07\xb0")
    write(chapter / "84_121123.book.tsv", "84_121123_000007_000001\tno transcript\n")
    speech = load_speech("libritts", tmp_path, split="dev", text=True)
    assert speech["speech_id"][:] == ["84_121123_000007_000001", "84_121123_000008_000000"]
    assert speech["speaker_id"][:] == ["84", "84"]
    assert speech["text"][:] == ['"Mister\u2028X."', ""]


class TestVCTK:
    def test_release_0_92(self, tmp_path: Path) -> None:
        root = tmp_path / "VCTK-Corpus-0.92"
        touch(
            root / "wav48_silence_trimmed",
            *(f"p225/p225_001_mic{mic}.flac" for mic in (1, 2)),
            *("p280/p280_002_mic1.flac", "s5/s5_001_mic1.flac", "s5/s5_001_mic2.flac", "log.txt"),
        )
        write(root / "txt" / "p225" / "p225_001.txt", "Please call Stella.\n")
        first = load_speech("vctk", tmp_path, text=True)
        assert first["speech_id"][:] == ["p225_001", "p280_002", "s5_001"]
        assert first["speaker_id"][:] == ["p225", "p280", "s5"]
        assert first["text"][:] == ["Please call Stella.", "", ""]
        second = load_speech("vctk", root, mic=2)
        assert [audio["path"][-14:] for audio in second["audio"]] == ["_001_mic2.flac"] * 2
        with pytest.raises(ValueError, match="mic=3"):
            load_speech("vctk", root, mic=3)

    def test_earlier_release(self, tmp_path: Path) -> None:
        touch(tmp_path / "VCTK-Corpus", "wav48/p225/p225_001.wav", "txt/p225/p225_001.txt")
        assert load_speech("vctk", tmp_path)["speech_id"][:] == ["p225_001"]
        with pytest.raises(FileNotFoundError, match="no recordings of microphone 2"):
            load_speech("vctk", tmp_path, mic=2)


class TestCommonVoice:
    HEADER = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\taccents\n"

    @pytest.fixture
    def language(self, tmp_path: Path) -> Path:
        root = tmp_path / "cv-corpus-17.0-2024-03-15" / "de"
        touch(root / "clips", "common_voice_de_1.mp3", "common_voice_de_2.mp3")
        rows = [
            'a1\tcommon_voice_de_1.mp3\ts1\t"Straße, sagte sie.\t\t2\t0\t\t\t\n',
            "b2\tcommon_voice_de_2\ts2\tJa.\n",
        ]
        write(root / "validated.tsv", self.HEADER + "".join(rows), "utf-8-sig")
        write(root / "train.tsv", self.HEADER + rows[0])
        return root

    def test_tables_give_speaker_and_sentence(self, language: Path) -> None:
        speech = load_speech("common-voice", language.parent, split="validated", text=True)
        assert speech["speech_id"][:] == ["common_voice_de_1", "common_voice_de_2"]
        assert speech["speaker_id"][:] == ["a1", "b2"]
        assert speech["text"][:] == ['"Straße, sagte sie.', "Ja."]

    def test_what_is_held_out_comes_only_by_name(self, language: Path) -> None:
        write(language / "dev.tsv", self.HEADER + "b2\tcommon_voice_de_2\ts2\tJa.\n")
        assert load_speech("common-voice", language)["speaker_id"][:] == ["a1"]
        assert load_speech("common-voice", language, split="train, dev")["speaker_id"][:] == ["a1", "b2"]

    def test_missing_table_and_missing_clip(self, language: Path) -> None:
        write(language / "clip_durations.tsv", "clip\tduration[ms]\ncommon_voice_de_1.mp3\t1000\n")
        with pytest.raises(FileNotFoundError, match=r"other\.tsv: no such table; name .* there \(train, validated\)"):
            load_speech("common-voice", language, split="train,other")
        (language / "clips" / "common_voice_de_2.mp3").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 of 2 clips.*common_voice_de_2\.mp3"):
            load_speech("common-voice", language, split="validated")
        with pytest.warns(UserWarning, match="1 of 2 clips"):
            assert len(load_speech("common-voice", language, split="validated", on_error="skip")) == 1
        assert len(load_speech("common-voice", language, split="validated", check=None)) == 2

    def test_several_languages(self, language: Path) -> None:
        touch(language.parent, "en/clips/common_voice_en_1.mp3")
        with pytest.raises(ValueError, match="more than once: pass one of .*/de, .*/en"):
            load_speech("common-voice", language.parent)
