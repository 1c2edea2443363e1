import jax
import pytest

from bigclip.config import ConfigError
from bigclip.parallel import AXES, check_batch, make_mesh, num_batch_shards


def test_the_free_axis_takes_the_rest():
    mesh = make_mesh(fsdp=2, tensor=2)
    assert dict(mesh.shape) == {"replica": 1, "data": 2, "fsdp": 2, "tensor": 2}
    assert mesh.axis_names == AXES
    assert num_batch_shards(mesh) == 4


def test_some_devices_only():
    mesh = make_mesh(devices=jax.devices()[:2])
    assert mesh.shape["data"] == 2


@pytest.mark.parametrize(
    "sizes",
    [{"fsdp": 3}, {"data": 2}, {"data": 16}, {"data": -1, "fsdp": -1}, {"tensor": 0}],
)
def test_sizes_that_do_not_fit(sizes):
    with pytest.raises(ConfigError, match=r"config\.mesh"):
        make_mesh(**sizes)


@pytest.mark.parametrize(
    ("batch_size", "micro_batch_size", "key", "mend"),
    [
        (30, None, "config.batch_size", "32"),
        (32, 12, "config.micro_batch_size", "16"),
        (48, 32, "config.batch_size", "not a multiple"),
        (0, None, "config.batch_size", "8"),
    ],
)
def test_batches_that_cannot_be_laid_on_the_mesh(batch_size, micro_batch_size, key, mend):
    with pytest.raises(ConfigError) as error:
        check_batch(make_mesh(), batch_size, micro_batch_size)
    assert key in str(error.value)
    assert mend in str(error.value)


def test_batches_that_can():
    check_batch(make_mesh(), 64, 16)
    check_batch(make_mesh(tensor=8, data=1), 3, 1)
