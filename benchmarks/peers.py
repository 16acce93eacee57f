"""Other measures of speech quality behind one interface, for the comparisons in speed and accuracy.

Each takes clips at 16 kHz that are in memory and gives its scores, as its own package is documented to be used. What
isn't installed is left out, with the reason.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SAMPLING_RATE = 16000

Clips = Sequence[np.ndarray]
Rate = Callable[[Clips, Clips], dict[str, np.ndarray]]
"""Clips (samples,) float32, and clean references of the same lengths (only some measures look at them), to scores
(clips,) by name, the overall quality first; NaN where a measure refuses a clip."""


@dataclass(frozen=True)
class LoadedPeer:
    """A measure, ready to rate.

    Attributes:
        rate: see `Rate`.
        parameters: number of weights, None where there are none.
        size: bytes of the files with the weights, None where there are none.
        rater: what `jsqa score` would rate files with (ours only).
    """

    rate: Rate
    parameters: int | None = None
    size: int | None = None
    rater: Any = None


@dataclass(frozen=True)
class Peer:
    """A measure of speech quality.

    Attributes:
        title: its name in tables.
        licence: of the code, and of the weights where it differs, as their owners state it.
        runtime: `"torch"`, `"onnx"` or `"signal"` (no network).
        load: from the folder or file of the model (ours only) and the number of threads.
        needs_reference: whether it compares with a clean reference.
        ours: whether it is of this package.
    """

    title: str
    licence: str
    runtime: str
    load: Callable[[str, int], LoadedPeer]
    needs_reference: bool = False
    ours: bool = False


def _load_jsqa(model: str, threads: int, dtype: str | None = None) -> LoadedPeer:
    import torch

    torch.set_num_threads(threads)
    from jsqa_hf.scoring import load_pipeline

    pipeline = load_pipeline(model, "cpu", dtype)

    def rate(clips: Clips, references: Clips) -> dict[str, np.ndarray]:
        inputs = [{"array": clip, "sampling_rate": SAMPLING_RATE} for clip in clips]
        results = pipeline(inputs, batch_size=len(inputs))
        return {"mos": np.array([result["mos"] for result in results])}

    if model.endswith(".onnx"):
        return LoadedPeer(rate, _graph_parameters(model), os.path.getsize(model), pipeline)
    weights = Path(model) / "model.safetensors"
    size = weights.stat().st_size if weights.exists() else None
    return LoadedPeer(rate, pipeline.model.num_parameters(), size, pipeline)


def _load_jsqa_without_torch(model: str, threads: int) -> LoadedPeer:
    # By this name the package knows its command, and leaves it to it whether torch is needed. The number of threads
    # comes from OMP_NUM_THREADS.
    sys.argv[0] = "jsqa"
    from jsqa_hf.onnx_rater import load_onnx_rater
    from jsqa_hf.score_engine import make_engine

    rater = load_onnx_rater(model)

    def rate(clips: Clips, references: Clips) -> dict[str, np.ndarray]:
        sources = [(str(i), {"array": clip, "sampling_rate": SAMPLING_RATE}) for i, clip in enumerate(clips)]
        return {"mos": np.array([result.scores["mos"] for result in make_engine(rater, None, None, {}).run(sources)])}

    return LoadedPeer(rate, size=os.path.getsize(model), rater=rater)


def _graph_parameters(*paths: str) -> int:
    import onnx

    return sum(int(np.prod(weight.dims)) for path in paths for weight in onnx.load(path).graph.initializer)


def _load_dnsmos(model: str, threads: int) -> LoadedPeer:
    import onnxruntime
    from speechmos import dnsmos

    folder = Path(dnsmos.__file__).parent / "dnsmos_models"
    paths = [str(folder / name) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")]
    measure = dnsmos.DNSMOS(*paths)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    measure.onnx_sess, measure.p808_onnx_sess = (onnxruntime.InferenceSession(path, options) for path in paths)

    def rate(clips: Clips, references: Clips) -> dict[str, np.ndarray]:
        # It refuses what exceeds full scale.
        results = [measure(np.clip(clip, -1.0, 1.0), SAMPLING_RATE, False) for clip in clips]
        names = {"OVRL": "ovrl_mos", "P.808": "p808_mos"}
        return {name: np.array([float(result[key]) for result in results]) for name, key in names.items()}

    return LoadedPeer(rate, _graph_parameters(*paths), sum(os.path.getsize(path) for path in paths))


def _load_distillmos(model: str, threads: int) -> LoadedPeer:
    import torch

    torch.set_num_threads(threads)
    import distillmos
    from distillmos.sqa import DEFAULT_WEIGHTS_CHKPT

    with contextlib.redirect_stdout(io.StringIO()):
        network: Any = distillmos.ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def rate(clips: Clips, references: Clips) -> dict[str, np.ndarray]:
        # It knows no padding: only clips of the same length go together.
        together = len({len(clip) for clip in clips}) == 1
        batches = [np.stack(clips)] if together else [clip[None] for clip in clips]
        return {"MOS": np.concatenate([network(torch.from_numpy(batch)).float().numpy()[:, 0] for batch in batches])}

    parameters = sum(weight.numel() for weight in network.parameters())
    return LoadedPeer(rate, parameters, os.path.getsize(DEFAULT_WEIGHTS_CHKPT))


def _load_nisqa(model: str, threads: int) -> LoadedPeer:
    import torch

    torch.set_num_threads(threads)
    from torchmetrics.functional.audio import nisqa

    weights = Path(nisqa.NISQA_DIR).expanduser() / "nisqa.tar"
    network = nisqa._load_nisqa_model()[0]

    def rate(clips: Clips, references: Clips) -> dict[str, np.ndarray]:
        together = len({len(clip) for clip in clips}) == 1
        batches = [np.stack(clips)] if together else [clip[None] for clip in clips]
        function = nisqa.non_intrusive_speech_quality_assessment
        return {
            "MOS": np.concatenate(
                [function(torch.from_numpy(batch), SAMPLING_RATE)[:, 0].numpy() for batch in batches]
            )
        }

    return LoadedPeer(rate, sum(weight.numel() for weight in network.parameters()), weights.stat().st_size)


def _load_pesq(model: str, threads: int) -> LoadedPeer:
    import pesq

    def rate_one(clip: np.ndarray, reference: np.ndarray) -> float:
        try:
            return float(pesq.pesq(SAMPLING_RATE, reference, clip, "wb"))
        except pesq.PesqError:
            # No utterance found, or too short a clip.
            return float("nan")

    def rate(clips: Clips, references: Clips) -> dict[str, np.ndarray]:
        return {"MOS-LQO": np.array([rate_one(*pair) for pair in zip(clips, references, strict=True)])}

    return LoadedPeer(rate)


def _load_visqol(model: str, threads: int) -> LoadedPeer:
    import visqol

    measure = visqol.VisqolApi()
    # The lattice, which it takes by default where its runtime is there, gives other scores.
    measure.create(mode="speech", use_lattice_model=False)

    def rate(clips: Clips, references: Clips) -> dict[str, np.ndarray]:
        pairs = zip(clips, references, strict=True)
        scores = [
            measure.measure_from_arrays(
                np.asarray(reference, np.float64), np.asarray(clip, np.float64), SAMPLING_RATE
            ).moslqo
            for clip, reference in pairs
        ]
        return {"MOS-LQO": np.array(scores, dtype=float)}

    return LoadedPeer(rate)


PEERS: dict[str, Peer] = {
    "jsqa": Peer("JSQA, PyTorch", "Apache-2.0", "torch", _load_jsqa, ours=True),
    "jsqa-bfloat16": Peer(
        "JSQA, PyTorch bfloat16", "Apache-2.0", "torch", partial(_load_jsqa, dtype="bfloat16"), ours=True
    ),
    "jsqa-onnx": Peer("JSQA, ONNX", "Apache-2.0", "onnx", _load_jsqa, ours=True),
    "jsqa-onnx-int8": Peer("JSQA, ONNX int8", "Apache-2.0", "onnx", _load_jsqa, ours=True),
    "jsqa-onnx-alone": Peer("JSQA, `jsqa score`", "Apache-2.0", "onnx", _load_jsqa_without_torch, ours=True),
    "dnsmos": Peer("DNSMOS (speechmos)", "MIT", "onnx", _load_dnsmos),
    "distillmos": Peer("DistillMOS", "MIT", "torch", _load_distillmos),
    "nisqa": Peer("NISQA 2.0 (torchmetrics)", "MIT, weights CC BY-NC-SA 4.0", "torch", _load_nisqa),
    "pesq": Peer("PESQ wideband", "see ITU-T P.862", "signal", _load_pesq, needs_reference=True),
    "visqol": Peer(
        "ViSQOL speech mode (visqol-python, polynomial mapping)",
        "Apache-2.0",
        "signal",
        _load_visqol,
        needs_reference=True,
    ),
}
"""The measures, by the name on the command line."""
