"""SigLIP as published (Zhai et al. 2023, arXiv 2303.15343; big_vision's configuration).

    python -m bigclip.train --config configs/siglip.py:b16 --workdir gs://bucket/siglip-b16 \
        --config.data.source.shards='gs://bucket/datacomp/{00000..12895}.tar'

Sizes: b16, l16, so400m14, gopt16. Batch 32,768 for 9 billion examples; Adafactor with second
moments capped at 0.95, learning rate 1e-3, weight decay 1e-4, clipping at 1, pictures squashed to
a square without any augmentation.

The tokenizers of the published models are SentencePiece models, which do not ship: C4's of 32,000
pieces (T5's, "cc_en.32000"), and Gemma's of 256,000 for gopt16, which is SigLIP 2's. Who has the
file names it behind the size:

    --config configs/siglip.py:b16,/data/cc_en.32000/sentencepiece.model

Otherwise one of 32,000 tokens is trained on the captions.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# architecture, pixels, tokens
SIZES = {
    "b16": ("siglip-b-16-224", 224, 64),
    "l16": ("siglip-l-16-256", 256, 64),
    "so400m14": ("siglip-so400m-14-224", 224, 16),
    "gopt16": ("siglip2-g-opt-16-256", 256, 64),
}


def get_config(arg: str = "b16") -> ConfigDict:
    """Return the configuration of one size ("b16"), with a tokenizer's file ("b16,PATH")."""
    arg, _, tokenizer = arg.partition(",")
    if arg not in SIZES:
        raise ValueError(
            f"configs/siglip.py:{arg}: the argument is one of {', '.join(SIZES)}, and may be "
            "followed by a comma and the path of a SentencePiece model."
        )
    architecture, size, context_length = SIZES[arg]
    config = ConfigDict()
    config.batch_size = 32_768
    config.micro_batch_size = placeholder(int)
    config.total_examples = 9_000_000_000
    config.task = {
        "name": "contrastive",
        "architecture": architecture,
        "loss": "sigmoid",
        # Chosen by size: all pairs at once, texts gathered, or texts around a ring of devices.
        "pairs": {"implementation": "auto", "duplicates": "negative"},
        "dtype": "bfloat16",
        "scan": True,
        # "auto" takes the fused kernel on TPUs; "plain" the formula.
        "attention": "auto",
        # What 128 examples on a v5e chip of 16 GiB leave room for, by `bigclip.plan`: with every
        # activation kept, b16 takes 26 GiB, and so400m14 with its products kept 20 GiB.
        "remat": "dots_no_batch" if arg == "b16" else "full",
    }
    config.preprocess = {
        "size": size,
        "resize": "squash",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    if tokenizer:
        config.tokenizer = {
            "kind": "sentencepiece",
            "path": tokenizer,
            "context_length": context_length,
            "eos": "model",
            # SigLIP fills up with eos, SigLIP 2 with the model's padding.
            "pad": "model" if arg == "gopt16" else "</s>",
            "clean": "lower" if arg == "gopt16" else "canonical",
        }
    else:
        config.tokenizer = {
            "kind": "trained",
            "vocab_size": 32_000,
            "context_length": context_length,
            "clean": "canonical",
        }
    config.data = {
        "source": {
            "kind": "webdataset",
            "shards": placeholder(str),
            # Buckets are streamed; an index_dir, of `bigclip.data.index`, gives random access.
            "access": "auto",
            "index_dir": placeholder(str),
        },
        # A DataComp subset is a list of ids to keep, a .npy file.
        "filters": {
            "keep_ids": placeholder(str),
            "deny_ids": placeholder(str),
            "min_side": placeholder(int),
            "max_aspect_ratio": placeholder(float),
        },
        "num_threads": 8,
        "num_workers": 8,
    }
    config.optimizer = {
        "name": "adafactor",
        "learning_rate": 1e-3,
        "weight_decay": 1e-4,
        "clip_norm": 1.0,
        "options": {"b1": 0.9, "b2_cap": 0.95},
    }
    config.schedule = {"name": "cosine", "warmup_steps": 10_000}
    config.mesh = {"fsdp": 1 if arg == "b16" else 4}
    config.checkpoints = {"every_steps": 2_000, "every_minutes": 30.0, "keep_last": 5}
    config.log = {"every_steps": 50}
    config.evals = {}
    return config
