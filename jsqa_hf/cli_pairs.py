"""`jsqa pairs` and `jsqa distortions`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .cli_errors import UsageError, one_line
from .cli_output import complain
from .pair_options import RANGE_EXAMPLE, add_pair_options, read_pair_options
from .score_formats import printable

CATALOGUE_FORMAT_NAMES = ("table", "markdown", "json")

_EXAMPLES = f"""\
examples:
  jsqa pairs --speech LibriSpeech/train-clean-100 --noise demand:DEMAND --output-dir pairs --num-proc 8
  jsqa pairs --speech speech --noise noise --distortions noise clipping '{RANGE_EXAMPLE}' room+noise+opus \\
      --output-dir pairs --preview 12
"""


def add_pairs_parser(subparsers: Any) -> None:
    """Add `jsqa pairs`."""
    parser = subparsers.add_parser(
        "pairs",
        help="make pairs of clips that differ by less than a just-noticeable difference",
        description="Make JND pairs of clean speech and save them as a dataset, with a record of how they were made.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action=_HelpWithDistortions, help="show this help message and exit")
    add_pair_options(parser)
    parser.set_defaults(run=run_pairs)


def add_distortions_parser(subparsers: Any) -> None:
    """Add `jsqa distortions`."""
    parser = subparsers.add_parser(
        "distortions",
        help="list what pairs can be made of",
        description="List the distortions that pairs can be made of, with their just-noticeable steps.",
    )
    parser.add_argument("--format", choices=CATALOGUE_FORMAT_NAMES, default="table", help="default: table")
    parser.set_defaults(run=run_distortions)


class _HelpWithDistortions(argparse.Action):
    """`--help` with the distortions behind it. They are heavy to import, so not before somebody asks."""

    def __init__(self, option_strings: Any, dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from .jnd.catalogue import as_table, catalogue

        parser.epilog = f"{parser.epilog}\ndistortions:\n{as_table(catalogue())}"
        parser.print_help()
        parser.exit()


def run_pairs(arguments: argparse.Namespace) -> int:
    """Make pairs and say what was made; returns the exit code."""
    given = {name: value for name, value in vars(arguments).items() if name not in ("run", "config")}
    try:
        options = read_pair_options(given, arguments.config)
        from .jnd.generation import generate_pairs

        made = generate_pairs(options, ["jsqa", *sys.argv[1:]])
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise UsageError(one_line(error)) from error
    for line in [*made.notes, *(f"left out: {reason}" for reason in dict.fromkeys(made.skipped.values()))]:
        complain(printable(line))
    print(f"{printable(str(made.folder))}: {made.summary}")
    return 0


def run_distortions(arguments: argparse.Namespace) -> int:
    """Print the distortions; returns the exit code."""
    from .jnd.catalogue import CATALOGUE_FORMATS, catalogue

    print(CATALOGUE_FORMATS[arguments.format](catalogue()))
    return 0
