"""Formulas, against sums by hand; GPU plans."""

import jax
import pytest
import tiny_config

from bigclip.config import ConfigError
from bigclip.models import architecture, image_flops, text_flops
from bigclip.planning.analytic import communication, towers
from bigclip.planning.chips import CHIPS, find_chip
from bigclip.planning.gpu import plan_gpus
from bigclip.planning.residuals import kept_bytes
from bigclip.planning.sweep import candidates, sweep
from bigclip.tasks import make_task

P = 1_000_000
QUIET = {
    "layer_params": P,
    "itemsize": 2,
    "activations": 0.0,
    "num_slices": 1,
    "batch_size": 1,
    "embed_dim": 0,
    "implementation": "dense",
}


def config(**changes):
    made = tiny_config.get_config("nowhere")
    made.update(changes)
    return made


def test_data_parallel_gpus_sum_their_gradients_across_nodes():
    sent = communication(CHIPS["h100"], {"data": 16}, **QUIET)
    assert sent.ici_bytes == pytest.approx(8 * P * 15 / 16)
    # One ring of all 16: it leaves each node once for its 8 members.
    assert sent.dcn_bytes == pytest.approx(sent.ici_bytes / 8)
    assert communication(CHIPS["h100"], {"data": 8}, **QUIET).dcn_bytes == 0


def test_sharded_parameters_are_gathered_twice_and_summed_once():
    sent = communication(CHIPS["h100"], {"data": 8, "fsdp": 8}, **QUIET)
    within = P * 7 / 8 * (2 * 2 + 4)
    across = 8 * (P / 8) * 7 / 8
    assert sent.ici_bytes == pytest.approx(within + across)
    assert sent.dcn_bytes == pytest.approx(across)  # each GPU has a shard, and a ring, of its own


def test_only_slices_of_a_tpu_are_joined_by_the_slow_network():
    sent = communication(CHIPS["v5e"], {"replica": 2, "data": 256}, **QUIET)
    assert sent.dcn_bytes == pytest.approx(8 * P / 2)
    assert sent.ici_bytes == pytest.approx(8 * P * 255 / 256)


def test_micro_batches_gather_for_each_slice():
    one = communication(CHIPS["v5e"], {"fsdp": 4}, **QUIET).ici_bytes
    four = communication(CHIPS["v5e"], {"fsdp": 4}, **{**QUIET, "num_slices": 4}).ici_bytes
    assert (one, four) == (P * 0.75 * (2 * 2 + 4), P * 0.75 * (2 * 12 + 4 * 4))


def test_kept_bytes_shrink_with_the_policy():
    manifest = make_task(
        {"name": "contrastive", "architecture": "clip-vit-b-32"}, mean=(0.5,) * 3, std=(0.5,) * 3
    ).manifest
    kept = [kept_bytes(manifest, remat=name) for name in ("none", "dots", "dots_no_batch", "full")]
    assert sorted(kept, reverse=True) == kept
    # At the least, the inputs of all layers in bfloat16.
    image, text = (manifest["architecture"][tower] for tower in ("image", "text"))
    tokens = (image["image_size"] // image["patch_size"]) ** 2 + (image["pool"] == "class")
    inputs = 2 * (
        tokens * image["width"] * image["depth"]
        + text["context_length"] * text["width"] * text["depth"]
    )
    assert inputs < kept[-1] < 1.5 * inputs


def test_a_gpu_plan_has_the_figures_of_any_plan():
    plan = plan_gpus(config(batch_size=64), "h100:16", price=2.0)
    assert plan["analytic"]
    assert plan["fits"]
    assert (plan["chips"], plan["mesh"]["data"]) == (16, 16)
    params = jax.eval_shape(
        make_task(config().task, mean=(0.5,) * 3, std=(0.5,) * 3).init, jax.random.key(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    hbm = plan["hbm_bytes"]
    assert hbm["parameters"] == 4 * count
    # Adam's two moments and the moving average, and some counters.
    assert 3 * 4 * count <= hbm["optimizer"] < 3 * 4 * count + 100
    parts = ("parameters", "optimizer", "batch", "activations", "loss", "other")
    assert hbm["total"] == sum(hbm[part] for part in parts)
    assert plan["cost_usd"] == pytest.approx(2 * plan["chip_hours"])
    assert plan["step_seconds_serial"] >= plan["step_seconds_roofline"] > 0


def test_sharding_shards_the_state_of_a_gpu_plan():
    whole, parts = (
        plan_gpus(config(batch_size=64, mesh={"fsdp": size}), "a100-80:8")["hbm_bytes"]
        for size in (1, 4)
    )
    assert parts["parameters"] < 0.4 * whole["parameters"]


def resnet_config(**changes):
    made = config(batch_size=64, **changes)
    made.task.architecture = "tiny-rn"
    made.preprocess.size = 64
    return made


def test_a_resnet_is_planned_too():
    plan = plan_gpus(resnet_config(), "h100:16")
    arch = architecture("tiny-rn", text={"vocab_size": 300})
    assert plan["flops"]["image"] == 3 * 64 * image_flops(arch)
    assert plan["flops"]["hardware"] <= plan["flops_per_step"]
    again = resnet_config()
    again.task.remat = "full"
    recomputed = plan_gpus(again, "h100:16")["flops"]["hardware"] - plan["flops"]["hardware"]
    # All but the stem and the pool, once more; and the layers of the text tower.
    assert 0.5 * 64 * image_flops(arch) < recomputed < 64 * (image_flops(arch) + text_flops(arch))
    with pytest.raises(ConfigError, match="tensor = 2.*not split over"):
        plan_gpus(resnet_config(mesh={"tensor": 2}), "h100:16")


def test_what_is_kept_of_a_resnet():
    block = {"name": "contrastive", "architecture": "tiny-rn"}
    manifest = make_task(block, mean=(0.5,) * 3, std=(0.5,) * 3).manifest
    kept = {name: kept_bytes(manifest, remat=name) for name in ("none", "dots_no_batch", "full")}
    inputs = 2 * towers(manifest["architecture"])["image"].outputs  # bfloat16
    assert inputs < kept["full"] < kept["dots_no_batch"] < kept["none"]
    # Of each convolution its input and its result, and of each ReLU where it was positive.
    assert kept["none"] < 15 * inputs


@pytest.mark.parametrize("topology", ["h100", "h100:", "h100:0", "h100:8x8"])
def test_a_gpu_cluster_is_a_number(topology):
    with pytest.raises(ConfigError, match="number of GPUs"):
        plan_gpus(config(), topology)


def test_an_unknown_chip_is_told_with_the_known_ones():
    with pytest.raises(ConfigError, match="v5e.*v6e"):
        find_chip("v9:2x2")


def test_a_length_in_epochs_asks_for_their_size():
    with pytest.raises(ConfigError, match="--epoch-examples"):
        plan_gpus(config(total_steps=None, total_epochs=3), "h100:8")
    made = config(total_steps=None, total_epochs=3)
    assert plan_gpus(made, "h100:8", epoch_examples=800)["total_steps"] == 300


def test_a_sweep_tries_the_least_repeated_work_first():
    found = candidates(config(batch_size=64), "h100:8")
    assert len({one.choice for one in found}) == len(found)
    first = found[0].choice
    assert (first.micro_batch_size, first.remat) == (None, "none")
    assert {one.choice.remat for one in found} == {"none", "dots_no_batch", "full"}
    assert all(one.config["mesh"]["fsdp"] == one.choice.fsdp for one in found)


def test_a_sweep_recommends_what_fits():
    told = []
    # Wide enough that a GPU cannot hold the batch at once.
    made = config(batch_size=2**22)
    found = sweep(made, "h100:8", max_trials=30, report=told.append)
    assert told == found["trials"]
    assert found["plan"]["fits"]
    choice = found["recommended"]
    assert choice["micro_batch_size"] is not None or choice["remat"] != "none"
    assert not any(trial["fits"] for trial in told[: _index(told, choice)])


def _index(trials, choice):
    return next(index for index, trial in enumerate(trials) if trial["choice"] == choice)
