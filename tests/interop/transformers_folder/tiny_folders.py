"""Tiny models of each kind that transformers has a class for, with odd sizes, and their folders."""

from hf_folders import gemma_tokenizer
from random_models import InMemory, small_tokenizer

from bigclip.data.preprocess import Preprocess
from bigclip.interop.transformers_folder import FORMAT
from bigclip.models import architecture

HALF = (0.5, 0.5, 0.5)
# Widths, depths, heads and MLPs of the two towers all differ: see `architectures._test_size`.
CLIP = architecture("tiny-clip", image={"activation": "gelu"}, text={"vocab_size": 300})
SIGLIP = architecture("tiny-siglip", text={"vocab_size": 300, "activation": "gelu"})
KINDS = ("clip", "siglip", "siglip2")
CLASS = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}


def model_of(kind, **options):
    """Make a model that a class can say, with what may differ."""
    tokenizer = gemma_tokenizer(11) if kind == "siglip2" else small_tokenizer(11)
    defaults = {"tokenizer": tokenizer}
    if kind == "clip":
        defaults |= {"arch": CLIP, "preprocess": Preprocess(size=24, resize="crop")}
    else:
        prepare = Preprocess(size=24, mean=HALF, std=HALF, interpolation="bilinear")
        defaults |= {"arch": SIGLIP, "preprocess": prepare, "loss": "sigmoid"}
    return as_from(kind, InMemory(**(defaults | options)))


def as_from(kind, model):
    """Note in the manifest which class it came out of, as an import does."""
    model.manifest["origin"] = {"format": "transformers", "class": CLASS[kind]}
    return model


def folder_of(model, dest):
    """Export a model; return the folder."""
    dest.mkdir()
    FORMAT.write(dest, model)
    return dest
