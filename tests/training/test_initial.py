"""What a run begins with when it names a checkpoint, up to the arrays on its mesh."""

import jax
import numpy as np
import pytest
import saved_model

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.data.tokenizer.training import train_tokenizer
from bigclip.models import unstack
from bigclip.models.positions import resize_image_positions
from bigclip.parallel import make_mesh, path_name
from bigclip.tasks import make_task
from bigclip.training.initial.options import plain_init_from, read_init_from
from bigclip.training.initial.origins import Origin, find_origins
from bigclip.training.initial.plan import plan_start
from bigclip.training.initial.state import initial_state
from bigclip.training.jitted import state_layout
from bigclip.training.optimizer import make_optimizer

RNG = jax.random.key(3)


def flat(tree):
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A checkpoint of `saved_model`: scanned layers, sigmoid."""
    folder = tmp_path_factory.mktemp("scanned")
    saved_model.save_run(folder)
    return folder


@pytest.fixture(scope="module")
def saved(scanned):
    """Its parameters, on the host."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(np.asarray, checkpoints.restore_params(scanned, shardings=sharding))


@pytest.fixture(scope="module")
def unrolled(scanned, saved, tmp_path_factory):
    """The same with its layers unrolled, of bare parameters, and without text tower."""
    folder = tmp_path_factory.mktemp("unrolled") / "image"
    params = {name: part for name, part in unstack(saved).items() if name != "text"}
    manifest = {**checkpoints.read_manifest(scanned), "towers": ["image"], "tokenizer": None}
    checkpoints.export(folder, jax.tree.map(jax.numpy.asarray, params), manifest)
    return folder


def manifest_of(task, scanned, tokenizer=None, **preprocess):
    """What `experiment` makes of a run with this task, and the tokenizer of the checkpoint."""
    before = checkpoints.read_manifest(scanned)
    words = before["tokenizer"] if tokenizer is None else tokenizer.to_dict()
    return {
        "task": task.manifest,
        "preprocess": before["preprocess"] | preprocess,
        "tokenizer": words,
    }


def task_like(scanned, image=None, text=None, **changes):
    block = {**checkpoints.read_manifest(scanned)["task"], **changes}
    block["overrides"] = {"image": image or {}, "text": text or {}}
    return make_task(block, mean=(0.5,) * 3, std=(0.5,) * 3)


def plan(task, manifest, **block):
    shapes = jax.eval_shape(task.init, RNG)
    return plan_start(read_init_from(block), shapes, manifest)


def begin(task, start, *, ema=False):
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    shapes = jax.eval_shape(task.init, RNG)
    optimizer, _ = make_optimizer(shapes, lambda step: 1.0, learning_rate=1.0, name="lion")
    _, _, layout = state_layout(task, optimizer, mesh, rng=RNG, ema=ema)
    state = initial_state(start, task, optimizer, mesh=mesh, layout=layout, rng=RNG, ema=ema)
    for leaf, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(layout), strict=True):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
    return state


def test_scanned_to_unrolled_with_all_that_may_differ(scanned, saved):
    cats = train_tokenizer(["a red cat", "fox and owl"] * 4, vocab_size=300, context_length=7)
    text = {"vocab_size": 310, "context_length": 7}
    task = task_like(scanned, {"image_size": 40}, text, scan=False)
    block = {"path": str(scanned), "resize_positions": True, "match_tokens": True, "weights": "ema"}
    block["fresh"] = ["text/projection/.*", "logit_bias"]
    start = plan(task, manifest_of(task, scanned, cats), **block)
    state = begin(task, start, ema=True)
    params = flat(state.params)
    source = {name: np.float32(0.5) * value for name, value in flat(unstack(saved)).items()}
    drawn = flat(jax.jit(task.init)(RNG))

    assert int(state.step) == 0
    jax.tree.map(np.testing.assert_array_equal, state.ema, state.params)
    new = {"text/projection/kernel", "logit_bias"}
    changed = {"image/position", "text/position", "text/token_embedding"}
    assert params.keys() == source.keys()
    for name, value in params.items():
        if name in new:
            np.testing.assert_array_equal(value, drawn[name], err_msg=name)
        elif name not in changed:
            np.testing.assert_array_equal(value, source[name], err_msg=name)
    wanted = resize_image_positions(source["image/position"], 26)
    np.testing.assert_array_equal(params["image/position"], wanted)
    np.testing.assert_array_equal(params["text/position"], source["text/position"][:7])

    table, old = np.asarray(params["text/token_embedding"]), source["text/token_embedding"]
    before = checkpoints.read_manifest(scanned)["tokenizer"]
    assert (start.rows >= 0).sum() > 256  # all bytes, and "red"
    np.testing.assert_array_equal(table[cats.eot], old[before["eot"]])
    np.testing.assert_array_equal(table[start.rows >= 0], old[start.rows[start.rows >= 0]])
    fresh = np.asarray(drawn["text/token_embedding"])
    np.testing.assert_array_equal(table[start.rows < 0], fresh[start.rows < 0])

    told = "\n".join(start.notes)
    assert "a grid of 3 x 3 is resized to 5 x 5" in told
    assert "the first 7 of 11 positions are kept" in told
    assert f"{(start.rows >= 0).sum()} of 310 rows are those of pieces" in told
    assert "drawn anew: logit_bias [], text/projection/kernel [40, 32]" in told
    assert "NOT USED" not in told
    assert start.facts["resize"] == ["image/position", "text/position"]
    assert start.facts["step"] == saved_model.STEP


def test_an_unrolled_image_tower_beside_a_fresh_text_tower(scanned, unrolled):
    task = task_like(scanned, text={"depth": 2})
    manifest = manifest_of(task, scanned)
    start = plan(task, manifest, path=str(unrolled), fresh=["text/.*", "log_logit_scale"])
    kernel = [f"image/block_0{layer}/mlp/up/kernel" for layer in (0, 1)]
    assert start.origins["image/blocks/mlp/up/kernel"] == Origin("stack", tuple(kernel))
    assert start.origins["text/blocks/mlp/up/kernel"] == Origin("fresh")
    assert start.origins["logit_bias"] == Origin("same", ("logit_bias",))
    told = "\n".join(start.notes)
    assert "drawn anew: all of text (" in told
    assert "NOT USED" not in told


SHAPES = {
    "image/position": (10, 4),
    "image/attention_pool/position": (5, 4),  # of a ResNet
    "image/blocks/mlp/kernel": (3, 4, 8),
    "text/block_00/mlp/kernel": (4, 8),
    "text/block_01/mlp/kernel": (4, 8),
    "text/position": (11, 4),
    "text/token_embedding": (300, 4),
    "logit_bias": (),
}


def origins(wanted, **block):
    return find_origins(wanted, SHAPES, read_init_from({"path": "x", **block}))


def test_layers_either_way():
    wanted = {f"image/block_{i:02d}/mlp/kernel": (4, 8) for i in range(3)}
    wanted["text/blocks/mlp/kernel"] = (2, 4, 8)
    found, misfits = origins(wanted)
    assert not misfits
    assert found["image/block_02/mlp/kernel"] == Origin("layer", ("image/blocks/mlp/kernel",), 2)
    names = ("text/block_00/mlp/kernel", "text/block_01/mlp/kernel")
    assert found["text/blocks/mlp/kernel"] == Origin("stack", names)


@pytest.mark.parametrize(
    "wanted",
    [
        {"image/blocks/mlp/kernel": (2, 4, 8)},
        {"image/block_00/mlp/kernel": (4, 8), "image/block_01/mlp/kernel": (4, 8)},
        {"text/block_00/mlp/kernel": (4, 8)},  # not the first of two, silently
        {"text/blocks/mlp/kernel": (3, 4, 8)},
    ],
)
def test_another_number_of_layers_is_a_misfit(wanted):
    (misfit,) = origins(wanted)[1]
    assert misfit.there in ("3 layers", "2 layers")
    tower = next(iter(wanted)).split("/")[0]
    assert not origins(wanted, fresh=[f"{tower}/.*"])[1]


def test_positions_are_resized_when_that_is_said():
    wanted = {"image/position": (26, 4), "text/position": (20, 4)}
    wanted["image/attention_pool/position"] = (10, 4)
    assert [one.resizable for one in origins(wanted)[1]] == [True, True, True]
    found, misfits = origins(wanted, resize_positions=True)
    assert not misfits
    assert {origin.kind for origin in found.values()} == {"resize"}
    with pytest.raises(ConfigError, match="cannot be cut to 20"):
        origins(wanted, resize_positions=True, text_positions="truncate")
    # Without a class token it is another model, and so is another width.
    for shape in ((25, 4), (26, 5)):
        assert not origins({"image/position": shape}, resize_positions=True)[1][0].resizable


def test_what_does_not_fit_is_told_with_the_options_to_set(scanned, unrolled):
    task = task_like(scanned, {"image_size": 40}, {"vocab_size": 400})
    with pytest.raises(ConfigError) as error:
        plan(task, manifest_of(task, scanned), path=str(scanned), fresh=["text/ln_post/.*"])
    told = str(error.value)
    assert "image/position: [10, 48] in the checkpoint, [26, 48] here" in told
    assert "text/token_embedding: [300, 40] in the checkpoint, [400, 40] here" in told
    assert '"resize_positions": True' in told
    assert "\"fresh\": ['text/ln_post/.*', 'text/token_embedding']" in told
    assert '"match_tokens": True' in told

    task = task_like(scanned)
    with pytest.raises(ConfigError) as error:
        plan(task, manifest_of(task, scanned), path=str(unrolled))
    assert "\"fresh\": ['text/.*', 'log_logit_scale']" in str(error.value)

    task = task_like(scanned, {"width": 96})
    with pytest.raises(ConfigError) as error:
        plan(task, manifest_of(task, scanned), path=str(scanned))
    assert "configs/finetune.py" in str(error.value)
    assert "['image/.*']" in str(error.value)


def test_a_bias_that_softmax_lacks(scanned, saved, tmp_path):
    softmax = {name: part for name, part in saved.items() if name != "logit_bias"}
    manifest = checkpoints.read_manifest(scanned)
    manifest["task"] = {**manifest["task"], "loss": "softmax"}
    checkpoints.export(tmp_path / "softmax", jax.tree.map(jax.numpy.asarray, softmax), manifest)
    task = task_like(scanned)
    block = {"path": str(tmp_path / "softmax")}
    with pytest.raises(ConfigError, match=r"fresh.: .'logit_bias', 'log_logit_scale'."):
        plan(task, manifest_of(task, scanned), **block)
    start = plan(task, manifest_of(task, scanned), **block, fresh=["logit_bias"])
    assert "the loss was softmax and is sigmoid" in start.notes[-1]
    # The other way round the bias is left over, which is told.
    task = task_like(scanned, loss="softmax", init_logit_bias=None)
    start = plan(task, manifest_of(task, scanned), path=str(scanned))
    assert "NOT USED of the checkpoint: logit_bias []" in start.notes
    assert start.facts["unused"] == ["logit_bias"]


def test_what_shapes_do_not_show(scanned):
    task = task_like(scanned)
    block = {"path": str(scanned)}

    def refused(task, allow, told, **changes):
        manifest = manifest_of(task, scanned, **changes)
        with pytest.raises(ConfigError) as error:
            plan(task, manifest, **block)
        assert told in str(error.value), str(error.value)
        if allow is not None:
            assert f'allow=("{allow}",)' in str(error.value)
            assert "as allowed" in plan(task, manifest, **block, allow=[allow]).notes[-1]

    refused(task, "preprocess", "preprocess.std was [0.268", std=[0.5, 0.5, 0.5])
    refused(task, "preprocess", "{'resize': 'squash'}", resize="crop")
    heads = task_like(scanned, {"num_heads": 6})
    refused(heads, "architecture", "config.task.overrides.image.num_heads = 3")
    gelu = task_like(scanned, text={"activation": "gelu"})
    refused(gelu, "architecture", "text.activation was 'quick_gelu' and is 'gelu'")
    # As many tokens, but others.
    before = checkpoints.read_manifest(scanned)["tokenizer"]
    cats = train_tokenizer(["grey cat", "pink dog"] * 4, vocab_size=300, context_length=11)
    refused(task, None, "ids stand for other pieces", tokenizer=cats)
    other = manifest_of(task, scanned, cats)
    plan(task, other, **block, fresh=["text/token_embedding"])
    cased = manifest_of(task, scanned)
    cased["tokenizer"] = {**before, "clean": "none"}
    with pytest.raises(ConfigError, match=r'the text .A Photo(.|\n)*allow=."tokenizer"'):
        plan(task, cased, **block)
    # What a fresh tower is for, nobody can tell; what only training looks at, is free.
    manifest = manifest_of(gelu, scanned, cats)
    plan(gelu, manifest, **block, fresh=["text/.*"])
    dropping = task_like(scanned, {"patch_dropout": 0.5})
    plan(dropping, manifest_of(dropping, scanned), **block)


def test_options_that_cannot_be(scanned):
    task = task_like(scanned)
    manifest = manifest_of(task, scanned)

    def refused(match, **block):
        with pytest.raises(ConfigError, match=match):
            plan(task, manifest, **{"path": str(scanned), **block})

    refused("'txt/.*' has no effect", fresh=["txt/.*"])
    refused(r"must be a list: \['text/.\*'\]", fresh="text/.*")
    refused("config.init_from.allow: no choice 'preproces'. Did you mean", allow=["preproces"])
    refused("Did you mean 'resize_positions'", resize_position=True)
    refused("matches every parameter", fresh=[".*"])
    refused("match_tokens has no effect", match_tokens=True, fresh=["text/.*"])
    refused("holds no checkpoint", path="/nowhere")
    refused("no choice 'raw'", weights="raw")
    refused("path is missing", path=None)
    frozen = frozenset({"text/token_embedding", "image/position"})
    with pytest.raises(ConfigError, match="never learn: text/token_embedding"):
        plan_start(
            read_init_from({"path": str(scanned), "fresh": ["text/token.*"]}),
            jax.eval_shape(task.init, RNG),
            manifest,
            constant=frozen,
        )


def test_a_path_alone_stays_one():
    assert plain_init_from("/runs/a") == "/runs/a"
    assert plain_init_from(None) is None
    block = plain_init_from({"path": "/runs/a", "fresh": ["text/.*"]})
    assert (block["path"], block["weights"], block["fresh"]) == ("/runs/a", "params", ["text/.*"])
