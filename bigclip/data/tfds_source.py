"""Random access to tensorflow-datasets (TFDS) data sets, without TensorFlow.

Read are data sets stored as ArrayRecord (or Parquet): TFDS opens those by record number and
decodes them in plain Python. TensorFlow is never imported.
"""

import functools
from collections.abc import Mapping, Sequence

from bigclip.config import ConfigError
from bigclip.data.records import BadRecord, Record, checked_captions

_LABEL_SOURCE = "label"


class TfdsSource:
    """One split of a TFDS data set, as a sequence of records."""

    def __init__(
        self,
        *,
        name: str | None = None,
        data_dir: str | None = None,
        split: str = "train",
        image_key: str | None = None,
        caption_keys: Sequence[str] | Mapping[str, str] | None = None,
        label_key: str | None = None,
        templates: Sequence[str] = ("a photo of a {}.",),
        download: bool = False,
    ):
        """Open the split.

        Args:
            name: registered name, "coco_captions/2017" or "imagenet2012:5.1.0". Without it,
                `data_dir` is the folder of one prepared version (with `dataset_info.json`).
            data_dir: where TFDS keeps its data sets; its own default if not given.
            split: in the syntax of TFDS, "train[:90%]".
            image_key: the feature that holds the picture; found if there is only one image.
            caption_keys: features that hold captions, text or sequences of it; "captions/text"
                reaches into a nested one. A dict names the caption sources itself. Found if the
                data set has only one text.
            label_key: a class label, whose name becomes the caption source "label".
            templates: what a label is put into; each gives one text.
            download: whether TFDS may download and prepare what is not there yet.

        Raises:
            ConfigError: if the data set or a feature does not exist, or cannot be read.
        """
        self._arguments = {
            "name": name,
            "data_dir": data_dir,
            "split": split,
            "image_key": image_key,
            "caption_keys": caption_keys,
            "label_key": label_key,
            "templates": templates,
        }
        builder = _open_builder(name, data_dir, download=download)
        features = _Features(builder.info.features)
        self.image_key = features.only_image(image_key)
        self.caption_keys, self.label_key = features.captions(caption_keys, label_key)
        self.templates = tuple(templates)
        self.class_names = features.class_names(self.label_key) if self.label_key else ()
        self._prefix = f"{builder.info.full_name}/{split}"
        self._examples = _open_split(builder, split, features.images)

    def __len__(self) -> int:
        return len(self._examples)

    def __repr__(self) -> str:
        return f"TfdsSource({self._prefix}, {len(self)} records)"

    def __getitem__(self, index: int) -> Record:
        """Read record `index`; raises `BadRecord` if its captions are broken."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        example = self._examples[int(index)]
        key = f"{self._prefix}/{index}"
        captions = {
            source: _texts(_reach(example, path)) for source, path in self.caption_keys.items()
        }
        metadata = {}
        if self.label_key:
            label = int(_reach(example, self.label_key))
            if not 0 <= label < len(self.class_names):
                raise BadRecord(key, "unknown_label", f"its {self.label_key} {label} has no name")
            class_name = self.class_names[label].replace("_", " ")
            metadata = {"label": label, "class_name": class_name}
            captions[_LABEL_SOURCE] = [text.replace("{}", class_name) for text in self.templates]
        image = _reach(example, self.image_key)
        return Record(key, bytes(image), checked_captions(key, captions), metadata)

    def __reduce__(self):
        # A worker process opens the files anew, which is cheaper than to send what TFDS knows.
        return functools.partial(TfdsSource, **self._arguments), ()


class _Features:
    """The features of a data set by path, and which of them to use."""

    def __init__(self, features):
        self._features = dict(_flattened(features))

    @property
    def images(self) -> list[str]:
        import tensorflow_datasets as tfds

        return self._of_kind(tfds.features.Image)

    def only_image(self, path: str | None) -> str:
        if path is None and len(self.images) == 1:
            return self.images[0]
        return self._one_of(path, self.images, "image_key", "image")

    def captions(self, caption_keys, label_key) -> tuple[dict[str, str], str | None]:
        import tensorflow_datasets as tfds

        texts = self._of_kind(tfds.features.Text)
        labels = self._of_kind(tfds.features.ClassLabel)
        if caption_keys is None and label_key is None:
            if len(texts) == 1:
                return {texts[0]: texts[0]}, None
            if not texts and len(labels) == 1:
                return {}, labels[0]
            raise ConfigError(
                "source: choose caption_keys or label_key; texts: "
                f"{', '.join(texts) or 'none'}; labels: {', '.join(labels) or 'none'}"
            )
        if isinstance(caption_keys, str):
            caption_keys = [caption_keys]
        if not isinstance(caption_keys, Mapping):
            caption_keys = {path: path for path in caption_keys or ()}
        for path in caption_keys.values():
            self._one_of(path, texts, "caption_keys", "text")
        if label_key is not None:
            self._one_of(label_key, labels, "label_key", "class label")
        return dict(caption_keys), label_key

    def class_names(self, path: str) -> tuple[str, ...]:
        return tuple(self._features[path].names)

    def _of_kind(self, kind) -> list[str]:
        return sorted(path for path, feature in self._features.items() if isinstance(feature, kind))

    def _one_of(self, path: str | None, choices: list[str], option: str, what: str) -> str:
        if path not in choices:
            raise ConfigError(
                f"source.{option}: {path!r} is no {what} of this data set; it has "
                f"{', '.join(choices) or 'none'} (of all: {', '.join(sorted(self._features))})"
            )
        return path


def _flattened(feature, path: str = ""):
    """List leaf features as (path, feature); sequences are seen through."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.FeaturesDict):
        for name, child in feature.items():
            yield from _flattened(child, f"{path}/{name}" if path else name)
    elif isinstance(feature, tfds.features.Sequence):
        yield from _flattened(feature.feature, path)
    else:
        yield path, feature


def _open_builder(name: str | None, data_dir: str | None, *, download: bool):
    import tensorflow_datasets as tfds

    if name is None and data_dir is None:
        raise ConfigError("source: a tfds source needs a name, a data_dir, or both")
    try:
        if name is None:
            return tfds.builder_from_directory(data_dir)
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except Exception as error:  # TFDS has a type of its own for nearly every way to miss a file
        raise ConfigError(f"source: cannot open {name or data_dir}: {error}") from error
    if download:
        builder.download_and_prepare(file_format="array_record")
    return builder


def _open_split(builder, split: str, images: list[str]):
    import tensorflow_datasets as tfds

    decoders: dict = {}
    for path in images:
        *folders, name = path.split("/")
        place = decoders
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = tfds.decode.SkipDecoding()  # pictures as they were stored
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except Exception as error:  # as above
        raise ConfigError(
            f"source: {builder.info.full_name} cannot be read as {split!r}: "
            f"{str(error).splitlines()[0]}\n"
            "It must be prepared as ArrayRecord: download=True prepares it so; old TFRecord "
            'files are converted once with builder.download_and_prepare(file_format="array_record")'
        ) from error


def _reach(example: Mapping, path: str):
    for name in path.split("/"):
        example = example[name]
    return example


def _texts(value) -> list | bytes:
    return value if isinstance(value, (bytes, str)) else list(value)
