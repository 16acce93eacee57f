"""What holds for the ratings of every corpus: scale, votes, missing and repeated clips, labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mos_trees import write_clip, write_text

from jsqa_hf.data import load_mos, parse_mos_source, with_labels
from jsqa_hf.data.ratings import ratings_dataset, rows_per_clip


def table(folder: Path, *rows: str, header: str = "file,mos") -> Path:
    for name in ("a.wav", "b.wav"):
        write_clip(folder / name)
    return write_text(folder / "ratings.csv", header, *rows)


@pytest.mark.parametrize(
    ("cell", "message"),
    [("good", "'good', which is not a number"), ("80", "80, outside the scale 1 to 5"), ("inf", "inf, outside")],
)
def test_ratings_that_cannot_be_used(tmp_path: Path, cell: str, message: str) -> None:
    path = table(tmp_path, f"a.wav,{cell}", "b.wav,2")
    with pytest.raises(ValueError, match=f"1 of 2 rows.*mos of a.wav is {message}"):
        load_mos("csv", path, score_range=(1, 5))
    with pytest.warns(UserWarning, match="1 of 2 rows.*left out: mos of a.wav"):
        assert load_mos("csv", path, score_range=(1, 5), on_error="skip")["file"][:] == ["b.wav"]


def test_an_infinite_rating_is_none_on_any_scale(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mos of a.wav is inf, which is not finite"):
        load_mos("csv", table(tmp_path, "a.wav,inf", "b.wav,2"))


def test_the_scale_of_a_table_is_its_own_and_that_of_a_corpus_is_known(tmp_path: Path) -> None:
    assert load_mos("csv", table(tmp_path, "a.wav,80"))["mos"][:] == [80.0]
    write_text(tmp_path / "pstn_train.csv", "filename,MOS,std,95%CI,votes", "a.wav,0.5,0,0,5")
    with pytest.raises(ValueError, match="mos of a.wav is 0.5, outside the scale 1 to 5"):
        load_mos("pstn", tmp_path)
    assert load_mos("pstn", tmp_path, score_range=(0, 5))["mos"][:] == [0.5]


def test_a_rating_without_a_vote_is_refused_and_none_without_a_vote_is_not(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,3,4", "b.wav,,0", header="file,mos,n_votes")
    assert load_mos("csv", path)["n_votes"][:] == [4, 0]
    path = table(tmp_path, "a.wav,3,0", "b.wav,2,4", header="file,mos,n_votes")
    with pytest.raises(ValueError, match="n_votes of a.wav is 0, and a rating needs at least one vote; correct them$"):
        load_mos("csv", path)


def test_a_negative_deviation_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,3,-1", "b.wav,2,0", header="file,mos,mos_std")
    with pytest.raises(ValueError, match="mos_std of a.wav is -1, below 0; leave it empty where it isn't known"):
        load_mos("csv", path)
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        assert load_mos("csv", path, on_error="skip")["mos_std"][:] == [0.0]


def test_votes_outside_the_scale_are_found(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,3,6", header="file,one,two")
    with pytest.raises(ValueError, match="a vote of a.wav is 6"):
        load_mos("csv", path, columns={"votes": ["one", "two"]}, score_range=(1, 5))


def test_missing_clips_are_named_or_skipped_and_counted(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,3", "missing.wav,3")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 clips.*missing\.wav"):
        load_mos("csv", path)
    with pytest.warns(UserWarning, match=r"1 of 2 clips.*missing\.wav"):
        assert len(load_mos("csv", path, on_error="skip")) == 1
    assert len(load_mos("csv", path, check=None)) == 2


def test_unreadable_clips_are_found_when_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,3", "b.wav,2")
    (tmp_path / "a.wav").write_text("not audio")
    assert len(load_mos("csv", path)) == 2
    with pytest.raises(ValueError, match=r"a\.wav"):
        load_mos("csv", path, check="decode")
    with pytest.warns(UserWarning, match=r"1 of 2 clips.*a\.wav"):
        assert load_mos("csv", path, check="decode", on_error="skip")["file"][:] == ["b.wav"]


def test_clips_listed_twice_are_named_even_if_written_differently(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,3", "./a.wav,2")
    with pytest.raises(ValueError, match=r"repeat.*a\.wav"):
        load_mos("csv", path)
    with pytest.warns(UserWarning, match=r"a\.wav"):
        assert load_mos("csv", path, on_error="skip")["mos"][:] == [3.0]


def test_unknown_corpora_and_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no listening test 'nisca'; known are nisqa, tcd-voip"):
        load_mos("nisca", tmp_path)
    with pytest.raises(TypeError, match="columns"):
        load_mos("pstn", tmp_path, columns={})


def test_sources_on_a_command_line(tmp_path: Path) -> None:
    path = str(table(tmp_path, "a.wav,3"))
    assert parse_mos_source("nisqa:/data/NISQA_Corpus") == ("nisqa", "/data/NISQA_Corpus")
    assert parse_mos_source(path) == ("csv", path)
    assert parse_mos_source(str(tmp_path)) == ("folder", str(tmp_path))
    for wrong in ("nisca:/data", "librispeech:/data", "nisqa:", ""):
        with pytest.raises(ValueError, match=f"'{wrong}' is no path.* one of nisqa, tcd-voip"):
            parse_mos_source(wrong)


VOTES = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=30)


@given(VOTES)
@settings(deadline=None, max_examples=25)
def test_statistics_of_votes_agree_with_numpy(votes: list[tuple[int, int]]) -> None:
    single = [{"audio": f"{clip}.wav", "file": f"{clip}.wav", "vote": str(score)} for clip, score in votes]
    rated = ratings_dataset(rows_per_clip(single, "test"), what="test", score_range=(1, 5), check=None)
    assert rated["file"][:] == list(dict.fromkeys(f"{clip}.wav" for clip, _ in votes))
    for row in rated:
        scores = [score for clip, score in votes if f"{clip}.wav" == row["file"]]
        assert row["votes"] == scores
        assert row["n_votes"] == len(scores)
        assert row["mos"] == pytest.approx(np.mean(scores))
        if len(scores) > 1:
            assert row["mos_std"] == pytest.approx(np.std(scores, ddof=1))


def test_labels_are_nan_where_nothing_was_rated(tmp_path: Path) -> None:
    rated = load_mos("csv", table(tmp_path, "a.wav,3.5,,7", "b.wav,2,4,8", header="file,mos,noisiness,ovrl"))
    labels = with_labels(rated, ["mos", "noisiness", "signal", "ovrl"])["labels"][:]
    np.testing.assert_array_equal(labels, [[3.5, math.nan, math.nan, 7], [2, 4, math.nan, 8]])


def test_labels_take_the_place_of_a_column_of_that_name(tmp_path: Path) -> None:
    rated = load_mos("csv", table(tmp_path, "a.wav,3,4", "b.wav,2,5", header="file,mos,labels"))
    assert with_labels(rated, ["mos"])["labels"][:] == [[3.0], [2.0]]
    assert with_labels(rated, ["labels"])["labels"][:] == [[4.0], [5.0]]
    assert rated["labels"][:] == [4.0, 5.0]


def test_labels_outside_the_scale_are_left_out_if_asked_for(tmp_path: Path) -> None:
    rated = load_mos("csv", table(tmp_path, "a.wav,3,4", "b.wav,2,73", header="file,mos,naturalness"))
    with pytest.raises(
        ValueError, match="1 of 2 rows .* naturalness of b.wav is 73, outside the scale 1 to 5; .*scale"
    ):
        with_labels(rated, ["mos", "naturalness"], (1, 5))
    with pytest.warns(UserWarning, match="1 of 2 rows .* are left out: naturalness of b.wav"):
        kept = with_labels(rated, ["mos", "naturalness"], (1, 5), on_error="skip")
    assert kept["labels"][:] == [[3, 4]]


@pytest.mark.parametrize("outputs", [["mso"], ["signal"], ["mos", "codec"]])
def test_labels_that_cannot_be_made(tmp_path: Path, outputs: list[str]) -> None:
    rated = load_mos("csv", table(tmp_path, "a.wav,3,opus", header="file,mos,codec"))
    with pytest.raises(ValueError, match="the columns with numbers are mos$"):
        with_labels(rated, outputs)
