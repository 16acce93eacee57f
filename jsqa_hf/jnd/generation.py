"""From sources of recordings to a dataset of JND pairs on disk: what `jsqa pairs` and the training script do."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..data import load_noise, load_rirs, load_speech, parse_source
from ..pair_options import PairOptions
from .distortions.base import Distortion, Material
from .interruption import interruptible, raise_if_interrupted
from .judges import JUDGES
from .new_folder import RECORD_NAME, new_folder
from .pair_record import Sources, pairs_summary, rirs_used, write_record
from .pairs import JNDPairGenerator
from .selection import make_distortions, needed_material

# That of datasets for its own files.
SHARD_BYTES = 500_000_000
# Small, as a batch of long clips is held in memory.
BATCH_SIZE = 16

_ERROR = "error"


@dataclass
class GeneratedPairs:
    """What a run made.

    Attributes:
        folder: Where it lies.
        summary: One line: how much there is, of what.
        skipped: Why ladders were left out, by `content_id`.
        notes: What else the user should know, one line each.
    """

    folder: Path
    summary: str
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class LadderMaker:
    """A `JNDPairGenerator` for `Dataset.map` that can go on after unusable speech.

    Args:
        generator: Makes the ladders.
        utterances: Number of rows after which the same speech follows again, as the next repetition.
        skip: Give a row with nothing but `content_id` and the reason in the column `error` instead of raising.
    """

    def __init__(self, generator: JNDPairGenerator, utterances: int, skip: bool) -> None:
        self.generator = generator
        self.utterances = utterances
        self.skip = skip

    @property
    def features(self) -> datasets.Features:
        """Those of the generator, and `error`."""
        return datasets.Features({**self.generator.features, _ERROR: datasets.Value("string")})

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        """Make one ladder of every row."""
        rows = []
        for position, index in enumerate(indices):
            raise_if_interrupted()
            row = {column: values[position : position + 1] for column, values in batch.items()}
            rows.append(self._ladder({**row, "repetition": [index // self.utterances]}))
        return {column: [row[column] for row in rows] for column in self.features}

    def _ladder(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        try:
            made = self.generator(batch)
        except ValueError as error:
            if not self.skip:
                raise ValueError(f"{error}. Speech that cannot be used is left out with --on-error skip") from error
            content_id = self.generator.content_id(batch["speech_id"][0], batch["repetition"][0])
            return {**dict.fromkeys(self.features), "content_id": content_id, _ERROR: str(error)}
        return {**{column: values[0] for column, values in made.items()}, _ERROR: None}


def generate_pairs(options: PairOptions, command: Sequence[str] = ()) -> GeneratedPairs:
    """Make JND pairs and save them, with a record of how; all of it or, if anything fails, nothing.

    Args:
        options: What to make.
        command: Words of the command line, for the record.

    Raises:
        FileExistsError: If the folder holds something; with `overwrite`, only if that is no dataset of pairs.
        OSError: If recordings are missing or the folder cannot be written.
        ValueError: For options that contradict each other and, unless it is to be skipped, unusable speech.
        ImportError: If a distortion needs a module that is not installed.
    """
    folder = Path(options.output_dir).resolve()
    needed = needed_material(options.distortions)
    _check_report(options)
    with new_folder(folder, overwrite=options.overwrite) as unfinished, interruptible():
        sources, notes = load_sources(options)
        selection = make_distortions(
            options.distortions,
            sources.material,
            {"noise": _noise_options(options)},
            sampling_rate=options.sampling_rate,
            accept=lambda distortion: _generator([[distortion]], options),
        )
        notes += [f"without {name}: {reason}" for name, reason in selection.left_out.items()]
        used = needed | {one.material for chain in selection.chains for one in chain}
        if options.report is not None:
            used.add("noise")
        notes += [f"--{kind} was not needed" for kind in sources.material if kind not in used]
        notes += _shared_speakers(sources)
        cache = unfinished / "cache"
        cache.mkdir()
        pairs, skipped = _make_pairs(sources.speech, _generator(selection.chains, options), options, cache)
        notes += _unused_rirs(pairs, sources)
        save(pairs, unfinished, options.format, options.num_shards)
        notes += _write_preview_and_report(pairs, sources, unfinished, options)
        result = GeneratedPairs(folder, pairs_summary(pairs), skipped, notes)
        write_record(unfinished, pairs, options, sources, selection, command, skipped)
        shutil.rmtree(cache)
    return result


def _check_report(options: PairOptions) -> None:
    if options.report is None:
        return
    if options.noise is None:
        raise ValueError("--report needs --noise, as the judge is calibrated on it")
    if options.report not in JUDGES:
        raise ValueError(f"--report: there is no judge {options.report!r}; there are {', '.join(JUDGES)}")


def _write_preview_and_report(
    pairs: datasets.Dataset, sources: Sources, folder: Path, options: PairOptions
) -> list[str]:
    """Write those that are asked for; returns notes."""
    if options.preview:
        from .preview import write_preview

        write_preview(pairs, folder / "preview", options.preview)
    if options.report is None:
        return []
    from .pair_report import write_report

    try:
        return write_report(pairs, sources, folder / "report", options)
    except Exception as error:  # Whatever a judge stumbles over: the pairs took hours, and are right.
        return [f"no report: {error}"]


def load_sources(options: PairOptions) -> tuple[Sources, list[str]]:
    """Load the recordings.

    Returns:
        The sources, and what was left out of them.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        speech = _load(load_speech, "speech", options)
        loaders: dict[Material, Any] = {"noise": load_noise, "talkers": load_speech, "rirs": load_rirs}
        material = {kind: _load(loader, kind, options) for kind, loader in loaders.items() if getattr(options, kind)}
    if options.limit is not None:
        speech = speech.take(min(options.limit, len(speech)))
    return Sources(speech, material), [str(warning.message) for warning in caught]


def save(pairs: datasets.Dataset, folder: Path, file_format: str, num_shards: int | None = None) -> None:
    """Save a dataset for `load_from_disk` (`"arrow"`), or as shards in `data/` for `load_dataset` (`"parquet"`).

    `num_shards`: number of files, at most one per row (default: of up to 500 MB).
    """
    count = min(len(pairs), num_shards or max(1, -(-int(pairs.data.nbytes) // SHARD_BYTES)))
    if file_format == "arrow":
        pairs.save_to_disk(str(folder), num_shards=count)
        return
    (folder / "data").mkdir()
    for index in range(count):
        shard = pairs.shard(count, index, contiguous=True)
        shard.to_parquet(folder / "data" / f"train-{index:05d}-of-{count:05d}.parquet", batch_size=100)


def _load(loader: Any, kind: str, options: PairOptions) -> datasets.Dataset:
    split = getattr(options, f"{kind}_split")
    try:
        name, root = parse_source(getattr(options, kind))
        return loader(name, root, on_error=options.on_error, **({} if split is None else {"split": split}))
    except (ValueError, FileNotFoundError) as error:
        message = (
            str(error).replace("on_error='skip'", "--on-error skip").replace("pass split=, such as split=", "pass ")
        )
        raise type(error)(f"--{kind}: {message}") from error


def _noise_options(options: PairOptions) -> dict[str, Any]:
    low, high = options.snr_min, options.snr_max
    values = {
        "severity_range": None if low is None and high is None else _snr_range(low, high),
        "severity_grid": options.snr_grid,
        "just_noticeable": options.jnd_db,
        "clearly_different": options.min_step_db,
    }
    return {name: value for name, value in values.items() if value is not None}


def _snr_range(low: float | None, high: float | None) -> tuple[float, float]:
    from .distortions import AdditiveNoise

    default_low, default_high = AdditiveNoise.severity_range
    return default_low if low is None else low, default_high if high is None else high


def _generator(chains: Sequence[Sequence[Distortion]], options: PairOptions) -> JNDPairGenerator:
    return JNDPairGenerator(
        distortions=chains,
        levels=options.levels,
        partner=options.partner,  # type: ignore[arg-type]
        partner_step=options.partner_step,
        growing_jnd=options.growing_jnd,
        duration_s=options.duration_s,
        level_dbov=options.level_range,
        seed=options.seed,
        epoch=options.epoch,
        sampling_rate=options.sampling_rate,
        encoding=options.encoding,  # type: ignore[arg-type]
    )


def _shared_speakers(sources: Sources) -> list[str]:
    if "talkers" not in sources.material:
        return []
    shared = set(sources.speech["speaker_id"]) & set(sources.material["talkers"]["speaker_id"])
    return (
        [f"{len(shared)} speakers are both in --speech and in --talkers: some compete with themselves"]
        if shared
        else []
    )


def _unused_rirs(pairs: datasets.Dataset, sources: Sources) -> list[str]:
    if "rirs" not in sources.material:
        return []
    count = len(sources.material["rirs"])
    return [
        f"{name} was made with {len(used)} of {count} room impulse responses ({RECORD_NAME} names them); one that "
        "cannot be brought to the whole range of the severity is never used"
        for name, used in rirs_used(pairs).items()
        # Of fewer ladders some good ones may be left out by chance.
        if len(used) < count and sum(used.values()) >= 10 * count
    ]


def _make_pairs(
    speech: datasets.Dataset, generator: JNDPairGenerator, options: PairOptions, cache: Path
) -> tuple[datasets.Dataset, dict[str, str]]:
    make = LadderMaker(generator, len(speech), skip=options.on_error == "skip")
    if options.repetitions > 1:
        # Selected, as `repeat` gets slow with thousands of repetitions.
        speech = speech.select(np.tile(np.arange(len(speech)), options.repetitions))
    pairs = speech.map(
        make,
        with_indices=True,
        batched=True,
        batch_size=BATCH_SIZE,
        num_proc=options.num_proc if options.num_proc != 1 else None,
        features=make.features,
        remove_columns=speech.column_names,
        # Named, or else datasets keeps all in memory.
        cache_file_name=str(cache / "ladders.arrow"),
        desc="Generating JND pairs",
    )
    errors = pairs[_ERROR][:]
    skipped = {pairs[index]["content_id"]: error for index, error in enumerate(errors) if error is not None}
    if len(skipped) and all(error is not None for error in errors):
        raise ValueError(f"no speech could be used; the last one: {list(skipped.values())[-1]}")
    if skipped:
        pairs = pairs.select([index for index, error in enumerate(errors) if error is None])
    return pairs.remove_columns(_ERROR), skipped
