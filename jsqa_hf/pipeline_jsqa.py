"""The transformers pipeline `"speech-quality-assessment"`: audio in, mean opinion scores with intervals out."""

# The base class types its hooks for one input and one output; a chunk pipeline has several of either.
# mypy: disable-error-code="override, assignment"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel
from transformers.pipelines.base import ChunkPipeline

from .audio_inputs import is_collection
from .window_rater import MAXIMUM_DURATION_S, MODEL_INPUTS, SILENCE_DBFS, WINDOW_S, WindowRater

__all__ = ["MAXIMUM_DURATION_S", "SILENCE_DBFS", "SpeechQualityPipeline", "WINDOW_S"]


class SpeechQualityPipeline(WindowRater, ChunkPipeline):  # type: ignore[misc]
    """Rates the quality of speech without a reference.

    Clips longer than `window_s` are rated in windows, see `jsqa_hf.window_rater.WindowRater`.

    Args:
        model: a `JSQAForMOSRegression` that has an output named `"mos"`.
        feature_extractor: its `JSQAFeatureExtractor`.
        kwargs: as in every transformers pipeline (`device`, `batch_size`), and the call parameters `window_s`,
            `confidence`, `curve` and `curve_step_s` as defaults.

    Raises:
        ValueError: if the model doesn't predict MOS, or the feature extractor is missing.

    Example:

    ```python
    >>> import jsqa_hf
    >>> from transformers import pipeline

    >>> rate = pipeline("speech-quality-assessment", model=jsqa_hf.DEFAULT_CHECKPOINT)
    >>> rate("call.wav")
    {'mos': ..., 'mos_low': ..., 'mos_high': ...}
    >>> rate(["a.flac", "b.mp3", {"array": samples, "sampling_rate": 48000}], batch_size=8)
    ```
    """

    feature_extractor: Any
    _registered_impl: dict[str, dict[str, Any]]

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.eval()
        # By name, because a class loaded as custom code from the Hub is not the one of this package.
        if not any(base.__name__ == "JSQAForMOSRegression" for base in type(self.model).__mro__):
            raise ValueError(
                f"{type(self.model).__name__} doesn't predict MOS; speech quality assessment needs a "
                "JSQAForMOSRegression, that is a model after fine-tuning on ratings"
            )
        config = self.model.config
        self.sampling_rate, self.output_names = config.sampling_rate, list(config.mos_output_names)
        self.score_range, self.panel_std = config.mos_score_range, config.mos_panel_std
        if "mos" not in self.output_names:
            raise ValueError(
                f"none of the model's outputs {self.output_names} is named 'mos'; name the "
                "overall quality so in `mos_output_names` of its configuration"
            )
        if self.feature_extractor is None:
            raise ValueError("the feature extractor is missing; pass feature_extractor=JSQAFeatureExtractor()")
        if self.feature_extractor.sampling_rate != self.sampling_rate:
            raise ValueError(
                f"the feature extractor gives {self.feature_extractor.sampling_rate} Hz, but the model was trained at "
                f"{self.sampling_rate} Hz; use the feature extractor that was saved with the model"
            )

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Rate one input or many.

        Args:
            inputs: one of these, or a list, generator or dataset column of them:

                - path of an audio or video file (`str` or `PathLike`), or an `http(s)://` address, which is fetched;
                - content of such a file (`bytes`), or the file opened in binary mode, which is read to its end;
                - array or tensor (time,) or (channels, time), full scale 1, **at the model's sampling rate** (16 kHz):
                  nothing in it tells its rate;
                - `{"array": ..., "sampling_rate": ...}` (or `"raw"`) for arrays at any rate;
                - `{"bytes": ..., "path": ...}`, an element of a column `Audio(decode=False)` of `datasets`;
                - an `AudioDecoder`, an element of a column `Audio()`;
                - an `AudioStream` of `jsqa_hf.audio`.
            kwargs: `window_s` in seconds (default 30, at least 0.1), `confidence` of the interval (default 0.95),
                `curve` for quality over time (default False), `curve_step_s` in seconds (default 1, 0.1 to 4),
                `batch_size` and `num_workers` as in every transformers pipeline.

        Returns:
            For every input a dict of floats: `mos`, then `mos_low` and `mos_high`, and the same three for each further
            output of the model; all are on the model's rating scale. A list gives a list; a generator or a dataset
            column an iterator that rates as it goes.

            The interval is `mean ± z * sqrt(variance)`, clipped to the scale, with the variance that the model
            predicts for the mean opinion of a listening panel (the weighted mean over windows, which doesn't shrink
            with more of them). How often it covers the panel's value is stated in the model card.

            With `curve=True` there is also the key `curve`, a list with a dict for every step: `start_s`, `end_s`, the
            same scores as above for the 4 s around the middle of the step, and `speech_s`, the seconds of active
            speech in it. Where there is none, a pause, the scores are None. The other scores don't change.

        Raises:
            ValueError: the input can't be decoded, is too short, is longer than 48 hours, is digital silence, or isn't
                finite; the message names the file where there is one. As in every transformers pipeline this ends an
                iteration; `jsqa_hf.scoring.score_files` goes on with the next file.
            TypeError: the input is none of the above.
        """
        if isinstance(inputs, list | tuple):
            return super().__call__(list(inputs), **kwargs) if inputs else []
        if is_collection(inputs):
            # The base class streams only generators and torch datasets, and takes any other iterable for one input.
            return super().__call__((item for item in inputs), **kwargs)
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_parameters, postprocess_parameters = self.check_parameters(**parameters)
        return preprocess_parameters, {}, postprocess_parameters

    @property
    def cores(self) -> int:
        """See `WindowRater`."""
        return torch.get_num_threads() if self.device.type == "cpu" else 0

    def limit_cores(self, cores: int) -> None:
        """See `WindowRater`."""
        # The setting is each thread's own.
        torch.set_num_threads(cores)

    def extract(self, samples: NDArray[Any], sampling_rate: int) -> Mapping[str, torch.Tensor]:
        """See `WindowRater`."""
        shortest: Any = self.model.shortest_samples
        padding = {"padding": "max_length", "max_length": shortest}
        return self.feature_extractor(samples, sampling_rate=sampling_rate, return_tensors="pt", **padding)

    def rate_windows(self, windows: Sequence[Mapping[str, Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `WindowRater`."""
        inputs = {key: pad_sequence([window[key][0] for window in windows], batch_first=True) for key in MODEL_INPUTS}
        outputs = self.forward(inputs)
        return outputs["scores"], outputs["variances"]

    def forward(self, model_inputs: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        """Rate windows that `preprocess` gave, one or a batch.

        Returns:
            `scores` and `variances`, arrays (batch, outputs) of float64, and what the inputs hold besides.
        """
        outputs = super().forward(model_inputs, **parameters)
        return {**outputs, **{key: outputs[key].double().numpy() for key in ("scores", "variances")}}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        about = {key: value for key, value in model_inputs.items() if key not in MODEL_INPUTS}
        outputs = self.model(**{key: model_inputs[key] for key in MODEL_INPUTS}, return_dict=True)
        return {"scores": outputs.scores, "variances": outputs.variances, **about}


# As `PIPELINE_REGISTRY.register_pipeline` sets it, which nobody calls for code from the Hub: only with it does
# transformers save the code of a pipeline and name it in the configuration.
SpeechQualityPipeline._registered_impl = {
    "speech-quality-assessment": {"impl": SpeechQualityPipeline, "pt": (AutoModel,), "type": "audio"}
}
