"""What the workers that run PyTorch share: torchvision, the optimizer and the pixels."""

from collections.abc import Sequence

import numpy as np
import torch


def make_adamw(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW with the defaults of `open_clip_train`: no decay of gains, biases and the scale."""

    def decays(name: str, parameter: torch.Tensor) -> bool:
        exempt = ("bn", "ln", "bias", "logit_scale")
        return parameter.ndim >= 2 and not any(part in name for part in exempt)

    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
        {"params": [p for n, p in named if decays(n, p)], "weight_decay": 0.2},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-6)


def normalise(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """uint8 [b, H, W, 3] -> float32 [b, 3, H, W], by mean and deviation of pixels in [0, 1]."""
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous().float()
    mean, std = (255 * torch.tensor(value).view(1, 3, 1, 1) for value in (mean, std))
    return (pixels - mean) / std
