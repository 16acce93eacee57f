"""Corpora by name: speech, noise and room impulse responses, each with one set of columns."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import datasets

from .corpus import Check, OnError, existing_rows, to_dataset, unique_rows
from .files import Listing, list_noise, list_rirs, list_speech
from .hub import HUB_PREFIX, NOISE_ON_HUB, RIRS_ON_HUB, SPEECH_ON_HUB, HubCorpus, load_from_hub
from .noise_corpora import list_audioset, list_chime3, list_demand, list_esc50, list_fsd50k, list_musan
from .rir_corpora import list_rirs_noises
from .speech_corpora import list_common_voice, list_librispeech, list_libritts, list_vctk

_STRING = datasets.Value("string")


class _Kind(NamedTuple):
    """What is loaded: its name, its columns (the identifier first), and its corpora on disk and on the Hub."""

    name: str
    columns: tuple[str, ...]
    on_disk: Mapping[str, Callable[..., Listing]]
    on_hub: Mapping[str, HubCorpus]


_SPEECH = _Kind(
    "speech",
    ("speech_id", "speaker_id"),
    {
        "librispeech": list_librispeech,
        "libritts": list_libritts,
        "vctk": list_vctk,
        "common-voice": list_common_voice,
        "folder": list_speech,
        "csv": list_speech,
    },
    SPEECH_ON_HUB,
)
_NOISE = _Kind(
    "noise",
    ("noise_id", "noise_type"),
    {
        "chime3": list_chime3,
        "demand": list_demand,
        "musan": list_musan,
        "audioset": list_audioset,
        "fsd50k": list_fsd50k,
        "esc50": list_esc50,
        "folder": list_noise,
        "csv": list_noise,
    },
    NOISE_ON_HUB,
)
_RIRS = _Kind(
    "room impulse responses",
    ("rir_id", "room"),
    {"rirs_noises": list_rirs_noises, "folder": list_rirs, "csv": list_rirs},
    RIRS_ON_HUB,
)


def load_speech(
    name: str,
    root: str | os.PathLike[str],
    *,
    streaming: bool = False,
    on_error: OnError = "raise",
    check: Check | None = "exists",
    **options: Any,
) -> datasets.Dataset | datasets.IterableDataset:
    """List the utterances of a corpus of speech.

    The options of each corpus are those of its function in `jsqa_hf.data.speech_corpora`: `split` of all but VCTK and
    folders, `mic` of VCTK; and `text=True`, which adds the column `text`.

    A folder may have any layout: files named as in LibriSpeech give both identifiers by their name; otherwise, and
    where a CSV file does not say, `speech_id` is the path relative to the folder (or to the CSV file) without its
    suffix and `speaker_id` the name of the folder that the file lies in.

    Args:
        name: `"librispeech"`, `"libritts"`, `"vctk"`, `"common-voice"`, `"folder"`, `"csv"`, or `"hub"` for a dataset
            on the Hub that has these columns already.
        root: Folder of the corpus as unpacked from its official download, or the folder above it; for `"csv"` a file
            with the column `file` (paths relative to it, or absolute) and optionally `speech_id`, `speaker_id`,
            `split`, `text` and `corpus`; or `"hub:OWNER/NAME"` or `"hub:OWNER/NAME:CONFIG"` for the dataset of that
            corpus on the Hub, which needs the option `split`.
        streaming: Return an `IterableDataset`, which for a dataset on the Hub is read while iterating.
        on_error: `"raise"`, or `"skip"` to leave out unreadable clips and repeated identifiers with one warning.
        check: `"exists"` looks for the files that a table lists, `"decode"` decodes every clip (not of the Hub),
            `None` checks nothing.
        **options: Of the corpus; one that is `None` counts as not given.

    Returns:
        Dataset with the columns `audio` (`Audio(decode=False)`), `speech_id` (unique), `speaker_id` and `corpus`, all
        strings but the first, in the order of the table or sorted by path.

    Raises:
        FileNotFoundError: If the corpus or a listed clip is not there; says what was looked for and what was found.
        ValueError: If the name or an option is unknown, a table lacks a column, an identifier is repeated, a clip
            can't be decoded (`check="decode"`), or nothing is left.
    """
    return _load(_SPEECH, name, os.fspath(root), streaming, on_error, check, options)


def load_noise(
    name: str,
    root: str | os.PathLike[str],
    *,
    streaming: bool = False,
    on_error: OnError = "raise",
    check: Check | None = "exists",
    **options: Any,
) -> datasets.Dataset | datasets.IterableDataset:
    """List the recordings of a corpus of noise.

    The options of each corpus are those of its function in `jsqa_hf.data.noise_corpora`: `channel` of CHiME-3 and
    DEMAND, `subsets` of MUSAN, `split` of FSD50K and of CSV files, `folds` of ESC-50, `table` of AudioSet, and
    `exclude`, the labels to leave out, of ESC-50, FSD50K and AudioSet, which also have the column `labels`.

    A folder may have any layout: `noise_id` is the path relative to it without its suffix, and `noise_type` comes from
    the columns `file` and `type` of a file `noise.csv` in it, or else is the name of the file without its suffix.

    Args:
        name: `"chime3"`, `"demand"`, `"musan"`, `"audioset"`, `"fsd50k"`, `"esc50"`, `"folder"`, `"csv"`, or `"hub"`
            for a dataset on the Hub that has these columns already.
        root: As in `load_speech`; a CSV file has the column `file` and optionally `noise_id`, `type`, `split` and
            `corpus`.
        streaming: As in `load_speech`.
        on_error: As in `load_speech`.
        check: As in `load_speech`.
        **options: As in `load_speech`.

    Returns:
        Dataset with the columns `audio` (`Audio(decode=False)`), `noise_id` (unique), `noise_type` and `corpus`, all
        strings but the first, in the order of the table or sorted by path.

    Raises:
        FileNotFoundError: As in `load_speech`.
        ValueError: As in `load_speech`.
    """
    return _load(_NOISE, name, os.fspath(root), streaming, on_error, check, options)


def load_rirs(
    name: str,
    root: str | os.PathLike[str],
    *,
    streaming: bool = False,
    on_error: OnError = "raise",
    check: Check | None = "exists",
    **options: Any,
) -> datasets.Dataset | datasets.IterableDataset:
    """List room impulse responses.

    The options are `subsets` of RIRS_NOISES and `split` of CSV files.

    Args:
        name: `"rirs_noises"`, `"folder"`, `"csv"`, or `"hub"` for a dataset on the Hub that has these columns already.
        root: As in `load_speech`; a CSV file has the column `file` and optionally `rir_id`, `room`, `split` and
            `corpus`.
        streaming: As in `load_speech`.
        on_error: As in `load_speech`.
        check: As in `load_speech`.
        **options: As in `load_speech`.

    Returns:
        Dataset with the columns `audio` (`Audio(decode=False)`; the files may have several channels), `rir_id`
        (unique), `room` (in a folder the name of the folder that the file lies in) and `corpus`.

    Raises:
        FileNotFoundError: As in `load_speech`.
        ValueError: As in `load_speech`.
    """
    return _load(_RIRS, name, os.fspath(root), streaming, on_error, check, options)


def parse_source(text: str) -> tuple[str, str]:
    """Read a corpus from a command line.

    Args:
        text: `NAME:ROOT`, such as `librispeech:/data/LibriSpeech` or `esc50:hub:ashraq/esc50`; or the path of a folder
            or of a CSV file alone.

    Returns:
        The arguments `name` and `root` of `load_speech`, `load_noise` or `load_rirs`.

    Raises:
        ValueError: If there is no root, or what stands before the colon is neither a corpus nor part of a path.
    """
    name, colon, root = text.partition(":")
    known = sorted({name for kind in (_SPEECH, _NOISE, _RIRS) for name in (*kind.on_disk, *kind.on_hub)})
    if colon and name in known:
        if not root:
            raise ValueError(f"{text!r} names no path: pass {name}:PATH")
        return name, root
    # A single letter before the colon is a drive; a path may hold a colon.
    if colon and len(name) > 1 and os.sep not in name and not os.path.exists(text):
        raise ValueError(f"{text!r} is no path, and {name!r} no corpus: pass NAME:PATH with one of {', '.join(known)}")
    if not text:
        raise ValueError("an empty source: pass a path or NAME:PATH")
    return ("csv" if os.path.isfile(text) else "folder"), text


def _load(
    kind: _Kind,
    name: str,
    root: str,
    streaming: bool,
    on_error: OnError,
    check: Check | None,
    options: dict[str, Any],
) -> datasets.Dataset | datasets.IterableDataset:
    # A misspelt on_error or check is an error before a long search, not after it.
    existing_rows([], what=name, on_error=on_error, check=check)
    options = {option: value for option, value in options.items() if value is not None}
    if name == "hub" or root.startswith(HUB_PREFIX):
        return _load_hub(kind, name, root.removeprefix(HUB_PREFIX), streaming, on_error, check, options)
    corpora = kind.on_disk
    if name not in corpora:
        raise ValueError(f"{name!r} is no corpus of {kind.name}: pass one of {', '.join(sorted(corpora))}, or hub")
    _check_options(name, corpora[name], options)
    listing = corpora[name](root, **options)
    # A search has seen the files; it would only cost time to look for each of them again.
    check = None if check == "exists" and not listing.from_table else check
    what = f"{name} in {root}"
    rows = existing_rows(listing.rows, what=what, on_error=on_error, check=check)
    rows = unique_rows(rows, kind.columns[0], what=what, on_error=on_error)
    dataset = to_dataset([{"corpus": name, **row} for row in rows], _features(kind, rows[0]))
    return dataset.to_iterable_dataset() if streaming else dataset


def _load_hub(
    kind: _Kind,
    name: str,
    source: str,
    streaming: bool,
    on_error: OnError,
    check: Check | None,
    options: dict[str, Any],
) -> datasets.Dataset | datasets.IterableDataset:
    if name not in kind.on_hub:
        raise ValueError(
            f"{name!r} can't be loaded from the Hub as {kind.name}, only {', '.join(sorted(kind.on_hub))}"
        )
    if check == "decode":
        raise ValueError("check='decode' is for corpora on disk: pass check=None and watch for errors while reading")
    corpus = kind.on_hub[name]
    split = options.pop("split", None)
    _check_options(name, corpus.convert, options)
    labelled = name in ("esc50", "audioset")
    example = {**({"text": ""} if options.get("text") else {}), **({"labels": []} if labelled else {})}
    return load_from_hub(
        source,
        corpus,
        _features(kind, example),
        name=source if name == "hub" else name,
        split=split,
        streaming=streaming,
        on_error=on_error,
        options=options,
    )


def _check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    known = list(inspect.signature(function).parameters)[1:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = f"has the option(s) {', '.join(known)}" if known else "has no options"
        raise ValueError(f"{name} {has}; got {', '.join(unknown)}")


def _features(kind: _Kind, row: Mapping[str, Any]) -> datasets.Features:
    features: dict[str, Any] = {"audio": datasets.Audio(decode=False), **dict.fromkeys(kind.columns, _STRING)}
    features["corpus"] = _STRING
    if "text" in row:
        features["text"] = _STRING
    if "labels" in row:
        features["labels"] = datasets.List(_STRING)
    return datasets.Features(features)
