"""Are JND pairs what they claim to be? Listeners' answers and judges' distances, for every distortion.

    python benchmarks/verify_jnd.py --speech SPEECH --noise NOISE --rirs RIRS --human_jnd LABELS --output_dir OUT

Writes into the output folder

- `listeners.json`, `listeners.png`: psychometric curves of the answers of PerceptualAudio;
- `thresholds.json`, `thresholds-JUDGE.md`: calibration of each judge, the steps that it finds as large as steps of the
  SNR, and what follows for the thresholds of the package. Among them are attenuations of two bands: listeners judged
  these, too, so they tell whether a judge that is calibrated on noise is right about something else;
- `pairs.json`, `pairs-JUDGE.md`, `pairs-JUDGE.png`: how each judge finds the pairs that the package makes.

With `--parts` only some are made anew.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from jsqa_hf.data import load_noise_folder, load_rirs, load_speech_folder
from jsqa_hf.data.human_jnd import load_human_jnd
from jsqa_hf.jnd import JNDPairGenerator, Threshold
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
from jsqa_hf.jnd.psychometric import PsychometricCurve, answer_shares, bootstrap_changes, fit_psychometric_curve
from jsqa_hf.jnd.threshold_fit import ThresholdFit, fit_threshold
from jsqa_hf.jnd.verification_report import (
    calibration_as_json,
    finite,
    fit_as_json,
    fits_as_markdown,
    plot_report,
    report_as_json,
    report_as_markdown,
    suggestions_as_markdown,
)
from jsqa_hf.jnd.verify import verify
from jsqa_hf.training import parse_arguments

SAMPLING_RATE = 16000
DURATION_S = 3.0
# Levels of the noise, relative to that of the files of PerceptualAudio, at which it is clearly audible. Chosen after
# looking, as one of four bands.
AUDIBLE_NOISE_DB = (20 * float(np.log10(0.5)), 20.0)
NOISE_EDGES_DB = (0.0, 1.5, 3.0, 4.5, 6.0, 8.0, 12.0, 20.0, 120.0)
SHARES = (0.25, 0.5, 0.75)


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
        default_factory=lambda: ["zimtohrli", "pesq"],
        metadata={"help": "whom to ask about thresholds, a slower thing"},
    )
    distortions: list[str] = field(default_factory=list, metadata={"help": "only these; default: all"})
    parts: list[str] = field(
        default_factory=lambda: ["listeners", "thresholds", "pairs"], metadata={"help": "which results to make"}
    )
    utterances: int = field(default=8, metadata={"help": "for the calibration and the thresholds"})
    ladders: int = field(default=20, metadata={"help": "of two levels, per distortion"})
    seed: int = field(default=0, metadata={"help": "of all that is drawn"})


def listener_curves(labels: str) -> dict[str, tuple[Sequence[float], Sequence[int]]]:
    """Sizes of changes and answers, by what was changed."""
    rows = load_human_jnd(labels, subsets=["linear", "eq"])
    table = [row for row in rows if row["severity"]]
    curves: dict[str, list[tuple[float, int]]] = {}
    for row in table:
        first, second = row["severity"]
        if row["distortion"] == "noise":
            audible = AUDIBLE_NOISE_DB[0] - 1e-9 <= first <= AUDIBLE_NOISE_DB[1] + 1e-9
            if first != second:
                names = ["noise", f"noise: {row['noise_type']}"] if audible else []
                names.append("noise, any level")
            else:
                names = ["noise, same clips twice"]
            change = abs(second - first)
        elif row["distortion"] == "mp3":
            # Octaves of the bit rate below 300 kbit/s.
            names, change = ["mp3"], abs(float(np.log2(first / second)))
        else:
            names, change = [row["quantity"]], abs(second - first)
        for name in names:
            curves.setdefault(name, []).append((change, row["different"]))
    return {name: ([x for x, _ in pairs], [y for _, y in pairs]) for name, pairs in sorted(curves.items())}


def describe_listeners(labels: str, output: Path, seed: int) -> PsychometricCurve:
    """Write `listeners.json` and its plot; returns the curve of noise that is clearly audible."""
    answers = listener_curves(labels)
    _, repeated = answers.pop("noise, same clips twice")
    results: dict[str, Any] = {"share of different for the same clip twice": float(np.mean(repeated))}
    curves = {}
    for name, (changes, different) in answers.items():
        curve = curves[name] = fit_psychometric_curve(changes, different)
        intervals = bootstrap_changes(changes, different, SHARES, resamples=100, seed=seed)
        results[name] = {
            "curve": asdict(curve),
            "change_at": {
                f"{share:.0%}": {"change": curve.change_at(share), "interval": intervals[share]} for share in SHARES
            },
        }
    shares = answer_shares(*answers["noise"], edges=NOISE_EDGES_DB)
    results["noise"]["shares"] = [share._asdict() for share in shares]
    write(output / "listeners.json", results)
    plot_listeners(curves["noise"], shares, output / "listeners.png")
    return curves["noise"]


def plot_listeners(curve: PsychometricCurve, shares: Sequence[Any], path: Path) -> None:
    """Plot shares of the answer "different" and the curve through them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    steps = np.linspace(0, 30, 200)
    axes.plot(steps, curve.probability(steps), color="tab:blue", label="fitted curve")
    middles = [(share.low + min(share.high, 30.0)) / 2 for share in shares]
    values = np.array([share.share for share in shares])
    bounds = np.array([share.interval for share in shares]).T
    errors = np.abs(bounds - values)
    axes.errorbar(middles, values, yerr=errors, fmt="o", color="black", label="answers, 95 % interval")
    for step in (3.0, 8.0):
        axes.axvline(step, color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="change of the noise level in dB", ylabel='share of "different"', ylim=(0, 1))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


@dataclass
class Material:
    """What the distortions are tried on."""

    speech: datasets.Dataset
    utterances: list[NDArray[np.float32]]
    distortions: dict[str, Distortion]


def gather(args: VerificationArguments) -> Material:
    """Load speech, noise and rooms, and make all distortions that they suffice for."""
    speech = load_speech_folder(args.speech)
    order = np.random.default_rng(args.seed).permutation(len(speech)).tolist()
    listened, talkers = order[: args.ladders], order[args.ladders :]
    material: dict[Any, Any] = {"noise": load_noise_folder(args.noise), "talkers": speech.select(talkers)}
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

    def draw(self, rng: np.random.Generator, length: int, sampling_rate: int) -> Draw:
        """Nothing is drawn."""
        return Draw()

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
        fit = timed(
            f"{judge.name}: steps of {name}",
            lambda one=distortion: fit_threshold(
                one, material.utterances, judge, calibration, SAMPLING_RATE, seed=seed
            ),
        )
        fits += [fit] if fit is not None else []
    return fits


def make_pairs(material: Material, seed: int) -> list[dict[str, Any]]:
    """Ladders of every distortion on all the speech."""
    rows: list[dict[str, Any]] = []
    for name, distortion in material.distortions.items():
        generator = JNDPairGenerator(distortions=[distortion], duration_s=DURATION_S, seed=seed, encoding="wav")
        output = timed(f"pairs of {name}", lambda one=generator: one(material.speech[:]))
        if output is not None:
            rows += [{column: output[column][index] for column in output} for index in range(len(material.speech))]
    return rows


def timed(what: str, function: Callable[[], Any]) -> Any:
    """Call, and tell how long it took; None if the material does not allow it."""
    started = time.perf_counter()
    try:
        result = function()
    except (ValueError, ImportError) as error:
        print(f"{what}: not possible: {error}", flush=True)
        return None
    print(f"{what}: {time.perf_counter() - started:.0f} s", flush=True)
    return result


def write(path: Path, results: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(finite(results), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run and write the results; returns the exit code."""
    (args,) = parse_arguments((VerificationArguments,), argv)
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    listeners = describe_listeners(args.human_jnd, output, args.seed) if args.human_jnd else None
    if args.parts == ["listeners"]:
        return 0
    material = gather(args)
    noise = AdditiveNoise(load_noise_folder(args.noise))

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
    if "pairs" in args.parts:
        rows = make_pairs(material, args.seed)
        reports = {}
        for judge, calibration in calibrated(args.judges):
            report = verify(rows, judge, calibration, listeners=listeners)
            reports[judge.name] = {"by severity": report_as_json(report), "all": report_as_json(report, 1)["bins"]}
            write(output / "pairs.json", reports)
            (output / f"pairs-{judge.name}.md").write_text(report_as_markdown(report, 1), encoding="utf-8")
            plot_report(report, output / f"pairs-{judge.name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
