"""The stand-ins of these tests are a module beside them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
