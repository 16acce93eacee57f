"""What is written beside a dataset of pairs: how it was made, for people (README.md) and programs (JSON)."""

from __future__ import annotations

import json
import platform
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import soundfile

from .. import __version__
from ..pair_options import PairOptions
from .distortions.base import Distortion, Material
from .new_folder import RECORD_NAME
from .selection import Selection
from .verification_report import markdown_table

# Those whose version can change a sample.
_PACKAGES = ("datasets", "numpy", "scipy", "soundfile", "soxr", "av")


@dataclass
class Sources:
    """Recordings that pairs are made of.

    Attributes:
        speech: One row per utterance.
        material: Recordings for distortions.
    """

    speech: datasets.Dataset
    material: dict[Material, datasets.Dataset]


def pairs_summary(pairs: datasets.Dataset) -> str:
    """One line: how much there is, of which distortions, and how the SNRs are distributed."""
    clips = _clips(pairs)
    text = f"{len(pairs)} ladders, {clips} clips, {_hours(pairs):.2f} h"
    counts = Counter(pairs["distortion"])
    if set(counts) != {"noise"}:
        text += "; " + ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    snrs_db = np.array([snr for snrs in pairs["snr_db"] if snrs for snr in snrs])
    if not snrs_db.size:
        return text
    edges = np.arange(np.floor(snrs_db.min() / 10), np.floor(snrs_db.max() / 10) + 2) * 10
    shares = np.histogram(snrs_db, bins=edges)[0] / snrs_db.size
    bins = zip(edges, edges[1:], shares, strict=False)
    return f"{text}; SNR " + ", ".join(f"{low:.0f} to {high:.0f} dB: {share:.0%}" for low, high, share in bins)


def rirs_used(pairs: datasets.Dataset) -> dict[str, dict[str, int]]:
    """Number of ladders by distortion of measured rooms and `rir_id`."""
    used: dict[str, Counter[str]] = {}
    for provenance in pairs["provenance"]:
        for link in json.loads(provenance)["chain"]:
            if "rir_id" in link:
                used.setdefault(link["distortion"], Counter())[link["rir_id"]] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(used.items())}


def write_record(
    folder: Path,
    pairs: datasets.Dataset,
    options: PairOptions,
    sources: Sources,
    selection: Selection,
    command: Sequence[str],
    skipped: Mapping[str, str],
) -> None:
    """Write `jsqa_pairs.json` and `README.md`.

    Args:
        folder: Where to.
        pairs: What was made.
        options, sources, selection: Of what.
        command: Words of the command line.
        skipped: Why ladders were left out, by `content_id`.
    """
    record = {
        "command": shlex.join(command),
        "options": options.as_dict(),
        "versions": _versions(selection),
        "sources": _sources(options, sources),
        "distortions": [[_describe(one) for one in chain] for chain in selection.chains],
        "left_out": selection.left_out,
        "ladders": len(pairs),
        "clips": _clips(pairs),
        "hours": round(_hours(pairs), 6),
        "ladders_by_distortion": dict(sorted(Counter(pairs["distortion"]).items())),
        "skipped": dict(skipped),
        "rirs_used": rirs_used(pairs) if "rirs" in sources.material else {},
        "fingerprint": pairs._fingerprint,
    }
    (folder / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(record, pairs_summary(pairs), options, folder), encoding="utf-8")


def _clips(pairs: datasets.Dataset) -> int:
    return sum(map(len, pairs["severity"]))


def _hours(pairs: datasets.Dataset) -> float:
    return float(np.dot(pairs["duration_s"][:], [len(row) for row in pairs["severity"]])) / 3600


def _versions(selection: Selection) -> dict[str, str]:
    packages = list(_PACKAGES)
    modules = {module for chain in selection.chains for one in chain for module in one.requires}
    if modules:
        found = packages_distributions()
        packages += sorted({found[module][0] for module in modules if module in found})
    versions = {"jsqa_hf": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**versions, "libsndfile": soundfile.__libsndfile_version__}


def _sources(options: PairOptions, sources: Sources) -> dict[str, Any]:
    tables: dict[str, datasets.Dataset] = {"speech": sources.speech}
    for material, recordings in sources.material.items():
        tables[material] = recordings
    return {
        kind: {
            "source": getattr(options, kind),
            "split": getattr(options, f"{kind}_split"),
            "recordings": len(rows),
            "fingerprint": rows._fingerprint,
        }
        for kind, rows in tables.items()
    }


def _describe(distortion: Distortion) -> dict[str, Any]:
    threshold = distortion.threshold
    return {
        "name": distortion.name,
        "quantity": threshold.quantity,
        "unit": threshold.unit,
        "severity_range": distortion.severity_range,
        "severity_grid": distortion.severity_grid,
        "just_noticeable": threshold.just_noticeable,
        "clearly_different": threshold.clearly_different,
        "assumption": threshold.assumption,
    }


def _readme(record: Mapping[str, Any], summary: str, options: PairOptions, folder: Path) -> str:
    # The list of files keeps load_dataset from taking the WAV files of the preview for the dataset.
    files = "configs:\n- config_name: default\n  data_files: data/*.parquet\n" if options.format == "parquet" else ""
    load = "load_dataset(FOLDER)" if options.format == "parquet" else "load_from_disk(FOLDER)"
    sources = [
        [kind, str(entry["source"]), str(entry["split"] or ""), str(entry["recordings"]), entry["fingerprint"]]
        for kind, entry in record["sources"].items()
    ]
    distortions = [
        ["+".join(one["name"] for one in chain), ", ".join(f"{_range(one)} {one['unit']}".rstrip() for one in chain)]
        for chain in record["distortions"]
    ]
    further = [path for path in ("preview/index.html", "report/report.md") if (folder / path).is_file()]
    lines = [
        f"---\ntags:\n- audio\n- speech-quality\n{files}---",
        "# JND pairs of speech\n",
        f"{summary}.\n",
        "A ladder is one excerpt of speech under one distortion, at several clearly different levels with two clips "
        "each that listeners can hardly tell apart. The columns are described by `jsqa_hf.jnd.JNDPairGenerator`; read "
        f"them by `datasets.{load}`. All that it takes to make them anew is in `{RECORD_NAME}`.\n",
        *[f"See also [{path}]({path}).\n" for path in further],
        "## Command\n",
        f"```\n{record['command'].replace('`', '')}\n```\n",
        "## Sources\n",
        markdown_table(["", "source", "split", "recordings", "fingerprint"], sources),
        "\nThe licences of the sources hold for what was made of them.\n",
        "## Distortions\n",
        markdown_table(["chain", "range of the severity"], distortions),
    ]
    if record["skipped"]:
        lines += [
            "\n## Left out\n",
            markdown_table(["ladder", "reason"], [list(item) for item in record["skipped"].items()]),
        ]
    return "\n".join(lines) + "\n"


def _range(one: Mapping[str, Any]) -> str:
    if one["severity_grid"] is not None:
        return ", ".join(f"{value:g}" for value in one["severity_grid"])
    return " to ".join(f"{value:g}" for value in one["severity_range"])
