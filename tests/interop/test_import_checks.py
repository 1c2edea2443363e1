"""What an import refuses before it reads an array: parts that do not fit each other."""

import weakref

import numpy as np
import pytest
from random_models import bring_in, small_tokenizer
from toy_format import toy

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.files import Spec, write_npz
from bigclip.interop.format import Imported
from bigclip.interop.import_checks import check_layers, check_tokenizer
from bigclip.interop.importing import _Source
from bigclip.interop.mapping import Row, links
from bigclip.models import architecture

ARCH = architecture("tiny-clip", text={"vocab_size": 300})


class File(dict):
    """Stands for `Weights`: what has a shape, by name."""

    path = "the file"


def imported(arrays=(), rows=(), *, tokenizer=None, arch=ARCH, **more):
    given = {"loss": "softmax", "preprocess": None, "tokenizer": tokenizer}
    return Imported(weights=File(arrays), rows=rows, architecture=arch, **given | more)


def tokenizer(**changes):
    return Tokenizer.from_dict({**small_tokenizer(11).to_dict(), **changes})


def test_a_table_may_have_more_rows_than_there_are_ids():
    given = small_tokenizer(11)
    for rows in (given.vocab_size, 50_000):
        arch = architecture(ARCH, text={"vocab_size": rows})
        check_tokenizer(imported(tokenizer=given), arch)
    check_tokenizer(imported(tokenizer=small_tokenizer(5)), ARCH)  # shorter texts


@pytest.mark.parametrize(
    ("change", "rows", "told"),
    [
        ({}, 299, r"ids up to 299, and .* has 299 rows.*--tokenizer"),
        ({"pad": 300}, 300, r"ids up to 300, and .*--tokenizer"),
        ({"pad": -1}, 300, "pad = -1 is no id: .* from 0 to 299"),
        ({"sot": 1.5}, 300, "sot = 1.5 is no id"),
        ({"context_length": 12}, 300, "texts of 12 ids, and the model takes 11"),
    ],
)
def test_tokenizers_of_other_models(change, rows, told):
    given = imported(tokenizer=tokenizer(**change))
    with pytest.raises(ConfigError, match=told):
        check_tokenizer(given, architecture(ARCH, text={"vocab_size": rows}))
    # Where there is no text tower, the text part is a default that nobody reads.
    alone = given._replace(towers=("image",))
    check_tokenizer(alone, architecture(ARCH, text={"vocab_size": rows}))


def test_an_import_makes_these_checks(tmp_path, monkeypatch):
    file = tmp_path / "x.npz"
    write_npz(file, {"w": Spec((1,), np.dtype("f4"))}, [("w", np.zeros(1, np.float32))])
    monkeypatch.setattr("toy_format._TOKENIZER", [small_tokenizer(11, vocab_size=301)])
    with pytest.raises(ConfigError, match="ids up to 300"):
        bring_in(toy(), file, tmp_path / "m")
    monkeypatch.setattr("toy_format._TOKENIZER", [small_tokenizer(11)])
    with pytest.raises(ConfigError, match="of the 2 layers of its image tower, .* for 2"):
        bring_in(toy(), file, tmp_path / "m")
    assert not (tmp_path / "m").exists()


LAYERS = (Row("image/block_{}/a", "v.{}.a"), Row("text/block_{}/a", "t"))


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({}, r"of the 3 layers of its image tower, .* for 3 \(image/block_00"),
        ({"v.0.a": (4,), "v.2.a": (4,)}, r"nothing for 1 \(image/block_01 is the first"),
        ({"v.0.a": (4,), "v.1.a": (4,), "v.2.a": (4,)}, "of the 2 layers of its text tower"),
        ({"v.0.a": (4,), "v.1.a": (4,), "v.2.a": (4,), "t": (3, 4)}, "its text tower"),
        ({"v.0.a": (4,), "v.1.a": (4,), "v.2.a": (4,), "t": (2, 4)}, None),
    ],
)
def test_every_layer_is_there(arrays, told):
    held = {name: np.zeros(shape, np.float32) for name, shape in arrays.items()}
    if told is None:
        return check_layers(imported(held, LAYERS), ARCH)
    with pytest.raises(ConfigError, match=told):
        check_layers(imported(held, LAYERS), ARCH)


def test_every_block_of_a_resnet_is_there():
    arch = architecture("tiny-rn")  # stages of 1, 2, 1 and 1 blocks
    names = [f"image/stage_{stage}/block_00/a" for stage in range(4)]
    held = dict.fromkeys(names, np.zeros(1))
    rows = [Row(name, name) for name in (*names, "image/stage_1/block_01/a")]
    given = imported(held, rows, towers=("image",))
    with pytest.raises(ConfigError, match="of the 5 layers .* for 1 .image/stage_1/block_01 is"):
        check_layers(given, arch)
    # What is computed need not be in the file.
    check_layers(given._replace(extra={"image/stage_1/block_01/a": None}), arch)


class Counted:
    """A tensor of a file that knows how many of its arrays are alive."""

    alive, most = 0, 0

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def read(self):
        array = self.array.copy()
        weakref.finalize(array, self.gone)
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)
        return array

    @staticmethod
    def gone():
        Counted.alive -= 1


def test_one_array_of_the_file_is_held_at_a_time():
    arrays = {"t": np.arange(8.0).reshape(2, 4).astype(np.float16), "p": np.ones((4, 2), "f4")}
    rows = (Row("text/block_{}/a", "t"), Row(("text/q", "text/k"), "p", "transpose"))
    given = imported({name: Counted(array) for name, array in arrays.items()}, rows)
    source = _Source(given, links(rows, ARCH), {"text/sum": lambda read: read("t").sum()})
    order = ("text/block_00/a", "text/q", "text/k", "text/sum", "text/block_01/a")
    found = {name: np.array(source(name)) for name in order}
    assert Counted.most == 1
    np.testing.assert_array_equal(found["text/block_01/a"], [4, 5, 6, 7])
    np.testing.assert_array_equal(found["text/k"], np.ones((2, 2)))
    assert (found["text/sum"], {one.dtype for one in found.values()}) == (28, {np.dtype("f4")})
