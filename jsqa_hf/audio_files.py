"""Finding audio files in what a user names: files, folders, patterns, standard input."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO

__all__ = ["AUDIO_EXTENSIONS", "SOUND_EXTENSIONS", "NothingFound", "find_audio_files", "find_each_once", "path_key"]

# The audio formats among what `jsqa_hf.audio.decode_audio` reads.
SOUND_EXTENSIONS = frozenset(
    {
        *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".eac3", ".flac", ".m4a", ".m4b"),
        *(".mka", ".mp2", ".mp3", ".mpga", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".sph", ".tta", ".voc", ".w64"),
        *(".wav", ".wave", ".wma", ".wv"),
    }
)
# What a search in a folder takes for audio, with containers of video; a file that is named explicitly is tried
# whatever its extension.
AUDIO_EXTENSIONS = SOUND_EXTENSIONS | frozenset(
    {
        *(".3gp", ".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mxf", ".ogv", ".webm"),
        ".wmv",
    }
)


@dataclass(frozen=True)
class NothingFound:
    """An input of `find_audio_files` that leads to no file, with the reason."""

    source: str
    reason: str


def find_audio_files(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[str | NothingFound]:
    """Expand files, folders and patterns to the paths of files, lazily and in the order given.

    Args:
        inputs: any mix of

            - files, which are given as they are, whatever their extension, and so are `http(s)://` addresses;
            - folders, which are searched with all folders below them (through symbolic links too, but each folder
              once) for `AUDIO_EXTENSIONS`, in alphabetical order and without hidden files;
            - patterns with `*`, `?`, `[...]` and `**` (any folders below). Of what a pattern matches, files with
              `AUDIO_EXTENSIONS` count, or all files if the pattern itself ends in an extension;
            - `-`, which reads such inputs from standard input, one per line.

    Yields:
        Paths, or `NothingFound` for a folder without audio or that can't be opened, and a pattern without match. A
        path that doesn't exist is given as it is, for whoever opens it to report.
    """
    for given in inputs:
        source = os.fspath(given)
        if _is_address(source):
            # Before patterns: many have a `?`.
            yield source
        elif source == "-":
            lines = find_audio_files(_lines_of_stdin())
            yield from _or_nothing(lines, source, "standard input holds no paths")
        elif os.path.isdir(source):
            yield from _or_nothing(_search_folder(source), source, "there are no audio files in this folder")
        elif any(character in source for character in "*?[") and not os.path.lexists(source):
            yield from _or_nothing(_match_pattern(source), source, "no audio file matches this pattern")
        else:
            yield source


def find_each_once(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[str | NothingFound]:
    """As `find_audio_files`, with files that several inputs lead to, such as `a` and `./a`, under the first name only.

    Links are files of their own. `..` is left as it stands, as after a link it leads elsewhere than its text tells.
    """
    seen: set[str | NothingFound] = set()
    for path in find_audio_files(inputs):
        key: str | NothingFound = path
        if not (isinstance(path, NothingFound) or _is_address(path)):
            key = str(Path(path).absolute())
        if key not in seen:
            seen.add(key)
            yield path


def path_key(path: str) -> str:
    """What `a` and `./a` have in common, and their results are found by; of an address every character counts."""
    return path if _is_address(path) else str(PurePath(path))


def _is_address(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _or_nothing(
    found: Iterator[str] | Iterator[str | NothingFound], source: str, reason: str
) -> Iterator[str | NothingFound]:
    empty = True
    for path in found:
        empty = False
        yield path
    if empty:
        yield NothingFound(source, reason)


def _lines_of_stdin() -> Iterator[str]:
    if sys.stdin is None:
        return
    try:
        # Python ends with a crash while another thread waits inside its own `sys.stdin`.
        stream: IO[bytes] = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115  closed below
    except (AttributeError, io.UnsupportedOperation):
        stream = sys.stdin.buffer
    with stream:
        # As bytes: a file name need not be valid in any encoding.
        for line in stream:
            path = os.fsdecode(line.rstrip(b"\r\n"))
            if path and path != "-":
                yield path


def _is_audio_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_EXTENSIONS


def _search_folder(folder: str) -> Iterator[str | NothingFound]:
    visited: set[tuple[int, int]] = set()
    errors: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=errors.append, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        yield from (os.path.join(parent, name) for name in sorted(names) if _is_audio_name(name))
    for error in errors:
        yield NothingFound(os.fspath(error.filename), f"can't be opened: {error.strerror}")


def _match_pattern(pattern: str) -> Iterator[str]:
    path = Path(pattern)
    if path.name == "**":
        path = path / "*"
    # pathlib doesn't follow links to folders below `**`, so that links in a circle do no harm.
    try:
        matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError:
        # Not a pattern, such as `a**b`.
        return
    extension_given = bool(path.suffix) and not any(character in path.suffix for character in "*?[")
    for match in matches:
        hidden = any(part.startswith(".") and part != ".." for part in match.parts if part not in path.parts)
        if not hidden and match.is_file() and (extension_given or _is_audio_name(match.name)):
            yield str(match)
