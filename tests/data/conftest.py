"""Little shards with real pictures, made where they are needed."""

import io
import json
import tarfile

import numpy as np
import PIL.Image
import pytest

from bigclip.data.tokenizer import train_tokenizer

WORDS = ("fox", "owl", "red", "blue", "house", "tree", "moon", "boat", "cup", "key")


def encode_picture(pixels, extension="png", **options):
    """Encode uint8 pixels (or a Pillow image) by the name of a file extension."""
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, {"jpg": "JPEG"}.get(extension, extension.upper()), **options)
    return file.getvalue()


def make_sample(number, *, extension="webp"):
    """Return the members of one good sample: extension -> bytes. The colour tells the number."""
    pixels = np.zeros((20, 24, 3), np.uint8)
    pixels[:] = number % 251, number // 251, 128
    name = f"{WORDS[number % 10]} {WORDS[number // 10 % 10]}"
    captions = {"name": [name], "keywords": sorted({WORDS[number % 7], WORDS[number % 9]})}
    return {
        extension: encode_picture(pixels, extension),
        "txt": f"{name} {number}".encode(),
        "json": json.dumps({"captions": captions, "number": number}).encode(),
    }


def write_tar(path, members, *, format=tarfile.USTAR_FORMAT):
    """Write (name, bytes) pairs as a tar."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.fixture
def write_shards(tmp_path):
    """Write shards of good samples; `change(number, members)` may spoil them in place."""

    def write(*counts, change=None):
        number, paths = 0, []
        for shard, count in enumerate(counts):
            members = []
            for _ in range(count):
                parts = make_sample(number)
                if change is not None:
                    change(number, parts)
                members += [(f"{number:06d}.{end}", content) for end, content in parts.items()]
                number += 1
            paths.append(write_tar(tmp_path / f"part-{shard:03d}.tar", members))
        return paths

    return write


@pytest.fixture
def tar_writer():
    return write_tar


@pytest.fixture
def sample_maker():
    return make_sample


@pytest.fixture
def picture_encoder():
    return encode_picture


@pytest.fixture(scope="session")
def tokenizer():
    """One of the words that samples are captioned with."""
    return train_tokenizer([" ".join(WORDS)] * 3, vocab_size=330, context_length=16)


@pytest.fixture
def pictures(tmp_path, sample_maker):
    """Six pictures in tmp_path/photos, as files and as bytes."""
    (tmp_path / "photos").mkdir()
    contents = [sample_maker(number, extension="png")["png"] for number in range(6)]
    for number, content in enumerate(contents):
        (tmp_path / "photos" / f"{number}.png").write_bytes(content)
    return contents
