"""The registered distortions as a table for people and programs.

`docs/distortions.md` is made by `jsqa distortions --format markdown > docs/distortions.md`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..pair_options import RANGE_EXAMPLE
from .distortions import registered_distortions
from .distortions.base import Distortion
from .verification_report import markdown_table

_INTRODUCTION = f"""\
# Distortions

<!-- Made from the registered distortions; do not edit. Anew with:
     jsqa distortions --format markdown > docs/distortions.md -->

What pairs can be made of, in the order in which a chain applies them. Each ladder varies the severity of one of them.
Two clips that are at most *just noticeable* apart count as equal in quality, those at least *clearly different* apart
as different; what lies between is not used. On a logarithmic scale steps are factors (×); `≥` marks those that are
larger in a part of the range. Where a codec narrows its band at once, as Opus and MP3 do, no two clips of a pair lie
on both sides.

`jsqa pairs --distortions` takes the names, chains such as `room+noise+opus`, other ranges such as `{RANGE_EXAMPLE}`,
and `all`. Names with a `*` have steps that are no published thresholds of listeners; how they were set is told below.
"""


@dataclass(frozen=True)
class CatalogueEntry:
    """What there is to know of a distortion before it is used.

    Attributes:
        name, summary: See `Distortion`.
        stage: Its place in a chain, in lower case.
        quantity, unit, scale: Of the severity.
        severity_range: Lowest and highest severity by default.
        severity_grid: The only severities there are; None if all between are.
        worse: Which end of the severity is the worse one.
        just_noticeable, clearly_different: Steps, as in `Threshold`.
        growth: Where steps must be larger, as in `Threshold`.
        source: Where the steps come from.
        assumption: Whether they are no published thresholds of listeners.
        material: Recordings needed: `noise`, `talkers` or `rirs`; None for none.
        requires: Modules needed outside of the core installation.
    """

    name: str
    summary: str
    stage: str
    quantity: str
    unit: str
    scale: Literal["linear", "log"]
    severity_range: tuple[float, float]
    severity_grid: tuple[float, ...] | None
    worse: str
    just_noticeable: float
    clearly_different: float
    growth: tuple[tuple[float, float], ...]
    source: str
    assumption: bool
    material: str | None
    requires: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """Modules of `requires` that are not installed."""
        return [module for module in self.requires if importlib.util.find_spec(module) is None]

    @property
    def needs(self) -> str:
        """Material and modules in words; empty if nothing is needed."""
        needed = [f"--{self.material}"] if self.material else []
        return ", ".join([*needed, *(f"module {module}" for module in self.requires)])

    @property
    def range_text(self) -> str:
        """Range, or the severities there are, with the unit."""
        values = self.severity_grid or self.severity_range
        return (
            f"{(', ' if self.severity_grid else ' to ').join(f'{value:g}' for value in values)} {self.unit}".rstrip()
        )

    @property
    def steps_text(self) -> tuple[str, str]:
        """Just noticeable and clearly different step with unit, or as a factor; the second with `≥` where it grows."""
        if self.scale == "log":
            small, large = f"× {self.just_noticeable:g}", f"× {self.clearly_different:g}"
        else:
            small, large = (
                f"{step:g} {self.unit}".rstrip() for step in (self.just_noticeable, self.clearly_different)
            )
        return small, f"≥ {large}" if self.growth else large


def catalogue() -> list[CatalogueEntry]:
    """All registered distortions, in the order of their stages and of their names."""
    return [_entry(name, distortion) for name, distortion in registered_distortions().items()]


def _entry(name: str, distortion: type[Distortion]) -> CatalogueEntry:
    threshold = distortion.threshold
    return CatalogueEntry(
        name=name,
        summary=distortion.summary,
        stage=distortion.stage.name.lower(),
        quantity=threshold.quantity,
        unit=threshold.unit,
        scale=threshold.scale,
        severity_range=distortion.severity_range,
        severity_grid=distortion.severity_grid,
        worse=distortion.worse,
        just_noticeable=threshold.just_noticeable,
        clearly_different=threshold.clearly_different,
        growth=threshold.growth,
        source=threshold.source,
        assumption=threshold.assumption,
        material=distortion.material,
        requires=distortion.requires,
    )


def as_table(entries: Sequence[CatalogueEntry]) -> str:
    """Columns for a terminal."""
    rows = [("name", "range", "JND", "clear", "needs", "")]
    for entry in entries:
        steps = entry.steps_text
        needs = entry.needs + (" (not installed)" if entry.missing else "")
        name = entry.name + ("*" if entry.assumption else "")
        rows.append((name, _shortened(entry.range_text), *steps, needs or "-", entry.summary))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[5]]).rstrip() for row in rows]
    return "\n".join(
        [
            *lines,
            "",
            "* no published thresholds of listeners; ≥ larger in a part of the range; --format markdown has sources",
        ]
    )


def as_markdown(entries: Sequence[CatalogueEntry]) -> str:
    """The page `docs/distortions.md`: a table, and the sources of the steps."""
    header = ["name", "what it is", "stage", "range", "worse", "just noticeable", "clearly different", "needs"]
    rows = [
        [
            entry.name + ("*" if entry.assumption else ""),
            entry.summary,
            entry.stage,
            entry.range_text,
            entry.worse,
            *entry.steps_text,
            entry.needs or "nothing",
        ]
        for entry in entries
    ]
    sources = [
        f"- **{entry.name}** ({entry.quantity}{', assumption' if entry.assumption else ''}): {entry.source.strip()}"
        for entry in entries
    ]
    return "\n".join([_INTRODUCTION, markdown_table(header, rows), "", "## Where the steps come from", "", *sources])


def as_json(entries: Sequence[CatalogueEntry]) -> str:
    """A list of objects with the attributes of `CatalogueEntry`."""
    return json.dumps([entry.__dict__ for entry in entries], indent=2)


CATALOGUE_FORMATS: dict[str, Callable[[Sequence[CatalogueEntry]], str]] = {
    "table": as_table,
    "markdown": as_markdown,
    "json": as_json,
}


def _shortened(text: str, length: int = 28) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
