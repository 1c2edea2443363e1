"""CLIP as published (Radford et al. 2021, arXiv 2103.00020, tables 18 to 20).

    python -m bigclip.train --config configs/clip.py:b32 --workdir gs://bucket/clip-b32 \
        --config.data.source.shards='gs://bucket/datacomp/{00000..12895}.tar'

Sizes: b32, b16, l14, l14_336 and the ResNets rn50, rn101, rn50x4, rn50x16, rn50x64 (OpenAI's), h14
and bigg14 (LAION's). Batch 32,768 for 12.8 billion examples; Adam with decoupled weight decay 0.2
on all that is no gain or bias, 2,000 steps of warm-up, cosine to 0, logit scale clipped at 100.

A ResNet normalises by the batch of all devices. With `micro_batch_size` each slice is normalised by
itself, and --config.task.overrides.image.batch_norm=running, for fine-tuning, goes by the running
statistics, which then stay.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# architecture, pixels, peak learning rate (paper, table 20; h14 and bigg14: LAION's model cards)
SIZES = {
    "b32": ("clip-vit-b-32", 224, 5e-4),
    "b16": ("clip-vit-b-16", 224, 5e-4),
    "l14": ("clip-vit-l-14", 224, 4e-4),
    "l14_336": ("clip-vit-l-14-336", 336, 2e-5),
    "rn50": ("clip-rn50", 224, 5e-4),
    "rn101": ("clip-rn101", 224, 5e-4),
    "rn50x4": ("clip-rn50x4", 288, 5e-4),
    "rn50x16": ("clip-rn50x16", 384, 4e-4),
    "rn50x64": ("clip-rn50x64", 448, 3.6e-4),
    "h14": ("openclip-vit-h-14", 224, 5e-4),
    "bigg14": ("openclip-vit-bigg-14", 224, 5e-4),
}

RESNETS = tuple(size for size in SIZES if size.startswith("rn"))


def get_config(arg: str = "b32") -> ConfigDict:
    """Return the configuration of one size."""
    if arg not in SIZES:
        raise ValueError(f"configs/clip.py:{arg}: the argument is one of {', '.join(SIZES)}.")
    architecture, size, learning_rate = SIZES[arg]
    config = ConfigDict()
    config.batch_size = 32_768
    config.micro_batch_size = placeholder(int)
    config.total_examples = 12_800_000_000
    config.task = {
        "name": "contrastive",
        "architecture": architecture,
        "loss": "softmax",
        # Chosen by size: all pairs at once, texts gathered, or texts around a ring of devices.
        "pairs": {"implementation": "auto", "duplicates": "negative"},
        "dtype": "bfloat16",
        "scan": True,
        # "auto" takes the fused kernel on TPUs; "plain" the formula.
        "attention": "auto",
        # What 128 examples on a v5e chip of 16 GiB leave room for, by `bigclip.plan`; of the
        # ResNets by what the backward pass keeps alone: 6.2 GiB of rn50, 8.2 GiB of rn101.
        "remat": "dots_no_batch" if arg in ("b32", "b16", "rn50", "rn101") else "full",
    }
    if arg in RESNETS:
        config.task.overrides = {"image": {"batch_norm": "batch"}}
    config.preprocess = {"size": size, "resize": "crop"}
    config.tokenizer = {"kind": "clip_bpe", "context_length": 77}
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
        # Section 2.4: a random square crop from resized images is the only augmentation.
        "augment": {"crop": "square"},
        "num_threads": 8,
        "num_workers": 8,
    }
    config.optimizer = {
        "name": "adamw",
        "learning_rate": learning_rate,
        "weight_decay": 0.2,
        # Table 18: the ResNets are trained with Adam's usual figures.
        "options": {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
        if arg in RESNETS
        else {"b1": 0.9, "b2": 0.98, "eps": 1e-6},
    }
    config.schedule = {"name": "cosine", "warmup_steps": 2_000}
    config.mesh = {"fsdp": {"b32": 1, "b16": 1, "rn50": 1, "rn101": 1, "bigg14": 16}.get(arg, 4)}
    config.checkpoints = {"every_steps": 2_000, "every_minutes": 30.0, "keep_last": 5}
    config.log = {"every_steps": 50}
    config.evals = {}
    if arg == "l14_336":
        # One more epoch of 400 million pairs at the higher resolution, from the 224 px weights.
        config.total_examples = 400_000_000
        config.init_from = {"path": placeholder(str), "resize_positions": True}
    return config
