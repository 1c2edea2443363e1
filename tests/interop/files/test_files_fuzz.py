"""Random damage: a file of weights is read rightly or refused with ConfigError, and nothing else.

The same files go through a process that may take little memory and whose audit hook ends it if
anything is executed, unpickled or opened elsewhere.
"""

import contextlib
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from archives import (
    GOLDENS,
    call,
    npy_header,
    number,
    numbers,
    odd_arrays,
    safetensors_file,
    specs_of,
    state,
    storage,
    tensor,
    text,
    torch_file,
    zip_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights, write_npz, write_safetensors, write_torch
from bigclip.interop.files.pickles import read_pickle

WRITERS = {"safetensors": write_safetensors, "pt": write_torch, "npz": write_npz}
SMALL = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.c": np.array(7, np.int64)}
bounded = settings(
    max_examples=60,
    deadline=2000,  # milliseconds
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Good files of each kind, as bytes; and where to write bad ones."""
    folder = tmp_path_factory.mktemp("fuzz")
    made = {"scripted": (GOLDENS / "scripted.pt").read_bytes()}
    for kind, write in WRITERS.items():
        write(folder / kind, specs_of(SMALL), SMALL.items())
        made[kind] = (folder / kind).read_bytes()
    np.savez_compressed(folder / "packed.npz", **SMALL)
    made["packed"] = (folder / "packed.npz").read_bytes()
    return folder / "x", made


def outcome(path, content):
    """All arrays, or None where the file is refused."""
    path.unlink(missing_ok=True)  # to write over a file may wait for the disk
    path.write_bytes(content)
    try:
        return {name: tensor.read() for name, tensor in open_weights(path).items()}
    except ConfigError as error:
        message = str(error)
    assert str(path) in message
    assert message.isprintable()
    return None


@pytest.mark.parametrize("kind", [*WRITERS, "packed"])
def test_cut_off_anywhere(files, kind):
    path, made = files
    for length in range(0, len(made[kind]), 1 if kind == "safetensors" else 3):
        assert outcome(path, made[kind][:length]) is None


@pytest.mark.parametrize("kind", [*WRITERS, "packed", "scripted"])
def test_flipped_bits(files, kind):
    path, made = files

    @bounded
    @given(st.lists(st.integers(0, 8 * len(made[kind]) - 1), min_size=1, max_size=4))
    def check(bits):
        content = bytearray(made[kind])
        for bit in bits:
            content[bit // 8] ^= 1 << bit % 8
        read = outcome(path, bytes(content))
        # What a file says is bounded by what it holds.
        assert sum(array.nbytes for array in (read or {}).values()) <= 4 * len(content)

    check()


@pytest.mark.parametrize("kind", [*WRITERS, "packed", "scripted"])
def test_spliced_bytes(files, kind):
    path, made = files

    @bounded
    @given(st.integers(0, len(made[kind])), st.integers(0, 40), st.binary(max_size=40))
    def check(start, length, piece):
        content = made[kind][:start] + piece + made[kind][start + length :]
        read = outcome(path, content)
        assert sum(array.nbytes for array in (read or {}).values()) <= 4 * len(content)

    check()


@bounded
@given(
    st.sampled_from(
        [b"", b"PK\x03\x04", b"PK\x05\x06", b'{"weight_map":', bytes(8) + b"{", b"\x80"]
    ),
    st.binary(max_size=200),
)
def test_random_bytes(tmp_path, beginning, content):
    assert outcome(tmp_path / "x", beginning + content) is None


PIECES = [
    *(bytes([code]) for code in b"()]}NtQRubae0qh.\x81\x85\x86\x87\x88\x89\x8a\x93\x94\x8f\x90"),
    *(b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"\x94", b"K\x03", b"J\xff\xff\xff\xff"),
    *(text("w"), text("state_dict"), text("storage"), text("0"), text("os"), number(1 << 62)),
    *(b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n", b"c__torch__\nA\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n"),
    *(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\nSize\n", b"cos\nsystem\n"),
    *(storage("0", 6), tensor((2, 3), (3, 1)), numbers((2, 3)), b"}(" + text("w"), b"\x8c\x01w"),
]


@settings(bounded, max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_random_operations(pieces):
    with contextlib.suppress(ConfigError):
        read_pickle(b"".join(pieces) + b".", "x")


@settings(bounded, max_examples=100)
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_random_operations_as_a_tensor(tmp_path, pieces):
    outcome(tmp_path / "x", torch_file(state(w=b"".join(pieces)), {"0": bytes(24)}))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def without_other_keys(value):
    if isinstance(value, dict):
        return {k: without_other_keys(v) for k, v in value.items() if isinstance(k, str)}
    if isinstance(value, list | tuple):
        return type(value)(map(without_other_keys, value))
    return value


@settings(bounded, max_examples=100)
@given(plain, st.sampled_from([2, 4]))
def test_plain_data_is_what_pickle_reads(value, protocol):
    """Against Python's own machine, on what it is safe to give to it."""
    content = pickle.dumps(value, protocol)
    assert repr(read_pickle(content, "x")) == repr(without_other_keys(value))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
lengths = st.lists(st.integers(0, 4) | st.integers(), max_size=3) | json_values
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BF16", "BOOL"]) | json_values,
        "shape": lengths,
        "data_offsets": lengths,
    }
)


@settings(bounded, max_examples=100)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "\x07"]), entries | json_values),
    st.binary(max_size=16),
)
def test_random_headers(tmp_path, header, data):
    outcome(tmp_path / "x", safetensors_file(header, data))


GUARDED = """
import resource, sys
import numpy, ml_dtypes, zipfile, zlib, json, pickletools, encodings.idna
from bigclip.config import ConfigError
from bigclip.interop.files import open_weights
import pathlib
folder, = sys.argv[1:]
for name in ("utf_8", "latin_1", "ascii", "raw_unicode_escape", "cp437", "unicode_escape"):
    "a".encode(name)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (96 << 20),) * 2)
paths = sorted(pathlib.Path(folder).glob("*"))

def watch(event, arguments):
    bad = event in ("exec", "pickle.find_class", "marshal.loads", "os.mkdir", "os.remove")
    bad = bad or event.startswith(("os.system", "os.exec", "os.posix_spawn", "os.fork", "socket",
                                   "subprocess", "ctypes", "urllib", "shutil", "os.rename"))
    if event == "open":
        path, mode = str(arguments[0]), arguments[1]
        bad = not path.startswith(folder) or mode not in ("rb", "r", None)
    if bad:
        print("BAD", event, arguments, flush=True)

sys.addaudithook(watch)
for path in paths:
    try:
        for tensor in open_weights(path).values():
            tensor.read()
        print("read", path.name)
    except ConfigError:
        print("refused", path.name)
"""


def bombs() -> dict[str, bytes]:
    """Files that would take gigabytes, run code or open other files, if they were believed."""
    huge = 1 << 33
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2147483648,)}"
    stored = {"0": bytes(24)}
    expanded = call(
        "torch._utils._rebuild_tensor_v2",
        storage("0", 6),
        *(number(0), numbers((huge,)), numbers((0,)), b"\x89", b"N"),
    )
    return {
        "header": safetensors_file(b"{}", length=huge),
        "shape": safetensors_file({"a": {"dtype": "F32", "shape": [huge], "data_offsets": [0, 4]}}),
        "array": zip_of({"a.npy": npy_header(header)}),
        "nested": safetensors_file(b'{"a":' + b"[" * (1 << 20)),
        "expanded": torch_file(state(w=expanded), stored),
        "storage": torch_file(state(w=tensor((huge,), (1,), length=huge)), stored),
        "code": torch_file(b"\x80\x02cos\nsystem\n" + text("touch x") + b"\x85R.", stored),
        "eval": torch_file(b"\x80\x02cbuiltins\neval\n" + text("1/0") + b"\x85R.", stored),
        "text": torch_file(b"\x80\x02X\xff\xff\xff\x7f."),
        "lists": torch_file(b"]" * (1 << 19) + b"."),
        "dicts": torch_file(b"\x80\x02" + b"}" * (1 << 20) + b"."),
        "links": b'{"weight_map": {"a": "../../../../etc/passwd"}}',
        "absolute": b'{"weight_map": {"a": "/etc/passwd"}}',
        "pickled": pickle.dumps(print),
        "objects": zip_of({"a.npy": npy_header(header.replace("<f4", "|O"))}),
    }


def test_neither_memory_nor_code(tmp_path):
    """In 96 MiB above what is loaded: whatever is refused costs little, and nothing is executed."""
    for name, content in bombs().items():
        (tmp_path / name).write_bytes(content)
    arrays = odd_arrays()
    for kind, write in WRITERS.items():
        write(tmp_path / f"good.{kind}", specs_of(arrays), arrays.items())
    (tmp_path / "good.scripted").write_bytes((GOLDENS / "scripted.pt").read_bytes())
    root = pathlib.Path(__file__).parent.parent.parent.parent
    job = subprocess.run(
        [sys.executable, "-c", GUARDED, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=120,
        env={"OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    assert job.returncode == 0, job.stdout + job.stderr
    expected = {f"refused {name}" for name in bombs()}
    expected |= {f"read good.{kind}" for kind in (*WRITERS, "scripted")}
    assert set(job.stdout.splitlines()) == expected, job.stdout + job.stderr
