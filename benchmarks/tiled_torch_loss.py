"""CLIP's loss in tiles with PyTorch, the way of Inf-CL (arXiv 2410.17243) on one device.

The logits are made tile by tile and forgotten; forward keeps the two log-sum-exps, and backward
makes each tile again. Plain matrix products, no kernel of its own.
"""

from typing import Any

import torch


class _TiledSoftmaxLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image_emb: torch.Tensor, text_emb: torch.Tensor, scale: torch.Tensor, tile: int
    ) -> torch.Tensor:
        batch_size = image_emb.shape[0]
        rows = image_emb.new_full((batch_size,), -torch.inf)
        columns = rows.clone()
        for i in range(0, batch_size, tile):
            for j in range(0, batch_size, tile):
                logits = scale * (image_emb[i : i + tile] @ text_emb[j : j + tile].T)
                rows[i : i + tile] = torch.logaddexp(rows[i : i + tile], logits.logsumexp(1))
                columns[j : j + tile] = torch.logaddexp(columns[j : j + tile], logits.logsumexp(0))
        ctx.save_for_backward(image_emb, text_emb, scale, rows, columns)
        ctx.tile = tile
        positive = scale * (image_emb * text_emb).sum(1)
        return (0.5 * (rows + columns) - positive).mean()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        image_emb, text_emb, scale, rows, columns = ctx.saved_tensors
        batch_size, tile = image_emb.shape[0], ctx.tile
        by_image, by_text = torch.zeros_like(image_emb), torch.zeros_like(text_emb)
        by_scale = torch.zeros_like(scale)
        for i in range(0, batch_size, tile):
            for j in range(0, batch_size, tile):
                cosines = image_emb[i : i + tile] @ text_emb[j : j + tile].T
                logits = scale * cosines
                shares = torch.exp(logits - rows[i : i + tile, None])
                shares += torch.exp(logits - columns[None, j : j + tile])
                by_image[i : i + tile] += shares @ text_emb[j : j + tile]
                by_text[j : j + tile] += shares.T @ image_emb[i : i + tile]
                by_scale += (shares * cosines).sum()
        factor = grad / batch_size
        positive = (image_emb * text_emb).sum()
        return (
            factor * scale * (0.5 * by_image - text_emb),
            factor * scale * (0.5 * by_text - image_emb),
            factor * (0.5 * by_scale - positive),
            None,
        )


def tiled_softmax_loss(
    image_emb: torch.Tensor, text_emb: torch.Tensor, scale: torch.Tensor, *, tile: int
) -> torch.Tensor:
    """Symmetric cross-entropy of CLIP in tiles.

    Args:
        image_emb: [B, D], L2-normalised.
        text_emb: [B, D], likewise; row i belongs to image i.
        scale: of the logits.
        tile: rows and columns of a tile.
    """
    return _TiledSoftmaxLoss.apply(image_emb, text_emb, scale, tile)
