"""The command line, `jsqa COMMAND ...`.

Nothing heavy is imported before a command runs, so that `--help` answers at once. Every command brings a function
`add_..._parser(subparsers)`, which sets `run`: the function that takes the parsed arguments and returns the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from . import __version__
from .cli_demo import add_demo_parser
from .cli_errors import UsageError
from .cli_export import add_export_parser
from .cli_pairs import add_distortions_parser, add_pairs_parser
from .cli_report import add_report_parser
from .score_formats import FORMATS, make_writer, printable

if TYPE_CHECKING:
    from .scoring import FileScore

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
    add_pairs_parser(subparsers)
    add_distortions_parser(subparsers)
    add_report_parser(subparsers)
    add_demo_parser(subparsers)
    add_export_parser(subparsers)
    return parser


def add_score_parser(subparsers: Any) -> None:
    """Add `jsqa score`."""
    parser = subparsers.add_parser(
        "score",
        help="rate audio files",
        description="Rate the speech quality of audio files (and of the sound of video files).",
        epilog="Exit code: 0 if all files were rated, 1 if some were not (the reason is on stderr and in the column "
        "'error'), 2 for wrong usage.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="file, folder (searched with all below it), pattern such as 'calls/**/*.wav', or - to read such paths "
        "from standard input, one per line",
    )
    parser.add_argument(
        "--model", metavar="M", help="checkpoint folder or name on the Hub (default: the embedded model)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="default: by the suffix of --output; table on a terminal, else csv"
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="default: 8, on a CPU 1")
    parser.add_argument(
        "--device", metavar="D", help="such as cpu or cuda:0 (default: an accelerator if there is one)"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.set_defaults(run=run_score)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_positive.__name__ = "number (1 or more)"


def run_score(arguments: argparse.Namespace) -> int:
    """Rate files and write a row for each as soon as it is rated."""
    with _only_our_messages():
        from .scoring import AUDIO_EXTENSIONS, find_audio_files, load_pipeline, score_files

        if arguments.output and os.path.splitext(arguments.output)[1].lower() in AUDIO_EXTENSIONS:
            raise UsageError(f"--output {printable(arguments.output)} is the name of an audio file, not of a table")
        try:
            pipeline = load_pipeline(arguments.model, arguments.device)
        except (OSError, ValueError, RuntimeError, AssertionError) as error:
            raise UsageError(f"the model can't be loaded: {' '.join(str(error).split())}") from error
        paths, total = find_audio_files(arguments.paths), None
        show_progress = sys.stderr.isatty() and not arguments.no_progress
        if show_progress and "-" not in arguments.paths:
            listed = list(paths)
            paths, total = iter(listed), len(listed)
        format_name = arguments.format or _default_format(arguments.output)
        with _open_output(arguments.output, format_name) as stream:
            write = make_writer(format_name, stream, pipeline.model.config.mos_output_names)
            results = score_files(paths, pipeline, batch_size=arguments.batch_size)
            return _write_results(results, write, total, show_progress)


def _write_results(
    results: Iterator[FileScore], write: Callable[[FileScore], None], total: int | None, show_progress: bool
) -> int:
    from tqdm import tqdm

    failed = 0
    with tqdm(total=total, unit="file", file=sys.stderr, disable=not show_progress) as bar:
        for result in results:
            with tqdm.external_write_mode(file=sys.stdout):
                write(result)
                if result.error is not None:
                    failed += 1
                    _complain(f"{printable(result.file)}: {printable(result.error)}")
            bar.update()
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _default_format(output: str | None) -> str:
    if output is None:
        return "table" if sys.stdout.isatty() else "csv"
    return "jsonl" if output.lower().endswith(".jsonl") else "csv"


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
