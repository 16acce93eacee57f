"""`jsqa report`: one page about the quality of many files, that needs no network."""

from ..groups import GroupSummary, summarise_groups
from .curves import add_curves
from .page import ReportOptions, choose_players, report_groups, write_report
from .results import Results, read_results

__all__ = [
    "GroupSummary",
    "ReportOptions",
    "Results",
    "add_curves",
    "choose_players",
    "read_results",
    "report_groups",
    "summarise_groups",
    "write_report",
]
