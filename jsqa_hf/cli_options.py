"""What all commands that rate files have in common: their options, and how these are followed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from .cli_errors import UsageError, one_line

if TYPE_CHECKING:
    from .audio_files import NothingFound
    from .onnx_rater import OnnxRater
    from .pipeline_jsqa import SpeechQualityPipeline
    from .score_engine import FileScore
    from .window_rater import WindowRater

__all__ = [
    "add_model_options",
    "add_rating_options",
    "load_pipeline",
    "load_rater",
    "positive",
    "rate_files",
    "rates_without_torch",
    "shows_progress",
]


def positive(text: str) -> int:
    """The type of an option that is a number of things."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


# How argparse names the type in its message.
positive.__name__ = "number (1 or more)"


def add_model_options(parser: Any) -> None:
    """Add the options that tell the MOS model and what it runs on, see `load_rater`."""
    parser.add_argument(
        "--model", metavar="M", help="checkpoint folder or name on the Hub (default: the embedded model)"
    )
    parser.add_argument(
        "--device",
        metavar="D",
        help="such as cpu or cuda:0 (default: an accelerator if there is one, but for the embedded model and graphs "
        "the CPU)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="number format of the model; bfloat16 makes large models faster on recent processors, and scores of the "
        "embedded one change by less than 0.01",
    )


def add_rating_options(parser: Any) -> None:
    """Add `add_model_options` and the options of `rate_files`."""
    add_model_options(parser)
    parser.add_argument("--batch-size", type=positive, metavar="N", help="default: 8, on a CPU 1")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")


def rates_without_torch(arguments: argparse.Namespace) -> bool:
    """Whether one process rates on the CPU with a graph: then torch and transformers, slow to start, aren't needed.

    A graph is what `jsqa export` wrote, and also comes with the embedded model, which is small enough for the CPU.
    """
    from .onnx_graph import is_onnx_model

    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    has_graph = arguments.model is None or is_onnx_model(arguments.model)
    return has_graph and alone and arguments.dtype is None and arguments.device in (None, "cpu")


def load_rater(arguments: argparse.Namespace, device: str | None = None) -> OnnxRater | SpeechQualityPipeline:
    """What rates with the MOS model that the options tell: a graph where `rates_without_torch`, or else a pipeline.

    Args:
        arguments: with the options of `add_model_options`.
        device: of a pipeline, instead of `--device`.

    Raises:
        UsageError: it can't be loaded.
    """
    if not rates_without_torch(arguments):
        return load_pipeline(arguments, device)
    from . import DEFAULT_CHECKPOINT
    from .onnx_rater import load_onnx_rater

    with _errors_of_loading():
        return load_onnx_rater(DEFAULT_CHECKPOINT if arguments.model is None else arguments.model)


def load_pipeline(arguments: argparse.Namespace, device: str | None = None) -> SpeechQualityPipeline:
    """As `load_rater`, but always a pipeline."""
    from . import scoring

    _return_freed_memory()
    with _errors_of_loading():
        return scoring.load_pipeline(arguments.model, device or arguments.device, arguments.dtype)


@contextmanager
def _errors_of_loading() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, AssertionError, ImportError) as error:
        raise UsageError(f"the model can't be loaded: {one_line(error)}") from error


def rate_files(
    arguments: argparse.Namespace, paths: Iterable[str | NothingFound], rater: WindowRater
) -> Iterator[FileScore]:
    """Rate files as `jsqa_hf.scoring.score_files` does, with a progress bar.

    Args:
        arguments: with the options of `add_rating_options`.
        paths: files; a progress bar needs their number.
        rater: of `load_rater`.
    """
    from tqdm import tqdm

    from .score_engine import rate_paths

    total = len(paths) if isinstance(paths, Sized) else None
    show = shows_progress(arguments)
    with closing(rate_paths(paths, rater, batch_size=arguments.batch_size)) as scores:
        yield from tqdm(scores, total=total, unit="file", file=sys.stderr, disable=not show)


def shows_progress(arguments: argparse.Namespace) -> bool:
    """Whether there is a progress bar: on a terminal, but not with `--no-progress`."""
    return sys.stderr is not None and sys.stderr.isatty() and not arguments.no_progress


# `M_MMAP_THRESHOLD` of mallopt(3), and our choice of its value, 1.5 MiB: the samples of a window of 30 s take more.
_MMAP_THRESHOLD, _THRESHOLD_BYTES = -3, 3 << 19


def _return_freed_memory() -> None:
    """Have glibc give the memory of large tensors back as soon as they are freed.

    By itself it raises the size from which on it does so, up to 32 MiB: activations then come and go within heaps that
    grow, of each thread one (docs/long_audio.md has what that takes).
    """
    import ctypes
    import platform

    if platform.libc_ver()[0] == "glibc" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _THRESHOLD_BYTES)
