"""A step that the TPU compiler has compiled, and the tables of such."""

import pytest

from benchmarks import tpu_step, weak_scaling
from benchmarks.runs import read_config
from benchmarks.tpu_compiler import Compiler
from bigclip.models import architecture


@pytest.fixture(scope="module")
def config():
    config = read_config("configs/siglip.py:b16")
    tiny = architecture("tiny-siglip")
    config["task"] |= {"architecture": tiny, "remat": "full"}
    config["preprocess"]["size"] = tiny["image"]["image_size"]
    config["tokenizer"]["context_length"] = tiny["text"]["context_length"]
    config["batch_size"] = 2048  # more than fits into the chips' own memory
    return config


@pytest.mark.slow
@pytest.mark.tpu_compiler
def test_a_step_is_compiled_for_a_pod(config):
    found = Compiler().bigclip(config=config, topology="v5e:2x2")
    assert found["fits"]
    assert found["num_chips"] == 4
    assert 0 < found["temporary_bytes"] < found["hbm_bytes"] < found["limit_bytes"]
    assert found["bytes_accessed"] > 0
    # Parameters are on every chip: their gradients are summed over all.
    assert found["collectives"]["by_kind"]["all-reduce"]["bytes"] > 0


def test_big_vision_is_asked_for_the_same(config):
    request = tpu_step.big_vision_request(read_config("configs/siglip.py:b16"))
    assert request["arch"] == architecture("siglip-b-16-224")
    assert request["batch_size"] == 32_768
    assert request["optimizer"]["optax"] == {"beta2_cap": 0.95}
    assert request["optimizer"]["grad_clip_norm"] == 1.0


def _row(**changed):
    return {
        "fits": True,
        "hbm_bytes": 2**31,
        "limit_bytes": 2**34,
        "temporary_bytes": 2**30,
        "bytes_accessed": 5e9,
        "hardware_flops": 8e12,
        "num_chips": 4,
        "collectives": {"by_kind": {"all-reduce": {"bytes": 3e6}}},
        "seconds": 10.0,
        "cpu_seconds": 20.0,
        "compiler_bytes": 2**32,
        "batch_size": 4096,
        **changed,
    }


def test_what_does_not_fit_is_told():
    absent = {"temporary_bytes": None, "bytes_accessed": None, "collectives": None}
    large = _row(fits=False, hbm_bytes=2**33, cpu_seconds=100.0, **absent)
    lines = tpu_step.table({"bigclip": _row(), "big_vision": large}).splitlines()
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells[:5] == ["big_vision", "8.00 (does not fit)", "4.0", "-", "-"]
    assert cells[7:9] == ["100", "5.0"]
    assert "(does not fit)" in weak_scaling.table({"v5e:2x2": large})
    assert "| v5e:2x2 | 4 | 4,096 | 2.00 | 16.00 | 1.00 | 3 | all-reduce 3 | 2.0 | 20 |" in (
        weak_scaling.table({"v5e:2x2": _row()})
    )
