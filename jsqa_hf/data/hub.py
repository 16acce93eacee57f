"""Corpora that are datasets on the Hugging Face Hub, in the columns of those on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import datasets

from .corpus import OnError, unique_rows
from .files import stem
from .noise_corpora import labelled_row, without_labels

HUB_PREFIX = "hub:"

Row = dict[str, Any]


class HubCorpus(NamedTuple):
    """How a corpus looks on the Hub.

    Attributes:
        columns: Those needed beside `audio`.
        convert: Makes a row of ours, without `audio`, from these columns; `None` leaves the row out. Takes the options
            of the loader by keyword.
    """

    columns: tuple[str, ...]
    convert: Callable[..., Row | None]


def _librispeech(row: Row, *, text: bool = False) -> Row:
    # Speakers are numbers in this dataset and names of folders on disk.
    ours = {"speech_id": row["id"], "speaker_id": str(row["speaker_id"])}
    return {**ours, "text": row["text"]} if text else ours


def _libritts(row: Row, *, text: bool = False) -> Row:
    ours = {"speech_id": row["id"], "speaker_id": str(row["speaker_id"])}
    return {**ours, "text": row["text_normalized"]} if text else ours


def _common_voice(row: Row, *, text: bool = False) -> Row:
    ours = {"speech_id": stem(row["path"]), "speaker_id": row["client_id"]}
    return {**ours, "text": row["sentence"]} if text else ours


def _esc50(row: Row, *, folds: Sequence[int] | None = None, exclude: Sequence[str] = ()) -> Row | None:
    if folds is not None and row["fold"] not in folds:
        return None
    return _unless_excluded(labelled_row(stem(row["filename"]), [row["category"]]), exclude)


def _audioset(row: Row, *, exclude: Sequence[str] = ()) -> Row | None:
    return _unless_excluded(labelled_row(row["video_id"], row["human_labels"]), exclude)


def _ours(row: Row) -> Row:
    return {column: str(value) for column, value in row.items()}


def _unless_excluded(row: Row, exclude: Sequence[str]) -> Row | None:
    return None if set(exclude) & set(row["labels"]) else row


# As described in the dataset cards of openslr/librispeech_asr, mythicinfinity/libritts, the releases of Common Voice,
# ashraq/esc50 and agkphysics/AudioSet.
SPEECH_ON_HUB: Mapping[str, HubCorpus] = {
    "librispeech": HubCorpus(("id", "speaker_id", "text"), _librispeech),
    "libritts": HubCorpus(("id", "speaker_id", "text_normalized"), _libritts),
    "common-voice": HubCorpus(("path", "client_id", "sentence"), _common_voice),
    "hub": HubCorpus(("speech_id", "speaker_id"), _ours),
}
NOISE_ON_HUB: Mapping[str, HubCorpus] = {
    "esc50": HubCorpus(("filename", "fold", "category"), _esc50),
    "audioset": HubCorpus(("video_id", "human_labels"), _audioset),
    "hub": HubCorpus(("noise_id", "noise_type"), _ours),
}
RIRS_ON_HUB: Mapping[str, HubCorpus] = {"hub": HubCorpus(("rir_id", "room"), _ours)}


def load_from_hub(
    source: str,
    corpus: HubCorpus,
    features: datasets.Features,
    *,
    name: str,
    split: str | None,
    streaming: bool,
    on_error: OnError,
    options: Mapping[str, Any],
) -> datasets.Dataset | datasets.IterableDataset:
    """Load a dataset of the Hub and convert its columns; the audio is neither decoded nor written anew.

    Args:
        source: `OWNER/NAME` or `OWNER/NAME:CONFIG`, or a local folder of such a dataset.
        corpus: Its columns.
        features: Of the result, the clip's identifier second.
        name: Value of the column `corpus`.
        split: Name of the split, such as `"train.100"`.
        streaming: Read while iterating instead of downloading; identifiers are then not checked.
        on_error: What to do about repeated identifiers.
        options: Passed to the conversion.

    Returns:
        Dataset with these features.

    Raises:
        ValueError: If the split is not given, the dataset can't be made into a table, a column is missing, an
            identifier is repeated, nothing is left, or, unless streaming, no clip has a label that is to be left out.
    """
    if split is None:
        raise ValueError(f"{HUB_PREFIX}{source} needs a split: pass split=, such as split='train'")
    path, _, config = source.partition(":")
    try:
        dataset = datasets.load_dataset(path, config or None, split=split, streaming=streaming)
    except datasets.exceptions.DatasetGenerationError as error:
        # Folders of audio files need torchcodec, which the cause says.
        raise ValueError(f"{source} can't be loaded: {error.__cause__ or error}") from error
    found = dataset.column_names or list(next(iter(dataset)))
    missing = [column for column in ("audio", *corpus.columns) if column not in found]
    if missing:
        raise ValueError(f"{source} lacks the column(s) {', '.join(missing)} of {name}; it has {', '.join(found)}")
    dataset = dataset.cast_column("audio", datasets.Audio(decode=False))
    convert = partial(corpus.convert, **options)
    exclude = options.get("exclude", ())
    if streaming:
        convert_batch = partial(_convert_batch, convert=convert, columns=corpus.columns, name=name)
        return dataset.map(convert_batch, batched=True, remove_columns=found, features=features)
    # Left out only after all labels have been seen, so that a misspelt one is found.
    convert = partial(convert, exclude=()) if exclude else convert
    return _converted(dataset, corpus.columns, convert, features, name, on_error, exclude)


def _converted(
    dataset: datasets.Dataset,
    columns: Sequence[str],
    convert: Callable[[Row], Row | None],
    features: datasets.Features,
    name: str,
    on_error: OnError,
    exclude: Sequence[str],
) -> datasets.Dataset:
    # Only the small columns are read: `map` would write all the audio a second time.
    rows = []
    for index, row in enumerate(dataset.select_columns(list(columns))):
        ours = convert(row)
        if ours is not None:
            rows.append({**ours, "corpus": name, "audio": f"row {index}", "index": index})
    if not rows:
        raise ValueError(f"no clip of {name} is left with these options")
    rows = without_labels(rows, exclude, name) if exclude else rows
    identifier = list(features)[1]
    rows = unique_rows(rows, identifier, what=name, on_error=on_error)
    kept = [row["index"] for row in rows]
    result = dataset.select_columns(["audio"])
    for column in features:
        if column != "audio":
            values: list[Any] = [None] * len(dataset)
            for row in rows:
                values[row["index"]] = row[column]
            result = result.add_column(column, values, feature=features[column])
    return result if len(kept) == len(dataset) else result.select(kept)


def _convert_batch(
    batch: Mapping[str, list[Any]], *, convert: Callable[[Row], Row | None], columns: Sequence[str], name: str
) -> dict[str, list[Any]]:
    converted: dict[str, list[Any]] = {}
    for index, audio in enumerate(batch["audio"]):
        ours = convert({column: batch[column][index] for column in columns})
        if ours is not None:
            for column, value in {**ours, "corpus": name, "audio": audio}.items():
                converted.setdefault(column, []).append(value)
    return converted
