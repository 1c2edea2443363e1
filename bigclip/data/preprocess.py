"""The evaluation transform: what a model expects of a picture, as plain data and as a function.

It is saved with every checkpoint, so that whoever loads the model prepares pictures as the
training did. Pillow does the work: its antialiased bicubic filter is what published CLIP and
SigLIP models were evaluated with. Normalisation with `mean` and `std` happens on the device, in
the task.
"""

import dataclasses
import numbers
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageOps

from bigclip.config import ConfigError
from bigclip.data import images

RESIZES = ("squash", "crop", "pad")
_MAX_RESIZED_RATIO = 32  # of the sides; longer pictures would be huge when resized as a whole
_MAX_SIZE = 1 << 14  # pixels
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FILTERS = {
    "bicubic": PIL.Image.Resampling.BICUBIC,
    "bilinear": PIL.Image.Resampling.BILINEAR,
}
INTERPOLATIONS = (*_FILTERS, "bilinear_aliased")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # arXiv 2103.00020, released code
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Brings pictures to one size.

    The published transforms, each within one grey level of its reference:

        OpenAI's CLIP, open_clip     resize="crop"
        SigLIP, Hugging Face's       resize="squash", mean=(.5,) * 3, std=(.5,) * 3
        SigLIP, big_vision's         the same, and interpolation="bilinear_aliased"
        big_vision's, antialiased    the same, and interpolation="bilinear"

    All these models were trained on RGB; transparency is laid on white.

    Attributes:
        size: H, the side of the square result in pixels.
        resize: "squash" gives up the aspect ratio; "crop" fits the short side and cuts the
            centre out; "pad" fits the long side and fills with the mean colour, which
            normalisation turns into zeros.
        interpolation: "bicubic" or "bilinear", both antialiased, or "bilinear_aliased", which
            looks at 2 x 2 pixels for each of the result, however large the picture is. That is
            what `resize(224)` means in big_vision, in its SigLIP demo and its evaluators.
        mean: per channel, in units of pixel values in [0, 1].
        std: per channel, in the same units.
    """

    size: int = 64
    resize: str = "squash"
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self):
        if type(self.size) is not int or not 1 <= self.size <= _MAX_SIZE:
            raise ConfigError(
                f"config.preprocess.size must be a positive integer, at most {_MAX_SIZE}, not "
                f"{self.size!r}"
            )
        if self.resize not in RESIZES:
            raise ConfigError(f"config.preprocess.resize {self.resize!r} is none of {RESIZES}")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(
                f"config.preprocess.interpolation {self.interpolation!r} is none of "
                f"{INTERPOLATIONS}"
            )
        for name in ("mean", "std"):
            values, positive = getattr(self, name), name == "std"
            if not _are_three_numbers(values) or (positive and min(values) <= 0):
                raise ConfigError(
                    f"config.preprocess.{name} must be three finite{' positive' * positive} "
                    f"numbers, not {values!r:.80}"
                )
            # Lists come back from JSON.
            object.__setattr__(self, name, tuple(float(value) for value in values))

    def to_dict(self) -> dict:
        """Return plain data for JSON; `Preprocess(**d)` makes the same object from it."""
        return {**dataclasses.asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def _resized(
        self,
        image: PIL.Image.Image,
        size: tuple[int, int],
        box: tuple[float, float, float, float] | None = None,
    ) -> PIL.Image.Image:
        if self.interpolation == "bilinear_aliased":
            box = box or (0, 0, *image.size)
            extent, bilinear = PIL.Image.Transform.EXTENT, PIL.Image.Resampling.BILINEAR
            return image.transform(size, extent, box, bilinear)
        return image.resize(size, _FILTERS[self.interpolation], box=box)

    def _crop_as_published(self, image: PIL.Image.Image) -> PIL.Image.Image:
        # Resizing the wanted part alone would do, but for Pillow's rounding between its passes.
        resized = _short_side_to(*image.size, self.size)
        left, top = (round((side - self.size) / 2.0) for side in resized)
        corners = (left, top, left + self.size, top + self.size)
        return self._resized(image, resized).crop(corners)

    @property
    def fill(self) -> tuple[int, int, int]:
        """The mean colour in grey levels, for what lies outside of a picture."""
        return tuple(round(255 * value) for value in self.mean)

    def __call__(self, picture: bytes | PIL.Image.Image | np.ndarray) -> np.ndarray:
        """Prepare one picture.

        Args:
            picture: encoded bytes, a Pillow image, or uint8 [H, W, 3], [H, W, 4] or [H, W].

        Returns:
            uint8 [size, size, 3], RGB.

        Raises:
            bigclip.data.images.BadImage: if the bytes are no picture.
        """
        image = _as_rgb(picture)
        width, height = image.size
        target = (self.size, self.size)
        if self.resize == "squash":
            return np.asarray(self._resized(image, target))
        if self.resize == "crop":
            if max(width, height) > _MAX_RESIZED_RATIO * min(width, height):
                box = crop_box(width, height, self.size)
                return np.asarray(self._resized(image, target, box))
            return np.asarray(self._crop_as_published(image))
        fitted = fitted_size(width, height, self.size)
        canvas = PIL.Image.new("RGB", target, self.fill)
        corner = ((self.size - fitted[0]) // 2, (self.size - fitted[1]) // 2)
        canvas.paste(self._resized(image, fitted), corner)
        return np.asarray(canvas)


def _are_three_numbers(values: object) -> bool:
    return (
        isinstance(values, Sequence | np.ndarray)
        and len(values) == 3
        and all(
            isinstance(value, numbers.Real)
            and not isinstance(value, bool)
            and abs(value) <= _FLOAT32_MAX  # not so for NaN and infinities, either
            for value in values
        )
    )


def _short_side_to(width: int, height: int, size: int) -> tuple[int, int]:
    """Scale so that the shorter side becomes `size`; the other is cut down to an integer."""
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def crop_box(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """Find what "resize the short side to `size`, then cut the centre out" keeps.

    The published transform rounds the corner to a whole pixel of the resized picture; so does
    this.

    Returns:
        left, top, right, bottom in pixels of the original.
    """
    resized = _short_side_to(width, height, size)
    left, top = (round((side - size) / 2.0) for side in resized)
    x, y = width / resized[0], height / resized[1]
    return left * x, top * y, min((left + size) * x, width), min((top + size) * y, height)


def fitted_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Scale width and height so that the longer one becomes `size`; at least one pixel each."""
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _as_rgb(picture: bytes | PIL.Image.Image | np.ndarray) -> PIL.Image.Image:
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return images.open_rgb(bytes(picture))
    if isinstance(picture, np.ndarray):
        if picture.ndim == 3 and picture.shape[2] == 1:
            picture = picture[:, :, 0]
        channels = picture.shape[2] if picture.ndim == 3 else 3
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or channels not in (3, 4):
            raise TypeError(
                f"a picture as an array must be uint8 [H, W, 3], not {picture.dtype} "
                f"{list(picture.shape)}; multiply values in [0, 1] by 255, and move channels last"
            )
        picture = PIL.Image.fromarray(picture)
    if not isinstance(picture, PIL.Image.Image):
        raise TypeError(f"a picture must be bytes, Pillow or an array, not {type(picture)}")
    # As with bytes: cameras write how to turn a picture, and hardly a program forgets to.
    return images.to_rgb(PIL.ImageOps.exif_transpose(picture))
