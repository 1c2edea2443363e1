"""A small CLIP on the embedded pictures: minutes on two CPU cores.

    python -m bigclip.train --config configs/quickstart.py --workdir runs/quickstart

`--config configs/quickstart.py:sigmoid` trains with SigLIP's loss instead of CLIP's.
"""

from ml_collections import ConfigDict

from bigclip.data import embedded

LOSSES = ("softmax", "sigmoid")


def get_config(arg: str = "softmax") -> ConfigDict:
    """Return the configuration; `arg` is the loss."""
    loss = arg or "softmax"
    if loss not in LOSSES:
        raise ValueError(f"configs/quickstart.py:{loss}: the argument is one of {LOSSES}.")
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 512
    config.total_steps = 1_200

    config.task = {
        "name": "contrastive",
        "architecture": "tiny-vit-8",
        "overrides": {
            "image": {
                "image_size": 48,
                # As CLIP has it, so that transformers and open_clip can take the weights over.
                "pool": "class",
                "ln_pre": True,
                "patch_bias": False,
                "width": 128,
                "depth": 4,
                "num_heads": 4,
                "mlp_width": 512,
                # Most patches are left out in training: faster, and harder to learn by heart.
                "patch_dropout": 0.75,
            },
            "text": {"depth": 1, "context_length": 32, "causal": True},
        },
        "loss": loss,
        "pairs": {"implementation": "auto", "duplicates": "negative"},
        # float32: CPUs have no fast bfloat16.
        "dtype": "float32",
        # Unrolled: four layers compile fast enough, and run faster on a CPU.
        "scan": False,
    }
    config.preprocess = {"size": 48, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config.tokenizer = {
        "kind": "trained",
        "vocab_size": 4096,
        "context_length": 32,
        "caption_sources": ("name", "keywords", "title", "description"),
        # Half of the names of new concepts hold a word that training never saw: its pieces, learnt
        # as parts of other words, would mislead.
        "unknown_words": "leave_out",
    }
    config.data = {
        "source": {"kind": "webdataset", "shards": embedded.shards("train")},
        # A name alone teaches little: most concepts appear in few pictures. Keywords are shared
        # between concepts, and a new mix of them is drawn each time.
        "captions": {
            "weights": {"name": 1.0, "keywords": 1.0, "name_and_keywords": 2.0, "title": 1.0},
            "join": ("keywords",),
            "compose": {"name_and_keywords": ("name", "keywords")},
        },
        # No text comes twice alike: 3,000 concepts are soon learnt by heart.
        "augment_text": {"merge_dropout": 0.1, "token_dropout": 0.15, "token_replacement": 0.1},
        "augment": {
            "crop": "resized",
            "scale": (0.7, 1.0),
            "flip": 0.5,
            "brightness": 0.3,
            "contrast": 0.3,
            "saturation": 0.3,
            "hue": 0.05,
            "grayscale": 0.1,
        },
    }
    config.optimizer = {
        "name": "muon",
        "learning_rate": 4e-3,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
    }
    config.schedule = {"name": "cosine", "warmup_steps": 50}
    config.checkpoints = {"every_steps": 100, "keep_last": 10}
    config.log = {"every_steps": 10}
    config.evals = _evals()
    return config


def _evals() -> dict[str, dict]:
    """What the evaluation job measures: three suites at every checkpoint, the rest at the end."""
    concepts = {"kind": "webdataset", "shards": embedded.shards("heldout_concepts")}
    style = {"kind": "webdataset", "shards": embedded.shards("heldout_style")}
    # What a classifier on the frozen tower makes of new concepts: learned from the pictures of
    # five artists, tested on those of a sixth.
    artists = ("noto", "noto-v1", "twemoji", "emojione", "fluent-flat")
    sixth = {
        "source": concepts,
        "where": {"style": "fluent-3d"},
        "train": {"source": concepts, "where": {"style": artists}},
        "label": "concept",
    }
    at_every_checkpoint = {
        # Concepts that no training text names, in styles seen in training; one pool per style.
        "heldout_concepts": {
            "suite": "retrieval",
            "source": concepts,
            "captions": ("{name}, {keywords}",),
            "group_by": "style",
        },
        # The same by their names alone: half of them hold a word that training never saw.
        "heldout_names": {
            "suite": "retrieval",
            "source": concepts,
            "captions": ("name",),
            "group_by": "style",
        },
        # Known concepts as an artist draws them whose pictures training never saw.
        "heldout_style": {
            "suite": "zero_shot",
            "source": style,
            "label": "concept",
            "names": "name",
            "templates": ("{}", "a picture of {}"),
        },
    }
    at_the_end = {
        "new_concepts": {"suite": "linear_probe", **sixth},
        # 16 for the penalty: big_vision's 1,024 is for a thousand dimensions and more.
        "few_pictures": {"suite": "few_shot", **sixth, "shots": (1, 3), "strengths": (16.0,)},
        "neighbours": {"suite": "knn", **sixth, "ks": (5, 1)},
        # The model knows pictures of things and no geometric shapes, so scenes are made of them.
        "limits": {"suite": "limits", "objects": "emoji"},
        "robustness": {
            "suite": "robustness",
            "source": style,
            "label": "concept",
            "names": "name",
            "num_images": 128,
        },
        "health": {
            "suite": "health",
            "source": concepts,
            "captions": ("{name}, {keywords}",),
            "map_label": "style",
        },
    }
    return at_every_checkpoint | {
        name: {**block, "every_steps": 0} for name, block in at_the_end.items()
    }
