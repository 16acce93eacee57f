"""`jsqa report`."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_errors import EXIT_OK, EXIT_SOME_FAILED, UsageError, one_line, with_file_name
from .cli_options import add_rating_options, load_rater, rate_files, rates_without_torch
from .cli_output import check_outputs, complain, only_our_messages
from .score_formats import printable

if TYPE_CHECKING:
    from .report import ReportOptions, Results
    from .score_engine import FileScore
    from .window_rater import WindowRater

_EPILOG = """\
examples:
  jsqa report calls -o report.html
  jsqa score calls --output scores.csv && jsqa report --scores scores.csv -o report.html

exit code: 0 if all files were rated, 1 if some were not (the page tells the reasons), 2 for wrong usage
"""


def add_report_parser(subparsers: Any) -> None:
    """Add `jsqa report`."""
    parser = subparsers.add_parser(
        "report",
        help="write a page about the quality of many files",
        description="Rate audio files, or take scores from a file, and write one page about them that needs no "
        "network: distribution, groups, players of the lowest and highest scores, and a list to sort and filter.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files, folders and patterns as for jsqa score")
    parser.add_argument("-o", "--output", metavar="FILE", default="report.html", help="default: report.html")
    parser.add_argument(
        "--scores", metavar="FILE", help="results of jsqa score (CSV, .jsonl or .parquet) instead of PATH"
    )
    parser.add_argument(
        "--root", metavar="DIR", help="folder that names in --scores start from (default: the current folder)"
    )
    parser.add_argument("--title", help="heading of the page")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--group-level", type=int, metavar="N", help="group files by their first N folders (default: 1)"
    )
    group.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="group files by what this regular expression finds in their paths; its parentheses, or else the whole "
        "match, are the group's name",
    )
    group.add_argument("--group-column", metavar="NAME", help="group files by this column of --scores")
    parser.add_argument("--worst", type=int, metavar="N", help="players for the N lowest scores (default: 20)")
    parser.add_argument("--best", type=int, metavar="N", help="players for the N highest scores (default: 5)")
    parser.add_argument("--excerpt-seconds", type=float, metavar="S", help="of each player (default: 10)")
    parser.add_argument("--no-curves", action="store_true", help="no quality over time, which takes the model")
    parser.add_argument("--plots", metavar="DIR", help="also save the plots there, as PNG and SVG")
    add_rating_options(parser)
    parser.set_defaults(run=run_report)


def run_report(arguments: argparse.Namespace) -> int:
    """Rate files or read scores, and write the page; returns the exit code."""
    if bool(arguments.paths) == bool(arguments.scores):
        raise UsageError("give either files and folders to rate, or --scores with a file of results")
    if arguments.root and not arguments.scores:
        raise UsageError("--root tells where the files in --scores lie; without --scores, give the folder itself")
    _check_before_rating(arguments)
    with only_our_messages(of_transformers=not rates_without_torch(arguments)):
        try:
            results, options = _results_and_options(arguments)
            failed = _write(arguments, results, options)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise UsageError(one_line(error)) from error
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _check_before_rating(arguments: argparse.Namespace) -> None:
    check_outputs({"--output": arguments.output}, [*arguments.paths, arguments.scores])
    if arguments.plots and os.path.lexists(arguments.plots) and not os.path.isdir(arguments.plots):
        raise UsageError(f"--plots {printable(arguments.plots)} is not a folder")
    if arguments.group_column is not None and not arguments.scores:
        raise UsageError("--group-column names a column of --scores, which isn't given")
    if arguments.group_level is not None and arguments.group_level < 1:
        raise UsageError(f"--group-level must be at least 1, but is {arguments.group_level}")
    if arguments.group_pattern is not None:
        from .groups import pattern_groups

        try:
            pattern_groups([], arguments.group_pattern)
        except ValueError as error:
            raise UsageError(f"--group-pattern {error}") from error


def _results_and_options(arguments: argparse.Namespace) -> tuple[Results, ReportOptions]:
    from .report import ReportOptions, Results, add_curves, choose_players, read_results

    given = {
        "title": arguments.title,
        "worst": arguments.worst,
        "best": arguments.best,
        "excerpt_s": arguments.excerpt_seconds,
    }
    options = ReportOptions(**{name: value for name, value in given.items() if value is not None})
    if arguments.scores:
        results = read_results(arguments.scores, arguments.root)
        if arguments.no_curves:
            return results, options
        rater = load_rater(arguments)
        # Its scale and rate; whether the scores are its own, nobody knows.
        options = replace(_as_model(options, rater, arguments), model=options.model)
    else:
        rater = load_rater(arguments)
        results = Results(_rate(arguments, rater), {})
        options = _as_model(options, rater, arguments)
    if arguments.no_curves:
        return results, options
    shown = [file for part in choose_players(results.files, options.worst, options.best) for file in part]
    files, contradicted = add_curves(results.files, shown, rater, arguments.batch_size)
    if contradicted:
        complain(
            f"no quality over time for {len(contradicted)} files: the model rates them otherwise than --scores tells, "
            f"such as {printable(contradicted[0])}; give the model of the scores with --model"
        )
    return results._replace(files=files), options


def _rate(arguments: argparse.Namespace, rater: WindowRater) -> list[FileScore]:
    from .audio_files import find_each_once

    return list(rate_files(arguments, list(find_each_once(arguments.paths)), rater))


def _as_model(options: ReportOptions, rater: WindowRater, arguments: argparse.Namespace) -> ReportOptions:
    name = arguments.model or "the one that comes with jsqa_hf"
    return replace(
        options,
        scale=rater.score_range,
        sampling_rate=rater.sampling_rate,
        model=f"{name}, in {arguments.dtype}" if arguments.dtype else name,
    )


def _write(arguments: argparse.Namespace, results: Results, options: ReportOptions) -> int:
    from .report import write_report

    names = _display_names([file.file for file in results.files], arguments)
    groups = _groups(arguments, results, names)
    with with_file_name(arguments.output):
        write_report(arguments.output, results, names, groups, options)
    for file in results.files:
        if not file.scores:
            complain(f"{printable(file.file)}: {printable(file.error or 'has no score')}")
    if arguments.scores:
        _complain_of_missing(results, options)
    failed = sum(not file.scores for file in results.files)
    size_mb = os.path.getsize(arguments.output) / 1e6
    print(f"{printable(arguments.output)}: {len(names) - failed} of {len(names)} files rated, {size_mb:.1f} MB")
    if arguments.plots:
        from .report.plot_files import save_plots

        plots = save_plots(Path(arguments.plots), results, names, groups, options)
        print(f"{printable(arguments.plots)}: {len(plots)} plots")
    return failed


def _complain_of_missing(results: Results, options: ReportOptions) -> None:
    from .report import choose_players

    players = [file.file for part in choose_players(results.files, options.worst, options.best) for file in part]
    missing = [file for file in players if not os.path.exists(file)]
    if missing:
        complain(
            f"{len(missing)} of {len(players)} files with players are not there, such as {printable(missing[0])}; "
            "--root names the folder that names in --scores start from"
        )


def _display_names(paths: list[str], arguments: argparse.Namespace) -> list[str]:
    from .groups import common_folder

    single = len(arguments.paths) == 1 and os.path.isdir(arguments.paths[0])
    root = os.path.abspath(arguments.paths[0]) if single else common_folder(paths)
    return [os.path.relpath(os.path.abspath(path), root) if root else path for path in paths]


def _groups(arguments: argparse.Namespace, results: Results, names: list[str]) -> list[str]:
    from .groups import NO_GROUP, folder_groups, pattern_groups

    if arguments.group_pattern is not None:
        return pattern_groups(names, arguments.group_pattern)
    column = arguments.group_column
    if column is not None:
        if not any(column in values for values in results.metadata.values()):
            known = sorted({key for values in results.metadata.values() for key in values})
            raise ValueError(f"--group-column {column!r} is none of the columns of text {known} in --scores")
        return [results.metadata.get(file.file, {}).get(column) or NO_GROUP for file in results.files]
    return folder_groups(names, 1 if arguments.group_level is None else arguments.group_level)
