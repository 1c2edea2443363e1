"""Opening suites: the sets that they take, and the steps at which they run."""

import json
from typing import Any

import fakes
import pytest

from bigclip.config import ConfigError
from bigclip.evals import suites
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.records import read_records
from bigclip.evals.sets import EvalSet


class Counting:
    """A suite of two or three sets."""

    kind = "counting"

    def __init__(
        self, test: EvalSet, train: EvalSet, val: EvalSet | None = None, *, shots: int = 1
    ):
        self.sizes = {
            name: len(one.records.index)
            for name, one in (("test", test), ("train", train), ("val", val))
            if one is not None
        }
        self.shots = shots

    def evaluate(self, model: Any) -> Evaluation:
        return Evaluation({}, {}, {"images": self.sizes["test"]}, {})


@pytest.fixture
def block(tmp_path, monkeypatch):
    """The block of a suite with two sets over one source."""
    monkeypatch.setitem(suites.SUITES, "counting", Counting)
    fakes.write_tar(tmp_path / "a.tar", ["fox", "owl", "cat"], ["noto", "twemoji"])
    source = {"kind": "webdataset", "shards": [str(tmp_path / "a.tar")]}
    return {
        "suite": "counting",
        "source": source,
        "where": {"style": "noto", "concept": ["fox", "owl"]},
        "train": {"source": source},
    }


def opened(block):
    (suite,) = suites.open_suites({"name": block})
    return suite


def test_sets_are_those_that_the_constructor_names(block):
    assert suites.set_parameters(Counting) == {"test": True, "train": True, "val": False}
    suite = opened(block)
    assert suite._run.sizes == {"test": 2, "train": 6}
    assert len(suite._pictures) == 1  # one source, decoded once
    val = {"source": block["source"], "where": {"style": "twemoji"}}
    assert opened(block | {"val": val})._run.sizes == {"test": 2, "train": 6, "val": 3}


def test_every_set_is_part_of_the_definition(block):
    def definition(**changes):
        return opened(block | changes).definition({})

    val = {"source": block["source"]}
    found = [
        definition(),
        definition(where={"style": "noto"}),
        definition(train={"source": block["source"], "where": {"style": "noto"}}),
        definition(val=val),
        definition(shots=2),
    ]
    assert len(set(found)) == len(found)
    assert definition() == definition(every_steps=5)  # when it runs does not change what it says


def test_options_that_change_no_number_are_not_part_of_the_definition(block):
    retrieval = {"suite": "retrieval", "source": block["source"], "captions": ["name"]}

    def definition(**changes):
        return opened(retrieval | changes).definition({})

    assert definition() == definition(tile=64, num_examples=2, num_candidates=3)
    assert definition() != definition(template="a {}")


@pytest.mark.parametrize("name", ["a/b", "../a", "", "a b"])
def test_names_of_suites_become_names_of_files(block, name):
    with pytest.raises(ConfigError, match="becomes the name of files"):
        suites.check_suites({name: block})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {}}, r"config.evals.name.train.source is missing"),
        ({"train": 3}, r"config.evals.name.train must be a block"),
        ({"train": {"source": {}, "wher": {}}}, "unknown key 'wher' in config.evals.name.train"),
        ({"val": {"where": {}}}, r"config.evals.name.val.source is missing"),
        ({"vali": {}}, "unknown key 'vali' in config.evals.name"),
        ({"every_steps": -1}, "every_steps must be a number"),
        ({"every_steps": "last"}, "every_steps must be a number"),
    ],
)
def test_mistakes_are_told_before_data_is_read(block, changes, message):
    with pytest.raises(ConfigError, match=message):
        suites.check_suites({"name": block | changes})


def test_what_is_read_from_files_is_part_of_the_definition(tmp_path, block):
    names = tmp_path / "names.json"
    zero_shot = {"suite": "zero_shot", "source": block["source"], "classes": str(names)}
    found = []
    for fox in ("fox", "red fox", "fox"):
        names.write_text(json.dumps({"fox": fox, "owl": "owl", "cat": "cat"}))
        found.append(opened(zero_shot).definition({}))
    assert found[0] == found[2] != found[1]


def test_half_samples_are_not_left_out_in_silence(tmp_path, caplog):
    class Lossy(list):
        num_lost, faults = 2, ["a.tar: 000003 has no picture"]

    with caplog.at_level("WARNING", logger="absl"):
        read_records(Lossy(fakes.make_source(["fox"], ["noto"])[0]))
    assert "000003 has no picture" in caplog.text


def test_what_a_set_holds_is_checked(block):
    block["train"]["where"] = {"style": "openmoji"}
    with pytest.raises(ConfigError, match="config.evals.name.train: where"):
        opened(block)


def test_steps_at_which_a_suite_runs(block):
    always, fives, last = (
        opened(block | changes) for changes in ({}, {"every_steps": 5}, {"every_steps": 0})
    )
    steps = range(1, 12)
    assert all(always.wants(step, is_last=False) for step in steps)
    assert [s for s in steps if fives.wants(s, is_last=s == 11)] == [5, 10, 11]
    assert [s for s in steps if last.wants(s, is_last=s == 11)] == [11]
