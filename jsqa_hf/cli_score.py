"""`jsqa score`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .cli_errors import EXIT_OK, EXIT_SOME_FAILED, UsageError, with_file_name
from .cli_options import (
    add_rating_options,
    load_rater,
    positive,
    rates_without_torch,
    shows_progress,
)
from .cli_output import check_outputs, complain, only_our_messages, open_output
from .score_formats import FORMATS, make_writer, printable

if TYPE_CHECKING:
    from .audio_files import NothingFound
    from .onnx_rater import OnnxRater
    from .pipeline_jsqa import SpeechQualityPipeline
    from .score_engine import FileScore
    from .score_processes import Processes
    from .score_results import ResultsFile

_EXAMPLES = """\
examples:
  jsqa score call.wav
  jsqa score recordings/ 'archive/**/*.opus' --output scores.csv      # run it again to go on after a break
  find . -name '*.wav' | jsqa score - --format jsonl
  accelerate launch --num_processes 8 -m jsqa_hf score recordings/ --output scores.parquet

Exit code: 0 if all files were rated, 1 if some were not (the reason is on stderr and in the column 'error'), 2 for
wrong usage, 130 if interrupted.
"""


# What their names promise is not what is written.
_OTHER_FORMATS = (".json", ".tsv", ".xls", ".xlsx", ".html", ".xml")


def add_score_parser(subparsers: Any) -> None:
    """Add `jsqa score`."""
    parser = subparsers.add_parser(
        "score",
        help="rate audio files",
        description="Rate the speech quality of audio files (and of the sound of video files).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="file, folder (searched with all below it), pattern such as 'calls/**/*.wav', or - to read such paths "
        "from standard input, one per line; each path is rated once",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="default: by the suffix of --output; table on a terminal, else csv"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="write there instead of to standard output; what is there is not rated again"
    )
    parser.add_argument("--overwrite", action="store_true", help="throw away what is in --output and start again")
    parser.add_argument("--retry-failed", action="store_true", help="rate files again that have an error in --output")
    parser.add_argument("--curve", action="store_true", help="quality over time, too; as jsonl or parquet")
    parser.add_argument(
        "--curve-step",
        type=float,
        metavar="S",
        help="length of its steps in seconds, at most 4 (default: 1; implies --curve)",
    )
    parser.add_argument(
        "--num-workers",
        type=positive,
        metavar="N",
        help="threads that decode, and on a CPU also threads that rate (default: one for each core, at most 16)",
    )
    add_rating_options(parser)
    parser.set_defaults(run=run_score)


def run_score(arguments: argparse.Namespace) -> int:
    """Rate files and write a row for each as soon as it is rated; returns the exit code."""
    format_name = arguments.format or _default_format(arguments.output)
    arguments.curve = arguments.curve or arguments.curve_step is not None
    _check_output(arguments, format_name)
    with only_our_messages(of_transformers=not rates_without_torch(arguments)):
        from .score_processes import launched_processes

        with launched_processes() as processes:
            failed = _score(arguments, format_name, processes)
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _score(arguments: argparse.Namespace, format_name: str, processes: Processes) -> int:
    """Rate this process's share of the files; returns the number of failed ones, those of all for the main process."""
    from .score_engine import rate_paths
    from .windowed_scores import mos_first

    if processes.count > 1 and not _is_kept(arguments, format_name):
        _refuse("several processes need --output FILE with the format csv, jsonl or parquet", processes)
    rater = load_rater(arguments, processes.device(arguments.device))
    try:
        rater.check_parameters(**_parameters(arguments))
    except (TypeError, ValueError) as error:
        _refuse(str(error), processes)
    # What can't be read is a result, so that an error without a name is one of writing.
    output = arguments.output or "standard output"
    with with_file_name(output), ExitStack() as stack:
        if _is_kept(arguments, format_name):
            results = _results_file(arguments, format_name, rater, processes)
            known_failures, paths, total = _missing_files(arguments, results, processes)
            write = stack.enter_context(results.writer(processes.index))
        else:
            results, known_failures = None, []
            paths, total = _listed(arguments, _unique(arguments.paths, lambda _: True))
            stream = stack.enter_context(open_output(arguments.output, format_name))
            write = make_writer(format_name, stream, mos_first(rater.output_names), curve=arguments.curve)
        threads = {"batch_size": arguments.batch_size, "num_workers": arguments.num_workers}
        scores = rate_paths(paths, rater, **threads, **_parameters(arguments))
        show = shows_progress(arguments) and processes.is_main
        failed = _write_results(scores, write, total, show)
    failed = processes.total(failed + len(known_failures))
    if not processes.is_main:
        # Launchers end all processes as soon as one fails, and the main process has yet to merge.
        return 0
    if results is not None:
        with with_file_name(output):
            results.finish()
    return failed


def _parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    step = {} if arguments.curve_step is None else {"curve_step_s": arguments.curve_step}
    return {"curve": True, **step} if arguments.curve else {}


def _refuse(message: str, processes: Processes) -> NoReturn:
    """End all processes, with one message."""
    if processes.is_main:
        raise UsageError(message)
    sys.exit(0)


def _is_kept(arguments: argparse.Namespace, format_name: str) -> bool:
    """Whether the output is one that a later run can go on with; not so for pipes, devices and tables."""
    output = arguments.output
    return output is not None and format_name != "table" and (os.path.isfile(output) or not os.path.exists(output))


def _check_output(arguments: argparse.Namespace, format_name: str) -> None:
    output = arguments.output
    check_outputs({"--output": output}, arguments.paths)
    if format_name == "table" and output and os.path.exists(f"{output}.meta.json"):
        raise UsageError(f"--output {printable(output)} holds results, which a table would replace: name another file")
    if format_name == "parquet" and not _is_kept(arguments, format_name):
        raise UsageError("Parquet needs --output FILE, with a name that is not a folder or a device")
    if arguments.curve and format_name not in ("jsonl", "parquet"):
        raise UsageError(
            f"{format_name} can't hold a curve: add --format jsonl, or name --output *.jsonl or *.parquet"
        )
    if (arguments.overwrite or arguments.retry_failed) and not _is_kept(arguments, format_name):
        raise UsageError("--overwrite and --retry-failed need --output FILE with the format csv, jsonl or parquet")


def _results_file(
    arguments: argparse.Namespace,
    format_name: str,
    rater: OnnxRater | SpeechQualityPipeline,
    processes: Processes,
) -> ResultsFile:
    from .score_results import ResultsFile, describe_model
    from .windowed_scores import mos_first

    results = ResultsFile(
        arguments.output,
        format_name,
        mos_first(rater.output_names),
        {**describe_model(rater), **_parameters(arguments)},
        curve=arguments.curve,
        processes=processes.count,
    )
    complaint = None
    if processes.is_main:
        try:
            results.start(arguments.overwrite, arguments.retry_failed)
        except (OSError, ValueError) as error:
            complaint = (isinstance(error, OSError) and error.strerror) or str(error)
    complaint = processes.from_main(complaint)
    if complaint:
        _refuse(f"--output {printable(arguments.output)}: {complaint}", processes)
    return results


def _missing_files(
    arguments: argparse.Namespace, results: ResultsFile, processes: Processes
) -> tuple[list[str], Iterable[str | NothingFound], int | None]:
    """Files that failed before, those that this process is to rate, and their number as far as known."""
    failed: list[str] = []

    def is_missing(name: str) -> bool:
        if results.has_error(name):
            failed.append(name)
        return results.is_missing(name)

    if results.done:
        errors = sum(results.done.values())
        again = f", {errors} of them with errors (--retry-failed tries these again)" if errors else ""
        complain(f"{printable(arguments.output)} has {len(results.done)} files already{again}")
    if processes.count == 1:
        return failed, *_listed(arguments, _unique(arguments.paths, is_missing))
    # Listed once: nodes can see a shared folder at different times, and only the main process has standard input.
    missing = list(_unique(arguments.paths, is_missing)) if processes.is_main else []
    share = list(processes.share(processes.from_main(missing)))
    return failed, share, len(share)


def _unique(inputs: Iterable[str], wanted: Callable[[str], bool]) -> Iterator[str | NothingFound]:
    from .audio_files import NothingFound, find_each_once

    for path in find_each_once(inputs):
        if wanted(path.source if isinstance(path, NothingFound) else path):
            yield path


def _listed(
    arguments: argparse.Namespace, paths: Iterator[str | NothingFound]
) -> tuple[Iterable[str | NothingFound], int | None]:
    """Paths with their number, which only a progress bar is worth waiting for."""
    if not shows_progress(arguments) or "-" in arguments.paths:
        return paths, None
    listed = list(paths)
    return listed, len(listed)


def _write_results(
    results: Generator[FileScore, None, None],
    write: Callable[[FileScore], None],
    total: int | None,
    show_progress: bool,
) -> int:
    from tqdm import tqdm

    failed = 0

    def take(result: FileScore) -> None:
        nonlocal failed
        with tqdm.external_write_mode(file=sys.stdout):
            write(result)
            if result.error is not None:
                failed += 1
                complain(f"{printable(result.file)}: {printable(result.error)}")
        bar.update()

    bar = tqdm(total=total, unit="file", file=sys.stderr, disable=not show_progress)
    # Closed, so that no thread still rates when Python ends because a row can't be written.
    with closing(results), bar:
        try:
            for result in results:
                take(result)
        except KeyboardInterrupt as interruption:
            for result in _finished(results, interruption):
                take(result)
            raise
    return failed


def _finished(results: Any, interruption: KeyboardInterrupt) -> Iterator[FileScore]:
    """What was finished when an interruption came while a row was written."""
    try:
        yield results.throw(interruption)
        yield from results
    except (KeyboardInterrupt, StopIteration):
        return


def _default_format(output: str | None) -> str:
    if output is None:
        if sys.stdout is None:
            raise UsageError("standard output is closed: give --output FILE")
        return "table" if sys.stdout.isatty() else "csv"
    suffix = Path(output).suffix.lower()
    if suffix in _OTHER_FORMATS:
        raise UsageError(f"--output {printable(output)}: name it .csv, .jsonl or .parquet, or give --format")
    return suffix[1:] if suffix in (".jsonl", ".parquet") else "csv"
