"""Regenerate tests/goldens/preprocess/NAME.npz with the libraries that published models use.

    python tests/goldens/make_preprocess_goldens.py open_clip      # and torchvision
    python tests/goldens/make_preprocess_goldens.py transformers
    python tests/goldens/make_preprocess_goldens.py tensorflow

Each runs in an environment with that library, numpy and Pillow; bigclip is not needed. Results are
uint8 [32, 32, 3] before normalisation, under "transform/WIDTHxHEIGHT".
"""

import sys
from pathlib import Path

import numpy as np
import PIL.Image
from preprocess_pictures import SHAPES, SIZE, picture

HERE = Path(__file__).parent


def open_clip():
    """OpenAI's transform as open_clip has it, and the one of its SigLIP models ("squash")."""
    import torch

    library = torch.library.Library("torchvision", "DEF")  # for a torchvision without its ops
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from open_clip.transform import image_transform

    plain = {"is_train": False, "mean": (0, 0, 0), "std": (1, 1, 1)}
    for name, mode in (("openai", "shortest"), ("squash", "squash")):
        transform = image_transform(SIZE, resize_mode=mode, interpolation="bicubic", **plain)
        yield (
            name,
            lambda pixels, t=transform: (
                t(PIL.Image.fromarray(pixels)).mul(255).round().byte().permute(1, 2, 0).numpy()
            ),
        )


def transformers():
    """Hugging Face's SigLIP."""
    from transformers import SiglipImageProcessorPil

    size = {"height": SIZE, "width": SIZE}
    processor = SiglipImageProcessorPil(size=size, do_rescale=False, do_normalize=False)

    def siglip(pixels):
        result = processor(PIL.Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
        return np.asarray(result).transpose(1, 2, 0)

    yield "siglip", siglip


def tensorflow():
    """What `resize(SIZE)` of big_vision does, as it was published, and with antialiasing."""
    import tensorflow as tf

    for name, antialias in (("siglip", False), ("siglip_antialias", True)):

        def resize(pixels, antialias=antialias):
            resized = tf.image.resize(pixels, [SIZE, SIZE], "bilinear", antialias=antialias)
            return tf.cast(tf.clip_by_value(resized, 0, 255), tf.uint8).numpy()

        yield name, resize


def main() -> None:
    reference = {"open_clip": open_clip, "transformers": transformers, "tensorflow": tensorflow}
    (name,) = sys.argv[1:]
    results = {}
    for transform, apply in reference[name]():
        for width, height in SHAPES:
            result = np.asarray(apply(picture(width, height)))
            assert result.shape == (SIZE, SIZE, 3), result.shape
            results[f"{transform}/{width}x{height}"] = result.astype(np.uint8)
    path = HERE / "preprocess" / f"{name}.npz"
    np.savez_compressed(path, **results)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
