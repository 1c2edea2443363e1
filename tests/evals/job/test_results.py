"""What a killed job leaves behind, and what the next one makes of it."""

import json
import multiprocessing

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from bigclip.config import ConfigError
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.job import results

EVALUATION = Evaluation({"R@1": 1 / 3}, {"R@1": 0.1}, {"images": 3}, {"texts": {"0": "fox"}})
KEY = {"run_id": "r", "step": 10, "suite": "heldout", "definition": "d"}


def add(workdir, evaluation=EVALUATION, *, writer=None, **changes):
    line = results.result_line(evaluation, **(KEY | changes), kind="retrieval", seconds=1.5)
    (writer or results.Results(workdir)).add(line, evaluation)
    return line


def test_one_line_a_result_and_the_details_beside(tmp_path):
    line = add(tmp_path)
    assert results.read_lines(tmp_path / "evaluations.jsonl") == [line]
    assert line["metrics"] == {"R@1": 0.333333}
    assert line["examples"] == 3
    details = json.loads((tmp_path / "evaluations" / "heldout-10-d.json").read_text())
    assert details["texts"] == {"0": "fox"}
    assert details["definition"] == "d"


def test_arrays_lie_beside_the_details(tmp_path):
    kernel = np.arange(6.0).reshape(2, 3)
    evaluation = EVALUATION._replace(arrays={"kernel": kernel})
    add(tmp_path, evaluation)
    with np.load(tmp_path / "evaluations" / "heldout-10-d.npz") as saved:
        np.testing.assert_array_equal(saved["kernel"], kernel)
    assert not list((tmp_path / "evaluations").glob("*.part"))


def test_results_of_two_definitions_do_not_replace_each_other(tmp_path):
    for definition, kernel in (("d", np.zeros(2)), ("e", np.ones(2))):
        evaluation = EVALUATION._replace(arrays={"kernel": kernel})
        add(tmp_path, evaluation, definition=definition)
    assert np.load(tmp_path / "evaluations" / "heldout-10-d.npz")["kernel"].tolist() == [0, 0]


def test_what_json_cannot_tell_is_left_out_by_name(tmp_path):
    evaluation = EVALUATION._replace(
        metrics={"good": 0.5, "bad": float("nan"), "worse": float("inf")},
        details={"scores": [1.0, float("nan")]},
    )
    line = add(tmp_path, evaluation)
    assert line["metrics"] == {"good": 0.5}
    assert line["not_finite"] == ["bad", "worse"]
    details = json.loads((tmp_path / "evaluations" / "heldout-10-d.json").read_text())
    assert details["scores"] == [1.0, None]


def test_tensorboard_shows_the_same_numbers_at_the_same_steps(tmp_path):
    writer = results.Results(tmp_path)
    for step in (10, 20):
        add(tmp_path, writer=writer, step=step)
    writer.close()
    (path,) = (tmp_path / "tensorboard" / "evaluations").iterdir()
    shown = []
    for record in read_records(path):
        event = event_pb2.Event.FromString(record)
        shown += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    third = pytest.approx(0.333333)  # as in the line
    assert shown == [
        (10, "heldout/R_1", third),
        (20, "heldout/R_1", third),
    ]  # TensorBoard knows no @


def read_records(path):
    """The records of a TFRecord file: length (8 bytes), its checksum (4), the record, its own."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        yield data[place + 12 : place + 12 + length]
        place += length + 16


def test_what_is_done_is_known_after_a_restart(tmp_path):
    add(tmp_path)
    again = results.Results(tmp_path)
    assert again.has(**KEY)
    for changes in ({"step": 11}, {"suite": "other"}, {"definition": "e"}, {"run_id": "s"}):
        assert not again.has(**(KEY | changes))


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_half_a_line_is_removed_and_written_anew(tmp_path, cut):
    path = tmp_path / "evaluations.jsonl"
    add(tmp_path)
    whole = path.read_bytes()
    add(tmp_path, step=20)
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(results.read_lines(path)) == (2 if cut == 1 else 1)
    writer = results.Results(tmp_path)
    assert path.read_bytes() == whole
    assert not writer.has(**(KEY | {"step": 20}))
    add(tmp_path, step=20)
    assert [line["step"] for line in results.read_lines(path)] == [10, 20]


def _hold(workdir, held, done):
    with results.only_job(workdir):
        held.set()
        done.wait(60)


def test_one_job_a_workdir(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(ConfigError, match="another evaluation job"), results.only_job(tmp_path):
        pass
    other.kill()  # the lock dies with its holder, however that one ends
    other.join()
    with results.only_job(tmp_path):
        pass
