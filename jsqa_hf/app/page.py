"""The page itself, made with Gradio."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..pipeline_jsqa import SpeechQualityPipeline
from ..scoring import AUDIO_EXTENSIONS, FileScore
from .actions import SCORE_HINT, Actions, scores_csv
from .fragments import CSS, hint_html
from .limits import AppLimits

if TYPE_CHECKING:
    from ..comparison import Comparer

__all__ = ["MissingGradio", "launch_app", "make_app"]

# Our choice: uploads are looked for every ten minutes and deleted after an hour, and all of them at the end.
_DELETE_EVERY_S, _DELETE_AFTER_S = 600, 3600

# What rates waits for all else that does, of whatever tab; not for the API.
_RATING: dict[str, Any] = {"concurrency_id": "rating", "concurrency_limit": 1, "api_visibility": "private"}

# The columns of the table, with their widths in pixels.
_COLUMNS = {"file": 240, "MOS": 80, "low": 80, "high": 80, "seconds": 100, "problem": 600}


class MissingGradio(ImportError):
    """Gradio isn't installed; the message says what to type."""


def _import_gradio() -> Any:
    # Before the import, which reads them: nothing is reported to anybody.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise MissingGradio('the app needs Gradio: pip install "jsqa_hf[demo]"') from error
    return gradio


def make_app(
    pipeline: SpeechQualityPipeline,
    comparer: Comparer | str = "no model was given",
    limits: AppLimits | None = None,
    examples: Sequence[str | os.PathLike[str]] = (),
) -> Any:
    """Build the page.

    Args:
        pipeline: Rates the clips, see `jsqa_hf.scoring.load_pipeline`.
        comparer: Compares them, see `jsqa_hf.comparison.load_comparer`; a text tells visitors why there is none.
        limits: What is refused.
        examples: Clips to click on, which stay where they are; everybody who opens the page can load them.

    Returns:
        `gradio.Blocks`, for `launch_app`.

    Raises:
        MissingGradio: Gradio isn't installed.
    """
    gr = _import_gradio()
    limits = limits or AppLimits()
    actions = Actions(pipeline, comparer, limits)
    with gr.Blocks(
        title="Speech quality", analytics_enabled=False, delete_cache=(_DELETE_EVERY_S, _DELETE_AFTER_S)
    ) as app:
        gr.Markdown(
            "# Speech quality\nHow good does this speech sound? Scores are predicted mean opinion scores (MOS), "
            "without a clean reference."
        )
        with gr.Tab("Score"):
            _add_score_tab(gr, actions, [os.path.abspath(path) for path in examples])
        with gr.Tab("Compare"):
            _add_compare_tab(gr, actions)
        with gr.Tab("Many files"):
            _add_many_tab(gr, actions)
        gr.Markdown(
            f"Files of up to {limits.file_mb:g} MB and {limits.duration_s:g} s. They are deleted after an hour, or "
            "when the app ends. Files that browsers don't know as audio (video, .caf, .rf64, .sph, .w64) go to Many "
            "files."
        )
    return app.queue(max_size=limits.waiting)


def _audio(gr: Any, label: str, name: str) -> Any:
    return gr.Audio(label=label, type="filepath", elem_id=name, buttons=[])


def _add_score_tab(gr: Any, actions: Actions, examples: list[str]) -> None:
    with gr.Row():
        with gr.Column(min_width=340):
            audio = _audio(gr, "Clip", "score-clip")
            if examples:
                # Gradio otherwise copies them to where the uploads are, and deletes them with these.
                gr.set_static_paths(examples)
                gr.Examples(examples, audio, label="Clips to try", cache_examples=False, api_visibility="private")
            score = gr.HTML(hint_html(SCORE_HINT), elem_id="score-result")
        with gr.Column(min_width=340):
            plots = gr.HTML(elem_id="score-plots")
    audio.change(actions.score, audio, [score, plots], trigger_mode="always_last", **_RATING)


def _add_compare_tab(gr: Any, actions: Actions) -> None:
    gr.Markdown(
        "Best for the same words by the same voice: between others, the distance also holds what is said and who says "
        "it. About a quarter of listeners notice one just-noticeable difference (JND)."
    )
    with gr.Row():
        clips = [_audio(gr, "Clip A", "clip-a"), _audio(gr, "Clip B", "clip-b")]
    result = gr.HTML(actions.compare(None, None), elem_id="compare-result")
    for clip in clips:
        clip.change(actions.compare, clips, result, trigger_mode="always_last", **_RATING)


def _add_many_tab(gr: Any, actions: Actions) -> None:
    files = gr.File(
        label=f"Up to {actions.limits.files} files",
        file_count="multiple",
        file_types=sorted(AUDIO_EXTENSIONS),
        height=240,
        elem_id="many-files",
    )
    with gr.Row():
        start, stop = gr.Button("Rate all", variant="primary"), gr.Button("Stop")
    table = gr.Dataframe(
        headers=list(_COLUMNS),
        column_widths=list(_COLUMNS.values()),
        interactive=False,
        wrap=True,
        elem_id="many-result",
    )
    download = gr.DownloadButton("Download as CSV", visible=False, elem_id="many-download")

    def rate_all(paths: list[str] | None) -> Iterator[tuple[Any, Any]]:
        """Fill the table row by row, and offer it as a file."""
        if not paths:
            raise gr.Error("Upload files first.", title="No files", print_exception=False)
        results: list[FileScore] = []
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "scores.csv")
                for result in actions.score_many(paths):
                    results.append(result)
                    with open(path, "w", encoding="utf-8", newline="") as stream:
                        stream.write(scores_csv(results, actions.pipeline.model.config.mos_output_names))
                    # Gradio serves a copy of its own. What is there when somebody stops can be downloaded too.
                    yield _as_table(results), gr.update(value=path, visible=True)
        except ValueError as error:
            raise gr.Error(str(error), title="Too many files", print_exception=False) from error

    running = start.click(rate_all, files, [table, download], **_RATING)
    stop.click(None, cancels=[running], api_visibility="private")


def _as_table(results: list[FileScore]) -> Any:
    """Numbers stay numbers, so that the table sorts by them, but are shown with fixed decimals."""
    import pandas

    rows = [
        (each.file, *(each.scores.get(name) for name in ("mos", "mos_low", "mos_high")), each.duration_s, each.error)
        for each in results
    ]
    table = pandas.DataFrame(rows, columns=list(_COLUMNS))
    decimals = {"MOS": "{:.2f}", "low": "{:.2f}", "high": "{:.2f}", "seconds": "{:.1f}"}
    return table.style.format(decimals, na_rep="")


def launch_app(
    app: Any,
    limits: AppLimits | None = None,
    *,
    host: str | None = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
    block: bool = True,
) -> str:
    """Serve the page, without any part of it coming from elsewhere.

    Args:
        app: Of `make_app`.
        limits: The same as there.
        host: Address to listen on; None takes the one in the environment variable `GRADIO_SERVER_NAME`, which Spaces
            set, or this machine alone.
        port: None takes the first free one from 7860 on.
        open_browser: Whether to show the page at once.
        block: Whether to print the address and serve until an exception, such as that of Ctrl-C, comes.

    Returns:
        Address of the page.

    Raises:
        OSError: the port isn't free.
    """
    gr = _import_gradio()
    limits = limits or AppLimits()
    if host is not None and ":" in host:
        host = f"[{host}]"  # IPv6, which Gradio takes as it stands in addresses of pages.
    # Gradio's own wait ends Ctrl-C with a message of its own.
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        allowed_paths=[],
        max_file_size=limits.file_bytes,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        css=CSS,
        # Fonts of the system: those of Gradio's themes are fetched from the network.
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
    )
    if block:
        print(f"{address} (Ctrl-C ends the app)", flush=True)
        try:
            threading.Event().wait()
        finally:
            app.close(verbose=False)
    return address
