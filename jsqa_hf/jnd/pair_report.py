"""The report of a judge beside a dataset of pairs."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np

from ..pair_options import PairOptions
from .calibration import calibrate
from .distortions import AdditiveNoise
from .excerpts import draw_speech
from .judges import MIN_DURATION_S, make_judge
from .pair_record import Sources
from .verification_report import plot_report, report_as_json, report_as_markdown
from .verify import verify

# Our choice: as in the verification of the thresholds that come with the package.
UTTERANCES, DURATION_S = 8, 3.0


def write_report(pairs: datasets.Dataset, sources: Sources, folder: Path, options: PairOptions) -> list[str]:
    """Let the judge of `options.report` compare a sample of the pairs; write `report.md`, `.json` and `.png`.

    The judge is calibrated on steps of the SNR, with some of the speech and the noise of the sources.

    Returns:
        What of it could not be done, because a module is missing.

    Raises:
        ValueError: If no speech is long enough for the judge, or it refuses the speech that it is calibrated on.
        ImportError: If the judge needs a module that is not installed.
    """
    assert options.report is not None
    judge = make_judge(options.report)
    rng = np.random.default_rng(options.seed)
    rows = rng.permutation(len(sources.speech))
    utterances = []
    for index in rows:
        try:
            excerpt = draw_speech(rng, sources.speech[int(index)]["audio"], options.sampling_rate, DURATION_S)
        except ValueError:
            # Unusable speech has been reported already.
            continue
        if excerpt.samples.size < MIN_DURATION_S * options.sampling_rate:
            continue
        utterances.append(excerpt.samples)
        if len(utterances) == UTTERANCES:
            break
    if not utterances:
        raise ValueError(f"no speech lasts {MIN_DURATION_S:g} s, which {judge.name} needs")
    noise = AdditiveNoise(sources.material["noise"])
    calibration = calibrate(judge, utterances, noise, options.sampling_rate, seed=options.seed)
    report = verify(pairs, judge, calibration, sample=options.report_sample, seed=options.seed)
    folder.mkdir()
    text = (
        f"# What {judge.name} says of {min(options.report_sample, len(pairs))} ladders\n\n{report_as_markdown(report)}"
    )
    (folder / "report.json").write_text(json.dumps(report_as_json(report), indent=2) + "\n", encoding="utf-8")
    try:
        plot_report(report, folder / "report.png")
        text += "\n![Equivalent steps of the SNR](report.png)\n"
    except ImportError as error:
        return [f"no plot in the report: {error}"]
    finally:
        (folder / "report.md").write_text(text, encoding="utf-8")
    return []
