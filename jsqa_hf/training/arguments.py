"""Arguments of the training scripts: a YAML file, overridden by the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser


def parse_arguments(dataclass_types: Sequence[type], argv: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Read arguments from a YAML file and the command line.

    Args:
        dataclass_types: dataclasses as `HfArgumentParser` takes them.
        argv: command line without the program's name; `sys.argv[1:]` if None. If its first word ends in `.yaml` or
            `.yml`, the values of that file are the defaults that the rest overrides.

    Returns:
        One instance per dataclass.

    Raises:
        SystemExit: for arguments that do not exist or miss, with a message on stderr, as `argparse` does.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(list(dataclass_types), allow_abbrev=False)  # type: ignore[arg-type]
    if words and Path(words[0]).suffix in {".yaml", ".yml"}:
        config = Path(words.pop(0))
        values = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        unknown = set(values) - {action.dest for action in parser._actions}
        if unknown:
            parser.error(f"{config}: {', '.join(sorted(unknown))} is not an argument; --help lists them")
        for action in parser._actions:
            if action.dest in values:
                action.required = False
        parser.set_defaults(**values)
    *parsed, unused = parser.parse_args_into_dataclasses(
        words, return_remaining_strings=True, look_for_args_file=False
    )
    if unused:
        parser.error(f"unrecognized arguments: {' '.join(unused)}")
    return tuple(parsed)
