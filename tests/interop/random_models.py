"""Random weights for any architecture, in memory or as a checkpoint, and both ways of a format."""

import functools
import json

import jax
import numpy as np

import bigclip
from bigclip import checkpoints
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import clip_bpe, train_tokenizer
from bigclip.interop.exporting import export_model
from bigclip.interop.format import ReadOptions
from bigclip.interop.importing import import_model
from bigclip.interop.mapping import match
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.verify import compare
from bigclip.models import architecture
from bigclip.models.layers import Place, places
from bigclip.tasks import make_task

WORDS = ("a photo of a red fox", "two dogs in the snow", "Blue owl, drawn by hand!", "naïve café")
BOTH = ("image", "text")
_SCALES = {"log_logit_scale": np.log(20.0), "logit_bias": -7.0}


def small_tokenizer(context_length, *, vocab_size=300, **options):
    """A byte-pair tokenizer of a few words, whose end of text is the largest id."""
    return train_tokenizer(
        WORDS * 4, vocab_size=vocab_size, context_length=context_length, **options
    )


@functools.lru_cache
def _clip_tokenizer(context_length):
    return clip_bpe(context_length=context_length)


@functools.lru_cache
def _shapes(told):
    block = {"name": "contrastive", **json.loads(told), "dtype": "float32", "scan": True}
    task = make_task(block, mean=(0.5,) * 3, std=(0.5,) * 3)
    return {
        name: place.shape
        for name, place in places(jax.eval_shape(task.init, jax.random.key(0))).items()
    }


def shapes_of(arch, *, loss="softmax", towers=BOTH):
    """Our parameters, layers unrolled, and their shapes."""
    if "text" not in towers:
        arch = {**arch, "text": architecture("tiny-clip")["text"]}  # is left away in any case
    found = _shapes(json.dumps({"architecture": arch, "loss": loss}))
    away = set(BOTH) - set(towers)
    return {name: shape for name, shape in found.items() if name.split("/")[0] not in away}


class InMemory(Outgoing):
    """A model that was never written: random weights, of the size that training gives."""

    def __init__(
        self, arch, *, loss="softmax", preprocess=None, tokenizer=None, towers=BOTH, params=None
    ):
        self.architecture, self.loss, self.towers = arch, loss, towers
        self.preprocess = preprocess or Preprocess(size=arch["image"]["image_size"], resize="crop")
        self.tokenizer = tokenizer or _clip_tokenizer(arch["text"]["context_length"])
        self.step, self.examples_seen, self.notes = 3, 24, []
        rng = np.random.default_rng(0)
        shapes = shapes_of(arch, loss=loss, towers=towers)
        self.params = params or {name: _draw(rng, name, shapes[name]) for name in sorted(shapes)}
        self.shapes = {name: array.shape for name, array in self.params.items()}
        self._places = {name: Place(name, None, shape) for name, shape in self.shapes.items()}
        task = {"architecture": arch, "loss": loss, "scan": False, "dtype": "float32"}
        self.manifest = {"task": {"name": "contrastive", **task, "init_logit_scale": 14.3}}

    def read(self, name):
        return self.params[name]

    def _forget(self, needed=()):
        pass

    def save(self, folder):
        """Write it as a checkpoint; return the folder."""
        block = self.manifest["task"]
        task = make_task(block, mean=self.preprocess.mean, std=self.preprocess.std)
        tree = {}
        for name, array in self.params.items():
            *parents, leaf = name.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = array
        manifest = checkpoints.make_manifest(
            task=task.manifest,
            preprocess=self.preprocess.to_dict(),
            tokenizer=self.tokenizer.to_dict(),
            config={},
            run_id="random",
        )
        manifest = checkpoints.at_step(manifest, step=3, examples_seen=24, has_ema=False)
        checkpoints.export(folder, tree, manifest | {"towers": list(self.towers)})
        return folder


def _draw(rng, name, shape):
    leaf = name.split("/")[-1]
    if leaf in _SCALES:
        return np.asarray(_SCALES[leaf], np.float32)
    normal = rng.standard_normal(shape, np.float32)
    if leaf == "kernel":
        return normal * np.float32(1.2 * np.prod(shape[:-1]) ** -0.5)
    if leaf == "scale":
        return 1 + np.float32(0.2) * normal
    if leaf == "running_var":
        return 0.5 + np.abs(normal)
    return np.float32(0.3) * normal


def taken(imported):
    """Our parameters out of a foreign model, in memory, with the checks of an import."""
    arch, loss, towers = imported.architecture, imported.loss, imported.towers
    wanted = shapes_of(arch, loss=loss, towers=towers)
    if towers != BOTH:
        wanted = {name: shape for name, shape in wanted.items() if name not in _SCALES}
    theirs = {name: tensor.shape for name, tensor in imported.weights.items()}
    links = match(
        imported.rows,
        arch,
        ours=wanted,
        theirs=theirs,
        computed=imported.extra,
        ignored=imported.ignored,
        where=imported.weights.path,
    )
    read = {name: tensor.read() for name, tensor in imported.weights.items()}.__getitem__
    found = {name: make(read) for name, make in imported.extra.items() if name in wanted}
    for link in links:
        found |= link.to_ours(read(link.theirs))
    return {name: array.astype(np.float32) for name, array in found.items()}


def back(imported):
    """The foreign model as one of ours, in memory."""
    return InMemory(
        imported.architecture,
        loss=imported.loss,
        preprocess=imported.preprocess,
        tokenizer=imported.tokenizer,
        towers=imported.towers,
        params=taken(imported),
    )


def send_out(format, checkpoint, dest):
    """Export a checkpoint; return the path."""
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
    """What `--verify` measures, by name; print it."""
    model = bigclip.load(checkpoint, dtype="float32")
    found = compare(model, reference, num_pictures=num_pictures)
    print(*(f"{one.what}: {one.value:.2e} {one.unit} {one.note}" for one in found), sep="\n")
    return {one.what: one.value for one in found}


def assert_proven(found, *, ids=True, pixels=True):
    """Figures of `figures` that prove a conversion."""
    assert not ids or found["ids"] == 0
    assert not pixels or found["pixels"] <= 1.01
    for what in ("image embeddings", "text embeddings", "logits", "image features"):
        assert found.get(what, 0) <= 1e-4, what
