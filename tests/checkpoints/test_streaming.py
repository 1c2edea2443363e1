"""Checkpoints that are written array by array."""

import jax
import numpy as np
import pytest

from bigclip import checkpoints
from bigclip.checkpoints import Pending
from bigclip.config import ConfigError
from bigclip.parallel import make_mesh, replicated

MANIFEST = {"format": 1, "step": 0, "versions": {}}
FLOAT32 = np.dtype(np.float32)


def pending(array, made=None, name=""):
    def make():
        if made is not None:
            made.append(name)
        return array

    return Pending(array.shape, array.dtype, make)


def test_reads_back_bit_identical_on_any_mesh(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"kernel": rng.normal(size=(6, 4)).astype(np.float32), "scalar": np.float32(3)}
    arrays["scalar"] = np.asarray(arrays["scalar"])
    tree = {"image": {name: pending(array) for name, array in arrays.items()}}
    checkpoints.write_streaming(tmp_path / "model", tree, MANIFEST)
    assert checkpoints.read_manifest(tmp_path / "model")["has_ema"] is False
    mesh = make_mesh(fsdp=2)
    spec = jax.sharding.NamedSharding(mesh, jax.P("fsdp"))
    layout = {"image": {"kernel": spec, "scalar": replicated(mesh)}}
    found = checkpoints.restore_params(tmp_path / "model", shardings=layout)["image"]
    place = checkpoints.step_path(tmp_path / "model")
    leaves = checkpoints.params_shapes(place)["image"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        one = checkpoints.read_array(place, f"image/{name}", leaves[name])
        assert isinstance(one, np.ndarray)
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, array)


def test_one_array_at_a_time(tmp_path):
    """Each array is made once, and only when those before it are gone."""
    alive, most = [0], [0]

    class Counted(np.ndarray):
        def __array_finalize__(self, other):
            if other is None:
                alive[0] += 1
                most[0] = max(most[0], alive[0])

        def __del__(self):
            if self.base is None:
                alive[0] -= 1

    def make():
        array = Counted((32, 32), np.float32)
        array[:] = 1
        return array

    tree = {f"x{i}": Pending((32, 32), FLOAT32, make) for i in range(12)}
    checkpoints.write_streaming(tmp_path / "model", tree, MANIFEST)
    assert most[0] <= 3  # the one being made, and what the last ones wait for to be collected


def test_what_was_promised_is_what_is_written(tmp_path):
    tree = {"a": Pending((3,), FLOAT32, lambda: np.zeros(4, np.float32))}
    with pytest.raises(ValueError, match=r"a: promised float32 \(3,\), made float32 \(4,\)"):
        checkpoints.write_streaming(tmp_path / "model", tree, MANIFEST)
    assert not (tmp_path / "model").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        checkpoints.write_streaming(tmp_path / "model", {}, MANIFEST)
