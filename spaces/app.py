"""The page of `jsqa demo` as a Hugging Face Space."""

from __future__ import annotations

from pathlib import Path

from jsqa_hf.app import launch_app, make_app
from jsqa_hf.comparison import load_comparer
from jsqa_hf.scoring import load_pipeline

EXAMPLES = Path(__file__).parent / "examples"

pipeline = load_pipeline()
app = make_app(pipeline, load_comparer(mos_model=pipeline), examples=sorted(EXAMPLES.glob("*.flac")))

if __name__ == "__main__":
    # A Space tells the address to listen on in its environment.
    launch_app(app, host=None)
