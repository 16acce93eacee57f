"""The command line, `jsqa COMMAND ...`.

Nothing heavy is imported before a command runs, so that `--help` answers at once. Every command brings a function
`add_..._parser(subparsers)`, which sets `run`: the function that takes the parsed arguments and returns the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__
from .cli_check import add_check_parser
from .cli_compare import add_compare_parser
from .cli_demo import add_demo_parser
from .cli_errors import EXIT_USAGE, UsageError, one_line
from .cli_evaluate import add_evaluate_parser
from .cli_export import add_export_parser
from .cli_output import complain
from .cli_pairs import add_distortions_parser, add_pairs_parser
from .cli_report import add_report_parser
from .cli_score import add_score_parser

__all__ = ["main"]

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
        complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        # Bad input files are results; what is left is an output that can't be written, such as on a full disk.
        _abandon_stdout()
        complain(f"can't go on: {one_line(error)}")
        return EXIT_USAGE
    except UsageError as error:
        complain(str(error))
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
