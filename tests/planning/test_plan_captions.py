"""Plans of examples with several captions: the batch, its work, and what it takes."""

import jax
import jax.numpy as jnp
import pytest
import tiny_config

from benchmarks.bigclip_step import parts_without_data
from bigclip.config import plain
from bigclip.models import text_flops
from bigclip.planning import plan_training
from bigclip.planning.analytic import communication, recomputed_flops, towers
from bigclip.planning.chips import CHIPS
from bigclip.planning.compiled import abstract_examples, abstract_outputs
from bigclip.planning.flops import model_flops, traced_flops
from bigclip.planning.gpu import plan_gpus
from bigclip.planning.residuals import kept_bytes
from bigclip.tasks import make_task
from bigclip.training.step import loss_and_metrics

WIDE = {"width": 256, "num_heads": 4, "mlp_width": 1024, "depth": 2}
B = 8


def config(num_captions):
    made = tiny_config.get_config("nowhere")
    made.batch_size = 64
    made.ema_decay = None
    if num_captions is not None:
        weights = {f"source{c}": 1.0 for c in range(num_captions)}
        made.data.captions = {"policy": "all", "weights": weights}
    return made


def task(num_captions, **how):
    overrides = {"image": {**WIDE, "image_size": 64}, "text": {**WIDE, "context_length": 64}}
    block = {"name": "contrastive", "architecture": "tiny-clip", "overrides": overrides}
    halves = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    return make_task({**block, "dtype": "float32", **how}, num_captions=num_captions, **halves)


@pytest.mark.parametrize(("num_captions", "texts"), [(None, ()), (1, (1,)), (3, (3,))])
def test_the_batch_of_a_plan_is_that_of_the_data(num_captions, texts):
    # As the planner and the benchmarks read a configuration whose data are not there.
    parts = parts_without_data(plain(config(num_captions)))
    examples = abstract_examples(parts.task, parts.mesh, 64)
    assert examples["image"].shape == (64, 24, 24, 3)
    assert examples["text"].shape == (64, *texts, 11)
    params = jax.eval_shape(parts.task.init, jax.random.key(0))
    assert abstract_outputs(parts.task, params, examples)["text_emb"].shape == (64, *texts, 32)


def counted(task, num_captions):
    params = jax.eval_shape(task.init, jax.random.key(0))
    texts = (B, 64) if num_captions is None else (B, num_captions, 64)
    examples = {
        "image": jax.ShapeDtypeStruct((B, 64, 64, 3), jnp.uint8),
        "text": jax.ShapeDtypeStruct(texts, jnp.int32),
    }
    rngs = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), B))

    def fn(params, examples, rngs):
        return loss_and_metrics(task, params, examples, rngs, jnp.float32(0), micro_batch_size=None)

    traced = jax.jit(jax.value_and_grad(fn, has_aux=True)).trace(params, examples, rngs)
    return traced_flops(traced.jaxpr.jaxpr).flops


def test_text_tower_and_loss_count_for_each_caption():
    one, three = model_flops(task(None), B, {}), model_flops(task(3), B, {})
    assert three == {"image": one["image"], "text": 3 * one["text"], "loss": 3 * one["loss"]}
    assert model_flops(task(1), B, {}) == one
    # And so does the program: the pixels' gradient, which is not computed, is its only lack.
    assert -0.03 < counted(task(3), 3) / sum(three.values()) - 1 <= 0
    again = counted(task(3, remat="full"), 3) - counted(task(3), 3)
    arch = task(3).manifest["architecture"]
    assert again == pytest.approx(B * recomputed_flops(arch, "full", 3), rel=0.02)


def test_formulas_count_each_caption():
    manifest = task(None).manifest
    arch = manifest["architecture"]
    one, three = towers(arch), towers(arch, 3)
    assert three["image"] == one["image"]
    assert three["text"].outputs == 3 * one["text"].outputs
    kept = [kept_bytes(manifest, num_captions=num) for num in (None, 1, 2, 3)]
    assert kept[3] - kept[2] == kept[2] - kept[1] > 0
    assert kept[1] == pytest.approx(kept[0], rel=1e-3)
    given = {
        "layer_params": 0,
        "itemsize": 2,
        "activations": 0.0,
        "num_slices": 1,
        "batch_size": 1024,
        "embed_dim": 512,
        "implementation": "ring",
    }
    sent = [
        communication(CHIPS["v5e"], {"data": 4}, num_captions=num, **given).ici_bytes
        for num in (1, 3)
    ]
    assert sent[1] == 3 * sent[0] > 0


def test_a_gpu_plan_of_three_captions():
    one, three = (plan_gpus(config(num), "h100:8") for num in (None, 3))
    arch = parts_without_data(plain(config(3))).task.manifest["architecture"]
    assert three["flops"]["text"] == 3 * one["flops"]["text"] == 9 * 64 * text_flops(arch)
    assert three["flops"]["image"] == one["flops"]["image"]
    assert three["flops"]["hardware"] > one["flops"]["hardware"]
    memory, more = one["hbm_bytes"], three["hbm_bytes"]
    assert more["batch"] - memory["batch"] == 2 * 64 // 8 * 11 * 4
    assert more["activations"] > memory["activations"]
    assert more["loss"] == memory["loss"]


@pytest.mark.tpu_compiler
def test_the_tpu_compiler_takes_three_captions():
    made = config(3)
    made.task.overrides.image = {"depth": 1}
    made.task.overrides.text.depth = 1
    plan = plan_training(made, "v5e:2x2")
    assert plan["fits"]
    assert plan["unknown_trip_counts"] == 0
    # One of the three passes of the stem, the gradient by the pixels, is not computed.
    image = plain(parts_without_data(plain(made)).task.manifest["architecture"]["image"])
    stem = 2 * image["image_size"] ** 2 * 3 * image["width"]
    assert plan["flops"]["hardware"] == pytest.approx(plan["flops_per_step"] - 64 * stem, rel=0.01)
