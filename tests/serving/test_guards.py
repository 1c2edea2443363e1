"""Requests that are refused, over real sockets: paths, hosts, other sites, bodies."""

import contextlib
import json
import socket
import zlib

import pytest
import stand_ins
from stand_ins import Running


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/../secret.png",
        "/pictures/%2e%2e/secret.png",
        "/pictures/%2e%2e%2fsecret.png",
        "/pictures/..%5csecret.png",
        "/pictures/%252e%252e%252fsecret.png",
        "/pictures//etc/passwd",
        "/pictures/%2fetc%2fpasswd",
        "//etc/passwd",
        "/../../../../../etc/passwd",
        "/page.html/../guards.py",
        "/guards.py",
        "/pictures/red.png",
        "/pictures/deep/er/blue.webp",
        "/pictures/-1",
        "/pictures/+1",
        "/pictures/1.0",
        "/pictures/0x1",
        "/pictures/7",
        "/pictures/999999999",
        "/pictures/99999999999999999999999999999999",
        "/pictures/" + "9" * 4000,
        "/pictures/%D9%A1",  # Arabic digit one
        "/pictures/%EF%BC%91",  # fullwidth digit one
        "/pictures/%C2%B2",  # superscript two
        "/pictures/1%00",
        "/pictures/1%0a",
        "/pictures/%c0%ae%c0%ae/secret.png",
        "/pictures/",
        "/pictures/1/",
        "/other/1",
    ],
)
def test_nothing_but_numbered_pictures_is_served(server, path):
    answer = server.ask(path)
    assert answer.status == 404, path
    assert b"root:" not in answer.body
    assert answer.headers["Content-Type"].startswith(("application/json", "text/plain"))


@pytest.mark.parametrize("path", ["/pictures/file:///etc/passwd", "http://evil.example/pictures/0"])
def test_addresses_in_the_place_of_paths(server, path):
    line = f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    received = server.raw(line.encode())
    assert int(received.split()[1]) in (400, 404, 421)
    assert b"image/webp" not in received


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("localhost", 200),
        ("LOCALHOST.:9", 200),  # forwarded from another port
        ("[::1]:{port}", 200),
        ("evil.example", 421),
        ("evil.example:{port}", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example#localhost", 421),
        ("localhost@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_other_hosts_are_refused(server, host, status):
    for path in ("/", "/api/about", "/thumbnails/0", "/nowhere"):
        answer = server.ask(path, Host=host.format(port=server.port))
        assert answer.status == (404 if path == "/nowhere" and status == 200 else status)


def test_two_hosts_are_none(server):
    received = server.raw(
        b"GET /api/about HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert int(received.split()[1]) in (400, 421)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_posts_of_other_sites_are_refused(server, headers, status):
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    assert server.ask("/api/look", {"picture": 0}, **headers).status == status


def test_every_answer_is_guarded(server):
    paths = ("/", "/page.js", "/page.css", "/api/about", "/api/search?q=x", "/thumbnails/0", "/no")
    for path in paths:
        headers = server.ask(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
    # The page itself loads nothing from elsewhere and has no script of its own within.
    for name in ("/", "/page.js", "/page.css"):
        assert b"//cdn" not in (body := server.ask(name).body)
        assert b"https:" not in body
        assert b"http:" not in body
    # A name from the disk travels as data.
    found = server.ask("/api/search?q=&count=7").json()["hits"]
    assert "<img src=x onerror=alert(1)>.png" in [hit["name"] for hit in found]
    assert b"onerror" not in server.ask("/").body
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert server.ask("/api/look", method=method).status == 405


def head(server, extra: str) -> bytes:
    return f"POST /api/look HTTP/1.1\r\nHost: localhost:{server.port}\r\n{extra}\r\n\r\n".encode()


def test_a_large_body_is_refused_by_its_header(server):
    # No byte of the body is ever sent: reading it would end with 408.
    received = server.raw(head(server, "Content-Length: 99999999999"))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"too large" in received


def test_a_large_body_in_pieces_is_refused_on_the_way(server):
    piece = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    received = server.raw(head(server, "Transfer-Encoding: chunked"), *[piece] * 16, b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")


def test_a_body_in_pieces_is_fine(server):
    body = json.dumps({"picture": 0, "count": 1}).encode()
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    received = server.raw(head(server, "Transfer-Encoding: chunked\r\nConnection: close") + pieces)
    assert received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "lie",
    [
        "Content-Length: 10\r\nContent-Length: 20",
        "Content-Length: 10\r\nTransfer-Encoding: chunked",
        "Content-Length: -1",
        "Content-Length: +10",
        "Content-Length: 1e3",
    ],
)
def test_lengths_that_contradict_themselves(server, lie):
    received = server.raw(head(server, lie) + b'{"picture":0}')
    assert received.startswith(b"HTTP/1.1 400 ") or received.startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize("trickle", [[], [b" "] * 30])
def test_a_body_that_trickles_or_never_ends_is_given_up(folder, trickle):
    """However steadily it comes: the deadline is of the whole."""
    with Running(stand_ins.search_in(folder), body_seconds=0.3) as server:
        begin = head(server, "Content-Length: 5000") + b'{"picture"'
        received = server.raw(begin, *trickle, wait_seconds=0.03)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"within 0.3 s" in received
        assert server.ask("/api/about").status == 200


def test_no_more_bodies_are_held_than_there_are_places(folder, monkeypatch):
    """However many connections send a part of one: the next is refused before its body is read."""
    monkeypatch.setattr("bigclip.serving.server._MAX_BODIES", 2)

    def ask_until(server, status):
        while (answer := server.ask("/api/look", {"picture": 0, "count": 1})).status != status:
            assert answer.status in (200, 503)
        return answer

    with Running(stand_ins.search_in(folder)) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            sending = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            stack.enter_context(sending).sendall(head(server, "Content-Length: 5000") + b"{")
        answer = ask_until(server, 503)
        assert answer.headers["Retry-After"] == "1"
        assert "too many" in answer.json()["error"]
        refused = server.raw(head(server, "Content-Length: 5000"))  # none of its body is sent
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert server.ask("/api/search?q=blue").status == 200
        stack.close()  # both go away, and their places are free again
        ask_until(server, 200)


def test_a_small_body_that_unfolds_is_not_unfolded(server):
    body = zlib.compress(b" " * 5_000_000)
    answer = server.ask("/api/look", body, Content_Encoding="deflate")
    assert answer.status == 415


@pytest.mark.parametrize(
    "noise",
    [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\nA: "
     + b"b" * 70_000 + b"\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http_is_refused_in_silence(server, caplog, noise):
    assert b" 400 " in server.raw(noise)
    assert caplog.records == []
