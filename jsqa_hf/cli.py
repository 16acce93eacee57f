"""The command line, `jsqa COMMAND ...`.

Nothing heavy is imported before a command runs, so that `--help` answers at once. Every command brings a function
`add_..._parser(subparsers)`, which sets `run`: the function that takes the parsed arguments and returns the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import TextIO

from . import __version__
from .cli_check import add_check_parser
from .cli_compare import add_compare_parser
from .cli_demo import add_demo_parser
from .cli_errors import UsageError
from .cli_evaluate import add_evaluate_parser
from .cli_export import add_export_parser
from .cli_pairs import add_distortions_parser, add_pairs_parser
from .cli_report import add_report_parser
from .cli_score import add_score_parser
from .score_formats import printable

__all__ = ["main"]

EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE = 0, 1, 2
# What a shell reports for a program that ended on SIGINT or SIGPIPE.
EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments without the program's name; those of the process if not given.

    Returns:
        Exit code: 0 all done, 1 some files failed, 2 usage error, 130 interrupted, 141 the reader of the output is
        gone. (`argparse` ends the process itself, with 0 after `--help` and 2 after wrong arguments.)
    """
    try:
        arguments = _make_parser().parse_args(argv)
        return arguments.run(arguments)
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        # Bad input files are results; what is left is an output that can't be written, such as on a full disk.
        _abandon_stdout()
        _complain(f"can't go on: {error.strerror or error}")
        return EXIT_USAGE
    except UsageError as error:
        _complain(str(error))
        return EXIT_USAGE


def _abandon_stdout() -> None:
    """Keep Python from complaining at exit about what can't be flushed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jsqa", description="Speech quality as mean opinion scores (MOS), without a reference."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_score_parser(subparsers)
    add_compare_parser(subparsers)
    add_check_parser(subparsers)
    add_pairs_parser(subparsers)
    add_distortions_parser(subparsers)
    add_report_parser(subparsers)
    add_evaluate_parser(subparsers)
    add_demo_parser(subparsers)
    add_export_parser(subparsers)
    return parser


@contextmanager
def _open_output(path: str | None, format_name: str) -> Iterator[TextIO]:
    """The file, or stdout. For programs it is UTF-8, with those bytes of file names that aren't UTF-8 as they are."""
    if path is None:
        if isinstance(sys.stdout, TextIOWrapper):
            if format_name == "table":
                sys.stdout.reconfigure(errors="backslashreplace")
            else:
                sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
        yield sys.stdout
        return
    try:
        stream = open(  # noqa: SIM115  closed below, where its errors aren't those of opening
            path, "w", encoding="utf-8", errors="surrogateescape", newline=""
        )
    except OSError as error:
        raise UsageError(f"--output {printable(path)}: {error.strerror}") from error
    with stream:
        yield stream


@contextmanager
def _only_our_messages() -> Iterator[None]:
    """Keep the loading reports, progress bars and warnings of libraries from the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Before transformers: it sees to it that a torchaudio that doesn't load does no harm there.
        import_module(".scoring", __package__)
        from huggingface_hub import utils as hub
        from transformers.utils import logging

        verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
        hub_verbosity = hub.logging.get_verbosity()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        hub.disable_progress_bars()
        hub.logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            hub.logging.set_verbosity(hub_verbosity)
            if progress:
                logging.enable_progress_bar()
                hub.enable_progress_bars()


def _complain(message: str) -> None:
    print(f"jsqa: {message}", file=sys.stderr, flush=True)
