from __future__ import annotations

import warnings
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

from jsqa_hf.data.corpus import corpus_root, existing_rows, read_table, to_dataset, unique_rows


def write_audio(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones(160), 16000)
    return path


class TestCorpusRoot:
    def test_takes_the_folder_itself_or_the_one_above_it(self, tmp_path: Path) -> None:
        corpus = tmp_path / "Corpus"
        (corpus / "train-clean").mkdir(parents=True)
        (tmp_path / "other").mkdir()
        for root in (corpus, tmp_path, str(tmp_path)):
            assert corpus_root(root, expected=["missing.csv", "train-*"], what="X") == corpus

    def test_says_what_it_looked_for_and_what_it_found(self, tmp_path: Path) -> None:
        (tmp_path / "holiday").mkdir()
        with pytest.raises(FileNotFoundError, match=r"folder of X: looked for a\.csv, b/\* in it .* found holiday"):
            corpus_root(tmp_path, expected=["a.csv", "b/*"], what="X")
        with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: pass the folder of X.*a\.csv"):
            corpus_root(tmp_path / "nowhere", expected=["a.csv"], what="X")

    def test_refuses_to_choose_between_two(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name / "clips").mkdir(parents=True)
        with pytest.raises(ValueError, match="more than once: pass one of .*one, .*two"):
            corpus_root(tmp_path, expected=["clips"], what="X")


class TestReadTable:
    def test_reads_a_byte_order_mark_and_short_lines(self, tmp_path: Path) -> None:
        table = tmp_path / "a.csv"
        table.write_bytes('\ufefffile, type\n"a, b.wav", bus\nc.wav\n'.encode())
        assert read_table(table, ["file"]) == [{"file": "a, b.wav", "type": "bus"}, {"file": "c.wav", "type": ""}]

    def test_lines_of_empty_cells_are_left_out(self, tmp_path: Path) -> None:
        table = tmp_path / "a.csv"
        table.write_text("file,mos\n,\na.wav,\n, \n \t,\n,,\n,\n")
        assert read_table(table, ["file"]) == [{"file": "a.wav", "mos": ""}]

    def test_quotation_marks_are_ordinary_in_tab_separated_files(self, tmp_path: Path) -> None:
        table = tmp_path / "a.tsv"
        table.write_text('path\tsentence\na.mp3\t"Who, me?\nb.mp3\tNo."\n')
        assert [row["sentence"] for row in read_table(table, ["path"], delimiter="\t")] == ['"Who, me?', 'No."']

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"path,type\na.wav,bus\n", r"a\.csv lacks the column.* file; it has path, type"),
            (b"", "lacks the column.* file; it has no columns"),
            (b"file\n", "lists no files"),
            (b"file,mos,,mos,\na.wav,4,,1,\n", r"a\.csv has the column\(s\) mos more than once: rename all but one"),
            (b"file\na.wav,bus\n", "row 1 has more cells than the header"),
            (b"file,mos\na.wav,1\n,\n,\nb.wav,2,3\n", "row 4 has more cells than the header"),
            (b"file,type\n,\n", "lists no files"),
            ("file\nM\u00fcll.wav\n".encode("latin-1"), r"a\.csv can't be read .* encoding utf-8.* as CSV UTF-8"),
            ("file\na.wav\n".encode("utf-16"), r"a\.csv can't be read .* encoding utf-8.* as CSV UTF-8"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_table(tmp_path / "a.csv", ["file"])

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"a\.csv does not exist.* columns file, mos"):
            read_table(tmp_path / "a.csv", ["file", "mos"])


class TestExistingRows:
    def rows(self, folder: Path) -> list[dict[str, str]]:
        write_audio(folder / "good.wav")
        (folder / "text.wav").write_text("not audio")
        return [{"audio": str(folder / name)} for name in ("good.wav", "gone.wav", "text.wav")]

    def test_raises_with_the_number_and_the_name(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"X: 1 of 3 clips.*gone\.wav \(no such file\)"):
            existing_rows(rows, what="X", on_error="raise")
        with pytest.raises(ValueError, match=r"X: 1 of 2 clips.*text\.wav \(is not audio"):
            existing_rows([rows[0], rows[2]], what="X", on_error="raise", check="decode")

    def test_skips_and_says_so_once(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path)
        with pytest.warns(UserWarning, match=r"2 of 3 clips .* left out: .*gone\.wav.*text\.wav") as caught:
            assert existing_rows(rows, what="X", on_error="skip", check="decode") == rows[:1]
        assert len(caught) == 1

    def test_keeps_what_is_not_to_be_checked(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert existing_rows(rows, what="X", on_error="raise", check=None) == rows

    def test_nothing_left_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="so nothing is left"):
            existing_rows(self.rows(tmp_path)[1:2], what="X", on_error="skip")

    @pytest.mark.parametrize("options", [{"on_error": "ignore"}, {"on_error": "raise", "check": "listen"}])
    def test_unknown_options(self, options) -> None:
        with pytest.raises(ValueError, match="must be 'raise' or 'skip'"):
            existing_rows([], what="X", **options)


def test_repeated_ids_raise_or_are_skipped() -> None:
    rows = [{"audio": "a.wav", "id": "1"}, {"audio": "b.wav", "id": "2"}, {"audio": "c.wav", "id": "1"}]
    assert unique_rows(rows[:2], "id", what="X", on_error="raise") == rows[:2]
    with pytest.raises(ValueError, match=r"X: id must be unique, but 1 rows repeat one: '1' \(a\.wav and c\.wav\)"):
        unique_rows(rows, "id", what="X", on_error="raise")
    with pytest.warns(UserWarning, match="1 rows that repeat a id left out"):
        assert unique_rows(rows, "id", what="X", on_error="skip") == rows[:2]


class TestToDataset:
    def test_audio_stays_undecoded_and_other_types_follow_from_the_values(self) -> None:
        dataset = to_dataset([{"audio": "/a.wav", "mos": 1.5}, {"audio": "/b.wav", "mos": None}])
        assert dataset.features == datasets.Features(
            {"audio": datasets.Audio(decode=False), "mos": datasets.Value("float64")}
        )
        assert dataset[1] == {"audio": {"bytes": None, "path": "/b.wav"}, "mos": None}

    def test_features_choose_columns_and_their_types(self) -> None:
        features = datasets.Features(
            {"reference": datasets.Audio(), "audio": datasets.Audio(), "mos": datasets.Value("float32")}
        )
        dataset = to_dataset([{"audio": "/a.wav", "reference": None, "mos": 1, "note": "x"}], features)
        assert dataset.column_names == ["reference", "audio", "mos"]
        assert dataset.features["reference"] == datasets.Audio(decode=False)
        assert dataset[0]["reference"] is None and dataset[0]["mos"] == 1.0

    def test_no_rows(self) -> None:
        with pytest.raises(ValueError, match="at least one row"):
            to_dataset([])
