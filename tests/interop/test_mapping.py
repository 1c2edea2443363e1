"""Tables of parameters, in both directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.interop.mapping import CHANGES, Row, cover, links, match

ARCH = {"image": {"depth": 3, "num_heads": 2}, "text": {"depth": 2, "num_heads": 5}}
ROWS = (
    Row("image/stem/kernel", "visual.conv1.weight", "conv"),
    Row("image/class_token", "visual.class_embedding", "row"),
    Row(
        tuple(f"image/block_{{}}/attention/{name}/kernel" for name in ("query", "key", "value")),
        "visual.blocks.{}.in_proj_weight",
        "transpose",
    ),
    Row("text/block_{}/mlp/up/kernel", "txt.up"),  # their layers are stacked
    Row("text/block_{}/mlp/up/bias", "txt.{}.up_bias"),
    Row("logit_bias", "b", "scalar"),
)


def ours():
    rng = np.random.default_rng(0)
    shapes = {
        "image/stem/kernel": (4, 4, 3, 6),
        "image/class_token": (1, 6),
        **{
            f"image/block_{i:02d}/attention/{name}/kernel": (6, 6)
            for i in range(3)
            for name in ("query", "key", "value")
        },
        **{f"text/block_{i:02d}/mlp/up/kernel": (10, 7) for i in range(2)},
        **{f"text/block_{i:02d}/mlp/up/bias": (7,) for i in range(2)},
        "logit_bias": (),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}


def taken_out(arrays):
    found = cover(ROWS, ARCH, ours=shapes(arrays), where="there")
    theirs = {link.theirs: link.to_theirs([arrays[name] for name in link.ours]) for link in found}
    assert {link.theirs: link.their_shape(shapes(arrays)) for link in found} == shapes(theirs)
    return theirs


def test_out_and_in_again_is_bit_identical():
    arrays = ours()
    theirs = taken_out(arrays)
    found = match(ROWS, ARCH, ours=shapes(arrays), theirs=shapes(theirs), where="f")
    back = {}
    for link in found:
        back |= link.to_ours(theirs[link.theirs])
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_where_the_numbers_land():
    """By hand: PyTorch keeps [out, in], packs query, key, value, and [out, in, height, width]."""
    arrays = ours()
    theirs = taken_out(arrays)
    packed = theirs["visual.blocks.1.in_proj_weight"]
    assert packed.shape == (18, 6)
    key = arrays["image/block_01/attention/key/kernel"]
    assert packed[6 + 2, 5] == key[5, 2]
    assert theirs["visual.conv1.weight"][5, 2, 1, 3] == arrays["image/stem/kernel"][1, 3, 2, 5]
    assert theirs["txt.up"].shape == (2, 10, 7)
    np.testing.assert_array_equal(theirs["txt.up"][1], arrays["text/block_01/mlp/up/kernel"])
    assert theirs["b"].shape == (1,)
    assert theirs["visual.class_embedding"].shape == (6,)


@given(
    change=st.sampled_from(sorted(CHANGES)),
    heads=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 5), min_size=4, max_size=4),
)
def test_each_change_undoes_itself(change, heads, sizes):
    a, b, c, d = sizes
    theirs = {
        "same": (a, b),
        "transpose": (a, b),
        "conv": (a, b, c, d),
        "row": (a,),
        "lead": (1, a, b),
        "scalar": (1,),
        "heads_in": (a, heads, b),
        "heads_out": (heads, a, b),
        "heads_bias": (heads, a),
    }[change]
    array = np.arange(np.prod(theirs), dtype=np.float32).reshape(theirs)
    there, back = CHANGES[change]
    np.testing.assert_array_equal(back(there(array, heads), heads), array)
    np.testing.assert_array_equal(
        there(back(there(array, heads), heads), heads), there(array, heads)
    )


def test_heads_are_those_of_the_tower():
    rows = (Row("image/a", "a", "heads_in"), Row("text/a", "b", "heads_in"))
    shape = {"image/a": (10, 10), "text/a": (10, 10)}
    image, text = links(rows, ARCH)
    assert image.their_shape(shape) == (10, 2, 5)
    assert text.their_shape(shape) == (10, 5, 2)


def complaint(arrays, theirs, **more):
    with pytest.raises(ConfigError) as error:
        match(ROWS, ARCH, ours=shapes(arrays), theirs=shapes(theirs), where="file.npz", **more)
    return str(error.value)


def test_what_is_missing_left_over_or_misshapen_is_named():
    arrays = ours()
    theirs = taken_out(arrays)
    del theirs["visual.conv1.weight"]
    theirs["visual.ln_surprise.weight"] = np.zeros(3)
    theirs["txt.0.up_bias"] = np.zeros(8)
    told = complaint(arrays, theirs)
    assert "file.npz" in told
    assert "lacks 1 arrays: visual.conv1.weight (our image/stem/kernel)" in told
    assert "no place here: visual.ln_surprise.weight" in told
    assert "txt.0.up_bias [8] gives text/block_00/mlp/up/bias [8], but [7] is needed" in told


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("txt.up", (3, 10, 7)),  # a layer too many
        ("visual.blocks.0.in_proj_weight", (17, 6)),  # not three equal parts
        ("b", (2,)),
        ("visual.conv1.weight", (6, 3)),
        ("visual.conv1.weight", (2**40, 2**40, 3, 4)),  # nothing of that size is made
    ],
)
def test_shapes_that_cannot_be_are_told(name, shape):
    arrays = ours()
    theirs = shapes(taken_out(arrays)) | {name: shape}
    with pytest.raises(ConfigError, match=name):
        match(ROWS, ARCH, ours=shapes(arrays), theirs=theirs, where="f")


def test_what_holds_no_parameter_is_ignored_by_pattern():
    arrays = ours()
    theirs = taken_out(arrays) | {"a.position_ids": np.zeros(3)}
    assert "position_ids" in complaint(arrays, theirs)
    match(
        ROWS,
        ARCH,
        ours=shapes(arrays),
        theirs=shapes(theirs),
        ignored=(r".*\.position_ids",),
        where="f",
    )


def test_one_tower_alone_leaves_the_other_where_it_is():
    arrays = {name: x for name, x in ours().items() if not name.startswith("text/")}
    theirs = taken_out(ours())
    found = match(ROWS, ARCH, ours=shapes(arrays), theirs=shapes(theirs), where="f")
    assert {name for link in found for name in link.ours} == arrays.keys()


def test_a_parameter_has_one_place():
    arrays = ours()
    rows = (*ROWS, Row("logit_bias", "bias"))
    with pytest.raises(ConfigError, match="two places for the same parameter: logit_bias"):
        cover(rows, ARCH, ours=shapes(arrays), where="there")
    theirs = shapes(taken_out(arrays)) | {"bias": ()}
    with pytest.raises(ConfigError, match="two arrays for the same parameter: logit_bias"):
        match(rows, ARCH, ours=shapes(arrays), theirs=theirs, where="f")


def test_no_parameter_stays_behind():
    arrays = ours() | {"image/odd": np.zeros(2)}
    with pytest.raises(ConfigError, match=r"there has no place for 1 parameters .*image/odd"):
        cover(ROWS, ARCH, ours=shapes(arrays), where="there")
    cover(ROWS, ARCH, ours=shapes(arrays), without=("image/odd",), where="there")
