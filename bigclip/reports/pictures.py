"""Pictures of evaluation records, small and inside the page."""

import json
from collections.abc import Mapping
from typing import Any

from bigclip.data.images import BadImage
from bigclip.data.records import BadRecord, title_of
from bigclip.data.sources import open_random_access
from bigclip.data.thumbnails import data_uri, smaller
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import Run, SuiteHistory

_SIDE = 128  # CSS shows at most 96 pixels; a little more serves fine screens


class PictureBook:
    """Gives the pictures of one source as elements; a lost one becomes a grey square.

    Args:
        source_block: the `source` of a suite in the configuration.
    """

    def __init__(self, source_block: Mapping[str, Any] | None):
        try:
            self._source = open_random_access(**source_block) if source_block else None
        except Exception:  # the data may live on another machine than the report
            self._source = None

    @property
    def is_open(self) -> bool:
        """Whether the source could be opened."""
        return self._source is not None

    def picture(self, index: int, key: str) -> Safe:
        """Return record `index` as an image element, if it still has this key."""
        record = self._record(index, key)
        uri = _uri_or_none(record, _SIDE)
        if uri is None:
            return element("span", "?", class_="lost", role="img", aria_label=f"picture {key}")
        name = title_of(record) or "picture"
        return element("img", src=uri, alt=name, title=name, loading="lazy", width=64, height=64)

    def uri(self, index: int, key: str, side: int) -> str | None:
        """Return record `index` as a data URI of at most side x side pixels, None if it is lost."""
        return _uri_or_none(self._record(index, key), side)

    def name(self, index: int, key: str) -> str | None:
        """Return what record `index` shows, in words; None if it is lost."""
        record = self._record(index, key)
        return (title_of(record) or "picture") if record else None

    def _record(self, index: int, key: str) -> Any:
        if self._source is None or not 0 <= index < len(self._source):
            return None
        try:
            record = self._source[index]
        except (BadRecord, OSError):
            return None
        return record if record.key == key else None


class Books:
    """The picture books of a run's suites; suites of one source share theirs.

    Args:
        run: whose configuration names the sources, where the results themselves do not.
    """

    def __init__(self, run: Run):
        self._evals = run.config.get("evals") or {}
        self._books: dict[str, PictureBook] = {}

    def of(self, suite: SuiteHistory) -> PictureBook:
        """Return the book of a suite's test set; one without pictures if it has none."""
        block = suite.details.get("source") or (self._evals.get(suite.name) or {}).get("source")
        key = json.dumps(block, sort_keys=True)
        if key not in self._books:
            self._books[key] = PictureBook(block)
        return self._books[key]


def _uri_or_none(record: Any, side: int) -> str | None:
    try:
        return data_uri(smaller(record.image, side)) if record else None
    except BadImage:
        return None  # shown as lost, and the page stands
