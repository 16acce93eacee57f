"""The page of this metric where it is pushed to the Hub as a Space."""

from __future__ import annotations

import evaluate
from evaluate.utils import launch_gradio_widget

launch_gradio_widget(evaluate.load("speech_quality.py"))
