"""Tests of the audio that ships with the repository: complete, truly described, licensed, split without overlap."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

DATA = Path(__file__).resolve().parents[1] / "examples" / "data"
TABLES = {"speech": "speech.csv", "noise": "noise.csv", "p835": "ratings.csv"}

# Licences under which an example may ship: the text that must lie beside it and the address that identifies it.
# A recording in the public domain has neither.
LICENCES: dict[str, tuple[str, str] | None] = {
    "CC BY 4.0": ("LICENSE-CC-BY-4.0.txt", "https://creativecommons.org/licenses/by/4.0/"),
    "CC BY 3.0": ("LICENSE-CC-BY-3.0.txt", "https://creativecommons.org/licenses/by/3.0/"),
    "CC0 1.0": ("LICENSE-CC0-1.0.txt", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "MIT": ("LICENSE-MIT.txt", "https://opensource.org/license/mit"),
    "public domain": None,
}
# How each text begins (its title) and ends, and its length in words: a shortened or altered copy fails.
LICENCE_TEXTS = {
    "LICENSE-CC-BY-4.0.txt": ("Attribution 4.0 International", "Creative Commons may be contacted at", 2573),
    "LICENSE-CC-BY-3.0.txt": ("Attribution 3.0 Unported", "Creative Commons may be contacted at", 2971),
    "LICENSE-CC0-1.0.txt": ("CC0 1.0 Universal", "this CC0 or use of the Work.", 1066),
    "LICENSE-MIT.txt": ("MIT License", "USE OR OTHER DEALINGS IN THE SOFTWARE.", 168),
}


def read_table(folder: str) -> list[dict[str, str]]:
    """Rows of the table of one folder."""
    with (DATA / folder / TABLES[folder]).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def licences_of(folder: str) -> set[str]:
    """Licences that one folder names; the rated clips share one licence and their ratings another."""
    if folder == "p835":
        return {"CC BY 4.0", "MIT"}
    return {row["licence"] for row in read_table(folder)}


def values_by_split(rows: list[dict[str, str]], column: str) -> tuple[set[str], set[str]]:
    """Values of a column in the `train` rows and in the `test` rows."""
    assert {row["split"] for row in rows} == {"train", "test"}
    train, test = ({row[column] for row in rows if row["split"] == split} for split in ("train", "test"))
    return train, test


def test_all_example_data_together_stay_below_20_megabytes() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= 20_000_000


@pytest.mark.parametrize("folder", TABLES)
def test_every_listed_file_decodes_to_mono_16_bit_flac_at_the_stated_rate(folder: str) -> None:
    for row in read_table(folder):
        path = DATA / folder / row["file"]
        info = sf.info(path)
        assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_16", 1), path
        assert info.samplerate == int(row["sampling_rate"]), path
        samples, _ = sf.read(path, dtype="int16")
        assert len(samples) == info.frames, path
        assert np.abs(samples.astype(np.int32)).max() > 100, f"{path} is silent"


@pytest.mark.parametrize("folder", ["speech", "noise"])
def test_stated_durations_are_those_of_the_files(folder: str) -> None:
    for row in read_table(folder):
        info = sf.info(DATA / folder / row["file"])
        assert float(row["duration_s"]) == pytest.approx(info.frames / info.samplerate, abs=1e-4), row["file"]


@pytest.mark.parametrize("folder", TABLES)
def test_every_file_is_listed_once_or_documents_the_folder(folder: str) -> None:
    names = [row["file"] for row in read_table(folder)]
    assert len(names) == len(set(names))
    present = {p.relative_to(DATA / folder).as_posix() for p in (DATA / folder).rglob("*") if p.is_file()}
    texts = {entry[0] for licence in licences_of(folder) if (entry := LICENCES[licence])}
    if folder == "noise":  # the collection ESC-10 as a whole; its clips used here are CC0
        texts.add("LICENSE-CC-BY-3.0.txt")
    assert present == {*names, TABLES[folder], "ATTRIBUTION.md", *texts}


def test_speech_has_40_speakers_of_whom_8_are_only_in_test() -> None:
    rows = read_table("speech")
    train, test = values_by_split(rows, "speaker_id")
    assert (len(rows), len(train), len(test)) == (40, 32, 8)
    assert not train & test
    for row in rows:
        assert row["speech_id"] == Path(row["file"]).stem
        assert row["speaker_id"] == row["speech_id"].split("-")[0]
        assert 5.0 <= float(row["duration_s"]) <= 13.0


def test_no_noise_type_is_in_both_splits_and_about_a_quarter_is_held_out() -> None:
    rows = read_table("noise")
    train, test = values_by_split(rows, "type")
    assert not train & test
    assert 0.2 <= len(test) / len(train | test) <= 0.3
    assert len({row["noise_id"] for row in rows}) == len(rows)
    assert max(float(row["duration_s"]) for row in rows) <= 8.0


def test_78_rated_clips_lie_on_the_scale_and_share_no_talker_between_splits() -> None:
    rows = read_table("p835")
    assert len(rows) == 78
    assert values_by_split(rows, "talker") == ({"f1", "f2", "m1", "m2"}, {"f3", "m3"})
    for row in rows:
        assert row["band"] == "wb"
        assert row["file"] == f"wb/{row['condition']}_{row['talker']}.flac"
        assert all(1.0 <= float(row[name]) <= 5.0 for name in ("mos", "signal", "background"))
        assert float(row["mos_std"]) >= 0.0


def test_short_names_of_the_ratings_repeat_the_columns_of_the_source() -> None:
    pairs = {"mos": "ovrl_mos", "signal": "sig_mos", "background": "bak_mos", "mos_std": "ovrl_std"}
    for row in read_table("p835"):
        assert {row[short] for short in pairs} == {row[source] for source in pairs.values()}
        assert all(row[short] == row[source] for short, source in pairs.items())


def test_ratings_fall_when_the_white_noise_rises() -> None:
    rows = [row for row in read_table("p835") if row["mnru_q_db"] and float(row["mnru_q_db"]) == 40.0]
    snrs = sorted({float(row["snr_db"]) for row in rows})
    assert snrs == [0.0, 10.0, 20.0, 30.0, 40.0]
    background = [np.mean([float(row["background"]) for row in rows if float(row["snr_db"]) == snr]) for snr in snrs]
    assert np.all(np.diff(background) > 0)


@pytest.mark.parametrize("folder", TABLES)
def test_attribution_names_every_licence_and_its_full_text_lies_beside(folder: str) -> None:
    attribution = (DATA / folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for licence in licences_of(folder):
        assert licence in LICENCES, f"{folder} names {licence!r}, which is not on the list of licences that may ship"
        entry = LICENCES[licence]
        if entry is None:
            continue
        name, address = entry
        assert name in attribution
        assert address in attribution
        start, end, words = LICENCE_TEXTS[name]
        text = (DATA / folder / name).read_text(encoding="utf-8")
        assert start in "\n".join(text.splitlines()[:4]), name
        assert end in text[-200:], name
        assert len(text.split()) == words, name


def test_noise_attribution_gives_author_licence_and_changes_of_every_file() -> None:
    lines = (DATA / "noise" / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()
    described = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    rows = {row["file"]: row for row in read_table("noise")}
    assert described.keys() == rows.keys()
    for file, row in rows.items():
        cells = [cell.strip() for cell in described[file].strip("|").split("|")]
        assert len(cells) == 6 and all(cells), file
        assert cells[4:] == [row["licence"], row["changes"]], file


@pytest.mark.parametrize(
    ("fast", "said", "unsaid"), [(True, "the numbers mean nothing", "learn"), (False, "learn", "nothing")]
)
def test_the_demo_says_what_its_steps_can_show(
    fast: bool, said: str, unsaid: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    demo = runpy.run_path(str(DATA.parent / "demo.py"))
    metrics = {f"eval_{name}": 0.5 for name in demo["METRICS"]}
    demo["print_comparison"](metrics, metrics, fast)
    text = capsys.readouterr().out
    assert said in text and unsaid not in text
    assert ("%" in text) == (not fast)
