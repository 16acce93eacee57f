"""JSQA models: shapes, padding, level, freezing, weights that move between the stages."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small import SAMPLING_RATE, SMALL_HUBERT, small_config
from transformers import (
    BertConfig,
    BertModel,
    HubertForCTC,
    HubertModel,
    Trainer,
    TrainingArguments,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from jsqa_hf import (
    JSQAConfig,
    JSQAFeatureExtractor,
    JSQAForContrastivePretraining,
    JSQAForMOSRegression,
    JSQAModel,
    JSQAModelOutput,
    JSQAMOSOutput,
)
from jsqa_hf.jnd import mix_at_snr
from jsqa_hf.modeling_jsqa import band_levels, level_filters


def clips(*lengths: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [0.05 * torch.randn(length, generator=generator) for length in lengths]


def pad(batch: list[torch.Tensor], extra: int = 0, filler: float = 0.0) -> dict[str, torch.Tensor]:
    longest = max(len(clip) for clip in batch) + extra
    values = torch.full((len(batch), longest), filler)
    mask = torch.zeros(len(batch), longest, dtype=torch.long)
    for row, clip in enumerate(batch):
        values[row, : len(clip)] = clip
        mask[row, : len(clip)] = 1
    return {"input_values": values, "attention_mask": mask}


NO_DROPOUT = dict.fromkeys(["hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"], 0.0)


def build(model_class=JSQAForMOSRegression, seed: int = 0, **kwargs):
    torch.manual_seed(seed)
    return model_class(small_config(**kwargs)).eval()


@pytest.mark.parametrize("pooling", ["mean", "statistics", "attention"])
@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_clip_scores_the_same_alone_and_in_a_padded_batch(norm, stable, pooling):
    hubert = {"feat_extract_norm": norm, "do_stable_layer_norm": stable}
    model = build(hubert=hubert, pooling=pooling)
    batch = clips(32000, 21003, 16000, 5555, 800)
    with torch.no_grad():
        together = model(**pad(batch, extra=7777))
        for row, clip in enumerate(batch):
            alone = model(clip[None])
            torch.testing.assert_close(together.scores[row], alone.scores[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.embeddings[row], alone.embeddings[0], atol=1e-4, rtol=0)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(800, 20000), min_size=2, max_size=5), norm=st.sampled_from(["group", "layer"]))
def test_padding_never_matters_whatever_the_lengths(lengths, norm):
    model = build(hubert={"feat_extract_norm": norm})
    batch = clips(*lengths)
    with torch.no_grad():
        together = model(**pad(batch)).embeddings
        alone = torch.cat([model(clip[None]).embeddings for clip in batch])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_what_stands_in_the_padding_does_not_matter(norm):
    model = build(hubert={"feat_extract_norm": norm})
    batch = clips(16000, 9000)
    with torch.no_grad():
        torch.testing.assert_close(
            model(**pad(batch, filler=3.0)).embeddings, model(**pad(batch, filler=0.0)).embeddings
        )
        with_nan = model(**pad(batch, filler=float("nan"))).embeddings
        torch.testing.assert_close(with_nan, model(**pad(batch)).embeddings)


@pytest.mark.parametrize("starts", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.bool, torch.uint8, torch.int32])
def test_a_mask_of_any_type_counts_the_samples(dtype, starts):
    model = build(averaged_starts=starts)
    # float16 has no number above 65504.
    batch = pad(clips(70001, 30001))
    with torch.no_grad():
        expected = model(**batch).embeddings
        got = model(batch["input_values"], attention_mask=batch["attention_mask"].to(dtype)).embeddings
    torch.testing.assert_close(got, expected, atol=0, rtol=0)


def with_statistics(model):
    """Give the batch norm of the positional convolution statistics and a shift, as training would."""
    norm = model.base_model.hubert.encoder.pos_conv_embed.batch_norm
    if norm is not None:
        torch.manual_seed(1)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        torch.nn.init.normal_(norm.bias)
    return model


def test_padding_does_not_matter_to_a_positional_convolution_with_batch_norm():
    model = with_statistics(build(hubert={"conv_pos_batch_norm": True}))
    clip = clips(16000)
    with torch.no_grad():
        padded = model(**pad(clip, extra=4000)).embeddings
        torch.testing.assert_close(padded, model(clip[0][None]).embeddings, atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_without_padding_the_network_is_huberts_own(batch_norm):
    hubert = {"conv_pos_batch_norm": batch_norm}
    model = build(JSQAModel, level_bands=0, use_weighted_layer_sum=False, pooling="mean", hubert=hubert)
    with_statistics(model)
    clip = clips(16000)[0][None]
    with torch.no_grad():
        ours = model(clip).last_hidden_state
        theirs = model.hubert(clip).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_change_of_gain_moves_the_embedding(norm):
    clip = clips(16000)[0][None]
    with torch.no_grad():
        deaf, hearing = (build(JSQAModel, level_bands=bands, hubert={"feat_extract_norm": norm}) for bands in (0, 40))
        moved_deaf, moved_hearing = (
            float((m(clip).embeddings - m(0.1 * clip).embeddings).norm() / m(clip).embeddings.norm())
            for m in (deaf, hearing)
        )
    assert moved_hearing > 0.01
    assert moved_deaf < moved_hearing / 5, "without the level bands HuBERT hardly notices 20 dB"


def test_a_larger_change_of_snr_moves_the_embedding_further():
    generator = np.random.default_rng(0)
    bursts = np.repeat(generator.random(20) > 0.4, SAMPLING_RATE // 10)
    speech = np.sin(2 * np.pi * 180 * np.arange(len(bursts)) / SAMPLING_RATE) * bursts * 0.1
    noise = generator.normal(size=len(bursts))
    mixtures = [mix_at_snr(speech, noise, snr) for snr in (20.0, 17.0, 8.0, -4.0)]
    with torch.no_grad():
        model = build(JSQAModel)
        embeddings = [model(torch.from_numpy(np.float32(mixture))[None]).embeddings for mixture in mixtures]
    distances = [float((embedding - embeddings[0]).norm()) for embedding in embeddings[1:]]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("bands", [40, 80])
def test_band_levels_add_up_to_the_level_of_the_signal(bands):
    rate, level_dbov = 16000, -26.0
    signal = torch.randn(1, 10 * rate, generator=torch.Generator().manual_seed(0))
    signal *= 10 ** (level_dbov / 20) / signal.square().mean().sqrt()
    levels = 20 * band_levels(signal, 320, *level_filters(400, bands, rate)) - 60
    total = 10 * torch.log10((10 ** (levels / 10)).sum(-1).mean())
    assert float(total) == pytest.approx(level_dbov, abs=0.4)


def test_a_loaded_model_can_be_exported_and_compiled_whole_before_it_has_rated_anything(tmp_path):
    build(level_bands=38).save_pretrained(tmp_path)
    model = JSQAForMOSRegression.from_pretrained(tmp_path).eval()
    batch = pad(clips(16000, 6000))
    with torch.no_grad():
        exported = torch.export.export(model, (), batch).module()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        for version in (exported, compiled):
            torch.testing.assert_close(version(**batch).scores, model(**batch).scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_bfloat16_on_a_cpu_rounds_and_no_more(mixed_precision):
    """On processors with AMX, PyTorch's own convolution of positions is wrong in a model of this shape."""
    batch = {**pad(clips(16000, 6000)), "labels": torch.tensor([[2.0], [4.0]])}

    def states_and_gradients(low):
        torch.manual_seed(0)
        model = JSQAForMOSRegression(JSQAConfig.tiny()).to(torch.bfloat16 if low and not mixed_precision else None)
        with torch.autocast("cpu", torch.bfloat16, enabled=low and mixed_precision):
            outputs = model(**batch, output_hidden_states=True)
        outputs.loss.backward()
        return [
            outputs.hidden_states[0].detach(),
            *(p.grad for p in model.jsqa.hubert.encoder.pos_conv_embed.parameters()),
        ]

    for rounded, exact in zip(states_and_gradients(True), states_and_gradients(False), strict=True):
        assert float((rounded.float() - exact).norm() / exact.norm()) < 0.05


def test_an_adapter_of_the_convolution_of_positions_takes_part_in_bfloat16():
    peft = pytest.importorskip("peft")
    model = JSQAForMOSRegression(small_config()).to(torch.bfloat16)
    target = ["pos_conv_embed.conv"]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=16, target_modules=target, init_lora_weights=False))
    batch = pad(clips(8000))
    with adapted.disable_adapter():
        before = adapted(**batch).scores
    assert not torch.equal(adapted(**batch).scores, before)


def test_the_gradient_of_a_score_by_the_audio_is_there_after_inference():
    model, clip = build(level_bands=39), clips(8000)[0][None]
    with torch.inference_mode():
        model(clip)
    (gradient,) = torch.autograd.grad(model(clip.requires_grad_()).scores.sum(), clip)
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("windows", [1, 2, 4])
def test_level_windows_cover_each_frame_exactly_and_in_order(windows):
    """A click is heard in the window that it falls into, of the frames that it falls into."""
    model = build(JSQAModel, level_windows=windows)
    hop, length = 320, model.level_window_length
    assert (windows - 1) * (hop // windows) + length == model.receptive_field
    signal = torch.zeros(1, 8000)
    signal[0, 10 * hop + hop // 2] = 0.5
    levels = model._levels(signal, frames=20).reshape(20, windows, -1)
    loud = {(int(frame), int(window)) for frame, window, _ in (levels > levels.min() + 0.1).nonzero()}
    starts = {(f, w): f * hop + w * (hop // windows) for f in range(20) for w in range(windows)}
    # The Hann window is 0 at its first sample.
    assert loud == {key for key, start in starts.items() if start < 10 * hop + hop // 2 < start + length}


class TestMeansOverStarts:
    def test_outside_training_embeddings_are_means_over_starts_within_a_frame(self):
        model = build(averaged_starts=4)
        long, short = clips(16000, 9000)
        once = copy.deepcopy(model)
        once.config.averaged_starts = 1
        with torch.no_grad():
            together = model(**pad([long, short], extra=77, filler=0.9), output_hidden_states=True)
            for row, clip in enumerate((long, short)):
                # The hop is 320 samples.
                parts = [once(clip[None, start:]).embeddings[0] for start in (0, 80, 160, 240)]
                torch.testing.assert_close(together.embeddings[row], torch.stack(parts).mean(0), atol=1e-5, rtol=1e-4)
            first = once(**pad([long, short], extra=77, filler=0.9), output_hidden_states=True)
        assert len(together.hidden_states) == len(first.hidden_states)
        for ours, theirs in zip(together.hidden_states, first.hidden_states, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        base = model.jsqa(long[None])
        assert base.last_hidden_state.shape[:2] == base.frame_mask.shape
        assert base.last_hidden_state.shape[0] == 1
        torch.testing.assert_close(base.embeddings[0], together.embeddings[0], atol=1e-5, rtol=1e-4)

    def test_training_sees_one_start(self):
        model, batch = build(averaged_starts=4, hubert=NO_DROPOUT), pad(clips(16000, 9000))
        once = copy.deepcopy(model)
        once.config.averaged_starts = 1
        assert torch.equal(model.train()(**batch).scores, once.train()(**batch).scores)

    def test_starts_that_leave_less_than_a_frame_do_not_count(self):
        model = build(averaged_starts=4)
        once = copy.deepcopy(model)
        once.config.averaged_starts = 1
        field = model.jsqa.receptive_field
        # The second clip is shorter than a frame, the third has room for one more start.
        batch = clips(16000, field - 100, field + 90)
        with torch.no_grad():
            got = model(**pad(batch)).embeddings
            only = once(**pad([batch[1], torch.zeros(field)])).embeddings[0]
            two = torch.stack([once(batch[2][None, start:]).embeddings[0] for start in (0, 80)])
        torch.testing.assert_close(got[1], only, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(got[2], two.mean(0), atol=1e-5, rtol=1e-4)

    def test_it_matters_less_where_a_clip_begins(self):
        torch.manual_seed(0)
        clip = torch.cat([torch.zeros(16000), clips(16000)[0]])[None]
        spread = {}
        for starts in (1, 8):
            model = build(averaged_starts=starts)
            with torch.no_grad():
                embeddings = torch.cat([model(clip[:, cut:]).embeddings for cut in range(0, 320, 20)])
            spread[starts] = float(embeddings.std(dim=0).mean())
        assert spread[8] < spread[1] / 2


def test_scores_and_variances_are_bounded_by_the_scale():
    model = build(mos_score_range=(0, 100), mos_output_names=["mos", "noisiness"])
    with torch.no_grad():
        model.head.output.weight.mul_(1e3)
        output = model(**pad(clips(16000, 8000, 4000)))
    assert output.scores.shape == output.variances.shape == (3, 2)
    assert bool(((output.scores >= 0) & (output.scores <= 100)).all())
    assert bool(((output.variances > 0) & (output.variances <= 2500)).all())


def test_outputs_have_the_documented_names_and_shapes():
    output = build()(**pad(clips(16000, 8000)), labels=torch.tensor([3.0, 4.0]))
    assert isinstance(output, JSQAMOSOutput)
    assert output.loss.ndim == 0
    assert output.logits is output.scores
    assert output.embeddings.shape == (2, 64)
    base = build(JSQAModel)(**pad(clips(16000, 8000)), output_hidden_states=True)
    assert isinstance(base, JSQAModelOutput)
    assert base.last_hidden_state.shape == (2, 49, 32)
    assert base.frame_mask.sum(-1).tolist() == [49, 24]
    assert len(base.hidden_states) >= 2


def test_a_tuple_comes_back_on_request():
    model = build()
    output = model(clips(8000)[0][None])
    as_tuple = model(clips(8000)[0][None], return_dict=False)
    torch.testing.assert_close(as_tuple[0], output.scores)


@pytest.mark.parametrize("model_class", [JSQAModel, JSQAForMOSRegression, JSQAForContrastivePretraining])
def test_a_configuration_may_ask_for_tuples(model_class):
    model, plain = build(model_class, return_dict=False), build(model_class)
    clip = clips(8000)[0][None]
    for one, other in zip(model(clip), plain(clip).to_tuple(), strict=True):
        torch.testing.assert_close(one, other)


def test_attention_back_ends_agree():
    eager = build(attn_implementation="eager")
    sdpa = build(attn_implementation="sdpa")
    assert eager.config._attn_implementation == "eager" and sdpa.config._attn_implementation == "sdpa"
    batch = pad(clips(16000, 6000))
    with torch.no_grad():
        torch.testing.assert_close(eager(**batch).scores, sdpa(**batch).scores, atol=1e-5, rtol=0)
        assert eager(**batch, output_attentions=True).attentions[0].shape == (2, 2, 49, 49)


def test_gradient_checkpointing_changes_no_gradient():
    batch = {**pad(clips(16000, 6000)), "labels": torch.tensor([[2.0], [4.0]])}
    gradients = []
    for checkpointing in (False, True):
        model = build(hubert=NO_DROPOUT)
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        model(**batch).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, atol=1e-6, rtol=1e-4)


RATED = {"labels": torch.tensor([[2.0], [4.0], [3.0], [1.0]])}
PAIRED = {
    "pair_ids": torch.tensor([0, 0, 1, 1]),
    "content_ids": torch.zeros(4, dtype=torch.long),
    "quality": torch.tensor([0.0, 0.5, 4.0, 4.5]),
    "distortion_ids": torch.zeros(4, dtype=torch.long),
}


@pytest.mark.parametrize(
    ("model_class", "labels", "options"),
    [
        (JSQAForMOSRegression, RATED, {"pooling": "attention"}),
        (JSQAForContrastivePretraining, PAIRED, {"pooling": "attention", "learn_temperature": True}),
        (
            JSQAForContrastivePretraining,
            PAIRED,
            {"contrastive_loss": "none", "jnd_preference_weight": 1.0, "learn_temperature": True},
        ),
        (JSQAForMOSRegression, RATED, {"hubert": {"layerdrop": 0.9}}),
        (JSQAForMOSRegression, RATED, {"hubert": {"mask_time_prob": 0.05}}),
        (JSQAForMOSRegression, RATED, {"hubert": {"mask_feature_prob": 0.05}}),
        (JSQAForMOSRegression, RATED, {"hubert": {"apply_spec_augment": True, "mask_time_prob": 0.3}}),
    ],
)
def test_every_parameter_learns(tmp_path, model_class, labels, options):
    """Processes of `DistributedDataParallel` wait for every gradient; a loaded model is trained like a new one."""
    build(model_class, **options).save_pretrained(tmp_path)
    model = model_class.from_pretrained(tmp_path).train()
    model(**pad(clips(16000, 6000, 9000, 12000)), **labels).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_freezing_leaves_the_rest_trainable():
    model = build()
    model.freeze_feature_encoder()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen and all(".feature_extractor." in name for name in frozen)
    model.freeze_base_model()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable and all(name.startswith("head.") for name in trainable)


def test_training_mode_does_not_mask_speech():
    model = build(hubert=NO_DROPOUT)
    clip = clips(16000)[0][None]
    with torch.no_grad():
        torch.testing.assert_close(model.train()(clip).scores, model.eval()(clip).scores)


def test_layers_are_dropped_in_training_as_the_backbone_says():
    model, clip = build(hubert={**NO_DROPOUT, "layerdrop": 0.5}), clips(8000)[0][None]
    with torch.no_grad():
        model.train()
        # Each of the two layers is passed or not.
        assert 1 < len({float(model(clip).scores) for _ in range(20)}) <= 4
        model.eval()
        assert len({float(model(clip).scores) for _ in range(20)}) == 1


def test_pretraining_weights_move_to_the_mos_model_with_only_the_head_new(tmp_path):
    pretrained = build(JSQAForContrastivePretraining)
    pretrained.save_pretrained(tmp_path)
    model, info = JSQAForMOSRegression.from_pretrained(tmp_path, output_loading_info=True)
    assert {key.split(".")[0] for key in info["missing_keys"]} == {"head"}
    assert {key.split(".")[0] for key in info["unexpected_keys"]} == {"projection"}
    for name, parameter in pretrained.jsqa.state_dict().items():
        torch.testing.assert_close(model.jsqa.state_dict()[name], parameter)


def test_saving_and_loading_changes_no_score(tmp_path, small_model):
    small_model.save_pretrained(tmp_path)
    loaded = JSQAForMOSRegression.from_pretrained(tmp_path).eval()
    batch = pad(clips(16000, 6000))
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).scores, small_model(**batch).scores)
    assert not list(tmp_path.glob("*.bin")), "weights are safetensors only"


def test_from_backbone_takes_over_pretrained_weights(tmp_path):
    hubert = build(JSQAModel, hubert={"apply_spec_augment": True, "mask_time_prob": 0.05, "layerdrop": 0.1}).hubert
    hubert.save_pretrained(tmp_path)
    config = JSQAConfig(pooling="mean", use_weighted_layer_sum=False)
    clip = clips(16000)[0][None]
    for backbone in (hubert, str(tmp_path)):
        model = JSQAModel.from_backbone(backbone, config).eval()
        assert model.config.pooling == "mean"
        assert not model.config.hubert_config.apply_spec_augment
        assert model.config.hubert_config.layerdrop == 0
        with torch.no_grad():
            torch.testing.assert_close(
                model(clip).last_hidden_state, hubert(clip).last_hidden_state, atol=1e-5, rtol=0
            )


def test_spec_augment_can_be_switched_on_and_finds_the_pretrained_embedding(tmp_path):
    hubert = HubertModel(small_config(hubert={"mask_time_prob": 0.3}).hubert_config)
    model = JSQAModel.from_backbone(hubert)
    model.save_pretrained(tmp_path)
    model, info = JSQAModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(model.hubert.masked_spec_embed, hubert.masked_spec_embed)
    clip = clips(16000)[0][None]
    plain = model.train()(clip).embeddings
    model.config.hubert_config.apply_spec_augment = True
    assert not torch.equal(model(clip).embeddings, plain)


def test_from_backbone_takes_from_the_backbone_what_the_config_leaves_to_it():
    hubert = HubertModel(small_config().hubert_config)
    hubert.config.initializer_range = 0.03
    plain = JSQAModel.from_backbone(hubert).config
    same = JSQAModel.from_backbone(hubert, JSQAConfig()).config
    assert (same.initializer_range, same.level_windows) == (plain.initializer_range, plain.level_windows)
    assert same.initializer_range == 0.03 != JSQAConfig().initializer_range
    # What is said holds, whether or not it is what another backbone would give.
    assert JSQAModel.from_backbone(hubert, JSQAConfig(initializer_range=0.1)).config.initializer_range == 0.1


def test_from_backbone_takes_the_same_from_it_with_a_config_that_was_saved_and_loaded(tmp_path):
    hubert = HubertModel(small_config().hubert_config)
    fresh = JSQAConfig(mos_output_names=["mos", "noisiness"])
    fresh.save_pretrained(tmp_path)
    loaded = JSQAConfig.from_pretrained(tmp_path)
    expected = JSQAModel.from_backbone(hubert, fresh).config.to_diff_dict()
    assert expected["level_windows"] != fresh.level_windows
    for config in (loaded, copy.deepcopy(loaded), JSQAConfig.from_dict(fresh.to_dict())):
        assert JSQAModel.from_backbone(hubert, config).config.to_diff_dict() == expected
    # What is set afterwards is said, too.
    for config in (fresh, loaded):
        config.level_windows = 1
        assert JSQAModel.from_backbone(hubert, config).config.level_windows == 1


@pytest.mark.parametrize(
    ("model_class", "config_class"),
    [(WavLMModel, WavLMConfig), (Wav2Vec2Model, Wav2Vec2Config), (BertModel, BertConfig), (JSQAModel, None)],
)
def test_from_backbone_refuses_models_of_other_types(tmp_path, model_class, config_class):
    config = small_config() if config_class is None else config_class(**SMALL_HUBERT)
    model = model_class(config)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: is a model of type '{config.model_type}'.*HuBERT"):
        JSQAModel.from_backbone(tmp_path)
    with pytest.raises(TypeError, match=rf"HubertModel.*is a {model_class.__name__}"):
        JSQAModel.from_backbone(model)


def test_from_backbone_refuses_a_hubert_without_all_of_its_weights(tmp_path):
    hubert = HubertModel(small_config(hubert={"mask_time_prob": 0.3}).hubert_config)
    hubert.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    # Saved without SpecAugment, of which the model makes no use.
    del weights["masked_spec_embed"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    JSQAModel.from_backbone(tmp_path)
    names = [name for name in weights if name.startswith("encoder.layers.1.")]
    save_file({name: weights[name] for name in weights if name not in names}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: lacks {len(names)} weights .* encoder.layers.1"):
        JSQAModel.from_backbone(tmp_path)


def test_from_backbone_takes_a_hubert_with_a_head(tmp_path):
    model = HubertForCTC(small_config().hubert_config)
    model.save_pretrained(tmp_path)
    taken = JSQAModel.from_backbone(tmp_path).hubert.state_dict()
    for name, values in model.hubert.state_dict().items():
        assert torch.equal(taken[name], values)


def test_from_backbone_keeps_how_the_backbone_attends(tmp_path):
    HubertModel(small_config().hubert_config).save_pretrained(tmp_path)
    backbone = HubertModel.from_pretrained(tmp_path, attn_implementation="eager")
    for model in (
        JSQAModel.from_backbone(backbone),
        JSQAModel.from_backbone(str(tmp_path), attn_implementation="eager"),
    ):
        assert len(model(clips(8000)[0][None], output_attentions=True).attentions) == 2


def test_no_path_of_the_backbone_is_saved(tmp_path):
    HubertModel(small_config().hubert_config).save_pretrained(tmp_path / "secret")
    JSQAModel.from_backbone(str(tmp_path / "secret")).save_pretrained(tmp_path / "model")
    assert "secret" not in (tmp_path / "model" / "config.json").read_text()


def test_from_backbone_leaves_the_backbone_and_the_config_alone():
    hubert: HubertModel = build(JSQAModel).hubert
    hubert.config.layerdrop = 0.1
    config = JSQAConfig()
    before = copy.deepcopy(config.to_dict())
    JSQAModel.from_backbone(hubert, config)
    assert hubert.config.layerdrop == 0.1
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(torch.zeros(16000)), r"\(batch, samples\)"),
        (lambda m: m(torch.zeros(1, 1, 16000)), r"\(batch, samples\)"),
        (lambda m: m(torch.zeros(1, 399)), "at least 400"),
        (lambda m: m(torch.zeros(2, 16000), labels=torch.zeros(2, 3)), r"batch, 1.*mos"),
    ],
)
def test_wrong_input_is_refused(small_model, call, message):
    with pytest.raises(ValueError, match=message):
        call(small_model)


def test_silence_gives_finite_scores_and_gradients():
    model = build().train()
    output = model(torch.zeros(2, 16000), labels=torch.tensor([1.0, 1.0]))
    output.loss.backward()
    assert bool(output.scores.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_content_matched_negatives_need_to_know_the_content():
    model = build(JSQAForContrastivePretraining, contrastive_negatives="same_content")
    batch, pair_ids = pad(clips(8000, 8000, 8000, 8000)), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match="content_ids"):
        model(**batch, pair_ids=pair_ids)
    output = model(**batch, pair_ids=pair_ids, content_ids=torch.zeros(4, dtype=torch.long))
    assert output.loss.item() > 0
    torch.testing.assert_close(output.projections.norm(dim=-1), torch.ones(4))


def test_gradient_accumulation_equals_one_large_batch(tmp_path):
    """Trainer must not take the loss as divided already (`accepts_loss_kwargs`)."""
    waveforms = clips(8000, 8000, 8000, 8000)
    rows = [{"input_values": clip, "labels": torch.tensor([float(i + 1)])} for i, clip in enumerate(waveforms)]
    norms = []
    for batch_size, accumulation in ((4, 1), (2, 2)):
        model = build(hubert=NO_DROPOUT)
        args = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            max_steps=1,
            logging_steps=1,
            max_grad_norm=1e9,
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            seed=0,
        )
        trainer = Trainer(model=model, args=args, train_dataset=rows, processing_class=JSQAFeatureExtractor())
        trainer.train()
        norms.append(float(trainer.state.log_history[0]["grad_norm"]))
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
