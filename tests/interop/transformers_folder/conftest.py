"""Puts the texts that tokenizers are tried on within reach: they lie with the tests of the data."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "data"))
