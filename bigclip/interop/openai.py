"""Format "openai": the state dict of OpenAI's CLIP, as its `clip.load(path)` takes it.

Source: openai/CLIP `clip/model.py` and `clip/clip.py`. The released archives are read as they are,
vision transformers and ResNets. All else about a model is fixed there: heads are 64 wide, the
activation is QuickGELU, texts are cut by CLIP's tokenizer and pooled at the end of the text, and
pictures are cropped. What goes out must be so, too.

`clip.load` and `build_model` round the weights to float16, as the releases are; embeddings then
differ from float32's by some 1e-3. Load the file into `build_model(...).float()` once more for all
digits, as `reference` does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from bigclip import models
from bigclip.config import ConfigError
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from bigclip.data.tokenizer import clip_bpe
from bigclip.interop.files import Spec, Weights, open_weights, write_safetensors, write_torch
from bigclip.interop.format import Format, Imported, ReadOptions
from bigclip.interop.geometry import heads_of, num_layers, shape_of, side_of
from bigclip.interop.given_tokenizer import open_tokenizer
from bigclip.interop.mapping import Row
from bigclip.interop.openai_rows import (
    BUFFERS,
    VIT_ROWS,
    folded,
    resnet_rows,
    scale_rows,
    text_rows,
)
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.torchvision_import import import_torchvision
from bigclip.models.resnet import NUM_STAGES, STRIDE

HEAD_WIDTH = 64
_CLIP_VOCABULARY = 49408
# Told by the releases beside the parameters; `build_model` takes them away.
_TOLD = ("input_resolution", "context_length", "vocab_size")


def rows(arch: dict[str, Any]) -> tuple[Row, ...]:
    """Return the table for an architecture."""
    image = resnet_rows(arch["image"]) if models.is_resnet(arch["image"]) else VIT_ROWS
    return *image, *text_rows(arch["text"]), *scale_rows()


def vit_geometry(weights: Weights, *, head_width: int) -> dict[str, Any]:
    """Return the sizes of a vision transformer, fields of `ImageTower`."""
    where = f"{weights.path}: the image tower"
    width, _, size, _ = shape_of(weights, "visual.conv1.weight", 4)
    positions = shape_of(weights, "visual.positional_embedding", 2)[0]
    return {
        "image_size": size * side_of(positions - 1, where),
        "patch_size": size,
        "width": width,
        "depth": num_layers(weights, "visual.transformer.resblocks."),
        "num_heads": heads_of(width, head_width, where),
        "mlp_width": shape_of(weights, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
    }


def resnet_geometry(weights: Weights, *, head_width: int) -> dict[str, Any]:
    """Return the sizes of a ResNet, fields of `ModifiedResNet`."""
    where = f"{weights.path}: the image tower"
    width = shape_of(weights, "visual.layer1.0.conv1.weight", 4)[0]
    positions = shape_of(weights, "visual.attnpool.positional_embedding", 2)[0]
    return {
        "image_size": STRIDE * side_of(positions - 1, where),
        "stages": [num_layers(weights, f"visual.layer{i + 1}.") for i in range(NUM_STAGES)],
        "width": width,
        "num_heads": heads_of(32 * width, head_width, where),
    }


def text_geometry(weights: Weights, *, head_width: int) -> dict[str, Any]:
    """Return the sizes of the text tower, fields of `TextTower`."""
    vocab_size, width = shape_of(weights, "token_embedding.weight", 2)
    return {
        "vocab_size": vocab_size,
        "context_length": shape_of(weights, "positional_embedding", 2)[0],
        "width": width,
        "depth": num_layers(weights, "transformer.resblocks."),
        "num_heads": heads_of(width, head_width, f"{weights.path}: the text tower"),
        "mlp_width": shape_of(weights, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
    }


def _architecture(weights: Weights) -> dict[str, Any]:
    is_vit = "visual.proj" in weights
    arch = models.architecture("clip-vit-b-32" if is_vit else "clip-rn50")
    geometry = vit_geometry if is_vit else resnet_geometry
    arch["image"] |= geometry(weights, head_width=HEAD_WIDTH)
    arch["text"] |= text_geometry(weights, head_width=HEAD_WIDTH)
    arch["embed_dim"] = shape_of(weights, "text_projection", 2)[1]
    return models.architecture(arch)


def _read(path: Path, options: ReadOptions) -> Imported:
    weights = open_weights(path)
    arch = _architecture(weights)
    if options.architecture is not None and arch != models.architecture(options.architecture):
        raise ConfigError(
            f"{path} is no {options.architecture}: its arrays say {arch}. Leave --architecture "
            "away: a state dict of OpenAI's tells it by its shapes."
        )
    text, image = arch["text"], arch["image"]
    if options.tokenizer is not None:
        tokenizer = open_tokenizer(options.tokenizer, context_length=text["context_length"])
    elif text["vocab_size"] == _CLIP_VOCABULARY:
        tokenizer = clip_bpe(context_length=text["context_length"])
    else:
        raise ConfigError(
            f"{path}: its vocabulary has {text['vocab_size']} tokens, so it is not CLIP's of "
            f"{_CLIP_VOCABULARY}. Name its tokenizer: --tokenizer PATH."
        )
    return Imported(
        weights=weights,
        rows=rows(arch),
        architecture=arch,
        loss="softmax",
        preprocess=Preprocess(size=image["image_size"], resize="crop"),
        tokenizer=tokenizer,
        towers=("image", "text") if options.tower is None else (options.tower,),
        ignored=BUFFERS,
    )


def _write(path: Path, model: Outgoing) -> None:
    _check(model)
    arch = model.architecture
    extra, used = ({}, ()) if models.is_resnet(arch["image"]) else folded(arch)
    values = arch["image"]["image_size"], arch["text"]["context_length"], arch["text"]["vocab_size"]
    for name, value in zip(_TOLD, values, strict=True):
        told = np.asarray(value, np.int64)
        extra[name] = Spec((), told.dtype), lambda _, told=told: told
    specs, arrays = model.translated(rows(arch), where="openai", extra=extra, without=used)
    write = write_safetensors if path.suffix == ".safetensors" else write_torch
    write(path, specs, arrays)


def _check(model: Outgoing) -> None:
    """Refuse what `clip.model.build_model` would not rebuild, or `clip` not feed as it must."""
    if model.towers != ("image", "text"):
        raise ConfigError("openai: a state dict holds both towers, and this checkpoint one.")
    image, text, dim = (model.architecture[key] for key in ("image", "text", "embed_dim"))
    says = {
        "a sigmoid loss has a bias, which its model lacks": model.loss != "softmax",
        "its texts are causal": not text["causal"],
        "its texts are pooled at the end of the text": text["pool"] != "eot",
        "its projection of texts has no bias": text["projection_bias"],
        **_tower_faults("text", text),
        **(_resnet_faults(image) if models.is_resnet(image) else _vit_faults(image)),
        "its tokenizer is CLIP's": model.tokenizer
        != clip_bpe(context_length=text["context_length"]),
        "its pictures are cropped, bicubic and normalised by CLIP's mean": model.preprocess
        != Preprocess(size=image["image_size"], resize="crop", mean=CLIP_MEAN, std=CLIP_STD),
    }
    wrong = [what for what, is_so in says.items() if is_so]
    if wrong:
        raise ConfigError(
            f"openai: OpenAI's code cannot run this model of {dim} dimensions: "
            f"{'; '.join(wrong)}. Choose --format open_clip, which says more, or safetensors."
        )


def _tower_faults(tower: str, fields: dict[str, Any]) -> dict[str, bool]:
    width = fields["width"]
    return {
        f"its {tower} tower has QuickGELU": fields["activation"] != "quick_gelu",
        f"its {tower} tower has epsilon 1e-5": fields["ln_eps"] != 1e-5,
        f"heads of its {tower} tower are {HEAD_WIDTH} wide": width
        != HEAD_WIDTH * fields["num_heads"],
        f"the MLP of its {tower} tower is 4 x {width} wide": fields["mlp_width"] != 4 * width,
    }


def _vit_faults(image: dict[str, Any]) -> dict[str, bool]:
    return {
        "its vision transformer cuts patches by one convolution": image["stem"] != "patch",
        "its images are pooled by a class token": image["pool"] != "class",
        "it normalises before the blocks": not image["ln_pre"],
        "its projection of images has no bias": image["projection_bias"],
        "its images are whole patches": image["image_size"] % image["patch_size"] != 0,
        **_tower_faults("image", image),
    }


def _resnet_faults(image: dict[str, Any]) -> dict[str, bool]:
    return {
        "its ResNet has epsilon 1e-5": image["bn_eps"] != 1e-5,
        f"heads of its attention pool are {HEAD_WIDTH} wide": 32 * image["width"]
        != HEAD_WIDTH * image["num_heads"],
    }


def _recognises(path: Path) -> bool:
    # open_clip's files have the same names and another activation, so these would not do. The
    # releases alone tell their resolution.
    if not path.is_file() or path.suffix not in (".pt", ".pth", ".bin", ".safetensors"):
        return False
    try:
        weights = open_weights(path)
    except ConfigError:
        return False
    return "input_resolution" in weights and "visual.conv1.weight" in weights


class _Reference:
    """OpenAI's own code, at float32."""

    def __init__(self, path: Path):
        import safetensors.torch
        import torch

        import_torchvision()
        import clip

        self._clip, self._torch = clip, torch
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            try:
                state = torch.jit.load(path, map_location="cpu").state_dict()
            except RuntimeError:  # no TorchScript
                state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: value for name, value in state.items() if name not in _TOLD}
        self._model = clip.model.build_model(dict(state)).float()
        self._model.load_state_dict(state)  # once more, for what float16 has rounded

    def pixels(self, pictures: Sequence[PIL.Image.Image]) -> np.ndarray:
        prepare = self._clip.clip._transform(self._model.visual.input_resolution)
        return np.stack([prepare(one).permute(1, 2, 0).numpy() for one in pictures])

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        length = self._model.context_length
        return self._clip.tokenize(list(texts), context_length=length, truncate=True).numpy()

    def embed_images(self, pixels: np.ndarray) -> np.ndarray:
        return self._unit(self._model.encode_image, self._images(pixels))

    def embed_texts(self, ids: np.ndarray) -> np.ndarray:
        return self._unit(self._model.encode_text, self._texts(ids))

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            return self._model(self._images(pixels), self._texts(ids))[0].numpy()

    def _images(self, pixels: np.ndarray) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    def _texts(self, ids: np.ndarray) -> Any:
        return self._torch.from_numpy(np.asarray(ids, np.int64))

    def _unit(self, embed: Any, inputs: Any) -> np.ndarray:
        with self._torch.inference_mode():
            emb = embed(inputs)
            return (emb / emb.norm(dim=-1, keepdim=True)).numpy()


_USAGE = """\
import clip

model, preprocess = clip.load("{path}", device="cpu")"""

FORMAT = Format(
    name="openai",
    title="OpenAI's CLIP: a state dict for clip.load",
    suffixes=(".pt", ".safetensors"),
    recognises=_recognises,
    read=_read,
    write=_write,
    reference=_Reference,
    install="pip install torch git+https://github.com/openai/CLIP",
    needs=("torch", "clip"),
    usage=_USAGE,
)
