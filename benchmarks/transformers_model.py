"""The same geometry for transformers: from a bigclip architecture to a `CLIPConfig`."""

from collections.abc import Mapping
from typing import Any


def transformers_model(arch: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an architecture of OpenAI's CLIP to transformers.

    Args:
        arch: `{"image": {...}, "text": {...}, "embed_dim": D}`, see `bigclip.models`: with the
            class token, the end-of-text token, and the norm before the blocks, which
            transformers' CLIP always has.

    Returns:
        Keyword arguments of `transformers.CLIPConfig`, plain data.
    """
    image, text = arch["image"], arch["text"]
    return {
        "projection_dim": arch["embed_dim"],
        "vision_config": {
            "image_size": image["image_size"],
            "patch_size": image["patch_size"],
            **_tower(image),
        },
        "text_config": {
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            # The first token of this id is pooled; it is the last of CLIP's vocabulary.
            "eos_token_id": text["vocab_size"] - 1,
            "bos_token_id": text["vocab_size"] - 2,
            "pad_token_id": 0,
            **_tower(text),
        },
    }


def _tower(tower: Mapping[str, Any]) -> dict[str, Any]:
    activations = {"gelu_tanh": "gelu_pytorch_tanh"}
    return {
        "hidden_size": tower["width"],
        "num_hidden_layers": tower["depth"],
        "num_attention_heads": tower["num_heads"],
        "intermediate_size": tower["mlp_width"],
        "hidden_act": activations.get(tower["activation"], tower["activation"]),
        "layer_norm_eps": tower["ln_eps"],
    }
