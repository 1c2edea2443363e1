"""Lists of ids: what they hold, whatever the file's form, and that they stay small."""

import gzip
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.data.id_lists import IdList

KEY = "config.data.filters.deny_ids"
ids_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
uids = st.integers(0, 2**128 - 1).map("{:032x}".format)


def write_uids(path, uids):
    """Write a list as DataComp publishes them: a structured .npy of the uids' halves."""
    rows = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids]
    np.save(path, np.array(rows, np.dtype("u8,u8")))
    return str(path)


@given(st.sets(st.one_of(ids_text, uids), max_size=40), st.sets(ids_text, max_size=10))
def test_a_list_is_a_set(held, others):
    ids = IdList.of(held)
    assert len(ids) == len(held)
    assert all(one in ids for one in held)
    assert not any(one in ids for one in others - held)


@given(st.lists(st.integers(0, 3), max_size=8))
def test_ids_that_share_a_half_are_told_apart(numbers):
    # All first halves are 0 or all ones: bisection has to go on in the second half.
    for upper in (0, 2**64 - 1):
        ids = IdList.of(f"{upper:016x}{number:016x}" for number in numbers)
        assert len(ids) == len(set(numbers))
        for number in range(4):
            assert (f"{upper:016x}{number:016x}" in ids) == (number in numbers)


@given(held=st.sets(uids, min_size=1, max_size=30))
def test_datacomp_lists_hold_the_halves_of_the_uids(held, tmp_path_factory):
    ids = IdList.read(write_uids(tmp_path_factory.mktemp("l") / "subset.npy", held), key=KEY)
    assert len(ids) == len(held)
    assert all(uid in ids and uid.upper() in ids for uid in held)
    swapped = {uid[16:] + uid[:16] for uid in held}
    assert not any(uid in ids for uid in swapped - held)
    np.testing.assert_array_equal(ids.numbers, IdList.of(held).numbers)


def test_text_files(tmp_path):
    content = b"\xef\xbb\xbf12\r\n\n  a b \n\xc3\xa9\n12\n"
    (tmp_path / "ids.txt").write_bytes(content)
    (tmp_path / "ids.gz").write_bytes(gzip.compress(content))
    for name in ("ids.txt", "ids.gz"):
        ids = IdList.read(str(tmp_path / name), key=KEY)
        assert len(ids) == 3
        assert all(one in ids for one in ("12", "a b", "é"))
        assert "" not in ids
        assert "a" not in ids


@pytest.mark.parametrize(
    "values", [[7, 12], np.array([7, 12], np.uint8), ["7", "12"], [b"7", b"12"]]
)
def test_arrays_of_numbers_and_texts(values, tmp_path):
    np.save(tmp_path / "ids.npy", values)
    ids = IdList.read(str(tmp_path / "ids.npy"), key=KEY)
    assert ("7" in ids, "12" in ids, "712" in ids) == (True, True, False)


def test_files_that_are_no_lists(tmp_path):
    np.save(tmp_path / "square.npy", np.zeros((2, 2), np.uint64))
    np.save(tmp_path / "floats.npy", np.zeros(2))
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    (tmp_path / "text.npy").write_text("abc")
    (tmp_path / "latin.txt").write_bytes(b"\xe9\n")
    (tmp_path / "plain.gz").write_bytes(b"abc\n")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"abc\n" * 99)[:-9])
    for name, said in {
        "square.npy": r"shape is \(2, 2\)",
        "floats.npy": "dtype is float64",
        "objects.npy": "is no id list",
        "text.npy": "is no id list",
        "latin.txt": "is no id list",
        "plain.gz": "cannot be read",
        "cut.gz": "is no id list",
        "none.txt": "cannot be read .No such file",
    }.items():
        with pytest.raises(ConfigError, match=rf"{KEY}: \S*{name} .*{said}|{said}"):
            IdList.read(str(tmp_path / name), key=KEY)


def test_a_million_ids_take_16_bytes_each_and_travel_as_a_file(tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**64, (2, 1_000_000), np.uint64, endpoint=False)
    rows = np.empty(numbers.shape[1], np.dtype("u8,u8"))
    rows["f0"], rows["f1"] = numbers
    np.save(tmp_path / "subset.npy", rows)
    ids = IdList.read(str(tmp_path / "subset.npy"), key=KEY)
    assert ids.numbers.nbytes == 16_000_000
    pickled = pickle.dumps(ids)
    assert len(pickled) < 1000
    other = pickle.loads(pickled)
    for upper, lower in numbers[:, ::5003].T.tolist():
        uid = f"{upper:016x}{lower:016x}"
        assert uid in ids
        assert uid in other
        assert f"{upper:016x}{lower ^ 1:016x}" not in other
    # The file is the first list's, and goes with it; others hand its path on.
    path = ids.__getstate__()
    assert os.path.getsize(path) < 16_001_000
    assert pickle.dumps(other) == pickle.dumps(ids) == pickled
    del other
    assert os.path.exists(path)
    other = pickle.loads(pickled)
    del ids
    assert not os.path.exists(path)
    assert uid in other, "what is mapped already stays"


def test_a_short_list_travels_by_itself():
    ids = IdList.of(["a", "b"])
    pickled = pickle.dumps(ids)
    del ids
    assert "a" in pickle.loads(pickled)
    assert len(pickled) < 1000
