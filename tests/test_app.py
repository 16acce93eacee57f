"""The app without a browser: what it answers, what it refuses, what it escapes, how it is started."""

from __future__ import annotations

import builtins
import csv
import io
import json
import re
import runpy
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SAMPLING_RATE

from jsqa_hf import JSQAForMOSRegression, SpeechQualityPipeline
from jsqa_hf.app import launch_app, make_app
from jsqa_hf.app.actions import Actions, scores_csv
from jsqa_hf.app.fragments import comparison_html, hint_html, plots_html, problem_html, score_html, word_for
from jsqa_hf.app.limits import AppLimits, Clip, read_clip
from jsqa_hf.audio import AudioStream, open_audio
from jsqa_hf.cli import main
from jsqa_hf.comparison import Comparison
from jsqa_hf.scoring import FileScore, load_pipeline

SPACE = Path(__file__).parents[1] / "spaces"
PROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
SCALE = (1.0, 5.0)
LIMITS = AppLimits(file_mb=1.0, duration_s=5.0, files=3)


@pytest.fixture(scope="module")
def pipeline(small_model: JSQAForMOSRegression) -> SpeechQualityPipeline:
    return load_pipeline(small_model, "cpu")


class StandIn:
    """A comparer that remembers what it was asked."""

    answer = Comparison(2.34, 0.61, 2.0, 3.0, "b", 0.83, False, 0.5)

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def compare(self, a: Any, b: Any) -> Comparison:
        self.asked = [a, b]
        return self.answer


@pytest.fixture
def actions(pipeline: SpeechQualityPipeline) -> Actions:
    comparer: Any = StandIn()
    return Actions(pipeline, comparer, LIMITS)


def write_noise(path: Path, seconds: float = 0.5, seed: int = 0) -> str:
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.05, round(seconds * SAMPLING_RATE)), SAMPLING_RATE)
    return str(path)


def post(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(html: str) -> _Tags:
    parser = _Tags()
    parser.feed(html)
    parser.close()
    return parser


def test_a_clip_gets_the_score_of_the_pipeline(
    actions: Actions, pipeline: SpeechQualityPipeline, tmp_path: Path
) -> None:
    path = write_noise(tmp_path / "call.wav")
    score, plots = actions.score(path)
    expected = pipeline(path)
    text = parse(score).text
    assert "call.wav" in text
    assert f"{expected['mos']:.2f} MOS" in text
    assert f"95 % interval {expected['mos_low']:.2f} to {expected['mos_high']:.2f}" in text
    assert "0.5 s of sound" in text
    assert 'aria-label="Waveform and spectrogram of call.wav"' in plots
    assert 'aria-label="Quality over time' in plots


def test_the_spectrogram_ends_where_the_model_stops_hearing(actions: Actions, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.05, 48_000)
    soundfile.write(tmp_path / "wide.wav", samples, 48_000)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", actions.score(str(tmp_path / "wide.wav"))[1])
    assert "8" in texts
    assert not {"10", "20"} & set(texts)


def test_without_a_clip_there_is_a_hint(actions: Actions) -> None:
    assert "Upload a clip" in actions.score(None)[0]
    assert "two clips" in actions.compare(None, None)
    assert "two clips" in actions.compare("a.wav", None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"this is a text", "is not audio"),
        (None, "longer than the 5 s"),
        (b"0" * (2**20 + 1), "larger than the 1 MB"),
    ],
)
def test_a_bad_file_is_told_why_in_every_tab(
    actions: Actions, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "bad.wav"
    good = write_noise(tmp_path / "good.wav")
    if content is None:
        write_noise(path, seconds=5.5)
    else:
        path.write_bytes(content)
    for html in (actions.score(str(path))[0], actions.compare(str(path), good), actions.compare(good, str(path))):
        assert 'role="alert"' in html
        assert reason in html
        assert "bad.wav" in html
        assert str(tmp_path) not in html
    rows = list(actions.score_many([good, str(path)]))
    assert [row.file for row in rows] == ["good.wav", "bad.wav"]
    assert rows[0].error is None
    assert reason in (rows[1].error or "")


def test_an_upload_that_was_deleted_is_told_as_such_in_every_tab(actions: Actions, tmp_path: Path) -> None:
    good, gone = write_noise(tmp_path / "good.wav"), str(tmp_path / "gone.wav")
    rows = list(actions.score_many([gone, good]))
    assert rows[0].file == "gone.wav" and rows[1].error is None
    for told in (
        actions.score(gone)[0],
        actions.compare(gone, good),
        actions.compare(good, gone),
        rows[0].error or "",
    ):
        assert "is no longer there: uploads are deleted after an hour; upload it again" in told
        assert str(tmp_path) not in told


def test_silence_is_told_by_the_pipeline(actions: Actions, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    html, plots = actions.score(str(tmp_path / "quiet.wav"))
    assert "digital silence" in html
    assert plots == ""


def test_two_clips_are_compared(actions: Actions, tmp_path: Path) -> None:
    a, b = write_noise(tmp_path / "a.wav", 0.5), write_noise(tmp_path / "b.wav", 0.75, seed=1)
    text = parse(actions.compare(a, b)).text
    comparer: Any = actions.comparer
    for asked, path in zip(comparer.asked, (a, b), strict=True):
        np.testing.assert_allclose(asked["array"], soundfile.read(path)[0], atol=1e-6)
        assert asked["sampling_rate"] == SAMPLING_RATE
    assert "2.3 JND" in text
    assert "give or take 0.5" in text
    assert "61% of listeners" in text
    assert "B sounds better, with a confidence of 83%" in text


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({"jnds": 0.4}, "Less than one", "at least"),
        ({"better": "a"}, "A sounds better", "B sounds better"),
        ({"beyond_scale": True}, "at least", "Less than one"),
        ({"beyond_scale": True}, "At least 61% of listeners", "give or take"),
        ({"jnds_error": None}, "apart", "give or take"),
        ({"better_confidence": 0.504}, "Neither sounds better", "sounds better, with"),
    ],
)
def test_a_comparison_says_no_more_than_is_known(changes: dict[str, Any], said: str, unsaid: str) -> None:
    html = comparison_html(replace(StandIn.answer, **changes), ("a.wav", "b.wav"), SCALE)
    assert said in html
    assert unsaid not in html


def test_without_a_model_for_comparisons_the_tab_says_so(pipeline: SpeechQualityPipeline) -> None:
    html = Actions(pipeline, "no model <here>", LIMITS).compare("a.wav", "b.wav")
    assert "no model &lt;here&gt;" in html


def test_examples_outlive_the_uploads(
    pipeline: SpeechQualityPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setattr("jsqa_hf.app.page._DELETE_EVERY_S", 0.1)
    monkeypatch.setattr("jsqa_hf.app.page._DELETE_AFTER_S", 0.1)
    example = Path(write_noise(tmp_path / "example.wav"))
    app = make_app(pipeline, examples=[example])
    address = launch_app(app, block=False)
    try:
        time.sleep(1)
        # As the page does when the first example is clicked on.
        load = next(number for number, one in app.fns.items() if one.name == "load_example")
        clip = post(f"{address}gradio_api/run/predict", {"data": [0], "fn_index": load})["data"][0]["value"]
        with urllib.request.urlopen(clip["url"]) as answer:
            assert answer.read() == example.read_bytes()
    finally:
        app.close(verbose=False)
    assert example.exists()


def test_too_many_files_are_refused_before_any_is_read(actions: Actions) -> None:
    with pytest.raises(ValueError, match="these are 4 files, but this app takes 3"):
        actions.score_many(["missing.wav"] * 4)


def test_the_download_is_what_the_command_line_writes(actions: Actions, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("text")
    paths = [write_noise(tmp_path / "a,b.wav"), str(tmp_path / "bad.wav")]
    rows = list(csv.DictReader(io.StringIO(scores_csv(list(actions.score_many(paths)), ["mos"]))))
    assert [row["file"] for row in rows] == ["a,b.wav", "bad.wav"]
    assert list(rows[0]) == ["file", "mos", "mos_low", "mos_high", "duration_s", "error"]
    assert 1 <= float(rows[0]["mos"]) <= 5
    assert rows[1]["error"] != ""


@settings(deadline=None, max_examples=30)
@given(st.text(min_size=1, max_size=60) | st.sampled_from(["<script>alert(1)</script>", "\"' onload=alert(1) x='"]))
def test_no_name_or_reason_makes_a_tag_or_an_attribute(name: str) -> None:
    clip = Clip(np.full(800, 0.1, np.float32), SAMPLING_RATE)
    score = FileScore("x", {"mos": 3.0, "mos_low": 2.0, "mos_high": 4.0}, 0.05)

    def everything(text: str) -> str:
        return "".join(
            [
                hint_html(text),
                problem_html(text, text),
                score_html(text, score, SCALE),
                plots_html(text, score, clip, None, SCALE),
                comparison_html(StandIn.answer, (text, text), SCALE),
            ]
        )

    plain, odd = parse(everything("a.wav")), parse(everything(name))
    assert odd.tags == plain.tags
    assert odd.attributes == plain.attributes


def test_further_outputs_are_shown_and_quality_over_time_is_drawn() -> None:
    scores = {"mos": 3.2, "mos_low": 2.5, "mos_high": 3.9, "noise": 2.0, "noise_low": 1.5, "noise_high": 2.5}
    score = FileScore("a.wav", scores, 2.0)
    assert "noise: 2.00 (1.50 to 2.50)" in parse(score_html("a.wav", score, SCALE)).text
    clip = Clip(np.full(2 * SAMPLING_RATE, 0.1, np.float32), SAMPLING_RATE)
    step = {"start_s": 0.0, "end_s": 1.0, "mos": 3.2, "mos_low": 2.5, "mos_high": 3.9, "speech_s": 1.0}
    pause = {"start_s": 1.0, "end_s": 2.0, "mos": None, "mos_low": None, "mos_high": None, "speech_s": 0.0}
    assert 'class="curve"' in plots_html("a.wav", score, clip, [step, pause], SCALE)
    assert 'class="curve"' not in plots_html("a.wav", score, clip, None, SCALE)


@pytest.mark.parametrize(
    ("mos", "word"),
    [(1.0, "bad"), (1.49, "bad"), (1.5, "poor"), (2.6, "fair"), (3.5, "good"), (4.49, "good"), (5.0, "excellent")],
)
def test_words_are_those_of_the_nearest_category(mos: float, word: str) -> None:
    assert word_for(mos, SCALE) == word
    assert word_for(mos, (0.0, 100.0)) == ""


def test_the_limit_of_a_file_s_size_is_finite() -> None:
    with pytest.raises(ValueError, match="`file_mb` must be a finite number of MB, but is inf"):
        AppLimits(file_mb=float("inf"))


@pytest.mark.parametrize("name", ["file_mb", "duration_s", "files", "waiting"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_above_0(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be above 0"):
        AppLimits(**{name: value})  # type: ignore[arg-type]


def test_a_clip_is_mixed_to_mono(tmp_path: Path) -> None:
    stereo = np.stack([np.full(1000, 0.5), np.full(1000, -0.25)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 8000)
    clip = read_clip(str(tmp_path / "stereo.wav"), LIMITS)
    assert clip.sampling_rate == 8000
    assert clip.duration_s == 0.125
    np.testing.assert_allclose(clip.samples, 0.125, atol=1e-4)


def test_an_archive_of_silence_is_not_unpacked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 minutes of silence are 100 kB of FLAC."""
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros(20 * 60 * SAMPLING_RATE, np.float32), SAMPLING_RATE)
    streams: list[AudioStream] = []

    @contextmanager
    def watched(source: Any) -> Iterator[AudioStream]:
        with open_audio(source) as stream:
            streams.append(stream)
            yield stream

    monkeypatch.setattr("jsqa_hf.app.limits.open_audio", watched)
    assert path.stat().st_size < LIMITS.file_bytes
    with pytest.raises(ValueError, match="longer than the 5 s"):
        read_clip(str(path), LIMITS)
    assert streams[0].frames_read < 60 * SAMPLING_RATE


def test_a_header_can_not_ask_for_more_samples_than_a_recorder_makes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "fast.wav", np.zeros(1000), 1_000_000)
    with pytest.raises(ValueError, match="1000000 Hz"):
        read_clip(str(tmp_path / "fast.wav"), LIMITS)


def test_without_gradio_one_line_says_what_to_type(
    small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def fail(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "gradio":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", fail)
    monkeypatch.delitem(sys.modules, "gradio", raising=False)
    assert main(["demo", "--model", str(small_checkpoint), "--device", "cpu"]) == 2
    assert capsys.readouterr().err == 'jsqa: the app needs Gradio: pip install "jsqa_hf[demo]"\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-files", "0"], "`files` must be above 0"),
        (["--comparison-model", "./missing"], "no such folder"),
        (["--model", "./missing"], "no such folder"),
        (["--max-file-mb", "inf"], "`file_mb` must be a finite number"),
        (["--port", "0"], "--port must be from 1 to 65535, but is 0"),
        (["--port", "99999"], "--port must be from 1 to 65535, but is 99999"),
        (["--host", "256.1.1.1"], "--host 256.1.1.1: "),
    ],
)
def test_wrong_options_end_with_one_line(
    small_checkpoint: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given_model = [] if "--model" in arguments else ["--model", str(small_checkpoint)]
    assert main(["demo", "--device", "cpu", *given_model, *arguments]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"jsqa: .*\n", error)
    assert message in error


def test_a_port_in_use_ends_with_one_line(small_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["demo", "--device", "cpu", "--model", str(small_checkpoint), "--port", str(port)]) == 2
    assert capsys.readouterr().err == f"jsqa: port {port} is in use; take another with --port\n"


def test_addresses_of_ipv6_are_given_to_gradio_in_brackets() -> None:
    pytest.importorskip("gradio")
    asked: list[str | None] = []

    class App:
        def launch(self, *, server_name: str | None, **others: Any) -> tuple[None, str, None]:
            asked.append(server_name)
            return None, "", None

    for host in ("127.0.0.1", "::1", None):
        launch_app(App(), host=host, block=False)
    assert asked == ["127.0.0.1", "[::1]", None]


def test_the_files_of_a_space_fit_the_package_and_build_its_page(
    pipeline: SpeechQualityPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradio = pytest.importorskip("gradio")
    card = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---")[1])
    demo = next(line for line in PROJECT.splitlines() if line.startswith("demo = "))
    lowest, below = re.findall(r"\d[\d.]*", demo)
    assert card["sdk"] == "gradio"
    assert numbers(lowest) <= numbers(card["sdk_version"]) < numbers(below)
    assert numbers(card["python_version"]) >= numbers(re.search(r'requires-python = ">=([\d.]+)"', PROJECT)[1])
    comparer: Any = StandIn()
    monkeypatch.setattr("jsqa_hf.scoring.load_pipeline", lambda: pipeline)
    monkeypatch.setattr("jsqa_hf.comparison.load_comparer", lambda mos_model: comparer)
    made = runpy.run_path(str(SPACE / card["app_file"]))
    assert isinstance(made["app"], gradio.Blocks)
    rating = [one for one in made["app"].fns.values() if one.fn is not None]
    assert {(one.concurrency_id, one.concurrency_limit) for one in rating} == {("rating", 1)}
