"""A run for the tests of the report; lets them import the helpers beside them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import write_run


@pytest.fixture
def workdir(tmp_path):
    """A complete run with two kinds of suites."""
    return write_run(tmp_path)
