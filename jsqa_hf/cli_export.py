"""`jsqa export`."""

from __future__ import annotations

import argparse
from typing import Any

from .cli_errors import UsageError, one_line
from .cli_output import only_our_messages
from .score_formats import printable


def add_export_parser(subparsers: Any) -> None:
    """Add `jsqa export`."""
    parser = subparsers.add_parser(
        "export",
        help="write a model as an ONNX graph",
        description="Write a MOS model as an ONNX graph for clips of any length and batches of any size, check it "
        "against PyTorch, and write its configuration beside it. `jsqa score --model OUTPUT` rates with it.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="checkpoint folder or name on the Hub (default: the embedded model)"
    )
    parser.add_argument("output", metavar="OUTPUT", help="a folder, or a file that ends in .onnx")
    parser.add_argument(
        "--int8", action="store_true", help="quantise matrix products to 8 bits: smaller, no faster, not as exact"
    )
    parser.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    """Export and say what was written; returns the exit code."""
    with only_our_messages():
        from .scoring import load_pipeline

        try:
            from .onnx_export import export_onnx

            model: Any = load_pipeline(arguments.model, "cpu").model
            exported = export_onnx(model, arguments.output, arguments.int8)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise UsageError(one_line(error)) from error
    name = printable(arguments.model) if arguments.model else "the embedded model"
    print(
        f"{printable(str(exported.path))}: {name} in {exported.size / 1e6:.1f} MB, scores within "
        f"{exported.difference:.1e} of PyTorch's (on another scale than 1 to 5: in proportion)"
    )
    return 0
