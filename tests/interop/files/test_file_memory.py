"""A file larger than memory may be: reading it takes one tensor's, mapped pages included."""

import json
import pathlib
import subprocess
import sys

MIB = 1 << 20
READING = """
import sys
from bigclip.interop.files import open_weights

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10

before = peak()
for tensor in open_weights(sys.argv[1]).values():
    assert tensor.read()[-1] == 0
print(peak() - before)
"""


def test_half_a_gigabyte_in_the_memory_of_one_tensor(tmp_path):
    each = 16 * MIB
    header = {
        f"w{number}": {
            "dtype": "F32",
            "shape": [each // 4],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number in range(32)
    }
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 32 * each)  # sparse: takes no space
    root = pathlib.Path(__file__).parent.parent.parent.parent
    job = subprocess.run(
        [sys.executable, "-c", READING, path], capture_output=True, text=True, cwd=root, check=True
    )
    # One tensor, and the one before until its name is taken anew.
    assert 15 <= int(job.stdout) <= 40
