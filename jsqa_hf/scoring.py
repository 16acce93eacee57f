"""Scoring of many audio files: finding them, and their scores one after the other.

One bad file never ends a run: it gives a result that carries the reason instead of scores.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.nn.utils.rnn import pad_sequence

from . import DEFAULT_CHECKPOINT, JSQAConfig, JSQAFeatureExtractor, JSQAForMOSRegression, SpeechQualityPipeline
from .audio import AudioDecodingError, decode_audio
from .onnx_model import is_onnx_model, load_onnx_model

__all__ = ["AUDIO_EXTENSIONS", "FileScore", "NothingFound", "find_audio_files", "load_pipeline", "score_files"]

# What a search in a folder takes for audio; a file that is named explicitly is tried whatever its extension.
AUDIO_EXTENSIONS = frozenset(
    {
        *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".eac3", ".flac", ".m4a", ".m4b"),
        *(".mka", ".mp2", ".mp3", ".mpga", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".sph", ".tta", ".voc", ".w64"),
        *(".wav", ".wave", ".wma", ".wv"),
        *(".3gp", ".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mxf", ".ogv", ".webm"),
        ".wmv",
    }
)

# Results are given out in the order of the files. Behind one file that waits for its batch to fill, at most this many
# times the batch size of files are read ahead.
_READ_AHEAD = 4


@dataclass(frozen=True)
class FileScore:
    """What came out for one file.

    Attributes:
        file: the path as it was given.
        scores: what `SpeechQualityPipeline` returns (`mos`, `mos_low`, `mos_high`, then further outputs); empty if
            the file couldn't be scored.
        duration_s: length of the file in seconds, None if it couldn't be decoded.
        error: why there are no scores, on one line and without the file's name; None if all is well.
    """

    file: str
    scores: dict[str, float] = field(default_factory=dict)
    duration_s: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class NothingFound:
    """An input of `find_audio_files` that leads to no file, with the reason."""

    source: str
    reason: str


def find_audio_files(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[str | NothingFound]:
    """Expand files, folders and patterns to the paths of files, lazily and in the order given.

    Args:
        inputs: any mix of

            - files, which are given as they are, whatever their extension;
            - folders, which are searched with all folders below them (through symbolic links too, but each folder
              once) for `AUDIO_EXTENSIONS`, in alphabetical order and without hidden files;
            - patterns with `*`, `?`, `[...]` and `**` (any folders below). Of what a pattern matches, files with
              `AUDIO_EXTENSIONS` count, or all files if the pattern itself ends in an extension;
            - `-`, which reads such inputs from standard input, one per line.

    Yields:
        Paths, or `NothingFound` for a folder without audio and a pattern without match. A path that doesn't exist is
        given as it is, for whoever opens it to report.
    """
    for given in inputs:
        source = os.fspath(given)
        if source == "-":
            lines = find_audio_files(_lines_of_stdin())
            yield from _or_nothing(lines, source, "standard input holds no paths")
        elif os.path.isdir(source):
            yield from _or_nothing(_search_folder(source), source, "there are no audio files in this folder")
        elif any(character in source for character in "*?[") and not os.path.lexists(source):
            yield from _or_nothing(_match_pattern(source), source, "no audio file matches this pattern")
        else:
            yield source


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
    # As bytes: a file name need not be valid in any encoding.
    for line in sys.stdin.buffer:
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path and path != "-":
            yield path


def _is_audio_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_EXTENSIONS


def _search_folder(folder: str) -> Iterator[str]:
    visited: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        yield from (os.path.join(parent, name) for name in sorted(names) if _is_audio_name(name))


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


def load_pipeline(
    model: str | os.PathLike[str] | JSQAForMOSRegression | SpeechQualityPipeline | None = None,
    device: Any = None,
) -> SpeechQualityPipeline:
    """Make a pipeline from whatever tells the model.

    Args:
        model: folder of a checkpoint or its name on the Hub (only then anything is fetched), what `jsqa export` wrote,
            a loaded model, a pipeline (returned as it is), or None for the model that comes with the package.
        device: as in every transformers pipeline, such as `"cpu"` or `"cuda:0"`; None takes an accelerator if there
            is one.

    Raises:
        OSError: there is no such checkpoint.
        ValueError: the checkpoint isn't one of JSQA, or has no trained MOS head.
    """
    if isinstance(model, SpeechQualityPipeline):
        if device is not None:
            raise ValueError("`device` can't be given with a pipeline, which is on its device already")
        return model
    if isinstance(model, str | os.PathLike) and is_onnx_model(model):
        model = load_onnx_model(model)
    if isinstance(model, JSQAForMOSRegression):
        extractor = JSQAFeatureExtractor(sampling_rate=model.config.sampling_rate)
    else:
        checkpoint = _locate(DEFAULT_CHECKPOINT if model is None else model)
        model = _load_model(checkpoint)
        extractor = JSQAFeatureExtractor.from_pretrained(checkpoint)
    return SpeechQualityPipeline(model=model, feature_extractor=extractor, device=device)


def _locate(checkpoint: str | os.PathLike[str]) -> str:
    """The checkpoint as transformers takes it; what can only be a folder isn't asked for on the Hub."""
    name = os.fspath(checkpoint)
    is_folder_name = isinstance(checkpoint, Path) or name.startswith((".", "~", "/")) or name.count("/") > 1
    if not os.path.isdir(name) and (is_folder_name or os.path.isabs(name)):
        raise FileNotFoundError(f"{name}: no such folder")
    return name


def _load_model(checkpoint: str) -> JSQAForMOSRegression:
    model_type = JSQAConfig.get_config_dict(checkpoint)[0].get("model_type")
    if model_type != JSQAConfig.model_type:
        raise ValueError(f"{checkpoint}: is a model of type {model_type!r}, not of type {JSQAConfig.model_type!r}")
    loaded: Any = JSQAForMOSRegression.from_pretrained(checkpoint, output_loading_info=True)
    model, report = loaded
    if report["missing_keys"]:
        # transformers would only warn, and rate with random weights.
        raise ValueError(
            f"{checkpoint}: lacks {len(report['missing_keys'])} weights of the MOS model, such as "
            f"{sorted(report['missing_keys'])[0]}; it hasn't been fine-tuned on ratings"
        )
    return model


def score_files(
    paths: Iterable[str | os.PathLike[str] | NothingFound],
    model: str | os.PathLike[str] | JSQAForMOSRegression | SpeechQualityPipeline | None = None,
    *,
    batch_size: int | None = None,
    device: Any = None,
    window_s: float | None = None,
    confidence: float | None = None,
) -> Iterator[FileScore]:
    """Score files one after the other, in their order, reading only a few ahead.

    Args:
        paths: files, as an iterable of any length, such as what `find_audio_files` gives.
        model: see `load_pipeline`; loaded at the call, not at the first result.
        batch_size: number of windows (of at most `window_s`) that go through the model together. None takes 8 on an
            accelerator and 1 on a CPU, where a batch gains nothing and padding to its longest window costs time (for
            utterances of 2 to 30 s more than half).
        device: see `load_pipeline`.
        window_s, confidence: call parameters of `SpeechQualityPipeline`.

    Returns:
        An iterator with one `FileScore` for each path. Whatever goes wrong with a file is in its `error`.

    Raises:
        OSError, ValueError: the model can't be loaded, or a parameter is out of range.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}")
    pipeline = load_pipeline(model, device)
    if batch_size is None:
        batch_size = 1 if pipeline.device.type == "cpu" else 8
    return _Scorer(pipeline, batch_size, window_s=window_s, confidence=confidence).run(paths)


@dataclass
class _Task:
    """One file on its way."""

    file: str
    duration_s: float | None = None
    error: str | None = None
    waiting: int = 0
    outputs: list[dict[str, Any]] = field(default_factory=list)


class _Scorer:
    """Fills batches with windows across files, and puts the results back in order."""

    def __init__(self, pipeline: SpeechQualityPipeline, batch_size: int, **parameters: Any) -> None:
        preprocess, _, postprocess = pipeline._sanitize_parameters(**parameters)
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.preprocess_parameters = {**pipeline._preprocess_params, **preprocess}
        self.postprocess_parameters = {**pipeline._postprocess_params, **postprocess}
        self.batch: list[tuple[_Task, dict[str, Any]]] = []

    def run(self, paths: Iterable[str | os.PathLike[str] | NothingFound]) -> Iterator[FileScore]:
        tasks: deque[_Task] = deque()
        for path in paths:
            task = self._open(path)
            tasks.append(task)
            if len(tasks) >= _READ_AHEAD * self.batch_size:
                self._flush()
            while tasks and not tasks[0].waiting:
                yield self._finish(tasks.popleft())
        self._flush()
        while tasks:
            yield self._finish(tasks.popleft())

    def _open(self, path: str | os.PathLike[str] | NothingFound) -> _Task:
        """Decode a file and put its windows into batches; batches that get full are rated."""
        if isinstance(path, NothingFound):
            return _Task(path.source, error=path.reason)
        task = _Task(os.fspath(path))
        try:
            samples, sampling_rate = decode_audio(path)
            task.duration_s = samples.shape[1] / sampling_rate
            audio = {"array": samples, "sampling_rate": sampling_rate}
            for window in self.pipeline.preprocess(audio, **self.preprocess_parameters):
                task.waiting += 1
                self.batch.append((task, window))
                if len(self.batch) == self.batch_size:
                    self._flush()
        except Exception as error:
            task.error = _reason(error)
        return task

    def _flush(self) -> None:
        batch, self.batch = self.batch, []
        # Windows of a file that turned out bad further on are not worth rating.
        rated = [(task, window) for task, window in batch if task.error is None]
        self._rate(rated)
        for task, _ in batch:
            task.waiting -= 1

    def _rate(self, batch: Sequence[tuple[_Task, dict[str, Any]]]) -> None:
        if not batch:
            return
        try:
            outputs = self.pipeline.forward(_collate([window for _, window in batch]))
        except Exception as error:
            # Nothing tells which window it was: one by one, only the culprit fails again.
            if len(batch) > 1:
                for item in batch:
                    self._rate([item])
            else:
                batch[0][0].error = _reason(error)
            return
        for index, (task, window) in enumerate(batch):
            scores, variances = (outputs[key][index : index + 1] for key in ("scores", "variances"))
            task.outputs.append({"scores": scores, "variances": variances, "duration_s": window["duration_s"]})

    def _finish(self, task: _Task) -> FileScore:
        scores: dict[str, float] = {}
        if task.error is None:
            try:
                scores = self.pipeline.postprocess(task.outputs, **self.postprocess_parameters)
            except Exception as error:
                task.error = _reason(error)
        return FileScore(task.file, scores, task.duration_s, task.error)


def _collate(windows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tensors = {
        key: pad_sequence([window[key][0] for window in windows], batch_first=True)
        for key in ("input_values", "attention_mask")
    }
    return {**tensors, **{key: [window[key] for window in windows] for key in ("duration_s", "is_last")}}


def _reason(error: Exception) -> str:
    """An error on one line; the type is told only where the message was not written for a user."""
    text = " ".join((error.reason if isinstance(error, AudioDecodingError) else str(error)).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
