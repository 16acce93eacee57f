"""`jsqa demo`."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .cli_errors import UsageError
from .cli_options import add_model_options, load_pipeline
from .cli_output import only_our_messages
from .score_formats import printable

if TYPE_CHECKING:
    from .comparison import Comparer
    from .pipeline_jsqa import SpeechQualityPipeline


def add_demo_parser(subparsers: Any) -> None:
    """Add `jsqa demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="rate and compare clips in the browser",
        description="Serve a page that rates and compares clips, uploaded or recorded. Only this machine can open it "
        "unless --host says otherwise, and nothing leaves the machine.",
    )
    add_model_options(parser)
    parser.add_argument(
        "--comparison-model",
        metavar="M",
        help="checkpoint of a contrastive model with a JND calibration (default: the embedded one)",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860 on")
    parser.add_argument("--open", action="store_true", help="show the page at once")
    parser.add_argument("--max-file-mb", type=float, metavar="MB", help="largest file (default: 50)")
    parser.add_argument("--max-duration-s", type=float, metavar="S", help="longest clip (default: 300)")
    parser.add_argument("--max-files", type=int, metavar="N", help="most files in one table (default: 50)")
    parser.set_defaults(run=run_demo)


def run_demo(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM, which is how it ends when all is well; returns the exit code."""
    given = {"file_mb": arguments.max_file_mb, "duration_s": arguments.max_duration_s, "files": arguments.max_files}
    # Uploads go where nobody else can read them, and go away with the app.
    with tempfile.TemporaryDirectory(prefix="jsqa-demo-") as folder, _sigterm_as_interrupt():
        try:
            _serve(arguments, {name: value for name, value in given.items() if value is not None}, folder)
        except KeyboardInterrupt:
            return 0
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise UsageError(printable(" ".join(str(error).split()))) from error
    return 0


def _serve(arguments: argparse.Namespace, limits_given: dict[str, Any], folder: str) -> None:
    # Gradio reads it when it is imported.
    os.environ["GRADIO_TEMP_DIR"] = folder
    from .app import AppLimits, launch_app, make_app

    limits = AppLimits(**limits_given)
    _check_address(arguments.host, arguments.port)
    with only_our_messages():
        pipeline = load_pipeline(arguments)
        app = make_app(pipeline, _load_comparer(arguments.comparison_model, pipeline), limits)
    launch_app(app, limits, host=arguments.host, port=arguments.port, open_browser=arguments.open)


def _check_address(host: str, port: int | None) -> None:
    """Refuse what can't be listened on: Gradio tries some of it for ever, and its messages name no option of ours."""
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535, but is {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        socket.create_server(address, family=family).close()
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} is in use; take another with --port") from error
        reason = getattr(error, "strerror", None) or error
        given = f"--host {host}" if port is None else f"--host {host}, --port {port}"
        raise ValueError(f"{given}: no page can be served there: {reason}") from error


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, with which services are ended, clean up as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _load_comparer(checkpoint: str | None, pipeline: SpeechQualityPipeline) -> Comparer | str:
    """Without a model of its own choice, the user gets the other tabs where no model for comparisons is installed."""
    from .comparison import load_comparer

    try:
        return load_comparer(checkpoint, pipeline)
    except FileNotFoundError as error:
        if checkpoint is not None:
            raise
        return str(error)
