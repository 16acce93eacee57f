"""What `claim.py` found, as Markdown and as a plot, beside what the paper claims."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from statistics_of_runs import ERRORS, METRICS, SIGNIFICANT

# Relative changes by pretraining that the paper claims (arXiv 2507.11636).
PAPER = {"rmse": -0.18, "mae": -0.19, "pcc": 0.15, "srcc": 0.17}
NAMES = {"treated": "pretraining", "control": "scratch", "neither": "neither"}
BUDGET = "simulated-"

Tables = Mapping[str, Mapping[str, Any]]


def markdown(tables: Tables, trial: bool = False) -> str:
    """The tables, and in words who wins; of a trial, that it is one."""
    lines = ["# Pretrained on JND pairs, or from scratch", ""]
    if trial:
        lines += ["**A trial, to see that everything runs: no figures to quote.**", ""]
    lines += ["Means over seeds. Relative change by pretraining, with its 95 % interval over clips and seeds; p of"]
    lines += ["the paired t-test and of Wilcoxon's test over the seeds. Clearly: the interval leaves 0 out, and p of"]
    lines += [f"the t-test is below {SIGNIFICANT}; neither is corrected for the number of figures. Changes of"]
    lines += ["correlations that may be 0 from scratch are not relative, and have no %.", ""]
    for name, table in tables.items():
        seeds = len(table["seeds"])
        lines += [f"## {name}", "", f"{table['clips']} clips, {seeds} seeds.", ""]
        lines += ["| | scratch | pretrained | change | 95 % interval | paper | t-test | Wilcoxon | better |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for metric, row in table["metrics"].items():
            cells = [
                metric.upper(),
                _number(row["control"]),
                _number(row["treated"]),
                *_change(row),
                _percent(PAPER[metric]),
                _number(row["t_test_p"]),
                _number(row["wilcoxon_p"]),
                f"{NAMES[row['better']]}{', clearly' if row['clear'] else ''}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    fewest = min((len(table["seeds"]) for table in tables.values()), default=0)
    if fewest:
        lines += [f"With {fewest} seeds, p of Wilcoxon's test can't be below {2 ** (1 - fewest):.3g}.", ""]
    return "\n".join([*lines, *verdict(tables)]) + "\n"


def verdict(tables: Tables) -> list[str]:
    """Which figures favour which arm, and which of them agree with the paper."""
    cells = [
        (f"{name} {metric.upper()}", metric, row) for name, table in tables.items() for metric, row in _rows(table)
    ]
    lines = ["## Who wins", ""]
    for arm in ("control", "treated"):
        won = [(label, row["clear"]) for label, _, row in cells if row["better"] == arm]
        clearly = [label for label, clear in won if clear]
        unclear = [label for label, clear in won if not clear]
        lines += [f"**{NAMES[arm].capitalize()} is better in {len(won)} of {len(cells)} figures**,"]
        lines += [f"in {len(clearly)} clearly, by interval and t-test.", ""]
        lines += [f"- clearly: {', '.join(clearly) or 'none'}", f"- perhaps by chance: {', '.join(unclear) or 'none'}"]
        lines.append("")
    held = [label for label, metric, row in cells if claim_within(metric, row) is True]
    missed = [label for label, metric, row in cells if claim_within(metric, row) is False]
    lines += ["The change that the paper claims"]
    lines += ["", f"- lies within the interval: {', '.join(held) or 'nowhere'}"]
    lines += [f"- lies outside: {', '.join(missed) or 'nowhere'}"]
    return lines


def claim_within(metric: str, row: Mapping[str, Any]) -> bool | None:
    """Whether the paper's change lies within the interval; None where there is none."""
    interval = row["relative_change_interval"]
    return None if interval is None else interval[0] <= PAPER[metric] <= interval[1]


def plot(tables: Tables, path: Path) -> None:
    """Relative changes with their intervals, and SRCC over the number of simulated clips."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 5, figsize=(17, 1.5 + 0.35 * len(tables)), layout="constrained")
    for axis, metric in zip(axes, METRICS, strict=False):
        for height, table in enumerate(tables.values()):
            row = table["metrics"][metric]
            if row["relative_change"] is not None:
                axis.plot(100 * row["relative_change"], height, "o", color="tab:blue")
            if (interval := row["relative_change_interval"]) is not None:
                axis.plot([100 * end for end in interval], [height, height], color="tab:blue")
        axis.axvline(0, color="black", linewidth=0.8)
        axis.axvline(100 * PAPER[metric], color="tab:red", linestyle="--", label="paper")
        better = "left" if metric in ERRORS else "right"
        axis.set(title=metric.upper(), xlabel=f"change by pretraining in %\n(better: {better})")
        axis.set_yticks(range(len(tables)), list(tables) if metric == METRICS[0] else [""] * len(tables))
        axis.set_ylim(len(tables) - 0.5, -0.5)
    axes[0].legend()
    budgets = {name.removeprefix(BUDGET): table for name, table in tables.items() if name.startswith(BUDGET)}
    for arm, label in (("treated", "pretrained"), ("control", "scratch")):
        axes[4].plot(list(budgets), [table["metrics"]["srcc"][arm] for table in budgets.values()], "o-", label=label)
    axes[4].set(title="simulated labels", xlabel="clips", ylabel="SRCC")
    if budgets:
        axes[4].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _rows(table: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(table["metrics"].items())


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f} %"


def _change(row: Mapping[str, Any]) -> tuple[str, str]:
    """Change and interval: relative, or absolute where that is not defined."""
    if row["relative_change"] is not None and row["relative_change_interval"] is not None:
        low, high = row["relative_change_interval"]
        return _percent(row["relative_change"]), f"{_percent(low)} to {_percent(high)}"
    change, interval = row["change"], row["change_interval"]
    return (
        "–" if change is None else f"{change:+.3f}",
        "–" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}",
    )
