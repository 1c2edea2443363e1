"""From open_clip's `model_cfg` to an architecture of ours.

Source: open_clip 3.3 `model.py` (`CLIPVisionCfg`, `CLIPTextCfg`, `CLIP`) and `timm_model.py`. A key
that is not known here could change what is computed, so it is refused by its name; so is one that
asks for what our towers do not compute.
"""

from collections.abc import Mapping
from typing import Any

from bigclip import models
from bigclip.config import ConfigError, choose
from bigclip.interop.files import Weights
from bigclip.interop.geometry import check_same, heads_of, num_layers, shape_of
from bigclip.interop.open_clip_folder.tables import TRUNK, Layout
from bigclip.interop.timm_folder.names import named
from bigclip.interop.timm_folder.reading import POOLS, trunk_geometry, zero_biases

# Defaults of their keys.
_TOP = {
    "embed_dim": None,
    "vision_cfg": None,
    "text_cfg": None,
    "quick_gelu": False,
    "custom_text": False,
    "init_logit_scale": None,
    "init_logit_bias": None,
    "nonscalar_logit_scale": False,
    "output_dict": False,
    "cast_dtype": None,
}
_BLOCKS = {
    "mlp_ratio": 4.0,
    "act_kwargs": None,
    "norm_kwargs": None,
    "output_tokens": False,
    "final_ln_after_pool": False,
    "block_type": None,
}
_VISION = _BLOCKS | {
    "layers": 12,
    "width": 768,
    "head_width": 64,
    "patch_size": 16,
    "image_size": 224,
    "patch_dropout": 0.0,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "pool_type": "tok",
    "attn_pooler_queries": 256,
    "attn_pooler_heads": 8,
    "timm_model_name": None,
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "timm_proj_bias": False,
    "timm_drop": 0.0,
    "timm_drop_path": None,
}
_TEXT = _BLOCKS | {
    "context_length": 77,
    "vocab_size": 49408,
    "hf_tokenizer_name": None,
    "tokenizer_mode": None,
    "tokenizer_kwargs": None,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "pad_id": 0,
    "eos_id": 2,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    "hf_model_pretrained": True,
    "hf_proj_type": "mlp",
    "hf_pooler_type": "mean_pooler",
}
# What our towers have not, unless it is switched off.
_NOT_OURS = {
    "ls_init_value": "layer scale",
    "attentional_pool": "attentional pooling",
    "qk_norm": "normalised queries and keys",
    "scaled_cosine_attn": "cosine attention",
    "scale_heads": "scaled heads",
    "scale_attn_inner": "a norm inside the attention",
    "scale_attn": "a norm behind the attention",
    "scale_fc": "a norm inside the MLP",
    "embed_cls": "a class token of texts",
    "hf_model_name": "a text tower of transformers",
}
_MOST = 1 << 20  # of any size


class Part:
    """An object of the configuration, with defaults and checks.

    Attributes:
        where: its place, for messages.
    """

    def __init__(self, content: Any, defaults: Mapping[str, Any], where: str):
        """Check the keys.

        Raises:
            ConfigError: for no object, an unknown key, or what our towers have not.
        """
        self.where = where
        if not isinstance(content, Mapping):
            raise ConfigError(f"{where} must be an object, not {content!r:.40}.")
        for key, value in content.items():
            if key in _NOT_OURS and value not in (None, False):
                raise ConfigError(
                    f"{where}.{key} = {value!r:.60}: {_NOT_OURS[key]}, which our towers have not."
                )
            if key not in defaults and key not in _NOT_OURS:
                raise ConfigError(
                    f"{where}.{key[:60]} is unknown here, so it could change what is computed."
                )
        self._content = {**defaults, **content}

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def size(self, key: str) -> int:
        """Return a positive whole number, perhaps written as two equal ones."""
        value = self[key]
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if type(value) is not int or not 0 < value < _MOST:
            raise ConfigError(
                f"{self.where}.{key} must be a whole number (of a square), not {value!r:.40}."
            )
        return value

    def number(self, key: str) -> float:
        """Return a number from 0 to 1,000."""
        value = self[key]
        if type(value) not in (int, float) or not 0 <= value <= 1000:
            raise ConfigError(f"{self.where}.{key} must be a number, not {value!r:.40}.")
        return float(value)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        if type(self[key]) is not bool:
            raise ConfigError(f"{self.where}.{key} must be true or false, not {self[key]!r:.40}.")
        return self[key]

    def among(self, key: str, choices: Mapping[Any, Any]) -> Any:
        """Return what a choice stands for."""
        return choose(self[key], choices, f"{self.where}.{key}")

    def blocks(self, *, quick_gelu: bool) -> dict[str, Any]:
        """Return the fields of our transformers."""
        if self["block_type"] not in (None, "default", "custom"):
            raise ConfigError(f"{self.where}.block_type is {self['block_type']!r:.40}, unknown.")
        norm = Part(self["norm_kwargs"] or {}, {"eps": 1e-5}, f"{self.where}.norm_kwargs")
        form = Part(self["act_kwargs"] or {}, {"approximate": "none"}, f"{self.where}.act_kwargs")
        activation = form.among("approximate", {"none": "gelu", "tanh": "gelu_tanh"})
        if quick_gelu and self["act_kwargs"]:
            raise ConfigError(f"{self.where}.act_kwargs: QuickGELU (quick_gelu) takes none.")
        width = self.size("width")
        return {
            "width": width,
            "depth": self.size("layers"),
            "mlp_width": int(width * self.number("mlp_ratio")),
            "activation": "quick_gelu" if quick_gelu else activation,
            "ln_eps": norm.number("eps"),
        }


def read_config(config: Any, weights: Weights, layout: Layout, where: str) -> dict[str, Any]:
    """Translate a `model_cfg`.

    Args:
        config: the object.
        weights: the file of arrays, which tells what timm's part of the configuration does not.
        layout: of the file.
        where: of the configuration, for messages.

    Returns:
        The architecture.

    Raises:
        ConfigError: for what our towers cannot be, or the arrays are not; names the key.
    """
    if isinstance(config, Mapping) and "multimodal_cfg" in config:
        raise ConfigError(f"{where}: CoCa (multimodal_cfg) has a decoder, and no task here has.")
    top = Part(config, _TOP, where)
    vision = Part(top["vision_cfg"], _VISION, f"{where}.vision_cfg")
    text = Part(top["text_cfg"], _TEXT, f"{where}.text_cfg")
    quick_gelu = top.flag("quick_gelu")
    is_trunk, is_resnet = vision["timm_model_name"] is not None, isinstance(vision["layers"], list)
    if is_trunk != layout.trunk:
        raise ConfigError(
            f"{vision.where}: timm_model_name is {vision['timm_model_name']!r:.60}, and "
            f"{weights.path} has {'an' if layout.trunk else 'no'} image tower of timm."
        )
    arch = models.architecture("clip-rn50" if is_resnet and not is_trunk else "clip-vit-b-32")
    arch["embed_dim"] = top.size("embed_dim")
    if is_trunk:
        arch["image"] |= _trunk(vision, weights, layout)
    elif is_resnet:
        arch["image"] |= _resnet(vision, weights)
    else:
        arch["image"] |= _vit(vision, weights, quick_gelu=quick_gelu)
    arch["text"] |= _text(text, weights, layout.text, quick_gelu=quick_gelu)
    return models.architecture(arch)


def _vit(vision: Part, weights: Weights, *, quick_gelu: bool) -> dict[str, Any]:
    if vision["pool_type"] != "tok":
        raise ConfigError(
            f"{vision.where}.pool_type is {vision['pool_type']!r:.40}: ours attends to a class "
            "token only where it pools by it."
        )
    fields = vision.blocks(quick_gelu=quick_gelu)
    layers = num_layers(weights, "visual.transformer.resblocks.")
    check_same({"depth": layers}, fields, f"{vision.where} (layers)")
    return fields | {
        "image_size": vision.size("image_size"),
        "patch_size": vision.size("patch_size"),
        "num_heads": heads_of(fields["width"], vision.size("head_width"), vision.where),
        "ln_pre": not vision.flag("no_ln_pre"),
        "patch_dropout": vision.number("patch_dropout"),
    }


def _resnet(vision: Part, weights: Weights) -> dict[str, Any]:
    stages, width = vision["layers"], vision.size("width")
    found = [num_layers(weights, f"visual.layer{i + 1}.") for i in range(4)]
    check_same({"layers": found}, {"layers": stages}, vision.where)
    return {
        "image_size": vision.size("image_size"),
        "stages": found,
        "width": width,
        "num_heads": heads_of(32 * width, vision.size("head_width"), vision.where),
    }


def _trunk(vision: Part, weights: Weights, layout: Layout) -> dict[str, Any]:
    told = named(vision["timm_model_name"], f"{vision.where}.timm_model_name")
    told["image_size"] = vision.size("image_size")
    how = vision.among("timm_proj", {"linear": "linear", "none": "none", "": "own"})
    pool = vision["timm_pool"]
    if pool != "" or how != "linear":  # "" leaves the pooling as the name has it
        told["pool"] = vision.among("timm_pool", POOLS)
    fields = trunk_geometry(weights, told, vision.where, TRUNK)
    projects = f"{layout.head}.weight" in weights
    if projects != (how != "none"):
        raise ConfigError(
            f"{vision.where}.timm_proj is {vision['timm_proj']!r:.40}, and {weights.path} has "
            f"{'a' if projects else 'no'} projection {layout.head}.weight."
        )
    bias = f"{layout.head}.bias"
    return fields | {
        "patch_bias": fields["patch_bias"] and not zero_biases(weights, TRUNK),
        "projection": projects,
        "projection_bias": bias in weights and not zero_biases(weights, "", bias),
        "patch_dropout": vision.number("patch_dropout"),
        "init_scheme": "siglip" if fields["pool"] == "map" else "clip",
    }


def _text(text: Part, weights: Weights, prefix: str, *, quick_gelu: bool) -> dict[str, Any]:
    fields = text.blocks(quick_gelu=quick_gelu)
    layers = num_layers(weights, f"{prefix}transformer.resblocks.")
    check_same({"depth": layers}, fields, f"{text.where} (layers)")
    vocab_size = text.size("vocab_size")
    check_same(
        {"vocab_size": shape_of(weights, f"{prefix}token_embedding.weight", 2)[0]},
        {"vocab_size": vocab_size},
        text.where,
    )
    pool = text.among("pool_type", {"argmax": "eot", "last": "last", "eos": "eos"})
    if pool == "eos":
        # The first such id is the first largest id, if it is the last of the vocabulary.
        if text["eos_id"] != vocab_size - 1:
            raise ConfigError(
                f"{text.where}: texts are pooled at id {text['eos_id']!r:.20} (eos_id), and here "
                f"at the largest of the vocabulary, {vocab_size - 1}."
            )
        pool = "eot"
    projects = text.among("proj_type", {"linear": True, "none": False})
    return fields | {
        "vocab_size": vocab_size,
        "context_length": text.size("context_length"),
        "num_heads": text.size("heads"),
        "causal": not text.flag("no_causal_mask"),
        "pool": pool,
        "projection": projects,
        "projection_bias": projects and text.flag("proj_bias"),
        "init_scheme": "clip" if not text.flag("no_causal_mask") else "siglip",
    }
