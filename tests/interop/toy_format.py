"""A foreign format for tests of what all formats share: an .npz with the tiny model's arrays."""

import numpy as np

from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.files import open_weights, write_npz
from bigclip.interop.format import Format, Imported
from bigclip.interop.mapping import Row
from bigclip.models import architecture

NORMS = ("ln_attention", "ln_mlp")
DENSE = ("attention/out", "mlp/up", "mlp/down")


def rows(arch):
    """PyTorch's habits: matrices transposed, query, key and value packed."""
    table = []
    for tower in ("image", "text"):
        block, there = f"{tower}/block_{{}}", f"{tower}.{{}}"
        for name in (*(f"{block}/{one}" for one in NORMS), f"{tower}/ln_pre", f"{tower}/ln_post"):
            short = name.replace(block, there).replace("/", ".")
            table += [Row(f"{name}/scale", f"{short}.w"), Row(f"{name}/bias", f"{short}.b")]
        for name in DENSE:
            short = f"{there}.{name.replace('/', '.')}"
            table.append(Row(f"{block}/{name}/kernel", f"{short}.w", "transpose"))
            table.append(Row(f"{block}/{name}/bias", f"{short}.b"))
        for leaf, change in (("kernel", "transpose"), ("bias", "same")):
            ours = tuple(f"{block}/attention/{one}/{leaf}" for one in ("query", "key", "value"))
            table.append(Row(ours, f"{there}.qkv.{leaf[0]}", change))
        table.append(Row(f"{tower}/position", f"{tower}.pos"))
        table.append(Row(f"{tower}/projection/kernel", f"{tower}.proj", "transpose"))
    table += [
        Row("image/stem/kernel", "image.conv", "conv"),
        Row("image/class_token", "image.cls", "row"),
        Row("text/token_embedding", "text.embed"),
        Row("log_logit_scale", "t", "scalar"),
        Row("logit_bias", "b", "scalar"),
    ]
    return tuple(table)


def read(path, options):
    weights = open_weights(path)
    size = {"vocab_size": 300, "context_length": 11, "depth": 1}
    towers = ("image", "text") if options.tower is None else (options.tower,)
    return Imported(
        weights=weights,
        rows=rows(None),
        architecture=architecture("tiny-clip", image={"depth": 2}, text=size),
        loss="sigmoid" if "b" in weights else "softmax",
        preprocess=Preprocess(size=24),
        tokenizer=_TOKENIZER[0],
        towers=towers,
        notes=("read a toy",),
    )


_TOKENIZER: list[Tokenizer] = []


def write(path, model):
    _TOKENIZER[:] = [model.tokenizer]
    specs, arrays = model.translated(rows(None), where="toy")
    write_npz(path, specs, arrays)


class Reference:
    """The model itself, with an error of the size asked for."""

    def __init__(self, model, error=0.0):
        self.model, self.error = model, error

    def pixels(self, pictures):
        mean, std = self.model.preprocess.mean, self.model.preprocess.std
        prepared = np.stack([self.model.preprocess(one) for one in pictures])
        return ((prepared / 255 - mean) / std).astype(np.float32)

    def ids(self, texts):
        return self.model.tokenize(texts)

    def embed_images(self, pixels):
        mean, std = (np.asarray(x) for x in (self.model.preprocess.mean, self.model.preprocess.std))
        images = np.rint((pixels * std + mean) * 255).astype(np.uint8)
        return self.model.embed_images(images) + self.error

    def embed_texts(self, ids):
        return np.asarray(self.model._embed_texts(self.model.params, ids))

    def logits(self, pixels, ids):
        return self.model.score(self.embed_images(pixels), self.embed_texts(ids))


def toy(reference=None) -> Format:
    """Return the format."""
    return Format(
        name="toy",
        title="a toy",
        suffixes=(".npz",),
        recognises=lambda path: True,
        read=read,
        write=write,
        reference=reference,
        install="pip toy",
        usage="toy {path}",
    )
