"""`tokenizer.json` files: the ids of the `tokenizers` library, special ones included."""

import json
import pickle

import hypothesis
import pytest
import tokenizers
from caption_texts import AWKWARD, captions, invented
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from bigclip.config import ConfigError
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.tokenizer import Tokenizer, huggingface_tokenizer, load_tokenizer

# As in AWKWARD: what spells special tokens is the one thing that is cut differently.
HARMLESS = [text for text in AWKWARD if "<pad>" not in text]


def _bpe():
    """As GPT-2 and Llama 3: bytes, no post-processor, padding beside the file."""
    cut = tokenizers.Tokenizer(models.BPE())
    cut.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|pad|>", "<|start|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return cut, trainers.BpeTrainer(
        vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )


def _wordpiece():
    """As BERT."""
    cut = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    cut.normalizer = normalizers.BertNormalizer()
    cut.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return cut, trainers.WordPieceTrainer(
        vocab_size=1000, special_tokens=special, show_progress=False
    )


def _unigram():
    """As T5 and XLM-R."""
    cut = tokenizers.Tokenizer(models.Unigram())
    cut.normalizer = normalizers.NFKC()
    cut.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    return cut, trainers.UnigramTrainer(
        vocab_size=1000, special_tokens=special, unk_token="<unk>", show_progress=False
    )


@pytest.fixture(scope="module")
def originals():
    made = {}
    for kind, make in (("bpe", _bpe), ("wordpiece", _wordpiece), ("unigram", _unigram)):
        made[kind], trainer = make()
        made[kind].train_from_iterator(captions(), trainer)
    made["wordpiece"].post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made["wordpiece"].enable_padding(pad_id=0, pad_token="[PAD]", length=7)
    made["wordpiece"].enable_truncation(5)
    made["unigram"].post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    made["unigram"].add_tokens([tokenizers.AddedToken("fox", single_word=True)])
    return made


@pytest.fixture(scope="module")
def folder(originals, tmp_path_factory):
    """One folder a kind; only WordPiece's file tells its padding itself."""
    root = tmp_path_factory.mktemp("files")
    for kind, cut in originals.items():
        (root / kind).mkdir()
        cut.save(str(root / kind / "tokenizer.json"))
    config = {"pad_token": {"content": "<|pad|>", "special": True}}
    (root / "bpe" / "tokenizer_config.json").write_text(json.dumps(config))
    (root / "unigram" / "tokenizer_config.json").write_text(json.dumps({"pad_token": None}))
    (root / "unigram" / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<pad>"}))
    return root


KINDS = ("bpe", "wordpiece", "unigram")


def both(folder, kind, *, context_length, pad_id):
    ours = huggingface_tokenizer(str(folder / kind), context_length=context_length)
    theirs = tokenizers.Tokenizer.from_file(str(folder / kind / "tokenizer.json"))
    theirs.enable_truncation(context_length)
    theirs.enable_padding(pad_id=pad_id, length=context_length)
    return ours, theirs


PADS = {"bpe": 0, "wordpiece": 0, "unigram": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_library(folder, kind):
    ours, theirs = both(folder, kind, context_length=24, pad_id=PADS[kind])
    texts = [*HARMLESS, *captions()]
    used = set()
    for row, text in zip(ours(texts), texts, strict=True):
        assert row.tolist() == theirs.encode(text).ids, text
        used.update(row.tolist())
    assert len(used) > 300
    assert ours.vocab_size == theirs.get_vocab_size()


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_library_for_any_text(folder, kind):
    ours, theirs = both(folder, kind, context_length=20, pad_id=PADS[kind])

    @hypothesis.given(invented(max_size=40))
    @hypothesis.settings(max_examples=150, deadline=None)
    def holds(text):
        assert ours([text])[0].tolist() == theirs.encode(text).ids

    holds()


@pytest.mark.parametrize("kind", KINDS)
def test_replacements_are_all_tokens_that_a_text_may_hold(folder, originals, kind):
    ours = huggingface_tokenizer(str(folder / kind), context_length=32)
    decoder = originals[kind].get_added_tokens_decoder()
    special = {number for number, token in decoder.items() if token.special}
    assert len(special) >= 3
    text = " ".join(captions()[:20])
    augmenter = TextAugmenter(ours, token_replacement=0.99)
    # Some 45,000 draws of 1,000 tokens: that one never comes has a probability of 1e-17.
    rows = augmenter([text] * 1500, seed=0, positions=range(1500))
    inner = set(rows.flat) - {ours.sot, ours.eot, ours.pad}
    kept = set(ours.ids(text)) & special  # 1% is as it was: unknown words, too
    assert inner - kept == set(originals[kind].get_vocab().values()) - special


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_makes_a_special_id(folder, originals, kind):
    text = "".join(originals[kind].get_added_tokens_decoder()[i].content for i in range(3))
    special = range(3) if kind != "wordpiece" else (0, 2, 3, 4)  # 1 is the unknown one
    assert set(originals[kind].encode(text, add_special_tokens=False).ids) & set(special)
    ours = huggingface_tokenizer(str(folder / kind), context_length=60, bos="none", eos="none")
    for spelt in (text, text.replace(">", "> "), text.replace("]", "] ")):
        row = ours([spelt])[0]
        inner = row[: len(ours.pieces(spelt))]
        assert len(inner) > 5
        assert not set(inner.tolist()) & set(special)


def test_special_words_of_the_model_are_not_found_in_texts(tmp_path):
    """A special token that is a word of the model's, too, and that nothing splits."""
    words = {"[UNK]": 0, "[PAD]": 1, "[SEP]": 2, "red": 3, "fox": 4}
    cut = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    cut.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    cut.add_special_tokens(["[UNK]", "[PAD]", "[SEP]"])
    cut.save(str(tmp_path / "tokenizer.json"))
    assert cut.encode("red [SEP] [PAD] fox").ids == [3, 2, 1, 4]
    ours = huggingface_tokenizer(str(tmp_path), pad="[PAD]", eos="[SEP]", context_length=8)
    assert ours(["red [SEP] [PAD] fox"])[0].tolist() == [3, 0, 0, 4, 2, 1, 1, 1]


def test_special_tokens_by_name_and_id(folder):
    path = str(folder / "bpe" / "tokenizer.json")
    own = huggingface_tokenizer(path)
    assert (own.sot, own.eot, own.pad) == (None, None, 0)  # the file puts nothing around a text
    named = huggingface_tokenizer(path, bos="<|start|>", eos="<|end|>", pad=2, context_length=8)
    assert (named.sot, named.eot, named.pad) == (1, 2, 2)
    assert named(["zebra " * 9])[0, [0, 7]].tolist() == [1, 2]
    bert = huggingface_tokenizer(str(folder / "wordpiece"), bos="none")
    assert (bert.sot, bert.eot, bert.pad) == (None, 3, 0)


def test_a_roberta_post_processor_is_read(folder, originals, tmp_path):
    cut = tokenizers.Tokenizer.from_str(originals["bpe"].to_str())
    cut.post_processor = processors.RobertaProcessing(("<|end|>", 2), ("<|start|>", 1))
    cut.save(str(tmp_path / "tokenizer.json"))
    ours = huggingface_tokenizer(str(tmp_path), pad="<|pad|>")
    assert (ours.sot, ours.eot, ours.pad) == (1, 2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_is_plain_data_and_back(folder, kind):
    ours = huggingface_tokenizer(str(folder / kind))
    copy = Tokenizer.from_dict(json.loads(json.dumps(ours.to_dict())))
    assert copy == ours
    assert (copy(captions()[:50]) == ours(captions()[:50])).all()
    assert copy.vocab_size == ours.vocab_size
    assert pickle.loads(pickle.dumps(ours)) == ours


def test_mistakes_are_named(folder, originals, tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer.path: cannot read .*tokenizer.json: No such"):
        huggingface_tokenizer(str(tmp_path))
    wrong = {"a": "is no JSON", "[1]": "no JSON object", '{"pieces": {}}': 'no tokenizer.json.*"sa'}
    for content, message in wrong.items():
        (tmp_path / "wrong.json").write_text(content)
        with pytest.raises(ConfigError, match=message):
            huggingface_tokenizer(str(tmp_path / "wrong.json"))
    originals["unigram"].save(str(tmp_path / "tokenizer.json"))  # nothing beside it
    with pytest.raises(ConfigError, match=r'tokenizer.pad: neither .*"<pad>" \(1\)'):
        huggingface_tokenizer(str(tmp_path))
    for wanted in ("▁red", "<none>", 500):
        with pytest.raises(ConfigError, match=f"tokenizer.eos: '?{wanted}'? is no special token"):
            huggingface_tokenizer(str(tmp_path), pad="<pad>", eos=wanted)
    cut = tokenizers.Tokenizer.from_str(originals["unigram"].to_str())
    cut.post_processor = processors.TemplateProcessing(
        single="$A </s> <s>", special_tokens=[("</s>", 2), ("<s>", 0)]
    )
    cut.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"tokenizer.eos: the file puts 2 ids there \(\[2, 0\]\)"):
        huggingface_tokenizer(str(tmp_path), pad="<pad>")


def test_a_panic_of_the_library_is_a_mistake_of_the_file(folder, tmp_path):
    """Its Rust code stops over damaged tables by what is no Exception of Python's."""
    content = json.loads((folder / "unigram" / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="is no tokenizer.json .*charsmap"):
        huggingface_tokenizer(str(tmp_path), pad="<pad>")
    saved = {"context_length": 9, "sot": None, "eot": 2, "pad": 1, "clean": "none"}
    with pytest.raises(ConfigError, match="the `tokenizers` library cannot read it: .*charsmap"):
        Tokenizer.from_dict({**saved, "pieces": content})
    (tmp_path / "saved.json").write_text(json.dumps({**saved, "pieces": content}))
    with pytest.raises(ConfigError, match="saved.json: the `tokenizers` library cannot read it"):
        load_tokenizer(str(tmp_path / "saved.json"))
