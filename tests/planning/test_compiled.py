"""Steps compiled by the TPU compiler, in this process, beside its eight CPU devices."""

import jax
import jax.numpy as jnp
import pytest
import tiny_config
from jax.sharding import NamedSharding, PartitionSpec

from bigclip.config import ConfigError
from bigclip.parallel import make_mesh, replicated
from bigclip.planning import plan_loss, plan_training
from bigclip.planning.accesses import bytes_accessed
from bigclip.planning.advice import advise
from bigclip.planning.analytic import estimate, state_sizes
from bigclip.planning.chips import CHIPS
from bigclip.planning.compiled import abstract_examples, compile_traced
from bigclip.planning.hlo import read_program
from bigclip.planning.plans import read_config
from bigclip.planning.residuals import kept_bytes
from bigclip.planning.topology import make_pod
from bigclip.tasks import make_task

pytestmark = pytest.mark.tpu_compiler
GIB = 2**30


def config(**changes):
    made = tiny_config.get_config("nowhere")
    made.batch_size = 64
    made.ema_decay = None
    made.optimizer = {"learning_rate": 1e-3, "weight_decay": 0.1}
    made.task.dtype = "bfloat16"
    made.update(changes)
    return made


@pytest.fixture(scope="module")
def plan():
    return plan_training(config(mesh={"fsdp": 2}), "v5e:2x2", price=2.0)


def test_a_plan_needs_no_data_and_tells_all(plan):
    told = {
        "chips", "mesh", "fits", "hbm_bytes", "flops_per_step", "ici_bytes_per_step",
        "dcn_bytes_per_step", "step_seconds_roofline", "step_seconds_serial",
        "examples_per_second", "compile_seconds", "collectives", "chip_hours", "cost_usd", "mfu",
    }  # fmt: skip
    assert told <= plan.keys()
    assert all(plan[key] is not None for key in told)
    assert (plan["chips"], plan["fits"], plan["analytic"]) == (4, True, False)
    assert plan["mesh"] == {"replica": 1, "data": 2, "fsdp": 2, "tensor": 1}
    assert plan["unknown_trip_counts"] == 0
    assert plan["cost_usd"] == pytest.approx(2 * plan["chip_hours"])


def test_the_parts_of_memory_are_its_total(plan):
    hbm = plan["hbm_bytes"]
    parts = ("parameters", "optimizer", "batch", "activations", "loss", "other")
    assert hbm["total"] == sum(hbm[part] for part in parts)
    assert all(hbm[part] > 0 for part in parts)
    # Adam: two moments like the parameters, which fsdp halves where it divides them.
    assert hbm["optimizer"] == pytest.approx(2 * hbm["parameters"], rel=0.01)
    assert hbm["limit"] == CHIPS["v5e"].limit_bytes


def test_gradients_are_summed_and_parameters_gathered(plan):
    kinds = plan["collectives"]["by_kind"]
    assert "all-gather" in kinds
    assert "all-reduce" in kinds
    assert plan["dcn_bytes_per_step"] == 0
    # In float32 over two devices: at least a shard of each gradient, and at most each parameter
    # a few times.
    parameters = plan["hbm_bytes"]["parameters"]
    assert parameters < plan["ici_bytes_per_step"] < 20 * parameters


def test_scanned_layers_are_gathered_layer_by_layer(plan):
    assert plan["collectives"]["executions"] > plan["collectives"]["count"]


def test_a_loss_alone(plan):
    pairs = {"implementation": "ring", "row_tile": 256, "column_tile": 256}
    found = plan_loss(
        loss="sigmoid", batch_size=4096, embed_dim=128, topology="v5e:2x2", pairs=pairs
    )
    assert found["fits"]
    assert found["flops_per_step"] == 8 * 4096**2 * 128
    assert found["flops"]["hardware"] == pytest.approx(found["flops_per_step"], rel=0.05)
    # The ring passes the columns on, both ways, and back with their gradients.
    assert set(found["collectives"]["by_kind"]) >= {"collective-permute"}
    assert found["hbm_bytes"]["loss"] < 8 * 2**20
    assert found["hbm_bytes"]["arguments"] >= 2 * 1024 * 128 * 4


def test_out_of_memory_is_an_answer():
    found = plan_loss(
        loss="softmax",
        batch_size=2**17,
        embed_dim=8,
        topology="v5e:2x2",
        pairs={"implementation": "dense"},
    )
    assert found["fits"] is False
    assert found["over_bytes"] > 0
    # [B / 4, B] float32 is 16 GiB, on a chip of 15.75 GiB.
    hbm = found["hbm_bytes"]
    assert hbm["total"] > 16 * GIB
    assert hbm["limit"] == pytest.approx(15.75 * GIB, rel=1e-3)
    assert found["step_seconds_roofline"] is None


def test_advice_where_a_step_does_not_fit(plan):
    assert advise(plan) == []
    large = dict(plan["hbm_bytes"], activations=40 * GIB, total=41 * GIB, loss=6 * GIB)
    lines = advise({**plan, "fits": False, "batch_size": 2**14, "hbm_bytes": large})
    assert [line.split("=")[0] for line in lines] == [
        "--config.task.pairs.implementation",
        "--config.micro_batch_size",
        "--config.task.remat",
    ]


def test_slices_talk_over_the_data_centre_network():
    made = config(batch_size=32)
    made.task.overrides = {"image": {"depth": 1}, "text": {"depth": 1, "vocab_size": 300}}
    plan = plan_training(made, "v5e:2x2", num_slices=2)
    assert (plan["chips"], plan["mesh"]["replica"]) == (8, 2)
    assert "dcn-all-reduce" in plan["collectives"]["by_kind"]
    # All gradients cross, once; at most whole, at least the quarter that a chip of a slice holds
    # where they were summed and scattered within the slice before.
    gradients = plan["hbm_bytes"]["parameters"]
    assert gradients / 4 < plan["dcn_bytes_per_step"] < 1.2 * gradients


def test_a_batch_that_does_not_divide_is_told():
    with pytest.raises(ConfigError, match="batch_size = 66 is not divisible by the 4"):
        plan_training(config(batch_size=66), "v5e:2x2")
    with pytest.raises(ConfigError, match="divisible by the 4 batch shards"):
        plan_loss(loss="softmax", batch_size=6, embed_dim=8, topology="v5e:2x2")


def test_memory_traffic_is_what_the_compiler_counts_without_loops():
    device = make_pod("v5e:1x1").devices[0]
    mesh = jax.sharding.Mesh([device], ("x",))
    x = jax.ShapeDtypeStruct(
        (8192, 4096), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec())
    )

    def layer(x):
        return jnp.sin(x) @ jnp.cos(x[:4096, :])

    once = jax.jit(lambda x: layer(layer(x))).trace(x).lower().compile()
    counted = bytes_accessed(read_program(once.as_text()))
    # The compiler counts what lies in on-chip memory, too.
    assert 0.5 < counted / once.cost_analysis()["bytes accessed"] <= 1.01
    looped = compile_traced(
        jax.jit(lambda x: jax.lax.scan(lambda x, _: (layer(x), None), x, length=10)[0]).trace(x)
    )
    # Ten times what a layer takes; the compiler may copy what is carried from layer to layer.
    assert 5 * counted <= bytes_accessed(read_program(looped.text)) < 12 * counted


@pytest.mark.slow
def test_activations_by_formula_agree_with_the_compiler():
    # A head of 128 and 128 tokens need no padding, and the batch is too large for the 128 MiB of
    # on-chip memory. The other tower is as good as none, for the sake of time.
    text = {"width": 128, "num_heads": 1, "mlp_width": 256, "depth": 4, "context_length": 128}
    image = {"width": 32, "num_heads": 1, "mlp_width": 32, "depth": 1, "image_size": 8}
    overrides = {"image": image, "text": {**text, "vocab_size": 300}}
    block = {"name": "contrastive", "architecture": "tiny-clip", "overrides": overrides}
    task = make_task(block, mean=(0.5,) * 3, std=(0.5,) * 3)
    mesh = make_mesh(devices=make_pod("v5e:1x1").devices)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    params = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes
    )
    batch_size = 1024
    examples = abstract_examples(task, mesh, batch_size)
    rngs = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch_size))

    def loss(params, examples, rngs):
        outputs = task.forward(params, examples, rngs)
        return sum(jnp.sum(one * one[::-1]) for one in outputs.values())

    with jax.set_mesh(mesh):
        compiled = compile_traced(jax.jit(jax.grad(loss)).trace(params, examples, rngs))
    kept = kept_bytes(task.manifest)
    guess = batch_size * (kept + 2 * kept / 5)
    # Within 1.5: the compiler fuses some of it away, and holds copies of some.
    assert 1 / 1.5 < compiled.memory.temporaries / guess < 1.5


def test_state_by_formula_is_that_of_the_plan(plan):
    made = config(mesh={"fsdp": 2})
    values, parts, rule = read_config(
        made, make_pod("v5e:2x2").devices, num_slices=1, epoch_examples=None
    )
    state = state_sizes(values, parts, rule)
    guess = estimate(parts, CHIPS["v5e"], state, rule.groups, micro_batch_size=None)
    known = ("parameters", "optimizer", "batch")
    assert all(guess.hbm_bytes[part] == plan["hbm_bytes"][part] for part in known)
    assert sum(guess.model_flops.values()) == plan["flops_per_step"]
