"""Fit learned positions to another picture size or context length.

A position table has one row a token, so a model of another `image_size` or `context_length` needs
another number of rows. What is done here is what open_clip, timm and transformers do for it; the
model still has to be tuned afterwards, since its attention has never seen so many tokens.
"""

import math

import numpy as np
import PIL.Image

from bigclip.config import ConfigError, choose

# What may become of a table of text positions.
TEXT_METHODS = ("auto", "truncate", "interpolate")


def position_grid(num_rows: int) -> tuple[int, int]:
    """Tell how a table of image positions is laid out, by its number of rows.

    Args:
        num_rows: P, or P + 1 with a class token (or the mean that an attention pool puts in
            front), where the P patches form a square.

    Returns:
        The number of rows in front of the grid, 0 or 1, and the side of the grid.

    Raises:
        ConfigError: if neither is a square.
    """
    for num_class in (0, 1):
        side = math.isqrt(max(num_rows - num_class, 0))
        if side and side**2 + num_class == num_rows:
            return num_class, side
    raise ConfigError(
        f"a table of {num_rows} image positions is no square grid, with or without a class token: "
        "it cannot be resized."
    )


def resize_image_positions(table: np.ndarray, num_rows: int) -> np.ndarray:
    """Resize a grid of positions with an antialiased bicubic filter.

    The filter is Pillow's, which is what `torch.nn.functional.interpolate(mode="bicubic",
    antialias=True)` computes, too: the road of open_clip and timm. The row of a class token stays
    as it is.

    Args:
        table: float32 [P, E] or [1 + P, E], the class token's row first.
        num_rows: of the result, which has a class token if `table` has.

    Returns:
        float32 [num_rows, E].

    Raises:
        ConfigError: if the patches of either table form no square, or only one of the two has a
            row for a class token.
    """
    num_class, side = position_grid(len(table))
    new_class, new_side = position_grid(num_rows)
    if num_class != new_class:
        raise ConfigError(
            f"image positions of {len(table)} rows cannot become {num_rows}: one of them has a "
            "class token and the other has none."
        )
    grid = np.asarray(table[num_class:], np.float32).reshape(side, side, -1)
    size, bicubic = (new_side, new_side), PIL.Image.Resampling.BICUBIC
    # One picture of floats for each of the E channels: microseconds each.
    channels = [
        np.asarray(
            PIL.Image.fromarray(np.ascontiguousarray(grid[..., index])).resize(size, bicubic)
        )
        for index in range(grid.shape[-1])
    ]
    patches = np.stack(channels, axis=-1).reshape(new_side**2, -1)
    return np.concatenate([np.asarray(table[:num_class], np.float32), patches])


def text_method(length: int, new_length: int, method: str = "auto") -> str:
    """Decide what becomes of a table of text positions: "truncate" or "interpolate".

    Raises:
        ConfigError: for an unknown method, or a table that shall be cut and is too short.
    """
    choose(method, dict.fromkeys(TEXT_METHODS), "text_positions")
    if method == "auto":
        return "truncate" if new_length <= length else "interpolate"
    if method == "truncate" and new_length > length:
        raise ConfigError(
            f"text_positions = 'truncate': {length} positions cannot be cut to {new_length}; "
            "'interpolate' stretches them."
        )
    return method


def resize_text_positions(table: np.ndarray, length: int, *, method: str = "auto") -> np.ndarray:
    """Fit text positions to another context length.

    "truncate" keeps the first rows. For causal towers that pool at the end-of-text token (CLIP's)
    a text that fits keeps its embedding exactly. "interpolate" is open_clip's way in both
    directions, linear and without antialiasing
    (`torch.nn.functional.interpolate(mode="linear", align_corners=False)`): every row moves, so
    that no text keeps its embedding. It is the only way to more rows than there are. Towers that
    pool at the last position and attend to the padding (SigLIP's) change either way.

    Args:
        table: float32 [L, E].
        length: of the result.
        method: one of `TEXT_METHODS`; "auto" truncates to fewer rows and interpolates to more.

    Returns:
        float32 [length, E].

    Raises:
        ConfigError: see `text_method`.
    """
    table = np.asarray(table, np.float32)
    if text_method(len(table), length, method) == "truncate":
        return table[:length].copy()
    # Rows stand for the middles of equal stretches; outside of the outermost, they are repeated.
    places = np.clip((np.arange(length) + 0.5) * len(table) / length - 0.5, 0, len(table) - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(table) - 1)
    share = (places - below)[:, None]
    return ((1 - share) * table[below] + share * table[above]).astype(np.float32)
