"""Drawing the severities of a ladder: K clearly different levels, two indistinguishable severities at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .thresholds import Threshold

Partner = Literal["uniform", "signed", "fixed", "at_threshold"]
PARTNERS: tuple[Partner, ...] = ("uniform", "signed", "fixed", "at_threshold")

# Our choice: if none of so many ladders is free of jumps, hardly any is.
TRIED_LADDERS = 200


@dataclass(frozen=True)
class LadderSampler:
    """Draws the severities of ladders.

    A pair's difference counts in JNDs of constant size (unless `growing_jnd`), the step between levels in JNDs that
    grow where the threshold says so. Both err on the safe side: pairs are never further apart than the JND, levels
    never closer than clearly different.

    Args:
        threshold: Steps of the severity.
        severity_range: Lowest and highest severity.
        levels: Number of levels K, at least 1.
        partner: How the second severity of a pair differs from the first: `"uniform"` by up to one JND in either
            direction, `"signed"` by up to one JND towards the worse, `"fixed"` by `partner_step` and `"at_threshold"`
            by exactly one JND, both in either direction.
        partner_step: Difference for `"fixed"`, in the unit of the severity (a ratio on a logarithmic scale), at most
            one JND; 0 gives identical clips.
        grid: Draw the first severity of each pair from these values only, instead of from all of the range. The second
            is nearer than asked for where the range has no room.
        discrete: Draw the second one from the grid, too: another value within the JND, or the same where there is
            none. Needs `partner="uniform"` or `"signed"`.
        worse: Which end of the severity is the worse one.
        growing_jnd: Let the JND within pairs grow as well.
        jumps: Ranges of the severity that no pair may reach into or across, see `Distortion.jumps`.

    Raises:
        ValueError: If the arguments contradict each other, or the range is too small for the levels.
    """

    threshold: Threshold
    severity_range: tuple[float, float]
    levels: int = 2
    partner: Partner = "uniform"
    partner_step: float | None = None
    grid: tuple[float, ...] | None = None
    discrete: bool = False
    worse: Literal["lower", "higher"] = "higher"
    growing_jnd: bool = False
    jumps: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"a ladder needs at least 1 level, got {self.levels}")
        if self.partner not in PARTNERS:
            raise ValueError(f"partner must be one of {', '.join(PARTNERS)}, got {self.partner!r}")
        if (self.partner == "fixed") != (self.partner_step is not None):
            raise ValueError('partner_step goes with partner="fixed", and only with it')
        if not 0 <= self._largest_difference() <= 1 + 1e-9:
            raise ValueError(
                f"partner_step={self.partner_step} is not between no difference and one JND "
                f"({self.threshold.describe_step(self.threshold.just_noticeable)})"
            )
        if self.discrete and (self.grid is None or self.partner in ("fixed", "at_threshold")):
            raise ValueError('discrete severities need a grid and partner="uniform" or "signed"')
        if self.grid is None:
            self._check_range()
        else:
            # Kept, as hundreds of thousands of ladders are drawn from the same combinations.
            object.__setattr__(self, "_combinations", self._grid_combinations(self.grid))
        self._check_jumps()

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw one ladder: severities of shape `(levels, 2)`, the levels in random order."""
        ladder = self._sample_pairs(rng)
        while self._jumps_within(ladder):
            ladder = self._sample_pairs(rng)
        if self.partner != "signed":
            ladder = rng.permuted(ladder, axis=1)
        elif self.worse == "lower":
            ladder = ladder[:, ::-1]
        return rng.permutation(ladder)

    def _largest_difference(self) -> float:
        if self.partner_step is None:
            return 1.0
        neutral = 1.0 if self.threshold.scale == "log" else 0.0
        positions = self.threshold.position([neutral, self.partner_step], growing=False)
        return float(positions[1] - positions[0])

    def _check_range(self) -> None:
        low, high = self.threshold.position(self.severity_range)
        needed = self.levels * self._largest_difference() + (self.levels - 1) * self.threshold.clear_jnds
        # Rounding of logarithms must not refuse a range that just fits.
        if not high - low >= needed - 1e-9:
            quantity = self.threshold.quantity
            raise ValueError(
                f"{self.levels} levels of one JND ({self.threshold.describe_step(self.threshold.just_noticeable)}) "
                f"with steps of {self.threshold.describe_step(self.threshold.clearly_different)} need {needed:.2f} "
                f"JNDs, but the {quantity} range {self.severity_range} has {high - low:.2f}: widen the range, or "
                "lower levels or steps"
            )

    def _check_jumps(self) -> None:
        """Refuse a range of which hardly any ladder is without a jump within a pair."""
        rng = np.random.default_rng(0)
        if not self.jumps or not all(self._jumps_within(self._sample_pairs(rng)) for _ in range(TRIED_LADDERS)):
            return
        jumps = " and ".join(f"{low:g} and {high:g} {self.threshold.unit}".rstrip() for low, high in self.jumps)
        raise ValueError(
            f"{self.levels} levels do not fit into the {self.threshold.quantity} range {self.severity_range}: between "
            f"{jumps} the sound changes at once, so that no pair may lie there. Take a wider range, one up "
            f"to {self.jumps[0][0]:g} or one from {self.jumps[-1][1]:g} on, or lower levels or steps"
        )

    def _jumps_within(self, ladder: NDArray[np.float64]) -> bool:
        lower, upper = ladder.min(axis=1), ladder.max(axis=1)
        return any(((lower < high) & (upper > low)).any() for low, high in self.jumps)

    def _sample_pairs(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return self._sample_range(rng) if self.grid is None else self._sample_grid(rng)

    def _sample_differences(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Sizes of the differences within `count` pairs, in JNDs."""
        if self.partner in ("fixed", "at_threshold"):
            return np.full(count, self._largest_difference())
        return rng.uniform(0.0, 1.0, size=count)

    def _sample_range(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Given the differences, uniform over all placements that the range and the steps allow."""
        differences = self._sample_differences(rng, self.levels)
        low, high = self.threshold.position(self.severity_range)
        steps = self.threshold.clear_jnds
        slack = max(0.0, high - low - differences.sum() - (self.levels - 1) * steps)
        # Lower end of each pair: K sorted points in the slack, pushed apart by the pairs and steps below them.
        below = np.concatenate([[0.0], np.cumsum(differences + steps)[:-1]])
        centres = low + np.sort(rng.uniform(0.0, slack, size=self.levels)) + below + differences / 2
        # With constant JNDs a pair takes up less room than was kept for it: one JND is then at most one growing JND.
        plain = self.threshold.position(self.threshold.value(centres), growing=False)
        if self.growing_jnd:
            ladder = self.threshold.value(np.stack([centres - differences / 2, centres + differences / 2], axis=1))
        else:
            pairs = np.stack([plain - differences / 2, plain + differences / 2], axis=1)
            ladder = self.threshold.value(pairs, growing=False)
        return np.clip(ladder, *self.severity_range)

    def _grid_combinations(self, grid: Sequence[float]) -> NDArray[np.float64]:
        """All sets of K pairs of grid values, lower value first, whose levels are clearly apart. Shape `(n, K, 2)`."""
        values = np.array(sorted(set(grid)), dtype=np.float64)
        pairs = self._discrete_pairs(values) if self.discrete else [(value, value) for value in values]
        # The partner of a continuous severity can lie on either side.
        margin = 0.0 if self.discrete else 2 * self._largest_difference()
        needed = self.threshold.clear_jnds + margin - 1e-9
        valid = [
            ladder
            for ladder in combinations(sorted(pairs), self.levels)
            if all(
                self.threshold.position(upper[0]) - self.threshold.position(lower[1]) >= needed
                for lower, upper in zip(ladder, ladder[1:], strict=False)
            )
        ]
        if not valid:
            raise ValueError(
                f"no {self.levels} values of the grid {', '.join(f'{value:g}' for value in values)} are far enough "
                f"apart (steps of {self.threshold.describe_step(self.threshold.clearly_different)} beside the JND)"
            )
        return np.array(valid)

    def _discrete_pairs(self, values: NDArray[np.float64]) -> list[tuple[float, float]]:
        positions = self.threshold.position(values, growing=self.growing_jnd)
        near = [
            (float(values[i]), float(values[j]))
            for i, j in combinations(range(len(values)), 2)
            if positions[j] - positions[i] <= 1 + 1e-9
        ]
        paired = {value for pair in near for value in pair}
        return near + [(float(value), float(value)) for value in values if value not in paired]

    def _sample_grid(self, rng: np.random.Generator) -> NDArray[np.float64]:
        ladders: NDArray[np.float64] = self._combinations  # type: ignore[attr-defined]
        ladder = ladders[int(rng.integers(len(ladders)))]
        if self.discrete:
            return ladder
        first = self.threshold.position(ladder[:, 0], growing=self.growing_jnd)
        differences = self._sample_differences(rng, self.levels)
        low, high = self.threshold.position(self.severity_range, growing=self.growing_jnd)
        # No further than the range reaches on its longer side.
        differences = np.minimum(differences, np.maximum(high - first, first - low))
        up = rng.random(self.levels) < 0.5
        # Where the range ends, the partner lies on the other side.
        up = np.where(first + differences > high, False, np.where(first - differences < low, True, up))
        second = np.where(up, first + differences, first - differences)
        pairs = np.sort(np.stack([first, second], axis=1), axis=1)
        return np.clip(self.threshold.value(pairs, growing=self.growing_jnd), *self.severity_range)
