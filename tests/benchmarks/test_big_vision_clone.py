"""The update comes out of a clone's trainer as it stands there; an absent clone gives a word."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.big_vision_step import big_vision_step
from benchmarks.peers import PeerMissing, find_big_vision

# The shape of a clone, as far as the step looks at it, with a model of two matrices.
_FILES = {
    "big_vision/__init__.py": "",
    "big_vision/models/__init__.py": "",
    "big_vision/models/proj/__init__.py": "",
    "big_vision/models/proj/image_text/__init__.py": "",
    "big_vision/models/proj/image_text/two_towers.py": """
import flax.linen as nn
import tensorflow.io.gfile as gfile

class Model(nn.Module):
    width: int

    @nn.compact
    def __call__(self, image, text):
        image = nn.Dense(self.width)(image.mean(axis=(1, 2)))
        return image, nn.Embed(20, self.width)(text).mean(axis=1)
""",
    "big_vision/optax.py": """
import optax

def make(config, params, *, sched_kw):
    return optax.sgd(config.lr), []
""",
    "big_vision/sharding.py": """
import jax

def infer_sharding(params, strategy, mesh):
    spec = jax.sharding.PartitionSpec()
    return jax.tree.map(lambda x: jax.sharding.NamedSharding(mesh, spec), params)
""",
    "big_vision/trainers/proj/image_text/siglip.py": """
import something_that_is_not_installed

def main(argv):
    tx = model = None

    @functools.partial(
        jax.jit,
        donate_argnums=(0,),
        out_shardings=(train_state_sharding, repl_sharding))
    def update_fn(train_state, rng, batch):
        def loss_fn(params):
            zimg, ztxt = model.apply({"params": params}, batch["image"], batch["labels"])
            return jnp.mean((zimg - ztxt) ** 2)

        loss, grads = jax.value_and_grad(loss_fn)(train_state["params"])
        updates, opt = tx.update(grads, train_state["opt"], train_state["params"])
        params = optax.apply_updates(train_state["params"], updates)
        return {"params": params, "opt": opt}, {
            "training_loss": loss, "num_leaves": len(jax.tree_leaves(params))}
""",
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    for name, content in _FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield str(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "big_vision"]:
        del sys.modules[name]
    for name in ("tree_map", "tree_leaves"):
        if name in vars(jax):
            delattr(jax, name)


@pytest.mark.slow
def test_the_trainers_own_update_runs(clone):
    step = big_vision_step(
        clone,
        model={"width": 3},
        optimizer={"lr": 0.1},
        image_size=4,
        context_length=5,
        batch_size=8,
        total_steps=10,
        devices=jax.devices()[:2],
    )
    with step.context():
        state = step.create()
        batch = {
            name: jax.device_put(np.ones(one.shape, one.dtype), one.sharding)
            for name, one in step.batch_shapes.items()
        }
        losses = []
        for _ in range(3):
            state, measured = step.update(state, jax.random.key(0), batch)
            losses.append(float(measured["training_loss"]))
    assert losses[2] < losses[1] < losses[0]
    assert measured["num_leaves"] == 3
    assert jnp.all(batch["image"] == 1)
    # What stood in for TensorFlow is gone again.
    assert "tensorflow" not in sys.modules or hasattr(sys.modules["tensorflow"], "__version__")


def test_an_absent_clone_is_told(tmp_path):
    with pytest.raises(PeerMissing, match="no package.*--big_vision PATH"):
        find_big_vision(None)
    with pytest.raises(PeerMissing, match="siglip.py"):
        find_big_vision(str(tmp_path))
