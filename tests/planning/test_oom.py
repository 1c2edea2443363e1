"""Out-of-memory errors of the TPU compiler, as its versions write them."""

import pytest

from bigclip.planning.compiled import read_oom

GIB = 2**30


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (26.86G) exceeds available HBM (15.75G).",
            (int(26.86 * GIB), int(15.75 * GIB)),
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (1.16T) exceeds available HBM (95.74G).",
            (int(1.16 * 2**40), int(95.74 * GIB)),
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
            "space hbm. Used 18.23G of 15.75G hbm. Exceeded hbm capacity by 2.48G.",
            (int(18.23 * GIB), int(15.75 * GIB)),
        ),
        ("RESOURCE_EXHAUSTED: something about hbm in other words", (0, 0)),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 20M of 16M.", None),
        ("INTERNAL: a bug", None),
    ],
)
def test_reads_what_was_asked_for_and_what_there_is(message, expected):
    assert read_oom(message) == expected
