"""The published tables, whole and consistent; and files of one's own."""

import json

import pytest

from bigclip.config import ConfigError
from bigclip.evals.zero_shot import prompts

# Classes and prompts of each, as in the files that the tables name as their sources.
COUNTS = {
    "clip:birdsnap": (500, 1),
    "clip:caltech101": (102, 34),
    "clip:cifar10": (10, 18),
    "clip:cifar100": (100, 18),
    "clip:clevr_counts": (8, 1),
    "clip:country211": (211, 5),
    "clip:dtd": (47, 8),
    "clip:eurosat": (10, 3),
    "clip:fer2013": (7, 6),
    "clip:fgvc_aircraft": (100, 2),
    "clip:flowers102": (102, 1),
    "clip:food101": (101, 1),
    "clip:gtsrb": (43, 3),
    "clip:hateful_memes": (2, 1),
    "clip:imagenet": (1000, 80),
    "clip:imagenet_7": (1000, 7),
    "clip:imagenet_a": (200, 80),
    "clip:imagenet_o": (200, 80),
    "clip:imagenet_r": (200, 80),
    "clip:kinetics700": (700, 28),
    "clip:kitti": (4, 1),
    "clip:mnist": (10, 1),
    "clip:oxford_pets": (37, 1),
    "clip:patch_camelyon": (2, 1),
    "clip:resisc45": (45, 18),
    "clip:sst2": (2, 1),
    "clip:stanford_cars": (196, 8),
    "clip:stl10": (10, 2),
    "clip:sun397": (397, 2),
    "clip:ucf101": (101, 48),
    "clip:voc2007": (20, 1),
    "big_vision:clip_best": (1000, 8),
    "big_vision:clip_paper": (1000, 81),
}


def test_every_table_is_whole():
    assert set(prompts.table_names()) == set(COUNTS)
    for name, (num_classes, num_templates) in COUNTS.items():
        table = prompts.read_table(name, "classes")
        assert (len(table.classes), len(table.templates)) == (num_classes, num_templates), name
        assert all(names and all(names) for names in table.classes)
        assert len(set(table.templates)) == num_templates
        assert all(template.count("{}") == 1 for template in table.templates)
        assert table.source.startswith("https://github.com/")
        assert table.ids is None or len(set(table.ids)) == num_classes


def test_the_parts_of_imagenet_are_numbered_as_it_is():
    whole = prompts.read_table("clip:imagenet", "classes")
    assert whole.ids == sorted(whole.ids)
    named = dict(zip(whole.ids, whole.classes, strict=True))
    assert (named["n01440764"], named["n15075141"]) == (["tench"], ["toilet paper"])
    for part in "aor":
        table = prompts.read_table(f"clip:imagenet_{part}", "classes")
        assert table.ids == sorted(table.ids)
        assert table.classes == [named[one] for one in table.ids]
    seven = prompts.read_table("clip:imagenet_7", "templates").templates
    assert set(seven) < set(whole.templates)
    assert {*seven, "{}"} == set(prompts.read_templates("big_vision:clip_best"))


def test_a_class_may_have_several_names():
    table = prompts.read_table("clip:fer2013", "classes")
    assert table.classes[3] == ["happy", "smiling"]


def test_templates_from_files(tmp_path):
    text, data = tmp_path / "prompts.txt", tmp_path / "prompts.json"
    text.write_text("a photo of a {c}.\n\n{}\n", encoding="utf-8")
    data.write_text(json.dumps(["a photo of a {c}.", "{}"]), encoding="utf-8")
    for path in (text, data):
        assert prompts.read_templates(str(path)) == ["a photo of a {}.", "{}"]
    data.write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(ConfigError, match="must be a list of prompts"):
        prompts.read_templates(str(data))
    data.write_text('["{}", 3]', encoding="utf-8")
    with pytest.raises(ConfigError, match="3 is none"):
        prompts.read_templates(str(data))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("clip:imagent", r"no table 'clip:imagent'. Did you mean 'clip:imagenet'"),
        ("imagenet", "Did you mean the table 'clip:imagenet'"),
        ("food", r"cannot read food.*or one of the published tables.*clip:food101"),
        ("/absent/prompts.txt", r"cannot read /absent/prompts.txt: there is no such file\.$"),
        ("prompts.json", r"cannot read prompts.json: there is no such file\.$"),
        ("a {}", "must be a list of prompts"),
        (["a photo"], "exactly one {}"),
        ([], "must be a list of prompts"),
        (None, "must be a list of prompts"),
    ],
)
def test_mistakes_are_told(value, message):
    with pytest.raises(ConfigError, match=message):
        prompts.read_templates(value)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    for name, text in (("prompts.txt", "a {}.\n{}\n"), ("prompts.json", '["a {}.", "{}"]')):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert (tmp_path / name).read_bytes().startswith(b"\xef\xbb\xbf")
        assert prompts.read_templates(str(tmp_path / name)) == ["a {}.", "{}"]


def test_what_is_wrong_with_a_file_is_told(tmp_path):
    broken, latin = tmp_path / "broken.json", tmp_path / "latin.txt"
    broken.write_text('["owl", ', encoding="utf-8")
    latin.write_bytes("hérisson".encode("latin-1"))
    for path, message in (
        (broken, "broken.json is no JSON: .*line 1 column 9"),
        (latin, "it is no text in UTF-8"),
        (tmp_path, "cannot read .*Is a directory"),
        (tmp_path / "absent", "there is no such file"),
    ):
        with pytest.raises(ConfigError, match=message) as told:
            prompts.read_file(str(path), "classes", has_tables=True)
        assert "clip:" not in str(told.value)
    # Where no table is taken, none is offered.
    with pytest.raises(ConfigError, match=r"paraphrases: .* there is no such file\.$"):
        prompts.read_file("imagenet", "paraphrases")
