"""The side of tf.data: TFRecords through the operations that big_vision's configurations name.

Written after what its `input_pipeline` and `pp.ops_image` do, without importing them, since they
import JAX besides. Nothing of bigclip is imported here.
"""

import os
import pathlib
import tarfile
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.data_turns import CONTEXT_LENGTH, RATIO, SCALE, SHUFFLED, SIZE, pull
from benchmarks.workers import num_cpus, serve


class Data:
    """Batches of float32 pictures [B, H, W, 3] in [-1, 1] and constant ids int32 [B, L]."""

    def start(
        self, *, shards: list[str], batch_size: int, method: str, antialias: bool
    ) -> dict[str, Any]:
        """Open the shards, converted to TFRecord beforehand, which is not timed.

        Args:
            shards: paths of .tar; the records are kept beside them.
            batch_size: B.
            method: of `tf.image.resize`; big_vision's default is "bilinear".
            antialias: whether the resize is antialiased; big_vision's default is not to.
        """
        self._method, self._antialias = method, antialias
        self._batch_size = batch_size
        paths = [_converted(shard) for shard in shards]
        options = tf.data.Options()
        options.threading.private_threadpool_size = num_cpus()
        options.threading.max_intra_op_parallelism = 1
        options.experimental_optimization.inject_prefetch = False
        data = tf.data.TFRecordDataset(paths).with_options(options)
        data = data.shuffle(SHUFFLED, seed=0, reshuffle_each_iteration=True).repeat()
        data = data.map(self._example, num_parallel_calls=tf.data.AUTOTUNE)
        data = data.batch(batch_size, drop_remainder=True).prefetch(2)
        self._batches = data.as_numpy_iterator()
        return {
            "pid": os.getpid(),
            "notes": ["tf.data makes no token ids: its texts cost nothing."],
        }

    def turn(self, *, seconds: float) -> dict[str, Any]:
        """See `data_turns.pull`."""
        return pull(self._batches, seconds=seconds, batch_size=self._batch_size)

    def whole(self, *, pictures: str, outputs: str) -> dict[str, Any]:
        """Resize whole pictures as a crop is resized.

        Args:
            pictures: .npz with the encoded bytes of each.
            outputs: .npy to be written, uint8 [n, H, W, 3].
        """
        with np.load(pictures) as arrays:
            images = [tf.io.decode_jpeg(arrays[name].tobytes(), channels=3) for name in arrays]
        np.save(outputs, np.stack([self._resize(image).numpy() for image in images]))
        return {}

    def _example(self, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "text")}
        encoded = tf.io.parse_single_example(serialized, features)["image"]
        # Only the crop is decoded, at TensorFlow's default accuracy.
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(encoded),
            tf.zeros([0, 0, 4], tf.float32),
            area_range=SCALE,
            aspect_ratio_range=RATIO,
            min_object_covered=0,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], axis=0)
        image = self._resize(tf.image.decode_and_crop_jpeg(encoded, window, channels=3))
        return {
            "image": tf.cast(image, tf.float32) / 127.5 - 1,
            "text": tf.zeros([CONTEXT_LENGTH], tf.int32),
        }

    def _resize(self, image: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(
            image, [SIZE, SIZE], method=self._method, antialias=self._antialias
        )
        return tf.cast(tf.clip_by_value(resized, 0, 255), tf.uint8)


def _converted(shard: str) -> str:
    path = pathlib.Path(shard).with_suffix(".tfrecord")
    if not path.exists():
        unfinished = path.with_suffix(".part-tfrecord")
        with tarfile.open(shard) as tar, tf.io.TFRecordWriter(str(unfinished)) as writer:
            parts: dict[str, bytes] = {}
            for info in tar:
                parts[info.name.rpartition(".")[2]] = tar.extractfile(info).read()
                if len(parts) == 3:
                    writer.write(_example_of(parts["jpg"], parts["txt"]))
                    parts = {}
        unfinished.rename(path)
    return str(path)


def _example_of(image: bytes, text: bytes) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in (("image", image), ("text", text))
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


if __name__ == "__main__":
    serve(Data())
