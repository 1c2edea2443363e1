"""config.tokenizer: which tokenizer a block makes, and what it learns from."""

import json
import pathlib
import runpy

import pytest
from ml_collections import ConfigDict

from bigclip.config import ConfigError
from bigclip.data.records import BadRecord, Record
from bigclip.data.tokenizer import clip_bpe, load_tokenizer, save_tokenizer, train_tokenizer
from bigclip.data.tokenizer.corpus import captions_of_source
from bigclip.data.tokenizer_options import read_tokenizer

TEXTS = [f"{colour} fox {number}" for colour in ("red", "blue") for number in range(100)]


class Listed:
    """Records by their number; a `bad` one cannot be read."""

    def __init__(self, texts=TEXTS, bad=()):
        self.texts, self.bad, self.reads = texts, bad, []

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        self.reads.append(index)
        if index in self.bad:
            raise BadRecord(str(index), "broken_json", "broken")
        return Record(str(index), b"", {"txt": [self.texts[index]], "alt": ["grey owl"]}, {})


class Batched(Listed):
    def __getitems__(self, indexes):
        records = [self[index] for index in indexes]
        self.reads = [*self.reads[: -len(indexes)], tuple(indexes)]
        return records


class Streamed:
    def sample_records(self, num):
        return iter([Listed()[index] for index in range(num)])


TRAINED = {"kind": "trained", "vocab_size": 300, "context_length": 8}


@pytest.mark.parametrize("source", [Listed(bad=(3, 70)), Batched(bad=(3, 70))])
def test_captions_of_all_records_but_broken_ones(source):
    found = list(captions_of_source(source, caption_sources=["txt"]))
    assert found == [text for i, text in enumerate(TEXTS) if i not in (3, 70)]
    assert list(captions_of_source(source, max_records=4)) == [
        text for i in (0, 50, 100, 150) for text in ("grey owl", TEXTS[i])
    ]


def test_records_are_read_in_batches_where_the_source_can():
    source = Batched()
    assert len(list(captions_of_source(source, max_records=100))) == 200
    assert source.reads == [tuple(range(0, 128, 2)), tuple(range(128, 200, 2))]


def test_a_stream_tells_a_sample_of_itself():
    found = list(captions_of_source(Streamed(), caption_sources=["txt"], max_records=7))
    assert found == TEXTS[:7]


@pytest.mark.parametrize("source", [Listed(), Batched(), Streamed()])
def test_trains_on_the_source(source):
    block = {**TRAINED, "caption_sources": ["txt"], "max_records": 200}
    made = read_tokenizer(ConfigDict(block))(source)
    assert made == train_tokenizer(TEXTS, vocab_size=300, context_length=8)


def test_a_saved_tokenizer_alone_or_in_a_manifest(tmp_path):
    trained = train_tokenizer(TEXTS, vocab_size=300, context_length=8)
    path = str(tmp_path / "tok.json")
    save_tokenizer(trained, path)
    assert read_tokenizer({"kind": "saved", "path": path})(None) == trained
    longer = read_tokenizer({"kind": "saved", "path": path, "context_length": 20})(None)
    assert longer(["red fox"])[0].tolist() == [*trained(["red fox"])[0], *[0] * 12]
    manifest = {"tokenizer": trained.to_dict(), "step": 3}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert load_tokenizer(str(tmp_path / "manifest.json")) == trained


def test_a_saved_tokenizer_by_the_folder_of_a_run(tmp_path):
    trained = train_tokenizer(TEXTS, vocab_size=300, context_length=8)
    text = json.dumps({"tokenizer": trained.to_dict(), "step": 3})
    for step in ("3/manifest", "10/manifest", "20"):  # 20 is half removed
        (tmp_path / "run" / "checkpoints" / step).mkdir(parents=True)
    (tmp_path / "run/checkpoints/10/manifest/metadata").write_text(text)
    for place in ("run", "run/checkpoints", "run/checkpoints/10"):
        assert load_tokenizer(str(tmp_path / place)) == trained
    for place in ("run/checkpoints/3", "run/checkpoints/20"):
        with pytest.raises(ConfigError, match="cannot read .*metadata: No such file"):
            load_tokenizer(str(tmp_path / place))


def test_clip_needs_no_file():
    assert read_tokenizer({"kind": "clip_bpe", "context_length": 9})(None) == clip_bpe(
        context_length=9
    )


def test_mistakes_are_named_before_any_file_is_opened(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer.kind is missing. Valid: clip_bpe, sent"):
        read_tokenizer({})
    with pytest.raises(ConfigError, match=r"no choice 'sentence_piece'. Did you mean 'sentencep"):
        read_tokenizer({"kind": "sentence_piece"})
    with pytest.raises(ConfigError, match=r"tokenizer.path is missing"):
        read_tokenizer({"kind": "sentencepiece", "path": None})
    with pytest.raises(ConfigError, match=r"unknown key 'source'"):
        read_tokenizer({**TRAINED, "source": 1})
    for kind in ("sentencepiece", "huggingface", "saved"):
        make = read_tokenizer({"kind": kind, "path": str(tmp_path / "none")})
        with pytest.raises(ConfigError, match=r"tokenizer.path: cannot read .*none: No such"):
            make(None)


def test_a_file_of_another_kind_is_told_from_a_saved_one(tmp_path):
    for content in ("a", "[1]", '{"model": {}, "added_tokens": []}', '{"tokenizer": 1}'):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(ConfigError, match="no tokenizer that bigclip saved.*huggingface"):
            load_tokenizer(str(tmp_path / "other.json"))


@pytest.mark.parametrize(
    ("size", "pad", "clean", "length"),
    [("so400m14", "</s>", "canonical", 16), ("gopt16", "model", "lower", 64)],
)
def test_siglip_takes_the_published_tokenizer_behind_the_size(size, pad, clean, length):
    configs = pathlib.Path(__file__).parents[2] / "configs"
    get_config = runpy.run_path(str(configs / "siglip.py"))["get_config"]
    block = get_config(f"{size},/data/c4,en:1/sp.model").tokenizer.to_dict()
    assert block.pop("kind") == "sentencepiece"
    assert block == {
        "path": "/data/c4,en:1/sp.model",
        "context_length": length,
        "eos": "model",
        "pad": pad,
        "clean": clean,
    }
    read_tokenizer({"kind": "sentencepiece", **block})  # every key is one of the reader's
    assert get_config(size).tokenizer.kind == "trained"
    with pytest.raises(ValueError, match="path of a SentencePiece model"):
        get_config("b17,/data/sp.model")
