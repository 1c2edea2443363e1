"""What a configuration of big_vision must say about an exported model, as text."""

from collections.abc import Mapping
from typing import Any

from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from bigclip.interop.outgoing import Outgoing

_POOLS = {"class": "tok", "mean": "gap", "map": "map"}
_MODELS = {"image": "vit", "text": "proj.image_text.text_transformer"}


def model_arguments(
    arch: Mapping[str, Any],
    *,
    towers: tuple[str, ...],
    loss: str,
    scanned: Mapping[str, bool] | None = None,
) -> dict[str, Any]:
    """Return the arguments of `two_towers.Model`; of `Model` of the tower's module if it is alone.

    Args:
        arch: an architecture that passes `writing.check`.
        towers: which the file holds.
        loss: "sigmoid" has a bias.
        scanned: tower -> whether its layers are scanned in the file; none by default.
    """
    scanned = scanned or {}
    sizes = {
        name: {
            "width": arch[name]["width"],
            "depth": arch[name]["depth"],
            "mlp_dim": arch[name]["mlp_width"],
            "num_heads": arch[name]["num_heads"],
            "scan": bool(scanned.get(name)),
        }
        for name in towers
    }
    outputs = {name: arch["embed_dim"] if arch[name]["projection"] else None for name in towers}
    if "image" in towers:
        fields = arch["image"]
        sizes["image"] |= {
            "patch_size": (fields["patch_size"],) * 2,
            "pool_type": _POOLS[fields["pool"]],
        }
    if "text" in towers:
        sizes["text"] |= {"vocab_size": arch["text"]["vocab_size"], "pool_type": "last"}
    if len(towers) == 1:
        return {"num_classes": outputs[towers[0]], **sizes[towers[0]]}
    found = {**sizes, "out_dim": (outputs["image"], outputs["text"]), "temperature_init": 10.0}
    # With any number, the model has a bias; the file's takes its place.
    return found | {"bias_init": -10.0} if loss == "sigmoid" else found


def config_text(model: Outgoing, name: str = "MODEL.npz") -> str:
    """Return lines of Python for a configuration of big_vision, which a .npz cannot hold.

    Args:
        model: the checkpoint that was exported.
        name: of the file.
    """
    arch, towers = model.architecture, model.towers
    module = "proj.image_text.two_towers" if len(towers) == 2 else _MODELS[towers[0]]
    lines = [f'config.model_name = "{module}"', "config.model = ConfigDict()"]
    for key, value in model_arguments(arch, towers=towers, loss=model.loss).items():
        told = repr(value)
        if isinstance(value, dict):
            inside = ", ".join(f"{name}={part!r}" for name, part in value.items())
            told = f"ConfigDict(dict({inside}))"
        lines.append(f"config.model.{key} = {told}")
    lines.append(f'config.model_init = "./{name}"  # big_vision wants a slash in the path')
    if "image" in towers:
        lines.append(f'pp_img = "{image_steps(model.preprocess)}"')
    if "text" in towers:
        lines.append(f"token_len = {arch['text']['context_length']}")
    return "\n".join(lines) + "\n"


def image_steps(preprocess: Preprocess) -> str:
    """Return the evaluation transform in the words of big_vision's `pp`."""
    size, how = preprocess.size, preprocess.interpolation
    method = "bicubic" if how == "bicubic" else "bilinear"
    options = f"method='{method}', antialias={how != 'bilinear_aliased'}"
    behind = []
    if preprocess.resize == "squash":
        steps = [f"resize({size}, {options})" if how != "bilinear_aliased" else f"resize({size})"]
    elif preprocess.resize == "crop":
        steps = [f"resize_small({size}, {options})", f"central_crop({size})"]
    else:
        steps = [f"resize_long({size}, {options})"]
        # Behind the normalisation, zeros are the mean colour.
        behind = [f"pad_to_shape(({size}, {size}, 3), where='both')"]
    mean, std = preprocess.mean, preprocess.std
    if (mean, std) == ((0.5,) * 3, (0.5,) * 3):
        steps.append("value_range(-1, 1)")
    elif (mean, std) == (CLIP_MEAN, CLIP_STD):
        steps.append("clip_value_range")
    else:
        scaled = (tuple(round(255 * x, 6) for x in values) for values in (mean, std))
        steps.append("vgg_value_range(mean={}, std={})".format(*scaled))
    return "|".join(steps + behind)
