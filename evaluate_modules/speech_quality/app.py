"""The page of this metric where it is pushed to the Hub as a Space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio
from speech_quality import SpeechQualityMetrics

EXAMPLE = [[4.1, 4.3], [2.9, 2.5], [1.7, 1.6], [3.6, 3.9]]


def compute(rows: Sequence[Sequence[float | str | None]]) -> dict[str, Any]:
    """The figures of rows of a predicted and a given rating, either of which may be empty."""
    predictions, references = zip(*([None if cell == "" else cell for cell in row] for row in rows), strict=True)
    return SpeechQualityMetrics().compute(predictions=predictions, references=references)


columns = gradio.Dataframe(EXAMPLE, headers=["predictions", "references"], datatype="number", type="array")
page = gradio.Interface(compute, columns, gradio.JSON(), title="Speech quality", flagging_mode="never")

if __name__ == "__main__":
    page.launch()
