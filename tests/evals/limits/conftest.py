"""The sets of both casts, made once; lets the tests import what stands beside them."""

import sys
from pathlib import Path

import pytest

from bigclip.evals.limits.suite import Limits

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def limits():
    """Both suites, by the name of their cast."""
    return {objects: Limits(objects=objects, num_sets=24) for objects in ("shapes", "emoji")}
