"""Models of odd small geometries that open_clip has words for, and a small name of timm's."""

from random_models import InMemory, small_tokenizer

from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.timm_folder import names
from bigclip.models import architecture

NAME = "vit_odd_patch8_siglip_24"
SMALL = small_tokenizer(11)
_GREY = {"mean": (0.5,) * 3, "std": (0.4, 0.5, 0.6)}
# tiny-clip and tiny-siglip have towers of other widths, depths and heads; of this vocabulary:
_TEXT = {"vocab_size": SMALL.vocab_size}


def clip(image=None, text=None, **more):
    return architecture("tiny-clip", image=image or {}, text={**_TEXT, **(text or {})}, **more)


def named_siglip(*, text=None, embed_dim=48, **image):
    text = {**_TEXT, **(text or {})}
    return architecture("tiny-siglip", image=image, text=text, embed_dim=embed_dim)


def resnet():
    return architecture("tiny-rn", text=_TEXT)


def _gelu(form):
    return {"activation": form}


# What it is -> architecture and options of InMemory.
ARCHITECTURES = {
    "clip": (clip(), {}),
    "clip, exact gelu": (clip(_gelu("gelu"), _gelu("gelu")), {}),
    "clip, two gelus": (clip(_gelu("gelu_tanh"), _gelu("gelu")), {"loss": "sigmoid"}),
    # As configs/quickstart.py trains it: tanh in both towers, squashed pictures, an own tokenizer.
    "demo": (
        clip(_gelu("gelu_tanh"), _gelu("gelu_tanh")),
        {"preprocess": Preprocess(size=24, mean=(0.5,) * 3, std=(0.5,) * 3)},
    ),
    "clip, other norms": (
        clip({"ln_pre": False, "ln_eps": 1e-6}, {"ln_eps": 1e-3}),
        {"preprocess": Preprocess(size=24, resize="squash", interpolation="bilinear", **_GREY)},
    ),
    "clip, other texts": (
        clip(None, {"pool": "last", "causal": False, "projection_bias": True}),
        {"preprocess": Preprocess(size=24, resize="pad", mean=(0.3,) * 3, std=(0.5,) * 3)},
    ),
    "clip, bare texts": (clip(None, {"projection": False}, embed_dim=40), {}),
    "resnet": (resnet(), {}),
    "siglip": (named_siglip(), {"loss": "sigmoid"}),
    "siglip, projections": (
        named_siglip(
            projection=True, embed_dim=32, text=_gelu("quick_gelu") | {"projection_bias": False}
        ),
        {},
    ),
    "siglip, biased": (
        named_siglip(projection=True, projection_bias=True, patch_bias=False, embed_dim=32),
        {"loss": "sigmoid"},
    ),
}
FOLDED = {
    "bias of patches": (clip({"patch_bias": True}), {}),
    "no projection": (clip({"projection": False, "patch_bias": True}, embed_dim=48), {}),
}


def made(what):
    """The model of a name, with a tokenizer that needs no cleaning beside open_clip's."""
    arch, options = (ARCHITECTURES | FOLDED)[what]
    clean = "canonical" if "siglip" in what else "cased" if "texts" in what else "clip"
    tokenizer = Tokenizer.from_dict({**SMALL.to_dict(), "clean": clean})
    return InMemory(arch, **{"tokenizer": tokenizer, **options})


def name_for_timm(monkeypatch):
    """Let our table have a name for the small SigLIP, as timm has for the published ones."""
    image = architecture("tiny-siglip")["image"]
    fields = {key: image[key] for key in names.NAMES["vit_base_patch16_siglip_224"]}
    monkeypatch.setitem(names.NAMES, NAME, fields)


def name_in_timm(timm):
    """Register the same in timm itself."""
    if timm.models.is_model(NAME):
        return
    from timm.models.vision_transformer import _create_vision_transformer

    def vit_odd_patch8_siglip_24(pretrained=False, **kwargs):
        sizes = {"img_size": 24, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
        sizes |= {"mlp_ratio": 80 / 48, "class_token": False, "global_pool": "map"}
        return _create_vision_transformer(
            "vit_base_patch16_siglip_224",
            pretrained=pretrained,
            **{**sizes, "act_layer": "gelu_tanh", **kwargs},
        )

    vit_odd_patch8_siglip_24.__module__ = "timm.models.vision_transformer"
    timm.models.register_model(vit_odd_patch8_siglip_24)
