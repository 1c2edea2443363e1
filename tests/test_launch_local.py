"""The launcher, where no run is needed: what it does is in test_kill_and_resume.py."""

import json

import pytest

from launch.local import has_suites


@pytest.mark.parametrize(
    ("evals", "expected"), [({}, False), (None, False), ({"a": {"suite": "health"}}, True)]
)
def test_a_run_without_suites_is_not_evaluated(tmp_path, evals, expected):
    (tmp_path / "config.json").write_text(json.dumps({"evals": evals, "seed": 0}))
    assert has_suites(tmp_path) is expected
