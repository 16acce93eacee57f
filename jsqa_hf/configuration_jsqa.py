"""Configuration of the JSQA models."""

# No `from __future__ import annotations` here: `@strict` checks the types, and takes none that are strings.

import difflib
from dataclasses import fields
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import HubertConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .jnd_scale import JNDScale

# Keys that transformers itself passes to a configuration besides its dataclass fields.
_TRANSFORMERS_KEYS = frozenset(
    {
        "attn_implementation",
        "auto_map",
        "custom_pipelines",
        "experts_implementation",
        "model_type",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "per_layer_config",
        "quantization_config",
        "torch_dtype",
    }
)

# Of those that are learned. As in CLIP, whose logits are scaled by 100 at most (Radford et al., ICML 2021).
LOWEST_TEMPERATURE = 0.01

# JNDs from which qualities are clearly different: 8 dB of SNR, where one JND is 3 dB (McShefferty, Whitmer and
# Akeroyd, Trends in Hearing 2015 and 2016).
CLEARLY_DIFFERENT_JNDS = 8 / 3

# SpecAugment and LayerDrop alter one view of a pair and not the other; masked speech also sounds worse. The noise of
# dropout adds to the deviations over time that are pooled, in training but not afterwards.
_HUBERT_DEFAULTS: dict[str, Any] = {
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
}

_TINY_HUBERT: dict[str, Any] = {
    **_HUBERT_DEFAULTS,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    # Windows of 50 ms every 40 ms: what the levels in bands do not tell of a frame. A deeper front end took most of
    # the time, and learned less in it.
    "conv_dim": (64,),
    "conv_kernel": (800,),
    "conv_stride": (640,),
    "num_conv_pos_embeddings": 32,
    # Learns faster at this size, at higher learning rates.
    "do_stable_layer_norm": True,
    # HuBERT's 0.02 suits a width of 768; with it a narrow network starts as good as linear, and learns slowly.
    "initializer_range": 0.1,
}

_PAPER_HUBERT: dict[str, Any] = {
    **_HUBERT_DEFAULTS,
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "conv_dim": (256, 384, 384, 512, 512, 512, 512),
}


def _refuse_unknown_keys(given: dict[str, Any], known: set[str], owner: str) -> None:
    # Trainer and later versions of transformers add keys of their own to the files they save.
    saved = "model_type" in given
    for key in given:
        guess = difflib.get_close_matches(key, known, n=1)
        if key in known or key in _TRANSFORMERS_KEYS or key.startswith("_") or (saved and not guess):
            continue
        hint = f" Did you mean `{guess[0]}`?" if guess else ""
        raise ValueError(f"`{key}` is not a parameter of {owner}.{hint}")


@strict
class JSQAConfig(PreTrainedConfig):
    r"""Configuration of [`JSQAModel`] and of its two heads.

    Args:
        hubert_config (`HubertConfig`, `dict` or `None`):
            The HuBERT backbone. `None` gives the backbone of [`JSQAConfig.tiny`]; a `dict` holds parameters of
            `HubertConfig` and starts from `HubertConfig`'s own defaults. Pretrained weights come through
            [`JSQAModel.from_backbone`].
        sampling_rate (`int`, defaults to 16000):
            Rate in Hz that the model expects.
        level_bands (`int`, defaults to 40):
            Number of mel bands whose absolute level per frame (dBov) is added to the backbone's input, because
            HuBERT's front end normalises level away. 0 switches it off.
        level_windows (`int`, *optional*):
            Number of windows in which these levels are measured within each frame, evenly spaced; it must divide the
            hop of the backbone. `None` gives one for every 160 samples of it, or a single one if it is no multiple.
        use_weighted_layer_sum (`bool`, defaults to `True`):
            Pool a learned weighted mean of all layers (Yang et al., SUPERB, Interspeech 2021) instead of the last one.
        pooling (`str`, defaults to `"statistics"`):
            How frames become one vector: `"mean"`; `"statistics"`, mean and standard deviation (Snyder et al.,
            ICASSP 2018); `"attention"`, attentive statistics (Okabe et al., Interspeech 2018).
        averaged_starts (`int`, defaults to 1):
            Outside training, the embedding is the mean of those of the clip from so many starts on, spread evenly over
            the first frame: with a long hop it matters otherwise where the frames happen to lie. It takes as many
            times as long.
        projection_hidden_size (`int`, defaults to 256), projection_size (`int`, defaults to 128):
            Widths of the contrastive projection head.
        projection_norm (`str`, defaults to `"layer"`):
            Normalisation inside the projection head, `"layer"` or `"none"`. There is no batch normalisation: it lets
            the clips of a batch see each other.
        temperature (`float`, defaults to 0.1):
            Temperature of the NT-Xent loss, above 0 (Chen et al., SimCLR, ICML 2020).
        learn_temperature (`bool`, defaults to `False`):
            Learn the temperature, from `temperature` on and not below 0.01, as CLIP does (Radford et al., ICML 2021).
            Of no effect without `contrastive_loss`, which alone has one.
        contrastive_loss (`str`, defaults to `"nt_xent"`):
            `"nt_xent"`; `"supervised"` for the supervised contrastive loss (Khosla et al., NeurIPS 2020); or `"none"`,
            which leaves the terms below.
        contrastive_negatives (`str`, defaults to `"all"`):
            `"all"`: every other clip of the batch is a negative; `"same_content"`: only clips of the same speech and
            noise at another quality.
        false_negatives (`str`, defaults to `"keep"`):
            What becomes of clips of other content at the same quality: `"keep"` them as negatives, `"mask"` them out,
            or `"promote"` them to positives.
        mask_ambiguous (`bool`, defaults to `False`):
            Leave out negatives of the same distortion that are neither equally good nor clearly different.
        clearly_different_jnds (`float`, defaults to 8 / 3):
            JNDs from which qualities are clearly different; by default 8 dB of SNR, where one JND is 3 dB
            (McShefferty, Whitmer and Akeroyd, Trends in Hearing 2015 and 2016).
        jnd_margin_weight (`float`, defaults to 0.0):
            Weight of a hinge on embedding distances in JND units; 0 leaves it out.
        jnd_preference_weight (`float`, defaults to 0.0):
            Weight of telling which of two clips of the same content is better; 0 leaves it out. In stage 2 it counts
            for the clips of ladders in a batch, and the first of the outputs tells.
        jnd_distance (`float`, defaults to 0.2):
            Distance of one JND between projections, which are at most 2 apart; of these two.
        jnd_calibration (`dict`, *optional*):
            What distances between projections mean to listeners: the fields of [`JNDScale`], measured at the end of
            pretraining. It holds for the contrastive head and the weights that it was measured with.
        mos_output_names (`list[str]`, defaults to `["mos"]`):
            Names of the ratings predicted, in order, such as
            `["mos", "noisiness", "coloration", "discontinuity", "loudness"]`.
        mos_score_range (`tuple[float, float]`, defaults to `(1.0, 5.0)`):
            Lowest and highest value of the rating scale; predictions lie strictly inside.
        mos_hidden_size (`int`, defaults to 128):
            Width of the hidden layer of the MOS head.
        mos_dropout (`float`, defaults to 0.0):
            Dropout of the MOS head.
        mos_loss (`str`, defaults to `"mse"`):
            `"mse"` and `"l1"`: squared and absolute error for the mean, Gaussian likelihood for the variance alone;
            `"gaussian_nll"`: Gaussian likelihood for both.
        mos_agreement_loss (`str`, defaults to `"none"`):
            A further term over the clips of a batch: `"rank"`, their order (Burges et al., ICML 2005), or
            `"concordance"`, Lin's coefficient (Biometrics 1989).
        mos_agreement_weight (`float`, defaults to 0.5):
            Weight of that term.
        mos_points_per_jnd (`float`, defaults to 0.1):
            Points of the rating scale that one JND is worth at least, where the scores have to tell which of two clips
            is better.
        mos_panel_std (`float`, defaults to 0.0):
            Standard deviation, in points of the rating scale, of the difference between the scale of a panel of
            listeners whom the model does not know and its own. Intervals are wider by that; variances are without
            it, as two clips that the same panel rates are both off by as much.
        mos_corpora (`list[str]`, defaults to `()`):
            Listening tests whose scales may differ, in the order of `corpus_ids`. In training the scores are mapped
            to the scale of each by a scale and an offset that are learned; the first one is the reference, whose
            scale the scores are on.
        initializer_range (`float`, *optional*):
            Standard deviation of the new weights of all but the backbone. `None` takes the backbone's.

    Raises:
        ValueError: for a parameter that does not exist.
        huggingface_hub.errors.StrictDataclassError: for a value of the wrong type, or values that contradict each
            other.

    Example:

    ```python
    >>> from jsqa_hf import JSQAConfig, JSQAForMOSRegression

    >>> config = JSQAConfig.tiny(mos_output_names=["mos", "noisiness"])
    >>> model = JSQAForMOSRegression(config)
    ```
    """

    model_type = "jsqa"
    sub_configs_defaults = {"hubert_config": SubConfigSpec(config_class=HubertConfig)}
    keys_to_ignore_at_inference = ["embeddings", "temperature", "hidden_states", "attentions"]

    # A HubertConfig after construction; what is given is checked there.
    hubert_config: Any = None
    sampling_rate: int = 16000
    level_bands: int = 40
    level_windows: int | None = None
    use_weighted_layer_sum: bool = True
    pooling: Literal["mean", "statistics", "attention"] = "statistics"
    averaged_starts: int = 1
    projection_hidden_size: int = 256
    projection_size: int = 128
    projection_norm: Literal["layer", "none"] = "layer"
    temperature: float | int = 0.1
    learn_temperature: bool = False
    contrastive_loss: Literal["nt_xent", "supervised", "none"] = "nt_xent"
    contrastive_negatives: Literal["all", "same_content"] = "all"
    false_negatives: Literal["keep", "mask", "promote"] = "keep"
    mask_ambiguous: bool = False
    clearly_different_jnds: float | int = CLEARLY_DIFFERENT_JNDS
    jnd_margin_weight: float | int = 0.0
    jnd_preference_weight: float | int = 0.0
    jnd_distance: float | int = 0.2
    jnd_calibration: dict[str, Any] | None = None
    mos_output_names: list[str] | tuple[str, ...] = ("mos",)
    mos_score_range: list[float | int] | tuple[float | int, ...] = (1.0, 5.0)
    mos_hidden_size: int = 128
    mos_dropout: float | int = 0.0
    mos_loss: Literal["mse", "l1", "gaussian_nll"] = "mse"
    mos_agreement_loss: Literal["none", "rank", "concordance"] = "none"
    mos_agreement_weight: float | int = 0.5
    mos_points_per_jnd: float | int = 0.1
    mos_panel_std: float | int = 0.0
    mos_corpora: list[str] | tuple[str, ...] = ()
    initializer_range: float | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        _refuse_unknown_keys(kwargs, {field.name for field in fields(self)}, "JSQAConfig")
        if self.hubert_config is None:
            self.hubert_config = dict(_TINY_HUBERT)
        if not isinstance(self.hubert_config, dict | PreTrainedConfig):
            raise ValueError(
                f"`hubert_config` must be a HubertConfig or a dict, but is {self.hubert_config!r}; pretrained weights "
                "are loaded by `JSQAModel.from_backbone(path_or_id)`"
            )
        if isinstance(self.hubert_config, dict):
            _refuse_unknown_keys(self.hubert_config, set(HubertConfig().to_dict()), "HubertConfig")
        self.mos_output_names = list(self.mos_output_names)
        self.mos_corpora = list(self.mos_corpora)
        self.mos_score_range = [float(bound) for bound in self.mos_score_range]
        self.problem_type = "regression"
        # AutoModel.from_config iterates over it.
        self.architectures = self.architectures or []
        if "num_labels" in kwargs:
            self.num_labels = kwargs.pop("num_labels")
        super().__post_init__(**kwargs)
        if not isinstance(self.hubert_config, HubertConfig):
            return
        of_backbone = self._values_of_backbone()
        # A saved file no longer tells what was left to the backbone.
        saved = "model_type" in kwargs
        self._of_backbone = [
            name
            for name, value in of_backbone.items()
            if getattr(self, name) is None or (saved and getattr(self, name) == value)
        ]
        for name in self._of_backbone:
            setattr(self, name, of_backbone[name])

    def _values_of_backbone(self) -> dict[str, Any]:
        """What the backbone gives where `None` leaves it to it."""
        hop = self.hubert_config.inputs_to_logits_ratio
        # 160 samples are 10 ms at 16 kHz.
        level_windows = hop // 160 if hop % 160 == 0 else 1
        return {"initializer_range": self.hubert_config.initializer_range, "level_windows": level_windows}

    def to_dict(self) -> dict[str, Any]:
        """All values, as a checkpoint holds them."""
        values = super().to_dict()
        values.pop("_of_backbone", None)
        # Where the backbone lay on the machine that trained.
        values["hubert_config"].pop("_name_or_path", None)
        return values

    def with_backbone(self, hubert_config: HubertConfig) -> "JSQAConfig":
        """The same settings around another backbone, from which those come that were left to it as `None`.

        Of a configuration that was loaded, these are those that are as its own backbone gives them.
        """
        of_backbone = self._values_of_backbone()
        values = {
            name: value
            for name, value in self.to_diff_dict().items()
            if name != "model_type" and (name not in self._of_backbone or value != of_backbone[name])
        }
        return type(self)(**{**values, "hubert_config": hubert_config})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As of transformers; what `kwargs` overrides is validated, too."""
        result = super().from_dict(config_dict, **kwargs)
        (result[0] if isinstance(result, tuple) else result).validate()
        return result

    def __setattr__(self, key: str, value: Any) -> None:
        if key == "num_labels" and value != len(self.mos_output_names):
            raise ValueError(
                f"`num_labels` was set to {value}, but there are {len(self.mos_output_names)} outputs: "
                "name them in `mos_output_names`"
            )
        super().__setattr__(key, value)
        if key == "mos_output_names":
            # The head's outputs are this model's labels, also when `from_pretrained(..., mos_output_names=...)` sets
            # them after construction.
            self.id2label = dict(enumerate(value))
            self.label2id = {name: index for index, name in enumerate(value)}

    def validate_architecture(self) -> None:
        """Refuse values that contradict each other; `@strict` calls it on construction and before saving."""
        if not isinstance(self.hubert_config, HubertConfig):
            raise ValueError(
                f"`hubert_config` must describe a HuBERT, but its model_type is {self.hubert_config.model_type!r}"
            )
        if self.hubert_config.hidden_size % self.hubert_config.num_attention_heads:
            raise ValueError(
                f"`hubert_config.hidden_size` ({self.hubert_config.hidden_size}) must be a multiple of "
                f"`num_attention_heads` ({self.hubert_config.num_attention_heads})"
            )
        for name in ("sampling_rate", "projection_hidden_size", "projection_size", "mos_hidden_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be above 0, but is {getattr(self, name)}")
        self._validate_contrastive_objective()
        if self.level_bands < 0:
            raise ValueError(f"`level_bands` must be 0 (off) or above, but is {self.level_bands}")
        hop = self.hubert_config.inputs_to_logits_ratio
        assert self.level_windows is not None
        if self.level_windows < 1 or hop % self.level_windows:
            raise ValueError(f"`level_windows` must divide the hop of {hop} samples, but is {self.level_windows}")
        if not 1 <= self.averaged_starts <= hop:
            raise ValueError(
                f"`averaged_starts` must be 1 to {hop}, the hop in samples, but is {self.averaged_starts}"
            )
        for name in ("jnd_margin_weight", "jnd_preference_weight", "mos_agreement_weight", "mos_panel_std"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must not be below 0, but is {getattr(self, name)}")
        if not self.mos_points_per_jnd > 0:
            raise ValueError(f"`mos_points_per_jnd` must be above 0, but is {self.mos_points_per_jnd}")
        if len(set(self.mos_corpora)) != len(self.mos_corpora):
            raise ValueError(f"`mos_corpora` must be names that differ, but is {self.mos_corpora}")
        if not 0 <= self.mos_dropout < 1:
            raise ValueError(f"`mos_dropout` must lie in [0, 1), but is {self.mos_dropout}")
        self._validate_mos_outputs()
        self.jnd_scale  # noqa: B018 - it checks itself

    def _validate_contrastive_objective(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {self.temperature}")
        if self.learn_temperature and self.temperature < LOWEST_TEMPERATURE:
            raise ValueError(
                f"`temperature` must be at least {LOWEST_TEMPERATURE} to be learned, but is {self.temperature}"
            )
        if not self.clearly_different_jnds > 1:
            raise ValueError(f"`clearly_different_jnds` must be above 1 JND, but is {self.clearly_different_jnds}")
        if not 0 < self.jnd_distance < 2:
            raise ValueError(f"`jnd_distance` must lie in (0, 2), but is {self.jnd_distance}")
        if self.contrastive_loss == "none" and not (self.jnd_margin_weight or self.jnd_preference_weight):
            raise ValueError(
                "without `contrastive_loss`, `jnd_margin_weight` or `jnd_preference_weight` must be above 0: nothing "
                "else is learned"
            )
        if self.jnd_margin_weight and self.jnd_distance * self.clearly_different_jnds > 2:
            raise ValueError(
                f"`jnd_distance` must be at most {2 / self.clearly_different_jnds:g}, as projections are at most 2 "
                f"apart and `clearly_different_jnds` is {self.clearly_different_jnds:g}, but is {self.jnd_distance}"
            )

    def _validate_mos_outputs(self) -> None:
        if not self.mos_output_names or len(set(self.mos_output_names)) != len(self.mos_output_names):
            raise ValueError(f"`mos_output_names` must be names that differ, but is {self.mos_output_names}")
        if self.num_labels != len(self.mos_output_names):
            raise ValueError(
                f"`id2label` has {self.num_labels} labels, but there are {len(self.mos_output_names)} outputs: name "
                "them in `mos_output_names`"
            )
        if len(self.mos_score_range) != 2 or not self.mos_score_range[0] < self.mos_score_range[1]:
            raise ValueError(f"`mos_score_range` must be (lowest, highest), but is {self.mos_score_range}")

    @property
    def jnd_scale(self) -> JNDScale | None:
        """The JND calibration, if there is one."""
        if self.jnd_calibration is None:
            return None
        try:
            return JNDScale(**self.jnd_calibration)
        except (TypeError, ValueError) as error:
            raise ValueError(f"`jnd_calibration` can't be used: {error}") from error

    @property
    def hidden_size(self) -> int:
        """Width of the backbone's frames."""
        return self.hubert_config.hidden_size

    @property
    def embedding_size(self) -> int:
        """Width of `JSQAModelOutput.embeddings`: statistics hold a mean and a standard deviation per channel."""
        return self.hidden_size if self.pooling == "mean" else 2 * self.hidden_size

    @classmethod
    def tiny(cls, **kwargs: Any) -> "JSQAConfig":
        """A size that trains on a CPU, 0.2 million parameters; `kwargs` override any parameter but the backbone."""
        return cls(hubert_config=dict(_TINY_HUBERT), **kwargs)

    @classmethod
    def paper(cls, **kwargs: Any) -> "JSQAConfig":
        """The size of the paper, 26 million parameters (arXiv 2507.11636).

        The paper's details beyond the parameter count are not public; hidden size 384, 12 layers and the narrowed
        front end are our choice.
        """
        return cls(hubert_config=dict(_PAPER_HUBERT), **kwargs)


__all__ = ["JSQAConfig"]
