"""How this package itself stores a record: the features of a tf.train.Example.

`python -m bigclip.data.convert` writes them. Every record has the same features, whatever its
caption sources are, so that a data set needs one description and shards can be written apart:

    image            the encoded picture, as it was
    key              where it came from, "train-00003.tar/000123"
    captions/source  one caption source for each text
    captions/text    the texts
    metadata         the rest as JSON, an object

TFDS knows that as `Sequence({"source": Text(), "text": Text()})` named "captions".
"""

import json
from collections.abc import Sequence

from bigclip.data.records import Record, parse_object

IMAGE, KEY, METADATA = "image", "key", "metadata"
SOURCES, TEXTS = "captions/source", "captions/text"
FEATURES = (IMAGE, KEY, SOURCES, TEXTS, METADATA)


def to_example(record: Record) -> bytes:
    """Serialize a record; equal records give equal bytes in every process."""
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature[IMAGE].bytes_list.value.append(record.image)
    feature[KEY].bytes_list.value.append(record.key.encode("utf-8", "replace"))
    for source, texts in record.captions.items():
        for text in texts:
            feature[SOURCES].bytes_list.value.append(source.encode("utf-8", "replace"))
            feature[TEXTS].bytes_list.value.append(text.encode("utf-8"))
    # As ASCII: JSON can spell half of a surrogate pair, UTF-8 cannot.
    feature[METADATA].bytes_list.value.append(json.dumps(record.metadata).encode("ascii"))
    return example.SerializeToString(deterministic=True)  # maps have no order of their own


def captions_by_source(sources: Sequence[bytes], texts: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Bring the two caption features together again, sources in their first order."""
    captions: dict[str, list[bytes]] = {}
    for source, text in zip(sources, texts, strict=True):
        captions.setdefault(source.decode("utf-8", "replace"), []).append(text)
    return captions


def parse_metadata(key: str, stored: bytes) -> dict:
    """Read the feature "metadata".

    Raises:
        BadRecord: if it is no JSON object.
    """
    return parse_object(key, stored, "its metadata")
