"""The embedded data through tensorflow-datasets, without TensorFlow."""

import json
import subprocess
import sys
import tarfile

import pytest

from bigclip.data import embedded

SCRIPT = """
import json, sys
import tensorflow_datasets as tfds
from bigclip.data.embedded import tfds_builder
builder = tfds_builder.prepare(sys.argv[1])
counts = {s: i.num_examples for s, i in builder.info.splits.items()}
stored = {"image": tfds.decode.SkipDecoding()}
built = builder.as_data_source("heldout_titles", decoders=stored)
named = tfds.data_source(
    "embedded_pack", split="heldout_titles", data_dir=sys.argv[1], decoders=stored
)
from bigclip.data.sources import open_source
source = open_source(
    kind="tfds", name="embedded_pack", data_dir=sys.argv[1], split="heldout_titles",
    caption_keys=["title", "keywords"],
)
assert source[3].image == built[3]["image"]
assert source[3].captions["title"] == [t.decode() for t in built[3]["title"]]
assert built[3] == named[3]
rows = [
    {k: [t.decode() for t in v] if not isinstance(v, bytes) else v.hex() for k, v in row.items()}
    for row in (named[i] for i in range(len(named)))
]
modules = sorted(m for m in sys.modules if m.split(".")[0] in ("tensorflow", "torch"))
print(json.dumps({"counts": counts, "rows": rows, "modules": modules}))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What a fresh interpreter reads after preparing the data set."""
    folder = tmp_path_factory.mktemp("tfds")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return folder, json.loads(result.stdout.splitlines()[-1])


def test_tensorflow_is_not_imported(prepared):
    assert prepared[1]["modules"] == []


def test_files_are_array_records_of_every_split(prepared):
    folder, found = prepared
    splits = embedded.summary()["splits"]
    assert found["counts"] == {split: part["records"] for split, part in splits.items()}
    assert len(list(folder.glob("embedded_pack/*/*.array_record*"))) >= len(splits)


def test_records_equal_the_tar(prepared):
    by_key = {bytes.fromhex(row["key"]).decode(): row for row in prepared[1]["rows"]}
    (path,) = embedded.shards("heldout_titles")
    with tarfile.open(path) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    assert len(by_key) == len(members) // 3
    for key, row in by_key.items():
        stem = key.split("/")[1]
        described = json.loads(members[f"{stem}.json"])
        assert bytes.fromhex(row["image"]) == members[f"{stem}.webp"]
        assert bytes.fromhex(row["concept"]).decode() == described["concept"]
        captions = {s: t for s, t in row.items() if isinstance(t, list) and t}
        assert captions == described["captions"]
