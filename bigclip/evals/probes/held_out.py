"""Rows that are held out of training, where there is no validation set."""

import numpy as np


def hold_out(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose rows to hold out of training: the share of every class, at least one of two or more.

    Args:
        targets: int [N], the class of each row; or bool [N, T], its labels, of which the rarest
            counts.
        share: in (0, 1).
        seed: decides which rows.

    Returns:
        [N] bool. A class of one row keeps it for training.
    """
    class_of = rarest_label(targets) if targets.ndim == 2 else targets
    held = np.zeros(len(class_of), bool)
    for number in np.unique(class_of):
        mine = np.flatnonzero(class_of == number)
        count = min(max(round(share * len(mine)), 1), len(mine) - 1)
        held[np.random.default_rng([seed, int(number)]).permutation(mine)[:count]] = True
    return held


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """Return of each row the rarest label that it has, and T where it has none: [N] int.

    Args:
        targets: bool [N, T].
    """
    frequency = np.append(targets.sum(axis=0), len(targets) + 1)
    masked = np.where(targets, frequency[:-1], len(targets) + 2)
    return np.where(targets.any(axis=1), masked.argmin(axis=1), targets.shape[1])
