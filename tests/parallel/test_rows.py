import jax
import pytest

from bigclip.config import ConfigError
from bigclip.parallel import assign_rows, host_rows, make_mesh


def held(*shards):
    """{process: its batch shards}."""
    return {process: frozenset(one) for process, one in enumerate(shards)}


@pytest.mark.parametrize(
    ("shards", "wanted"),
    [
        # One process; two with a block each; four.
        ([{0, 1, 2, 3}], [(0, 1)]),
        ([{0, 1}, {2, 3}], [(0, 2), (1, 2)]),
        ([{0}, {1}, {2}, {3}], [(0, 4), (1, 4), (2, 4), (3, 4)]),
        # `tensor` crosses two, or four processes: they load the same.
        ([{0}, {0}, {1}, {1}], [(0, 2), (0, 2), (1, 2), (1, 2)]),
        ([{0}, {0}, {0}, {0}], [(0, 1)] * 4),
        # Devices in the order of a torus, not of the processes; rows in stripes.
        ([{2, 3}, {0, 1}], [(1, 2), (0, 2)]),
        ([{0, 2}, {1, 3}], [(0, 2), (1, 2)]),
    ],
)
def test_every_process_gets_a_block_of_rows(shards, wanted):
    assert list(assign_rows(held(*shards)).values()) == wanted


@pytest.mark.parametrize("shards", [[{0}, {0, 1}, {1}], [{0, 1}, {2}], [{0, 1}, {1, 2}]])
def test_rows_that_cannot_be_dealt_out(shards):
    # The first: three processes of two devices, tensor=3.
    with pytest.raises(ConfigError, match=r"config\.mesh.*`tensor`"):
        assign_rows(held(*shards))


@pytest.mark.parametrize("sizes", [{}, {"fsdp": 4}, {"tensor": 8, "data": 1}])
def test_one_process_loads_all(sizes):
    assert host_rows(make_mesh(**sizes)) == (0, 1)


def test_some_devices_only():
    assert host_rows(make_mesh(devices=jax.devices()[:2])) == (0, 1)
