"""Archives that torch wrote, read without it (goldens: make_torch_goldens.py)."""

import zipfile

import ml_dtypes
import numpy as np
import pytest
from archives import GOLDENS, call, number, state, storage, tensor, text, torch_file

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights


@pytest.mark.parametrize("file", ["state.pt", "scripted.pt", "traced.pt", "checkpoint.pt"])
def test_reads_what_torch_reads(file):
    """Windows on shared storages in any order of axes; TorchScript; a training checkpoint."""
    with np.load(GOLDENS / "expected.npz") as goldens:
        expected = {name.partition("/")[2]: goldens[name] for name in goldens if file in name}
    weights = open_weights(GOLDENS / file)
    assert set(weights) == set(expected)
    for name, array in expected.items():
        read = weights[name].read()
        assert (read.shape, read.dtype) == (weights[name].shape, weights[name].dtype)
        if name == "bfloat16":
            assert read.dtype == ml_dtypes.bfloat16
            read = read.astype(np.float32)
        assert (read.shape, read.dtype) == (array.shape, array.dtype), name
        assert read.tobytes() == array.tobytes(), name
        assert read.flags.owndata or read.base.flags.owndata
    if file == "checkpoint.pt":
        assert weights.metadata == {"epoch": "3", "name": "run"}


def test_names_of_modules_are_paths():
    assert list(open_weights(GOLDENS / "scripted.pt"))[-2:] == [
        "blocks.1.project.weight",
        "blocks.1.project.bias",
    ]


def test_refuses_a_pickle_without_an_archive_and_says_how_to_mend_it():
    with pytest.raises(ConfigError, match=r"before version 1\.6.*torch\.save\(torch\.load"):
        open_weights(GOLDENS / "legacy.pt")


def test_refuses_a_whole_model_by_the_name_of_its_class():
    with pytest.raises(ConfigError, match=r"'__main__\.Model'.*state_dict\(\)"):
        open_weights(GOLDENS / "whole_model.pt")


LAZY = call(
    "torch._utils._rebuild_tensor_v2",
    *(storage("0", 6), number(0), b"K\x06\x85", b"K\x01\x85", b"\x89", b"N"),
    b"}(" + text("neg") + b"\x88u",
)
SIX = np.arange(6, dtype=np.float32)


def opened(tmp_path, content, storages=None, **more):
    path = tmp_path / "x.pt"
    path.write_bytes(torch_file(content, storages or {"0": SIX.tobytes()}, **more))
    return open_weights(path)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_state_dict_of_a_training_checkpoint(tmp_path, key):
    inner = state(**{"module.w": tensor((2, 3), (3, 1))})[2:-1]
    beside = {"rng": tensor((6,), (1,)), "step": number(70_000), "done": b"\x88"}
    weights = opened(tmp_path, state(**beside, **{key: inner}))
    assert list(weights) == ["w"]  # all names have the prefix
    assert weights["w"].read().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert weights.metadata == {"step": "70000", "done": "True"}


def test_a_prefix_that_only_some_have_is_theirs(tmp_path):
    content = state(**{"module.w": tensor((6,), (1,)), "b": tensor((), ())})
    assert list(opened(tmp_path, content)) == ["module.w", "b"]


def test_what_lies_beside_is_passed_over(tmp_path):
    settings = call("argparse.Namespace") + b"}(" + text("lr") + number(1) + b"ub"
    pairs = b"](" + text("a") + b"K\x01\x86e"  # a list with one pair
    content = state(
        **{
            "w": tensor((6,), (1,)),
            "args": settings,
            "none": b"N",
            "list": b"](K\x01K\x02e",
            "set": call("builtins.set", b"]"),
            "path": call("pathlib.PosixPath", text("/"), text("etc")),
            "pairs": call("collections.OrderedDict", pairs),
            "numbered": b"}(K\x01K\x02u",
        }
    )
    weights = opened(tmp_path, content)
    assert list(weights) == ["w"]


def test_a_parameter_and_a_tensor_of_bytes(tmp_path):
    """torch writes what has no storage of its own (FP8) as bytes and a dtype."""
    view = call(
        "torch._utils._rebuild_tensor_v3",
        storage("0", 24, "Untyped"),
        *(number(2), b"K\x03\x85", b"K\x01\x85", b"\x89", call("collections.OrderedDict")),
        b"ctorch\nfloat8_e4m3fn\n",
    )
    parameter = call("torch._utils._rebuild_parameter", view, b"\x89", b"N")
    read = opened(tmp_path, state(w=parameter))["w"].read()
    assert read.dtype == ml_dtypes.float8_e4m3fn
    assert read.tobytes() == SIX.tobytes()[2:5]


def test_bytes_of_bools_are_made_bools(tmp_path):
    weights = opened(
        tmp_path, state(w=tensor((3,), (1,), length=3, kind="Bool")), {"0": b"\0\x02\xff"}
    )
    assert weights["w"].read().view(np.uint8).tolist() == [0, 1, 1]


def test_strides_of_an_axis_of_one_may_be_anything(tmp_path):
    weights = opened(tmp_path, state(w=tensor((1, 6), (1 << 59, 1))))
    assert weights["w"].read().tolist() == [SIX.tolist()]


def test_overlapping_windows_within_the_storage_are_read_as_torch_does(tmp_path):
    weights = opened(tmp_path, state(w=tensor((3, 2), (2, 1), offset=0), v=tensor((2, 2), (3, 2))))
    assert weights["v"].read().tolist() == [[0, 2], [3, 5]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor((2, 4), (4, 1)), "lies outside of its storage of 24 bytes"),
        (tensor((6,), (1,), offset=1), "lies outside"),
        (tensor((2,), (6,)), "lies outside"),
        (tensor((1,), (1,), offset=1 << 70), "lies outside"),
        (tensor((1,), (1,), offset=-1), "lies outside"),
        (tensor((2, 3), (-3, 1)), "no numbers from 0"),
        (tensor((-6,), (1,)), "no numbers from 0"),
        (tensor((1 << 62,), (0,)), "no numbers from 0"),
        (tensor((1 << 40, 1 << 40), (0, 0)), "shape of more than"),
        (tensor((1 << 40,), (0,)), r"share memory.*contiguous\(\)"),
        (tensor((6, 2), (1, 0)), "share memory"),
        (tensor((2, 3), (1,)), "2 axes and 1 strides"),
        (tensor((1,) * 33, (1,) * 33), "32 axes"),
        (tensor((6,), (1,), length=7), "claims 28 bytes and has 24"),
        (tensor((6,), (1,), length=-7), "claims -28 bytes"),
        (tensor((6,), (1,), key="../../etc/passwd"), "is not in the archive"),
        (tensor((6,), (1,), kind="QInt8"), "is no plain tensor"),
        (LAZY, "conjugated or negated lazily.*resolve_conj"),
        (call("torch._utils._rebuild_qtensor"), r"'torch._utils._rebuild_qtensor' is no plain"),
    ],
)
def test_refuses_windows_that_the_file_does_not_bear_out(tmp_path, value, message):
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, state(good=tensor((6,), (1,)), w=value))


@pytest.mark.parametrize(
    ("top", "message"),
    [
        (b"\x80\x02}.", "no tensors, and no state dict as state_dict, .* keys: none"),
        (state(a=b"K\x01"), "its keys: 'a'"),
        (b"\x80\x02].", "no state dict but a list"),
        (b"\x80\x02" + tensor((6,), (1,)) + b".", "no state dict but a single tensor"),
        (state(**{"\x1b[2J": tensor((6,), (1,))}), "control characters"),
        (state(**{"a" * 2000: tensor((6,), (1,))}), "has 2000 characters"),
        (state(**{"a/../../b": tensor((6,), (1,))}), "looks like a path outside"),
    ],
)
def test_refuses_what_is_no_state_dict(tmp_path, top, message):
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, top)


def test_refuses_a_big_endian_machine(tmp_path):
    with pytest.raises(ConfigError, match="big-endian"):
        opened(tmp_path, state(w=tensor((6,), (1,))), byteorder=b"big")


def test_a_flipped_bit_of_a_weight_is_found(tmp_path):
    content = bytearray(torch_file(state(w=tensor((6,), (1,))), {"0": SIX.tobytes()}))
    content[content.index(SIX.tobytes()) + 5] ^= 1
    (tmp_path / "x.pt").write_bytes(content)
    tensors = open_weights(tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="checksum.*damaged; copy it again"):
        tensors["w"].read()


def test_refuses_compressed_storages(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", state(w=tensor((6,), (1,))))
        archive.writestr("x/data/0", SIX.tobytes())
    with pytest.raises(ConfigError, match="is compressed, which torch cannot read either"):
        open_weights(tmp_path / "x.pt")


def test_says_so_when_the_file_has_changed_since(tmp_path):
    weights = opened(tmp_path, state(w=tensor((6,), (1,))))
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match="ends early; copy it again"):
        weights["w"].read()
