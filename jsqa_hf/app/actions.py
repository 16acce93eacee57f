"""What the app does with uploaded files, apart from how the page looks."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import soxr

from ..pipeline_jsqa import SpeechQualityPipeline
from ..score_formats import make_writer
from ..scoring import FileScore, score_files
from .fragments import comparison_html, hint_html, plots_html, problem_html, score_html
from .limits import AppLimits, Clip, read_clip

if TYPE_CHECKING:
    from ..comparison import Comparer

__all__ = ["SCORE_HINT", "Actions", "scores_csv"]

SCORE_HINT = "Upload a clip of speech, or record one, to see its score."
COMPARE_HINT = "Upload or record two clips to see how far they are apart."


class Actions:
    """The functions behind the page.

    Args:
        pipeline: Rates the clips.
        comparer: Compares them; a text says why there is none.
        limits: What is refused.
    """

    def __init__(self, pipeline: SpeechQualityPipeline, comparer: Comparer | str, limits: AppLimits) -> None:
        self.pipeline = pipeline
        self.comparer = comparer
        self.limits = limits

    @property
    def scale(self) -> tuple[float, float]:
        """Ends of the model's rating scale."""
        lowest, highest = self.pipeline.model.config.mos_score_range
        return lowest, highest

    def score(self, path: str | None) -> tuple[str, str]:
        """Rate one clip.

        Args:
            path: Of the uploaded file, None if there is none.

        Returns:
            HTML of the score, or of the reason why there is none, and of the plots.
        """
        if path is None:
            return hint_html(SCORE_HINT), ""
        name = os.path.basename(path)
        try:
            clip = read_clip(path, self.limits)
        except ValueError as error:
            return problem_html(name, str(error)), ""
        result = self._rate(path, curve=True)
        if result.error is not None:
            return problem_html(name, result.error), ""
        plots = plots_html(name, result, self._as_rated(clip), result.curve, self.scale)
        return score_html(name, result, self.scale), plots

    def compare(self, path_a: str | None, path_b: str | None) -> str:
        """Compare two clips.

        Args:
            path_a: Of an uploaded file, None if there is none.
            path_b: Of the other.

        Returns:
            HTML of the comparison, or of the reason why there is none.
        """
        if isinstance(self.comparer, str):
            return problem_html("Clips can't be compared:", self.comparer)
        if path_a is None or path_b is None:
            return hint_html(COMPARE_HINT)
        inputs = []
        for path in (path_a, path_b):
            name = os.path.basename(path)
            try:
                clip = read_clip(path, self.limits)
                inputs.append({"array": clip.samples, "sampling_rate": clip.sampling_rate, "path": name})
            except ValueError as error:
                return problem_html(name, str(error))
        try:
            comparison = self.comparer.compare(*inputs)
        except ValueError as error:
            return problem_html("", str(error))
        return comparison_html(comparison, (os.path.basename(path_a), os.path.basename(path_b)), self.scale)

    def score_many(self, paths: Sequence[str]) -> Iterator[FileScore]:
        """Rate files one after the other, whatever is wrong with some.

        Args:
            paths: Of the uploaded files.

        Returns:
            An iterator with a result for each, whose `file` is the name without folders.

        Raises:
            ValueError: there are more files than the limit.
        """
        if len(paths) > self.limits.files:
            raise ValueError(
                f"these are {len(paths)} files, but this app takes {self.limits.files} at a time; rate more with "
                "`jsqa score FOLDER`"
            )
        return (self._score_within_limits(path) for path in paths)

    def _score_within_limits(self, path: str) -> FileScore:
        name = os.path.basename(path)
        try:
            read_clip(path, self.limits)
        except ValueError as error:
            return FileScore(name, error=str(error))
        return replace(self._rate(path), file=name)

    def _as_rated(self, clip: Clip) -> Clip:
        """At most at the model's rate: one sees what is rated, and a page of minutes at 48 kHz stays small."""
        rate = self.pipeline.model.config.sampling_rate
        if clip.sampling_rate <= rate:
            return clip
        return Clip(soxr.resample(clip.samples, clip.sampling_rate, rate), rate)

    def _rate(self, path: str, curve: bool = False) -> FileScore:
        return next(iter(score_files([path], self.pipeline, curve=curve)))


def scores_csv(results: Sequence[FileScore], output_names: Sequence[str]) -> str:
    """Results as `jsqa score --format csv` writes them.

    Args:
        results: Of `Actions.score_many`.
        output_names: Names of the model's outputs.
    """
    stream = io.StringIO(newline="")
    write: Any = make_writer("csv", stream, output_names)
    for result in results:
        write(result)
    return stream.getvalue()
