"""Following a run whose checkpoints come, go, break and are made by a trainer that is killed."""

import json
import threading
import time

import fakes
import pytest

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.evals import suites
from bigclip.evals.job import results
from bigclip.evals.job.follow import follow_run, wait_for_config


class FakeRun:
    """A workdir whose checkpoints are numbers in a list."""

    def __init__(self, tmp_path):
        self.path = tmp_path
        self.steps: list[int] = []
        self.loaded: list[int] = []
        self.broken: set[int] = set()
        self.on_load = lambda step: None
        fakes.write_tar(tmp_path / "test.tar", ["fox", "owl", "cat", "dog"], ["noto", "twemoji"])
        source = {"kind": "webdataset", "shards": [str(tmp_path / "test.tar")]}
        self.evals = {
            "names": {"suite": "retrieval", "source": source, "captions": ["name"]},
            "classes": {"suite": "zero_shot", "source": source},
        }
        self.status("running", 0)

    def status(self, status, step):
        run = {"run_id": "r", "status": status, "step": step}
        (self.path / "run.json").write_text(json.dumps(run))

    def load(self, workdir, step, weights):
        self.loaded.append(step if weights == "params" else -step)
        self.on_load(step)
        if step in self.broken or step not in self.steps:
            raise FileNotFoundError(f"no {step}")
        return fakes.PixelModel(step if weights == "params" else -step)

    def read_manifest(self, workdir, step):
        if step not in self.steps:
            raise ConfigError(f"no checkpoint {step}")
        return {"preprocess": Preprocess(size=16).to_dict()}

    def follow(self, *, follow=False, only=None, **options):
        return follow_run(
            self.path,
            suites.open_suites(self.evals, only=only),
            load=self.load,
            read_manifest=self.read_manifest,
            list_steps=lambda workdir: sorted(self.steps),
            follow=follow,
            poll_seconds=0.01,
            **options,
        )

    def lines(self):
        return [
            (line["step"], line["suite"])
            for line in results.read_lines(self.path / "evaluations.jsonl")
        ]


@pytest.fixture
def run(tmp_path):
    return FakeRun(tmp_path)


def test_each_checkpoint_once_newest_first(run):
    run.steps = [10, 20, 30]
    outcome = run.follow()
    assert run.loaded == [30, 20, 10]
    assert outcome.evaluated == len(run.lines()) == 6
    again = run.follow()
    assert again.evaluated == 0
    assert run.loaded == [30, 20, 10]  # what is done is not even loaded


def test_a_changed_definition_is_evaluated_again(run):
    run.steps = [10]
    run.follow()
    run.evals["classes"]["templates"] = ["a {}"]
    run.follow()
    assert run.lines() == [(10, "names"), (10, "classes"), (10, "classes")]


def test_the_numbers_do_not_depend_on_interruptions(run):
    run.steps = [10]
    run.follow(only=["names"])
    run.follow()
    both = run.path / "evaluations.jsonl"
    metrics = {line["suite"]: line["metrics"] for line in results.read_lines(both)}
    both.unlink()
    run.follow()
    assert {line["suite"]: line["metrics"] for line in results.read_lines(both)} == metrics


def test_parameters_and_their_average_are_each_loaded_once(run):
    run.steps = [10]
    for name in ("names", "classes"):
        run.evals[f"{name}_ema"] = run.evals[name] | {"weights": "ema"}
    run.follow()
    assert run.loaded == [10, -10]
    metrics = {
        line["suite"]: line["metrics"]
        for line in results.read_lines(run.path / "evaluations.jsonl")
    }
    assert metrics["names"] != metrics["names_ema"]


def test_follows_until_the_run_is_complete(run):
    idle = []

    def train():
        for step in (10, 20, 30):
            time.sleep(0.05)
            run.steps.append(step)
            run.status("complete" if step == 30 else "running", step)

    trainer = threading.Thread(target=train)
    trainer.start()
    outcome = run.follow(follow=True, on_idle=lambda: idle.append(len(run.lines())))
    trainer.join()
    assert outcome.complete
    assert not outcome.timed_out
    assert sorted(run.lines()) == sorted((s, n) for s in (10, 20, 30) for n in run.evals)
    assert idle[-1] == 6


def test_a_checkpoint_that_is_deleted_while_it_is_read_is_passed_over(run):
    run.steps = [10, 20]
    run.on_load = lambda step: run.steps.remove(10) if step == 10 else None
    outcome = run.follow()
    assert {step for step, _ in run.lines()} == {20}
    assert outcome.failed == {}


def test_a_checkpoint_that_cannot_be_read_is_given_up_and_named(run, monkeypatch):
    monkeypatch.setattr("bigclip.evals.job.watch.time.sleep", lambda seconds: None)
    run.steps = [10, 20]
    run.broken = {20}
    run.status("complete", 20)
    outcome = run.follow(follow=True)
    assert run.loaded.count(20) == 3
    assert {step for step, _ in run.lines()} == {10}
    assert "no 20" in outcome.failed[20]
    assert not outcome.complete


def test_one_suite_that_fails_does_not_keep_the_others_from_running(run, monkeypatch):
    monkeypatch.setattr("bigclip.evals.job.watch.time.sleep", lambda seconds: None)
    run.steps = [10, 20]
    attempts = []

    def fail(self, model):
        attempts.append(model.step)
        raise MemoryError("no room")

    monkeypatch.setattr("bigclip.evals.retrieval.suite.Retrieval.evaluate", fail)
    outcome = run.follow()
    assert run.lines() == [(20, "classes"), (10, "classes")]
    assert attempts == [20] * 3 + [10] * 3
    assert outcome.failed.keys() == {10, 20}
    assert outcome.failed[20] == "names: MemoryError: no room"


@pytest.mark.parametrize("kind", [FileNotFoundError, json.JSONDecodeError])
def test_a_manifest_that_vanishes_while_it_is_read(run, kind):
    """Between looking and reading, an old checkpoint may be removed, or be half removed."""
    run.steps = [10, 20]
    read = run.read_manifest

    def vanish(workdir, step):
        if step == 10 and 10 in run.steps:
            run.steps.remove(10)
            raise kind("gone") if kind is FileNotFoundError else kind("gone", "", 0)
        return read(workdir, step)

    run.read_manifest = vanish
    outcome = run.follow()
    assert {step for step, _ in run.lines()} == {20}
    assert outcome.failed == {}


def test_a_manifest_that_cannot_be_read_is_given_up(run, monkeypatch):
    monkeypatch.setattr("bigclip.evals.job.watch.time.sleep", lambda seconds: None)
    run.steps = [10, 20]
    read = run.read_manifest

    def damaged(workdir, step):
        if step == 20:
            raise OSError("the disk")
        return read(workdir, step)

    run.read_manifest = damaged
    outcome = run.follow()
    assert {step for step, _ in run.lines()} == {10}
    assert outcome.failed == {20: "OSError: the disk"}


def test_a_full_disk_ends_the_job_with_its_reason(run, monkeypatch):
    run.steps = [10]

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bigclip.evals.job.results.Results.add", full)
    with pytest.raises(ConfigError, match="cannot be written: .*No space left"):
        run.follow()


def test_a_page_that_cannot_be_written_is_no_reason_not_to_evaluate(run):
    run.steps = [10]

    def fail():
        raise KeyError("the page")

    assert run.follow(on_idle=fail).evaluated == 2


def test_a_restarted_trainer_that_saves_a_step_again_changes_nothing(run):
    run.steps = [10, 20]
    run.follow()
    run.steps = [10]
    run.follow()
    run.steps = [10, 20, 30]
    run.follow()
    assert len(run.lines()) == len(set(run.lines())) == 6


def test_gives_up_when_nothing_comes(run):
    outcome = run.follow(follow=True, timeout_seconds=0.05)
    assert outcome.timed_out
    with pytest.raises(ConfigError, match="holds no run"):
        wait_for_config(run.path, timeout_seconds=0.05, poll_seconds=0.01)


def test_suites_of_one_source_share_pictures_and_embeddings(run):
    first, second = suites.open_suites(run.evals)
    assert first._pictures[0] is second._pictures[0]


def test_definitions_follow_options_data_and_preprocessing(run, tmp_path):
    def definition(evals, size=16):
        return suites.open_suites(evals)[0].definition(Preprocess(size=size).to_dict())

    before = definition(run.evals)
    assert before == definition(run.evals)
    assert before != definition(run.evals, size=32)
    other = {"names": run.evals["names"] | {"group_by": "style"}}
    assert before != definition(other)
    written_out = {"names": run.evals["names"] | {"template": "{}"}}
    assert before == definition(written_out)  # a default is a default, written or not
    fakes.write_tar(tmp_path / "other.tar", ["fox", "owl"], ["noto"], seed=1)
    source = {"kind": "webdataset", "shards": [str(tmp_path / "other.tar")]}
    assert before != definition({"names": run.evals["names"] | {"source": source}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "retrival"}, "config.evals.names.suite: no choice 'retrival'"),
        ({"caption": ["name"]}, "unknown key 'caption' in config.evals.names"),
        ({"source": {"kind": "webdataset", "shards": ["/no.tar"]}}, "config.evals.names.source"),
        ({"source": {"kind": "webdataset"}}, "config.evals.names.source"),
        ({"where": {"style": "x"}}, "config.evals.names: where"),
        ({"weights": "average"}, "config.evals.names.weights: no choice 'average'"),
    ],
)
def test_mistakes_in_the_configuration_are_told(run, change, message):
    run.evals["names"] |= change
    with pytest.raises(ConfigError, match=message):
        suites.open_suites(run.evals)


def test_an_unknown_suite_is_told(run):
    with pytest.raises(ConfigError, match="no suite 'name'. Did you mean 'names'"):
        suites.open_suites(run.evals, only=["name"])
    with pytest.raises(ConfigError, match="source is missing"):
        suites.check_suites({"a": {"suite": "retrieval"}})
