"""`jsqa check`."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_errors import EXIT_OK, EXIT_SOME_FAILED, UsageError, one_line, with_file_name
from .cli_options import add_rating_options, load_rater, rate_files, rates_without_torch
from .cli_output import check_outputs, complain, only_our_messages, open_output
from .score_formats import FILE_FORMATS, printable

if TYPE_CHECKING:
    from .baseline import Baseline
    from .gate import GateOptions, GateResult
    from .score_engine import FileScore
    from .window_rater import WindowRater

_EPILOG = """\
examples:
  jsqa check out --min-mos 3.0 --fail-under 3.5 --junit results.xml
  jsqa check out --save-baseline baseline.json
  jsqa check out --baseline baseline.json --max-drop 0.1

A file that can't be rated always fails. With --baseline, the mean MOS of the files that both runs have must not have
dropped by more than --max-drop: the check fails if the null hypothesis that it hasn't is rejected at --alpha by a
one-sided paired test (random flips of the signs of the differences).

exit code: 0 passed, 1 failed, 2 wrong usage
"""


def add_check_parser(subparsers: Any) -> None:
    """Add `jsqa check`."""
    parser = subparsers.add_parser(
        "check",
        help="fail if files are not good enough, for continuous integration",
        description="Rate the audio files of a folder, and fail if they are not good enough or worse than a stored "
        "run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", help="folder, searched with all below it")
    limits = parser.add_argument_group("what is asked")
    limits.add_argument("--min-mos", type=float, metavar="MOS", help="lowest MOS of every file")
    limits.add_argument("--fail-under", type=float, metavar="MOS", help="lowest mean MOS of all files")
    limits.add_argument("--group-by", choices=("folder",), help="--fail-under also holds for each folder by itself")
    limits.add_argument(
        "--baseline", metavar="FILE", help="a run not to be worse than: of --save-baseline, or a .csv of jsqa score"
    )
    limits.add_argument(
        "--max-drop", type=float, metavar="MOS", help="drop against the baseline that is put up with (default: 0.05)"
    )
    limits.add_argument(
        "--alpha", type=float, metavar="P", help="level of significance of a larger drop (default: 0.05)"
    )
    outputs = parser.add_argument_group("what is written")
    outputs.add_argument("--junit", metavar="FILE", help="JUnit XML with a test case for each file")
    outputs.add_argument("--json", metavar="FILE", help="all scores, reasons and figures")
    outputs.add_argument("--save-baseline", metavar="FILE", help="store the scores as a baseline, if the check passes")
    add_rating_options(parser)
    parser.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Rate a folder, write what was asked for and return the exit code."""
    _check_usage(arguments)
    with only_our_messages(of_transformers=not rates_without_torch(arguments)):
        from datetime import datetime, timezone

        from .gate import check_scores
        from .score_results import describe_model

        started = datetime.now(timezone.utc)
        rater = load_rater(arguments)
        options = _options(arguments, rater)
        names = _find(arguments.folder)
        fingerprint = describe_model(rater)["fingerprint"]
        baseline = _read_baseline(arguments, names, fingerprint)
        try:
            result = check_scores(_rate(arguments, names, rater), options, baseline)
        except ValueError as error:
            raise UsageError(f"--baseline {printable(arguments.baseline or '')}: {error}") from error
        _write_outputs(arguments, result, options, fingerprint, started)
    return EXIT_OK if result.passed else EXIT_SOME_FAILED


def _check_usage(arguments: argparse.Namespace) -> None:
    if not os.path.isdir(arguments.folder):
        raise UsageError(f"{printable(arguments.folder)}: no such folder")
    if arguments.baseline is None and not (arguments.max_drop is None and arguments.alpha is None):
        raise UsageError("--max-drop and --alpha are about a --baseline, which isn't given")
    if arguments.group_by and arguments.fail_under is None:
        raise UsageError("--group-by is about --fail-under, which isn't given")
    if arguments.max_drop is not None and not 0 <= arguments.max_drop < math.inf:
        raise UsageError(f"--max-drop must not be below 0, and be finite, but is {arguments.max_drop}")
    if arguments.alpha is not None and not 0 < arguments.alpha < 1:
        raise UsageError(f"--alpha must lie between 0 and 1, such as 0.05, but is {arguments.alpha}")
    stored = arguments.save_baseline or ""
    if os.path.splitext(stored)[1].lower().removeprefix(".") in FILE_FORMATS:
        raise UsageError(
            f"--save-baseline {printable(stored)} would be read as results of jsqa score: name a .json file"
        )
    results = {"--junit": arguments.junit, "--json": arguments.json}
    check_outputs(results, [arguments.baseline])
    # A new baseline may take the place of the one that is read.
    check_outputs({**results, "--save-baseline": arguments.save_baseline})


def _options(arguments: argparse.Namespace, rater: WindowRater) -> GateOptions:
    from .gate import GateOptions

    lowest, highest = rater.score_range
    for option in ("min_mos", "fail_under"):
        value = getattr(arguments, option)
        if value is not None and not lowest <= value <= highest:
            raise UsageError(
                f"--{option.replace('_', '-')} is a MOS from {lowest:g} to {highest:g}, but is given as {value:g}"
            )
    given = {name: getattr(arguments, name) for name in ("min_mos", "fail_under", "max_drop", "alpha")}
    return GateOptions(
        **{name: value for name, value in given.items() if value is not None}, by_folder=bool(arguments.group_by)
    )


def _find(folder: str) -> dict[str, str]:
    """Path of each file by its name relative to the folder, with `/`."""
    from .audio_files import NothingFound, find_audio_files

    names = {}
    for path in find_audio_files([folder]):
        if isinstance(path, NothingFound):
            # A gate that nothing, or not all, passed through is not passed.
            raise UsageError(f"{printable(path.source)}: {path.reason}")
        names[Path(os.path.relpath(path, folder)).as_posix()] = path
    return names


def _read_baseline(arguments: argparse.Namespace, names: dict[str, str], fingerprint: str) -> Baseline | None:
    from .baseline import read_baseline

    if arguments.baseline is None:
        return None
    try:
        baseline = read_baseline(arguments.baseline, names, arguments.folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"--baseline: {one_line(error)}") from error
    if baseline.fingerprint is None:
        complain(
            f"--baseline {printable(arguments.baseline)}: nothing tells of which model it is; keep its .meta.json "
            "beside it, or the scores may be of another"
        )
    elif baseline.fingerprint != fingerprint:
        raise UsageError(
            f"--baseline {printable(arguments.baseline)} is a run of another model, whose scores can't be compared: "
            "make a new one with --save-baseline"
        )
    return baseline


def _rate(
    arguments: argparse.Namespace, names: dict[str, str], rater: WindowRater
) -> Iterator[tuple[str, FileScore, float]]:
    before = time.perf_counter()
    for name, result in zip(names, rate_files(arguments, names.values(), rater), strict=True):
        now = time.perf_counter()
        yield name, result, now - before
        before = now


def _write_outputs(
    arguments: argparse.Namespace, result: GateResult, options: GateOptions, fingerprint: str, started: Any
) -> None:
    from .baseline import write_baseline
    from .gate_formats import as_json, as_junit, as_text

    try:
        if arguments.junit:
            with with_file_name(arguments.junit):
                Path(arguments.junit).write_bytes(as_junit(result, started))
        if arguments.json:
            with with_file_name(arguments.json):
                Path(arguments.json).write_text(as_json(result, options, fingerprint), encoding="utf-8")
        if arguments.save_baseline and result.passed:
            with with_file_name(arguments.save_baseline):
                write_baseline(arguments.save_baseline, result.mos, fingerprint)
    except OSError as error:
        raise UsageError(one_line(error)) from error
    finally:
        # Whatever becomes of the files, the verdict is told.
        with open_output(None, "table") as stream:
            stream.write(as_text(result) + "\n")
    if arguments.save_baseline and not result.passed:
        complain("the check failed: no baseline was stored")
