"""Distortions chosen by text: names, chains with `+`, ranges in brackets, `all`."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .distortions import make_distortion, registered_distortions
from .distortions.base import Distortion, Material
from .levels import rms_level
from .mixing import NOMINAL_LEVEL_DBOV

ALL = "all"

_LINK = re.compile(r"(?P<name>[^\s\[\]+,:]+)(?:\[(?P<low>[^\[\]:]+):(?P<high>[^\[\]:]+)\])?")


@dataclass(frozen=True)
class ChosenDistortion:
    """One distortion by name, with another range of its severity where one was given."""

    name: str
    severity_range: tuple[float, float] | None = None


class Selection(NamedTuple):
    """What was made of the text.

    Attributes:
        chains: At least one, each with at least one distortion.
        left_out: Why `all` does not hold others, by name.
    """

    chains: list[list[Distortion]]
    left_out: dict[str, str]


def parse_distortions(texts: str | Iterable[str]) -> list[list[ChosenDistortion]]:
    """Read distortions from a command line.

    Args:
        texts: Words such as `noise`, `room+noise+opus`, `mnru[10:30]`, `all`, separated by spaces or commas.

    Returns:
        One list per word; that of `all` holds this one name.

    Raises:
        ValueError: If there is none, a word cannot be read, a name is unknown (the message suggests the nearest), or a
            chain has one twice.
    """
    joined = texts if isinstance(texts, str) else " ".join(texts)
    words = re.findall(r"(?:\[[^\]]*\]|[^\s,])+", joined)
    if not words:
        raise ValueError(f"name at least one distortion: {', '.join(registered_distortions())}, or {ALL}")
    return [_parse_chain(word) for word in words]


def make_distortions(
    texts: str | Iterable[str],
    material: Mapping[Material, Sequence[Mapping[str, Any]]],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    sampling_rate: int = 16000,
    accept: Callable[[Distortion], object] = lambda distortion: None,
) -> Selection:
    """Make distortions of the words of a command line.

    Args:
        texts: See `parse_distortions`.
        material: Recordings at hand.
        options: Further arguments by name of the distortion.
        sampling_rate: At which each is tried at both ends of its range, in Hz; of those that need recordings, only
            the ones of `all`.
        accept: Raises a ValueError for those of `all` that are not wanted.

    Raises:
        ValueError: As `parse_distortions`; or if recordings are missing, a range is out of order, or an end of it
            cannot be had at this sampling rate.
        ImportError: If a module is missing that a distortion needs.
        RuntimeError: If an encoder is missing.
    """
    options = options or {}
    chains: list[list[Distortion]] = []
    left_out: dict[str, str] = {}
    for chosen in parse_distortions(texts):
        if [one.name for one in chosen] == [ALL]:
            for name in registered_distortions():
                try:
                    distortion = _make(ChosenDistortion(name), material, options)
                    accept(distortion)
                    _try(distortion, sampling_rate)
                except (ValueError, ImportError, RuntimeError) as error:
                    left_out[name] = str(error)
                else:
                    chains.append([distortion])
        else:
            chain = [_make(one, material, options) for one in chosen]
            for distortion in chain:
                # Whether recordings can be used is seen when they are: among many, one may be bad.
                if distortion.material is None:
                    _try(distortion, sampling_rate)
            chains.append(chain)
    if not chains:
        raise ValueError(f"none of the distortions can be used: {_joined(left_out)}")
    return Selection(chains, left_out)


def needed_material(texts: str | Iterable[str]) -> set[Material]:
    """Kinds of recordings that the named distortions need; `all` needs none, and takes what is there."""
    names = {one.name for chosen in parse_distortions(texts) for one in chosen} - {ALL}
    kinds = (registered_distortions()[name].material for name in names)
    return {kind for kind in kinds if kind is not None}


def _parse_chain(word: str) -> list[ChosenDistortion]:
    links = re.split(r"\+(?![^\[]*\])", word)
    chain = [_parse_link(link, word) for link in links]
    names = [one.name for one in chain]
    if ALL in names and (len(names) > 1 or chain[0].severity_range):
        raise ValueError(f"{word!r}: {ALL} is neither part of a chain nor has a range; name the distortions")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{word!r} has {', '.join(twice)} twice; a chain can have each distortion once")
    return chain


def _parse_link(link: str, word: str) -> ChosenDistortion:
    match = _LINK.fullmatch(link)
    if match is None:
        raise ValueError(f"{word!r} is no distortion: write NAME, NAME[LOW:HIGH], or several of them joined by +")
    name = match["name"]
    known = [*registered_distortions(), ALL]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"there is no distortion {name!r}: {hint}")
    if match["low"] is None:
        return ChosenDistortion(name)
    try:
        return ChosenDistortion(name, (float(match["low"]), float(match["high"])))
    except ValueError as error:
        raise ValueError(f"{word!r}: the range [{match['low']}:{match['high']}] must be two numbers") from error


def _make(
    chosen: ChosenDistortion,
    material: Mapping[Material, Sequence[Mapping[str, Any]]],
    options: Mapping[str, Mapping[str, Any]],
) -> Distortion:
    kind = registered_distortions()[chosen.name]
    if kind.material is not None and kind.material not in material:
        raise ValueError(f"the distortion {chosen.name!r} needs recordings: give --{kind.material}")
    arguments = dict(options.get(chosen.name, {}))
    if chosen.severity_range is not None:
        arguments["severity_range"] = chosen.severity_range
    distortion = make_distortion(chosen.name, material, **arguments)
    # Ours have said by now what to install.
    missing = [module for module in kind.requires if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f"the distortion {chosen.name!r} needs modules that are not installed: {', '.join(missing)}")
    return distortion


def _try(distortion: Distortion, sampling_rate: int) -> None:
    """Apply a distortion at both ends of its range.

    Some need an encoder that not every build of a library has, or a higher sampling rate.
    """
    rng = np.random.default_rng(0)
    # Syllables of noise: silence or a steady sound would not do for all.
    time = np.arange(sampling_rate) / sampling_rate
    speech = np.clip(np.sin(8 * np.pi * time), 0, None) * rng.standard_normal(time.size)
    speech *= 10 ** ((NOMINAL_LEVEL_DBOV - rms_level(speech)) / 20)
    severities = distortion.severity_grid or distortion.severity_range
    ends = [severities[0], severities[-1]]
    distortion.distort(speech, ends, distortion.draw(rng, speech.size, sampling_rate), sampling_rate)


def _joined(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in left_out.items())
