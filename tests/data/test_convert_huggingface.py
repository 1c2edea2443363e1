"""Tables and folders of Hugging Face as inputs of a conversion."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from row_reading import faults, read_all

from bigclip.config import ConfigError
from bigclip.data.convert.conversion import convert
from bigclip.data.convert.inputs import guess_kind, open_rows
from bigclip.data.records import Record
from bigclip.data.sources import open_source

FEATURES = {
    "image": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "alt": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    "label": {"names": ["red_fox", "owl"], "_type": "ClassLabel"},
    "n": {"dtype": "int64", "_type": "Value"},
}


def huggingface_table(pictures, numbers, path=None):
    """As `datasets` 5.2.0 lays it out; compared with what it writes."""
    schema = pa.schema(
        {
            "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            "text": pa.string(),
            "alt": pa.list_(pa.string()),
            "label": pa.int64(),
            "n": pa.int64(),
        },
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    rows = [
        {
            "image": {"bytes": None, "path": path} if path else {"bytes": pictures[n]},
            "text": f"text {n}",
            "alt": [f"alt {i}" for i in range(n)],
            "label": n % 2,
            "n": n,
        }
        for n in numbers
    ]
    return pa.Table.from_pylist(rows, schema)


def save_to_disk(folder, tables):
    folder.mkdir(parents=True)
    names = [f"data-{n:05d}-of-{len(tables):05d}.arrow" for n in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.ipc.new_stream(str(folder / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "8f66cb25b9ab6d26",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": "train",
    }
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    return str(folder)


def test_a_data_set_saved_to_disk(tmp_path, pictures):
    path = str(tmp_path / "photos" / "5.png")
    tables = [
        huggingface_table(pictures, [0, 1, 2]),
        huggingface_table(pictures, [3, 4]),
        huggingface_table(pictures, [5], path),
    ]
    folder = save_to_disk(tmp_path / "saved", tables)
    rows = open_rows([folder])
    found = read_all(rows, 1, 4)
    assert [row.image for row in found] == pictures
    assert found[4] == Record(
        "data-00001-of-00003.arrow/1",
        pictures[4],
        {"text": ["text 4"]},
        {"alt": ["alt 0", "alt 1", "alt 2", "alt 3"], "label": 0, "n": 4},
    )
    chosen = open_rows(
        [folder],
        image_column="image",
        caption_columns={"text": "text", "web": "alt", "class": "label"},
        templates=["the {}"],
    )
    assert read_all(chosen)[1] == Record(
        "data-00000-of-00003.arrow/1",
        pictures[1],
        {"text": ["text 1"], "web": ["alt 0"], "class": ["the owl"]},
        {"label": 1, "class_name": "owl", "n": 1},
    )
    convert(chosen, out=str(tmp_path / "out"), shard_records=4)
    source = open_source(kind="tfds", data_dir=str(tmp_path / "out"))
    assert [source[n].image for n in range(6)] == pictures


def test_splits_of_a_saved_dict(tmp_path, pictures):
    folder = tmp_path / "dict"
    save_to_disk(folder / "train", [huggingface_table(pictures, [0, 1])])
    save_to_disk(folder / "test", [huggingface_table(pictures, [5])])
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert [row.metadata["n"] for row in read_all(open_rows([str(folder)]))] == [0, 1]
    assert [row.metadata["n"] for row in read_all(open_rows([str(folder)], split="test"))] == [5]
    with pytest.raises(ConfigError, match="has no split 'dev'; it has test, train"):
        open_rows([str(folder)], split="dev")


@pytest.mark.parametrize(
    "layout",
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
        ("data/train-00000-of-00002-0a1b2c3d4e5f6789.parquet",
         "data/train-00001-of-00002-9876543210abcdef.parquet"),
        ("train/0000.parquet", "train/0001.parquet"),
    ],
)  # fmt: skip
def test_parquet_of_the_hub(tmp_path, pictures, layout):
    folder = tmp_path / "hub"
    test = layout[0].replace("train", "test")
    for name, numbers in zip((*layout, test), ([0, 1], [2, 3], [4]), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(huggingface_table(pictures, numbers), folder / name)
    assert guess_kind([str(folder)]) == "huggingface"
    found = read_all(open_rows([str(folder)], caption_columns={"class": "label"}))
    assert [row.image for row in found] == pictures[:4]
    assert found[1].captions == {"class": ["a photo of a owl."]}
    assert [row.metadata["n"] for row in read_all(open_rows([str(folder)], split="test"))] == [4]
    with pytest.raises(ConfigError, match="no split 'validation'; it has test, train"):
        open_rows([str(folder)], split="validation")
    one = open_rows([str(folder / layout[1])])
    assert [row.metadata["n"] for row in read_all(one)] == [2, 3]


def test_labels_without_a_name_and_rows_without_a_picture(tmp_path, pictures):
    table = huggingface_table(pictures, [0, 1, 2])
    labels = pa.array([0, -1, None], pa.int64())
    table = table.set_column(3, "label", labels)
    images = [{"bytes": pictures[0]}, {"bytes": pictures[1]}, None]
    table = table.set_column(0, "image", pa.array(images, table.schema.field("image").type))
    folder = save_to_disk(tmp_path / "saved", [table])
    rows = open_rows([folder], caption_columns={"text": "text", "label": "label"})
    assert faults(read_all(rows)) == [None, "unknown_label", "missing_image"]


def test_the_picture_of_a_hugging_face_table_may_have_any_name(tmp_path, pictures):
    table = huggingface_table(pictures, [0, 1])
    features = {"photo": FEATURES["image"], **{k: v for k, v in FEATURES.items() if k != "image"}}
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    names = ["photo", *table.schema.names[1:]]
    folder = save_to_disk(
        tmp_path / "a", [table.rename_columns(names).replace_schema_metadata(described)]
    )
    assert [row.image for row in read_all(open_rows([folder]))] == pictures[:2]
    features["path"] = features.pop("text") | {"_type": "Image"}
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    names = ["photo", "path", *table.schema.names[2:]]
    folder = save_to_disk(
        tmp_path / "b", [table.rename_columns(names).replace_schema_metadata(described)]
    )
    with pytest.raises(ConfigError, match="--image_column: which has the pictures"):
        open_rows([folder])
