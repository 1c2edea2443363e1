"""A model that knows colours, pictures of one colour, and a server in a thread of this process."""

import asyncio
import contextlib
import http.client
import io
import json
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import PIL.Image

from bigclip.data.preprocess import Preprocess
from bigclip.serving import guards
from bigclip.serving.cache import EmbeddingCache
from bigclip.serving.embedding import embed_gallery
from bigclip.serving.galleries import FolderGallery
from bigclip.serving.search import Search
from bigclip.serving.server import Server, serve

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 40),
    "blue": (30, 40, 220),
    "yellow": (220, 220, 30),
    "pink": (240, 140, 180),
    "grey": (128, 128, 128),
}
SCALE = 20.0


def colour_vector(colour) -> np.ndarray:
    """A unit vector, float32 [4]; alike for alike colours."""
    vector = np.array([*(np.asarray(colour, np.float32) - 128), 30.0], np.float32)
    return vector / np.linalg.norm(vector)


class ColourModel:
    """Embeds a picture as its mean colour and a text as the mean of the colours that it names.

    Args:
        loss: told by the manifest.
        trees: give dicts instead of vectors, and score by the task's own rule.
    """

    def __init__(self, *, loss: str = "softmax", trees: bool = False, weight: float = 1.0):
        self.preprocess, self.step = Preprocess(size=8), 7
        self.manifest = {"task": {"loss": loss}, "step": 7, "config": {}}
        self.params = {"weight": np.full(3, weight, np.float32)}
        self.task = SimpleNamespace()
        # Made-up words are left out; any other is an id.
        self.tokenizer = SimpleNamespace(
            ids=lambda text: [len(word) for word in text.split() if word != "zorgle"]
        )
        self.trees = trees
        self.num_images, self.texts = 0, []
        self.text_batches, self.inside = set(), 0

    @contextlib.contextmanager
    def _alone(self):
        self.inside += 1
        assert self.inside == 1, "two threads are in the model"
        yield
        self.inside -= 1

    def embed_images(self, images):
        with self._alone():
            assert (images.dtype, *images.shape[1:]) == (np.uint8, 8, 8, 3)
            self.num_images += int((images.reshape(len(images), -1).max(axis=1) > 0).sum())
            emb = np.stack([colour_vector(image.mean(axis=(0, 1))) for image in images])
        return {"emb": emb, "bias": emb[:, :1]} if self.trees else emb

    def embed_texts(self, texts):
        with self._alone():
            self.texts += texts
            self.text_batches.add(len(texts))
            emb = []
            for text in texts:
                named = [COLOURS[word] for word in text.lower().split() if word in COLOURS]
                emb.append(colour_vector(np.mean(named or [(90, 100, 110)], axis=0)))
        return {"emb": np.stack(emb)} if self.trees else np.stack(emb)

    def score(self, images, texts):
        with self._alone():
            if self.trees:
                return np.asarray(images["emb"] @ texts["emb"].T + images["bias"])
            return SCALE * np.asarray(images @ texts.T)


def picture(colour, *, size=(24, 20), kind="PNG", noise: int = 0) -> bytes:
    """An encoded picture of one colour."""
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    pixels[0, 0] = noise  # so that pictures of one colour differ
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def fill_folder(folder) -> None:
    """Write a picture of each colour, in folders and formats of their own."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        kind = ("PNG", "JPEG", "WEBP")[number % 3]
        path = folder / ("deep/er" if number % 2 else ".") / f"{name}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(colour, kind=kind, noise=number))


def search_in(folder, model=None, cache=None) -> Search:
    """Embed a folder and return what answers questions about it."""
    model = model or ColourModel()
    return Search(
        model, embed_gallery(model, FolderGallery(str(folder)), EmbeddingCache(cache, ""))
    )


class Answer:
    """A response: status, headers, body."""

    def __init__(self, response: http.client.HTTPResponse):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body)


class Running:
    """A server on a free port of 127.0.0.1, in a thread; a context manager."""

    def __init__(self, search: Search, **options):
        about = {"model": "tiny", "step": 7, "version": "0"}
        block = {"labels": list(COLOURS), "templates": ["{}"], "about": about, **options}
        self._app = Server(search, **block).app(guards.own_names("127.0.0.1"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._ready = threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _run(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await serve(self._app, self._socket, self._stop)

    def ask(self, path: str, body=None, *, method=None, **headers) -> Answer:
        """Send one request. The path goes out as it is; a dict as the body becomes JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        method = method or ("GET" if body is None else "POST")
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())

    def raw(self, *parts: bytes, wait_seconds: float = 0) -> bytes:
        """Send bytes part by part, and return all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            received = b""
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for part in parts:
                    connection.sendall(part)
                    time.sleep(wait_seconds)
            with contextlib.suppress(ConnectionResetError):
                while chunk := connection.recv(1 << 16):
                    received += chunk
            return received
