"""Synthetic ladders for tests of what becomes of them."""

from __future__ import annotations

from typing import Any

import numpy as np


def ladder_rows(
    count: int,
    *,
    levels: int = 2,
    speakers: int = 1,
    distortions: tuple[str, ...] = ("noise",),
    clips: bool = False,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows as of `JNDPairGenerator`, with pair mates within half a JND and levels 3.5 to 4.5 JNDs apart.

    With `clips`, short noise that gets louder by 3 dB per JND. Ladder `i` is of speaker `i % speakers`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        middles = np.cumsum(rng.uniform(3.5, 4.5, size=levels))
        positions = (middles[:, None] + rng.uniform(-0.25, 0.25, size=(levels, 2))).ravel()
        distortion = distortions[number % len(distortions)]
        row: dict[str, Any] = {
            "content_id": f"utterance-{number}#0",
            "speech_id": f"utterance-{number}",
            "speaker_id": f"speaker-{number % speakers}",
            "distortion": distortion,
            "chain": distortion,
            "severity": (3 * positions).tolist(),
            "severity_jnd": positions.tolist(),
            "snr_db": (3 * positions).tolist() if distortion == "noise" else None,
        }
        if clips:
            noise = 0.01 * rng.standard_normal(4000)
            row["clips"] = [(noise * 10 ** (3 * position / 20)).astype(np.float32) for position in positions]
        rows.append(row)
    return rows
