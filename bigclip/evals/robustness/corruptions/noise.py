"""Noise of the sensor: each value on its own."""

import numpy as np


def gaussian(picture: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise, as little light does."""
    return picture + np.float32(deviation) * rng.standard_normal(picture.shape, np.float32)


def shot(picture: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Count photons: a Poisson variable, whose mean is the light."""
    return rng.poisson(picture * photons).astype(np.float32) / photons


def impulse(picture: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Set a share of the values to black or white."""
    lot = rng.random(picture.shape, np.float32)
    spoilt = np.where(lot < share / 2, np.float32(1), picture)
    return np.where(lot >= 1 - share / 2, np.float32(0), spoilt)
