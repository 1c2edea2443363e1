"""The web server of the demo.

It is aiohttp's, which is installed with fsspec[http] anyway, and not `http.server`: its parser is
hardened, a connection that trickles costs no thread, a body has a deadline as a whole, and work for
a browser that went away is dropped.

    GET  /                                 the page; ?q=TEXT and ?like=NUMBER are read by its script
    GET  /api/about                        what the page says of model and pictures
    GET  /api/search?q=&start=&count=      pictures for a text; for none, some pictures
    POST /api/look                         labels and similar pictures of a picture
    GET  /thumbnails/N, /pictures/N        picture N, small and large
"""

import asyncio
import base64
import binascii
import hashlib
import json
import logging
import random
import re
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from bigclip.data.images import BadImage
from bigclip.data.records import BadRecord
from bigclip.serving import guards
from bigclip.serving.guards import problem
from bigclip.serving.labels import (
    BadInput,
    check_labels,
    check_templates,
    check_text,
)
from bigclip.serving.search import Hit, Search
from bigclip.serving.thumbnails import SIDES, Thumbnails

MAX_UPLOAD_BYTES = 20 << 20  # of the picture itself
MAX_COUNT = 96
_BODY_SECONDS = 30.0
_TEXT_BYTES = 2 << 20  # of labels and templates beside a picture
_MAX_ASKED = 64  # questions that wait for the model
_MAX_BODIES = 8  # held in memory, from the first byte to the answer: each may be a large picture
_MAX_PAINTED = 256  # thumbnails that wait; a page asks for a few dozen
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}

logger = logging.getLogger(__name__)
_http_logger = logging.getLogger(f"{__name__}.http")
# A client that speaks no HTTP gets its 400; the terminal is for this program's own faults.
_http_logger.addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
)


class Server:
    """The handlers and what they share.

    Args:
        search: answers the questions.
        labels: the list that the page begins with.
        templates: likewise.
        about: what the page says of the model: name, step.
        body_seconds: within which the body of a request must be there.
        upload_bytes: the largest picture that may be sent.
    """

    def __init__(
        self,
        search: Search,
        *,
        labels: Sequence[str],
        templates: Sequence[str],
        about: dict[str, Any],
        body_seconds: float = _BODY_SECONDS,
        upload_bytes: int = MAX_UPLOAD_BYTES,
    ):
        self._search, self._pictures = search, search.pictures
        self._thumbnails = Thumbnails(self._pictures.read)
        self._body_seconds, self._upload_bytes = body_seconds, upload_bytes
        self._body_bytes = -(-upload_bytes // 3) * 4 + _TEXT_BYTES  # base64
        # Apart from each other, so that a text need not wait for two dozen photographs.
        self._answering = ThreadPoolExecutor(4, thread_name_prefix="demo-answers")
        self._painting = ThreadPoolExecutor(2, thread_name_prefix="demo-thumbnails")
        self._asked, self._bodies = guards.Places(_MAX_ASKED), guards.Places(_MAX_BODIES)
        self._painted = guards.Places(_MAX_PAINTED)
        # The first look at a gallery: a little of everything, and the same after a reload.
        self._shuffled = list(range(len(self._pictures)))
        random.Random(0).shuffle(self._shuffled)
        self._about = {
            **about,
            "title": self._pictures.gallery.title,
            "pictures": len(self._pictures),
            "left_out": len(self._pictures.left_out),
            "labels": list(labels),
            "templates": list(templates),
            "independent": search.independent,
            "cosine": search.has_vectors,
            "upload_bytes": upload_bytes,
        }

    def app(self, names: Collection[str]) -> web.Application:
        """Make the application.

        Args:
            names: of hosts that it answers to, see `guards.own_names`.
        """
        app = web.Application(
            middlewares=[guards.tell_errors, guards.host_guard(names), guards.origin_guard]
        )
        for path, (name, kind) in _FILES.items():
            app.router.add_get(path, _file(name, kind))
        app.router.add_get("/favicon.ico", _no_icon)  # which browsers ask for on their own
        app.router.add_get("/api/about", self._tell_about)
        app.router.add_get("/api/search", self._find)
        app.router.add_post("/api/look", self._look)
        sides = "|".join(SIDES)
        app.router.add_get(f"/{{kind:{sides}}}/{{number:[0-9]{{1,9}}}}", self._picture)
        app.on_response_prepare.append(guards.add_headers)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, app: web.Application) -> None:
        for threads in (self._answering, self._painting):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _tell_about(self, request: web.Request) -> web.Response:
        return web.json_response(self._about)

    async def _find(self, request: web.Request) -> web.Response:
        start, count = _range(request.query)
        text = _checked(check_text, request.query.get("q", ""), "text")
        began = time.perf_counter()
        if text:
            hits = await self._answered(self._search.by_text, text, start, count)
        else:
            hits = [Hit(row, 0.0) for row in self._shuffled[start : start + count]]
        return self._answer(hits, began, total=len(self._pictures), scored=bool(text))

    async def _look(self, request: web.Request) -> web.Response:
        with self._bodies.taken():
            body = await guards.read_body(
                request, most_bytes=self._body_bytes, seconds=self._body_seconds
            )
            began = time.perf_counter()
            found = await self._answered(self._looked, body)
        return self._answer(found.pop("hits"), began, **found)

    def _looked(self, body: bytes) -> dict[str, Any]:
        asked = _parsed(body)
        labels = check_labels(asked.get("labels", self._about["labels"]))
        templates = check_templates(asked.get("templates", self._about["templates"]))
        start, count = _range(asked)
        row = asked.get("picture")
        if row is None:
            output = self._search.embed(self._uploaded(asked.get("image")))
        elif type(row) is int and 0 <= row < len(self._pictures):
            output = self._search.picture(row)
        else:
            raise BadInput(f"there is no picture {row!r}.")
        total = len(self._pictures) - (row is not None) if self._search.has_vectors else 0
        return {
            "hits": self._search.by_picture(output, start, count, without=row),
            "labels": [found._asdict() for found in self._search.labels(output, labels, templates)],
            "subject": None if row is None else self._described(row),
            "total": total,
            "scored": True,
        }

    def _uploaded(self, image: Any) -> bytes:
        try:
            encoded = base64.b64decode(image, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise BadInput("`image` must be a picture in base64, or `picture` a number.") from None
        if len(encoded) > self._upload_bytes:
            raise BadInput(f"this is too large: at most {self._upload_bytes >> 20} MiB.")
        return encoded

    def _described(self, row: int) -> dict[str, Any]:
        return {"picture": row, "name": self._pictures.entries[row].name}

    def _answer(self, hits: list[Hit], began: float, *, scored: bool, **more: Any) -> web.Response:
        found = [
            {**self._described(hit.row), "score": round(hit.score, 4) if scored else None}
            for hit in hits
        ]
        milliseconds = round(1000 * (time.perf_counter() - began), 1)
        return web.json_response({"hits": found, "milliseconds": milliseconds, **more})

    async def _picture(self, request: web.Request) -> web.Response:
        number, side = int(request.match_info["number"]), SIDES[request.match_info["kind"]]
        if number >= len(self._pictures):
            raise problem(web.HTTPNotFound, f"there is no picture {number}.")
        key = f"{side}\0{self._pictures.entries[number].key}".encode("utf-8", "surrogateescape")
        tag = hashlib.sha256(key).hexdigest()[:24]
        # The number may mean another picture after a restart, so the browser asks each time.
        headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        with self._painted.taken():
            encoded = await _run(self._painting, self._thumbnails.get, number, side)
        return web.Response(body=encoded, content_type="image/webp", headers=headers)

    async def _answered(self, work: Callable, *args: Any) -> Any:
        with self._asked.taken():
            return await _run(self._answering, work, *args)


async def _run(threads: ThreadPoolExecutor, work: Callable, *args: Any) -> Any:
    """Run on a thread, and turn what it raises into an answer."""
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work, *args)
    except BadInput as error:
        raise problem(web.HTTPBadRequest, str(error)) from None
    except BadImage as error:
        raise problem(web.HTTPUnprocessableEntity, f"the picture {error}.") from None
    except (OSError, BadRecord) as error:
        logger.warning("cannot be read any more: %s", error)
        raise problem(web.HTTPNotFound, "this picture cannot be read any more.") from None


def _file(name: str, kind: str) -> Callable:
    body = resources.files("bigclip.serving").joinpath(name).read_bytes()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return answer


async def _no_icon(request: web.Request) -> web.Response:
    return web.Response(status=204)


def _range(asked: Any) -> tuple[int, int]:
    """Read `start` and `count` of a query string or a JSON object."""
    values = []
    for name, default, least, most in (("start", 0, 0, 10**9), ("count", 24, 1, MAX_COUNT)):
        text = str(asked.get(name, default))
        # isdigit and int() take digits of any script.
        if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise problem(web.HTTPBadRequest, f"{name} must be a number from {least} to {most}.")
        values.append(int(text))
    return values[0], values[1]


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput("the body must be JSON.") from None
    if not isinstance(asked, dict):
        raise BadInput("the body must be a JSON object.")
    return asked


def _checked(check: Callable, *args: Any) -> Any:
    try:
        return check(*args)
    except BadInput as error:
        raise problem(web.HTTPBadRequest, str(error)) from None


async def serve(app: web.Application, listening: Any, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set.

    Args:
        app: of `Server`.
        listening: a bound socket.
        stop: ends it; requests that are being answered get a second.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_http_logger,
        # Bodies are taken as they are: a small one could unfold to gigabytes.
        auto_decompress=False,
        handler_cancellation=True,
        keepalive_timeout=75,
        lingering_time=2,
        shutdown_timeout=1,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listening, backlog=64).start()
        await stop.wait()
    finally:
        await runner.cleanup()
