"""The page: its data, and the one file in which everything lies."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from .. import __version__
from ..clip_plot import clip_svg, colour_bar_svg
from ..groups import CONFIDENCE, GroupSummary, matching_names, mean_interval, summarise_groups
from ..score_engine import FileScore
from .curve_plot import curve_svg
from .excerpts import cut_excerpt, encode_flac
from .results import Results

__all__ = ["ReportOptions", "choose_players", "report_groups", "write_report"]

_ESCAPED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        title: heading of the page.
        worst, best: so many files with the lowest and the highest MOS get a player, a waveform and a spectrogram.
        excerpt_s: at most so many seconds of each can be heard.
        scale: ends of the rating scale.
        sampling_rate: of the players in Hz; that of the model, so that one hears what was rated.
        model: where the scores are from, for the page.
    """

    title: str = "Speech quality report"
    worst: int = 20
    best: int = 5
    excerpt_s: float = 10.0
    scale: tuple[float, float] = (1.0, 5.0)
    sampling_rate: int = 16000
    model: str = ""

    def __post_init__(self) -> None:
        if self.worst < 0 or self.best < 0:
            raise ValueError(f"the numbers of players must be 0 or more, but are {self.worst} and {self.best}")
        if not 0.1 <= self.excerpt_s < math.inf:
            raise ValueError(f"an excerpt must be at least 0.1 seconds long, but is {self.excerpt_s}")


def choose_players(files: Sequence[FileScore], worst: int, best: int) -> tuple[list[FileScore], list[FileScore]]:
    """The files with the lowest MOS from the lowest up, and those with the highest from the highest down.

    No file is in both; the lowest come first.
    """
    rated = sorted((file for file in files if file.scores), key=lambda file: (file.scores["mos"], file.file))
    rest = rated[worst:]
    return rated[:worst], rest[::-1][:best]


def write_report(
    output: str | os.PathLike[str],
    results: Results,
    names: Sequence[str],
    groups: Sequence[str],
    options: ReportOptions,
) -> None:
    """Write the page. It needs nothing beside it, and its Content-Security-Policy forbids it the network.

    Args:
        output: path of the page.
        results: scores of files; those that get players are read.
        names: how each file is called on the page.
        groups: the group of each file.
        options: what the page shows.

    Raises:
        OSError: the page can't be written.
    """
    files = results.files
    shown = {name: _shown(name) for name in {*names, *groups}}
    names, groups = [shown[name] for name in names], [shown[group] for group in groups]
    rated = [index for index, file in enumerate(files) if file.scores]
    mos = np.array([files[index].scores["mos"] for index in rated])
    # The scale of other scores is not known, and neither is where to end intervals.
    limits = options.scale if _on_scale(mos, options.scale) else (-math.inf, math.inf)
    players = choose_players(files, options.worst, options.best)
    places = {file.file: index for index, file in enumerate(files)}
    numbers = {file.file: number for number, file in enumerate([*players[0], *players[1]], start=1)}
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=_shown(options.title),
            version=__version__,
            model=_shown(options.model),
            confidence=CONFIDENCE,
            options=options,
            count=len(files),
            duration_s=sum(file.duration_s or 0.0 for file in files),
            overall=_overall(mos, limits),
            players=[
                [_player(file, names[places[file.file]], numbers[file.file], options) for file in part]
                for part in players
            ],
            failed=[
                (names[index], _shown(file.error or "has no scores"))
                for index, file in enumerate(files)
                if not file.scores
            ],
            colour_bar=Markup(colour_bar_svg()),
            data=_data(results, rated, names, groups, numbers, options.scale, limits),
            style=_inline("page.css"),
            script=_inline("page.js"),
            hashes={name: _csp_hash(_inline(name)) for name in ("page.css", "page.js")},
        )
    )
    # What is left of lone surrogates can't be; bytes of file names were made printable above.
    Path(output).write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")


def _shown(text: str) -> str:
    """Text with control characters, halves of surrogates and what turns the direction of writing as `\\` escapes."""
    return _ESCAPED.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def shown_scale(files: Sequence[FileScore], scale: tuple[float, float]) -> tuple[float, float]:
    """Ends of the axes: those of the rating scale, moved to hold all scores and intervals if a score lies outside."""
    scores = [file.scores for file in files if file.scores]
    if _on_scale([one["mos"] for one in scores], scale):
        return scale
    ends = [one[key] for one in scores for key in ("mos", "mos_low", "mos_high") if key in one]
    return min([scale[0], *ends]), max([scale[1], *ends])


def _on_scale(scores: Sequence[float] | np.ndarray, scale: tuple[float, float]) -> bool:
    return all(scale[0] <= score <= scale[1] for score in scores)


def report_groups(results: Results, names: Sequence[str], groups: Sequence[str]) -> list[GroupSummary]:
    """Summaries of the groups of rated files, with files matched by their names apart from the group's."""
    rated = [index for index, file in enumerate(results.files) if file.scores]
    of_rated = [groups[index] for index in rated]
    return summarise_groups(
        of_rated,
        matching_names([names[index] for index in rated], of_rated),
        [results.files[index].scores["mos"] for index in rated],
    )


def _data(
    results: Results,
    rated: Sequence[int],
    names: Sequence[str],
    groups: Sequence[str],
    numbers: dict[str, int],
    scale: tuple[float, float],
    limits: tuple[float, float],
) -> dict[str, Any]:
    """What the script of the page draws and filters."""
    files = results.files
    outputs = list(dict.fromkeys(name for index in rated for name in _output_names(files[index].scores)))
    columns = list(dict.fromkeys(key for values in results.metadata.values() for key in values))
    return {
        "scale": shown_scale(files, scale),
        "outputs": outputs,
        "columns": [_shown(column) for column in columns],
        "groups": [_group_record(group, limits) for group in report_groups(results, names, groups)],
        "files": [
            {
                "name": names[index],
                "group": groups[index],
                "scores": [_triple(files[index].scores, name) for name in outputs],
                "duration": files[index].duration_s,
                "player": numbers.get(files[index].file),
                "metadata": [
                    _shown(results.metadata.get(files[index].file, {}).get(column, "")) for column in columns
                ],
            }
            for index in rated
        ],
    }


def _output_names(scores: dict[str, float]) -> list[str]:
    return [name for name in scores if not (name.endswith(("_low", "_high")) and name.rpartition("_")[0] in scores)]


def _triple(scores: dict[str, float], name: str) -> list[float | None]:
    return [scores.get(key) for key in (name, f"{name}_low", f"{name}_high")]


def _group_record(group: GroupSummary, limits: tuple[float, float]) -> dict[str, Any]:
    # Student's t knows nothing of a scale's ends, and leaves them far behind with two or three files.
    interval = group.interval and np.clip(group.interval, *limits).tolist()
    record = {key: getattr(group, key) for key in ("name", "size", "paired", "mean", "median", "lowest", "difference")}
    return {**record, "interval": interval, "differenceInterval": group.difference_interval}


def _overall(mos: np.ndarray, limits: tuple[float, float]) -> dict[str, Any] | None:
    if not len(mos):
        return None
    quartiles, interval = np.percentile(mos, (25, 50, 75)), mean_interval(mos)
    return {
        "count": len(mos),
        "mean": mos.mean(),
        "interval": interval and np.clip(interval, *limits),
        "quartiles": quartiles,
        "lowest": mos.min(),
        "highest": mos.max(),
    }


def _player(file: FileScore, name: str, number: int, options: ReportOptions) -> dict[str, Any]:
    """What is shown of one file; without sound and pictures, but with the reason, if it can't be read."""
    record: dict[str, Any] = {"name": name, "number": number, "scores": file.scores, "error": None}
    curve = file.curve
    try:
        excerpt = cut_excerpt(file.file, options.excerpt_s, options.sampling_rate, curve)
    except (ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        return {**record, "error": _shown(" ".join(reason.split()))}
    length_s = len(excerpt.samples) / excerpt.sampling_rate
    whole = excerpt.file_duration_s <= options.excerpt_s
    stretch = None if whole else (excerpt.start_s, excerpt.start_s + length_s)
    peak = float(np.abs(excerpt.samples).max())
    label = f"Waveform and spectrogram of {number}"
    sound = base64.b64encode(encode_flac(excerpt.samples, excerpt.sampling_rate)).decode()
    return {
        **record,
        "duration_s": excerpt.file_duration_s,
        "stretch": stretch,
        "peak_dbfs": 20 * math.log10(peak) if peak > 0 else None,
        "clip": Markup(clip_svg(excerpt.samples, excerpt.sampling_rate, peak, label)),
        "curve": curve
        and Markup(curve_svg(curve, excerpt.file_duration_s, options.scale, file.scores["mos"], stretch)),
        "sound": f"data:audio/flac;base64,{sound}",
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jsqa_hf", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["duration"] = _duration
    return environment


def _duration(seconds: float) -> str:
    """In the units that a reader would choose."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _inline(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
