"""A file of results that survives interruptions: what is in it is not scored again.

CSV and JSON lines that one process writes grow in place. Parquet can't grow, and several processes can't write one
file: there, every process writes JSON lines into a folder beside the file, `FILE.parts`, and in the end, or at the
next start, they are merged. `FILE.meta.json` tells which model the scores are from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .audio_files import path_key
from .onnx_graph import OnnxGraph
from .onnx_rater import OnnxRater
from .score_engine import FileScore
from .score_formats import make_writer
from .score_tables import drop_cut_row, file_key, read_scores, write_scores

if TYPE_CHECKING:
    from .pipeline_jsqa import SpeechQualityPipeline

__all__ = ["ResultsFile", "describe_model"]


def describe_model(rater: OnnxRater | SpeechQualityPipeline) -> dict[str, Any]:
    """What scores depend on, apart from the audio.

    Returns:
        `fingerprint`, a hash of weights and configurations (of graphs see `OnnxGraph.fingerprint`), and the parameters
        that the rater always passes.
    """
    graph = rater.graph if isinstance(rater, OnnxRater) else getattr(rater.model, "graph", None)
    if isinstance(graph, OnnxGraph):
        fingerprint = graph.fingerprint()
    else:
        from .fingerprint import model_fingerprint

        pipeline: Any = rater
        fingerprint = model_fingerprint(pipeline.model, pipeline.feature_extractor)
    return {"fingerprint": fingerprint, **rater.default_parameters}


class ResultsFile:
    """A file of results.

    Args:
        path: of the file.
        format_name: `"csv"`, `"jsonl"` or `"parquet"`.
        names: of the model's outputs.
        model: what `describe_model` gives, with anything else on which scores depend.
        curve: whether there is a column `curve`.
        processes: how many write at the same time.

    Attributes:
        done: files that have a row already, with whether that is an error; filled by `start`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        format_name: str,
        names: Sequence[str],
        model: Mapping[str, Any],
        *,
        curve: bool = False,
        processes: int = 1,
    ) -> None:
        # Of a link, the file that it points to: the link stays.
        self.path = Path(os.path.realpath(path))
        self.format_name = format_name
        self.names = list(names)
        self.curve = curve
        self.processes = processes
        self.identity = {"model": dict(model), "outputs": self.names, "format": format_name, "curve": curve}
        self.done: dict[str, bool] = {}
        self._meta = Path(f"{path}.meta.json")
        self._parts = Path(f"{path}.parts")

    def start(self, overwrite: bool = False, retry_failed: bool = False) -> None:
        """Take over what is there, and note which model goes on. To be called by one process, before `writer`.

        Args:
            overwrite: throw away what is there.
            retry_failed: throw away rows with errors, so that these files are tried again.

        Raises:
            ValueError: what is there is not a result of the same model with the same settings; the message says how
                to go on.
            OSError: a file can't be read or written.
        """
        if overwrite:
            self._remove_parts()
            self.path.unlink(missing_ok=True)
        elif self._part_files() or (self.path.exists() and self.path.stat().st_size):
            self._check_identity()
            self._take_over(retry_failed)
        about = {**self.identity, "jsqa_hf": __version__, "processes": self.processes}
        # Without it all rows would be refused: a full disk must leave the old one.
        draft = Path(f"{self._meta}.tmp")
        draft.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, self._meta)
        if self._in_parts:
            self._parts.mkdir(exist_ok=True)

    @property
    def _in_parts(self) -> bool:
        return self.processes > 1 or self.format_name == "parquet"

    def is_missing(self, file: str) -> bool:
        """Whether a file has no row yet."""
        return self._key(file) not in self.done

    def has_error(self, file: str) -> bool:
        """Whether a file has a row with an error."""
        return self.done.get(self._key(file), False)

    @contextmanager
    def writer(self, process: int = 0) -> Iterator[Callable[[FileScore], None]]:
        """A function that writes a row and flushes it.

        Args:
            process: number of this process, from 0.
        """
        path = self._parts / f"{process:05d}.jsonl" if self._in_parts else self.path
        header = not (path.exists() and path.stat().st_size)
        with open(path, "a", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield make_writer(
                "jsonl" if self._in_parts else self.format_name, stream, self.names, curve=self.curve, header=header
            )

    def finish(self) -> None:
        """Merge what the processes wrote. To be called by one process, after all have written."""
        if self._in_parts:
            self._merge(drop_errors=False)

    def _check_identity(self) -> None:
        remedy = "write to another file, or start again with --overwrite"
        try:
            found = json.loads(self._meta.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"exists, but {self._meta.name} doesn't tell what is in it; {remedy}") from error
        for key, what in _DIFFERENCES.items():
            if found.get(key) != self.identity[key]:
                raise ValueError(f"exists, and holds scores {what}; {remedy}")

    def _take_over(self, retry_failed: bool) -> None:
        if self.format_name != "parquet" and self.path.exists():
            drop_cut_row(self.path, self.format_name)
        if self._part_files() or retry_failed:
            self._merge(drop_errors=retry_failed)
        if self.path.exists():
            self.done = {
                self._key(result.file): result.error is not None for result in read_scores(self.path, self.format_name)
            }

    def _merge(self, drop_errors: bool) -> None:
        for part in self._part_files():
            drop_cut_row(part, "jsonl")
        write_scores(self.path, self.format_name, self._all_rows(drop_errors), self.names, self.curve)
        # After a kill between these two lines, the same rows are merged again, and fall out as duplicates.
        self._remove_parts()

    def _key(self, file: str) -> str:
        return path_key(file_key(file, self.format_name))

    def _part_files(self) -> list[Path]:
        return sorted(self._parts.glob("[0-9]" * 5 + ".jsonl"))

    def _remove_parts(self) -> None:
        """Remove what the processes wrote, and its folder if nothing else is in it."""
        for part in self._part_files():
            part.unlink(missing_ok=True)
        with suppress(OSError):
            self._parts.rmdir()

    def _all_rows(self, drop_errors: bool) -> Iterator[FileScore]:
        """Rows of the file and then of the parts in turn, which restores the order of the inputs; each file once."""
        before = read_scores(self.path, self.format_name) if self.path.exists() else iter(())
        parts = [read_scores(part, "jsonl") for part in self._part_files()]
        in_turn = (result for row in zip_longest(*parts) for result in row if result is not None)
        seen = set()
        for result in chain(before, in_turn):
            key = self._key(result.file)
            if key not in seen and not (drop_errors and result.error is not None):
                seen.add(key)
                yield result


# In this order: the first that differs is told.
_DIFFERENCES = {
    "format": "in another format",
    "curve": "with another choice of --curve",
    "outputs": "of a model with other outputs",
    "model": "of another model, or of the same with other settings",
}
