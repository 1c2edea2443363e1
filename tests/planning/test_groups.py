"""The ways in which HLO text writes the groups of a collective."""

import numpy as np
import pytest

from bigclip.planning.groups import replica_groups, source_target_pairs

ROWS = [[0, 1, 2, 3], [4, 5, 6, 7]]
COLUMNS = [[0, 4], [1, 5], [2, 6], [3, 7]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{0,1,2,3},{4,5,6,7}}, use_global_device_ids=true", ROWS),
        ("{}, to_apply=%add", [[0, 1, 2, 3, 4, 5, 6, 7]]),
        ("[2,4]<=[8], dimensions={0}", ROWS),
        ("[4,2]<=[2,4]T(1,0), dimensions={0}", COLUMNS),
        ("mesh['a'=2,'b'=4] {'b'}, dimensions={0}", ROWS),
        ("mesh['a'=2,'b'=4] {'a'}, dimensions={0}", COLUMNS),
        ("mesh['a'=2,'b'=4] {'a','b'}", [[0, 1, 2, 3, 4, 5, 6, 7]]),
        # Devices along the mesh are numbered 0 4 1 5 2 6 3 7.
        ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}, x={1}", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}, x={1}", COLUMNS),
        # The outer half of an axis of 4, and the inner one.
        ("mesh['a'=4,'b'=2] {'a':(1)2}", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("mesh['a'=4,'b'=2] {'a':(2)2}", [[0, 2], [1, 3], [4, 6], [5, 7]]),
    ],
)  # fmt: skip
def test_reads_every_notation(text, expected):
    found = replica_groups(f", channel_id=1, replica_groups={text}", 8)
    assert sorted(map(list, found)) == sorted(expected)


def test_the_two_halves_of_an_axis_partition_the_devices():
    for part in ("(1)2", "(2)2"):
        found = replica_groups(f", replica_groups=mesh['a'=4,'b'=2] {{'a':{part}}}", 8)
        assert sorted(np.ravel(found)) == list(range(8))


@pytest.mark.parametrize("text", ["", ", dimensions={0}", ", replica_groups=@something_new"])
def test_says_nothing_of_what_it_does_not_know(text):
    assert replica_groups(text, 8) is None


def test_reads_permutations():
    found = source_target_pairs(", source_target_pairs={{0,1},{1,2},{2,0}}, backend_config={}")
    assert found.tolist() == [[0, 1], [1, 2], [2, 0]]
    assert source_target_pairs(", channel_id=1").shape == (0, 2)
