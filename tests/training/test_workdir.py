import json

import numpy as np
import pytest

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.training.workdir import Workdir
from bigclip.training.writers import MetricWriter, read_metrics

CONFIG = {"batch_size": 8, "log": {"every_steps": 2}, "data": {"num_threads": 2, "captions": {}}}


def with_checkpoint(path):
    writer = checkpoints.Writer(path)
    writer.save(5, {"params": {"x": np.zeros(2, np.float32)}}, {"format": 1})
    writer.close()


def test_a_new_run_and_its_resumption_share_an_id(tmp_path):
    first = Workdir.open(tmp_path, CONFIG)
    first.report("running", step=0)
    with_checkpoint(tmp_path)
    again = Workdir.open(tmp_path, CONFIG)
    assert again.run_id == first.run_id
    again.report("complete", step=5)
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["status"], run["step"]) == ("complete", 5)


def test_a_folder_that_is_not_shared(tmp_path, monkeypatch):
    run = Workdir.open(tmp_path, CONFIG)
    run.check_shared()
    # As on another host, which has a folder of the same name on a disk of its own.
    (tmp_path / "config.json").unlink()
    monkeypatch.setattr("bigclip.training.workdir._VISIBLE_SECONDS", 0.0)
    with pytest.raises(ConfigError, match="a folder that all hosts share"):
        run.check_shared()


def test_another_runs_checkpoints_are_refused(tmp_path):
    Workdir.open(tmp_path, CONFIG)
    with_checkpoint(tmp_path)
    with pytest.raises(ConfigError) as error:
        Workdir.open(tmp_path, {**CONFIG, "batch_size": 16})
    assert "config.batch_size: 8 -> 16" in str(error.value)
    assert "--workdir" in str(error.value)


def test_how_a_run_runs_may_change(tmp_path):
    Workdir.open(tmp_path, CONFIG)
    with_checkpoint(tmp_path)
    changed = {"log": {"every_steps": 9}, "data": {"num_threads": 8, "captions": {}}}
    Workdir.open(tmp_path, {**CONFIG, **changed, "mesh": {"fsdp": 2}})


def test_a_run_of_a_version_without_a_block_goes_on_if_the_block_is_empty(tmp_path):
    Workdir.open(tmp_path, CONFIG)
    with_checkpoint(tmp_path)
    Workdir.open(tmp_path, {**CONFIG, "data": {**CONFIG["data"], "augment_text": {}}})
    filled = {**CONFIG["data"], "augment_text": {"token_dropout": 0.1}}
    with pytest.raises(ConfigError, match="data.augment_text: None -> "):
        Workdir.open(tmp_path, {**CONFIG, "data": filled})


def test_before_the_first_checkpoint_anything_may_change(tmp_path):
    Workdir.open(tmp_path, CONFIG)
    Workdir.open(tmp_path, {**CONFIG, "batch_size": 16})
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 16


def test_checkpoints_of_unknown_origin_are_refused(tmp_path):
    with_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match="no config.json"):
        Workdir.open(tmp_path, CONFIG)


def test_metrics_after_the_resumed_step_are_dropped(tmp_path):
    writer = MetricWriter(tmp_path, first_step=0)
    for step in range(1, 6):
        writer.write(step, {"loss": 10.0 - step})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed in the middle of a line
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    writer = MetricWriter(tmp_path, first_step=3)
    writer.write(4, {"loss": float("nan")})
    writer.close()
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] is None
    assert list((tmp_path / "tensorboard").iterdir())
