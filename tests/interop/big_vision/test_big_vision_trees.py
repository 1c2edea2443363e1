"""What a .npz of big_vision may look like: old names, checkpoints, one tower, hostile trees."""

import bv_models
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_models import assert_equal, back, shapes_of, taken

from bigclip.config import ConfigError
from bigclip.interop.big_vision import FORMAT, describing
from bigclip.interop.big_vision.describing import describe
from bigclip.interop.big_vision.geometry import find_layout
from bigclip.interop.big_vision.tables import rows
from bigclip.interop.big_vision.writing import written_layout
from bigclip.interop.files import Tensor, Weights
from bigclip.interop.format import ReadOptions
from bigclip.interop.mapping import cover, links
from bigclip.models import architecture

BOTH = ("image", "text")
# Odd sizes, as in the goldens: one geometry for all, so that its shapes are found once.
SIZES = {"vocab_size": bv_models.VOCAB_SIZE}


def tree_of(arch, *, loss="sigmoid"):
    """Names and shapes of big_vision's tree for one of our architectures."""
    one = architecture(arch, image={"depth": 1}, text={"depth": 1})  # layer, found much faster
    shapes = shapes_of(one, loss=loss)
    found = {}
    for link in cover(rows(one, written_layout(BOTH)), one, ours=shapes, where="big_vision"):
        tower = arch.get(link.ours[0].split("/")[0])
        for layer in range(tower["depth"] if "encoderblock_0" in link.theirs else 1):
            name = link.theirs.replace("encoderblock_0", f"encoderblock_{layer}")
            found[name.removeprefix("params/")] = link.their_shape(shapes)
    return found


def headers(shapes):
    """A file of those arrays, which has none."""
    float32 = np.dtype(np.float32)
    tensors = {name: Tensor(name, shape, float32, None) for name, shape in shapes.items()}
    return Weights("f.npz", tensors, {})


@pytest.fixture(autouse=True)
def _small_placeholder(monkeypatch):
    """Of a tower that is not in the file, so that its shapes are found fast."""
    monkeypatch.setattr(describing, "_DEFAULT", "tiny-clip")


@pytest.fixture(scope="module")
def siglip():
    return bv_models.draw(tree_of(architecture("tiny-siglip", text=SIZES)))


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return ReadOptions(tokenizer=bv_models.tokenizer_file(tmp_path_factory.mktemp("tokenizer")))


def read(path, arrays, options, **kw):
    return FORMAT.read(bv_models.write(path, arrays, **kw), options)


def test_published_shapes_are_told():
    """Pictures of 384 pixels end within a patch of 14: their size is not in the shapes."""
    name = "siglip-so400m-14-384"
    arch = architecture(name)
    weights = headers(tree_of(arch))
    found = describe(weights, find_layout(weights), None)
    assert found.architecture == arch
    assert any("image size: 384" in note for note in found.notes)
    assert describe(weights, find_layout(weights), name).architecture == arch
    for other, told in (
        ("siglip-b-16-224", "patch_size is 14, not 16; image.width is 1152, not 768"),
        ("siglip-so400m-14-224", "text.context_length is 64, not 16; image.image_size is 378"),
    ):
        with pytest.raises(ConfigError, match=f"is no {other}: .*{told}"):
            describe(weights, find_layout(weights), other)


def test_a_checkpoint_of_a_training(siglip, options, tmp_path):
    arrays = {f"params/{name}": array for name, array in siglip.items()}
    arrays |= {"opt/0/count": np.zeros((), np.int32), "opt/1/img/cls": np.zeros(3, np.float32)}
    found = read(tmp_path / "a.npz", arrays, options, prefix="")
    assert "left out: opt, the state of a training." in found.notes
    expected = taken(read(tmp_path / "b.npz", siglip, options))
    assert_equal(taken(found), expected)
    # The oldest kept the parameters within the optimizer; some files hold them alone.
    for prefix in ("opt/target/", ""):
        found = read(tmp_path / f"{prefix[:3]}c.npz", siglip, options, prefix=prefix)
        assert_equal(taken(found), expected)


def test_a_vit_of_2020(siglip, tmp_path):
    """Layers numbered without regard to their kind; the class token has a position."""
    new = {
        name.removeprefix("img/"): array.shape
        for name, array in without(siglip, "img/MAPHead_0/").items()
        if name.startswith("img/")
    }
    renamed = (
        ("MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention_1"),
        ("LayerNorm_1", "LayerNorm_2"),
        ("MlpBlock_0", "MlpBlock_3"),
        ("pos_embedding", "Transformer/posembed_input/pos_embedding"),
    )
    arrays = bv_models.draw({**new, "pos_embedding": (1, 10, 48), "cls": (1, 1, 48)})
    old = {}
    for name, array in arrays.items():
        for after, before in renamed:
            name = name.replace(after, before)
        old[name] = array
    found = taken(read(tmp_path / "old.npz", old, ReadOptions(), prefix=""))
    # As `fix_old_checkpoints` does: add the first row to the token.
    np.testing.assert_array_equal(found["image/position"], arrays["pos_embedding"][0])
    fixed = arrays | {"pos_embedding": arrays["pos_embedding"][:, 1:]}
    expected = taken(read(tmp_path / "new.npz", fixed, ReadOptions()))
    expected["image/position"][0] = arrays["pos_embedding"][0, 0]
    assert_equal(found, expected)
    # Without the class token, its row belongs to nothing.
    found = taken(read(tmp_path / "gap.npz", without(old, "cls"), ReadOptions(), prefix=""))
    np.testing.assert_array_equal(found["image/position"], arrays["pos_embedding"][0, 1:])


def test_text_positions_that_were_added_twice(siglip, options, tmp_path):
    once = siglip["txt/pos_embedding"]
    arrays = siglip | {"txt/Encoder_0/pos_embedding": 3 * once, "txt/pos_embedding": once - 2}
    found = taken(read(tmp_path / "a.npz", arrays, options))
    np.testing.assert_array_equal(found["text/position"], (once - 2 + 3 * once)[0])


def test_bfloat16_is_widened(siglip, options, tmp_path):
    import ml_dtypes

    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in siglip.items()}
    found = taken(read(tmp_path / "a.npz", half, options))
    expected = taken(
        read(tmp_path / "b.npz", {k: v.astype(np.float32) for k, v in half.items()}, options)
    )
    assert_equal(found, expected)


@pytest.mark.parametrize("tower", BOTH)
def test_one_tower_comes_in_and_goes_out(siglip, options, tmp_path, tower):
    """Beside what is no tower of ours, if only the other one is asked for."""
    arrays = siglip | {"llm/layers": np.zeros(3, np.float32)}
    options = options._replace(tower=tower)
    found = read(tmp_path / "a.npz", arrays, options)
    assert found.towers == (tower,)
    assert (found.tokenizer is None) == (tower == "image")
    params = taken(found)
    assert {name.split("/")[0] for name in params} == {tower}
    FORMAT.write(tmp_path / "alone.npz", back(found))
    alone = np.load(tmp_path / "alone.npz")
    root = {"image": "img/", "text": "txt/"}[tower]
    names = {name.removeprefix(root) for name in siglip if name.startswith(root)}
    assert set(alone.files) == {f"params/{name}" for name in names}
    again = FORMAT.read(tmp_path / "alone.npz", options)
    assert_equal(taken(again), params)
    other = options._replace(tower=BOTH[1 - BOTH.index(tower)])
    with pytest.raises(ConfigError, match="tower; leave --tower away"):
        FORMAT.read(tmp_path / "alone.npz", other)


def without(arrays, begin):
    return {name: array for name, array in arrays.items() if not name.startswith(begin)}


def floats(*shape):
    return np.zeros(shape, np.float32)


LAYER = "img/Transformer/encoderblock_"
TEXT_QUERY = "txt/Encoder_0/encoderblock_0/MultiHeadDotProductAttention_0/query"
POOL = "img/MAPHead_0/MultiHeadDotProductAttention_0"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        # What their models compute and ours do not.
        ({"img/embedding/kernel": floats(192, 48)}, "NaFlex .* siglip2_b16_256.npz"),
        ({"img/pos_embedding": floats(3, 3, 48)}, "NaFlex"),
        ({"img/pre_logits/kernel": floats(48, 48)}, "img/pre_logits: a layer with tanh"),
        ({"txt/BertEncoder_0/pooler/bias": floats(3)}, "BERT .*--tower image"),
        ({"txt/MAPHead_0/probe": floats(1, 1, 40)}, "pools by attention"),
        ({"img/pos_embedding": floats(1, 12, 48)}, "12 rows, which are no square grid"),
        ({"img/embedding/kernel": floats(8, 4, 3, 48)}, "patches of 8 x 4 pixels"),
        ({"img/embedding/kernel": floats(8, 8, 1, 48)}, "and 1 channels"),
        ({f"{POOL}/query/kernel": floats(48, 2, 24)}, "has 2 heads and the layers 3"),
        ({"txt/head/kernel": floats(40, 7)}, "images' embeddings have 48 values, its texts' 7"),
        # What is missing.
        ({"img/embedding/kernel": None}, "no array .params/img/embedding/kernel"),
        ({f"{LAYER}1/": None}, "2 layers, but encoderblock_1 is not among them"),
        ({f"{LAYER}0/": None}, "no array .params/img/Transformer/encoderblock_0/"),
        ({"img/": None, "txt/": None}, "parameters begin with b, t"),
        # What nobody writes.
        ({f"{LAYER}999999999/LayerNorm_0/scale": floats(48)}, "4 layers, but encoderblock_3"),
        ({f"{LAYER}{'9' * 900}/LayerNorm_0/scale": floats(48)}, "4 layers, but encoderblock_3"),
        ({f"{LAYER}-1/LayerNorm_0/scale": floats(48)}, "no place here: .*encoderblock_-1"),
        ({"img/embedding/kernel": floats(8, 8, 3)}, r"shape \[8, 8, 3\]; 4 axes"),
        ({"img/embedding/kernel": floats(8, 8, 3, 0)}, "none empty"),
        ({f"{TEXT_QUERY}/kernel": floats(40, 7, 5)}, "does not divide into text.num_heads = 7"),
        ({"txt/pos_embedding": floats(2, 11, 40)}, r"txt/pos_embedding \[2, 11, 40\]"),
    ],
)
def test_what_is_refused_and_why(siglip, options, tmp_path, change, told):
    arrays = dict(siglip)
    for name, array in change.items():
        if array is None:
            arrays = without(arrays, name)
        else:
            arrays[name] = array
    with pytest.raises(ConfigError, match=told):
        taken(read(tmp_path / "a.npz", arrays, options))


def test_scanned_layers_beyond_all_sense(siglip, options, tmp_path):
    first = f"{LAYER}0/"
    scanned = without(siglip, LAYER) | {
        name.replace("encoderblock_0", "encoderblock"): np.zeros((1001, *array.shape[:-1], 1), "f4")
        for name, array in siglip.items()
        if name.startswith(first)
    }
    with pytest.raises(ConfigError, match="claims 1001 layers"):
        read(tmp_path / "a.npz", scanned, options)


def test_missing_and_left_over_arrays_are_named(siglip, options, tmp_path):
    arrays = without(siglip, f"{LAYER}2/LayerNorm_1/bias") | {"img/token_learner": floats(3)}
    with pytest.raises(ConfigError) as error:
        taken(read(tmp_path / "a.npz", arrays, options))
    assert "lacks 1 arrays: params/img/Transformer/encoderblock_2/LayerNorm_1/bias" in str(
        error.value
    )
    assert "no place here: params/img/token_learner" in str(error.value)


def test_a_file_without_a_size_of_pictures(siglip, options, tmp_path):
    arrays = without(siglip, "img/pos_embedding")
    found = read(tmp_path / "a.npz", arrays, options)
    assert found.preprocess.size == 224
    assert any("224 pixels, which is assumed" in note for note in found.notes)
    told = read(tmp_path / "b.npz", arrays, options._replace(architecture="tiny-clip"))
    assert told.preprocess.size == 24


ODD_SIZES = st.sampled_from([0, 1, 2, 3, 7, 48, 10**9, 2**59])
ODD_NAMES = st.sampled_from(
    [
        "img",
        "img/",
        "txt/Embed_0",
        "img/embedding/kernel/kernel",
        f"{LAYER}00/LayerNorm_0/scale",
        f"{LAYER}\u0663/LayerNorm_0/scale",
        f"{LAYER[:-1]}/MlpBlock_0/Dense_0/kernel",
        "img/Transformer/posembed_input/pos_embedding",
        "txt/Encoder_0/pos_embedding",
        "params/img/cls",
        "opt/target/img/embedding/kernel",
        "(((/[",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_tree_is_understood_or_refused(siglip, data):
    """Never another error, nor work without bounds: only names and shapes are looked at."""
    shapes = {name: array.shape for name, array in siglip.items()}
    names = st.sampled_from(sorted(shapes))
    for name in data.draw(st.lists(names, max_size=3)):
        shapes.pop(name, None)
    odd_shapes = st.lists(ODD_SIZES, max_size=5).map(tuple)
    shapes |= data.draw(st.dictionaries(st.one_of(names, ODD_NAMES), odd_shapes, max_size=3))
    weights = headers(shapes)
    try:
        layout = find_layout(weights)
        found = describe(weights, layout, data.draw(st.sampled_from([None, "tiny-siglip"])))
        arch = architecture(found.architecture)
    except ConfigError:
        return
    assert len(links(rows(arch, layout), arch)) < 100_000
