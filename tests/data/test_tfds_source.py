"""TFDS data sets of every shape we promise to read, without TensorFlow."""

import io
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from bigclip.config import ConfigError
from bigclip.data.records import BadRecord
from bigclip.data.sources import open_source


def picture(number):
    file = io.BytesIO()
    PIL.Image.new("RGB", (12, 10), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def builder_class(name, features, example):
    """Make a data set of five examples."""

    def generate(self):
        for number in range(5):
            yield number, example(number)

    members = {
        "VERSION": tfds.core.Version("1.2.0"),
        "pkg_dir_path": pathlib.Path(__file__).parent,
        "_info": lambda self: self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        ),
        "_split_generators": lambda self, dl_manager: {"train": generate(self)},
        "_generate_examples": generate,
    }
    return type(name.capitalize(), (tfds.core.GeneratorBasedBuilder,), members)


CAPTIONED = builder_class(
    "captioned",
    {
        "image": tfds.features.Image(encoding_format="png"),
        "mask": tfds.features.Image(encoding_format="png"),
        "title": tfds.features.Text(),
        "alt": tfds.features.Sequence(tfds.features.Text()),
        "captions": tfds.features.Sequence({"text": tfds.features.Text(), "id": np.int64}),
        "kind": tfds.features.ClassLabel(names=["red_fox", "owl"]),
    },
    lambda number: {
        "image": io.BytesIO(picture(number)),
        "mask": io.BytesIO(picture(0)),
        "title": f"Über {number}",
        "alt": [f"alt {i}" for i in range(number)],
        "captions": [{"text": f"caption {number} {i}", "id": i} for i in range(2)],
        "kind": number % 2,
    },
)
PLAIN = builder_class(
    "plain",
    {"picture": tfds.features.Image(encoding_format="png"), "text": tfds.features.Text()},
    lambda number: {
        "picture": io.BytesIO(picture(number)),
        "text": "" if number == 3 else f"text {number}",
    },
)
LABELLED = builder_class(
    "labelled",
    {
        "image": tfds.features.Image(encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["red_fox", "owl"]),
    },
    lambda number: {"image": io.BytesIO(picture(number)), "label": number % 2},
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepare all three; name -> folder of the version."""
    folders = {}
    for builder_type in (CAPTIONED, PLAIN, LABELLED):
        builder = builder_type(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
        builder.download_and_prepare()
        folders[builder_type.name] = str(builder.data_path)
    return folders


def by_number(source):
    """TFDS shuffles when it writes; the picture tells the number."""
    records = [source[i] for i in range(len(source))]
    return sorted(records, key=lambda r: PIL.Image.open(io.BytesIO(r.image)).getpixel((0, 0))[0])


def test_one_image_and_one_text_need_no_options(prepared):
    source = open_source(kind="tfds", data_dir=prepared["plain"])
    assert len(source) == 5
    broken = []
    for index in range(5):
        try:
            source[index]
        except BadRecord as error:
            broken.append((index, error.reason))
    [(blank, reason)] = broken  # number 3, whose text is blank
    assert "no caption" in reason
    record = source[(blank + 1) % 5]
    assert record.image.startswith(b"\x89PNG")  # as it was stored, not decoded
    assert record.captions["text"][0].startswith("text ")
    assert record.key.startswith("plain/1.2.0/train/")


def test_labels_become_captions(prepared):
    source = open_source(
        kind="tfds", data_dir=prepared["labelled"], templates=["a photo of a {}.", "the {}"]
    )
    records = by_number(source)
    assert [r.metadata for r in records[:2]] == [
        {"label": 0, "class_name": "red fox"},
        {"label": 1, "class_name": "owl"},
    ]
    assert records[0].captions == {"label": ["a photo of a red fox.", "the red fox"]}


def test_chosen_texts_of_a_rich_data_set(prepared):
    source = open_source(
        kind="tfds",
        data_dir=prepared["captioned"],
        image_key="image",
        caption_keys={"name": "title", "alt": "alt", "five": "captions/text"},
        label_key="kind",
        split="train[:80%]",
    )
    assert len(source) == 4
    records = {r.captions["name"][0]: r for r in (source[i] for i in range(4))}
    for title, record in records.items():
        number = int(title.removeprefix("Über "))
        assert record.captions == {
            "name": [title],
            **({"alt": [f"alt {i}" for i in range(number)]} if number else {}),
            "five": [f"caption {number} 0", f"caption {number} 1"],
            "label": [f"a photo of a {('red fox', 'owl')[number % 2]}."],
        }


def test_survives_pickling(prepared):
    source = open_source(kind="tfds", data_dir=prepared["labelled"])
    source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[i] for i in range(5)] == [source[i] for i in range(5)]


def test_registered_data_sets_by_name(prepared):
    data_dir = pathlib.Path(prepared["labelled"]).parent.parent
    source = open_source(kind="tfds", name="labelled:1.2.0", data_dir=str(data_dir))
    assert len(source) == 5
    assert source[1].key == "labelled/1.2.0/train/1"


def test_prepares_what_may_be_downloaded(tmp_path):
    source = open_source(kind="tfds", name="labelled", data_dir=str(tmp_path), download=True)
    assert len(source) == 5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("captioned", {}, "image_key: None is no image.*it has image, mask"),
        (
            "captioned",
            {"image_key": "mask"},
            "choose caption_keys or label_key; texts: alt, .*title",
        ),
        ("captioned", {"image_key": "title"}, "'title' is no image"),
        ("plain", {"caption_keys": ["txt"]}, "caption_keys: 'txt' is no text.*it has text"),
        ("plain", {"label_key": "text"}, "label_key: 'text' is no class label.*it has none"),
        ("plain", {"split": "test"}, "cannot be read as 'test'"),
    ],
)
def test_mistakes_are_named(prepared, name, options, message):
    with pytest.raises(ConfigError, match=message):
        open_source(kind="tfds", data_dir=prepared[name], **options)


def test_data_sets_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="needs a name, a data_dir, or both"):
        open_source(kind="tfds")
    with pytest.raises(ConfigError, match=f"cannot open {tmp_path}"):
        open_source(kind="tfds", data_dir=str(tmp_path))
    with pytest.raises(ConfigError, match="cannot open no_such_set"):
        open_source(kind="tfds", name="no_such_set", data_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot be read.*\n.*download=True"):
        open_source(kind="tfds", name="mnist", data_dir=str(tmp_path))


def test_neither_tensorflow_nor_torch_is_imported(prepared, write_shards):
    program = """
import sys
from bigclip.data.batches import open_batches
from bigclip.data.preprocess import Preprocess
from bigclip.data.sources import open_source
from bigclip.data.tokenizer import clip_bpe
for source in (
    open_source(kind="tfds", data_dir=sys.argv[1]),
    open_source(kind="webdataset", shards=sys.argv[2]),
):
    with open_batches(
        source, preprocess=Preprocess(size=8), tokenizer=clip_bpe(), batch_size=4, seed=0
    ) as batches:
        assert next(batches)["image"].shape == (4, 8, 8, 3)
found = {"tensorflow", "torch", "transformers"} & set(sys.modules)
assert not found, found
"""
    [shard] = write_shards(6)
    subprocess.run([sys.executable, "-c", program, prepared["labelled"], shard], check=True)
