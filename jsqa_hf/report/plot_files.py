"""The plots of a report as PNG and SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..plots import plot_distribution, plot_groups, plot_ranking, plot_spectrogram, save_figure
from .excerpts import cut_excerpt
from .page import ReportOptions, choose_players, report_groups, shown_scale
from .results import Results

__all__ = ["save_plots"]

# More names than that aren't read off a picture.
_MOST_GROUPS = 100


def save_plots(
    folder: Path, results: Results, names: Sequence[str], groups: Sequence[str], options: ReportOptions
) -> list[Path]:
    """Save what the page shows.

    Args:
        folder: for `distribution`, `groups` (the 100 best; not for a single group), `lowest` (the ranking of the files
            with the lowest scores) and, for each of them that can be read, `lowest-01` and so on (spectrogram with
            quality over time), each as `.png` and `.svg`.
        results, names, groups, options: as for `write_report`.

    Returns:
        The paths.

    Raises:
        ImportError: matplotlib is missing.
        OSError: a file can't be written.
    """
    rated = [file for file in results.files if file.scores]
    if not rated:
        return []
    values = [file.scores["mos"] for file in rated]
    options = replace(options, scale=shown_scale(results.files, options.scale))
    paths = save_figure(plot_distribution(values, options.scale), folder, "distribution")
    summaries = report_groups(results, names, groups)
    if len(summaries) > 1:
        paths += save_figure(plot_groups(summaries[:_MOST_GROUPS], options.scale), folder, "groups")
    lowest = choose_players(results.files, options.worst, 0)[0]
    if lowest:
        shown = dict(zip((file.file for file in results.files), names, strict=True))
        ranking = plot_ranking([replace(file, file=shown[file.file]) for file in lowest], options.scale)
        paths += save_figure(ranking, folder, "lowest")
    for number, file in enumerate(lowest, start=1):
        try:
            excerpt = cut_excerpt(file.file, options.excerpt_s, options.sampling_rate, file.curve)
        except (ValueError, OSError):
            continue  # The page says why.
        figure = plot_spectrogram(
            excerpt.samples,
            excerpt.sampling_rate,
            file.curve,
            options.scale,
            file.scores["mos"],
            excerpt.start_s,
        )
        paths += save_figure(figure, folder, f"lowest-{number:02d}")
    return paths
