"""Save on one mesh, restore on another, without the code that made the tree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.parallel import make_mesh
from bigclip.training.state import TrainState

FSDP, WHOLE = PartitionSpec("fsdp"), PartitionSpec()


def state(mesh, spec=FSDP, rows=16):
    values = jnp.arange(rows * 2, dtype=jnp.float32).reshape(rows, 2)
    params = {"image": {"kernel": jax.device_put(values, NamedSharding(mesh, spec))}}
    moments = {"mu": jax.tree.map(lambda x: x + 1, params)}
    return TrainState(step=jnp.int32(3), params=params, opt_state=moments, ema=None)


@pytest.fixture
def saved(tmp_path):
    writer = checkpoints.Writer(tmp_path, keep_last=2, keep_every_steps=10)
    one = state(make_mesh(data=1, fsdp=8))
    for step in (9, 10, 11, 12, 13):
        manifest = checkpoints.at_step(
            {"format": 1}, step=step, examples_seen=4 * step, has_ema=False
        )
        writer.save(step, one, manifest)
    writer.close()
    return tmp_path


def test_keeps_what_it_should(saved):
    assert checkpoints.steps(saved) == [10, 12, 13]
    assert checkpoints.read_manifest(saved)["examples_seen"] == 52
    assert checkpoints.read_manifest(saved, 10)["step"] == 10


@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_restores_on_another_mesh(saved, num_devices):
    mesh = make_mesh(devices=jax.devices()[:num_devices])
    wanted = state(mesh, WHOLE)
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, WHOLE)),
        wanted,
    )
    restored = checkpoints.restore_state(saved, abstract)
    assert isinstance(restored, TrainState)
    jax.tree.map(np.testing.assert_array_equal, restored, wanted)
    assert restored.params["image"]["kernel"].sharding.mesh.size == num_devices


def test_parameters_alone_without_knowing_the_tree(saved):
    device = jax.devices()[3]
    params = checkpoints.restore_params(saved, 12, shardings=SingleDeviceSharding(device))
    np.testing.assert_array_equal(
        params["image"]["kernel"], np.arange(32, dtype=np.float32).reshape(16, 2)
    )
    assert params["image"]["kernel"].devices() == {device}


def test_paths(saved):
    newest = saved / "checkpoints" / "13"
    assert str(checkpoints.step_path(saved)) == str(newest)
    assert str(checkpoints.step_path(newest)) == str(newest)
    assert str(checkpoints.step_path(saved / "checkpoints", 10)) == str(newest.with_name("10"))


def test_relative_paths(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    assert checkpoints.steps(saved.name) == [10, 12, 13]
    writer = checkpoints.Writer(saved.name)
    writer.save(14, state(make_mesh(data=1, fsdp=8)), {"format": 1})
    writer.close()
    assert str(checkpoints.step_path(saved.name)) == str(saved / "checkpoints" / "14")


def test_what_is_not_there(saved, tmp_path):
    with pytest.raises(ConfigError, match=r"no checkpoint of step 7; it has \[10, 12, 13\]"):
        checkpoints.step_path(saved, 7)
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        checkpoints.step_path(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds no 'ema'; it holds opt_state, params, step"):
        checkpoints.params_shapes(saved, item="ema")


def test_another_architecture_is_told_by_its_parameters(saved):
    mesh = make_mesh()
    other = jax.eval_shape(lambda: state(mesh, WHOLE, rows=8))
    with pytest.raises(ConfigError) as error:
        checkpoints.restore_state(saved, other)
    assert "another architecture" in str(error.value)
    assert "image/kernel: (16, 2) in the checkpoint, (8, 2) here" in str(error.value)


def test_another_optimizer_is_told(saved):
    mesh = make_mesh()
    other = state(mesh, WHOLE).replace(opt_state={"nu": jnp.zeros(3)})
    with pytest.raises(ConfigError, match="another optimizer's state"):
        checkpoints.restore_state(saved, other)


def test_a_manifest_of_the_future_is_refused(tmp_path):
    writer = checkpoints.Writer(tmp_path)
    writer.save(1, {"params": {"x": jnp.zeros(2)}}, {"format": 99, "versions": {"bigclip": "9"}})
    writer.close()
    with pytest.raises(ConfigError, match="written by bigclip 9"):
        checkpoints.read_manifest(tmp_path)
