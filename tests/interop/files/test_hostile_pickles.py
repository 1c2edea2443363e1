"""Pickles made to do harm: refused by the name of what they want, and nothing is looked up."""

import os
import pickle
import struct

import numpy as np
import pytest
from archives import call, number, state, tensor, text, torch_file

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights, pickles
from bigclip.interop.files.pickle_calls import Module, Opaque, View
from bigclip.interop.files.pickles import read_pickle


class Harm:
    """What `pickle` would do: make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_code_in_a_state_dict(tmp_path, protocol):
    sentinel = tmp_path / "ran"
    content = pickle.dumps({"state_dict": {"w": Harm(sentinel)}}, protocol)
    (tmp_path / "x.pt").write_bytes(torch_file(content))
    with pytest.raises(ConfigError, match="'posix.mkdir'|operation (DICT|PUT|UNICODE)"):
        open_weights(tmp_path / "x.pt")
    assert not sentinel.exists()
    pickle.loads(content)  # so the attack is one
    assert sentinel.exists()


NAMES = [
    *(
        "os.system",
        "posix.system",
        "nt.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
    ),
    *("builtins.getattr", "builtins.__import__", "__builtin__.eval", "importlib.import_module"),
    *("operator.attrgetter", "operator.methodcaller", "functools.partial", "types.FunctionType"),
    *("torch.load", "torch.hub.load", "torch._utils._import_dotted_name", "torch.storage._load"),
    *("torch.serialization.load", "torch.ops.load_library", "torch.classes.load_library"),
    *("numpy.load", "numpy.testing._private.utils.runstring", "pip.main", "runpy.run_path"),
    *("collections.namedtuple", "pathlib.Path.unlink", "argparse.FileType", "__torch__"),
    *("torch.FloatStorage.from_file", "torch.Size.__class__", "bigclip.config.read_file", "a.b"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_outside_of_the_list_are_refused(name):
    content = b"\x80\x02" + call(name, text("id")) + b"."
    with pytest.raises(ConfigError, match="holds an object of .*never executed"):
        read_pickle(content, "x")
    module, _, attribute = name.rpartition(".")
    stacked = b"\x80\x04" + text(module) + text(attribute) + b"\x93" + text("id") + b"\x85R."
    with pytest.raises(ConfigError, match="holds an object of .*never executed"):
        read_pickle(stacked, "x")


def test_names_on_the_list_do_nothing_either(tmp_path):
    """None is looked up: a path stays no path, and modules' names need not exist."""
    content = b"\x80\x02](" + b"".join(
        (
            call("pathlib.PosixPath", text("/"), text("etc")),
            call("builtins.set", b"](K\x01e"),
            call("numpy.core.multiarray._reconstruct", text("x")),
            call("_codecs.encode", text("x"), text("rot13")),
            b"c__torch__.os\nsystem\n)\x81}(" + text("cmd") + text("id") + b"ub",
            b"e.",
        )
    )
    path, numbers, array, encoded, module = read_pickle(content, "x")
    assert {type(value) for value in (path, numbers, array, encoded)} == {Opaque}
    assert type(module) is Module
    assert module.attributes == {"cmd": "id"}


def test_what_is_read_of_a_tensor():
    view = read_pickle(b"\x80\x02" + tensor((2, 3), (3, 1), offset=5, length=99) + b".", "x")
    assert type(view) is View
    assert (view.offset, view.shape, view.strides) == (5, (2, 3), (3, 1))
    assert (view.storage.key, view.storage.length, view.dtype) == ("0", 99, np.dtype("f4"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "broken"),
        (b".", "broken"),
        (b"\x80\x02", "broken"),
        (b"N", "broken|no end"),
        (b"NN.", "objects left over"),
        (b"(.", "a mark where"),
        (b"t.", "broken"),
        (b"Ne.", "broken"),
        (b"N(Ne.", "items for a NoneType"),
        (b"}(NNNu.", "no pairs"),
        (b"](NNu.", "not for a dict"),
        (b"h\x00.", "broken"),
        (b"j\xff\xff\xff\xff.", "broken"),
        (b"(q\x00.", "a mark where"),
        (b"NNR.", "a NoneType where a tuple should be"),
        (b"N)R.", "a NoneType where a Name should be"),
        (b"N)\x81.", "a NoneType where a Name should be"),
        (b"N}b.", "attributes for a NoneType"),
        (b"NQ.", "a NoneType where a tuple should be"),
        (b"(NNNNNtQ.", "no storage"),
        (b"ctorch\nFloatStorage\n)R.", "is called"),
        (b"ctorch\nfloat32\n)R.", "is called"),
        (call("torch._utils._rebuild_tensor_v2") + b".", "broken"),
        (call("torch._utils._rebuild_tensor_v2", b"NNNN") + b".", "broken"),
        (call("torch._utils._rebuild_tensor_v3", b"N" * 7) + b".", "broken"),
        (call("torch._tensor._rebuild_from_type_v2", b"NNNN") + b".", "broken"),
        (call("collections.OrderedDict", b"](](NNNee") + b".", "broken"),
        (call("collections.OrderedDict", b"](K\x01e") + b".", None),
        (b"}(" + text("a") + b"N" + text("a") + b"Nu.", "'a' stands in a dict twice"),
        (b"\x8b\x01\x00\x00\x00\x01.", "operation LONG4"),
        (b"I01\n.", "operation INT"),
        (b"L" + b"9" * 100_000 + b"L\n.", "broken|operation LONG"),
        (b"S'\\x'\n.", "broken|operation STRING"),
        (b"P1\n.", "operation PERSID"),
        (b"(cos\nsystem\no.", "'os.system'|operation"),
        (b"(S'id'\nios\nsystem\n.", "operation"),
        (b"\x82\x01.", "operation EXT1"),
        (b")\x92.", "operation NEWOBJ_EX"),
        (b"N2.", "operation DUP"),
        (b"\x97.", "operation NEXT_BUFFER"),
        (b"X\xff\xff\xff\xffabc.", "broken"),
        (b"\x8d" + b"\xff" * 8 + b".", "broken"),
        (b"\x8e" + struct.pack("<Q", 1 << 62) + b".", "broken"),
        (b"\x96" + struct.pack("<Q", 1 << 62) + b".", "broken"),
        (b"\xff.", "broken"),
        (b"X\x01\x00\x00\x00\xff.", "broken"),
        (b"cos\xff\nsystem\n.", "broken"),
    ],
)
def test_broken_programs(content, message):
    if message is None:
        assert read_pickle(content, "x") == {}
    else:
        with pytest.raises(ConfigError, match=message):
            read_pickle(content, "x")


DEPTH = 50_000


@pytest.mark.parametrize(
    "content",
    [
        b")" + b"\x85" * DEPTH + b".",  # tuples in tuples
        b"]" * DEPTH + b"a" * (DEPTH - 1) + b".",  # lists in lists
        (b"}" + text("a")) * DEPTH + b"N" + b"s" * DEPTH + b".",  # dicts in dicts
        (b"c__torch__\nA\n)\x81}" + text("a")) * (DEPTH // 10)
        + b"N"
        + b"sb" * (DEPTH // 10)
        + b".",
        b"]q\x00h\x00a.",  # a list in itself
        state(state_dict=b"}q\x00" + text("model") + b"h\x00s"),  # a dict in itself
        state(w=tensor((2,), (1,)), deep=b")" + b"\x85" * DEPTH),
    ],
)
def test_depth_and_cycles_do_no_harm(tmp_path, content):
    """They are read, or refused; and let go of, which for deep objects is an art of its own."""
    storages = {"0": bytes(24)}
    (tmp_path / "x.pt").write_bytes(torch_file(content.removeprefix(b"\x80\x02"), storages))
    if b"deep" in content:
        assert list(open_weights(tmp_path / "x.pt")) == ["w"]
    else:
        with pytest.raises(ConfigError):
            open_weights(tmp_path / "x.pt")


def deep_shape(inside: bytes) -> bytes:
    return call(
        "torch._utils._rebuild_tensor_v2",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x06tQ",
        b"K\x00",
        b"(" + inside + b"t" + b"(K\x01t" + b"\x89N",
    )


@pytest.mark.parametrize("inside", [b")" + b"\x85" * DEPTH, b"]q\x00h\x00a", number(1 << 2000)])
def test_a_shape_that_cannot_be_printed(tmp_path, inside):
    (tmp_path / "x.pt").write_bytes(torch_file(state(w=deep_shape(inside)), {"0": bytes(24)}))
    with pytest.raises(ConfigError, match="no numbers from 0"):
        open_weights(tmp_path / "x.pt")


def test_calls_that_nest_calls():
    """A tensor's subclass names the function that makes it: not this one again."""
    one = b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00"
    arguments = b"h\x00ctorch\nTensor\n" + b")" + b"N"
    content = one + b"(" + arguments + b"tR."
    assert isinstance(read_pickle(content, "x"), Opaque)


def doubled(levels: int) -> bytes:
    """A module with two names for one module, which has two names for one, ..."""
    below = doubled(levels - 1) if levels else b"c__torch__\nA\n)\x81"
    memo = bytes([levels])
    return (
        b"c__torch__\nA\n)\x81}("
        + text("a")
        + below
        + b"q"
        + memo
        + text("b")
        + b"h"
        + memo
        + b"ub"
    )


def test_modules_that_multiply(tmp_path, monkeypatch):
    """Forty levels are 1,000 bytes and would be a trillion names; a hundred are nested too deep."""
    monkeypatch.setattr("bigclip.interop.files.torch_reading.MAX_TENSORS", 1000)
    for levels in (40, 100):
        (tmp_path / "x.pt").write_bytes(torch_file(doubled(levels) + b"."))
        with pytest.raises(ConfigError, match="nested without end"):
            open_weights(tmp_path / "x.pt")
    # Wide instead of deep: each of sixteen levels has its 60 numbers and 20 names of the next.
    wide, memo = b"c__torch__\nA\n)\x81", b"q\x00"
    for _ in range(16):
        numbers = b"".join(text(f"n{i}") + b"K\x01" for i in range(60))
        names = b"".join(text(f"m{i}") + b"h\x00" for i in range(20))
        wide = b"c__torch__\nA\n)\x81}(" + numbers + text("m") + wide + memo + names + b"ub"
    (tmp_path / "x.pt").write_bytes(torch_file(wide + b"."))
    with pytest.raises(ConfigError, match="nested without end"):
        open_weights(tmp_path / "x.pt")
    cycle = b"c__torch__\nA\n)\x81q\x00}" + text("a") + b"h\x00sb."
    (tmp_path / "x.pt").write_bytes(torch_file(cycle))
    with pytest.raises(ConfigError, match="nested without end"):
        open_weights(tmp_path / "x.pt")


def test_names_of_modules_are_short(tmp_path):
    inner = b"c__torch__\nA\n)\x81}(" + text("b" * 600) + tensor((6,), (1,)) + b"ub"
    outer = b"c__torch__\nA\n)\x81}(" + text("a" * 600) + inner + b"ub."
    (tmp_path / "x.pt").write_bytes(torch_file(outer, {"0": bytes(24)}))
    with pytest.raises(ConfigError, match="a name of more than 1024 characters"):
        open_weights(tmp_path / "x.pt")


def test_bounds_on_length(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_OPERATIONS", 100)
    with pytest.raises(ConfigError, match="more than 100 operations"):
        read_pickle(b"N" * 102, "x")
    monkeypatch.setattr(pickles, "MAX_BYTES", 100)
    with pytest.raises(ConfigError, match="a pickle of 101 bytes; 100 are read"):
        read_pickle(bytes(101), "x")
