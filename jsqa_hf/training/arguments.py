"""Arguments of the training scripts: a YAML file, overridden by the command line."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig


@dataclass
class RunArguments(TrainingArguments):
    """`TrainingArguments` with other defaults.

    Logs go to TensorBoard where it is installed. Batches keep all columns, as the collators of this package make the
    models' inputs from them. Every process reads its own share of a stream, instead of getting it from the first.
    A new repository on the Hub is private. The samples that go through the model are counted, for the model card.
    Without an accelerator `use_cpu` is on: several processes would else train each for itself.

    Raises:
        ValueError: if a launcher started another number of processes than train together.
    """

    report_to: None | str | list[str] = field(
        default="tensorboard", metadata={"help": "where to log: tensorboard, wandb, mlflow, ..., several, or none"}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "leave it: the collators need the columns"})
    hub_private_repo: bool | None = field(default=True, metadata={"help": "whether a new repository is private"})
    include_num_input_tokens_seen: Literal["non_padding", "all", "no"] = field(
        default="non_padding", metadata={"help": "which samples of audio to count: non_padding, all, or no"}
    )

    def __post_init__(self) -> None:
        if self.report_to == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
            print(
                "TensorBoard is not installed (pip install 'jsqa_hf[train]'): no logs but the printed", file=sys.stderr
            )
            self.report_to = "none"
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()
        started = int(os.environ.get("WORLD_SIZE", self.world_size))
        if started != self.world_size:
            raise ValueError(
                f"{started} processes were started, but {self.world_size} of them would train together: start one per "
                "GPU with torchrun, or give --use_cpu true to train on CPUs"
            )
        if isinstance(self.accelerator_config, AcceleratorConfig) and self.accelerator_config.dispatch_batches is None:
            self.accelerator_config.dispatch_batches = False


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
        values = _read_yaml(parser, config)
        unknown = set(values) - {action.dest for action in parser._actions}
        if unknown:
            parser.error(f"{config}: {', '.join(sorted(unknown))} is not an argument; --help lists them")
        for action in parser._actions:
            if action.dest in values:
                action.required = False
                if action.nargs in ("+", "*") and not isinstance(values[action.dest], list):
                    # One value of several that there may be; a text would be read letter by letter.
                    values[action.dest] = None if values[action.dest] is None else [values[action.dest]]
        parser.set_defaults(**values)
    *parsed, unused = parser.parse_args_into_dataclasses(
        words, return_remaining_strings=True, look_for_args_file=False
    )
    if unused:
        parser.error(f"unrecognized arguments: {' '.join(unused)}")
    return tuple(parsed)


def _read_yaml(parser: HfArgumentParser, config: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except OSError as error:
        parser.error(f"{config}: {error.strerror}")
    except yaml.YAMLError as error:
        parser.error(f"{config}: {error}")
    if not isinstance(values, dict):
        parser.error(f"{config}: must hold lines of the form `argument: value`")
    return {str(name): value for name, value in values.items()}


def resolved_arguments(arguments: Sequence[Any]) -> dict[str, Any]:
    """All values that a run works with, by name, as JSON can hold them.

    Args:
        arguments: dataclass instances from [`parse_arguments`].
    """
    resolved: dict[str, Any] = {}
    for part in arguments:
        if isinstance(part, TrainingArguments):
            # It hides tokens.
            resolved |= part.to_dict()
        elif is_dataclass(part):
            resolved |= {one.name: getattr(part, one.name) for one in fields(part)}
    return resolved
