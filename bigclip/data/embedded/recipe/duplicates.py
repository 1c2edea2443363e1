"""Find pictures that occur twice: pixel-equal ones, and near-equal ones across splits."""

import hashlib

import numpy as np
from PIL import Image

# Mean absolute difference of two pictures, in grey levels of 255, below which they count as the
# same drawing: saved again, shifted by a pixel, or with one thin line changed.
NEAR_LEVELS = 2.5
SIDE = 32


def digest(image: Image.Image) -> str:
    """Hash the pixels."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def fingerprint(image: Image.Image) -> np.ndarray:
    """Shrink a picture to a vector, uint8 [SIDE * SIDE * 3]."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.uint8).reshape(-1)


def near_pairs(
    left: np.ndarray, right: np.ndarray, *, levels: float = NEAR_LEVELS
) -> list[tuple[int, int]]:
    """List the pairs (i, j) of near-equal pictures.

    Args:
        left: Fingerprints, uint8 [M, F].
        right: Fingerprints, uint8 [N, F].
        levels: Largest mean absolute difference of a pair.
    """
    pairs = []
    sums = right.astype(np.int64).sum(1)
    for i, one in enumerate(left):
        # |sum difference| bounds the distance from below and leaves few candidates.
        close = np.flatnonzero(np.abs(sums - int(one.astype(np.int64).sum())) <= levels * one.size)
        gaps = np.abs(right[close].astype(np.int16) - one.astype(np.int16)).mean(1)
        pairs += [(i, int(j)) for j in close[gaps <= levels]]
    return pairs


def kept(
    digests: list[str], fingerprints: np.ndarray, splits: list[str], *, levels: float = NEAR_LEVELS
) -> list[int]:
    """Choose the pictures that stay.

    Of pixel-equal pictures one stays, a held-out one before a training one and the first before
    later ones. Training pictures near-equal to a held-out picture go.

    Args:
        digests: Per picture, see ``digest``.
        fingerprints: uint8 [I, F], see ``fingerprint``.
        splits: Per picture.
        levels: See ``NEAR_LEVELS``.

    Returns:
        Indices, ascending.
    """
    order = sorted(range(len(digests)), key=lambda i: (splits[i] == "train", i))
    first: dict[str, int] = {}
    for i in order:
        first.setdefault(digests[i], i)
    stay = sorted(first.values())
    train = [i for i in stay if splits[i] == "train"]
    held_out = [i for i in stay if splits[i] != "train"]
    gone = {
        train[j] for _, j in near_pairs(fingerprints[held_out], fingerprints[train], levels=levels)
    }
    return [i for i in stay if i not in gone]
