"""Clips and tables for miniature corpora."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def write_clip(path: Path, sampling_rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones(sampling_rate // 100), sampling_rate)
    return path


def write_text(path: Path, *lines: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(newline.join([*lines, ""]).encode(encoding))
    return path
