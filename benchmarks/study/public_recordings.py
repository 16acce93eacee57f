"""Tables of further speech and noise from public repositories, of more speakers, languages and devices.

    python benchmarks/study/public_recordings.py --recordings RECORDINGS --tables runs/tables --output_dir runs/tables

`RECORDINGS` has a checkout of each repository of `SOURCES` in a folder `owner+name`; what is not there is left out.
Writes `public_speech.csv`, and `public_noise.csv` with the training noise of `noise.csv` in `--tables`, all with the
`split` train; and `natural.csv`, of recordings that nothing is trained on, to see what a model makes of other rooms,
devices and, but for one repository, voices. Kinds of noise that `tables.py` keeps for tests are left out. This only
writes down where recordings lie: read their licences before you use them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from micro import Row, write_table

from jsqa_hf.audio import decode_audio
from jsqa_hf.data.corpus import read_table
from jsqa_hf.training import parse_arguments, run_script

# Shorter ones are hardly rated; longer speech is no single utterance.
SHORTEST_S, LONGEST_S = 2.5, 40.0
# Largest amplitude of what counts as silent.
SILENT = 1e-3
# Words in the names of kinds of noise that only test.
TEST_NOISE_WORDS = ("coffee", "night", "train", "helicopter", "tap")


@dataclass(frozen=True)
class Source:
    """Recordings of a repository.

    Attributes:
        repository: on GitHub.
        commit: that was used.
        licence: of the recordings, as the repository states it.
        patterns: of the files.
        kind: what they are for; `natural` is for tests.
        at_most: so many files, evenly from all.
    """

    repository: str
    commit: str
    licence: str
    patterns: tuple[str, ...]
    kind: Literal["speech", "noise", "natural"] = "speech"
    at_most: int | None = None


SOURCES = (
    Source(
        "jimbozhang/speechocean762",
        "613968e",
        "CC BY 4.0 (openslr.org/101)",
        ("WAVE/*/*.WAV",),
    ),
    Source("smc/msc", "8fb543a", "CC BY-SA 4.0", ("audio/*.webm",)),
    Source("rhasspy/dataset-voice-kerstin", "f731271", "CC0 1.0", ("verified/**/*.flac", "verified/**/*.wav")),
    Source("rhasspy/dataset-voice-nathalie", "3b3e91f", "CC0 1.0", ("verified/**/*.flac", "verified/**/*.wav")),
    Source("wehup/asterisk-sounds", "e914b70", "CC BY-SA", ("en/**/*.wav", "es/**/*.wav")),
    Source("Picovoice/wake-word-benchmark", "8491919", "Apache-2.0", ("audio/**/*.flac",)),
    Source("Picovoice/leopard", "f0d80c6", "Apache-2.0", ("resources/audio_samples/*.wav",)),
    Source("Picovoice/rhino", "b65a53b", "Apache-2.0", ("resources/audio_samples/*.wav",)),
    Source("Picovoice/porcupine", "b42ec9f", "Apache-2.0", ("resources/audio_samples/*.wav",)),
    # An excerpt of LJSpeech.
    Source("coqui-ai/TTS", "dbf1a08", "public domain", ("tests/data/ljspeech/wavs/*.wav",)),
    Source("gveres/donateacry-corpus", "6baf5ac", "ODbL 1.0", ("**/*.wav",), "noise", 40),
    Source("mateusfg7/Noisekun", "d32024c", "CC0, CC BY, CC BY-SA", (".github/assets/sounds/*.ogg",), "noise"),
    Source("DrunkenToast/gui-project", "52d6f58", "CC BY, CC0", ("sounds/*.ogg",), "noise"),
    Source("jtgsystems/modern-alarm-clock", "552ffc6", "CC0", ("public/sfx/*.mp3",), "noise"),
    Source(
        "hsbakshi/ambient-engine", "52201da", "public domain, CC BY", ("packages/web/public/assets/*.mp3",), "noise"
    ),
    Source("sonic-pi-net/sonic-pi", "c0002065", "CC0", ("etc/samples/*.flac",), "noise", 10),
    Source("scikit-maad/scikit-maad", "a726add", "BSD-3-Clause", ("data/indices/*.wav",), "noise", 8),
    Source("Sakshee5/alphanumeric-audio-dataset", "6c9a38e", "MIT", ("audio_data/**/*.*",), "natural"),
    # Stories, where the rest of the repository is single sentences; the speakers may be among those of the sentences.
    Source("smc/msc", "8fb543a", "CC BY-SA 4.0", ("story/**/*.wav",), "natural"),
    Source("pbxware/asterisk-sounds", "92a92f9", "CC BY 3.0", ("**/*.wav",), "natural"),
)


@dataclass
class RecordingsArguments:
    """From where to where."""

    recordings: str = field(metadata={"help": "folder of the checkouts, each named owner+name"})
    tables: str = field(metadata={"help": "folder of noise.csv, as tables.py writes it"})
    output_dir: str = field(metadata={"help": "folder for the tables"})


def files_of(source: Source, recordings: Path) -> list[Path]:
    """Its recordings that are of use, sorted."""
    folder = recordings / source.repository.replace("/", "+")
    found = sorted({path for pattern in source.patterns for path in folder.glob(pattern)})
    if source.kind == "noise":
        found = [path for path in found if not any(word in path.stem.lower() for word in TEST_NOISE_WORDS)]
    longest = math.inf if source.kind == "noise" else LONGEST_S
    useful = [path for path in found if "silence" not in path.parts and _is_useful(path, longest)]
    step = len(useful) / min(len(useful), source.at_most or len(useful)) if useful else 1
    return [useful[int(index * step)] for index in range(round(len(useful) / step))]


def _is_useful(path: Path, longest_s: float) -> bool:
    try:
        samples, rate = decode_audio(path)
    except (OSError, ValueError):
        return False
    return SHORTEST_S <= samples.shape[-1] / rate <= longest_s and abs(samples).max() > SILENT


def rows_of(kind: str, recordings: Path) -> Iterator[Row]:
    """Rows of a table."""
    for source in SOURCES:
        if source.kind != kind:
            continue
        files = files_of(source, recordings)
        print(f"{kind}: {len(files)} of {source.repository}")
        for number, path in enumerate(files):
            name = f"{source.repository}/{number}"
            file = str(path.resolve())
            if kind == "noise":
                yield {"file": file, "noise_id": name, "type": source.repository, "split": "train"}
            else:
                split = "test" if kind == "natural" else "train"
                yield {"file": file, "speech_id": name, "speaker_id": source.repository, "split": split}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables."""
    (args,) = parse_arguments((RecordingsArguments,), argv)
    recordings, target = Path(args.recordings), Path(args.output_dir)
    noise = [row for row in read_table(Path(args.tables) / "noise.csv", ("file",)) if row["split"] == "train"]
    write_table(target / "public_speech.csv", list(rows_of("speech", recordings)))
    write_table(target / "public_noise.csv", noise + list(rows_of("noise", recordings)))
    write_table(target / "natural.csv", list(rows_of("natural", recordings)))


if __name__ == "__main__":
    sys.exit(run_script(main))
