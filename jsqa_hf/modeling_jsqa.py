"""JSQA models: a HuBERT encoder with padding-proof pooling, a contrastive head and a MOS head."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel, PreTrainedModel
from transformers import initialization as init
from transformers.audio_utils import mel_filter_bank
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.hubert.modeling_hubert import HubertGroupNormConvLayer, HubertPreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .configuration_jsqa import LOWEST_TEMPERATURE, JSQAConfig
from .losses import LadderLabels, contrastive_loss, jnd_margin_loss, jnd_preference_loss, thurstone_loss
from .mos_losses import concordance_loss, mos_loss, rank_loss

# Power of a level of -100 dBov, below the quantisation noise of 16-bit audio (-98 dBov): what is quieter is silence.
_SILENCE_POWER = 1e-10


@dataclass
class JSQAModelOutput(ModelOutput):
    """Output of [`JSQAModel`].

    Attributes:
        embeddings: (batch, `config.embedding_size`), one vector per clip.
        last_hidden_state: (batch, frames, hidden), the frames that were pooled.
        frame_mask: (batch, frames) bool, True where a frame belongs to the clip and not to padding.
        hidden_states, attentions: per layer, if `output_hidden_states` / `output_attentions` is asked for.
    """

    embeddings: Tensor | None = None
    last_hidden_state: Tensor | None = None
    frame_mask: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class JSQAContrastiveOutput(ModelOutput):
    """Output of [`JSQAForContrastivePretraining`].

    Attributes:
        loss: scalar, if `pair_ids` were given.
        projections: (batch, `config.projection_size`), of unit length; the space of the contrastive loss.
        temperature: scalar, if it is learned.
        embeddings: (batch, `config.embedding_size`).
        hidden_states, attentions: per layer, if asked for.
    """

    loss: Tensor | None = None
    projections: Tensor | None = None
    temperature: Tensor | None = None
    embeddings: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class JSQAComparison(ModelOutput):
    """How different clips sound, by [`JSQAForContrastivePretraining.compare`].

    Attributes:
        distances: (batch,), Euclidean between the projections, from 0 to 2.
        jnds: (batch,), number of just-noticeable differences that they stand for.
        probability_noticed: (batch,), share of listeners expected to notice a difference.
    """

    distances: Tensor | None = None
    jnds: Tensor | None = None
    probability_noticed: Tensor | None = None


@dataclass
class JSQAMOSOutput(ModelOutput):
    """Output of [`JSQAForMOSRegression`].

    Attributes:
        loss: scalar, if `labels` were given.
        scores: (batch, outputs) predicted ratings, in the order of `config.mos_output_names`.
        variances: (batch, outputs) predicted variance of the rating, in squared units of the scale.
        embeddings: (batch, `config.embedding_size`).
        hidden_states, attentions: per layer, if asked for.
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    variances: Tensor | None = None
    embeddings: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    @property
    def logits(self) -> Tensor | None:
        """The scores, under the name that tools for regression heads read.

        Not for the pipeline `audio-classification`, which would make probabilities of them.
        """
        return self.scores


class JSQAPreTrainedModel(PreTrainedModel):
    """Weight initialisation, loading and saving shared by the JSQA models."""

    config: JSQAConfig
    config_class = JSQAConfig
    base_model_prefix = "jsqa"
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = HubertPreTrainedModel._no_split_modules
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_record_outputs = HubertPreTrainedModel._can_record_outputs
    # The losses are means over the batch: Trainer has to divide them over accumulation steps itself.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, JSQAModel) and module.layer_weights is not None:
            init.zeros_(module.layer_weights)
        if isinstance(module, JSQAForContrastivePretraining) and module.log_temperature is not None:
            init.zeros_(module.log_temperature)
        if isinstance(module, JSQAForMOSRegression) and module.corpus_log_scales is not None:
            init.zeros_(module.corpus_log_scales)
            init.zeros_(module.corpus_offsets)  # type: ignore[arg-type]

    def freeze_feature_encoder(self) -> None:
        """Keep the convolutional front end as it is during training."""
        base: Any = self.base_model
        base.hubert.feature_extractor._freeze_parameters()

    def freeze_base_model(self) -> None:
        """Keep everything but the head as it is during training."""
        for parameter in self.base_model.parameters():
            parameter.requires_grad = False


def level_filters(frame_length: int, bands: int, sampling_rate: int) -> tuple[Tensor, Tensor]:
    """What [`band_levels`] measures levels with, on the CPU also while a model is made on the device `meta`.

    Args:
        frame_length: in samples.
        bands: number of mel bands from 0 Hz to half the sampling rate.
        sampling_rate: in Hz.

    Returns:
        Hann window (frame_length,) and mel filters (frequencies, bands), float32, scaled so that the powers of bands
        are mean squares.
    """
    window = np.hanning(frame_length + 1)[:-1]
    filters = mel_filter_bank(
        num_frequency_bins=frame_length // 2 + 1,
        num_mel_filters=bands,
        min_frequency=0.0,
        max_frequency=sampling_rate / 2,
        sampling_rate=sampling_rate,
    )
    # Parseval: the two halves of the spectrum together hold frame_length times the energy of the windowed frame.
    filters = filters * (2.0 / (frame_length * np.square(window).sum()))
    return torch.from_numpy(window.astype(np.float32)), torch.from_numpy(filters.astype(np.float32))


def band_levels(input_values: Tensor, hop_length: int, window: Tensor, filters: Tensor) -> Tensor:
    """Absolute level of every frame in mel bands.

    Args:
        input_values: (batch, samples), full scale 1.
        hop_length: in samples.
        window, filters: of [`level_filters`].

    Returns:
        (batch, frames, bands) float32, in units of 20 dB relative to -60 dBov, so that speech spans about -2 to 2.
    """
    window, filters = window.to(input_values.device), filters.to(input_values.device)
    frames = input_values.float().unfold(-1, len(window), hop_length)
    # Mixed precision would round the powers of quiet bands away.
    with torch.autocast(input_values.device.type, enabled=False):
        spectrum = torch.fft.rfft(frames * window)
        # Four times as fast as the square of the magnitude, which took a quarter of the model's time.
        power = (spectrum.real.square() + spectrum.imag.square()) @ filters
    return (10.0 * torch.log10(power + _SILENCE_POWER) + 60.0) / 20.0


def _convolve_precisely(conv: nn.Conv1d, values: Tensor) -> Tensor:
    """A convolution of (batch, channels, frames), on a CPU in float32 whatever the precision of the model.

    In bfloat16, on processors with AMX, the result is wrong altogether for some convolutions in groups, such as that
    of `JSQAConfig.tiny` with 64 channels in 16 groups and a kernel of 32 (seen with torch 2.14.1).
    """
    # What adapters put in its place, such as that of LoRA, computes as it does.
    if values.device.type != "cpu" or not isinstance(conv, nn.Conv1d):
        return conv(values)  # type: ignore[no-any-return]
    assert conv.bias is not None
    weights_dtype = conv.bias.dtype
    precise = torch.promote_types(weights_dtype, torch.float32)
    inputs = values.to(precise)
    with torch.autocast("cpu", enabled=False):
        if weights_dtype == precise:
            convolved = conv(inputs)
        else:
            weight, bias = conv.weight.to(precise), conv.bias.to(precise)
            convolved = F.conv1d(inputs, weight, bias, padding=conv.padding, groups=conv.groups)
    return convolved.to(values.dtype)


class MaskedGroupNormConvLayer(HubertGroupNormConvLayer):
    """First layer of HuBERT's front end, normalised with statistics over the clip alone.

    HuBERT's own takes them over the whole padded length, so that the same clip changes with the longest one of its
    batch. The parameters are the same.
    """

    def forward(self, hidden_states: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, 1, samples), (batch,) valid samples → (batch, channels, steps); steps of padding are undefined."""
        if lengths is None:
            return super().forward(hidden_states)
        hidden_states = self.conv(hidden_states)
        steps = torch.div(lengths - self.conv.kernel_size[0], self.conv.stride[0], rounding_mode="floor") + 1
        mask = torch.arange(hidden_states.shape[-1], device=lengths.device) < steps[:, None]
        # Means over the clip as matrix products, which read the frames, the largest tensor of the model, only once.
        shares = (mask / steps[:, None].clamp(min=1))[..., None].float()
        with torch.autocast(hidden_states.device.type, enabled=False):
            values = hidden_states.float()
            centred = values - values @ shares
            deviation = (centred.square() @ shares + self.layer_norm.eps).sqrt()
            weight, bias = self.layer_norm.weight.float()[:, None], self.layer_norm.bias.float()[:, None]
            normalised = torch.addcmul(bias, centred, weight / deviation)
        return self.activation(normalised.to(hidden_states.dtype))


class JSQAPooling(nn.Module):
    """Frames of any number → one vector, blind to padding. See `JSQAConfig.pooling`."""

    def __init__(self, config: JSQAConfig) -> None:
        super().__init__()
        self.kind = config.pooling
        if self.kind == "attention":
            self.attention = nn.Sequential(
                nn.Linear(config.hidden_size, config.hidden_size // 2),
                nn.Tanh(),
                nn.Linear(config.hidden_size // 2, 1),
            )

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """(batch, frames, hidden), (batch, frames) bool → (batch, `config.embedding_size`)."""
        if self.kind == "attention":
            scores = self.attention(frames).float().masked_fill(~frame_mask[..., None], float("-inf"))
            weights = scores.softmax(dim=1)
        else:
            weights = frame_mask[..., None].float()
            weights = weights / weights.sum(dim=1, keepdim=True)
        # Frames of padding may hold anything; 0 times anything but a number is not 0.
        values = frames.float().masked_fill(~frame_mask[..., None], 0.0)
        mean = (values * weights).sum(dim=1)
        if self.kind == "mean":
            return mean.to(frames.dtype)
        variance = ((values - mean[:, None]).square() * weights).sum(dim=1)
        # The constant keeps the gradient of the root finite for a clip whose frames are all alike.
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=-1).to(frames.dtype)


def _load_hubert(checkpoint: str | os.PathLike[str], **kwargs: Any) -> HubertModel:
    """Load a HuBERT that has all weights; transformers would only warn, and go on with random ones."""
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(
            f"the backbone must be a HubertModel, or the path or Hub id of a HuBERT, but is a "
            f"{type(checkpoint).__name__}"
        )
    model_type = HubertConfig.get_config_dict(checkpoint, **kwargs)[0].get("model_type")
    if model_type != HubertConfig.model_type:
        hint = "; `from_pretrained` loads a JSQA model" if model_type == JSQAConfig.model_type else ""
        raise ValueError(f"{checkpoint}: is a model of type {model_type!r}, but the backbone must be a HuBERT{hint}")
    loaded: Any = HubertModel.from_pretrained(checkpoint, output_loading_info=True, **kwargs)
    model, report = loaded
    # SpecAugment alone has this one, and some checkpoints were saved without it.
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise ValueError(f"{checkpoint}: lacks {len(missing)} weights of a HuBERT, such as {missing[0]}")
    return model  # type: ignore[no-any-return]


class JSQAModel(JSQAPreTrainedModel):
    """HuBERT with the level of the signal given back to it, a mix of its layers, and pooling to one embedding.

    HuBERT's front end normalises away the level of the signal, which is part of quality. The absolute level per frame
    and mel band is therefore added to the projected features.
    """

    def __init__(self, config: JSQAConfig) -> None:
        super().__init__(config)
        hubert_config = config.hubert_config
        self.hubert = HubertModel(hubert_config)
        if hasattr(self.hubert, "masked_spec_embed") and not hubert_config.apply_spec_augment:
            # No parameter, as DistributedDataParallel waits for the gradient of each.
            embedding = self.hubert.masked_spec_embed.detach()
            del self.hubert.masked_spec_embed
            self.hubert.register_buffer("masked_spec_embed", embedding)
        if hubert_config.feat_extract_norm == "group":
            self.hubert.feature_extractor.conv_layers[0] = MaskedGroupNormConvLayer(hubert_config)
        self.level_projection = (
            nn.Linear((config.level_windows or 1) * config.level_bands, config.hidden_size)
            if config.level_bands
            else None
        )
        if config.level_bands:
            # No buffer, which would become half precision with the weights.
            self.level_filters = level_filters(self.level_window_length, config.level_bands, config.sampling_rate)
        layers = hubert_config.num_hidden_layers + 1
        self.layer_weights = nn.Parameter(torch.zeros(layers)) if config.use_weighted_layer_sum else None
        self.pooling = JSQAPooling(config)
        self.post_init()

    @classmethod
    def from_backbone(
        cls, backbone: HubertModel | str | os.PathLike[str], config: JSQAConfig | None = None, **kwargs: Any
    ) -> JSQAModel:
        """Start from a pretrained HuBERT.

        Args:
            backbone: a `HubertModel`, or the path or Hub id of a HuBERT, such as `facebook/hubert-base-ls960`.
            config: JSQA settings; its `hubert_config` is replaced by the backbone's. Defaults to `JSQAConfig()`.
            kwargs: passed to `HubertModel.from_pretrained` (`revision`, `token`, `dtype`, `attn_implementation`, ...).

        Returns:
            A model whose first forward pass sees exactly the pretrained features: the level projection starts at 0.
            SpecAugment, LayerDrop and dropout, on by default in HuBERT, are switched off, whatever `kwargs` say. The
            `hubert_config` of the model switches them on again; SpecAugment then has the pretrained embedding, fixed.

        Raises:
            TypeError: for a model that is no `HubertModel`.
            OSError: there is no such checkpoint.
            ValueError: the checkpoint is of another type than `hubert`, or lacks weights.
        """
        if not isinstance(backbone, HubertModel):
            backbone = _load_hubert(backbone, **kwargs)
        hubert_config = copy.deepcopy(backbone.config)
        hubert_config.apply_spec_augment = False
        for name in ("layerdrop", "hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout"):
            setattr(hubert_config, name, 0.0)
        model = cls((JSQAConfig() if config is None else config).with_backbone(hubert_config))
        model.set_attn_implementation(backbone.config._attn_implementation)
        model.to(dtype=backbone.dtype)  # type: ignore[call-arg]
        model.hubert.load_state_dict(backbone.state_dict())
        if model.level_projection is not None:
            nn.init.zeros_(model.level_projection.weight)
            nn.init.zeros_(model.level_projection.bias)
        return model

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees: the shortest clip the model takes."""
        samples, hop = 1, 1
        for kernel, stride in zip(
            self.config.hubert_config.conv_kernel, self.config.hubert_config.conv_stride, strict=True
        ):
            samples += (kernel - 1) * hop
            hop *= stride
        return samples

    @property
    def level_window_length(self) -> int:
        """Samples of each of the windows in which levels are measured; together they cover a frame exactly."""
        windows = self.config.level_windows or 1
        return self.receptive_field - (windows - 1) * (self.hubert.config.inputs_to_logits_ratio // windows)

    def _levels(self, input_values: Tensor, frames: int) -> Tensor:
        """(batch, samples) → (batch, frames, windows of a frame times bands)."""
        windows = self.config.level_windows or 1
        levels = band_levels(input_values, self.hubert.config.inputs_to_logits_ratio // windows, *self.level_filters)
        return levels[:, : frames * windows].reshape(levels.shape[0], frames, -1)

    def _frame_counts(self, lengths: Tensor) -> Tensor:
        """Samples (batch,) → whole frames (batch,)."""
        hop = self.hubert.config.inputs_to_logits_ratio
        return torch.div(lengths - self.receptive_field, hop, rounding_mode="floor") + 1

    def _convolve(self, input_values: Tensor, lengths: Tensor) -> Tensor:
        """(batch, samples), (batch,) → (batch, frames, channels), as HuBERT's front end but blind to padding."""
        front_end = self.hubert.feature_extractor
        hidden_states = input_values[:, None]
        if self.training and front_end._requires_grad and torch.is_grad_enabled():
            # As in HuBERT: reentrant gradient checkpointing skips layers whose input needs no gradient.
            hidden_states = hidden_states.detach().requires_grad_()
        for layer in front_end.conv_layers:
            masked = isinstance(layer, MaskedGroupNormConvLayer)
            hidden_states = layer(hidden_states, lengths) if masked else layer(hidden_states)
        return hidden_states.transpose(1, 2)

    def _positions(self, hidden_states: Tensor, frame_mask: Tensor) -> Tensor:
        """Input of the encoder, 0 in the padding → its positional embeddings; (batch, frames, hidden) each."""
        layer = self.hubert.encoder.pos_conv_embed
        values = hidden_states.transpose(1, 2)
        if layer.batch_norm is not None:
            # It shifts the zeros of the padding, which the convolution would then carry into the clip.
            values = layer.batch_norm(values).masked_fill(~frame_mask[:, None], 0.0)
        return layer.activation(layer.padding(_convolve_precisely(layer.conv, values))).transpose(1, 2)

    def _encode(self, hidden_states: Tensor, frame_mask: Tensor) -> list[Tensor]:
        """Input of the first Transformer layer, then the output of each: (batch, frames, hidden) each."""
        encoder = self.hubert.encoder
        stable = self.hubert.config.do_stable_layer_norm
        hidden_states = hidden_states.masked_fill(~frame_mask[..., None], 0.0)
        attention_mask = create_bidirectional_mask(
            config=self.hubert.config, inputs_embeds=hidden_states, attention_mask=frame_mask
        )
        hidden_states = hidden_states + self._positions(hidden_states, frame_mask)
        if not stable:
            hidden_states = encoder.layer_norm(hidden_states)
        hidden_states = encoder.dropout(hidden_states)
        outputs = [hidden_states]
        layerdrop = self.hubert.config.layerdrop if self.training else 0.0
        for layer in encoder.layers:
            output = layer(outputs[-1], attention_mask=attention_mask)
            if layerdrop:
                # Computed all the same: processes that drop other layers would wait for each other's gradients.
                output = torch.where(torch.rand((), device=output.device) < layerdrop, outputs[-1], output)
            outputs.append(output)
        if stable:
            outputs[-1] = encoder.layer_norm(outputs[-1])
        return outputs

    @can_return_tuple
    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> JSQAModelOutput | tuple[Tensor, ...]:
        """Embed clips.

        Args:
            input_values: (batch, samples) mono at `config.sampling_rate`, full scale 1, padded on the right.
            attention_mask: (batch, samples), 1 for samples of the clip and 0 for padding; all 1 if not given.
            kwargs: `output_hidden_states`, `output_attentions`, `return_dict`, as everywhere in transformers.

        Returns:
            [`JSQAModelOutput`]. What is in the padding, and how much of it there is, changes nothing. Outside
            training, the embeddings are means over `config.averaged_starts`; all else is of the clip from its first
            sample on.

        Raises:
            ValueError: for input that is not (batch, samples), or has less than `receptive_field` samples. A shorter
                clip, padded to that length, counts as one frame.
        """
        if input_values.ndim != 2:
            raise ValueError(f"`input_values` must be (batch, samples), but has shape {tuple(input_values.shape)}")
        if input_values.shape[-1] < self.receptive_field:
            raise ValueError(
                f"clips of {input_values.shape[-1]} samples are too short: give at least {self.receptive_field}"
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values, dtype=torch.long)
        # Half precision can't count the samples of a clip.
        attention_mask = (attention_mask != 0).long()
        starts = 1 if self.training else self.config.averaged_starts
        if starts == 1:
            return self._embed(input_values, attention_mask, return_dict=True, **kwargs)  # type: ignore[no-any-return]
        hop = self.hubert.config.inputs_to_logits_ratio
        cuts = [number * hop // starts for number in range(starts)]
        values, mask = (
            torch.cat([F.pad(whole[:, cut:], (0, cut)) for cut in cuts]) for whole in (input_values, attention_mask)
        )
        outputs = self._embed(values, mask, return_dict=True, **kwargs)
        return self._mean_of_starts(outputs, mask, input_values.shape[0])

    def _mean_of_starts(self, outputs: JSQAModelOutput, attention_mask: Tensor, clips: int) -> JSQAModelOutput:
        """Outputs of all clips from one start on, then from the next (starts * clips, ...) → of each clip."""
        whole_frames = self._frame_counts(attention_mask.sum(-1)).view(-1, clips)
        # A start that leaves less than a frame tells nothing; that of the clip itself always counts.
        counts = torch.cat([torch.ones_like(whole_frames[:1]), whole_frames[1:].clamp(min=0, max=1)])[..., None]
        embeddings: Tensor = outputs["embeddings"].view(*counts.shape[:2], -1)
        mean = (embeddings.float() * counts).sum(dim=0) / counts.sum(dim=0)
        for name, value in outputs.items():
            outputs[name] = tuple(layer[:clips] for layer in value) if isinstance(value, tuple) else value[:clips]
        outputs["embeddings"] = mean.to(embeddings.dtype)
        return outputs

    @capture_outputs(tie_last_hidden_states=False)
    def _embed(self, input_values: Tensor, attention_mask: Tensor, **kwargs: Any) -> JSQAModelOutput:
        """Clips, with their padding, as one start makes them; see [`forward`]."""
        lengths = attention_mask.sum(-1)
        input_values = input_values.masked_fill(attention_mask == 0, 0.0)
        features = self._convolve(input_values.to(self.dtype), lengths)
        hidden_states = self.hubert.feature_projection(features)
        if self.level_projection is not None:
            levels = self._levels(input_values, hidden_states.shape[1])
            hidden_states = hidden_states + self.level_projection(levels.to(hidden_states.dtype))
        # A clip shorter than one frame gives none; its first, zero-padded frame keeps the batch finite.
        frames = self._frame_counts(lengths).clamp(min=1)
        frame_mask = torch.arange(hidden_states.shape[1], device=frames.device) < frames[:, None]
        hidden_states = self.hubert._mask_hidden_states(hidden_states, attention_mask=frame_mask)  # type: ignore[arg-type]
        layers = self._encode(hidden_states, frame_mask)
        mixed = self._mix(layers)
        return JSQAModelOutput(
            embeddings=self.pooling(mixed, frame_mask), last_hidden_state=mixed, frame_mask=frame_mask
        )

    def _mix(self, layers: list[Tensor]) -> Tensor:
        if self.layer_weights is None:
            return layers[-1]
        weights = self.layer_weights.softmax(dim=0)
        # Without the normalisation the layers of largest scale would rule the mean (SUPERB, Interspeech 2021).
        normalised = [F.layer_norm(layer, layer.shape[-1:]) for layer in layers]
        return torch.stack([weight * layer for weight, layer in zip(weights, normalised, strict=True)]).sum(dim=0)


class JSQAProjection(nn.Module):
    """Embedding → unit vector in the space of the contrastive loss."""

    def __init__(self, config: JSQAConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.embedding_size, config.projection_hidden_size)
        self.norm = nn.LayerNorm(config.projection_hidden_size) if config.projection_norm == "layer" else nn.Identity()
        self.output = nn.Linear(config.projection_hidden_size, config.projection_size)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(batch, embedding) → (batch, projection), each row of unit length."""
        hidden_states = F.gelu(self.norm(self.dense(embeddings)))
        return F.normalize(self.output(hidden_states), dim=-1)


class JSQAForContrastivePretraining(JSQAPreTrainedModel):
    """Stage 1: JND pairs are pulled together, clearly different clips pushed apart."""

    def __init__(self, config: JSQAConfig) -> None:
        super().__init__(config)
        self.jsqa = JSQAModel(config)
        self.projection = JSQAProjection(config)
        learned = config.learn_temperature and config.contrastive_loss != "none"
        self.log_temperature = nn.Parameter(torch.zeros(())) if learned else None
        self.post_init()

    def temperature(self) -> Tensor | float:
        """Temperature of the loss, learned or fixed; brings a learned one that got too low back to the limit."""
        if self.log_temperature is None:
            return self.config.temperature
        with torch.no_grad():
            # The parameter itself, as a limit on its value alone would have no gradient to come back by.
            self.log_temperature.clamp_(min=math.log(LOWEST_TEMPERATURE / self.config.temperature))
        # Relative to the initial one, so that a parameter of 0, as weight decay and new weights want it, is neutral.
        return self.config.temperature * self.log_temperature.exp()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        pair_ids: Tensor | None = None,
        content_ids: Tensor | None = None,
        quality: Tensor | None = None,
        distortion_ids: Tensor | None = None,
        return_loss: bool = True,
        **kwargs: Any,
    ) -> JSQAContrastiveOutput | tuple[Tensor, ...]:
        """Project clips, and compare them if it is known which belong together.

        In distributed training the clips of all processes are compared; every process must give as many.

        Args:
            input_values: (batch, samples), see [`JSQAModel.forward`].
            attention_mask: (batch, samples).
            pair_ids: (batch,) integers; the two clips of a JND pair have the same id.
            content_ids: (batch,) integers; clips of the same speech and noise have the same id. Needed for anything
                but the default objective.
            quality: (batch,) severities in JNDs, rising towards the better, comparable within a distortion. Needed for
                `false_negatives` other than `"keep"`, for the JND margin and for preferences.
            distortion_ids: (batch,) integers; clips of the same distortion have the same id. Needed with `quality`.
            return_loss: False leaves the loss out; [`contrastive_loss`] computes it from the output later.
            kwargs: see [`JSQAModel.forward`].

        Returns:
            [`JSQAContrastiveOutput`].

        Raises:
            ValueError: if a clip has no pair mate or no negative, or labels that the objective needs are missing.
        """
        outputs = self.jsqa(input_values, attention_mask=attention_mask, return_dict=True, **kwargs)
        projections = self.projection(outputs.embeddings)
        temperature = self.temperature()
        loss = None
        if return_loss and pair_ids is not None:
            labels = LadderLabels(pair_ids, content_ids, quality, distortion_ids)
            loss = self.contrastive_loss(projections, labels, temperature)
        return JSQAContrastiveOutput(
            loss=loss,
            projections=projections,
            temperature=temperature if isinstance(temperature, Tensor) else None,
            embeddings=outputs.embeddings,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    @torch.no_grad()
    def compare(
        self,
        input_values: Tensor,
        other_values: Tensor,
        attention_mask: Tensor | None = None,
        other_attention_mask: Tensor | None = None,
    ) -> JSQAComparison:
        """Tell how different clips sound, on the scale of `config.jnd_calibration`; see [`JNDScale`].

        The clips need not be equally long, nor aligned in time if the model learned so (`max_delay_s` of
        `jsqa_hf.training.ContrastiveCollator`). The scale was measured on clips of the same content, so that it says
        little about others. Put the model into evaluation mode before.

        Args:
            input_values, other_values: (batch, samples) each, see [`JSQAModel.forward`]; row by row they are compared.
            attention_mask, other_attention_mask: of the same shapes.

        Returns:
            [`JSQAComparison`], on the model's device.

        Raises:
            ValueError: if the model has not been calibrated, or the batches differ in size.
        """
        scale = self.config.jnd_scale
        if scale is None:
            raise ValueError(
                "this model has no JND calibration: pretrain with evaluation speech, or run "
                "`jsqa_hf.training.calibrate_model`"
            )
        if len(input_values) != len(other_values):
            raise ValueError(f"{len(input_values)} clips can't be compared with {len(other_values)}: give as many")
        first = self(input_values, attention_mask, return_loss=False, return_dict=True).projections
        second = self(other_values, other_attention_mask, return_loss=False, return_dict=True).projections
        distances = (first.float() - second.float()).norm(dim=-1)
        jnds = scale.jnds_between(distances.cpu().numpy())
        shares = scale.probability_noticed(jnds)
        return JSQAComparison(distances, *(torch.from_numpy(values).to(distances) for values in (jnds, shares)))

    def contrastive_loss(self, projections: Tensor, labels: LadderLabels, temperature: Tensor | float) -> Tensor:
        """The objective that the configuration describes.

        Args:
            projections: (batch, `config.projection_size`).
            labels: of the batch.
            temperature: of [`temperature`].

        Returns:
            Scalar.

        Raises:
            ValueError: see [`forward`].
        """
        config = self.config
        loss = projections.new_zeros((), dtype=torch.float32)
        if config.contrastive_loss != "none":
            loss = contrastive_loss(
                projections,
                labels,
                temperature,
                same_content_negatives=config.contrastive_negatives == "same_content",
                false_negatives=config.false_negatives,
                ambiguous_jnds=config.clearly_different_jnds if config.mask_ambiguous else None,
                supervised=config.contrastive_loss == "supervised",
            )
        if config.jnd_margin_weight:
            loss = loss + config.jnd_margin_weight * jnd_margin_loss(
                projections, labels, config.jnd_distance, config.clearly_different_jnds
            )
        if config.jnd_preference_weight:
            loss = loss + config.jnd_preference_weight * jnd_preference_loss(projections, labels, config.jnd_distance)
        return loss


class JSQAMOSHead(nn.Module):
    """Embedding → mean and variance of each rating, bounded by the rating scale."""

    def __init__(self, config: JSQAConfig) -> None:
        super().__init__()
        self.low, self.high = config.mos_score_range
        self.dropout = nn.Dropout(config.mos_dropout)
        self.dense = nn.Linear(config.embedding_size, config.mos_hidden_size)
        self.output = nn.Linear(config.mos_hidden_size, 2 * len(config.mos_output_names))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, embedding) → scores and variances, (batch, outputs) each."""
        hidden_states = F.gelu(self.dense(self.dropout(embeddings)))
        # Half precision has steps of 0.016 between scores of 2 and 4.
        mean, variance = self.output(self.dropout(hidden_states)).float().chunk(2, dim=-1)
        span = self.high - self.low
        scores = self.low + span * mean.sigmoid()
        # No variable inside a range has a variance above a quarter of its square (Popoviciu, 1935); the lower end,
        # a standard deviation of 1/100 of the range, keeps the likelihood finite.
        variances = span**2 * (1e-4 + (0.25 - 1e-4) * variance.sigmoid())
        return scores, variances


class JSQAForMOSRegression(JSQAPreTrainedModel):
    """Stage 2: mean opinion scores, with the variance of each prediction.

    Attributes:
        frozen_base: True while nothing but the head is to learn; no graph of the rest is then kept.
    """

    def __init__(self, config: JSQAConfig) -> None:
        super().__init__(config)
        self.num_labels = len(config.mos_output_names)
        self.jsqa = JSQAModel(config)
        self.head = JSQAMOSHead(config)
        further = max(0, len(config.mos_corpora) - 1)
        # Logarithm of the scale, and the offset, of each corpus but the reference: (corpora - 1, outputs).
        shape = (further, self.num_labels)
        self.corpus_log_scales = nn.Parameter(torch.zeros(shape)) if further else None
        self.corpus_offsets = nn.Parameter(torch.zeros(shape)) if further else None
        self.frozen_base = False
        self.post_init()

    @property
    def shortest_samples(self) -> int:
        """Length of the shortest clip that it takes; shorter ones are padded to it."""
        return self.jsqa.receptive_field

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """As in transformers; the saved code also loads by `AutoModelForAudioClassification`.

        A pipeline of its own, which `pipeline` would then insist on, is named only beside its code.
        """
        pipelines = getattr(self.config, "custom_pipelines", None)
        if pipelines and not os.path.isfile(os.path.join(save_directory, "pipeline_jsqa.py")):
            del self.config.custom_pipelines
        if self._auto_class is not None:
            # transformers writes one Auto class per model class into the map.
            reference = f"{type(self).__module__.split('.')[-1]}.{type(self).__name__}"
            auto_map = {"AutoModel": reference, "AutoModelForAudioClassification": reference}
            self.config.auto_map = {**(getattr(self.config, "auto_map", None) or {}), **auto_map}
        super().save_pretrained(save_directory, *args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        clip_weights: Tensor | None = None,
        corpus_ids: Tensor | None = None,
        content_ids: Tensor | None = None,
        quality: Tensor | None = None,
        distortion_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> JSQAMOSOutput | tuple[Tensor, ...]:
        """Rate clips.

        Args:
            input_values: (batch, samples), see [`JSQAModel.forward`].
            attention_mask: (batch, samples).
            labels: (batch, outputs), or (batch,) for a single output: ratings on `config.mos_score_range`, NaN where
                a clip was not rated.
            clip_weights: (batch,) how much each clip counts in the loss, on average 1; all the same if not given.
            corpus_ids: (batch,) integers, which of `config.mos_corpora` the labels are from; the first if not given.
            content_ids, quality, distortion_ids: (batch,) each, as of [`JSQAForContrastivePretraining.forward`], where
                the batch has ladders of JND pairs besides rated clips. With `config.jnd_preference_weight` above 0 the
                loss then also asks which of two clips of a ladder is better; see [`thurstone_loss`].
            kwargs: see [`JSQAModel.forward`].

        Returns:
            [`JSQAMOSOutput`].

        Raises:
            ValueError: for labels whose shape does not fit the outputs.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_base):
            outputs = self.jsqa(input_values, attention_mask=attention_mask, return_dict=True, **kwargs)
        scores, variances = self.head(outputs.embeddings)
        loss = None
        if labels is not None:
            labels = labels[:, None] if labels.ndim == 1 else labels
            if labels.shape != scores.shape:
                raise ValueError(
                    f"`labels` must be (batch, {self.num_labels}) for the outputs {self.config.mos_output_names}, "
                    f"but has shape {tuple(labels.shape)}"
                )
            loss = self._loss(scores, variances, labels, clip_weights, corpus_ids)
            if content_ids is not None and self.config.jnd_preference_weight:
                ladders = LadderLabels(content_ids, content_ids, quality, distortion_ids)
                preferences = thurstone_loss(scores[:, 0] / self.config.mos_points_per_jnd, ladders)
                loss = loss + self.config.jnd_preference_weight * preferences
        return JSQAMOSOutput(
            loss=loss,
            scores=scores,
            variances=variances,
            embeddings=outputs.embeddings,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(
        self,
        scores: Tensor,
        variances: Tensor,
        labels: Tensor,
        clip_weights: Tensor | None,
        corpus_ids: Tensor | None,
    ) -> Tensor:
        if corpus_ids is not None and self.corpus_offsets is not None:
            scores, variances = self._on_the_scale_of_the_corpus(scores, variances, corpus_ids)
        loss = mos_loss(scores, variances, labels, self.config.mos_loss, clip_weights)
        if self.config.mos_agreement_loss == "rank":
            loss = loss + self.config.mos_agreement_weight * rank_loss(scores, labels, weights=clip_weights)
        elif self.config.mos_agreement_loss == "concordance":
            loss = loss + self.config.mos_agreement_weight * concordance_loss(scores, labels, clip_weights)
        return loss

    def _on_the_scale_of_the_corpus(
        self, scores: Tensor, variances: Tensor, corpus_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores about the middle of the scale, stretched and shifted as the listeners of each corpus did."""
        assert self.corpus_log_scales is not None and self.corpus_offsets is not None
        middle = sum(self.config.mos_score_range) / 2
        reference = torch.zeros_like(self.corpus_offsets[:1])
        scales = torch.cat([reference, self.corpus_log_scales]).exp()[corpus_ids]
        offsets = torch.cat([reference, self.corpus_offsets])[corpus_ids]
        return middle + scales * (scores - middle) + offsets, scales.square() * variances


__all__ = [
    "JSQAComparison",
    "JSQAContrastiveOutput",
    "JSQAForContrastivePretraining",
    "JSQAForMOSRegression",
    "JSQAMOSOutput",
    "JSQAModel",
    "JSQAModelOutput",
    "JSQAPreTrainedModel",
]
