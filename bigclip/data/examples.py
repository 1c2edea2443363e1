"""From records to the arrays of examples, past bad records."""

from collections.abc import Callable, Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.augment import Augmenter
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.captions import CaptionChooser, NoCaption
from bigclip.data.images import BadImage
from bigclip.data.notes import Notes
from bigclip.data.order import Stream, position_rng
from bigclip.data.records import BadRecord, Record

MAX_ATTEMPTS = 16
_CHUNK_EXAMPLES = 64  # what one thread makes at a time: long enough to hide Grain's own cost


def chunk_size(rows: int) -> int:
    """Choose into pieces of how many examples some rows are cut: a divisor of their number."""
    return max(n for n in range(1, _CHUNK_EXAMPLES + 1) if rows % n == 0)


class ExampleMaker:
    """Decodes, augments, chooses captions and tokenises; can be pickled."""

    def __init__(
        self,
        *,
        seed: int,
        augmenter: Augmenter,
        chooser: CaptionChooser,
        text_augmenter: TextAugmenter,
    ):
        self.seed = seed
        self.augmenter = augmenter
        self.chooser = chooser
        self.text_augmenter = text_augmenter

    def chunk(
        self,
        positions: Sequence[int],
        candidate: Callable[[int, int], tuple[int, Callable[[], Record]]],
        *,
        notes: Notes | None = None,
    ) -> dict[str, np.ndarray]:
        """Make the examples of some positions; a bad record is replaced by the next candidate.

        Args:
            positions: of the global stream, [n].
            candidate: (row, attempt) -> number of the record, and how to read it.
            notes: what was met before, to be told along; by default `num_good` is n.

        Returns:
            image uint8 [n, H, H, 3], text int32 [n, L] or [n, C, L], record int64 [n], bad int32
            [n] how many candidates were bad, notes uint8 [...] for `Notes.from_array`.

        Raises:
            ConfigError: if `MAX_ATTEMPTS` candidates in a row are bad.
        """
        size = self.augmenter.preprocess.size
        images = np.empty((len(positions), size, size, 3), np.uint8)
        texts, records = [], np.empty(len(positions), np.int64)
        notes = Notes(len(positions)) if notes is None else notes
        attempts, found = np.zeros(len(positions), np.int32), list(notes.bad)
        for row, position in enumerate(positions):
            for attempt in range(MAX_ATTEMPTS):
                number, read = candidate(row, attempt)
                try:
                    images[row], captions = self.example(read(), position)
                    break
                except BadRecord as error:
                    found.append(error)
            else:
                named = "; ".join(map(str, found[-MAX_ATTEMPTS:][:5]))
                raise ConfigError(f"{MAX_ATTEMPTS} records in a row are bad: {named}; ...")
            texts.extend(captions)
            records[row], attempts[row] = number, attempt
        of_texts = [at for at in positions for _ in range(self.chooser.num_captions)]
        ids = self.text_augmenter(texts, seed=self.seed, positions=of_texts)
        if self.chooser.policy == "all":
            ids = ids.reshape(len(positions), self.chooser.num_captions, -1)
        return {
            "image": images,
            "text": ids,
            "record": records,
            "bad": attempts,
            "notes": notes._replace(bad=found).to_array(),
        }

    def example(self, record: Record, position: int) -> tuple[np.ndarray, list[str]]:
        """Make what stands at a position, if that record is taken.

        Returns:
            pixels uint8 [H, H, 3], and the chosen captions.

        Raises:
            BadRecord: if the record cannot be used.
        """
        try:
            rng = position_rng(self.seed, position, Stream.CAPTION)
            captions = self.chooser(record.captions, rng)
            rng = position_rng(self.seed, position, Stream.AUGMENT)
            # Still encoded: of a large JPEG, no more is decoded than the cut needs.
            return self.augmenter(record.image, rng), captions
        except NoCaption as error:
            raise BadRecord(record.key, "no_caption", str(error)) from None
        except BadImage as error:
            raise BadRecord(record.key, error.fault, f"its picture {error}") from None
