"""From a position of the global stream to one example, past bad records."""

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.augment import Augmenter
from bigclip.data.captions import CaptionChooser, NoCaption
from bigclip.data.images import BadImage, decode
from bigclip.data.order import Order, Stream
from bigclip.data.records import BadRecord
from bigclip.data.tokenizer import Tokenizer

MAX_ATTEMPTS = 16


class Examples:
    """The endless stream of examples, by position; can be pickled."""

    def __init__(
        self,
        source,
        *,
        order: Order,
        augmenter: Augmenter,
        chooser: CaptionChooser,
        tokenizer: Tokenizer,
    ):
        self.source = source
        self.order = order
        self.augmenter = augmenter
        self.chooser = chooser
        self.tokenizer = tokenizer

    def chunk(self, start: int, count: int) -> dict[str, np.ndarray]:
        """Make the examples of positions start .. start + count - 1.

        Returns:
            image uint8 [count, H, H, 3], text int32 [count, L] or [count, C, L], record int64
            [count], bad int32 [count].

        Raises:
            ConfigError: if `MAX_ATTEMPTS` records in a row are bad.
        """
        size = self.augmenter.preprocess.size
        images = np.empty((count, size, size, 3), np.uint8)
        texts, records = [], np.empty(count, np.int64)
        bad = np.zeros(count, np.int32)
        for row in range(count):
            position = start + row
            record, found = self.order.record(position), []
            while True:
                try:
                    images[row], captions = self.example(record, position)
                    break
                except BadRecord as error:
                    found.append(str(error))
                if len(found) == MAX_ATTEMPTS:
                    raise ConfigError(
                        f"{MAX_ATTEMPTS} records in a row are bad: {'; '.join(found[:5])}; ..."
                    )
                record = self.order.substitute(position, len(found))
            texts.extend(captions)
            records[row] = record
            bad[row] = len(found)
        ids = self.tokenizer(texts)
        if self.chooser.policy == "all":
            ids = ids.reshape(count, self.chooser.num_captions, -1)
        return {"image": images, "text": ids, "record": records, "bad": bad}

    def example(self, record: int, position: int) -> tuple[np.ndarray, list[str]]:
        """Make what stands at a position, if that record is taken.

        Returns:
            pixels uint8 [H, H, 3], and the chosen captions.

        Raises:
            BadRecord: if the record cannot be used.
        """
        found = self.source[record]
        try:
            captions = self.chooser(found.captions, self.order.rng(position, Stream.CAPTION))
            pixels = decode(found.image)
        except NoCaption as error:
            raise BadRecord(found.key, "no_caption", str(error)) from None
        except BadImage as error:
            raise BadRecord(found.key, error.fault, f"its picture {error}") from None
        return self.augmenter(pixels, self.order.rng(position, Stream.AUGMENT)), captions

    def reasons(self, position: int, count: int) -> list[BadRecord]:
        """Find out again why the first `count` records at a position were bad."""
        reasons, record = [], self.order.record(position)
        for attempt in range(1, count + 1):
            try:
                self.example(record, position)
            except BadRecord as error:
                reasons.append(error)
            record = self.order.substitute(position, attempt)
        return reasons
