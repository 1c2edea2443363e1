"""New files and folders appear whole, or not at all."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from bigclip.config import ConfigError
from bigclip.interop.atomic import new_file, new_folder


def test_file_appears_when_the_block_ends(tmp_path):
    dest = tmp_path / "made" / "model.safetensors"
    with new_file(dest) as path:
        # Libraries look at suffixes; and a rename is only whole within one folder.
        assert (path.suffix, path.parent) == (dest.suffix, dest.parent)
        assert not path.exists()
        path.write_bytes(b"all")
        assert not dest.exists()
    assert dest.read_bytes() == b"all"
    assert os.listdir(dest.parent) == [dest.name]


def test_folder_appears_when_the_block_ends(tmp_path):
    dest = tmp_path / "model"
    with new_folder(dest) as path:
        (path / "deep").mkdir()
        (path / "deep" / "config.json").write_text("{}")
        (path / "link").symlink_to("nowhere")
        assert not dest.exists()
    assert (dest / "deep" / "config.json").read_text() == "{}"
    assert (dest / "link").is_symlink()
    assert os.listdir(tmp_path) == [dest.name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_what_failed(tmp_path, error):
    def fill(new):
        with new(tmp_path / "model.npz") as path:
            (path if new is new_file else path / "part").write_bytes(b"half")
            raise error

    for new in (new_file, new_folder):
        with pytest.raises(error):
            fill(new)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("new", [new_file, new_folder])
def test_what_exists_stays(tmp_path, new):
    dest = tmp_path / "model.npz"
    dest.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="exists: remove it"), new(dest):
        pytest.fail("began to work")
    assert os.listdir(tmp_path) == [dest.name]


@pytest.mark.parametrize("new", [new_file, new_folder])
def test_what_appeared_meanwhile_stays(tmp_path, new):
    dest = tmp_path / "model.npz"

    def work():
        with new(dest) as path:
            (path if new is new_file else path / "part").write_bytes(b"mine")
            dest.write_bytes(b"another's")

    with pytest.raises(ConfigError, match="exists: remove it"):
        work()
    assert dest.read_bytes() == b"another's"
    assert os.listdir(tmp_path) == [dest.name]


def test_refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be made"), new_file(tmp_path / "file" / "x.npz"):
        pytest.fail("began to work")


def test_a_block_that_wrote_nothing_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="nothing was written"), new_file(tmp_path / "x.npz"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_destination(tmp_path):
    script = (
        "import sys, time\nfrom bigclip.interop.atomic import new_file\n"
        "with new_file(sys.argv[1]) as path:\n"
        "    path.write_bytes(b'half'); print('writing', flush=True); time.sleep(60)\n"
    )
    dest = tmp_path / "model.npz"
    root = pathlib.Path(__file__).parent.parent.parent
    job = subprocess.Popen(
        [sys.executable, "-c", script, dest], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert job.stdout.readline() == "writing\n"
    job.send_signal(signal.SIGKILL)
    job.communicate()
    names = os.listdir(tmp_path)
    assert len(names) == 1
    assert names[0].startswith(".model.partial-")
