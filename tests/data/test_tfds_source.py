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
from bigclip.data.sources import open_random_access, open_source


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
MANY = builder_class(
    "many",
    {
        "image": tfds.features.Image(encoding_format="png"),
        "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["red_fox", "owl", "cat"])),
        "objects": tfds.features.Sequence(
            {"label": tfds.features.ClassLabel(names=["boat", "cup"]), "area": np.int64}
        ),
        "note": np.str_,
    },
    lambda number: {
        "image": io.BytesIO(picture(number)),
        "tags": [n for n in range(3) if number >> n & 1],
        "objects": [{"label": n % 2, "area": n} for n in range(number)],
        "note": f"note {number}",
    },
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepare all; name -> folder of the version."""
    folders = {}
    for builder_type in (CAPTIONED, PLAIN, LABELLED, MANY):
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


def test_names_of_classes_from_a_file(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("snow_goose\nelk\n")
    builder = builder_class(
        "from_file",
        {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(names_file=names),
        },
        lambda number: {"image": io.BytesIO(picture(number)), "label": number % 2},
    )(data_dir=tmp_path / "data", file_format="array_record")
    builder.download_and_prepare()
    names.unlink()  # the prepared data set holds them itself
    records = by_number(open_source(kind="tfds", data_dir=str(builder.data_path)))
    assert [r.metadata["class_name"] for r in records] == 2 * ["snow goose", "elk"] + ["snow goose"]


def test_each_of_several_labels_becomes_captions(prepared):
    source = open_source(
        kind="tfds", data_dir=prepared["many"], label_key="tags", templates=["a {}.", "{}!"]
    )
    records = [r for r in source.__getitems__(range(5)) if not isinstance(r, BadRecord)]
    assert sorted(tuple(r.captions["label"]) for r in records) == [
        ("a cat.", "cat!"),  # 4
        ("a owl.", "owl!"),  # 2
        ("a red fox.", "red fox!"),  # 1
        ("a red fox.", "red fox!", "a owl.", "owl!"),  # 3
    ]
    [bad] = [r for r in source.__getitems__(range(5)) if isinstance(r, BadRecord)]
    assert bad.fault == "no_caption"  # 0 has no label


def test_for_evaluation_a_picture_without_a_label_is_a_record(prepared):
    source = open_random_access(kind="tfds", data_dir=prepared["many"], label_key="tags")
    records = [source[i] for i in range(len(source))]
    [bare] = [record for record in records if not record.captions]
    assert len(records) == 5
    assert bare.metadata == {"label": [], "class_name": []}
    assert pickle.loads(pickle.dumps(source))[0] == source[0]


def test_objects_of_one_kind_are_named_once(prepared):
    source = open_source(
        kind="tfds",
        data_dir=prepared["many"],
        label_key="objects/label",
        caption_keys=["note"],  # declared as np.str_, not as Text
        templates=["a {}"],
    )
    record = by_number(source)[4]
    assert record.captions == {"note": ["note 4"], "label": ["a boat", "a cup"]}
    assert record.metadata == {"label": [0, 1, 0, 1], "class_name": ["boat", "cup", "boat", "cup"]}


def test_batches_equal_single_reads(prepared):
    source = open_source(kind="tfds", data_dir=prepared["plain"])
    read = source.__getitems__([4, 0, 3, 3, 1, 2])
    for index, record in zip([4, 0, 3, 3, 1, 2], read, strict=True):
        if isinstance(record, BadRecord):
            with pytest.raises(BadRecord, match="no caption"):
                source[index]
        else:
            assert record == source[index]
    assert sum(isinstance(record, BadRecord) for record in read) in (1, 2)
    assert source.__getitems__([]) == []
    with pytest.raises(IndexError, match="records 0 to 5 of 5"):
        source.__getitems__([0, 5])


def test_a_record_damaged_on_disk_costs_no_other(tmp_path):
    builder = PLAIN(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    [shard] = builder.data_path.glob("*.array_record*")
    content = bytearray(shard.read_bytes())
    # Each record is a chunk of its own; the first one of the user's data begins past two headers.
    content[200] ^= 0xFF
    shard.write_bytes(content)
    source = open_source(kind="tfds", data_dir=str(builder.data_path))
    faults = [r.fault if isinstance(r, BadRecord) else None for r in source.__getitems__(range(5))]
    assert faults.count("broken_record") == 1
    assert faults.count(None) >= 3
    with pytest.raises(BadRecord, match="is damaged"):
        source[faults.index("broken_record")]


@pytest.mark.parametrize(
    ("name", "label", "class_name"),
    [
        ("imagenet2012", 3, "n01491361"),
        ("food101", 3, "beef carpaccio"),
        ("eurosat", 3, "Highway"),
    ],
)
def test_labelled_data_sets_of_the_catalogue_need_no_options(tmp_path, name, label, class_name):
    """Records of their own features. (TFDS's mock of them would need TensorFlow.)"""
    features = dict(tfds.builder(name, data_dir=tmp_path, try_gcs=False).info.features)
    texts = {key: "n3.JPEG" for key in features if key not in ("image", "label")}
    builder = builder_class(
        f"like_{name}",
        features,
        lambda number: {"image": io.BytesIO(picture(number)), "label": label, **texts},
    )(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    record = open_source(kind="tfds", data_dir=str(builder.data_path))[0]
    assert record.captions == {"label": [f"a photo of a {class_name}."]}
    assert record.metadata == {"label": label, "class_name": class_name}


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
