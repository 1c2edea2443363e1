"""The large published sizes fit a v5e-256: their very train steps, by the TPU compiler."""

import pathlib
import runpy

import pytest

from bigclip.planning import plan_training

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"

pytestmark = [pytest.mark.slow, pytest.mark.tpu_compiler]


@pytest.mark.parametrize(
    ("file", "size", "changes"),
    [
        ("siglip", "b16", {}),
        ("siglip", "so400m14", {}),
        ("clip", "bigg14", {}),
        ("clip", "l14", {"batch_size": 1_048_576, "micro_batch_size": 32_768}),
    ],
)
def test_fits(file, size, changes):
    config = runpy.run_path(str(CONFIGS / f"{file}.py"))["get_config"](size)
    config.update(changes)
    assert config.batch_size >= 32_768
    plan = plan_training(config, "v5e:16x16")
    assert plan["fits"], plan
    # Neither memory nor links nor repeated work take half of the time that the products need.
    assert plan["mfu"] > 0.6
    # Layers' parameters are gathered one by one, never all at once.
    fsdp = plan["mesh"]["fsdp"]
    whole = plan["hbm_bytes"]["parameters"] * fsdp
    for one in plan["collectives"]["largest"]:
        if one["kind"] == "all-gather" and one["group_size"] == fsdp:
            assert one["bytes_sent"] < whole / 10
