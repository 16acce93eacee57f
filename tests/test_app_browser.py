"""The app as a visitor uses it: `jsqa demo` in a headless browser, without network."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from browsers import open_browser
from small import SAMPLING_RATE, small_config

from jsqa_hf import JSQAFeatureExtractor, JSQAForContrastivePretraining
from jsqa_hf.comparison import load_comparer
from jsqa_hf.scoring import load_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="ends the app with SIGTERM"),
]

CALIBRATION = {"distances": [0.0, 0.1, 0.4], "jnds": [0.0, 1.0, 7.0], "error_jnds": 0.5}

# Python imports it at its start: names what the app looks up or connects to beyond this machine, and refuses it.
GUARD = """
import os, socket

def refuse(name):
    real = getattr(socket.socket, name)
    def guarded(self, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            with open(os.environ["NETWORK_LOG"], "a") as log:
                print(address, file=log)
            raise OSError("no network")
        return real(self, address, *rest)
    setattr(socket.socket, name, guarded)

real_lookup = socket.getaddrinfo
def lookup(host, *rest, **keywords):
    if host not in (None, "", "127.0.0.1", "::1", "localhost", b"127.0.0.1", b"localhost"):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            print(host, file=log)
        raise socket.gaierror("no network")
    return real_lookup(host, *rest, **keywords)

refuse("connect")
refuse("connect_ex")
socket.getaddrinfo = lookup
"""

# A microphone that hums, for browsers on machines without one.
MICROPHONE = """
navigator.mediaDevices.getUserMedia = async () => {
  const context = new AudioContext(), hum = context.createOscillator(), out = context.createMediaStreamDestination();
  hum.connect(out);
  hum.start();
  return out.stream;
};
"""


class Server(NamedTuple):
    """`jsqa demo` on its way, and the folders that tell what it does."""

    address: str
    process: subprocess.Popen[str]
    temporary: Path
    network_log: Path
    clips: Path
    model: Path
    comparison_model: Path


@pytest.fixture(scope="module")
def server(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("app")
    for name in ("clips", "temporary", "guard", "contrastive"):
        (folder / name).mkdir()
    write_clips(folder / "clips")
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    torch.manual_seed(1)
    model = JSQAForContrastivePretraining(small_config(jnd_calibration=CALIBRATION))
    model.save_pretrained(folder / "contrastive")
    JSQAFeatureExtractor().save_pretrained(folder / "contrastive")
    command = [sys.executable, "-m", "jsqa_hf", "demo", "--device", "cpu", "--model", str(small_checkpoint)]
    command += ["--comparison-model", str(folder / "contrastive")]
    command += ["--max-file-mb", "1", "--max-duration-s", "20", "--max-files", "4"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "guard"), str(Path(__file__).parents[1])]),
        "NETWORK_LOG": str(folder / "network.log"),
        "TMPDIR": str(folder / "temporary"),
    }
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+/)", line)
        if found is None:
            process.kill()
            pytest.fail(f"jsqa demo said {line!r} and {process.communicate()[1]!r}")
        yield Server(
            found[1],
            process,
            folder / "temporary",
            folder / "network.log",
            folder / "clips",
            small_checkpoint,
            folder / "contrastive",
        )
    finally:
        process.kill()
        process.communicate()


def write_clips(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name, seconds in (("first.wav", 3.0), ("second.flac", 2.0), ("long.flac", 21.0)):
        samples = random.normal(0, 0.05, round(seconds * SAMPLING_RATE))
        soundfile.write(folder / name, samples, SAMPLING_RATE)
    (folder / "text.wav").write_text("no sound")
    (folder / "big.wav").write_bytes(b"0" * (2**20 + 1))
    (folder / "<img src=x onerror=alert(1)>.wav").write_bytes((folder / "first.wav").read_bytes())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The app, freshly opened; whatever the page asks of another host fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    outside: list[str] = []

    def note(request: Any) -> None:
        if not request.url.startswith((server.address, "data:", "blob:")):
            outside.append(request.url)

    opened.on("request", note)
    opened.on("dialog", lambda dialog: outside.append(f"a script ran: {dialog.message}"))
    opened.add_init_script(MICROPHONE)
    opened.set_default_timeout(90_000)
    opened.goto(server.address)
    opened.wait_for_selector("#score-clip")
    yield opened
    opened.close()
    assert outside == []
    assert not server.network_log.exists(), server.network_log.read_text()


def upload(page: Any, element: str, *paths: Path) -> None:
    page.set_input_files(f"#{element} input[type=file]", [str(path) for path in paths])


def test_an_uploaded_clip_gets_its_score_and_its_plots(page: Any, server: Server) -> None:
    upload(page, "score-clip", server.clips / "first.wav")
    page.wait_for_selector("#score-result .jsqa-value")
    expected = load_pipeline(server.model, "cpu")(server.clips / "first.wav")
    text = page.inner_text("#score-result")
    assert f"{expected['mos']:.2f} MOS" in text
    assert f"{expected['mos_low']:.2f} to {expected['mos_high']:.2f}" in text
    for plot in ("curve", "clip"):
        box = page.locator(f"#score-plots svg.{plot}").bounding_box()
        assert box["width"] > 400
        assert box["height"] > 50
    page.click("#score-clip button[aria-label=Clear]")
    page.wait_for_selector("#score-result :text('Upload a clip')")
    assert page.locator("#score-plots svg").count() == 0


def test_a_recording_is_rated(page: Any) -> None:
    page.click("#score-clip button[aria-label='Record audio']")
    page.click("#score-clip .record-button")
    page.wait_for_timeout(1500)
    page.click("#score-clip .stop-button")
    page.wait_for_selector("#score-result .jsqa-value")
    seconds = re.search(r"([\d.]+) s of sound", page.inner_text("#score-result"))
    assert seconds is not None
    assert 0.5 < float(seconds[1]) < 10


def test_two_clips_are_compared(page: Any, server: Server) -> None:
    page.get_by_role("tab", name="Compare").click()
    upload(page, "clip-a", server.clips / "first.wav")
    page.wait_for_selector("#clip-a button[aria-label=Clear]")
    upload(page, "clip-b", server.clips / "second.flac")
    page.wait_for_selector("#compare-result .jsqa-value")
    comparer = load_comparer(server.comparison_model, load_pipeline(server.model, "cpu"))
    expected = comparer.compare(server.clips / "first.wav", server.clips / "second.flac")
    text = page.inner_text("#compare-result")
    assert f"{expected.jnds:.1f} JND" in text
    assert f"{expected.probability_noticed:.0%} of listeners" in text
    # A confidence that is shown as that of a coin toss names neither.
    better = "Neither" if f"{expected.better_confidence:.0%}" == "50%" else expected.better.upper()
    assert f"{better} sounds better" in text


@pytest.mark.parametrize(("name", "reason"), [("text.wav", "is not audio"), ("long.flac", "longer than the 20 s")])
def test_a_bad_file_gets_a_message_and_the_next_one_a_score(page: Any, server: Server, name: str, reason: str) -> None:
    upload(page, "score-clip", server.clips / name)
    page.wait_for_selector("#score-result [role=alert]")
    assert reason in page.inner_text("#score-result")
    assert "Traceback" not in page.content()
    page.click("#score-clip button[aria-label=Clear]")
    page.wait_for_selector("#score-result :text('Upload a clip')")
    upload(page, "score-clip", server.clips / "second.flac")
    page.wait_for_selector("#score-result .jsqa-value")


def test_a_file_above_the_limit_is_not_even_sent(page: Any, server: Server) -> None:
    upload(page, "score-clip", server.clips / "big.wav")
    page.wait_for_selector(".toast-body :text('exceed the maximum allowed size')")


def test_many_files_become_a_table_and_a_download(page: Any, server: Server) -> None:
    page.get_by_role("tab", name="Many files").click()
    names = ("first.wav", "text.wav", "second.flac")
    upload(page, "many-files", *(server.clips / name for name in names))
    page.wait_for_selector("#many-files :text('second')")
    page.get_by_role("button", name="Rate all").click()
    page.wait_for_selector("#many-result :text('second.flac'):visible")
    page.wait_for_selector("#many-download:visible")
    page.wait_for_timeout(1000)
    assert "is not audio" in page.inner_text("#many-result")
    with page.expect_download() as download:
        page.click("#many-download")
    assert download.value.suggested_filename == "scores.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [row["file"] for row in rows] == list(names)
    expected = load_pipeline(server.model, "cpu")(server.clips / "second.flac")
    assert float(rows[2]["mos"]) == pytest.approx(expected["mos"], abs=1e-4)
    shown = page.inner_text("#many-result")
    assert f"{expected['mos']:.2f}" in shown


def test_more_files_than_the_limit_are_refused(page: Any, server: Server) -> None:
    page.get_by_role("tab", name="Many files").click()
    upload(page, "many-files", *[server.clips / "first.wav"] * 5)
    page.wait_for_function("document.querySelectorAll('#many-files tr.file').length === 5")
    page.get_by_role("button", name="Rate all").click()
    page.wait_for_selector(".toast-body :text('this app takes 4')")


def test_a_name_with_html_stays_text(page: Any, server: Server) -> None:
    upload(page, "score-clip", server.clips / "<img src=x onerror=alert(1)>.wav")
    page.wait_for_selector("#score-result .jsqa-value")
    assert page.locator("#score-result img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(browser: Any, server: Server, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    page.goto(server.address)
    upload(page, "score-clip", server.clips / "first.wav")
    page.wait_for_selector("#score-result .jsqa-value")
    for tab in ("Score", "Compare", "Many files"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()


def test_no_file_of_the_machine_is_served(server: Server) -> None:
    for path in ("/etc/passwd", server.clips / "first.wav", Path(__file__)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.address}gradio_api/file={path}")
        assert refused.value.code in (403, 404)


# The last one: it ends the app.
def test_at_the_end_no_upload_is_left(page: Any, server: Server) -> None:
    upload(page, "score-clip", server.clips / "first.wav")
    page.wait_for_selector("#score-result .jsqa-value")
    folder = next(server.temporary.glob("jsqa-demo-*"))
    assert folder.stat().st_mode & 0o077 == 0
    assert any(path.name == "first.wav" for path in folder.rglob("*"))
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.process.communicate(timeout=90)
    assert errors == ""
    assert server.process.returncode == 0
    assert not folder.exists()
