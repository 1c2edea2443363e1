"""A server that the tests of this folder share; the stand-ins are a module beside this one."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import stand_ins

UPLOAD_BYTES = 200_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven pictures, one of them with a name like markup, and a secret beside the folder."""
    folder = tmp_path_factory.mktemp("pictures")
    stand_ins.fill_folder(folder)
    (folder / "<img src=x onerror=alert(1)>.png").write_bytes(stand_ins.picture((250, 250, 250)))
    (folder.parent / "secret.png").write_bytes(stand_ins.picture((66, 66, 66)))
    return folder


@pytest.fixture(scope="module")
def server(folder):
    """A `Running` server of these pictures."""
    with stand_ins.Running(stand_ins.search_in(folder), upload_bytes=UPLOAD_BYTES) as running:
        yield running
