"""Options of `jsqa pairs` and of `generate_jnd_pairs.py`. Imports nothing heavy, as `jsqa --help` reads them."""

from __future__ import annotations

import argparse
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# Another range of a distortion, for help and docs; one whose pairs judges confirm (docs/verification.md).
RANGE_EXAMPLE = "mnru[10:30]"


def _option(help_text: str, default: Any = MISSING, **argparse_options: Any) -> Any:
    metadata = {"help": help_text, **argparse_options}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass
class PairOptions:
    """What to make pairs from, and how."""

    speech: str = _option(
        "clean speech: a folder, a CSV file with a column file, or NAME:ROOT for a corpus (librispeech, libritts, "
        "vctk, common-voice), whose root may be hub:OWNER/NAME"
    )
    output_dir: str = _option("new folder for the dataset")
    noise: str | None = _option(
        "noise, likewise (chime3, demand, musan, audioset, fsd50k, esc50), for the distortion noise", None
    )
    talkers: str | None = _option("speech of other speakers, for the distortion talkers", None)
    rirs: str | None = _option("room impulse responses (rirs_noises), for distortions of measured rooms", None)
    speech_split: str | None = _option(
        "split of the speech: values of the column split, or parts of the corpus, with commas between them (default "
        "of librispeech, libritts and common-voice: train)",
        None,
    )
    noise_split: str | None = _option("split of the noise", None)
    talkers_split: str | None = _option("split of the talkers", None)
    rirs_split: str | None = _option("split of the room impulse responses", None)
    distortions: list[str] = _option(
        "one is drawn for each ladder: names, chains such as noise+opus, ranges of the severity such as "
        f"{RANGE_EXAMPLE}, and all for every one whose recordings and modules are at hand (default: noise)",
        ["noise"],
    )
    levels: int = _option("number of clearly different levels in a ladder (default: 2)", 2)
    repetitions: int = _option("number of ladders made of each utterance (default: 1)", 1)
    limit: int | None = _option("use the first so many utterances only", None)
    partner: str = _option(
        "how the second clip of a pair differs from the first: uniform (by up to one JND), signed (the same, towards "
        "the worse), at_threshold (by one JND), fixed (by --partner-step) (default: uniform)",
        "uniform",
    )
    partner_step: float | None = _option("difference for fixed, in the unit of the severity", None)
    growing_jnd: bool = _option("let the JND within pairs grow where the steps of the distortion do", False)
    snr_min: float | None = _option("lowest SNR of the distortion noise in dB (default: -5)", None)
    snr_max: float | None = _option("highest SNR of the distortion noise in dB (default: 40)", None)
    snr_grid: list[float] | None = _option("draw the first SNR of each pair from these only", None)
    jnd_db: float | None = _option("largest SNR difference within a pair in dB (default: 3)", None)
    min_step_db: float | None = _option("smallest SNR difference between levels in dB (default: 8)", None)
    duration_s: float | None = _option("length of the excerpts in seconds (default: whole utterances)", None)
    level_dbov: list[float] = _option(
        "level of the clips in dBov, or the lowest and the highest (default: -26)", [-26.0]
    )
    level_dbov_min: float | None = _option("lowest level, instead of --level-dbov", None)
    level_dbov_max: float | None = _option("highest level, instead of --level-dbov", None)
    sampling_rate: int = _option("of the clips, in Hz (default: 16000)", 16000)
    encoding: str = _option("of the clips: flac, wav (faster, twice the space) or array (default: flac)", "flac")
    format: Literal["arrow", "parquet"] = _option(
        "arrow is read by datasets.load_from_disk, parquet by datasets.load_dataset (default: arrow)", "arrow"
    )
    num_shards: int | None = _option(
        "number of files; a training that streams them wants a multiple of its processes times its workers (default: "
        "by their size)",
        None,
    )
    seed: int = _option("of all random draws (default: 0)", 0)
    epoch: int = _option("another one gives other pairs of the same speech (default: 0)", 0)
    num_proc: int | None = _option("number of processes (default: 1); the rows are the same for any", None)
    on_error: Literal["raise", "skip"] = _option(
        "what to do about unusable speech: raise stops, skip leaves it out and reports it (default: raise)", "raise"
    )
    preview: int = _option("so many ladders as WAV files and on a page for the browser (default: 0)", 0)
    report: str | None = _option(
        "let a judge (zimtohrli, pesq, visqol; without a name the first) compare a sample of the pairs",
        None,
        nargs="?",
        const="zimtohrli",
    )
    report_sample: int = _option("number of ladders that the judge compares (default: 100)", 100)
    overwrite: bool = _option("replace a dataset that an earlier run wrote to the same folder", False)

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(PairOptions).items():
            setattr(self, name, _checked(name, getattr(self, name), hint))
        for name, lowest in {
            "levels": 1,
            "repetitions": 1,
            "limit": 1,
            "num_proc": 1,
            "num_shards": 1,
            "preview": 0,
            "report_sample": 1,
        }.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        if not 1 <= len(self.level_dbov) <= 2:
            raise ValueError(f"level_dbov takes one level or two, got {len(self.level_dbov)}")
        self._check_noise()
        for name in ("noise", "talkers", "rirs"):
            if getattr(self, f"{name}_split") is not None and getattr(self, name) is None:
                raise ValueError(f"{name}_split is about --{name}, which isn't given")

    def _check_noise(self) -> None:
        """Refuse options of the distortion noise that would do nothing."""
        names = ("snr_min", "snr_max", "snr_grid", "jnd_db", "min_step_db")
        given = [name for name in names if getattr(self, name) is not None]
        parts = [part for chain in self.distortions for part in re.split(r"[+\s]+", chain)]
        if given and not any(part == "all" or part.partition("[")[0] == "noise" for part in parts):
            raise ValueError(f"{given[0]} is about the distortion noise, which is not among --distortions")
        of_range = [name for name in given if name in ("snr_min", "snr_max")]
        if of_range and any(part.startswith("noise[") for part in parts):
            raise ValueError(f"{of_range[0]} and noise[...] both give the range of the SNR: give one of them")
        low, high = self.snr_min, self.snr_max
        outside = [
            snr for snr in self.snr_grid or () if (low is not None and snr < low) or (high is not None and snr > high)
        ]
        if outside:
            raise ValueError(f"snr_grid has {outside[0]:g} dB, outside snr_min and snr_max")

    @property
    def level_range(self) -> tuple[float, float]:
        """Lowest and highest level in dBov."""
        low = self.level_dbov[0] if self.level_dbov_min is None else self.level_dbov_min
        high = self.level_dbov[-1] if self.level_dbov_max is None else self.level_dbov_max
        return low, high

    def as_dict(self) -> dict[str, Any]:
        """All options by name, as JSON values."""
        return asdict(self)


def add_pair_options(parser: argparse.ArgumentParser) -> None:
    """Add an argument for each option, with dashes (underscores will do as well), and one for a YAML file of them.

    Only what is given ends up in the namespace.
    """
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.yaml", help="file with options, which the command line overrides"
    )
    hints = get_type_hints(PairOptions)
    for option in fields(PairOptions):
        argument = {**_argument(option, hints[option.name]), "default": argparse.SUPPRESS}
        parser.add_argument(f"--{option.name.replace('_', '-')}", **argument)
        if "_" in option.name:
            parser.add_argument(f"--{option.name}", **{**argument, "help": argparse.SUPPRESS})


def read_pair_options(given: Mapping[str, Any], config: str | None = None) -> PairOptions:
    """Options from a YAML file and a command line.

    Args:
        given: Options by name, which override those of the file.
        config: Path of the file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a table of options, an option is missing or out of range.
    """
    known = [option.name for option in fields(PairOptions)]
    values = {**(_read_config(config, known) if config else {}), **given}
    missing = [name for name in ("speech", "output_dir") if not values.get(name)]
    if missing:
        raise ValueError(f"give {' and '.join('--' + name.replace('_', '-') for name in missing)}")
    return PairOptions(**values)


def _read_config(config: str, known: Sequence[str]) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(config).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"{config} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{config} must hold lines such as 'levels: 3'")
    unknown = sorted(str(name) for name in set(values) - set(known))
    if unknown:
        raise ValueError(f"{config}: {', '.join(unknown)} is no option; jsqa pairs --help lists them")
    for name, value in values.items():
        if name in ("distortions", "level_dbov", "snr_grid") and value is not None and not isinstance(value, list):
            values[name] = [value]
    return values


def _checked(name: str, value: Any, hint: Any) -> Any:
    """A value as its type has it, which the command line sees to, but not a YAML file."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = next(one for one in kinds if one is not type(None))
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{name} must be {' or '.join(get_args(kind))}, got {value!r}")
        return value
    if get_origin(kind) is list:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} must be a list, got {value!r}")
        return [_checked(name, one, get_args(kind)[0]) for one in value]
    try:
        # PyYAML takes 1e0 for a text.
        number = kind(value) if kind in (int, float) and not isinstance(value, bool) else value
    except (TypeError, ValueError):
        number = None
    if not isinstance(number, kind) or (kind is int and number != float(value)):
        what = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[kind]
        raise ValueError(f"{name} must be {what}, got {value!r}")
    return number


def _argument(option: Field[Any], hint: Any) -> dict[str, Any]:
    keywords = {key: value.replace("%", "%%") if key == "help" else value for key, value in option.metadata.items()}
    keywords["dest"] = option.name
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if hint is bool:
        return {**keywords, "action": "store_true"}
    if get_origin(hint) is Literal:
        return {**keywords, "choices": get_args(hint)}
    if get_origin(hint) is list:
        hint, keywords["nargs"] = get_args(hint)[0], "+"
    return {**keywords, "type": hint, "metavar": {str: "X", int: "N", float: "F"}[hint]}
