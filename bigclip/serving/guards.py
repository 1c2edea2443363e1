"""Who may ask, and what a browser may do with the answer.

A page on 127.0.0.1 is open to every other page in the same browser: a foreign site can send it
requests (so `Origin` is checked where a request does anything), or give its own name the address
127.0.0.1 and be taken for the same site (DNS rebinding; so `Host` is checked everywhere). What
comes back is told to load nothing from elsewhere and to be nobody's frame or picture.
"""

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator
from urllib.parse import urlsplit

from aiohttp import web

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OWN_SITES = ("same-origin", "none")  # "none": typed by the user


def own_names(host: str, allowed: Collection[str] = ()) -> frozenset[str]:
    """Return the names under which this server may be asked.

    Args:
        host: that it is bound to.
        allowed: further names.
    """
    names = {"localhost", host, socket.gethostname(), socket.getfqdn(), *allowed}
    return frozenset(name.lower().rstrip(".") for name in names)


def host_guard(names: Collection[str]):
    """Make the middleware that answers 421 to a request for another host.

    Addresses always pass: an attacker can give a name to this machine, but no other address.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Callable) -> web.StreamResponse:
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not _is_own(hosts[0], names):
            raise problem(
                web.HTTPMisdirectedRequest,
                f"this server does not answer to the name {hosts[0] if hosts else ''!r}; start it "
                "with --allow_host NAME to add one.",
            )
        return await handler(request)

    return guard


@web.middleware
async def origin_guard(request: web.Request, handler: Callable) -> web.StreamResponse:
    """Answer 403 to what another site's page sends."""
    if request.method not in ("GET", "HEAD"):
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
        if foreign or (site is not None and site not in _OWN_SITES):
            raise problem(web.HTTPForbidden, "this request comes from another site's page.")
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put `HEADERS` on every answer."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "bigclip"  # instead of the versions of everything


def problem(kind: type[web.HTTPException], reason: str, **headers: str) -> web.HTTPException:
    """Make an error whose body the page can show: {"error": reason}."""
    text = json.dumps({"error": reason})
    return kind(text=text, content_type="application/json", headers=headers)


class Places:
    """A bound on what is under way at once; for one event loop.

    Args:
        most: how many may have a place.
    """

    def __init__(self, most: int):
        self._most, self._taken = most, 0

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place. Raises HTTPException, 503, if there is none."""
        if self._taken >= self._most:
            reason = "too many questions at once; ask again in a moment."
            raise _last(problem(web.HTTPServiceUnavailable, reason, **{"Retry-After": "1"}))
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def read_body(request: web.Request, *, most_bytes: int, seconds: float) -> bytes:
    """Read the body of a request.

    Args:
        request: the request.
        most_bytes: more are refused: by the header where it tells, else while they come.
        seconds: for the whole body, however steadily it trickles.

    Raises:
        HTTPException: 413, 415 for an encoded body, or 408.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise _last(problem(web.HTTPUnsupportedMediaType, "send the body as it is."))
    too_large = f"this is too large: at most {most_bytes / 2**20:.0f} MiB."
    if (request.content_length or 0) > most_bytes:
        raise _too_large(request.content_length, most_bytes, too_large)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most_bytes:
                    raise _too_large(len(body), most_bytes, too_large)
    except TimeoutError:
        reason = f"the picture did not arrive within {seconds:g} s."
        raise _last(problem(web.HTTPRequestTimeout, reason)) from None
    return bytes(body)


def _too_large(size: int, most: int, reason: str) -> web.HTTPException:
    def kind(**options) -> web.HTTPException:
        return web.HTTPRequestEntityTooLarge(max_size=most, actual_size=size, **options)

    return _last(problem(kind, reason))


def _last(error: web.HTTPException) -> web.HTTPException:
    """End the connection with this answer: the rest of a body may still be to come."""
    error.force_close()
    return error


@web.middleware
async def tell_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give every error the form that the page can show."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/json" or error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return web.json_response(
            {"error": f"{error.reason}."}, status=error.status, headers=headers
        )


def _is_own(host: str, names: Collection[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    name = name.rstrip(".")
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
