"""A run of seconds: tiny towers on pictures that a test has made."""

from ml_collections import ConfigDict, config_dict


def get_config(arg: str) -> ConfigDict:
    """`arg`: the shards, a glob."""
    config = ConfigDict()
    config.batch_size = 8
    config.micro_batch_size = config_dict.placeholder(int)
    config.total_steps = 12
    config.mesh = {"data": -1, "fsdp": 1, "tensor": 1}
    config.task = {
        "name": "contrastive",
        "architecture": "tiny-clip",
        "overrides": {"text": {"vocab_size": 300}},
        "dtype": "float32",
    }
    config.preprocess = {"size": 24}
    config.tokenizer = {"kind": "trained", "vocab_size": 300, "context_length": 11}
    config.data = {
        "source": {
            "kind": "webdataset",
            "shards": arg,
            "access": "auto",
            "shuffle_window": config_dict.placeholder(int),
        },
        "captions": {"weights": {"name": 1.0, "keywords": 1.0}, "join": ("keywords",)},
        "augment_text": {"merge_dropout": 0.1, "token_dropout": 0.1},
        "augment": {"crop": "resized", "scale": (0.5, 1.0), "flip": 0.5},
        "num_threads": 2,
        "num_workers": 0,
    }
    config.optimizer = {"learning_rate": 1e-3, "weight_decay": 0.1, "clip_norm": 1.0}
    config.schedule = {"warmup_steps": 2}
    config.ema_decay = 0.9
    config.checkpoints = {"every_steps": 3, "keep_last": 100}
    config.log = {"every_steps": 1}
    config.evals = {
        "retrieval": {
            "suite": "retrieval",
            "source": {"kind": "webdataset", "shards": arg},
            "captions": ("name",),
        },
    }
    return config
