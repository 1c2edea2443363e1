"""Shards to measure input pipelines on: img2dataset's layout, pictures of noise and gradients."""

import io
import json
import pathlib
import tarfile

import cv2
import numpy as np

SHARD_RECORDS = 500
_WIDTH, _HEIGHT, _SPREAD = 500, 375, 40  # pixels; the median of web data sets is near
_QUALITY = 90
# Noise of several grains; with these weights a JPEG takes about 68 kB, as a photograph does.
_GRAINS = {1.0: 52.0, 3.0: 90.0, 20.0: 900.0}
_WORDS = """
a the of in on with and two small large red blue green old young woman man dog cat bird house
street mountain river car train table window flower garden photo portrait view sunset wooden
ceramic vintage handmade black white summer winter kitchen shirt poster wedding
"""


def make_shards(folder: pathlib.Path, *, records: int, extension: str = "jpg") -> list[str]:
    """Write shards of `SHARD_RECORDS` records, unless they are there already.

    Args:
        folder: where they are kept; a subfolder names what is in them.
        records: number of records, a multiple of `SHARD_RECORDS` or fewer than that.
        extension: "jpg" or "webp", quality 90.

    Returns:
        Paths.
    """
    folder = folder / f"{extension}-{records}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(0, records, SHARD_RECORDS):
        path = folder / f"{first // SHARD_RECORDS:05d}.tar"
        if not path.exists():
            unfinished = path.with_suffix(".part")
            with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number in range(first, min(first + SHARD_RECORDS, records)):
                    for name, content in _sample(number, extension).items():
                        info = tarfile.TarInfo(f"{number:09d}.{name}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
            unfinished.rename(path)
        paths.append(str(path))
    return paths


def read_pictures(path: str, count: int) -> list[bytes]:
    """Read the first encoded pictures of a shard."""
    with tarfile.open(path) as tar:
        members = [info for info in tar if not info.name.endswith((".txt", ".json"))]
        return [tar.extractfile(info).read() for info in members[:count]]


def _sample(number: int, extension: str) -> dict[str, bytes]:
    rng = np.random.default_rng(number)
    width, height = (int(side + rng.integers(-_SPREAD, _SPREAD + 1)) for side in (_WIDTH, _HEIGHT))
    quality = cv2.IMWRITE_WEBP_QUALITY if extension == "webp" else cv2.IMWRITE_JPEG_QUALITY
    _, encoded = cv2.imencode(f".{extension}", _picture(width, height, rng), [quality, _QUALITY])
    caption = " ".join(rng.choice(_WORDS.split(), rng.integers(5, 20)))
    metadata = {
        "url": f"https://example.org/pictures/{number}.{extension}",
        "caption": caption,
        "key": f"{number:09d}",
        "status": "success",
        "width": width,
        "height": height,
        "original_width": 2 * width,
        "original_height": 2 * height,
        "similarity": float(rng.uniform(0.2, 0.4)),
    }
    return {
        extension: encoded.tobytes(),
        "txt": caption.encode(),
        "json": json.dumps(metadata).encode(),
    }


def _picture(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    slopes = rng.uniform(-60, 60, (2, 3))
    picture = 128 + x[None, :, None] * slopes[0] + y[..., None] * slopes[1]
    for grain, weight in _GRAINS.items():
        noise = rng.standard_normal((height, width, 3), np.float32)
        # A blur of this width leaves 1 / (2 sqrt(pi) grain) of the deviation.
        picture += weight * cv2.GaussianBlur(noise, (0, 0), grain)
    return np.clip(picture, 0, 255).astype(np.uint8)
