"""Go on from any checkpoint: fine-tune it, lock a tower (LiT), another size, another tower.

    python -m bigclip.train --config configs/finetune.py:/ckpt/openai-b32 --workdir /runs/mine \
        --config.data.source.shards='/data/mine/{00000..00099}.tar'

Behind the checkpoint (a run's workdir, or what `bigclip.convert` wrote) stand, with commas:

    step=N             of a run; the newest by default
    weights=ema        the averaged weights instead of the raw ones
    lock=image         keeps this tower as it is ("text" the other one)
    image_size=N       other pictures: the positions are resized
    context_length=N   longer or shorter texts: the positions are cut or interpolated
    fresh=text         begins this tower anew ("image" the other one)
    architecture=NAME  whose tower the fresh one is; that of the checkpoint by default
    tokenizer=...      another one: clip_bpe, trained:VOCAB_SIZE, a .model, a tokenizer.json, or one
                       of bigclip's (a file, a run). A text tower that is kept takes over the
                       embeddings of the pieces that both have
    loss=sigmoid       another loss ("softmax")
    layer_decay=0.7    layers learn at this share of the rate of the layer above

All else is the checkpoint's: architecture, loss, preprocessing, tokenizer. lock=image,fresh=text is
LiT (arXiv 2111.07991) with its published recipe: Adafactor, learning rate 1e-3, 16,384 pairs a
batch, 60,000 steps. Otherwise weights that are kept learn at 1e-5 and batches have 512 pairs, as in
"Finetune like you pretrain" (arXiv 2212.00638), what is fresh learns at 1e-3, and embeddings of
another tokenizer at 1e-4. Patch dropout is off, and ResNets normalise by their running statistics,
which stay.
"""

import re
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from bigclip import checkpoints
from bigclip.data.tokenizer_options import read_tokenizer
from bigclip.interop.given_tokenizer import locate_tokenizer
from bigclip.models import architecture as read_architecture

KEYS = (
    "step", "weights", "lock", "image_size", "context_length", "fresh", "architecture", "tokenizer",
    "loss", "layer_decay",
)  # fmt: skip
_WHOLE = r"[0-9]{1,9}"
_NUMBERS = dict.fromkeys(("step", "image_size", "context_length"), _WHOLE)
_NUMBERS["layer_decay"] = r"0?\.[0-9]+|1(\.0*)?"
TOWERS = ("image", "text")
_KEPT_RATE, _FRESH_RATE = 1e-5, 1e-3
_TABLE_RATE = 1e-4  # of a table of tokens of which some rows are taken over


def get_config(arg: str = "") -> ConfigDict:
    """Return the configuration of "PATH[,key=value...]"."""
    path, options = _read(arg)
    step = int(options["step"]) if "step" in options else None
    manifest = checkpoints.read_manifest(path, step)
    fresh, lock = _towers(options, manifest)
    task, tokenizer = _model(path, options, manifest, fresh)
    image, text = task["architecture"]["image"], task["architecture"]["text"]

    config = ConfigDict()
    config.init_from = {
        "path": path,
        "step": placeholder(int) if step is None else step,
        "weights": options.get("weights", "params"),
        "fresh": _fresh_patterns(task, manifest, fresh),
        "resize_positions": True,
        "text_positions": "auto",
        "match_tokens": "tokenizer" in options and fresh != "text",
        "allow": (),
    }
    config.task = task
    config.preprocess = {**manifest["preprocess"], "size": image["image_size"]}
    config.tokenizer = {**tokenizer, "context_length": text["context_length"]}
    config.data = {
        "source": {
            "kind": "webdataset",
            "shards": placeholder(str),
            "access": "auto",
            "index_dir": placeholder(str),
        },
        "augment": {"crop": "resized", "scale": (0.9, 1.0), "interpolation": "bicubic"},
        "num_threads": 8,
        "num_workers": 8,
    }
    config.micro_batch_size = placeholder(int)
    if fresh and lock:
        config.batch_size, config.total_steps, warmup_steps = 16_384, 60_000, 10_000
        config.optimizer = {
            "name": "adafactor",
            "learning_rate": _FRESH_RATE,
            "weight_decay": 1e-4,
            "clip_norm": 1.0,
        }
    else:
        config.batch_size, config.total_steps, warmup_steps = 512, 5_000, 500
        config.optimizer = {
            "name": "adamw",
            "learning_rate": _FRESH_RATE if fresh else _KEPT_RATE,
            "weight_decay": 0.1,
            "clip_norm": 1.0,
        }
    config.schedule = {"name": "cosine", "warmup_steps": warmup_steps}
    config.optimizer.groups = _groups(task, options, fresh, lock)
    config.mesh = {"data": -1, "fsdp": 1, "tensor": 1}
    config.checkpoints = {"every_steps": 500, "every_minutes": 30.0, "keep_last": 5}
    config.log = {"every_steps": 20}
    config.evals = {}
    return config


def _read(arg: str) -> tuple[str, dict[str, str]]:
    # A path may hold equals signs, and commas that no key follows.
    path, *rest = re.split(r",(?=[a-z_]+=)", arg)
    if not path or path.startswith(tuple(f"{key}=" for key in KEYS)):
        raise ValueError(
            "configs/finetune.py needs a checkpoint: --config configs/finetune.py:PATH, a run's "
            "workdir or the folder of a converted model."
        )
    options = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if key not in KEYS or not equals or not value:
            raise ValueError(
                f"configs/finetune.py: {part!r} is not key=value with one of {', '.join(KEYS)}."
            )
        options[key] = value
        if key in _NUMBERS and not re.fullmatch(_NUMBERS[key], value):
            raise ValueError(f"configs/finetune.py: {key} = {value!r} is no such number.")
    for key in ("lock", "fresh"):
        if options.get(key, "text") not in TOWERS:
            raise ValueError(f"configs/finetune.py: {key} is one of {TOWERS}.")
    return path, options


def _towers(options: dict[str, str], manifest: dict[str, Any]) -> tuple[str | None, str | None]:
    """Which tower starts anew, and which is locked."""
    fresh, lock = options.get("fresh"), options.get("lock")
    missing = [name for name in TOWERS if name not in manifest.get("towers", TOWERS)]
    if missing and fresh != missing[0]:
        raise ValueError(
            f"configs/finetune.py: the checkpoint has no {missing[0]} tower: add "
            f"fresh={missing[0]}."
        )
    if fresh and fresh == lock:
        raise ValueError(f"configs/finetune.py: a fresh {fresh} tower that is locked never learns.")
    if "tokenizer" in options and lock == "text":
        raise ValueError("configs/finetune.py: a locked text tower cannot learn another tokenizer.")
    if "architecture" in options and not fresh:
        raise ValueError("configs/finetune.py: architecture= needs fresh=, the tower it is for.")
    return fresh, lock


def _model(
    path: str, options: dict[str, str], manifest: dict[str, Any], fresh: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The blocks of the task and of the tokenizer."""
    task = dict(manifest["task"])
    arch = read_architecture(task["architecture"])
    if "architecture" in options:
        arch[fresh] = read_architecture(options["architecture"])[fresh]
    if fresh and arch[fresh].get("width") != arch["embed_dim"] and "projection" in arch[fresh]:
        arch[fresh]["projection"] = True
    for key, value in (("patch_dropout", 0.0), ("batch_norm", "running")):
        if key in arch["image"]:
            arch["image"][key] = value
    for tower, key in (("image", "image_size"), ("text", "context_length")):
        if key in options:
            arch[tower][key] = int(options[key])
    tokenizer = _tokenizer(path, options.get("tokenizer"), manifest)
    if fresh == "text" or "tokenizer" in options:
        _fit_vocabulary(arch["text"], tokenizer, fresh=fresh == "text")
    if options.get("loss", task["loss"]) != task["loss"]:
        task["loss"] = options["loss"]
        for key in ("init_logit_scale", "init_logit_bias", "max_logit_scale"):
            task.pop(key, None)  # those of the new loss
    if "layer_decay" in options:
        task["scan"] = False  # layers of one array learn at one rate
    return {**task, "architecture": read_architecture(arch)}, tokenizer


def _tokenizer(path: str, kind: str | None, manifest: dict[str, Any]) -> dict[str, Any]:
    if kind is None:
        if not manifest.get("tokenizer"):
            raise ValueError(
                "configs/finetune.py: the checkpoint has no tokenizer: add tokenizer=clip_bpe, "
                "trained:VOCAB_SIZE, or a file."
            )
        return {"kind": "saved", "path": path}
    if kind == "clip_bpe":
        return {"kind": kind}
    if kind.startswith("trained:"):
        return {"kind": "trained", "vocab_size": int(kind.removeprefix("trained:"))}
    what, place = locate_tokenizer(kind)
    if what == "saved":
        return {"kind": what, "path": place}
    # A tokenizer.json says what it puts in front; that a .model has a bos does not say so.
    bos = "model" if what == "huggingface" else "none"
    block = {"kind": what, "path": place, "bos": bos, "eos": "model"}
    return {**block, "pad": "model", "clean": "none"}


def _fit_vocabulary(text: dict[str, Any], block: dict[str, Any], *, fresh: bool) -> None:
    """Make the table of tokens as large as the tokenizer, and pool where its texts end."""
    if block["kind"] == "trained":
        text["vocab_size"] = block["vocab_size"]  # its end of text is the largest id
        return
    tokenizer = read_tokenizer({**block, "context_length": text["context_length"]})(None)
    text["vocab_size"] = tokenizer.vocab_size
    if fresh and text["pool"] == "eot" and tokenizer.eot != tokenizer.vocab_size - 1:
        # As SigLIP's tower, whose tokenizers are such.
        text |= {"pool": "last", "causal": False}


def _fresh_patterns(
    task: dict[str, Any], manifest: dict[str, Any], fresh: str | None
) -> tuple[str, ...]:
    scalars = ("log_logit_scale", *(("logit_bias",) if task["loss"] == "sigmoid" else ()))
    patterns = (f"{fresh}/.*",) if fresh else ()
    # A trained scale would make the first losses of a tower that knows nothing huge.
    return (*patterns, *scalars) if fresh or task["loss"] != manifest["task"]["loss"] else patterns


def _groups(
    task: dict[str, Any], options: dict[str, str], fresh: str | None, lock: str | None
) -> tuple[dict[str, Any], ...]:
    """Which parameters do not learn, or not at the rate of the others."""
    groups: list[dict[str, Any]] = []
    if "tokenizer" in options and fresh != "text":
        rate = _TABLE_RATE / (_FRESH_RATE if fresh else _KEPT_RATE)
        groups.append({"pattern": "text/token_embedding", "lr_mult": rate})
    for tower in TOWERS:
        fields = task["architecture"][tower]
        kept = {"lr_mult": _KEPT_RATE / _FRESH_RATE} if fresh else {"lr_mult": 1.0}
        if tower == lock:
            groups.append({"pattern": f"{tower}/.*", "freeze": True})
        elif tower == fresh:
            continue
        elif "layer_decay" in options:
            groups += _decayed(tower, fields, float(options["layer_decay"]), kept["lr_mult"])
        elif fresh:
            groups.append({"pattern": f"{tower}/.*", **kept})
    return tuple(groups)


def _decayed(tower: str, fields: dict[str, Any], decay: float, rate: float) -> list[dict[str, Any]]:
    """Rates that fall from layer to layer, from the head down to the embedding."""
    if "depth" not in fields:
        raise ValueError("configs/finetune.py: layer_decay is for transformers.")
    depth = fields["depth"]
    groups = [
        {"pattern": f"{tower}/block_{layer:02d}/.*", "lr_mult": rate * decay ** (depth - layer)}
        for layer in range(depth)
    ]
    head = "(ln_post|projection|map_head)/.*" if tower == "image" else "(ln_post|projection)/.*"
    groups.append({"pattern": f"{tower}/{head}", "lr_mult": rate})
    groups.append({"pattern": f"{tower}/.*", "lr_mult": rate * decay ** (depth + 1)})
    return groups
