"""WAV files and the page: right, complete, safe."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
from browsers import open_browser
from hypothesis import given, settings
from hypothesis import strategies as st

from jsqa_hf.clip_plot import clip_svg, palette_png, spectrogram_db
from jsqa_hf.jnd import JNDPairGenerator, make_distortion
from jsqa_hf.jnd.preview import choose_ladders, write_preview

EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def pairs(speech: datasets.Dataset, noise: datasets.Dataset) -> datasets.Dataset:
    material = {"noise": noise}
    distortions = [make_distortion(name, material) for name in ("noise", "clipping", "high-pass")]
    generator = JNDPairGenerator(distortions=distortions, levels=3, duration_s=0.5)
    speech = speech.repeat(4).add_column("repetition", np.repeat(np.arange(4), len(speech)))
    return speech.map(generator, batched=True, features=generator.features, remove_columns=speech.column_names)


class Page(HTMLParser):
    """Collects tags and attributes, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "br", "path", "rect", "circle", "image"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("abcd"), max_size=60), st.integers(0, 70))
def test_ladders_are_spread_evenly_over_distortions(names: list[str], count: int) -> None:
    chosen = choose_ladders(names, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(names))
    available, taken = Counter(names), Counter(names[index] for index in chosen)
    # Nobody gets more than one above another who still has some left.
    assert all(taken[a] <= taken[b] + 1 for a in available for b in available if taken[b] < available[b])


def test_the_wav_files_are_the_clips_and_all_are_on_the_page(pairs: datasets.Dataset, tmp_path: Path) -> None:
    page = Page(write_preview(pairs, tmp_path / "preview", 4).read_text(encoding="utf-8"))
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "audio"]
    assert sorted(sources) == sorted(path.name for path in (tmp_path / "preview").glob("*.wav"))
    assert len(sources) == 4 * 6
    chosen = pairs[choose_ladders(pairs["distortion"][:], 4)]
    expected = {soundfile.read(io.BytesIO(clip["bytes"]))[0].tobytes() for clips in chosen["clips"] for clip in clips}
    assert {soundfile.read(tmp_path / "preview" / str(name))[0].tobytes() for name in sources} == expected


def test_clips_go_from_mild_to_bad_in_pairs_within_one_jnd(pairs: datasets.Dataset, tmp_path: Path) -> None:
    page = Page(write_preview(pairs, tmp_path / "preview", 6).read_text(encoding="utf-8"))
    within = [float(value) for value in re.findall(r"a pair, ([\d.]+) JND apart", page.text)]
    between = [float(value) for value in re.findall(r"level \d, ([\d.]+) JND away", page.text)]
    assert len(within) == 6 * 3 and len(between) == 6 * 2
    assert max(within) <= 1 < min(between)
    snrs = [float(value) for value in re.findall(r"\b\d[ab]\s+SNR (-?[\d.]+) dB", page.text)]
    assert len(snrs) == 2 * 6 and all(
        snrs[start : start + 6] == sorted(snrs[start : start + 6])[::-1] for start in (0, 6)
    )
    assert len(re.findall(r"cut-off frequency [\d.]+ Hz", page.text)) == 2 * 6


def test_the_page_needs_nothing_from_elsewhere(pairs: datasets.Dataset, tmp_path: Path) -> None:
    page = Page(write_preview(pairs, tmp_path / "preview", 2).read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe")
        for name in ("src", "href"):
            target = attributes.get(name) or ""
            assert target.startswith(("data:", "#")) or re.fullmatch(r"[\w.]*", target)


def test_every_clip_has_a_name_of_its_own_for_those_who_cannot_see(pairs: datasets.Dataset, tmp_path: Path) -> None:
    page = Page(write_preview(pairs, tmp_path / "preview", 2).read_text(encoding="utf-8"))
    expected = [
        f"ladder {ladder}, clip {level}{letter}" for ladder in (1, 2) for level in (1, 2, 3) for letter in "ab"
    ]
    assert [attributes.get("aria-label") for tag, attributes in page.tags if tag == "audio"] == expected
    assert [attributes["aria-label"] for _, attributes in page.tags if attributes.get("class") == "clip"] == expected


def test_one_clip_plays_at_a_time(pairs: datasets.Dataset, tmp_path: Path) -> None:
    path = write_preview(pairs, tmp_path / "preview", 1)
    with open_browser() as browser:
        opened = browser.new_page()
        opened.goto(path.as_uri())
        paused = opened.evaluate(
            """async () => {
              const [first, second] = document.querySelectorAll("audio");
              for (const audio of [first, second]) {
                audio.loop = true;
                await audio.play();
              }
              return [first.paused, second.paused];
            }"""
        )
    assert paused == [True, False]


def test_names_cannot_hold_markup(pairs: datasets.Dataset, tmp_path: Path) -> None:
    texts = ("content_id", "speech_id", "speaker_id", "noise_id", "noise_type", "chain", "distortion", "severity_unit")
    provenance = json.dumps({"talkers": EVIL})
    changed = {**dict.fromkeys(texts, EVIL), "noise_offset_s": 0.0, "provenance": provenance}
    evil = pairs.select([0]).map(lambda row: changed, features=pairs.features)
    text = write_preview(evil, tmp_path / "preview", 1).read_text(encoding="utf-8")
    assert text.count("<script") == 1  # Our own.
    assert "<script>alert" not in text
    assert EVIL in Page(text).text


def test_clips_as_arrays_will_do(speech: datasets.Dataset, noise: datasets.Dataset, tmp_path: Path) -> None:
    generator = JNDPairGenerator(noise, duration_s=0.5, encoding="array")
    speech = speech.take(1)
    pairs = speech.map(generator, batched=True, features=generator.features, remove_columns=speech.column_names)
    write_preview(pairs, tmp_path / "preview", 1)
    clip = soundfile.read(tmp_path / "preview" / "ladder001_level1a.wav")[0]
    # Rounded to 16 bits.
    assert min(np.abs(clip - np.array(other)).max() for other in pairs[0]["clips"]) <= 1 / 32768


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 48000])
def test_a_sine_at_full_scale_has_0_db_at_its_frequency(sampling_rate: int) -> None:
    levels_db = spectrogram_db(np.sin(2 * np.pi * 1000 * np.arange(sampling_rate) / sampling_rate), sampling_rate)
    frequencies = np.linspace(0, sampling_rate / 2, len(levels_db))
    middle = levels_db[:, levels_db.shape[1] // 2]
    assert frequencies[middle.argmax()] == pytest.approx(1000)
    assert middle.max() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("length", [1, 7, 400, 16000, 160001])
def test_clips_of_any_length_can_be_drawn(length: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, length)
    assert Page(clip_svg(samples, 16000, 0.5, "clip")).tags[0][0] == "svg"
    assert "nan" not in clip_svg(np.zeros(length), 16000, 0.0, "clip")


def test_images_are_png_that_others_can_read() -> None:
    image_module = pytest.importorskip("PIL.Image")
    shades = np.random.default_rng(0).integers(0, 64, (5, 9)).astype(np.uint8)
    image = image_module.open(io.BytesIO(palette_png(shades)))
    assert np.array_equal(np.array(image), shades)
    grey = np.array(image_module.open(io.BytesIO(palette_png(np.arange(64, dtype=np.uint8)[None]))).convert("L"))[0]
    assert (np.diff(grey.astype(int)) >= 0).all() and grey[-1] - int(grey[0]) > 200
    svg = clip_svg(np.ones(100), 16000, 1.0, "clip")
    (encoded,) = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    image_module.open(io.BytesIO(base64.b64decode(encoded))).verify()
