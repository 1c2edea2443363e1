"""Pictures of coloured shapes with captions that tell what is drawn, made from a seed.

For benchmarks and smoke tests: nothing has to be downloaded, pictures cost as much to decode as
photographs of their size, and there is something to learn.
"""

import io
import threading
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image

from bigclip.config import ConfigError, choose
from bigclip.data.records import Record

COLOURS = {
    "red": (205, 45, 40),
    "orange": (230, 140, 35),
    "yellow": (225, 210, 60),
    "green": (50, 150, 60),
    "blue": (45, 80, 200),
    "purple": (130, 60, 160),
    "white": (238, 238, 234),
    "black": (24, 24, 28),
}
SHAPES = ("circle", "square", "triangle", "ring", "cross", "bar")
SIZES = ("small", "large")
_FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
_FILLERS = (
    *("quiet", "old", "bright", "plain", "soft", "early", "late", "calm", "open", "warm"),
    *("morning", "evening", "light", "picture", "view", "scene", "corner", "detail", "study"),
)
# Grain of a camera at high sensitivity, in grey levels before blurring: at quality 90 it brings a
# JPEG of 500 x 375 pixels to about 68 kB, the mean of web photographs of that size.
_GRAIN = 11.4
_STREAMS = {"picture": 0, "record": 1}


class _Drawing(NamedTuple):
    image: bytes  # encoded
    size: str
    colour: str
    shape: str
    background: str


class SyntheticSource:
    """Records that are a pure function of the seed and their number.

    Pictures come from a small pool, drawn when first asked for: a picture of 500 x 375 takes some
    15 ms to make, and reading it again takes none. It can be pickled; threads may share it.
    """

    def __init__(
        self,
        *,
        num_records: int,
        width: int = 500,
        height: int = 375,
        sizes: Sequence[Sequence[int]] | None = None,
        format: str = "jpeg",
        quality: int = 90,
        words: int = 8,
        num_pictures: int = 64,
        seed: int = 0,
    ):
        """Check the options; nothing is drawn yet.

        Args:
            num_records: how many records the source has.
            width: of all pictures, in pixels.
            height: of all pictures, in pixels.
            sizes: (width, height) pairs instead, which the pictures take in turn.
            format: "jpeg", "png" or "webp".
            quality: of JPEG and WebP, 1 to 100; PNG has none.
            words: of each caption, at least 5: "small red circle on blue" is the shortest that
                says all, further words say nothing.
            num_pictures: of the pool; record i shows picture i modulo this.
            seed: of pictures and captions.

        Raises:
            ConfigError: if an option makes no sense.
        """
        choose(format, _FORMATS, "config.data.source.format")
        sizes = [(width, height)] if sizes is None else [tuple(size) for size in sizes]
        if not sizes or any(len(size) != 2 or min(size) < 8 for size in sizes):
            raise ConfigError(
                f"config.data.source.sizes must be (width, height) pairs of 8 pixels or more: "
                f"{sizes}"
            )
        for name, value, least, most in (
            ("num_records", num_records, 1, None),
            ("num_pictures", num_pictures, 1, None),
            ("words", words, 5, 64),
            ("quality", quality, 1, 100),
            ("seed", seed, 0, None),
        ):
            if value < least or (most is not None and value > most):
                at_most = f" and at most {most}" if most else ""
                raise ConfigError(
                    f"config.data.source.{name} must be at least {least}{at_most}, not {value}"
                )
        self.num_records = num_records
        self.sizes = sizes
        self.format = format
        self.quality = quality
        self.words = words
        self.num_pictures = num_pictures
        self.seed = seed
        self._reset()

    def __len__(self) -> int:
        return self.num_records

    def __repr__(self) -> str:
        return f"SyntheticSource({self.num_records} records, {self.num_pictures} pictures)"

    def __getitem__(self, index: int) -> Record:
        """Make record `index`: a picture of the pool, with a caption of its own."""
        if not 0 <= index < self.num_records:
            raise IndexError(f"record {index} of {self.num_records}")
        index = int(index)
        number = index % self.num_pictures
        drawing = self._pool.get(number)
        if drawing is None:
            with self._lock:  # one thread draws, the others wait instead of drawing the same
                drawing = self._pool.get(number)
                if drawing is None:
                    drawing = self._pool[number] = self._draw(number)
        rng = self._rng("record", index)
        words = [drawing.size, drawing.colour, drawing.shape, "on", drawing.background]
        words += rng.choice(_FILLERS, self.words - len(words)).tolist()
        metadata = {"colour": drawing.colour, "shape": drawing.shape}
        captions = {"caption": [" ".join(words)]}
        return Record(f"synthetic/{index}", drawing.image, captions, metadata)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        """Make many records; costs what they cost one by one."""
        return [self[index] for index in indices]

    def __getstate__(self) -> dict:
        return {n: v for n, v in self.__dict__.items() if n not in ("_pool", "_lock")}

    def __setstate__(self, state: dict):
        self.__dict__.update(state)
        self._reset()

    def _reset(self):
        self._pool: dict[int, _Drawing] = {}
        self._lock = threading.Lock()

    def _rng(self, stream: str, number: int) -> np.random.Generator:
        counter = [0, 0, _STREAMS[stream], number]
        return np.random.Generator(np.random.Philox(key=self.seed, counter=counter))

    def _draw(self, number: int) -> _Drawing:
        rng = self._rng("picture", number)
        width, height = self.sizes[number % len(self.sizes)]
        # Dealt out instead of drawn, so that a pool of 64 shows every colour and every shape.
        names = list(COLOURS)
        colour = names[number % len(names)]
        shape = SHAPES[number // len(names) % len(SHAPES)]
        background = names[(number + int(rng.integers(1, len(names)))) % len(names)]
        size = SIZES[int(rng.integers(len(SIZES)))]
        pixels = _lit_background(rng, width, height, COLOURS[background])
        mask = _mask(rng, width, height, shape, is_large=size == "large")
        pixels += mask[..., None] * (np.float32(COLOURS[colour]) - pixels)
        # Neighbouring pixels of a photograph share some of their noise: the colour filter and
        # the scaling down spread it.
        grain = rng.standard_normal((height, width, 3), np.float32)
        pixels += _GRAIN * 1.6 * cv2.GaussianBlur(grain, (3, 3), 0.5)
        image = PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        file = io.BytesIO()
        options = {} if self.format == "png" else {"quality": self.quality}
        image.save(file, _FORMATS[self.format], **options)
        return _Drawing(file.getvalue(), size, colour, shape, background)


def _lit_background(rng, width: int, height: int, colour) -> np.ndarray:
    """One colour under uneven light, with some texture: float32 [height, width, 3]."""
    light = rng.uniform(0.65, 1.15, (3, 3)).astype(np.float32)
    texture = rng.normal(0, 0.05, (12, 16)).astype(np.float32)
    shade = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)
    shade += cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)
    return shade[..., None] * np.float32(colour)


def _mask(rng, width: int, height: int, shape: str, *, is_large: bool) -> np.ndarray:
    """The share of a shape in each pixel: float32 [height, width], 0 to 1."""
    short = min(width, height)
    radius = int(short * (rng.uniform(0.3, 0.4) if is_large else rng.uniform(0.14, 0.2)))
    radius = max(2, radius)
    x = int(rng.integers(radius, width - radius))
    y = int(rng.integers(radius, height - radius))
    mask = np.zeros((height, width), np.float32)
    thin = max(1, radius // 3)
    if shape == "circle":
        cv2.circle(mask, (x, y), radius, 1.0, -1)
    elif shape == "ring":
        cv2.circle(mask, (x, y), radius - thin // 2, 1.0, thin)
    elif shape == "triangle":
        points = [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)]
        cv2.fillPoly(mask, [np.int32(points)], 1.0)
    else:
        half = {"square": radius, "bar": thin, "cross": thin}[shape]
        across = radius  # of a bar and of a cross: as long as a square is wide
        cv2.rectangle(mask, (x - across, y - half), (x + across, y + half), 1.0, -1)
        if shape == "cross":
            cv2.rectangle(mask, (x - half, y - across), (x + half, y + across), 1.0, -1)
    return cv2.GaussianBlur(mask, (5, 5), 0)  # no lens draws an edge sharper
