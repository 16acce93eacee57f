"""Are JND pairs what they claim to be? Listeners' answers and judges' distances, for every distortion.

    python benchmarks/verify_jnd.py --speech SPEECH --noise NOISE --rirs RIRS --human_jnd LABELS --output_dir OUT

Writes into the output folder

- `listeners.json`, `listeners.png`: psychometric curves of the answers of PerceptualAudio;
- `thresholds.json`, `thresholds-JUDGE.md`: calibration of each judge, the steps that it finds as large as steps of the
  SNR, and what follows for the thresholds of the package. Among them are attenuations of two bands: listeners judged
  these, too, so they tell whether a judge that is calibrated on noise is right about something else;
- `draws.json`: how far apart each judge finds two draws of the same white noise at the same SNR. Listeners hardly tell
  them apart, we assume, so a judge that does cannot be asked about distortions which are drawn anew at each severity;
- `pairs.json`, `pairs-JUDGE.md`, `pairs-JUDGE.png`: how each judge finds the pairs that the package makes.

With `--parts` only some are made anew.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from listeners import describe_listeners
from numpy.typing import NDArray
from peers import SAMPLING_RATE
from threshold_tables import fit_as_json, fits_as_markdown, suggestions_as_markdown

from jsqa_hf.data import load_noise, load_rirs, load_speech, parse_source
from jsqa_hf.jnd import JNDPairGenerator, Threshold, mix_at_snr
from jsqa_hf.jnd.calibration import Calibration, calibrate
from jsqa_hf.jnd.distortions import (
    AdditiveNoise,
    Distorted,
    Distortion,
    Draw,
    Stage,
    make_distortion,
    registered_distortions,
)
from jsqa_hf.jnd.excerpts import draw_speech
from jsqa_hf.jnd.judges import Judge, make_judge
from jsqa_hf.jnd.threshold_fit import ThresholdFit, fit_threshold
from jsqa_hf.jnd.verification_report import (
    calibration_as_json,
    finite,
    plot_report,
    report_as_json,
    report_as_markdown,
)
from jsqa_hf.jnd.verify import verify
from jsqa_hf.training import parse_arguments, run_script

DURATION_S = 3.0


@dataclass
class VerificationArguments:
    """What to verify on which material."""

    speech: str = field(metadata={"help": "folder of clean speech, one folder or file name prefix per speaker"})
    noise: str = field(metadata={"help": "folder of noise"})
    output_dir: str = field(metadata={"help": "folder for the results"})
    rirs: str | None = field(default=None, metadata={"help": "folder of room impulse responses"})
    human_jnd: str | None = field(default=None, metadata={"help": "folder of the label files of PerceptualAudio"})
    judges: list[str] = field(
        default_factory=lambda: ["zimtohrli", "pesq", "visqol"], metadata={"help": "whom to ask about pairs"}
    )
    threshold_judges: list[str] = field(
        default_factory=lambda: ["zimtohrli"],
        metadata={"help": "whom to ask about thresholds, a slow thing"},
    )
    distortions: list[str] = field(default_factory=list, metadata={"help": "only these; default: all"})
    parts: list[str] = field(
        default_factory=lambda: ["listeners", "thresholds", "draws", "pairs"],
        metadata={"help": "which results to make"},
    )
    utterances: int = field(default=6, metadata={"help": "for the calibration and the thresholds"})
    ladders: int = field(default=12, metadata={"help": "of two levels, per distortion"})
    seed: int = field(default=0, metadata={"help": "of all that is drawn"})


@dataclass
class Material:
    """What the distortions are tried on."""

    speech: datasets.Dataset
    utterances: list[NDArray[np.float32]]
    distortions: dict[str, Distortion]


def gather(args: VerificationArguments) -> Material:
    """Load speech, noise and rooms, and make all distortions that they suffice for."""
    speech = load_speech(*parse_source(args.speech))
    order = np.random.default_rng(args.seed).permutation(len(speech)).tolist()
    listened, talkers = order[: args.ladders], order[args.ladders :]
    material: dict[Any, Any] = {"noise": load_noise(*parse_source(args.noise)), "talkers": speech.select(talkers)}
    if args.rirs:
        material["rirs"] = load_rirs("folder", args.rirs)
    names = args.distortions or list(registered_distortions())
    distortions = {}
    for name in names:
        needed = registered_distortions()[name].material
        try:
            if needed is None or needed in material:
                distortions[name] = make_distortion(name, material)
        except ImportError as error:
            print(f"left out {name}: {error}")
    chosen = speech.select(listened)
    excerpts = [
        draw_speech(np.random.default_rng([args.seed, index]), row["audio"], SAMPLING_RATE, DURATION_S).samples
        for index, row in enumerate(chosen.select(range(args.utterances)))
    ]
    return Material(chosen, excerpts, distortions)


class BandAttenuation(Distortion):
    """Attenuation of one band, as the listeners of PerceptualAudio judged it; the form of their filters is not known.

    Args:
        name: Of the band.
        band_hz: Its edges; the gain changes over a sixth of an octave around them.
    """

    name = "band-attenuation"
    summary = "attenuation of a band; severity: dB"
    stage = Stage.TERMINAL
    # The steps only set the grid of the search.
    threshold = Threshold("attenuation", "dB", 3.0, 10.0, "none: for comparison with listeners only", assumption=True)
    severity_range = (0.0, 20.0)

    def __init__(self, name: str, band_hz: tuple[float, float]) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]
        self.band_hz = band_hz

    def distort(
        self, speech: NDArray[Any], severities: Sequence[float], draw: Draw, sampling_rate: int
    ) -> list[Distorted]:
        """Attenuate the band with zero phase."""
        spectrum = np.fft.rfft(speech)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(speech.size, 1 / sampling_rate), 1.0))
        low, high = np.log2(self.band_hz)
        inside = np.clip(0.5 + 6 * np.minimum(octaves - low, high - octaves), 0, 1)
        gains = [10 ** (-severity / 20 * inside) for severity in severities]
        return [Distorted(np.fft.irfft(spectrum * gain, speech.size), {}) for gain in gains]


LISTENED_BANDS = {
    "attenuation below 500 Hz": BandAttenuation("attenuation below 500 Hz", (1.0, 500.0)),
    "attenuation 500 to 1000 Hz": BandAttenuation("attenuation 500 to 1000 Hz", (500.0, 1000.0)),
}


def fit_all(judge: Judge, calibration: Calibration, material: Material, seed: int) -> list[ThresholdFit]:
    """Fit all distortions to one judge."""
    fits = []
    for name, distortion in (LISTENED_BANDS | material.distortions).items():
        what = f"{judge.name}: steps of {name}"
        fit = timed(what, fit_threshold, distortion, material.utterances, judge, calibration, SAMPLING_RATE, seed=seed)
        fits += [fit] if fit is not None else []
    return fits


def between_draws(judge: Judge, calibration: Calibration, material: Material, seed: int) -> dict[str, float]:
    """Median step of the SNR in dB that two draws of white noise at the same SNR are as large as, by SNR in dB."""
    steps = {}
    for snr_db in (0.0, 10.0, 20.0, 30.0):
        distances = []
        for index, utterance in enumerate(material.utterances):
            noises = np.random.default_rng([seed, index]).standard_normal((2, utterance.size))
            first, second = (mix_at_snr(utterance, noise, snr_db, SAMPLING_RATE) for noise in noises)
            distances.append(judge.distance(first, second, SAMPLING_RATE))
        steps[f"{snr_db:g}"] = float(calibration.equivalent_step(np.median(distances)))
    return steps


def make_pairs(material: Material, seed: int) -> list[dict[str, Any]]:
    """Ladders of every distortion on all the speech."""
    rows: list[dict[str, Any]] = []
    for name, distortion in material.distortions.items():
        generator = JNDPairGenerator(distortions=[distortion], duration_s=DURATION_S, seed=seed, encoding="wav")
        output = timed(f"pairs of {name}", generator, material.speech[:])
        if output is not None:
            rows += [{column: output[column][index] for column in output} for index in range(len(material.speech))]
    return rows


def timed(what: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call, and tell how long it took; None if the material does not allow it."""
    started = time.perf_counter()
    try:
        result = function(*args, **options)
    except (ValueError, ImportError) as error:
        print(f"{what}: not possible: {error}", flush=True)
        return None
    print(f"{what}: {time.perf_counter() - started:.0f} s", flush=True)
    return result


def write(path: Path, results: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(finite(results), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Run and write the results."""
    (args,) = parse_arguments((VerificationArguments,), argv)
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    listeners = None
    if args.human_jnd:
        listeners, figures = describe_listeners(args.human_jnd, output / "listeners.png", args.seed)
        write(output / "listeners.json", figures)
    material = gather(args)
    noise = AdditiveNoise(load_noise(*parse_source(args.noise)))

    def calibrated(names: Sequence[str]) -> list[tuple[Judge, Calibration]]:
        judges = [make_judge(name) for name in names]
        return [(one, calibrate(one, material.utterances, noise, SAMPLING_RATE, seed=args.seed)) for one in judges]

    if "thresholds" in args.parts:
        thresholds = {}
        for judge, calibration in calibrated(args.threshold_judges):
            fits = fit_all(judge, calibration, material, args.seed)
            thresholds[judge.name] = {
                "calibration": calibration_as_json(calibration),
                "fits": [fit_as_json(fit) for fit in fits],
            }
            write(output / "thresholds.json", thresholds)
            tables = suggestions_as_markdown(fits) + "\n" + fits_as_markdown(fits)
            (output / f"thresholds-{judge.name}.md").write_text(tables, encoding="utf-8")
    if "draws" in args.parts:
        draws = {
            judge.name: between_draws(judge, calibration, material, args.seed)
            for judge, calibration in calibrated(args.judges)
        }
        write(output / "draws.json", draws)
    if "pairs" in args.parts:
        rows = make_pairs(material, args.seed)
        reports = {}
        for judge, calibration in calibrated(args.judges):
            report = verify(rows, judge, calibration, listeners=listeners)
            reports[judge.name] = {"by severity": report_as_json(report), "all": report_as_json(report, 1)["bins"]}
            write(output / "pairs.json", reports)
            (output / f"pairs-{judge.name}.md").write_text(report_as_markdown(report, 1), encoding="utf-8")
            plot_report(report, output / f"pairs-{judge.name}.png")


if __name__ == "__main__":
    sys.exit(run_script(main))
