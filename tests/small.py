"""Models small enough for a test to build in milliseconds."""

from __future__ import annotations

from typing import Any

from jsqa_hf import JSQAConfig

SAMPLING_RATE = 16000

SMALL_HUBERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (8, 8, 8, 8, 8, 8, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}


def small_config(**kwargs: Any) -> JSQAConfig:
    """A configuration of a few thousand parameters; `hubert` overrides parts of the backbone."""
    hubert = {**SMALL_HUBERT, **kwargs.pop("hubert", {})}
    return JSQAConfig(hubert_config=hubert, **kwargs)
