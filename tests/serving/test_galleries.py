"""Which pictures are found, and that nothing else can be read."""

import os

import pytest
import stand_ins

from bigclip.config import ConfigError
from bigclip.serving.galleries import FolderGallery, open_evaluation, open_shards


def names(gallery):
    return [gallery.look(number).name for number in range(len(gallery))]


def test_a_folder_is_searched_deeply_and_in_order(tmp_path):
    stand_ins.fill_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/secret.png").write_bytes(b"")
    (tmp_path / ".dot.png").write_bytes(b"")
    (tmp_path / "UPPER.JPG").write_bytes(b"x")
    gallery = FolderGallery(str(tmp_path))
    assert names(gallery) == [
        "UPPER.JPG", "blue.webp", "deep/er/green.jpeg", "deep/er/grey.webp", "deep/er/yellow.png",
        "pink.jpeg", "red.png",
    ]  # fmt: skip
    assert gallery.read(6) == (tmp_path / "red.png").read_bytes()


def test_links_that_leave_the_folder_are_no_pictures(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "in-other"  # a common prefix is no common folder
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.png").write_bytes(stand_ins.picture((1, 2, 3)))
    (inside / "own.png").write_bytes(stand_ins.picture((4, 5, 6)))
    (inside / "out.png").symlink_to(outside / "secret.png")
    (inside / "folder").symlink_to(outside)
    (inside / "round").symlink_to(inside)
    (inside / "also_own.png").symlink_to(inside / "own.png")
    (inside / "lost.png").symlink_to(inside / "nowhere.png")
    os.mkfifo(inside / "pipe.png")
    gallery = FolderGallery(str(inside))
    assert names(gallery) == ["also_own.png", "own.png"]
    assert gallery.read(0) == gallery.read(1)
    # What is exchanged afterwards is not followed either, nor waited for.
    (inside / "own.png").unlink()
    (inside / "own.png").symlink_to(outside / "secret.png")
    with pytest.raises(OSError, match="leads out"):
        gallery.read(1)
    (inside / "own.png").unlink()
    os.mkfifo(inside / "own.png")
    with pytest.raises(OSError, match="no plain file"):
        gallery.read(1)


def test_names_that_are_no_text_can_be_shown(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9 <b>.png"
    with open(path, "wb") as file:
        file.write(stand_ins.picture((9, 9, 9)))
    gallery = FolderGallery(str(tmp_path))
    assert names(gallery) == ["caf\ufffd <b>.png"]
    assert gallery.read(0).startswith(b"\x89PNG")


def test_a_key_changes_with_the_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(stand_ins.picture((1, 1, 1)))
    os.utime(path, ns=(0, 0))
    before = FolderGallery(str(tmp_path)).look(0).key
    os.utime(path, ns=(0, 1))
    assert FolderGallery(str(tmp_path)).look(0).key != before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "does not exist"),
        (lambda folder: folder, "no picture lies in"),
        (lambda folder: folder / "file.txt", "is a file"),
    ],
)
def test_folders_without_pictures_are_told(tmp_path, make, message):
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ConfigError, match=message):
        FolderGallery(str(make(tmp_path)))


def test_shards_and_evaluation_sets(shards):
    gallery = open_shards(shards)
    assert len(gallery) == 48
    entry = gallery.look(1)
    assert (entry.name, entry.label) == ("red bar", "red bar")
    # The same picture in both shards has one key, wherever it lies.
    assert len({gallery.look(number).key for number in range(48)}) <= 48
    source = {"kind": "webdataset", "shards": shards}
    evals = {"limits": {"suite": "limits"}, "mine": {"suite": "retrieval", "source": source}}
    found = open_evaluation({"evals": evals})
    assert (len(found), found.title) == (48, "evaluation set mine")
    with pytest.raises(ConfigError, match="--pictures FOLDER"):
        open_evaluation({"evals": {"limits": {"suite": "limits"}}})
    lost = {"mine": {"source": {"kind": "webdataset", "shards": "/nowhere/x.tar"}}}
    with pytest.raises(ConfigError, match=r"'mine'.*--pictures FOLDER"):
        open_evaluation({"evals": lost})
    with pytest.raises(ConfigError, match="--shards: "):
        open_shards("/nowhere/*.tar")
