"""Embedding a folder once, and what the cache spares."""

import os

import numpy as np
import pytest
import stand_ins
from stand_ins import ColourModel

from bigclip.serving.cache import EmbeddingCache, default_path, model_fingerprint
from bigclip.serving.embedding import BATCH_SIZE, embed_gallery
from bigclip.serving.galleries import FolderGallery


def embed(folder, model, path, **options):
    cache = EmbeddingCache(path, model_fingerprint(model))
    return embed_gallery(model, FolderGallery(str(folder)), cache, **options)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    stand_ins.fill_folder(place)
    return place


@pytest.mark.parametrize("trees", [False, True])
def test_only_what_is_new_is_embedded(folder, tmp_path, trees):
    path = tmp_path / "kept/e.npz"
    first = embed(folder, ColourModel(trees=trees), path)
    assert (len(first), first.num_kept, first.left_out) == (6, 0, [])
    second = (again := ColourModel(trees=trees)) and embed(folder, again, path)
    assert (again.num_images, second.num_kept) == (0, 6)
    leaf = (lambda found: found.outputs["emb"]) if trees else (lambda found: found.outputs)
    np.testing.assert_array_equal(leaf(first), leaf(second))

    (folder / "new.png").write_bytes(stand_ins.picture((7, 7, 7), noise=99))
    os.utime(folder / "red.png", ns=(0, 5))
    (folder / "blue.webp").unlink()
    third = (model := ColourModel(trees=trees)) and embed(folder, model, path)
    assert (model.num_images, third.num_kept, len(third)) == (2, 4, 6)
    names = [entry.name for entry in third.entries]
    assert names == sorted(names)
    assert "new.png" in names
    assert "blue.webp" not in names


def test_another_model_uses_nothing_of_it(folder, tmp_path):
    path = tmp_path / "e.npz"
    embed(folder, ColourModel(), path)
    other = ColourModel(weight=1.5)
    assert embed(folder, other, path).num_kept == 0
    assert other.num_images == 6
    assert model_fingerprint(ColourModel()) == model_fingerprint(ColourModel())
    resized = ColourModel()
    resized.preprocess = type(resized.preprocess)(size=9)
    assert model_fingerprint(resized) != model_fingerprint(ColourModel())


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_cache_is_made_again(folder, tmp_path, damage):
    path = tmp_path / "e.npz"
    embed(folder, ColourModel(), path)
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    assert embed(folder, ColourModel(), path).num_kept == 0
    assert embed(folder, ColourModel(), path).num_kept == 6


def test_bad_pictures_are_left_out_and_told(folder, tmp_path):
    (folder / "broken.png").write_bytes(stand_ins.picture((1, 2, 3))[:60])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "html.gif").write_bytes(b"<html>")
    (folder / "bomb.png").write_bytes(bomb())
    for _ in range(2):  # they are not kept as good ones either
        found = embed(folder, ColourModel(), tmp_path / "e.npz")
        assert len(found) == 6
        told = "\n".join(found.left_out)
        assert len(found.left_out) == 4
        for name in ("broken.png", "empty.jpg: has no bytes", "html.gif", "40000 x 40000 pixels"):
            assert name in told
        assert [found.entries[found.numbers.index(n)].name for n in found.numbers] == [
            entry.name for entry in found.entries
        ]
        assert found.read(0) == found.gallery.read(found.numbers[0])


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 40,000 x 40,000."""
    small = stand_ins.picture((0, 0, 0))
    return small[:16] + (40_000).to_bytes(4, "big") * 2 + small[24:]


def test_an_interruption_keeps_what_was_done(tmp_path):
    folder, path = tmp_path / "many", tmp_path / "e.npz"
    folder.mkdir()
    for number in range(BATCH_SIZE + 5):
        (folder / f"{number:03d}.png").write_bytes(stand_ins.picture((50, 60, 70), noise=number))

    def interrupt(done, total):
        assert (done, total) == (BATCH_SIZE, BATCH_SIZE + 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(folder, ColourModel(), path, on_progress=interrupt)
    told = []
    again = embed(folder, ColourModel(), path, on_progress=lambda *now: told.append(now))
    assert (again.num_kept, told) == (BATCH_SIZE, [(5, 5)])


def test_every_gallery_has_a_cache_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path("/a") != default_path("/b")
    assert default_path("/a").is_relative_to(tmp_path / "bigclip")
