"""`jsqa evaluate`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_errors import EXIT_OK, EXIT_SOME_FAILED, UsageError, one_line
from .cli_options import add_rating_options, load_rater, rate_files, rates_without_torch
from .cli_output import check_outputs, complain, only_our_messages
from .score_formats import printable

if TYPE_CHECKING:
    from .evaluation import RatedClips
    from .evaluation_data import ListeningTest
    from .score_engine import FileScore
    from .window_rater import WindowRater

_EPILOG = """\
examples:
  jsqa evaluate --data ratings.csv --json evaluation.json
  jsqa evaluate --model runs/mos --data tcd-voip:/data/TCD-VOIP --json tcd.json --by degradation

The table needs the columns file and mos, and may have condition, corpus, n_votes, mos_std (the standard deviation of
the votes) and distortion. RMSE* needs n_votes and mos_std.

exit code: 0 if all files were rated, 1 if some were not (the reason is on stderr), 2 for wrong usage
"""


# Without matplotlib, which is loaded after the clips were rated, nobody knows what it can write.
PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Our choice; the ends of a 95 % interval then lie between the third and the fourth figure from either end.
LEAST_RESAMPLES = 100


def add_evaluate_parser(subparsers: Any) -> None:
    """Add `jsqa evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="compare scores with the ratings of listeners",
        description="Rate the clips of a listening test and compare with its ratings: RMSE, MAE, correlations, and "
        "RMSE after mapping and RMSE* of ITU-T P.1401, per clip, condition and corpus, with 95 % intervals.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", required=True, metavar="DATA", help="table of ratings, folder with one, or NAME:ROOT of a corpus"
    )
    parser.add_argument("--split", help="values of the column split to keep, with commas between them (default: all)")
    parser.add_argument(
        "--outputs", nargs="+", metavar="COLUMN", help="columns of ratings, in the order of the model's outputs"
    )
    parser.add_argument(
        "--score-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="ends of the scale of the ratings, which is mapped to the model's (default: that of a corpus by name, "
        "else the same)",
    )
    parser.add_argument(
        "--by", metavar="COLUMN", help="residuals by this column (default: distortion, degradation or condition)"
    )
    parser.add_argument("--json", metavar="FILE", help="save all figures there, and a scatter plot beside it")
    parser.add_argument("--plot", metavar="FILE", help=".png, .svg or .pdf (default: the name of --json with .png)")
    parser.add_argument("--predictions", metavar="FILE", help="save the scores of all clips there, as CSV")
    parser.add_argument(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help=f"of the bootstrap, at least {LEAST_RESAMPLES}; 0 for none (default: 1000)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    add_rating_options(parser)
    parser.set_defaults(run=run_evaluate)


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Rate the clips, compare, print and save; returns the exit code."""
    if arguments.resamples != 0 and arguments.resamples < LEAST_RESAMPLES:
        raise UsageError(f"--resamples must be 0 or at least {LEAST_RESAMPLES}, but is {arguments.resamples}")
    if arguments.seed < 0:
        raise UsageError(f"--seed must be 0 or more, but is {arguments.seed}")
    outputs = {"--json": arguments.json, "--plot": _plot_path(arguments), "--predictions": arguments.predictions}
    sources = [arguments.data, arguments.data.partition(":")[2]]
    folders = {os.path.realpath(source) for source in sources if source}
    for path in (arguments.json, arguments.predictions):
        # Any table that is there already is read; a .json file is none.
        is_table = path and os.path.exists(path) and not path.lower().endswith(".json")
        if is_table and os.path.realpath(os.path.dirname(path)) in folders:
            sources.append(path)
    check_outputs(outputs, sources, new_folder=True)
    if arguments.plot and os.path.splitext(arguments.plot)[1].lower() not in PLOT_SUFFIXES:
        raise UsageError(f"--plot {printable(arguments.plot)}: its name must end in {', '.join(PLOT_SUFFIXES)}")
    with only_our_messages(of_transformers=not rates_without_torch(arguments)):
        try:
            failed = _evaluate(arguments)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise UsageError(one_line(error)) from error
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _evaluate(arguments: argparse.Namespace) -> int:
    """Returns how many clips could not be rated."""
    from .evaluation import evaluate_outputs, summary, write_json, write_predictions
    from .evaluation_data import load_listening_test

    rater = load_rater(arguments)
    test = load_listening_test(
        arguments.data,
        rater.output_names,
        rater.score_range,
        columns=arguments.outputs,
        split=arguments.split,
        score_range=arguments.score_range,
        must_exist=False,
    )
    by, groups = test.groups(arguments.by)
    outputs, failed = _rate(arguments, rater, test)
    # First, as they took the time.
    if arguments.predictions:
        write_predictions(Path(arguments.predictions), outputs)
    bootstrap = {"resamples": arguments.resamples, "seed": arguments.seed}
    results = evaluate_outputs(outputs, groups, printable(arguments.data), tell=complain, **bootstrap)
    evaluated = {name: result for name, result in results.items() if result is not None}
    for name, result in evaluated.items():
        text = summary(result, result["residuals"], by)
        print(f"{'' if len(outputs) == 1 else name + chr(10)}{_printable_lines(text)}")
    if arguments.json:
        settings = {"data": _last_part(arguments.data), "split": arguments.split}
        # An id of the Hub stays whole.
        model = arguments.model
        settings |= {"model": _last_part(model) if model and Path(model).exists() else model}
        settings |= {"dtype": arguments.dtype}
        settings |= {"score_range": arguments.score_range, "model_score_range": list(rater.score_range)}
        settings |= {"residuals_by": by, **bootstrap}
        write_json(Path(arguments.json), {"settings": settings, "n_failed": failed, "outputs": results})
    _plot(arguments, {name: (outputs[name], result) for name, result in evaluated.items()}, rater.score_range)
    return failed


def _printable_lines(text: str) -> str:
    """Each line as a terminal can show it."""
    return "\n".join(map(printable, text.split("\n")))


def _rate(arguments: argparse.Namespace, rater: WindowRater, test: ListeningTest) -> tuple[dict[str, RatedClips], int]:
    """Ratings and scores of every rated output, and how many rated clips could not be scored."""
    import numpy as np

    # What is not rated is not worth the time.
    rated = np.flatnonzero(~np.isnan(test.labels()).all(axis=1))
    paths = [test.dataset[int(clip)]["audio"]["path"] for clip in rated]
    scores: dict[int, FileScore] = {}
    for clip, score in zip(rated, rate_files(arguments, paths, rater), strict=True):
        scores[int(clip)] = score
        if score.error is not None:
            complain(f"{printable(score.file)}: {printable(score.error)}")
    failed = sum(score.error is not None for score in scores.values())
    if len(scores) - failed < 2:
        raise ValueError(f"{len(scores) - failed} of {len(scores)} rated clips could be scored; it takes 2 at least")
    columns = {
        name: [
            scores[clip].scores.get(name, np.nan) if clip in scores else np.nan for clip in range(len(test.dataset))
        ]
        for output in test.rated_outputs()
        for name in (output, f"{output}_low", f"{output}_high")
    }
    outputs = {
        name: test.clips(name, columns[name], columns[f"{name}_low"], columns[f"{name}_high"])
        for name in test.rated_outputs()
    }
    return outputs, failed


def _last_part(source: str) -> str:
    """Of a path, or of the one after a corpus: the figures may be passed on, the folders above stay at home."""
    corpus, colon, path = source.rpartition(":")
    return f"{corpus}{colon}{Path(path).resolve().name}"


def _plot_path(arguments: argparse.Namespace) -> str | None:
    """Default: beside the figures."""
    return arguments.plot or (f"{os.path.splitext(arguments.json)[0]}.png" if arguments.json else None)


def _plot(arguments: argparse.Namespace, outputs: dict[str, tuple[RatedClips, dict[str, Any]]], scale: Any) -> None:
    """Draw the plot. One that was not asked for is left out, with a word, where it can't be drawn."""
    from .evaluation_plot import plot_scatter

    path = _plot_path(arguments)
    if path is None:
        return
    try:
        plot_scatter(Path(path), outputs, scale)
    except ImportError as error:
        if arguments.plot:
            raise
        complain(f"no plot: {error}")
