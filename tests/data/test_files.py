"""Ranges of local files and of a web server that fails now and then."""

import http.server
import itertools
import os
import pickle
import re
import threading

import fsspec
import pytest

from bigclip.config import ConfigError
from bigclip.data import files
from bigclip.data.buffered_file import BufferedFile
from bigclip.data.files import Files
from bigclip.data.sources import open_source


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(files, "_FIRST_WAIT_SECONDS", 0.001)
    files._retrying.cache_clear()
    yield
    files._retrying.cache_clear()


class Server(http.server.ThreadingHTTPServer):
    """Serves ranges of the files of a folder; `fail(number)` says what goes wrong with a read."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.reads, self.fail = folder, itertools.count(), lambda number: None
        self.asks, self.fail_size, self.knows_ranges = itertools.count(), lambda number: None, True
        self.ranges = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = self.server.folder / self.path.lstrip("/")
        if not path.exists():
            self.send_error(404)
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None:  # asked for its size, by HEAD or by a GET that is broken off
            status = self.server.fail_size(next(self.server.asks))
            if status:
                self.send_error(status)
                return
        if not self.server.knows_ranges:
            wanted = None
        size = len(content)
        if wanted:
            content = content[int(wanted[1]) : int(wanted[2]) + 1]
        failure = self.server.fail(next(self.server.reads)) if body else None
        if failure == "busy":
            self.send_error(503)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        if wanted:
            self.send_header("Content-Range", f"bytes {wanted[1]}-{wanted[2]}/{size}")
            self.server.ranges.append((int(wanted[1]), len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if failure == "cut" else content)
            if failure == "cut":
                self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    fsspec.filesystem("http").clear_instance_cache()


def test_reads_local_ranges(tmp_path):
    path = str(tmp_path / "a")
    with open(path, "wb") as file:
        file.write(bytes(range(200)))
    reader = pickle.loads(pickle.dumps(Files()))
    assert reader.size(path) == 200
    assert reader.read(path, 3, 4) == bytes([3, 4, 5, 6])
    with pytest.raises(OSError, match="10 of 20 bytes at 190"):
        reader.read(path, 190, 20)
    with pytest.raises(FileNotFoundError):
        reader.size(f"{path}b")


def test_reads_ranges_of_urls_over_failures(tmp_path, server):
    (tmp_path / "a").write_bytes(bytes(range(200)))
    reader, url = Files(), f"{server.url}/a"
    assert reader.size(url) == 200
    server.fail = lambda number: ("busy", "cut", None)[number % 3]
    for start in (0, 50, 150):
        assert reader.read(url, start, 20) == bytes(range(start, start + 20))
    assert reader.read(url, 7, 0) == b""
    server.fail = lambda number: "busy"
    with pytest.raises(OSError, match="503"):
        reader.read(url, 0, 20)
    with pytest.raises(FileNotFoundError):
        reader.size(f"{server.url}/b")


def test_what_trying_again_cannot_mend_is_told_at_once(server, tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    reads = []
    server.fail = reads.append
    with pytest.raises(FileNotFoundError):
        Files().read(f"{server.url}/nothing", 0, 3)
    assert not reads
    with pytest.raises(ConfigError, match=r"cannot be opened.*s3fs.*bigclip\[s3\]"):
        Files().read("s3://bucket/a", 0, 3)


def test_only_a_server_that_says_so_makes_a_file_missing(tmp_path, server):
    (tmp_path / "a").write_bytes(bytes(200))
    # fsspec asks by HEAD, then by GET: both are busy for the first three times.
    server.fail_size = lambda number: 503 if number < 6 else None
    assert Files().size(f"{server.url}/a") == 200
    server.fail_size = lambda number: 500
    with pytest.raises(OSError, match="500") as error:
        Files().size(f"{server.url}/a")
    assert not isinstance(error.value, FileNotFoundError)
    server.fail_size = lambda number: 403
    with pytest.raises(PermissionError, match="403"):
        Files().size(f"{server.url}/a")
    with pytest.raises(OSError, match="127.0.0.1:9"):
        Files().size("http://127.0.0.1:9/a")


def test_a_server_without_ranges_is_told(tmp_path, server):
    (tmp_path / "a").write_bytes(bytes(200))
    server.knows_ranges = False
    with pytest.raises(OSError, match="the server ignores ranges"):
        Files().read(f"{server.url}/a", 10, 20)


def test_a_buffered_file_reads_in_large_pieces(tmp_path, server):
    content = os.urandom(10_000)
    (tmp_path / "a").write_bytes(content)
    file = BufferedFile(Files(), f"{server.url}/a", ahead_bytes=3000)
    for offset, size in ((0, 10), (10, 500), (600, 2395), (2990, 40), (9000, 1000), (20, 5)):
        assert file.read(offset, size) == content[offset : offset + size]
    # Within the first piece; over its end; far behind it; back again.
    assert server.ranges == [(0, 3000), (3000, 3000), (9000, 1000), (20, 3000)]
    with pytest.raises(OSError, match=r"0 of 1 bytes|416|range"):
        file.read(10_000, 1)


def test_random_access_to_a_web_server(write_shards, server, tmp_path):
    paths = write_shards(3, 2)
    local = open_source(kind="webdataset", shards=paths)
    far = open_source(
        kind="webdataset",
        shards=f"{server.url}/part-{{000..001}}.tar",
        index_dir=str(tmp_path / "kept"),
    )
    server.fail = lambda number: "cut" if number % 2 else None
    server.ranges.clear()
    assert [far[i] for i in range(5)] == [local[i] for i in range(5)]
    # One read for each record, and again for what was cut off.
    assert len(set(server.ranges)) == 5
    again = open_source(
        kind="webdataset",
        shards=f"{server.url}/part-{{000..001}}.tar",
        index_dir=str(tmp_path / "kept"),
    )
    copy = pickle.loads(pickle.dumps(again))
    assert copy[4] == local[4]
    # The arrays of the index are mapped on both sides, not sent.
    assert len(pickle.dumps(again)) < 2000
