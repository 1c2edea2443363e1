import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from bigclip.config import ConfigError
from bigclip.parallel import make_mesh, shard_params

PARAMS = {
    "blocks": {"query": {"kernel": jnp.zeros((3, 8, 4)), "bias": jnp.zeros((3, 4))}},
    "scale": jnp.zeros(()),
}
RULES = [(".*/kernel", ("fsdp", "tensor")), (".*/bias", ("tensor",)), ("scale", ())]


@pytest.fixture
def mesh():
    return make_mesh(fsdp=4, tensor=2, data=1)


def test_specs_are_aligned_to_the_right(mesh):
    shardings = shard_params(PARAMS, RULES, mesh)
    query = shardings["blocks"]["query"]
    assert query["kernel"].spec == PartitionSpec(None, "fsdp", "tensor")
    assert query["bias"].spec == PartitionSpec(None, "tensor")
    assert shardings["scale"].spec == PartitionSpec()
    # The array really lies so: a fourth of the rows, half of the columns on each device.
    kernel = jax.device_put(PARAMS["blocks"]["query"]["kernel"], query["kernel"])
    assert kernel.addressable_shards[0].data.shape == (3, 2, 2)


def test_a_dimension_that_does_not_divide_stays_whole(mesh):
    shardings = shard_params({"kernel": jnp.zeros((6, 4))}, [("kernel", ("fsdp", "tensor"))], mesh)
    assert shardings["kernel"].spec == PartitionSpec(None, "tensor")


def test_every_parameter_needs_a_rule(mesh):
    with pytest.raises(ConfigError, match="no rule matches the parameter 'scale'"):
        shard_params(PARAMS, RULES[:2], mesh)


def test_a_rule_that_matches_nothing_is_an_error(mesh):
    with pytest.raises(ConfigError, match=r"'.\*/kernle' has no effect: it matches no parameter"):
        shard_params(PARAMS, [*RULES, (".*/kernle", ())], mesh)


def test_a_rule_behind_another_that_takes_all_is_an_error(mesh):
    with pytest.raises(ConfigError, match="all 1 parameters it matches are taken by earlier"):
        shard_params(PARAMS, [*RULES, (".*query/kernel", ())], mesh)


@pytest.mark.parametrize("spec", [("model",), ("fsdp", "tensor", None, None)])
def test_a_rule_that_does_not_fit(mesh, spec):
    with pytest.raises(ConfigError, match="does not fit"):
        shard_params({"kernel": jnp.zeros((8, 8))}, [("kernel", spec)], mesh)


def test_a_pattern_that_is_none(mesh):
    with pytest.raises(ConfigError, match="not a regular expression"):
        shard_params({"kernel": jnp.zeros((8, 8))}, [("ker(nel", ())], mesh)
