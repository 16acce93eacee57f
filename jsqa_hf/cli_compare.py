"""`jsqa compare`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from .cli_errors import EXIT_OK, EXIT_SOME_FAILED, UsageError, one_line
from .cli_output import check_outputs, complain, only_our_messages, open_output
from .score_formats import printable

if TYPE_CHECKING:
    from .comparison import Comparer

PAIR_FORMATS = ("text", "csv", "json")
MATRIX_FORMATS = ("csv", "json")

_DESCRIPTION = """\
Two files: how many just-noticeable differences (JNDs) they are apart, how many listeners notice, and which is better,
with a confidence. They need no alignment in time, and neither is a reference.

A folder, or more files: the matrix of JNDs; with --group-by folder a table of how far each file is from the others of
its folder, which names the outliers.

The scale of JNDs was measured on clips of the same speech. Where the files differ in words, voice or noise, the number
of JNDs holds that as well, not the quality alone.
"""


def add_compare_parser(subparsers: Any) -> None:
    """Add `jsqa compare`."""
    parser = subparsers.add_parser(
        "compare",
        help="compare clips in just-noticeable differences",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code: 0 if all files were compared, 1 if some could not be (the reason is on stderr),\n"
        "2 for wrong usage.",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="file, folder, pattern, or - for paths on standard input"
    )
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument("--matrix", action="store_true", help="the matrix also for two files")
    tables.add_argument(
        "--group-by", choices=("folder",), help="find the files that don't sound like the others of their folder"
    )
    parser.add_argument(
        "--model",
        metavar="M",
        help="contrastive checkpoint with a JND calibration, folder or name on the Hub (default: the embedded one)",
    )
    parser.add_argument(
        "--mos-model", metavar="M", help="what tells which of two is better (default: the embedded MOS model)"
    )
    parser.add_argument(
        "--format", choices=PAIR_FORMATS, help="default: by the suffix of --output; else text for two files, or csv"
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")
    parser.add_argument(
        "--device", metavar="D", help="such as cpu or cuda:0 (default: an accelerator if there is one)"
    )
    parser.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare two files or many; returns the exit code."""
    is_pair = _is_pair(arguments)
    format_name = _format_of(arguments, is_pair)
    check_outputs({"--output": arguments.output}, arguments.paths)

    with only_our_messages():
        from .comparison import load_comparer

        try:
            comparer = load_comparer(arguments.model, arguments.mos_model, arguments.device)
        except (OSError, ValueError, RuntimeError, AssertionError) as error:
            raise UsageError(f"the model can't be loaded: {one_line(error)}") from error
        if is_pair:
            return _compare_pair(arguments, comparer, format_name)
        return _compare_many(arguments, comparer, format_name)


def _is_pair(arguments: argparse.Namespace) -> bool:
    """Two files, named one by one. What doesn't exist is taken for one, to be reported as such."""
    if arguments.matrix or arguments.group_by or len(arguments.paths) != 2:
        return False
    return all(
        path != "-" and not os.path.isdir(path) and (os.path.lexists(path) or not any(mark in path for mark in "*?["))
        for path in arguments.paths
    )


def _format_of(arguments: argparse.Namespace, is_pair: bool) -> str:
    suffix = os.path.splitext(arguments.output or "")[1].lower().removeprefix(".")
    chosen = arguments.format or (suffix if suffix in MATRIX_FORMATS else "text" if is_pair else "csv")
    if chosen not in (PAIR_FORMATS if is_pair else MATRIX_FORMATS):
        raise UsageError(f"--format {chosen} is for two files; for more choose one of: {', '.join(MATRIX_FORMATS)}")
    return chosen


def _compare_pair(arguments: argparse.Namespace, comparer: Comparer, format_name: str) -> int:
    from .comparison_formats import write_pair

    a, b = arguments.paths
    try:
        result = comparer.compare(a, b)
    except (OSError, ValueError) as error:
        complain(printable(" ".join(str(error).split())))
        return EXIT_SOME_FAILED
    with open_output(arguments.output, "table" if format_name == "text" else format_name) as stream:
        write_pair(format_name, stream, a, b, result)
    return EXIT_OK


def _compare_many(arguments: argparse.Namespace, comparer: Comparer, format_name: str) -> int:
    from .audio_files import find_each_once
    from .comparison_formats import write_groups, write_matrix
    from .jnd_matrix import find_outliers, folder_of, jnd_rows, project_files

    # A file that is given twice, such as by its folder too, is one file.
    projected = project_files(find_each_once(arguments.paths), comparer)
    for file, reason in projected.errors.items():
        complain(f"{printable(file)}: {printable(reason)}")
    if not projected.files:
        return EXIT_SOME_FAILED
    if arguments.group_by:
        # Before a file that is there is emptied.
        groups = find_outliers(projected, comparer, [folder_of(file) for file in projected.files])
    with open_output(arguments.output, format_name) as stream:
        if arguments.group_by:
            write_groups(format_name, stream, groups, projected.errors)
        else:
            largest = float(comparer.scale.jnds[-1])
            write_matrix(format_name, stream, projected, jnd_rows(projected, comparer), largest)
    return EXIT_SOME_FAILED if projected.errors else EXIT_OK
