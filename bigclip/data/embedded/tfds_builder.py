"""The embedded data as a tensorflow-datasets builder, without TensorFlow.

Examples are written as ArrayRecord and read by index::

    python -m bigclip.data.embedded.tfds_builder --data_dir ~/tensorflow_datasets

    import tensorflow_datasets as tfds
    source = tfds.data_source("embedded_pack", split="train", data_dir=...)

It shows how any data set in TFDS form reaches bigclip, and lets TFDS users mix the pack with
their own data. ``bigclip.data.embedded.shards`` gives the same records with nothing to prepare.
"""

import argparse
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from bigclip.data import embedded

CAPTION_SOURCES = (
    "name",
    "keywords",
    "title",
    "description",
    *("ar", "de", "es", "fr", "hi", "ja", "pt", "ru", "sw", "zh"),
)
METADATA = ("concept", "group", "license", "origin", "style")


def examples(split: str) -> Iterator[tuple[str, dict]]:
    """Go through one split of the pack in order.

    Yields:
        A key, ``"train-00003.tar/004510"``, and the features: "image" (WebP bytes), "key", the
        caption sources (lists of texts, often empty), and what else the pack says of a picture.
    """
    for path in embedded.shards(split):
        with tarfile.open(path) as tar:
            members: dict[str, bytes] = {}
            for member in tar:
                stem, extension = member.name.split(".")
                members[extension] = tar.extractfile(member).read()
                if extension != "json":  # the last member of a record
                    continue
                described = json.loads(members["json"])
                key = f"{Path(path).name}/{stem}"
                captions = {c: described["captions"].get(c, []) for c in CAPTION_SOURCES}
                metadata = {m: described[m] for m in METADATA}
                yield key, {"image": members["webp"], "key": key, **captions, **metadata}


class EmbeddedPack(tfds.core.GeneratorBasedBuilder):
    """Emoji in seven styles and clip art, with names, keywords and titles."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The pack that ships with bigclip."}
    # TFDS would look for download checksums beside the code; the way it finds the code needs a
    # package that it does not install on every Python.
    code_path = Path(__file__)

    def _info(self) -> tfds.core.DatasetInfo:
        """Describe the features. The picture stays WebP: bigclip decodes and augments itself."""
        text = tfds.features.Text
        return tfds.core.DatasetInfo(
            builder=self,
            description="Emoji in seven styles and clip art, with names, keywords and titles.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(64, 64, 3), doc="stored as WebP"),
                    "key": text(),
                    **{source: tfds.features.Sequence(text()) for source in CAPTION_SOURCES},
                    **{name: text() for name in METADATA},
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        del dl_manager  # everything is in the package
        return {split: self._generate_examples(split) for split in embedded.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        yield from examples(split)


def prepare(data_dir: str | Path) -> tfds.core.DatasetBuilder:
    """Write the data set below ``data_dir`` as ArrayRecord, unless it is there already.

    Returns:
        The builder; ``.as_data_source(split)`` reads by index.
    """
    builder = EmbeddedPack(data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare()
    return builder


def main() -> None:
    """Parse the command line and prepare."""
    parser = argparse.ArgumentParser(
        description="Write the embedded data as a TFDS data set of ArrayRecord files.",
        epilog="example: python -m bigclip.data.embedded.tfds_builder --data_dir /tmp/tfds",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of TFDS data sets")
    builder = prepare(parser.parse_args().data_dir)
    for split, info in builder.info.splits.items():
        print(f"{split}: {info.num_examples} records")
    print(f"written to {builder.data_path}")


if __name__ == "__main__":
    main()
