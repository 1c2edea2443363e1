"""Analytic FLOPs against those that XLA counts in a compiled, unrolled tower."""

import jax
import jax.numpy as jnp
import pytest

from bigclip.models import (
    ImageTower,
    TextTower,
    architecture,
    image_flops,
    image_tower,
    text_flops,
)

# Wide, so that the elementwise work, which XLA counts and we do not, is a few percent.
WIDE = {"width": 512, "num_heads": 4, "mlp_width": 2048, "depth": 2}


def counted(tower, *inputs):
    params = jax.eval_shape(tower.init, jax.random.key(0), inputs[0])

    def apply(params, x, keys=None):
        return tower.apply(params, x, **({} if keys is None else {"keys": keys}))[0]

    compiled = jax.jit(apply).lower(params, *inputs).compile()
    return compiled.cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("tiny-clip", {"image_size": 64}),
        ("tiny-siglip", {"image_size": 64}),
        ("tiny-convstem-8", {}),
        ("tiny-convstem-8", {"stem": "patch", "patch_dropout": 0.25}),
    ],
)
def test_flops_agree_with_the_compiler(name, image):
    arch = architecture(
        name,
        image={**WIDE, **image},
        text={**WIDE, "context_length": 64},
        **({"embed_dim": 512} if name == "tiny-siglip" else {}),
    )
    how = {"embed_dim": arch["embed_dim"], "dtype": "float32"}
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    tokens = jax.ShapeDtypeStruct((2, 64), jnp.int32)
    keys = ()
    if arch["image"]["patch_dropout"]:
        keys = (jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2)),)
    xla_image = counted(ImageTower(**arch["image"], **how), images, *keys) / 2
    xla_text = counted(TextTower(**arch["text"], **how), tokens) / 2
    # Norms, activations, softmax and additions: about 3% at this width, never less than nothing;
    # but XLA leaves out the products with a convolution's padding, 1% here.
    least = -0.02 if arch["image"]["stem"] == "conv" else 0
    assert least <= xla_image / image_flops(arch, drop=True) - 1 < 0.05
    assert 0 <= xla_text / text_flops(arch) - 1 < 0.05


def test_flops_of_a_resnet_agree_with_the_compiler():
    arch = architecture("tiny-rn", image={"width": 32, "num_heads": 16}, embed_dim=256)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    xla = counted(image_tower(arch, dtype="float32"), images) / 2
    # XLA leaves out the products with the padding, a tenth of a 3 x 3 convolution at these sizes.
    assert -0.1 < xla / image_flops(arch) - 1 < 0.02


def test_flops_of_a_published_model():
    # 4.4 GMAC an image: the figure that the field quotes for ViT-B/32 at 224, all tokens of all
    # layers. Only the class token of the last layer is pooled: its keys and values (2 of 12 parts
    # of a layer's weights) are needed of the others.
    expected = 4.4 * (11 + 2 / 12) / 12
    assert image_flops(architecture("clip-vit-b-32")) / 2e9 == pytest.approx(expected, rel=0.02)


def test_dropped_patches_cost_nothing():
    arch = architecture("clip-vit-b-16", image={"patch_dropout": 0.5})
    ratio = image_flops(arch, drop=True) / image_flops(arch)
    assert 0.45 < ratio < 0.52
