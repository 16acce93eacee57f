"""What all commands that rate files have in common: their options, and how these are followed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .cli_errors import UsageError, one_line

if TYPE_CHECKING:
    from .audio_files import NothingFound
    from .onnx_rater import OnnxRater
    from .pipeline_jsqa import SpeechQualityPipeline
    from .scoring import FileScore

__all__ = [
    "add_model_options",
    "add_rating_options",
    "load_graph",
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
        "--device", metavar="D", help="such as cpu or cuda:0 (default: an accelerator if there is one)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="number format of the model; bfloat16 is faster on recent processors, and scores change by about 0.01",
    )


def add_rating_options(parser: Any) -> None:
    """Add `add_model_options` and the options of `rate_files`."""
    add_model_options(parser)
    parser.add_argument("--batch-size", type=positive, metavar="N", help="default: 8, on a CPU 1")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")


def rates_without_torch(arguments: argparse.Namespace) -> bool:
    """Whether the model is a graph that runs on the CPU in one process: then torch, slow to start, isn't needed."""
    from .onnx_graph import is_onnx_model

    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    is_graph = arguments.model is not None and is_onnx_model(arguments.model)
    return is_graph and alone and arguments.dtype is None and arguments.device in (None, "cpu")


def load_graph(arguments: argparse.Namespace) -> OnnxRater:
    """The graph that the options tell, where `rates_without_torch` is true.

    Raises:
        UsageError: it can't be loaded.
    """
    from .onnx_rater import load_onnx_rater

    with _errors_of_loading():
        return load_onnx_rater(arguments.model)


def load_rater(arguments: argparse.Namespace, device: str | None = None) -> SpeechQualityPipeline:
    """The MOS model that the options tell.

    Args:
        arguments: with the options of `add_model_options`.
        device: instead of `--device`.

    Raises:
        UsageError: it can't be loaded.
    """
    from .scoring import load_pipeline

    _return_freed_memory()
    with _errors_of_loading():
        return load_pipeline(arguments.model, device or arguments.device, arguments.dtype)


@contextmanager
def _errors_of_loading() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, AssertionError, ImportError) as error:
        raise UsageError(f"the model can't be loaded: {one_line(error)}") from error


def rate_files(
    arguments: argparse.Namespace, paths: Iterable[str | NothingFound], pipeline: SpeechQualityPipeline
) -> Iterator[FileScore]:
    """Rate files as `jsqa_hf.scoring.score_files` does, with a progress bar.

    Args:
        arguments: with the options of `add_rating_options`.
        paths: files; a progress bar needs their number.
        pipeline: of `load_rater`.
    """
    from tqdm import tqdm

    from .scoring import score_files

    total = len(paths) if isinstance(paths, Sized) else None
    scores = score_files(paths, pipeline, batch_size=arguments.batch_size)
    return iter(tqdm(scores, total=total, unit="file", file=sys.stderr, disable=not shows_progress(arguments)))


def shows_progress(arguments: argparse.Namespace) -> bool:
    """Whether there is a progress bar: not in files, and not with `--no-progress`."""
    return sys.stderr.isatty() and not arguments.no_progress


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
