"""Random access to tensorflow-datasets (TFDS) data sets, without TensorFlow.

Read are data sets stored as ArrayRecord (or Parquet): TFDS opens those by record number and
decodes them in plain Python. TensorFlow is never imported.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data import stored_records
from bigclip.data.records import BadRecord, Record, checked_captions

_LABEL_SOURCE = "label"
# Texts that many data sets of the catalogue have beside their labels, and that describe nothing.
_NO_CAPTIONS = ("file_name", "filename", "id", "image_id", "key", "license", "path", "url")


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
        needs_caption: bool = True,
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
                data set has only one text that is no name of a file. What
                `bigclip.data.convert` wrote brings the names of its caption sources along.
            label_key: a class label or a sequence of them; names become the caption source
                "label". Found if the data set has no such text and only one label.
            templates: what a label is put into; each gives one text for each label.
            download: whether TFDS may download and prepare what is not there yet.
            needs_caption: False is for evaluation: a record without any caption, or with an empty
                list of labels, is one, too.

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
            "needs_caption": needs_caption,
        }
        builder = _open_builder(name, data_dir, download=download)
        features = _Features(builder.info.features)
        self.image_key = features.only_image(image_key)
        self._is_stored = (
            image_key is caption_keys is label_key is None and features.are_stored_records
        )
        if self._is_stored:
            self.caption_keys, self.label_key = {}, None
        else:
            self.caption_keys, self.label_key = features.captions(caption_keys, label_key)
        self.templates = tuple(templates)
        self._needs_caption = needs_caption
        self.class_names = features.class_names(self.label_key) if self.label_key else ()
        self._prefix = f"{builder.info.full_name}/{split}"
        self._examples = _open_split(builder, split, features.images)

    def __len__(self) -> int:
        return len(self._examples)

    def __repr__(self) -> str:
        return f"TfdsSource({self._prefix}, {len(self)} records)"

    def __getitem__(self, index: int) -> Record:
        """Read record `index`.

        Raises:
            BadRecord: if it is damaged, a label has no name, or its captions are broken.
        """
        return self._record(*self._read(index))

    def __getitems__(self, indices: Sequence[int]) -> list[Record | BadRecord]:
        """Read many records; TFDS reads the files side by side, which pays where they are far.

        Returns:
            A list in the order of `indices`; a broken record stands there as its `BadRecord`, so
            that it does not cost the others.
        """
        indices = [int(index) for index in indices]
        if indices and not 0 <= min(indices) <= max(indices) < len(self):
            raise IndexError(f"records {min(indices)} to {max(indices)} of {len(self)}")
        try:
            examples = self._examples.__getitems__(indices)
        except RuntimeError:  # one of them is damaged; which one, is not told
            return [_or_fault(self.__getitem__, index) for index in indices]
        return [
            _or_fault(self._record, *numbered) for numbered in zip(indices, examples, strict=True)
        ]

    def _read(self, index: int) -> tuple[int, Mapping]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            return index, self._examples[int(index)]
        except RuntimeError as error:  # ArrayRecord keeps a checksum of each record
            raise BadRecord(
                f"{self._prefix}/{index}", "broken_record", f"is damaged: {str(error)[:200]}"
            ) from None

    def _record(self, index: int, example: Mapping) -> Record:
        key = f"{self._prefix}/{index}"
        image = bytes(_reach(example, self.image_key))
        if self._is_stored:
            captions = stored_records.captions_by_source(
                _reach(example, stored_records.SOURCES), _reach(example, stored_records.TEXTS)
            )
            metadata = stored_records.parse_metadata(key, example[stored_records.METADATA])
            return self._checked(key, image, captions, metadata)
        captions = {
            source: _texts(_reach(example, path)) for source, path in self.caption_keys.items()
        }
        metadata = {}
        if self.label_key:
            captions[_LABEL_SOURCE], metadata = self._label(key, _reach(example, self.label_key))
        return self._checked(key, image, captions, metadata)

    def _checked(self, key: str, image: bytes, captions: dict, metadata: dict) -> Record:
        checked = checked_captions(key, captions, needs_caption=self._needs_caption)
        return Record(key, image, checked, metadata)

    def _label(self, key: str, value) -> tuple[list[str], dict]:
        """Captions and metadata of one label, or of several."""
        labels = np.asarray(value, np.int64).reshape(-1).tolist()
        for label in labels:
            if not 0 <= label < len(self.class_names):
                raise BadRecord(key, "unknown_label", f"its {self.label_key} {label} has no name")
        names = [self.class_names[label].replace("_", " ") for label in labels]
        # Objects of one kind are labelled one by one; the kind is said once.
        texts = [t.replace("{}", name) for name in dict.fromkeys(names) for t in self.templates]
        if np.ndim(value):
            return texts, {"label": labels, "class_name": names}
        return texts, {"label": labels[0], "class_name": names[0]}

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

    @property
    def are_stored_records(self) -> bool:
        """Whether `bigclip.data.convert` wrote them."""
        return set(self._features) == set(stored_records.FEATURES)

    def only_image(self, path: str | None) -> str:
        if path is None and len(self.images) == 1:
            return self.images[0]
        return self._one_of(path, self.images, "image_key", "image")

    def captions(self, caption_keys, label_key) -> tuple[dict[str, str], str | None]:
        import tensorflow_datasets as tfds

        texts = self._texts()
        labels = self._of_kind(tfds.features.ClassLabel)
        if caption_keys is None and label_key is None:
            telling = [path for path in texts if path.split("/")[-1] not in _NO_CAPTIONS]
            if len(telling) == 1:
                return {telling[0]: telling[0]}, None
            if not telling and len(labels) == 1:
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

    def _texts(self) -> list[str]:
        import tensorflow_datasets as tfds

        # Also features that are declared as np.str_; Text is one kind of these tensors.
        tensors = self._of_kind(tfds.features.Tensor)
        return [path for path in tensors if self._features[path].np_dtype == np.object_]

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


def _or_fault(read: Callable[..., Record], *arguments) -> Record | BadRecord:
    try:
        return read(*arguments)
    except BadRecord as error:
        return error


def _texts(value) -> list | bytes:
    return value if isinstance(value, (bytes, str)) else list(value)
