"""Which record has a text first, for passes over a whole source: same texts are left out."""

import hashlib
from array import array


class FirstTexts:
    """Tells the first record with a text from later ones with the same text.

    Texts are the same if they differ in case and white space only. What it remembers of one is a
    64-bit hash, with that of its record: 24 to 48 bytes a text. Two of a hundred million texts
    are taken for the same by mistake with a chance of 1 in 3,700.
    """

    def __init__(self):
        """Begin with no text."""
        self._count = 0
        self._mask = 1023
        self._texts, self._owners = (array("Q", bytes(8 * (self._mask + 1))) for _ in range(2))

    def __len__(self) -> int:
        """Return how many different texts were added."""
        return self._count

    def add(self, key: str, text: str) -> bool:
        """Take a text.

        Args:
            key: or id, of the record.
            text: one of its captions.

        Returns:
            Whether no other record had this text before. A record may give its own text again:
            .txt and .json often hold the same.
        """
        number, owner = _hash64(" ".join(text.casefold().split())), _hash64(key)
        place = self._place(number)
        if self._texts[place]:
            return self._owners[place] == owner
        self._texts[place], self._owners[place] = number, owner
        self._count += 1
        if 3 * self._count > 2 * self._mask:
            self._grow()
        return True

    def _place(self, number: int) -> int:
        """Find the slot where a hash is, or is to go."""
        place = number & self._mask
        while self._texts[place] not in (0, number):
            place = (place + 1) & self._mask
        return place

    def _grow(self):
        texts, owners = self._texts, self._owners
        self._mask = 2 * self._mask + 1
        self._texts, self._owners = (array("Q", bytes(8 * (self._mask + 1))) for _ in range(2))
        for number, owner in zip(texts, owners, strict=True):
            if number:
                place = self._place(number)
                self._texts[place], self._owners[place] = number, owner


def _hash64(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) or 1  # 0 is an empty slot
