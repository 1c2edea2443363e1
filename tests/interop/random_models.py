"""Checkpoints of random weights of any architecture; both directions of a format in one call."""

import jax
import numpy as np

import bigclip
from bigclip import checkpoints
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import clip_bpe, train_tokenizer
from bigclip.interop.exporting import export_model
from bigclip.interop.format import ReadOptions
from bigclip.interop.importing import import_model
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.verify import compare
from bigclip.tasks import make_task

WORDS = ("a photo of a red fox", "two dogs in the snow", "Blue owl, drawn by hand!", "naïve café")
_SCALES = {"log_logit_scale": np.log(20.0), "logit_bias": -7.0}


def small_tokenizer(context_length, *, vocab_size=300, **options):
    """A byte-pair tokenizer of a few words, whose end of text is the largest id."""
    return train_tokenizer(
        WORDS * 4, vocab_size=vocab_size, context_length=context_length, **options
    )


def save_model(
    folder, arch, *, loss="softmax", preprocess=None, tokenizer=None, towers=("image", "text")
):
    """Write a checkpoint of random weights, with activations of the size that training gives."""
    prepare = preprocess or Preprocess(size=arch["image"]["image_size"], resize="crop")
    tokenizer = tokenizer or clip_bpe(context_length=arch["text"]["context_length"])
    block = {"name": "contrastive", "architecture": arch, "loss": loss, "dtype": "float32"}
    task = make_task(block, mean=prepare.mean, std=prepare.std)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    away = {"image", "text"} - set(towers)
    rng = np.random.default_rng(0)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: _draw(rng, [part.key for part in path], leaf.shape),
        {name: part for name, part in shapes.items() if name not in away},
    )
    manifest = checkpoints.make_manifest(
        task=task.manifest,
        preprocess=prepare.to_dict(),
        tokenizer=tokenizer.to_dict(),
        config={},
        run_id="random",
    )
    manifest = checkpoints.at_step(manifest, step=3, examples_seen=24, has_ema=False)
    checkpoints.export(folder, params, manifest | {"towers": list(towers)})
    return folder


def _draw(rng, path, shape):
    leaf = path[-1]
    if leaf in _SCALES:
        return np.float32(_SCALES[leaf])
    normal = rng.standard_normal(shape, np.float32)
    if leaf == "kernel":
        own = shape[1:] if "blocks" in path else shape
        return normal * np.float32(1.2 * np.prod(own[:-1]) ** -0.5)
    if leaf == "scale":
        return 1 + np.float32(0.2) * normal
    if leaf == "running_var":
        return 0.5 + np.abs(normal)
    return np.float32(0.3) * normal


def send_out(format, checkpoint, dest):
    """Export; return the path."""
    export_model(Outgoing(checkpoint), format, dest)
    return dest


def bring_in(format, source, dest, **options):
    """Import; return the notes."""
    imported = format.read(source, ReadOptions(**options))
    return import_model(imported, dest, origin={"format": format.name, "source": source.name})


def params_of(checkpoint):
    """Parameters by their paths with layers unrolled."""
    model = Outgoing(checkpoint)
    return {name: model.read(name) for name in model.shapes}


def assert_equal(found, expected, *, left_out=()):
    """Two dicts of arrays must be bit-identical, but for names that only the first has."""
    assert found.keys() - set(left_out) == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def figures(checkpoint, reference, *, num_pictures=3):
    """What `--verify` measures, by name, and largest of the relative differences."""
    model = bigclip.load(checkpoint, dtype="float32")
    found = compare(model, reference, num_pictures=num_pictures)
    print(*(f"{one.what}: {one.value:.2e} {one.unit} {one.note}" for one in found), sep="\n")
    return {one.what: one.value for one in found}
