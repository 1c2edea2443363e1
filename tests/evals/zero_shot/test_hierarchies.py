"""Parents of classes, as a configuration or a file gives them."""

import json

import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.evals.zero_shot.classes import Class
from bigclip.evals.zero_shot.hierarchies import chance_in, read_hierarchies

CLASSES = [Class(label, [label]) for label in ("owl", "fox", "hen")]
PARENTS = {"owl": "bird", "hen": "bird", "fox": "beast", "oak": "plant"}


def test_a_dict_and_files_of_it_are_one(tmp_path):
    whole, one = tmp_path / "whole.json", tmp_path / "one.json"
    whole.write_text(json.dumps({"kind": PARENTS}))
    one.write_text(json.dumps(PARENTS))
    for value in ({"kind": PARENTS}, {"kind": str(one)}, str(whole)):
        found = read_hierarchies(value, CLASSES)
        assert list(found) == ["kind"]
        owl, fox, hen = found["kind"]
        assert owl == hen != fox
        assert chance_in(found["kind"], np.array([0, 1])) == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert read_hierarchies(None, CLASSES) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/absent.json", r"hierarchy: cannot read /absent.json: there is no such file\.$"),
        (["bird"], r"hierarchy = \['bird'\]: needs a dict name -> dict"),
        (PARENTS, "hierarchy.owl = 'bird': needs a dict label -> parent, or a .json file"),
        ({"kind": ["bird"]}, "hierarchy.kind must be a dict label -> parent"),
        ({"kind": {"owl": "bird"}}, "hierarchy.kind: the class 'fox' has no parent"),
    ],
)
def test_mistakes_are_told(value, message):
    with pytest.raises(ConfigError, match=message):
        read_hierarchies(value, CLASSES)


@pytest.mark.parametrize("content", [PARENTS, ["bird"]])
def test_a_file_of_parents_alone_needs_a_name(tmp_path, content):
    (tmp_path / "parents.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="give the hierarchy a name: {NAME: '.*parents.json'}"):
        read_hierarchies(str(tmp_path / "parents.json"), CLASSES)
