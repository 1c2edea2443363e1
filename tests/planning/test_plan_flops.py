"""FLOPs of a step: by formula, in the traced program, and as XLA counts them when unrolled."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from bigclip.parallel import make_mesh
from bigclip.planning.analytic import recomputed_flops
from bigclip.planning.flops import Counted, model_flops, traced_flops
from bigclip.tasks import make_task
from bigclip.training.groups import Group
from bigclip.training.step import loss_and_metrics

WIDE = {"width": 256, "num_heads": 4, "mlp_width": 1024, "depth": 2}
B = 8


def task(**how):
    overrides = {"image": {**WIDE, "image_size": 64}, "text": {**WIDE, "context_length": 64}}
    block = {"name": "contrastive", "architecture": "tiny-clip", "overrides": overrides}
    return make_task({**block, "dtype": "float32", **how}, mean=(0.5,) * 3, std=(0.5,) * 3)


def gradient(task, *, micro_batch_size=None):
    params = jax.eval_shape(task.init, jax.random.key(0))
    examples = {
        "image": jax.ShapeDtypeStruct((B, 64, 64, 3), jnp.uint8),
        "text": jax.ShapeDtypeStruct((B, 64), jnp.int32),
    }
    rngs = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), B))

    def fn(params, examples, rngs):
        return loss_and_metrics(
            task, params, examples, rngs, jnp.float32(0), micro_batch_size=micro_batch_size
        )

    return jax.jit(jax.value_and_grad(fn, has_aux=True)).trace(params, examples, rngs)


def counted(task, **how):
    return traced_flops(gradient(task, **how).jaxpr.jaxpr).flops


def test_the_compiler_counts_as_much_when_unrolled():
    plain = task(scan=False)
    traced = gradient(plain)
    by_trace = traced_flops(traced.jaxpr.jaxpr).flops
    by_formula = sum(model_flops(plain, B, {}).values())
    by_xla = traced.lower().compile().cost_analysis()["flops"]
    # XLA also counts what is elementwise: norms, activations, softmax. At this width 5%.
    assert 0 <= by_xla / by_trace - 1 < 0.08
    # The formula counts the gradient by the pixels, which is not computed: one of the three
    # passes of the stem, 1% here.
    assert -0.03 < by_trace / by_formula - 1 <= 0


def test_a_scan_counts_each_of_its_layers():
    assert counted(task(scan=True)) == counted(task(scan=False))


def test_what_is_computed_again_counts_again():
    plain, forward = counted(task()), sum(model_flops(task(), B, {}).values()) / 3
    assert counted(task(remat="dots")) == plain
    arch = task().manifest["architecture"]
    for remat in ("dots_no_batch", "full"):
        again = counted(task(remat=remat)) - plain
        # The tower that pools by its tokens' mean drops a little of the last layer.
        assert again == pytest.approx(B * recomputed_flops(arch, remat), rel=0.02)
    sliced = counted(task(), micro_batch_size=4) - plain
    assert 0.9 * forward < sliced <= forward


def test_a_resnet_computes_its_blocks_again():
    overrides = {"image": {}, "text": {**WIDE, "context_length": 64}}
    resnet = {"architecture": "tiny-rn", "overrides": overrides}
    plain = task(**resnet)
    arch, once = plain.manifest["architecture"], counted(plain)
    # Convolutions with padding count in full here; the pixels' gradient is not computed.
    assert -0.03 < once / sum(model_flops(plain, B, {}).values()) - 1 <= 0
    for remat in ("dots_no_batch", "full"):
        again = counted(task(**resnet, remat=remat)) - once
        assert again == pytest.approx(B * recomputed_flops(arch, remat), rel=0.02)


def test_a_frozen_tower_costs_its_forward_pass():
    groups = {
        "image/blocks/mlp/up/kernel": Group(freeze=True, lr_mult=1.0, weight_decay=0.0),
        "text/blocks/mlp/up/kernel": Group(freeze=False, lr_mult=1.0, weight_decay=0.0),
    }
    free, frozen = model_flops(task(), B, {}), model_flops(task(), B, groups)
    assert frozen == {**free, "image": free["image"] // 3}


def test_the_loss_needs_three_products_and_the_tiled_one_four():
    emb = jax.ShapeDtypeStruct((64, 32), jnp.float32)
    scalars = dict.fromkeys(("log_logit_scale", "logit_bias"), jax.ShapeDtypeStruct((), "float32"))

    def flops(pairs):
        sigmoid = task(loss="sigmoid", pairs=pairs)

        def fn(emb, params):
            return sigmoid.objective(params, emb, jnp.float32(0))[0]

        both = {"image_emb": emb, "text_emb": emb}
        with jax.set_mesh(make_mesh(devices=jax.devices()[:4])):
            return traced_flops(jax.make_jaxpr(jax.grad(fn))(both, scalars).jaxpr)

    dense = flops({"implementation": "dense"})
    assert dense.flops == pytest.approx(6 * 64**2 * 32, rel=0.02)
    # Precision "highest": six passes of a TPU's matrix unit.
    assert dense.bfloat16_flops == pytest.approx(6 * dense.flops, rel=0.02)
    ring = flops({"implementation": "ring", "row_tile": 8, "column_tile": 8})
    assert ring.flops == pytest.approx(8 * 64**2 * 32, rel=0.15)


def test_a_mapped_body_counts_on_every_device():
    mesh = make_mesh(devices=jax.devices()[:4])

    def fn(x):
        return jax.shard_map(
            lambda part: part @ part.T,
            mesh=mesh,
            in_specs=PartitionSpec("data"),
            out_specs=PartitionSpec("data"),
        )(x)

    x = jax.ShapeDtypeStruct((16, 32), jnp.bfloat16)
    found = traced_flops(jax.make_jaxpr(fn)(x).jaxpr)
    assert found == Counted(4 * 2 * 4 * 4 * 32, 4 * 2 * 4 * 4 * 32)


def test_of_a_conditional_the_dearest_branch_counts():
    x = jax.ShapeDtypeStruct((8, 8), jnp.float32)

    def fn(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert traced_flops(jax.make_jaxpr(fn)(x).jaxpr).flops == 2 * 2 * 8**3
