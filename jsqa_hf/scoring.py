"""Scoring of many audio files: models, and the scores of files one after the other.

One bad file never ends a run: it gives a result that carries the reason instead of scores.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from . import (
    DEFAULT_CHECKPOINT,
    JSQAConfig,
    JSQAFeatureExtractor,
    JSQAForContrastivePretraining,
    JSQAForMOSRegression,
    SpeechQualityPipeline,
)
from .audio_files import AUDIO_EXTENSIONS, NothingFound, find_audio_files
from .audio_inputs import is_collection
from .onnx_graph import is_onnx_model
from .onnx_model import OnnxForMOSRegression, load_onnx_model
from .score_engine import FileScore, make_engine, rate_paths
from .windowed_scores import mos_first

__all__ = [
    "AUDIO_EXTENSIONS",
    "FileScore",
    "NothingFound",
    "SpeechScorer",
    "find_audio_files",
    "load_pipeline",
    "score_files",
]

AnyModel = TypeVar("AnyModel", JSQAForContrastivePretraining, JSQAForMOSRegression)


def load_pipeline(
    model: str | os.PathLike[str] | JSQAForMOSRegression | SpeechQualityPipeline | None = None,
    device: Any = None,
    dtype: Any = None,
) -> SpeechQualityPipeline:
    """Make a pipeline from whatever tells the model.

    Args:
        model: folder of a checkpoint or its name on the Hub (only then anything is fetched), what `jsqa export` wrote,
            a loaded model, a pipeline (returned as it is), or None for the model that comes with the package.
        device: as in every transformers pipeline, such as `"cpu"` or `"cuda:0"`; None takes an accelerator if there
            is one.
        dtype: number format of a checkpoint's weights, such as `"bfloat16"`; None takes the one it says, float32 for
            those of this package. What it gains and costs is in docs/scoring.md.

    Raises:
        OSError: there is no such checkpoint.
        ValueError: the checkpoint isn't one of JSQA, or has no trained MOS head.
    """
    is_checkpoint = model is None or (isinstance(model, str | os.PathLike) and not is_onnx_model(model))
    if dtype is not None and not is_checkpoint:
        raise ValueError("a number format can be given for checkpoints only, not for loaded models or ONNX graphs")
    if isinstance(model, SpeechQualityPipeline):
        if device is not None:
            raise ValueError("`device` can't be given with a pipeline, which is on its device already")
        return model
    if isinstance(model, str | os.PathLike) and is_onnx_model(model):
        model = load_onnx_model(model)
    if isinstance(model, JSQAForMOSRegression):
        extractor = JSQAFeatureExtractor(sampling_rate=model.config.sampling_rate)
    else:
        checkpoint = locate_checkpoint(DEFAULT_CHECKPOINT if model is None else model)
        model = _load_model(checkpoint, dtype)
        extractor = JSQAFeatureExtractor.from_pretrained(checkpoint)
    return SpeechQualityPipeline(model=model, feature_extractor=extractor, device=device)


def locate_checkpoint(checkpoint: str | os.PathLike[str]) -> str:
    """The checkpoint as transformers takes it; what can only be a folder isn't asked for on the Hub.

    Args:
        checkpoint: folder or name on the Hub.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    name = os.fspath(checkpoint)
    is_folder_name = isinstance(checkpoint, Path) or name.startswith((".", "~", "/")) or name.count("/") > 1
    if not os.path.isdir(name) and (is_folder_name or os.path.isabs(name)):
        raise FileNotFoundError(f"{name}: no such folder")
    return name


def _load_model(checkpoint: str, dtype: Any) -> JSQAForMOSRegression:
    unfinished = "it hasn't been fine-tuned on ratings"
    return load_whole_model(JSQAForMOSRegression, checkpoint, "the MOS model", unfinished, dtype)


def load_whole_model(
    model_class: type[AnyModel], checkpoint: str, called: str, otherwise: str, dtype: Any = None
) -> AnyModel:
    """Load a checkpoint that has all weights of a model; transformers would only warn, and go on with random ones.

    Args:
        model_class: of the model.
        checkpoint: folder or name on the Hub.
        called, otherwise: for the message: the model, and what it means that weights are missing.
        dtype: see `load_pipeline`.

    Raises:
        OSError: there is no such checkpoint.
        ValueError: it isn't one of JSQA, or lacks weights.
    """
    try:
        model_type = JSQAConfig.get_config_dict(checkpoint)[0].get("model_type")
    except OSError as error:
        if checkpoint in str(error):
            raise
        # Offline, transformers doesn't say what it looked for.
        raise OSError(f"{checkpoint}: {error}") from error
    if model_type != JSQAConfig.model_type:
        raise ValueError(f"{checkpoint}: is a model of type {model_type!r}, not of type {JSQAConfig.model_type!r}")
    settings = {} if dtype is None else {"dtype": dtype}
    loaded: Any = model_class.from_pretrained(checkpoint, output_loading_info=True, **settings)
    model, report = loaded
    if report["missing_keys"]:
        raise ValueError(
            f"{checkpoint}: lacks {len(report['missing_keys'])} weights of {called}, such as "
            f"{sorted(report['missing_keys'])[0]}; {otherwise}"
        )
    return model


Model = str | os.PathLike[str] | JSQAForMOSRegression | SpeechQualityPipeline | None


def score_files(
    paths: Iterable[str | os.PathLike[str] | NothingFound],
    model: Model = None,
    *,
    batch_size: int | None = None,
    num_workers: int | None = None,
    device: Any = None,
    **parameters: Any,
) -> Iterator[FileScore]:
    """Score files one after the other, in their order, reading only a few ahead.

    Decoding and rating overlap, and windows of similar length share a batch. The score of a file does not depend on
    its neighbours, the batch size or the number of workers (but for the rounding of the model's arithmetic).

    Args:
        paths: files, as an iterable of any length, such as what `find_audio_files` gives. It is iterated in other
            threads.
        model: see `load_pipeline`; loaded at the call, not at the first result.
        batch_size: number of windows (of at most `window_s`) that go through the model together. None takes 8 on an
            accelerator and 1 on a CPU, where threads rate windows side by side and larger batches gain nothing.
        num_workers: number of threads that decode, and on a CPU also of those that rate. None takes as many as torch
            uses cores (`OMP_NUM_THREADS` if that is set), at most 16.
        device: see `load_pipeline`.
        parameters: call parameters of `SpeechQualityPipeline`, such as `window_s` and `confidence`. What it gives as
            `curve` is `FileScore.curve`.

    Returns:
        An iterator with one `FileScore` for each path. Whatever goes wrong with a file is in its `error`. On a
        `KeyboardInterrupt`, also one that is thrown in, it gives those results that are finished out of turn, and then
        raises it.

    Raises:
        OSError, ValueError: the model can't be loaded, or a parameter is out of range.
    """
    threads = {"batch_size": batch_size, "num_workers": num_workers}
    return rate_paths(paths, load_pipeline(model, device), **threads, **parameters)


class SpeechScorer:
    """Scores a column of audio with `datasets.Dataset.map(scorer, batched=True)`.

    Args:
        column: name of a column `Audio(decode=False)`, of paths, or of anything else that `SpeechQualityPipeline`
            takes.
        model, batch_size, num_workers, device, parameters: see `score_files`.

    Raises:
        OSError, ValueError: the model can't be loaded, or a parameter is out of range.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from jsqa_hf.scoring import SpeechScorer, find_audio_files

    >>> speech = Dataset.from_dict({"audio": list(find_audio_files(["calls/"]))})
    >>> speech.map(SpeechScorer("audio"), batched=True)["mos"]
    ```
    """

    def __init__(
        self,
        column: str = "audio",
        model: Model = None,
        *,
        batch_size: int | None = None,
        num_workers: int | None = None,
        device: Any = None,
        **parameters: Any,
    ) -> None:
        self.column = column
        self.pipeline = load_pipeline(model, device)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.parameters = parameters
        make_engine(self.pipeline, batch_size, num_workers, parameters)

    def __getstate__(self) -> dict[str, Any]:
        # Modules with normalised weights can't be pickled, which `datasets` does to know whether it has a result.
        pipeline: Any = self.pipeline
        model = pipeline.model
        weights = None if isinstance(model, OnnxForMOSRegression) else model.state_dict()
        return {
            **{name: value for name, value in vars(self).items() if name != "pipeline"},
            "_model": (model.graph.path, None) if weights is None else (model.config.to_dict(), weights),
            "_extractor": pipeline.feature_extractor.to_dict(),
            "_device": str(pipeline.device),
            "_defaults": pipeline.default_parameters,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        described, weights = state.pop("_model")
        extractor = JSQAFeatureExtractor.from_dict(state.pop("_extractor"))
        model: JSQAForMOSRegression
        if weights is None:
            model = load_onnx_model(described)
        else:
            model = JSQAForMOSRegression(JSQAConfig.from_dict(described))
            # In the number formats of the weights, not those of a new model.
            model.load_state_dict(weights, assign=True)
        device, defaults = state.pop("_device"), state.pop("_defaults")
        self.pipeline = SpeechQualityPipeline(model=model, feature_extractor=extractor, device=device, **defaults)
        vars(self).update(state)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Score the rows of a batch.

        Args:
            batch: columns by their names.

        Returns:
            The new columns `mos`, `mos_low`, `mos_high`, the same three for each further output of the model,
            `duration_s` and `error`. In rows with an error the numbers are NaN, in others `error` is empty: a column
            whose first batch has nothing but None would have no type.

        Raises:
            KeyError: there is no such column.
            TypeError: this is a single row, as `map` gives without `batched=True`. Only a row of several channels, as
                an array or lists, can't be told from a batch.
        """
        if self.column not in batch:
            raise KeyError(
                f"there is no column {self.column!r} among {sorted(batch)}; name it in SpeechScorer(column=)"
            )
        column = batch[self.column]
        if _is_single(column):
            raise TypeError(
                f"the column {self.column!r} holds a single input, not those of a batch: map(scorer, batched=True)"
            )
        engine = make_engine(self.pipeline, self.batch_size, self.num_workers, self.parameters)
        rated = list(engine.run((str(row), value) for row, value in enumerate(column)))
        names = [f"{name}{end}" for name in mos_first(self.pipeline.output_names) for end in ("", "_low", "_high")]
        return {
            **{name: [result.scores.get(name, math.nan) for result in rated] for name in names},
            "duration_s": [math.nan if result.duration_s is None else result.duration_s for result in rated],
            "error": [result.error or "" for result in rated],
        }


def _is_single(column: Any) -> bool:
    """Whether this is one input: a path or a dict, whose letters or keys are none, or the samples of one channel."""
    if isinstance(column, str | bytes | dict):
        return True
    # NaN is what pandas has for a path that is missing.
    if isinstance(column, list):
        given = [value for value in column if not (isinstance(value, Real) and value != value)]
        return bool(given) and all(isinstance(value, Real) for value in given)
    if isinstance(column, torch.Tensor):
        return column.ndim < 2 and not column.isnan().all()
    if isinstance(column, np.ndarray):
        return column.ndim < 2 and column.dtype.kind in "fiu" and not np.isnan(column).all()
    return not (is_collection(column) or hasattr(column, "__array__"))
