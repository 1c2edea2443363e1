"""The committed pack: whole, as its summary says, and split without leaks."""

import hashlib
import io
import json
import re
import tarfile
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigclip.data import embedded

FOLDER = Path(embedded.__file__).parent
LICENSES = {"Apache-2.0", "MIT", "CC-BY-4.0", "Public domain"}


@pytest.fixture(scope="module")
def records():
    """Split -> list of (key, WebP bytes, main caption, metadata), read with tarfile alone."""
    found = defaultdict(list)
    for split in embedded.SPLITS:
        for path in embedded.shards(split):
            with tarfile.open(path) as tar:
                members = {m.name: tar.extractfile(m).read() for m in tar}
            for stem in [name[:-5] for name in members if name.endswith(".json")]:
                found[split].append(
                    (
                        stem,
                        members[f"{stem}.webp"],
                        members[f"{stem}.txt"].decode(),
                        json.loads(members[f"{stem}.json"]),
                    )
                )
            assert len(members) % 3 == 0
    return found


def spelling(text):
    """An independent, coarser form than the recipe's: letters and digits, no final s."""
    text = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[\W_]+", "", text).removesuffix("s") or text


def plain(text):
    """The same for other scripts, whose vowel signs are no word characters."""
    return unicodedata.normalize("NFC", "".join(text.casefold().split()))


def test_shards_and_summary_agree(records):
    summary = embedded.summary()
    assert sorted(summary["shards"]) == sorted(p.name for p in FOLDER.glob("*.tar"))
    for name, facts in summary["shards"].items():
        data = (FOLDER / name).read_bytes()
        assert len(data) == facts["bytes"]
        assert hashlib.sha256(data).hexdigest() == facts["sha256"]
    for split, part in records.items():
        counted = summary["splits"][split]
        assert len(part) == counted["records"]
        assert dict(Counter(m["style"] for *_, m in part)) == counted["styles"]
        assert len({m["concept"] for *_, m in part}) == counted["concepts"]
        assert len({m["group"] for *_, m in part}) == counted["groups"]
        assert sum(len(image) for _, image, *_ in part) == counted["image_bytes"]
    everything = [m for part in records.values() for *_, m in part]
    assert dict(Counter(m["license"] for m in everything)) == summary["licenses"]
    assert len(everything) == summary["records"]


def test_size_is_fit_for_a_repository():
    assert 9e6 < embedded.summary()["image_bytes"] < 13e6
    assert 6 <= len(embedded.shards("train")) <= 10


def test_records_are_well_formed(records):
    for split, part in records.items():
        assert [key for key, *_ in part] == [f"{i:06d}" for i in range(len(part))]
        for _, _, text, metadata in part:
            assert text == metadata["concept"]
            assert text.strip()
            assert set(metadata) == {
                "captions",
                "concept",
                "group",
                "license",
                "origin",
                "style",
            }
            assert metadata["captions"].keys() & {"name", "title"}, (split, metadata)
            for texts in metadata["captions"].values():
                assert texts
                assert all(isinstance(t, str) and t == t.strip() and t for t in texts)
                assert len(set(texts)) == len(texts)


def test_pictures_decode_and_show_something(records):
    for part in records.values():
        for key, image, _, metadata in part:
            picture = Image.open(io.BytesIO(image))
            assert picture.format == "WEBP"
            assert picture.mode == "RGB"
            assert picture.size == (64, 64)
            # A white dove on white differs from its ground by some 20 levels at its outline.
            darkest = min(low for low, _ in picture.getextrema())
            assert darkest < 240, (key, metadata["origin"])


def test_no_english_training_caption_is_a_held_out_name(records):
    held_out = {spelling(m["captions"]["name"][0]) for *_, m in records["heldout_concepts"]}
    assert len(held_out) > 150
    for *_, metadata in records["train"] + records["heldout_style"]:
        for source in ("name", "keywords", "title", "description"):
            for text in metadata["captions"].get(source, []):
                assert spelling(text) not in held_out, (text, metadata["origin"])


def test_no_other_language_names_a_held_out_concept(records):
    held_out = defaultdict(set)
    for *_, metadata in records["heldout_concepts"]:
        for source, texts in metadata["captions"].items():
            if len(source) == 2:
                held_out[source].update(plain(t) for t in texts)
    assert len(held_out) == 10
    for *_, metadata in records["train"]:
        for source in held_out.keys() & metadata["captions"].keys():
            for text in metadata["captions"][source]:
                assert plain(text) not in held_out[source], (text, metadata["origin"])


def test_held_out_families_and_titles_stay_out_of_training(records):
    train = {m["group"] for *_, m in records["train"] if m["style"] != "openclipart"}
    assert not train & {m["group"] for *_, m in records["heldout_concepts"]}
    titles = {spelling(t) for *_, t, m in records["train"] if m["style"] == "openclipart"}
    assert not titles & {spelling(t) for *_, t, _ in records["heldout_titles"]}
    for roles in (("man", "woman"), ("men", "women")):
        where = {
            m["concept"]: split
            for split in ("train", "heldout_concepts")
            for *_, m in records[split]
            if m["style"] != "openclipart"
        }
        for concept, split in where.items():
            other = re.sub(rf"\b{roles[0]}\b", roles[1], concept)
            assert where.get(other, split) == split, (concept, other)


def test_held_out_style_is_unseen_but_its_concepts_are_not(records):
    assert {m["style"] for *_, m in records["heldout_style"]} == {"fxemoji"}
    assert "fxemoji" not in {m["style"] for *_, m in records["train"]}
    held_out = {m["concept"] for *_, m in records["heldout_style"]}
    assert held_out <= {m["concept"] for *_, m in records["train"]}


def test_held_out_concepts_are_a_fair_share_in_every_style(records):
    styles = Counter(m["style"] for *_, m in records["heldout_concepts"])
    train = Counter(
        m["style"] for *_, m in records["train"] if not m["concept"].startswith("flag:")
    )
    for style in train.keys() - {"openclipart"}:
        # 12 % of families by hash; three standard deviations of a share of 1,100 are 3 %.
        assert 0.09 < styles[style] / (styles[style] + train[style]) < 0.15
    assert styles["fxemoji"] > 80
    assert not any(m["concept"].startswith("flag:") for *_, m in records["heldout_concepts"])


def test_no_picture_occurs_twice_and_none_nearly_in_training(records):
    pixels = {
        split: [np.asarray(Image.open(io.BytesIO(image)), np.int16) for _, image, *_ in part]
        for split, part in records.items()
    }
    everything = [p.tobytes() for part in pixels.values() for p in part]
    assert len(set(everything)) == len(everything)

    def thumbnails(part):
        return np.stack([p.reshape(16, 4, 16, 4, 3).mean((1, 3)).ravel() for p in part])

    train = thumbnails(pixels["train"]).astype(np.float32)
    norms = (train**2).sum(1)
    for split in set(embedded.SPLITS) - {"train"}:
        held_out = thumbnails(pixels[split]).astype(np.float32)
        squares = norms - 2 * held_out @ train.T + (held_out**2).sum(1)[:, None]
        # Root mean square of the difference of 16 x 16 thumbnails, in levels of 255. A picture
        # saved again stays below 1; one o'clock and two o'clock of one style differ by more than 3.
        assert np.sqrt(max(squares.min(), 0) / train.shape[1]) > 1.0, split


def test_notice_names_every_source_and_licence(records):
    notice = (FOLDER / "NOTICE").read_text(encoding="utf-8")
    summary = embedded.summary()
    assert set(summary["licenses"]) <= LICENSES
    packages = {m["origin"].split(":")[0] for part in records.values() for *_, m in part}
    for package in packages | {"cldr-annotations-full", "cldr-annotations-derived-full"}:
        assert re.search(rf"package: (npm|apt) {re.escape(package)} \S+\d", notice), package
    for style, count in summary["styles"].items():
        assert f"(style {style!r}): {count} pictures" in notice
    for text in ("https://creativecommons.org/licenses/by/4.0/", "UNICODE LICENSE V3", "Ranks.com"):
        assert text in notice
    assert "Permission is hereby granted, free of charge" in notice


def test_unknown_split_is_told_with_the_choices():
    with pytest.raises(ValueError, match="heldout_style"):
        embedded.shards("validation")
