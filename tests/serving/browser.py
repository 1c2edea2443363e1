"""A headless Chromium, driven by the DevTools protocol: https://chromedevtools.github.io/."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_START_SECONDS, _WAIT_SECONDS = 60, 30


def executable() -> str | None:
    """Find a Chromium."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Tab:
    """One page.

    Attributes:
        problems: what the console complained of: scripts that failed, loads that were refused.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse):
        self._socket, self._numbers = socket, itertools.count(1)
        self._waiting: dict[int, asyncio.Future] = {}
        self.problems: list[str] = []
        self._listener = asyncio.create_task(self._listen())

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        return await asyncio.wait_for(self._waiting[number], _WAIT_SECONDS)

    async def _listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                waiting = self._waiting.pop(told["id"])
                if "error" in told:
                    waiting.set_exception(RuntimeError(told["error"]["message"]))
                else:
                    waiting.set_result(told["result"])
            elif told["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.problems.append(told["params"]["entry"]["text"])

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
        while not await self.evaluate(f"!!({expression})"):
            if asyncio.get_running_loop().time() > deadline:
                text = await self.evaluate("document.body.innerText")
                raise TimeoutError(f"never true: {expression}; {self.problems}; the page: {text}")
            await asyncio.sleep(0.03)

    async def open(self, url: str) -> None:
        """Go to an address and wait for the page's first answer."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        await self.settled()

    async def settled(self) -> None:
        """Wait until the page waits for nothing."""
        await self.until(
            "document.getElementById('hits') && !document.getElementById('hits').ariaBusy"
            " && (document.querySelector('#hits li, #problem:not([hidden])')"
            " || !document.getElementById('subject').hidden)"
        )

    async def write(self, text: str) -> None:
        """Type where the focus is."""
        for char in text:
            await self.call("Input.dispatchKeyEvent", type="char", text=char)

    async def press(self, key: str, code: int = 0, text: str = "") -> None:
        """Press a key, with its Windows key code."""
        about = {"key": key, "windowsVirtualKeyCode": code}
        await self.call(
            "Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    async def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        x, y = await self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def drop(self, path: pathlib.Path) -> None:
        """Drag a file onto the page and let it go."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=200, y=300, data=data)

    async def screenshot(self, path: pathlib.Path) -> None:
        """Save what is visible as PNG."""
        answer = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    async def look(self, *, dark: bool = False, width: int = 1180, height: int = 860) -> None:
        """Set the colour scheme and the window; a narrow one is a phone with a finger."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()
        self._listener.cancel()


@contextlib.asynccontextmanager
async def open_tab() -> AsyncIterator[Tab]:
    """Start a browser of its own, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            executable(),
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _port(pathlib.Path(profile, "DevToolsActivePort"))
            async with aiohttp.ClientSession() as session:
                async with session.put(f"http://127.0.0.1:{port}/json/new") as response:
                    url = (await response.json())["webSocketDebuggerUrl"]
                socket = await session.ws_connect(url, max_msg_size=1 << 28)
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                try:
                    yield tab
                finally:
                    await tab.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own group: the renderers, too
            await process.wait()


async def _port(file: pathlib.Path) -> int:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while not (file.exists() and file.read_text().strip()):
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError("the browser does not start")
        await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])
