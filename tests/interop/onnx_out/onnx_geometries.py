"""Architectures that together have every part that one may have, and models of them."""

from random_models import InMemory, small_tokenizer

from bigclip import models

# Texts longer than any context here, shorter, of unknown words, and empty.
TEXTS = ("red fox " * 40, "blue owl", "Owl\n  RED", "fox", "zebra, 7", "", "red red owl fox")

GEOMETRIES = {
    "clip": models.architecture("tiny-clip", text={"vocab_size": 300}),
    "siglip": models.architecture("tiny-siglip", text={"vocab_size": 300}),
    "conv stem, mean, not causal": models.architecture(
        "tiny-clip",
        image={"stem": "conv", "pool": "mean", "activation": "gelu", "projection_bias": True},
        text={"vocab_size": 300, "causal": False, "activation": "gelu_tanh", "ln_eps": 1e-6},
    ),
    "pixels left over, causal and last": models.architecture(
        "tiny-clip",
        image={"image_size": 29, "pool": "mean", "patch_bias": True, "ln_pre": False},
        text={"vocab_size": 300, "pool": "last", "projection": False},
        embed_dim=40,
    ),
    "resnet": models.architecture("tiny-rn", text={"vocab_size": 300}),
    "map and projection": models.architecture(
        "tiny-clip",
        image={"pool": "map", "activation": "gelu_tanh", "ln_pre": False},
        text={"vocab_size": 300, "causal": False, "pool": "last", "projection_bias": True},
    ),
}


def random_model(arch, **options) -> InMemory:
    """Draw a model; for `options` see `InMemory`."""
    return InMemory(arch, tokenizer=small_tokenizer(arch["text"]["context_length"]), **options)
