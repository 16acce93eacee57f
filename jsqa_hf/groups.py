"""Files in groups (folders, systems, conditions): means with intervals, and differences to the best group."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["CONFIDENCE", "GroupSummary", "common_folder", "folder_groups", "pattern_groups", "summarise_groups"]

# Of all intervals of means; our choice, as the intervals of listening tests usually are.
CONFIDENCE = 0.95

NO_GROUP = "(none)"


class GroupSummary(NamedTuple):
    """What is said of a group.

    Attributes:
        name: of the group.
        size: number of files.
        mean, median, lowest: of their MOS.
        interval: of the mean, (low, high) by Student's t over the files; None for one file.
        difference: mean minus that of the best group; 0 for the best group itself.
        difference_interval: (low, high), None where there are too few files and for the best group.
        paired: whether the difference was taken file by file, because both groups hold files of the same names.
    """

    name: str
    size: int
    mean: float
    median: float
    lowest: float
    interval: tuple[float, float] | None
    difference: float
    difference_interval: tuple[float, float] | None
    paired: bool


def common_folder(paths: Sequence[str]) -> str:
    """The deepest folder that holds all files, as an absolute path; the current folder for no files."""
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # None at all, or files on different drives.
        return os.getcwd() if not folders else ""


def folder_groups(names: Sequence[str], level: int = 1) -> list[str]:
    """The group of each file by its folder.

    Args:
        names: paths relative to the folder that the report is about.
        level: so many folders deep; 1 for the folders right in there.

    Returns:
        The first `level` folders of each name, `.` for a file that lies in none.
    """
    return ["/".join(PurePath(name).parts[:-1][:level]) or "." for name in names]


def pattern_groups(names: Sequence[str], pattern: str) -> list[str]:
    """The group of each file by a regular expression.

    Args:
        names: paths.
        pattern: is searched in each; its groups in parentheses, or the whole match if it has none, are the name.

    Returns:
        A name for each, `(none)` where nothing matches.

    Raises:
        ValueError: this is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    found = [compiled.search(name) for name in names]
    return [
        NO_GROUP if match is None else "/".join(part or "" for part in match.groups()) or match.group() or NO_GROUP
        for match in found
    ]


def summarise_groups(groups: Sequence[str], names: Sequence[str], mos: Sequence[float]) -> list[GroupSummary]:
    """Means of groups, from the best to the worst.

    Files count as independent. Where they aren't (one talker, one recording cut into pieces), intervals are too
    narrow. They aren't widened for the number of groups that are compared, nor for the choice of the best.

    Args:
        groups: of each file.
        names: of each file, the same for files of two groups that differ in the group alone (see `matching_names`).
        mos: of each file.

    Returns:
        One summary for each group. The difference to the best group is a paired one (Student's t over differences)
        if both hold files of the same names, each once, else one of independent samples (Welch's t).
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    rated = {group: {names[i]: mos[i] for i in indices} for group, indices in members.items()}
    values = {group: np.array([mos[i] for i in indices], dtype=float) for group, indices in members.items()}
    order = sorted(values, key=lambda group: (-values[group].mean(), group))
    summaries = []
    for group in order:
        of_group, best = values[group], values[order[0]]
        paired = group != order[0] and _are_pairs(rated[group], rated[order[0]], len(of_group), len(best))
        if paired:
            of_group, best = _aligned(rated[group], rated[order[0]])
        summaries.append(
            GroupSummary(
                group,
                len(of_group),
                float(of_group.mean()),
                float(np.median(of_group)),
                float(of_group.min()),
                mean_interval(of_group),
                float(of_group.mean() - best.mean()),
                None if group == order[0] else _difference_interval(of_group, best, paired),
                paired,
            )
        )
    return summaries


def mean_interval(values: np.ndarray) -> tuple[float, float] | None:
    """Interval of a mean by Student's t, None for less than two values."""
    if len(values) < 2:
        return None
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def matching_names(names: Sequence[str], groups: Sequence[str]) -> list[str]:
    """The names of files without those of their groups, by which files of several groups are matched.

    A folder that is the group is taken off the front. Where more files of different groups then have the same name,
    the group's name is also taken out of the rest, see `strip_group`.

    Args:
        names: paths.
        groups: of each.
    """
    without_folder = [
        f"*{name.removeprefix(group)}" if name.replace(os.sep, "/").startswith(f"{group}/") else name
        for name, group in zip(names, groups, strict=True)
    ]
    stripped = [strip_group(name, group) for name, group in zip(without_folder, groups, strict=True)]
    return max((without_folder, stripped), key=lambda given: _namesakes(given, groups))


def _namesakes(names: Sequence[str], groups: Sequence[str]) -> int:
    """How many names there are in several groups."""
    of_name: dict[str, set[str]] = {}
    for name, group in zip(names, groups, strict=True):
        of_name.setdefault(name, set()).add(group)
    return sum(len(there) > 1 for there in of_name.values())


def strip_group(name: str, group: str) -> str:
    """A name without that of its group, which counts as a whole part of the path or a whole word of the file's name.

    A file whose name is nothing but that of the group keeps it.
    """
    folder, slash, file = name.rpartition("/")
    word = re.compile(rf"(?<![^\W_]){re.escape(group)}(?![^\W_])")
    if file.partition(".")[0] != group:
        file = word.sub("*", file)
    return f"{word.sub('*', folder)}{slash}{file}"


def _are_pairs(first: Mapping[str, float], second: Mapping[str, float], *counts: int) -> bool:
    return first.keys() == second.keys() and all(count == len(first) for count in counts) and len(first) > 1


def _aligned(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    keys = sorted(first)
    return np.array([first[key] for key in keys]), np.array([second[key] for key in keys])


def _difference_interval(of_group: np.ndarray, best: np.ndarray, paired: bool) -> tuple[float, float] | None:
    if paired:
        return mean_interval(of_group - best)
    if min(len(of_group), len(best)) < 2 or (np.ptp(of_group) == 0 and np.ptp(best) == 0):
        return None
    with warnings.catch_warnings():
        # Values that are all equal are what they are.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = stats.ttest_ind(of_group, best, equal_var=False).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)
