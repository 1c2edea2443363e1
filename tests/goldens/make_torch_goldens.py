"""Regenerate tests/goldens/torch_files: small files as torch itself writes them.

    python tests/goldens/make_torch_goldens.py

Needs torch and numpy, and not bigclip. `expected.npz` holds what torch reads from them, under
"FILE/NAME"; bfloat16 as float32.
"""

import argparse
import copy
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent / "torch_files"


def odd_state() -> dict[str, torch.Tensor]:
    """Windows on shared storages, axes in any order, and every dtype that weights come in."""
    base = torch.arange(60.0).reshape(3, 4, 5)
    return {
        "plain.weight": torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)),
        "scalar": torch.tensor(2.6593),
        "empty": torch.zeros(0, 7),
        "bfloat16": torch.linspace(-3, 3, 7).bfloat16(),
        "half": torch.linspace(-3, 3, 7).half(),
        "double": torch.tensor([1e-300, 1.0]).double(),
        "position_ids": torch.arange(9).expand((1, -1)),
        "bool": torch.tensor([True, False, True]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "complex": torch.tensor([1 + 2j]),
        "shared.whole": base,
        "shared.again": base,
        "shared.row": base[1],
        "shared.column": base[:, 2, 1],
        "shared.permuted": base.permute(2, 0, 1),
        "shared.transposed": base[2].t(),
        "shared.steps": base[::2, 1:, ::3],
    }


class Block(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.project = torch.nn.Linear(3, width)
        self.register_buffer("count", torch.tensor(width))
        self.sizes = [1, width]
        self.scale, self.name, self.table = 0.5, "block", {"a": 1}

    def forward(self, x):
        return self.project(x)[..., :3] * self.scale + self.sizes[0] + self.table["a"]


class Model(torch.nn.Module):
    """Modules in lists, one weight with two names, and settings that are no tensors."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(4), Block(5)])
        self.tied = self.blocks[0].project.weight
        self.log_scale = torch.nn.Parameter(torch.tensor(2.5))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x * self.log_scale + self.tied.sum()


def main():
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    expected = {f"state.pt/{name}": value for name, value in odd_state().items()}
    torch.save(odd_state(), FOLDER / "state.pt")

    model = Model()
    torch.jit.script(model).save(str(FOLDER / "scripted.pt"))
    half = torch.jit.trace(copy.deepcopy(model), torch.ones(1, 3)).half()
    half.save(str(FOLDER / "traced.pt"))
    for name, value in model.state_dict().items():
        expected[f"scripted.pt/{name}"] = value.clone()
        expected[f"traced.pt/{name}"] = value.half() if value.is_floating_point() else value.clone()

    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        expected[f"checkpoint.pt/{name}"] = value
    checkpoint = {
        "epoch": 3,
        "name": "run",
        "args": argparse.Namespace(lr=1e-3, models=["a"], path=pathlib.PurePosixPath("/data")),
        "state_dict": torch.nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.25),
        "rng": torch.get_rng_state()[:16].clone(),  # a tensor beside the state dict
        "seen": {(1, 2), (3, 4)},
    }
    torch.save(checkpoint, FOLDER / "checkpoint.pt")
    torch.save(odd_state(), FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(model, FOLDER / "whole_model.pt")

    arrays = {}
    for name, value in expected.items():
        value = value.detach()
        arrays[name] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    np.savez_compressed(FOLDER / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
