"""Random models and small vocabularies of the kinds that transformers saves, and how it does."""

import functools
import io
import json
import pathlib
import tempfile

import pytest
import sentencepiece
import tokenizers
from caption_texts import captions

from bigclip.data.tokenizer import huggingface_tokenizer


def library():
    """Import transformers, or skip."""
    pytest.importorskip("torch", reason="compares with transformers: pip install bigclip[peers]")
    from bigclip.interop.torchvision_import import import_torchvision

    import_torchvision()  # PyPI's torchvision is built for CUDA: its own import fails on a CPU
    return pytest.importorskip("transformers", reason="pip install bigclip[peers]")


def save_peer(folder, kind):
    """Save a model with random weights of odd sizes, with its own code; return it."""
    transformers = library()
    import torch

    torch.manual_seed(0)
    vision = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 80,
        "patch_size": 8,
    }
    vision |= {"num_patches": 9} if kind == "siglip2" else {"image_size": 29}
    text = {
        "hidden_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "intermediate_size": 72,
        "vocab_size": 1200 if kind == "siglip" else 300,
        "max_position_embeddings": 11,
        "eos_token_id": 299,
        "bos_token_id": 1,
        "pad_token_id": 0,
    }
    name = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2"}[kind]
    top = {"projection_dim": 32} if kind == "clip" else {}
    if kind != "clip":
        text["projection_size"] = vision["hidden_size"]
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision, **top)
    model = getattr(transformers, f"{name}Model")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
        model.logit_scale.fill_(2.9)
    model.save_pretrained(folder)
    return model


def save_processor(folder, kind):
    """Save the class's own processor, with a small vocabulary of its kind."""
    transformers = library()
    if kind == "clip":
        image = transformers.CLIPImageProcessor(
            size={"shortest_edge": 29}, crop_size={"height": 29, "width": 29}
        )
        tokenizer = transformers.CLIPTokenizer(**clip_vocabulary(), model_max_length=11)
        transformers.CLIPProcessor(image, tokenizer).save_pretrained(folder)
    elif kind == "siglip":
        image = transformers.SiglipImageProcessor(size={"height": 29, "width": 29})
        (folder / "spiece.model").write_bytes(sentencepiece_model("unigram"))
        tokenizer = transformers.SiglipTokenizer(
            str(folder / "spiece.model"), model_max_length=11, model_input_names=["input_ids"]
        )
        transformers.SiglipProcessor(image, tokenizer).save_pretrained(folder)
    else:
        image = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=9)
        tokenizer = transformers.Siglip2Tokenizer(
            **gemma_vocabulary(), padding_side="right", add_bos_token=False, add_eos_token=True
        )
        tokenizer.model_max_length = 11
        transformers.Siglip2Processor(image, tokenizer).save_pretrained(folder)


def _trained(tokenizer, size, **options):
    """Learn byte pairs; return vocabulary and merges."""
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, show_progress=False, **options)
    tokenizer.train_from_iterator(captions(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def clip_vocabulary():
    """297 words; the end of text is the largest id, 299, as in OpenAI's."""
    cut = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    cut.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    cut.normalizer = tokenizers.normalizers.Lowercase()
    found = _trained(cut, 298, end_of_word_suffix="</w>")
    found["vocab"] |= {"<|startoftext|>": 298, "<|endoftext|>": 299}
    return found


def gemma_vocabulary():
    cut = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True))
    cut.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    return _trained(cut, 299, special_tokens=special, limit_alphabet=120)


def gemma_json():
    """The content of a tokenizer.json with the special tokens and rules of Gemma's."""
    cut = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            **gemma_vocabulary(), unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    cut.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    cut.add_special_tokens([tokenizers.AddedToken(name, normalized=False) for name in special])
    return json.loads(cut.to_str())


@functools.cache
def gemma_tokenizer(context_length):
    """Ours, of SigLIP 2's kind."""
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "tokenizer.json"
        path.write_text(json.dumps(gemma_json()))
        options = {"bos": "none", "eos": "<eos>", "pad": "<pad>", "clean": "lower"}
        return huggingface_tokenizer(str(path), context_length=context_length, **options)


def sentencepiece_model(kind):
    """Learn 1,200 pieces, with the ids of T5's and SigLIP's C4 model."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions()),
        model_writer=written,
        model_type=kind,
        vocab_size=1200,
        hard_vocab_limit=False,
        character_coverage=0.98,
        minloglevel=2,
        num_threads=1,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    )
    return written.getvalue()
