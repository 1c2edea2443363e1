"""Labels of records, and the classes that stand for them."""

import json

import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.evals.labels import class_index, read_labels
from bigclip.evals.records import Records
from bigclip.evals.zero_shot.classes import Class, keep_candidates, read_class_set, read_classes
from bigclip.evals.zero_shot.prompts import read_table


def records(*metadata, captions=None):
    num = len(metadata)
    keys = [f"record {i}" for i in range(num)]
    captions = captions or [{} for _ in range(num)]
    return Records(None, list(range(num)), keys, captions, list(metadata), "")


def classes_of(found, classes=None, names=None, **options):
    labels = read_labels(found, None)
    return read_classes(labels, classes, found.captions, names, **options)


def test_labels_of_every_form():
    single = read_labels(records({"label": 3}, {"label": np.int64(3)}, {"label": "fox"}), None)
    assert single.of == [["3"], ["3"], ["fox"]]
    assert not single.is_multi
    several = read_labels(records({"tags": [1, 4, 1]}, {"tags": []}, {"tags": 2}), "tags")
    assert several.of == [["1", "4"], [], ["2"]]
    assert several.is_multi
    assert several.distinct == ["1", "4", "2"]
    assert read_labels(records({"concept": "owl"}), None).of == [["owl"]]
    assert class_index(several, ["4", "2", "1"]) == [[2, 0], [], [1]]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([{"labl": 1}], "no such metadata key. Did you mean 'labl'"),
        ([{"label": 1.5}], "a label is a whole number"),
        ([{"label": {"a": 1}}], "a label is a whole number"),
        ([{"label": []}, {"label": []}], "no record has any label"),
    ],
)
def test_labels_that_are_none(metadata, message):
    with pytest.raises(ConfigError, match=message):
        read_labels(records(*metadata), None)


def test_names_come_from_the_records():
    named = records({"label": 10, "class_name": "owl"}, {"label": 9, "class_name": "red fox"})
    assert classes_of(named) == [Class("9", ["red fox"]), Class("10", ["owl"])]
    several = records({"label": [1, 0], "class_name": ["b", "a"]}, {"label": [], "class_name": []})
    assert classes_of(several) == [Class("0", ["a"]), Class("1", ["b"])]
    captions = [{"title": ["an owl", "a bird"]}, {}]
    captioned = records({"label": 0}, {"label": 0}, captions=captions)
    assert classes_of(captioned, names="title") == [Class("0", ["an owl"])]
    with pytest.raises(ConfigError, match="no record of the class '0' has a text"):
        classes_of(records({"label": 0}))


def test_labels_that_are_texts_name_their_classes():
    # A folder of classes, whose captions are put into templates and are no names.
    folder = records(
        {"label": 0, "class_name": "blue circle"},
        {"label": 1, "class_name": "owl"},
        captions=[{"label": ["a photo of a blue circle."]}, {"label": ["a photo of an owl."]}],
    )
    options = {"names": None, "classes": None, "candidates": None}
    for label, labels in (("class_name", ["blue circle", "owl"]), ("label", ["0", "1"])):
        found = read_class_set(folder, label=label, **options)
        assert found.classes == [
            Class(one, [name]) for one, name in zip(labels, ["blue circle", "owl"], strict=True)
        ]
        assert found.of == [[0], [1]]
    assert classes_of(records({"label": ["owl", "fox"]}, {"label": []})) == [
        Class("fox", ["fox"]),
        Class("owl", ["owl"]),
    ]
    # A caption source "name" says more than a key of the data set does.
    captioned = records({"label": "n02119789"}, captions=[{"name": ["kit fox"]}])
    assert classes_of(captioned) == [Class("n02119789", ["kit fox"])]
    for number in (7, "7"):
        with pytest.raises(ConfigError, match="no record of the class '7' has a text"):
            classes_of(records({"label": number}))
    digits = read_class_set(records({"class_name": "7"}), label="class_name", **options)
    assert digits.classes == [Class("7", ["7"])]
    with pytest.raises(ConfigError, match="no record of the class 'owl' has a text"):
        classes_of(records({"label": "owl"}), names="nam")


def test_positions_of_a_list_with_none_of_the_records_own_names_are_refused():
    shapes = ["blue circle", "red square", "green star"]
    folders = records(*({"label": i, "class_name": name} for i, name in enumerate(shapes)))
    for classes in ("clip:imagenet", ["owl", "fox", "kite"]):
        with pytest.raises(ConfigError, match="none of the names.*'blue circle' of the label 0"):
            classes_of(folders, classes)
    # One name that is there says how the rest are counted.
    assert classes_of(folders, ["disc", "Red-Square", "star"])[2] == Class("2", ["star"])
    # Identifiers are no names: as many as the list has may be its classes, fewer may be others.
    ids = records({"label": 0, "class_name": "n01440764"}, {"label": 1, "class_name": "n01443537"})
    assert classes_of(ids, ["tench", "goldfish"])[1] == Class("1", ["goldfish"])
    with pytest.raises(ConfigError, match="none of the names"):
        classes_of(ids, ["tench", "goldfish", "owl"])
    ten = records(*({"label": i, "class_name": f"n0000000{i}"} for i in range(10)))
    with pytest.raises(ConfigError, match="none of the names"):
        classes_of(ten, "clip:cifar10")
    # Neither are numbers: folders "0", "1", "10", "2" stand in another order than the list.
    letters = ["a", "b", "c", "d"]
    for start in (0, 1):
        padded = records(*({"label": i, "class_name": f"{i + start:03}"} for i in range(4)))
        assert [cls.label for cls in classes_of(padded, letters)] == ["0", "1", "2", "3"]
    mixed = records(*({"label": i, "class_name": n} for i, n in enumerate(["0", "1", "10", "2"])))
    with pytest.raises(ConfigError, match="none of the names"):
        classes_of(mixed, letters)
    by_name = read_labels(records({"class_name": "2"}, {"class_name": "10"}), "class_name")
    found = read_classes(by_name, list("abcdefghijk"), [{}, {}], None)
    assert (found[2], found[10]) == (Class("2", ["c"]), Class("10", ["k"]))


def test_a_name_that_is_listed_twice():
    listed = ["owl", "missile", "fox", "Missile"]
    numbered = records(*({"label": i} for i in range(4)))
    assert classes_of(numbered, listed)[3] == Class("3", ["Missile"])
    named = [{"label": i, "class_name": name} for i, name in enumerate(listed)]
    assert classes_of(records(*named), listed)[1] == Class("1", ["missile"])
    with pytest.raises(ConfigError, match="classes 1, 3 of the list.*of 3, no record is of it"):
        classes_of(records(*({"label": i} for i in range(3))), listed)
    named[3]["class_name"] = "kite"
    with pytest.raises(ConfigError, match="'missile'; of 3, the records call it 'kite'"):
        classes_of(records(*named), listed)
    with pytest.raises(ConfigError, match="two classes have one name, 'missile'"):
        classes_of(records({"label": "owl"}), ["owl", "missile", "missile"])
    # ImageNet's published list has two names twice: numbers and identifiers tell them apart.
    table = read_table("clip:imagenet", "classes")
    names = [names[0] for names in table.classes]
    twice = [i for i, name in enumerate(names) if names.count(name) > 1]
    assert sorted(names[i] for i in twice) == ["missile", "missile", "sunglasses", "sunglasses"]
    folders = [{"label": i, "class_name": one} for i, one in enumerate(table.ids)]
    whole = records(*folders)
    for found in (whole, records(*folders[:10]), records({"label": 3}, {"label": 999})):
        assert classes_of(found, "clip:imagenet")[twice[1]].names == [names[twice[1]]]
    for found in (whole, records(*({"label": i} for i in range(1000)))):  # a list of one's own
        assert classes_of(found, names)[twice[1]].names == [names[twice[1]]]
    by_id = read_labels(whole, "class_name")
    assert [c.label for c in read_classes(by_id, "clip:imagenet", [], None)] == table.ids


def test_a_list_in_another_language_has_a_name_for_each_class():
    classes = [Class(str(i), [name]) for i, name in enumerate(["owl", "fox", "kite"])]
    options = {"like": classes, "option": "languages.de"}
    found = records({"label": 0}, {"label": 2})
    german = ["Eule", "Fuchs", "Drachen"]
    assert classes_of(found, german, **options)[2] == Class("2", ["Drachen"])
    for names in (german[:1], german[:2], [*german, "Hase"]):
        with pytest.raises(ConfigError, match=f"de: a list of {len(names)} for 3 classes"):
            classes_of(found, names, **options)
    with pytest.raises(ConfigError, match="de: a list of 10 for 3 classes"):
        classes_of(found, "clip:cifar10", **options)
    some = classes_of(found, {"2": "Drachen"}, **options)
    assert some == [Class("2", ["Drachen"])]


def test_tables_go_by_identifier_name_or_number():
    table = read_table("clip:imagenet", "classes")
    for label, number in (("n01443537", 1), (999, 999)):
        found = classes_of(records({"label": label}), "clip:imagenet")
        assert len(found) == 1000
        assert found[number] == Class(str(label), table.classes[number])
    with pytest.raises(ConfigError, match="two classes have one name"):  # "missile", for one
        classes_of(records({"label": "electric ray"}), "clip:imagenet")
    by_name = classes_of(
        records({"label": "edible fruit"}, {"label": "apple pie"}), ["apple pie", "edible fruit"]
    )
    assert by_name == [Class("apple pie", ["apple pie"]), Class("edible fruit", ["edible fruit"])]
    several = classes_of(records({"label": 3}), "clip:fer2013")
    assert several[3].names == ["happy", "smiling"]


def test_a_numbering_that_the_names_contradict_is_refused():
    stl10 = ["airplane", "bird", "car", "cat"]
    right = records({"label": 2, "class_name": "Car"}, {"label": 1, "class_name": "fowl"})
    assert classes_of(right, stl10)[2] == Class("2", ["car"])
    wrong = records({"label": 1, "class_name": "Car"})
    with pytest.raises(ConfigError, match="class 1 is called 'Car', but that is number 2"):
        classes_of(wrong, stl10)
    folders = records({"label": 0, "class_name": "n01443537"})  # of ImageNet-R
    with pytest.raises(ConfigError, match="label = 'class_name'"):
        classes_of(folders, "clip:imagenet")
    food = records({"class_name": "Cheese_Plate"}, {"class_name": "apple pie"})
    found = read_classes(read_labels(food, "class_name"), "clip:food101", food.captions, None)
    assert found[0] == Class("apple pie", ["apple pie"])
    assert Class("Cheese_Plate", ["cheese plate"]) in found
    assert len(found) == 101
    # SUN397 of TFDS, which has two of the published list in the other order.
    paths = {0: "/a/abbey", 206: "/j/jail/indoor", 207: "/j/jail cell"}
    sun = records(*({"label": i, "class_name": path} for i, path in paths.items()))
    with pytest.raises(ConfigError, match="class 206 is called '/j/jail/indoor', but that is n"):
        classes_of(sun, "clip:sun397")
    found = read_classes(read_labels(sun, "class_name"), "clip:sun397", sun.captions, None)
    assert Class("/j/jail cell", ["jail cell"]) in found
    assert Class("/j/jail/indoor", ["jail indoor"]) in found
    by_id = read_classes(
        read_labels(folders, "class_name"), "clip:imagenet", folders.captions, None
    )
    assert by_id[1].label == "n01443537"


def test_candidates_are_labels_a_file_or_a_table(tmp_path):
    classes = [Class(str(i), [f"c{i}"]) for i in range(1000)]
    (tmp_path / "mask.txt").write_text("6\n3\n")
    (tmp_path / "mask.json").write_text(json.dumps([6, 3]))
    for mask in ([3, 6], ("6", "3"), str(tmp_path / "mask.txt"), str(tmp_path / "mask.json")):
        assert keep_candidates(classes, mask) == [3, 6]
    # The first ones of each set's published list of numbers.
    ids = read_table("clip:imagenet", "classes").ids
    assert keep_candidates(classes, "clip:imagenet_a", ids=ids)[:4] == [6, 11, 13, 15]
    assert keep_candidates(classes, "clip:imagenet_r", ids=ids)[:4] == [1, 2, 4, 6]
    # A thousand other classes are not numbered as ImageNet's.
    with pytest.raises(ConfigError, match="Take the classes from a table that holds them"):
        keep_candidates(classes, "clip:imagenet_a")
    by_id = [Class(one, [one]) for one in ids]
    assert keep_candidates(by_id, "clip:imagenet_a")[:4] == [6, 11, 13, 15]
    for mask, message in (
        (["1001"], "'1001' is no class"),
        ([], "names no class"),
        ("clip:food101", "no classes with identifiers"),
    ):
        with pytest.raises(ConfigError, match=message):
            keep_candidates(classes, mask)


def test_a_set_of_classes_with_a_mask():
    found = records({"label": 6}, {"label": 0}, {"label": 11})
    options = {"label": None, "names": None, "candidates": "clip:imagenet_a"}
    masked = read_class_set(found, classes="clip:imagenet", **options)
    assert len(masked.classes) == 200
    assert len(masked.every) == 1000
    assert (masked.rows, masked.of, masked.num_left_out) == ([0, 2], [[0], [1]], 1)
    assert [cls.label for cls in masked.classes[:3]] == ["6", "11", "13"]
    table = read_table("clip:imagenet", "classes")
    by_id = records({"label": table.ids[6]}, {"label": table.ids[7]})
    masked = read_class_set(by_id, classes="clip:imagenet", **options)
    assert (masked.rows, masked.of) == ([0], [[0]])
    # ImageNet's names numbered otherwise would be masked wrongly.
    turned = [f"{names[0]} {i}" for i, names in enumerate(table.classes)][::-1]
    with pytest.raises(ConfigError, match="Take the classes from a table that holds them"):
        read_class_set(found, classes=turned, **options)
    with pytest.raises(ConfigError, match="no record is of any"):
        read_class_set(
            records({"label": 0}), label=None, names=None, classes=["a", "b"], candidates=[1]
        )


def test_numbers_as_names_are_not_taken_for_positions():
    counts = "clip:clevr_counts"  # "10", "3", "4", ..., "9"
    for labels in (range(3, 8), range(8), [3]):
        with pytest.raises(ConfigError, match="Give a dict from the records' labels to names"):
            classes_of(records(*({"label": i} for i in labels)), counts)
    # Ten things cannot be a position among eight: these are names.
    named = classes_of(records(*({"label": i} for i in range(3, 11))), counts)
    assert [cls.label for cls in named] == ["10", *"3456789"]
    assert all(cls.names == [cls.label] for cls in named)
    vtab = {i: str(i + 3) for i in range(8)}
    assert classes_of(records({"label": 0}, {"label": 7}), vtab)[7] == Class("7", ["10"])
    digits = classes_of(records({"label": 3}, {"label": 9}), "clip:mnist")
    assert digits[3] == Class("3", ["3"])
    mixed = classes_of(records({"label": 0}, {"label": 2}), ["fox", "owl", "7"])
    assert mixed[2] == Class("2", ["7"])
    with pytest.raises(ConfigError, match="is 1 the name '1', or the position of 'owl'"):
        classes_of(records({"label": 1}), ["1", "owl", "fox"])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (3, "classes must be names"),
        ([], "classes must be names"),
        ({"0": []}, "at least one name"),
        ({"0": 3}, "3 is neither a name nor a list"),
        ("clip:fod101", "Did you mean 'clip:food101'"),
        ("/absent.json", r"classes: cannot read /absent.json: there is no such file\.$"),
        (["owl", ""], "at least one name"),
        ({0: "owl", "0": "fox"}, "two labels are one"),
    ],
)
def test_mistakes_are_told(classes, message):
    with pytest.raises(ConfigError, match=message):
        classes_of(records({"label": 0}), classes)
