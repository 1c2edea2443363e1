"""Which class of transformers can say a model of ours, and its `config.json`."""

import math
from typing import Any

from bigclip.config import ConfigError
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.transformers_folder.config_reading import LEGACY_EOS
from bigclip.interop.transformers_folder.tables import CLASSES
from bigclip.interop.transformers_folder.tokenizer_writing import is_gemma

# Two of their names mean gelu_tanh; this is the one that their own configurations use.
_ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def choose_class(model: Outgoing) -> str:
    """Choose the class that computes what the model computes.

    A model that came out of a `Siglip2Model` goes back into one: its processor keeps the
    proportions of pictures again, which our towers, if they were tuned, never saw. With another
    tokenizer than Gemma's it becomes a `SiglipModel`.

    Returns:
        A key of `tables.CLASSES`.

    Raises:
        ConfigError: if there is none; lists all that the classes cannot say.
    """
    if set(model.towers) != {"image", "text"}:
        raise ConfigError(
            f"transformers: this checkpoint holds the {model.towers[0]} tower alone, and a "
            "CLIPModel or SiglipModel needs both. Use --format timm or onnx (image tower) or "
            "safetensors (any)."
        )
    reasons = {"clip": _against_clip(model), "siglip": _against_siglip(model)}
    fitting = [model_type for model_type, found in reasons.items() if not found]
    if not fitting:
        lines = "\n".join(
            f"  {CLASSES[model_type]}: {'; '.join(found)}" for model_type, found in reasons.items()
        )
        raise ConfigError(
            f"transformers has no class that computes this model:\n{lines}\n"
            "Use --format safetensors or onnx, which take every model, or train one that a class "
            "can say (architecture clip-vit-... or siglip-...)."
        )
    origin = model.manifest.get("origin") or {}
    naflex = fitting == ["siglip"] and origin.get("class") == CLASSES["siglip2"]
    # transformers opens no other tokenizer than Gemma's beside a Siglip2Model.
    return "siglip2" if naflex and is_gemma(model.tokenizer) else fitting[0]


def _against_clip(model: Outgoing) -> list[str]:
    image, text = model.architecture["image"], model.architecture["text"]
    if image.get("tower", "vit") != "vit":
        return [f"its image tower is a {image['tower']}, not a vision transformer"]
    found = _differences(
        image,
        "image",
        {"stem": "patch", "pool": "class", "ln_pre": True}
        | {"projection": True, "projection_bias": False},
    )
    wanted = {"pool": "eot", "causal": True, "projection": True, "projection_bias": False}
    found += _differences(text, "text", wanted)
    if "logit_bias" in model.shapes:
        found.append("it has a logit_bias (loss 'sigmoid'), and logits there have none")
    return found


def _against_siglip(model: Outgoing) -> list[str]:
    image, text = model.architecture["image"], model.architecture["text"]
    if image.get("tower", "vit") != "vit":
        return [f"its image tower is a {image['tower']}, not a vision transformer"]
    wanted = {"stem": "patch", "pool": "map", "ln_pre": False, "projection": False}
    found = _differences(image, "image", wanted)
    return found + _differences(text, "text", {"pool": "last", "causal": False, "projection": True})


def _differences(fields: dict[str, Any], tower: str, wanted: dict[str, Any]) -> list[str]:
    return [
        f"{tower}.{key} is {fields[key]!r}, not {value!r}"
        for key, value in wanted.items()
        if fields[key] != value
    ]


def make_config(model: Outgoing, model_type: str) -> dict[str, Any]:
    """Write a configuration out in full.

    Args:
        model: the checkpoint.
        model_type: of `choose_class`.
    """
    arch, tokenizer = model.architecture, model.tokenizer
    image, text = arch["image"], arch["text"]
    vision_config = _shared(image) | {
        "model_type": f"{model_type}_vision_model",
        "num_channels": 3,
        "patch_size": image["patch_size"],
    }
    if model_type == "siglip2":
        vision_config["num_patches"] = model.shapes["image/position"][0]
    else:
        vision_config["image_size"] = image["image_size"]
    text_config = _shared(text) | {
        "model_type": f"{model_type}_text_model",
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text["context_length"],
        "pad_token_id": tokenizer.pad,
        "bos_token_id": tokenizer.sot,
        "eos_token_id": tokenizer.eot,
    }
    config: dict[str, Any] = {
        "architectures": [CLASSES[model_type]],
        "model_type": model_type,
        "torch_dtype": "float32",
        "initializer_factor": 1.0,
    }
    if model_type == "clip":
        text_config["eos_token_id"] = _eos(model)
        for part in (text_config, vision_config):
            part |= {"projection_dim": arch["embed_dim"], "initializer_range": 0.02}
            part |= {"initializer_factor": 1.0}
        scale = model.manifest["task"]["init_logit_scale"]
        config |= {"projection_dim": arch["embed_dim"], "logit_scale_init_value": math.log(scale)}
    else:
        text_config["projection_size"] = arch["embed_dim"]
        vision_config["vision_use_head"] = True
    return config | {"text_config": text_config, "vision_config": vision_config}


def _shared(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": fields["width"],
        "num_hidden_layers": fields["depth"],
        "num_attention_heads": fields["num_heads"],
        "intermediate_size": fields["mlp_width"],
        "hidden_act": _ACTIVATIONS[fields["activation"]],
        "layer_norm_eps": fields["ln_eps"],
        "attention_dropout": 0.0,
    }


def _eos(model: Outgoing) -> int:
    """Tell a CLIPModel where to pool: at its first end-of-text token.

    Ours pools at the first of the largest ids. Theirs looks for the id that it is told. Both are
    one where the end of text is the largest id that can occur; where it is not, there is the id
    for which theirs looks for the largest, too.
    """
    tokenizer = model.tokenizer
    largest = tokenizer.vocab_size - 1
    return largest if tokenizer.eot == largest else LEGACY_EOS
