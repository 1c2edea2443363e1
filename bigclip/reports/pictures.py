"""Pictures of evaluation records, small and inside the page."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import PIL.Image

from bigclip.data.records import BadRecord
from bigclip.data.sources import open_random_access
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import Run, SuiteHistory

_SIDE = 128  # CSS shows at most 96 pixels; a little more serves fine screens
_KEPT_AS_THEY_ARE = {"WEBP": "image/webp", "PNG": "image/png", "JPEG": "image/jpeg"}
_NAMING = ("name", "title", "txt")


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
        name = describe(record.captions, record.metadata)
        return element("img", src=uri, alt=name, title=name, loading="lazy", width=64, height=64)

    def uri(self, index: int, key: str, side: int) -> str | None:
        """Return record `index` as a data URI of at most side x side pixels, None if it is lost."""
        return _uri_or_none(self._record(index, key), side)

    def name(self, index: int, key: str) -> str | None:
        """Return what record `index` shows, in words; None if it is lost."""
        record = self._record(index, key)
        return describe(record.captions, record.metadata) if record else None

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


def describe(captions: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Name a picture for those who cannot see it: its first caption, and its style if any."""
    for source in (*_NAMING, *captions):
        if captions.get(source):
            style = metadata.get("style")
            return captions[source][0] + (f" ({style})" if style else "")
    return "picture"


def _uri_or_none(record: Any, side: int) -> str | None:
    try:
        return _data_uri(record.image, side) if record else None
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return None  # shown as lost, and the page stands


def _data_uri(data: bytes, side: int) -> str:
    image = PIL.Image.open(io.BytesIO(data))
    kind = _KEPT_AS_THEY_ARE.get(image.format or "")
    if kind is None or max(image.size) > side or len(data) > side * side:
        image = image.convert("RGBA")
        image.thumbnail((side, side))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=80)
        data, kind = buffer.getvalue(), "image/webp"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
