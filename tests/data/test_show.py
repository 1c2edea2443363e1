"""The contact sheet shows what training reads, and says what a person should see."""

import base64
import collections
import io
import itertools
import pathlib
import re
import types

import numpy as np
import PIL.Image
import pytest
import tiny_config
from page_reading import Images

from bigclip.data.image_size import image_size
from bigclip.data.pipeline import read_pipeline
from bigclip.data.run_records import RunRecords
from bigclip.data.show.bars import Bar, side_bars, token_bars
from bigclip.data.show.page import page
from bigclip.data.show.pieces import readable_pieces
from bigclip.data.show.poster import Poster
from bigclip.data.show.rows import read_rows
from bigclip.data.show.sheet import make_sheet
from bigclip.data.show.survey import survey
from bigclip.data.tokenizer import clip_bpe, load_tokenizer, save_tokenizer, train_tokenizer

ROOT = pathlib.Path(__file__).parents[2]
TINY = str(pathlib.Path(tiny_config.__file__))
WORDS = "fox owl red blue house tree moon boat cup key"
LENGTHS = (7, 5, 9, 6)
BATCH, SEED = 12, 5


@pytest.fixture(scope="module")
def tokenizer_path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("tokenizer") / "tok.json")
    save_tokenizer(train_tokenizer([WORDS] * 3, vocab_size=330, context_length=8), path)
    return path


@pytest.fixture
def pipeline_of(write_shards, tokenizer_path):
    """Open 27 records in some way; `change` may spoil them."""

    def open_them(*, change=None, lengths=LENGTHS, source=None, **data):
        shards = write_shards(*lengths, change=change)
        blocks = {
            "random": {"shards": shards},
            "stream": {"shards": shards, "access": "stream", "num_streams": 4, "shuffle_window": 8},
        }
        parts = {
            f"part{number}": {"kind": "webdataset", **blocks["random"], "weight": number + 1}
            for number in range(2)
        }
        streams = {
            f"part{number}": {"kind": "webdataset", **blocks["stream"], "weight": number + 1}
            for number in range(2)
        }
        kind = {
            "random": {"kind": "webdataset", **blocks["random"]},
            "stream": {"kind": "webdataset", **blocks["stream"]},
            "mixture": {"kind": "mixture", "sources": parts},
            "streams": {"kind": "mixture", "sources": streams},
        }[source or "random"]
        block = {
            "source": kind,
            "captions": {"weights": {"name": 1.0, "keywords": 1.0}, "join": ("keywords",)},
            "augment": {"crop": "resized", "scale": (0.5, 1.0), "flip": 0.5, "hue": 0.1},
            "max_bad_fraction": 0.5,
            **data,
        }
        config = {
            "data": block,
            "preprocess": {"size": 16},
            "tokenizer": {"kind": "saved", "path": tokenizer_path},
        }
        return read_pipeline(config)

    return open_them


def trained_rows(pipeline, start_batch, num):
    """What training reads, row by row: all batches from the first, whole."""
    rows = []
    with pipeline.open_batches(batch_size=BATCH, seed=SEED) as batches:
        for batch in itertools.islice(batches, start_batch, None):
            rows += [{name: array[row] for name, array in batch.items()} for row in range(BATCH)]
            if len(rows) >= num:
                return rows[:num]
    return rows


def sheet_of(pipeline, *, num=10, start_batch=0, num_surveyed=20):
    return make_sheet(
        pipeline,
        title="a.py",
        batch_size=BATCH,
        seed=SEED,
        start_batch=start_batch,
        num=num,
        num_surveyed=num_surveyed,
    )


@pytest.mark.parametrize("source", ["random", "stream", "mixture", "streams"])
@pytest.mark.parametrize(("start_batch", "num"), [(0, 3), (4, 6), (1, 30)])
def test_rows_are_those_that_training_reads(pipeline_of, source, start_batch, num):
    pipeline = pipeline_of(source=source)
    shown, tally = read_rows(
        pipeline, batch_size=BATCH, seed=SEED, start_batch=start_batch, num=num
    )
    trained = trained_rows(pipeline, start_batch, num)
    assert len(shown) == len(trained) == num
    for place, (example, row) in enumerate(zip(shown, trained, strict=True)):
        assert (example.batch, example.row) == divmod(start_batch * BATCH + place, BATCH)
        np.testing.assert_array_equal(example.picture, row["image"])
        [caption] = example.captions
        np.testing.assert_array_equal(caption.ids, row["text"])
        # The picture's colour tells the number in the key; lossy WebP moves it by a few levels.
        number = int(example.key.rpartition("/")[2])
        assert np.abs(example.untouched.mean((0, 1)) - [number % 251, 0, 128]).max() < 6
        assert example.size == (24, 20)
    assert tally.num_seen >= num


def test_no_more_rows_are_made_than_are_shown(pipeline_of):
    # A stream counts its window of 4 when it is begun.
    for source, made in (("random", 3), ("stream", 4)):
        _, tally = read_rows(
            pipeline_of(source=source), batch_size=BATCH, seed=SEED, start_batch=0, num=2
        )
        assert tally.num_seen <= made


def test_filtered_records_are_found_again(pipeline_of):
    for source in ("random", "stream"):
        pipeline = pipeline_of(source=source, filters={"scores": {"number": [3, 20]}})
        shown, _ = read_rows(pipeline, batch_size=BATCH, seed=SEED, start_batch=1, num=12)
        trained = trained_rows(pipeline, 1, 12)
        for example, row in zip(shown, trained, strict=True):
            np.testing.assert_array_equal(example.picture, row["image"])
            assert 3 <= int(example.key.rpartition("/")[2]) <= 20
        sheet = sheet_of(pipeline)
        [tile] = [tile for tile in sheet.tiles if tile.label == "Left out"]
        assert tile.note.startswith("score ")
        assert ("Filters", "scores number: 3 to 20") in sheet.block


def test_all_captions_of_a_row_are_shown(pipeline_of):
    captions = {"policy": "all", "weights": {"name": 1, "txt": 1}}
    pipeline = pipeline_of(captions=captions)
    shown, _ = read_rows(pipeline, batch_size=BATCH, seed=SEED, start_batch=0, num=3)
    for example, row in zip(shown, trained_rows(pipeline, 0, 3), strict=True):
        first, second = example.captions
        number = int(example.key.rpartition("/")[2])
        assert second.text == f"{first.text} {number}"
        np.testing.assert_array_equal([first.ids, second.ids], row["text"])


def test_a_row_that_is_not_of_its_record_is_an_error(pipeline_of, monkeypatch):
    # The two sources have other texts, so that a wrong draw shows in some row.
    pipeline = pipeline_of(captions={"weights": {"name": 1, "txt": 1}})
    where = {"batch_size": BATCH, "seed": SEED, "start_batch": 0, "num": BATCH}
    read_rows(pipeline, **where)
    position = RunRecords.position
    monkeypatch.setattr(RunRecords, "position", lambda *args: position(*args) + 1)
    with pytest.raises(RuntimeError, match=r"row \d+ of batch 0 is not made of part-"):
        read_rows(pipeline, **where)


def spoil(number, members):
    if number in (2, 11):
        members["webp"] = b"no picture"
    if number == 7:
        members["json"] = b"{"


@pytest.mark.parametrize("source", ["random", "stream"])
def test_bad_records_are_counted_and_named(pipeline_of, source):
    pipeline = pipeline_of(source=source, change=spoil)
    shown, tally = read_rows(pipeline, batch_size=BATCH, seed=SEED, start_batch=0, num=36)
    trained = trained_rows(pipeline, 0, 36)
    assert [example.num_bad for example in shown] == [row["bad"] for row in trained]
    for example, row in zip(shown, trained, strict=True):
        np.testing.assert_array_equal(example.picture, row["image"])
    assert tally.bad["unknown_image"] > 0
    sheet = sheet_of(pipeline, num=36, num_surveyed=1000)
    keys = {key.rpartition("/")[2] for key, _ in sheet.bad}
    assert keys == {"000002", "000007", "000011"}
    assert "starts b'no picture'" in dict(sheet.bad)["part-000.tar/000002"]
    [tile] = [tile for tile in sheet.tiles if tile.label == "Bad records"]
    assert "unknown_image" in tile.note
    assert "broken_json" in tile.note
    for found in (page(sheet), "".join(line for line, *_ in Poster(sheet)._head)):
        assert "part-000.tar/000002" in found


def test_more_bad_records_than_a_run_takes_are_shown_and_told(pipeline_of):
    sheet = sheet_of(pipeline_of(change=spoil, max_bad_fraction=0.01))
    assert "more than config.data.max_bad_fraction = 0.01 allows" in sheet.odd[0]
    assert not any(
        "max_bad_fraction" in sentence
        for sentence in sheet_of(pipeline_of(change=spoil, max_bad_fraction=0.5)).odd
    )


def test_the_survey_counts_every_record(pipeline_of):
    pipeline = pipeline_of(captions={})
    found = survey(pipeline, batch_size=BATCH, seed=SEED, start_batch=0, num=1000)
    records = [pipeline.source[number] for number in range(27)]
    texts = [record.captions["txt"][0] for record in records]
    assert found.num_records == 27
    assert found.texts == collections.Counter(texts)
    # Two special ids and the pieces.
    lengths = [2 + len(pipeline.tokenizer.pieces(text)) for text in texts]
    assert sorted(found.num_tokens) == sorted(lengths)
    assert sorted(map(tuple, found.sizes)) == [image_size(record.image) for record in records]
    assert sorted(found.num_bytes) == sorted(len(record.image) for record in records)
    streamed = pipeline_of(captions={}, source="stream")
    other = survey(streamed, batch_size=BATCH, seed=SEED, start_batch=0, num=1000)
    assert (other.num_records, other.texts) == (27, found.texts)
    few = survey(pipeline, batch_size=BATCH, seed=SEED, start_batch=0, num=5)
    assert few.num_records == 5


def odd_of(pipeline, **options):
    return " ".join(sheet_of(pipeline, **options).odd)


def test_what_is_unusual_is_told(pipeline_of, picture_encoder):
    def spoilt(number, members):
        members["txt"] = b"fox " * (20 if number % 3 == 0 else 1 + number % 4)
        width = 100 if number % 5 == 0 else 20
        members["webp"] = picture_encoder(np.zeros((20, width, 3), np.uint8), "webp")

    told = odd_of(pipeline_of(change=spoilt, captions={}), num=12, num_surveyed=27)
    assert "33% of the captions are cut: they have more than the 8 tokens" in told
    assert "of their kind, such as “fox" in told
    assert "22% of the pictures are more than 3 times as long as wide" in told
    assert "enlarged" not in told
    fine = sheet_of(pipeline_of(captions={}), num=3, num_surveyed=5)
    assert fine.odd == []
    assert "Nothing unusual" in page(fine)


def test_enlarged_pictures_and_too_few_records_are_told(pipeline_of, picture_encoder):
    def spoilt(number, members):
        if number < 9:
            members["webp"] = picture_encoder(np.zeros((15, 40, 3), np.uint8), "webp")

    told = odd_of(pipeline_of(change=spoilt), num_surveyed=27)
    assert "33% of the pictures are enlarged" in told
    assert "16 pixels" in told
    assert "There are 9 records for a batch of 12" in odd_of(pipeline_of(lengths=(9,)))


def test_the_page_holds_the_very_pictures_and_no_markup_of_captions(pipeline_of):
    def spoilt(number, members):
        members["txt"] = f"<script>fox</script> & <b>{number}".encode()

    pipeline = pipeline_of(change=spoilt, captions={})
    sheet = sheet_of(pipeline, num=5)
    found = Images(page(sheet))
    assert "script" not in found.tags
    assert "b" in found.tags  # of the page itself
    assert found.links == []
    pictures = found.sources[::2]  # each is followed by the untouched one
    assert len(pictures) == 5
    for uri, row in zip(pictures, trained_rows(pipeline, 0, 5), strict=True):
        kind, _, data = uri.partition(",")
        assert kind == "data:image/webp;base64"
        shown = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
        np.testing.assert_array_equal(np.asarray(shown), row["image"])
    texts = "".join(found.texts)
    for example in sheet.examples:
        assert example.captions[0].text in texts
        assert example.key in texts
        assert f"{example.captions[0].num_tokens} tokens, cut at 8" in texts


def test_the_poster_holds_the_very_pictures(pipeline_of):
    pipeline = pipeline_of()
    poster = Poster(sheet_of(pipeline, num=11))
    image = np.asarray(poster.draw())
    assert poster.factor == 9
    for number, row in enumerate(trained_rows(pipeline, 0, 11)):
        left, top = poster.place(number)
        drawn = image[top : top + poster.side, left : left + poster.side]
        np.testing.assert_array_equal(drawn[::9, ::9], row["image"])
        np.testing.assert_array_equal(drawn[8::9, 8::9], row["image"])


def test_pieces_are_readable(tokenizer_path):
    def told(tokenizer, text):
        return [
            (piece.text, piece.begins_word)
            for piece in readable_pieces(tokenizer, tokenizer.pieces(text))
        ]

    own = load_tokenizer(tokenizer_path)
    assert told(own, "red foxing é") == [
        ("red", True), ("fox", True), ("i", False), ("n", False), ("g", False),
        ("␣", True), ("\\xc3", False), ("\\xa9", False),
    ]  # fmt: skip
    assert told(own, "") == []
    passes_over = train_tokenizer([WORDS] * 3, vocab_size=330, unknown_words="leave_out")
    assert told(passes_over, "é red fox") == [("red", True), ("fox", True)]
    control = [piece.text for piece in readable_pieces(own, [own.piece(n) for n in range(1, 257)])]
    assert "\\x00" in control
    assert not any(map(re.compile(r"[\x00-\x1f\x7f]").search, control))
    assert told(clip_bpe(), "Photographs of cafés") == [
        ("photographs", True), ("of", True), ("caf", True), ("és", False)
    ]  # fmt: skip
    cuts = {"é": ["\u2581é"], "Ã fox": ["\u2581Ã", "\u2581f", "ox"]}
    sentencepiece = types.SimpleNamespace(pieces=cuts.get, is_byte_level=False)
    assert told(sentencepiece, "Ã fox") == [("Ã", True), ("f", True), ("ox", False)]


def test_cut_pieces_are_those_the_model_does_not_see(pipeline_of):
    def spoilt(number, members):
        members["txt"] = b"fox owl red " * 4

    [example] = sheet_of(pipeline_of(change=spoilt, captions={}), num=1).examples
    [caption] = example.captions
    assert (caption.num_tokens, caption.is_cut, sum(caption.seen)) == (14, True, 6)
    assert [piece.text for piece in caption.pieces[:3]] == ["fox", "owl", "red"]


def as_read(word):
    """A piece of a byte-level vocabulary as a person reads it, by the bytes' own table."""
    whole = [*range(33, 127), *range(161, 173), *range(174, 256)]
    borrowed = [byte for byte in range(256) if byte not in whole]
    table = {chr(byte): byte for byte in whole}
    table |= {chr(256 + place): byte for place, byte in enumerate(borrowed)}
    text = bytes(table[one] for one in word).decode("utf-8", "backslashreplace")
    text = re.sub("[\\x00-\\x1f\\x7f-\\x9f]", lambda one: f"\\x{ord(one[0]):02x}", text)
    return text.strip() or "␣"


def test_dropped_tokens_and_words_in_pieces_are_told(pipeline_of):
    noise = {"token_dropout": 0.4, "merge_dropout": 0.5, "token_replacement": 0.3}
    several = {"policy": "all", "weights": {"txt": 1, "name": 1}}
    pipeline = pipeline_of(captions=several, augment_text=noise)
    sheet = sheet_of(pipeline, num=12)
    assert (
        "Augmentation of texts",
        "token_dropout 0.4; merge_dropout 0.5; token_replacement 0.3",
    ) in [(term, words.partition("; the")[0]) for term, words in sheet.block]
    kept, replaced, longer = [], [], []
    for caption in (caption for example in sheet.examples for caption in example.captions):
        columns = zip(caption.pieces, caption.others, caption.seen, strict=True)
        seen = [(other or piece).text for piece, other, seen in columns if seen]
        vocabulary = pipeline.tokenizer.to_dict()["pieces"]["model"]["vocab"]
        words = {number: as_read(word) for word, number in vocabulary.items()}
        assert seen == [words[one] for one in caption.ids.tolist() if one in words]
        spelt = "".join(piece.text for piece in caption.pieces).replace("␣", "")
        assert spelt == caption.text.replace(" ", "")
        kept += caption.kept
        replaced += [other is not None for other in caption.others]
        longer.append(len(caption.pieces) - len(pipeline.tokenizer.pieces(caption.text)))
    assert 0.4 < np.mean(kept) < 0.8
    assert 0.15 < np.mean(replaced) < 0.45
    made = page(sheet)
    drawn = sum(
        other is not None and stays
        for example in sheet.examples
        for caption in example.captions
        for other, stays in zip(caption.others, caption.kept, strict=True)
    )
    assert made.count('class="piece random') == drawn > 0
    assert min(longer) >= 0 < max(longer)


def test_histograms():
    tokens = token_bars(np.array([3, 4, 4, 8, 9, 30]), 8)
    assert tokens == [
        Bar("3", 1, False), Bar("4", 2, False), Bar("5", 0, False), Bar("6", 0, False),
        Bar("7", 0, False), Bar("8", 1, False), Bar("9", 1, True), Bar("10+", 1, True),
    ]  # fmt: skip
    many = token_bars(np.arange(1, 100), 64)
    assert len(many) <= 33
    assert sum(bar.count for bar in many) == 99
    assert sum(bar.count for bar in many if bar.is_odd) == 35
    sides = side_bars(np.array([(40, 30), (300, 230), (90, 5000), (4000, 3000)]), 224)
    assert sides == [
        Bar("0–31", 1, True), Bar("32–63", 0, True), Bar("64–127", 1, True),
        Bar("128–223", 0, True), Bar("224–255", 1, False), Bar("256–511", 0, False),
        Bar("512–1023", 0, False), Bar("1024–2047", 0, False), Bar("2048+", 1, False),
    ]  # fmt: skip
