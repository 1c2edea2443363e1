"""Examples of several captions: what the task makes of text [b, C, L]."""

import functools

import jax
import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.models import image_flops, text_flops
from bigclip.tasks import make_task
from bigclip.tasks.captions import caption_id

HALVES = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


@functools.cache
def task(num_captions, duplicates="negative"):
    block = {
        "name": "contrastive",
        "architecture": "tiny-clip",
        "dtype": "float32",
        "pairs": {"duplicates": duplicates},
    }
    return make_task(block, num_captions=num_captions, **HALVES)


@functools.cache
def drawn_params():
    """The number of captions changes no parameter."""
    return jax.jit(task(None).init)(jax.random.key(0))


def examples(num_captions):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (4, 24, 24, 3), np.uint8),
        "text": rng.integers(1, 99, (4, num_captions, 11), np.int32),
    }


def forward(task, examples):
    keys = jax.random.split(jax.random.key(1), 4)
    return jax.jit(task.forward)(drawn_params(), examples, keys)


def test_each_caption_is_embedded_as_if_it_were_alone():
    given = examples(3)
    outputs = forward(task(3, "mask"), given)
    assert outputs["text_emb"].shape == (4, 3, 32)
    assert outputs["caption_id"].shape == (4, 3, 2)
    for c in range(3):
        alone = forward(task(None, "mask"), {**given, "text": given["text"][:, c]})
        # Among more rows, a matrix product sums in another order.
        np.testing.assert_allclose(outputs["text_emb"][:, c], alone["text_emb"], atol=1e-5)
        np.testing.assert_array_equal(outputs["caption_id"][:, c], alone["caption_id"])
        np.testing.assert_array_equal(caption_id(given["text"])[:, c], alone["caption_id"])


@pytest.mark.parametrize("duplicates", ["negative", "mask"])
def test_one_caption_of_several_is_one_caption(duplicates):
    given = examples(1)
    several = forward(task(1, duplicates), given)
    single = forward(task(None, duplicates), {**given, "text": given["text"][:, 0]})
    values = [
        one.objective(drawn_params(), outputs, 0.0)
        for one, outputs in ((task(1, duplicates), several), (task(None, duplicates), single))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *values)


def test_only_captions_of_the_same_place_are_compared():
    # Two pictures of one first caption, whose second captions tell them apart.
    given = examples(2)
    given = {name: x[:2] for name, x in given.items()}
    given["text"][1, 0] = given["text"][0, 0]
    masked = task(2, "mask")
    outputs = jax.jit(masked.forward)(drawn_params(), given, jax.random.split(jax.random.key(1), 2))
    alone = {**outputs, "text_emb": outputs["text_emb"][:, 1]}
    alone["caption_id"] = outputs["caption_id"][:, 1]
    loss = masked.objective(drawn_params(), outputs, 0.0)[0]
    second = task(None, "mask").objective(drawn_params(), alone, 0.0)[0]
    np.testing.assert_allclose(loss, second / 2, rtol=1e-5)


def test_the_text_tower_works_for_each_caption():
    arch = task(None).manifest["architecture"]
    image, text = image_flops(arch, drop=True), text_flops(arch)
    counted = [task(num).flops_per_example for num in (None, 1, 5)]
    assert counted == [image + text, image + text, image + 5 * text]
    # It is the data's business, and changes nothing of what is learned.
    assert task(5).manifest == task(None).manifest


@pytest.mark.parametrize(("num_captions", "built_for"), [(2, None), (1, None), (3, 2), (None, 2)])
def test_other_captions_than_the_task_was_built_for(num_captions, built_for):
    given = examples(num_captions or 1)
    if num_captions is None:
        given["text"] = given["text"][:, 0]
    with pytest.raises(ValueError, match=r"text has the shape \(4, .*num_captions = C"):
        forward(task(built_for), given)


@pytest.mark.parametrize("num_captions", [0, -1, True, 2.0, "2"])
def test_a_number_of_captions_that_is_none(num_captions):
    with pytest.raises(ConfigError, match="num_captions must be 1 or more"):
        make_task(task(None).manifest, num_captions=num_captions, **HALVES)
