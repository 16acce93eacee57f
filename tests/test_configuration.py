"""JSQAConfig: presets, serialisation, refusal of wrong values."""

from __future__ import annotations

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, HubertConfig, Wav2Vec2Config

from jsqa_hf import JSQAConfig, JSQAForContrastivePretraining, JSQAForMOSRegression, JSQAModel


def count_parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("model_class", [JSQAModel, JSQAForContrastivePretraining, JSQAForMOSRegression])
@pytest.mark.parametrize(("preset", "low", "high"), [("tiny", 0.2e6, 0.3e6), ("paper", 25e6, 27e6)])
def test_presets_have_the_size_they_promise(model_class, preset, low, high):
    model = model_class(getattr(JSQAConfig, preset)())
    assert low <= count_parameters(model) <= high


def test_the_paper_preset_has_the_shape_of_the_paper():
    config = JSQAConfig.paper()
    assert (config.hidden_size, config.hubert_config.num_hidden_layers) == (384, 12)


def test_a_configuration_survives_saving_and_loading(tmp_path):
    config = JSQAConfig.paper(
        pooling="attention",
        use_weighted_layer_sum=False,
        mos_output_names=["mos", "noisiness", "coloration", "discontinuity", "loudness"],
        mos_score_range=(0, 100),
        temperature=1,
        level_bands=0,
        attn_implementation="eager",
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is JSQAConfig
    before, after = config.to_dict(), loaded.to_dict()
    # Where it was loaded from and which code was copied beside it are no settings.
    for settings in (before, after):
        settings.pop("auto_map", None)
        settings.pop("_name_or_path")
    assert after == before
    assert isinstance(loaded.hubert_config, HubertConfig)


def test_the_backbone_can_be_a_configuration_a_dict_or_left_out():
    as_dict = JSQAConfig(hubert_config={"hidden_size": 48, "num_attention_heads": 4})
    as_config = JSQAConfig(hubert_config=HubertConfig(hidden_size=48, num_attention_heads=4))
    assert as_dict.to_dict() == as_config.to_dict()
    assert JSQAConfig().to_dict() == JSQAConfig.tiny().to_dict()


def test_the_name_of_a_backbone_is_sent_to_where_it_can_be_loaded():
    with pytest.raises(ValueError, match="from_backbone"):
        JSQAConfig(hubert_config="facebook/hubert-base-ls960")


def test_spec_augment_and_layerdrop_are_off_by_default():
    for config in (JSQAConfig(), JSQAConfig.paper()):
        assert not config.hubert_config.apply_spec_augment
        assert config.hubert_config.layerdrop == 0


def test_the_outputs_are_the_labels_of_a_regression_head():
    config = JSQAConfig(mos_output_names=["mos", "noisiness"])
    assert config.num_labels == 2
    assert config.id2label == {0: "mos", 1: "noisiness"}
    assert config.problem_type == "regression"


def test_the_labels_follow_outputs_that_are_set_later():
    config = JSQAConfig()
    config.mos_output_names = ["mos", "loudness"]
    assert config.label2id == {"mos": 0, "loudness": 1}


def test_a_number_of_labels_that_contradicts_the_outputs_is_refused(tmp_path):
    assert JSQAConfig(mos_output_names=["mos", "noisiness"], num_labels=2).num_labels == 2
    with pytest.raises(ValueError, match="mos_output_names"):
        JSQAConfig(num_labels=5)
    JSQAConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="mos_output_names"):
        AutoConfig.from_pretrained(tmp_path, num_labels=5)
    with pytest.raises(StrictDataclassError, match="`id2label` has 2 labels.*mos_output_names"):
        AutoConfig.from_pretrained(tmp_path, id2label={0: "overall", 1: "noisiness"})
    assert AutoConfig.from_pretrained(tmp_path, id2label={0: "overall"}).id2label == {0: "overall"}


def test_a_misspelt_parameter_is_refused_with_a_guess():
    with pytest.raises(ValueError, match=r"poolling.*Did you mean `pooling`"):
        JSQAConfig(poolling="mean")
    with pytest.raises(ValueError, match=r"hiden_size.*HubertConfig.*`hidden_size`"):
        JSQAConfig(hubert_config={"hiden_size": 48})


def test_a_saved_file_may_hold_keys_of_other_tools_but_no_misspelt_ones(tmp_path):
    JSQAConfig().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "use_cache": False}))
    assert JSQAConfig.from_pretrained(tmp_path).pooling == "statistics"
    path.write_text(json.dumps({**saved, "mos_drop_out": 0.3}))
    with pytest.raises(ValueError, match="mos_dropout"):
        JSQAConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": "max"}, "pooling"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"mos_dropout": 1.0}, "mos_dropout"),
        ({"mos_output_names": []}, "mos_output_names"),
        ({"mos_output_names": ["mos", "mos"]}, "mos_output_names"),
        ({"mos_score_range": (5.0, 1.0)}, "mos_score_range"),
        ({"mos_score_range": (1.0, 2.0, 5.0)}, "mos_score_range"),
        ({"mos_panel_std": -0.1}, "mos_panel_std"),
        ({"mos_loss": "l3"}, "mos_loss"),
        ({"level_bands": -1}, "level_bands"),
        ({"level_windows": 0}, "level_windows"),
        ({"level_windows": 3}, "level_windows"),
        ({"averaged_starts": 0}, "averaged_starts"),
        ({"averaged_starts": 641}, "averaged_starts"),
        ({"projection_size": 0}, "projection_size"),
        ({"sampling_rate": 0}, "sampling_rate"),
        ({"contrastive_negatives": "none"}, "contrastive_negatives"),
        ({"hubert_config": {"hidden_size": 50, "num_attention_heads": 4}}, "multiple of"),
        ({"hubert_config": Wav2Vec2Config()}, "HuBERT"),
    ],
)
def test_wrong_and_contradictory_values_are_refused_by_name(values, message):
    with pytest.raises(StrictDataclassError, match=message):
        JSQAConfig(**values)
