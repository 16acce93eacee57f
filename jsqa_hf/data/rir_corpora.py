"""Layout of the corpus of room impulse responses and noises RIRS_NOISES (OpenSLR 28)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from .corpus import corpus_root
from .files import Listing, some_audio_files, stem

RIRS_NOISES_SUBSETS = {"simulated": "simulated_rirs", "real": "real_rirs_isotropic_noises"}

# Names of the measured responses by their source: REVERB challenge 2014, RWCP and AIR.
_MEASURED = (
    re.compile(r"(?P<source>RVB2014)_type\d_rir_(?P<room>[a-z]+\d+)_.*"),
    re.compile(r"(?P<source>RWCP)_type\d_rir_[a-z]+_(?P<room>[a-z0-9]+)_imp.*"),
    re.compile(r"(?P<source>RWCP)_(?P<room>type\d)_rir_.*"),
    re.compile(r"(?P<source>air)_type\d_air_(?:binaural|phone)_(?:bt_)?(?P<room>[a-z_]*?[a-z]\d?)_(?:\d.*|hfrp|hhp)"),
)


def list_rirs_noises(root: str, *, subsets: Sequence[str] = ("simulated", "real")) -> Listing:
    """List the impulse responses of RIRS_NOISES, without its noises.

    Simulated ones lie in `simulated_rirs/<size>room/Room<number>/`, whose room is `<size>room/Room<number>`. Measured
    ones lie in `real_rirs_isotropic_noises/` beside noises, have up to 16 channels, and have their room in their name,
    here `<source>/<room>`; where a name tells no room, it is the room itself.

    Args:
        root: The folder `RIRS_NOISES` or the folder above it.
        subsets: `"simulated"` and/or `"real"`.
    """
    if isinstance(subsets, str) or not subsets or set(subsets) - set(RIRS_NOISES_SUBSETS):
        raise ValueError(f"RIRS_NOISES has the subsets {', '.join(RIRS_NOISES_SUBSETS)}; got {subsets!r}")
    base = corpus_root(root, expected=[RIRS_NOISES_SUBSETS[subset] for subset in subsets], what="RIRS_NOISES")
    rows = []
    for subset in subsets:
        for path in some_audio_files(base / RIRS_NOISES_SUBSETS[subset]):
            name = stem(path)
            if subset == "simulated":
                size, number = path.split(os.sep)[-3:-1]
                rows.append({"audio": path, "rir_id": f"{size}/{name}", "room": f"{size}/{number}"})
            elif "_noise_" not in name:
                rows.append({"audio": path, "rir_id": name, "room": _measured_room(name)})
    return Listing(rows)


def _measured_room(name: str) -> str:
    matches = (pattern.fullmatch(name) for pattern in _MEASURED)
    return next((f"{match['source'].upper()}/{match['room']}" for match in matches if match), name)
