"""What the losses take on a pod of 256 chips, by the TPU compiler.

The limits are what the ring promises: tiles and not much else. The dense form of the smallest of
these batches takes 2.5 GiB a chip.
"""

import pytest

from bigclip.planning import plan_loss

pytestmark = pytest.mark.tpu_compiler
MIB = 2**20


def temporaries(loss, batch_size, **pairs):
    plan = plan_loss(
        loss=loss, batch_size=batch_size, embed_dim=768, topology="v5e:16x16", pairs=pairs
    )
    assert plan["fits"]
    assert plan["flops_per_step"] == 8 * batch_size**2 * 768
    # Nothing of the size of a row of pairs may cross the network: the columns go around once
    # forward, and once backward beside their gradients; three trips of D floats each.
    columns = batch_size / 256 * 768 * 4
    assert plan["ici_bytes_per_step"] < 1.05 * 3 * 256 * columns
    return plan["hbm_bytes"]["loss"]


def test_a_batch_of_a_million_takes_tiles():
    # No `implementation`: this is what `auto` takes.
    assert temporaries("softmax", 2**20) <= 16 * MIB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "batch_size", "limit"),
    [
        ("sigmoid", 2**20, 16 * MIB),
        ("softmax", 2**22, 192 * MIB),
        ("sigmoid", 2**22, 192 * MIB),
        ("softmax", 2**24, 1024 * MIB),
        ("sigmoid", 2**24, 1024 * MIB),
    ],
)
def test_larger_batches(loss, batch_size, limit):
    assert temporaries(loss, batch_size) <= limit


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_ring_takes_a_fraction_of_the_dense_form(loss):
    dense = plan_loss(
        loss=loss,
        batch_size=2**18,
        embed_dim=768,
        topology="v5e:16x16",
        pairs={"implementation": "dense"},
    )
    assert dense["hbm_bytes"]["loss"] >= 200 * temporaries(loss, 2**18)
