"""The page in a real browser: typing, dropping, pasting, clicking, keys; light, dark and narrow."""

import asyncio
import contextlib
import json

import browser
import numpy as np
import pytest
import stand_ins
from stand_ins import COLOURS, Running

pytestmark = pytest.mark.skipif(
    browser.executable() is None, reason="needs Chromium (apt-get install chromium)"
)
EVIL = "<img src=x onerror=document.title='taken'>.png"
UPLOAD_BYTES = 100_000
FIRST_HIT = "document.querySelector('#hits .name').textContent"
LABELS = "[...document.querySelectorAll('#labels .name')].map((name) => name.textContent)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    stand_ins.fill_folder(folder)
    (folder / EVIL).write_bytes(stand_ins.picture((250, 250, 250)))
    for number in range(30):
        colour = np.random.default_rng(number).integers(60, 200, 3)
        picture = stand_ins.picture(colour, size=(300, 200), noise=number)
        (folder / f"other {number}.png").write_bytes(picture)
    with Running(stand_ins.search_in(folder), upload_bytes=UPLOAD_BYTES) as running:
        yield running


@pytest.fixture(scope="module")
def browse(server):
    """Returns a function that runs a visit: browse(lambda tab: ...) with the page open."""
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        opened = browser.open_tab()
        tab = runner.run(opened.__aenter__())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))

        async def visit(steps, path):
            tab.problems.clear()
            await tab.look()
            await tab.open(server.url + path)
            await steps(tab)
            assert tab.problems == []

        yield lambda steps, path="": runner.run(visit(steps, path))


@pytest.fixture(scope="module")
def pink(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "my pink.png"
    path.write_bytes(stand_ins.picture(COLOURS["pink"], size=(300, 200)))
    return path


async def shown(tab, label="pink"):
    await tab.until(f"!document.getElementById('subject').hidden && {LABELS}[0] === '{label}'")
    await tab.settled()


def test_typing_finds_pictures_and_the_address_says_so(browse):
    async def steps(tab):
        assert await tab.evaluate("document.querySelectorAll('#hits li').length") == 24
        await tab.press("/", 191, "/")  # to the text
        await tab.write("blue")
        await tab.until(f"{FIRST_HIT} === 'blue.webp'")
        assert await tab.evaluate("location.search") == "?q=blue"
        await tab.write(" green & <b>")
        await tab.press("Enter", 13, "\r")
        await tab.until("document.getElementById('results-title').textContent.includes('& <b>')")
        assert await tab.evaluate("new URLSearchParams(location.search).get('q')") == (
            "blue green & <b>"
        )
        status = await tab.evaluate("document.querySelector('[role=status]').textContent")
        assert status.startswith("24 of 37, ")
        await tab.evaluate("history.back()")
        await tab.until("document.getElementById('results-title').textContent.startsWith('Some')")

    browse(steps)


def test_a_link_opens_what_it_names(browse):
    async def steps(tab):
        assert await tab.evaluate(FIRST_HIT) == "red.png"
        assert await tab.evaluate("document.getElementById('q').value") == "a red one"
        assert await tab.evaluate("document.title") == "a red one – bigclip demo"
        # Thumbnails come when they are needed, and they come.
        await tab.until("document.querySelector('#hits img').naturalWidth === 24")
        assert await tab.evaluate("document.querySelector('#hits img').loading") == "lazy"

    browse(steps, "?q=a+red+one")


def test_dropping_a_picture_shows_its_labels(browse, pink):
    async def steps(tab):
        await tab.drop(pink)
        await shown(tab)
        assert await tab.evaluate("document.getElementById('subject-title').innerText") == (
            "my pink.png"
        )
        assert (await tab.evaluate(FIRST_HIT)) == "pink.jpeg"
        assert await tab.evaluate("document.getElementById('dropping').hidden")
        await tab.until("document.getElementById('preview').naturalWidth === 300")
        widths = (
            "[...document.querySelectorAll('.fill')].map((fill) => parseFloat(fill.style.width))"
        )
        found = await tab.evaluate(widths)
        assert len(found) == 6
        assert found == sorted(found, reverse=True)
        assert sum(found) == pytest.approx(100, abs=0.1)
        await tab.press("Escape", 27)
        await tab.until("document.getElementById('subject').hidden")
        assert await tab.evaluate("document.activeElement.id") == "q"
        await tab.evaluate("history.back()")  # the picture is still in this tab
        await shown(tab)

    browse(steps)


def test_choosing_and_pasting_a_picture(browse, pink):
    async def steps(tab):
        root = await tab.call("DOM.getDocument")
        node = await tab.call("DOM.querySelector", nodeId=root["root"]["nodeId"], selector="#file")
        await tab.call("DOM.setFileInputFiles", files=[str(pink)], nodeId=node["nodeId"])
        await shown(tab)
        numbers = list(stand_ins.picture(COLOURS["yellow"]))
        await tab.evaluate(
            "(() => { const data = new DataTransfer();"
            f" data.items.add(new File([new Uint8Array({numbers})], 'x.png'));"
            " document.body.dispatchEvent("
            "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})); })()"
        )
        await shown(tab, "yellow")

    browse(steps)


def test_a_picture_that_was_found_leads_to_others(browse):
    async def steps(tab):
        await tab.click("#hits li:nth-child(1) button")
        await shown(tab, "green")
        address = await tab.evaluate("location.search")
        assert address.startswith("?like=")
        title = "document.activeElement.id === 'subject-title'"
        await tab.until(title)
        await tab.open(await tab.evaluate("location.href"))  # the same again, by its address
        await shown(tab, "green")
        assert await tab.evaluate("location.search") == address
        await tab.click("#more")
        await tab.until("document.querySelectorAll('#hits li').length === 36")
        assert await tab.evaluate("document.getElementById('more').hidden")
        pictures = "[...document.querySelectorAll('#hits button')].map((b) => b.dataset.picture)"
        assert len(set(await tab.evaluate(pictures))) == 36

    browse(steps, "?q=green")


def test_ones_own_labels(browse, pink):
    async def steps(tab):
        await tab.drop(pink)
        await shown(tab)
        await tab.click("#editor summary")
        await tab.evaluate(
            "(() => { const names = document.getElementById('names'); names.select(); })()"
        )
        await tab.call("Input.insertText", text="<i>grey</i>\nred\n\nthing\n")
        assert await tab.evaluate("document.getElementById('how-many').textContent") == "(3)"
        await tab.click("#list .main")
        await tab.until(f"{LABELS}.length === 3")
        assert sorted(await tab.evaluate(LABELS)) == ["<i>grey</i>", "red", "thing"]
        await tab.click("#reset")
        await tab.until(f"{LABELS}.length === 6")
        await tab.evaluate("document.getElementById('templates').value = 'no place'")
        await tab.click("#list .main")
        await tab.until("document.getElementById('problem').textContent.includes('exactly one {}')")
        tab.problems.clear()  # the browser complains of the status 400

    browse(steps)


def test_files_that_are_no_pictures_or_too_large(browse, server, tmp_path):
    async def steps(tab):
        (tmp_path / "text.png").write_text("no picture at all")
        await tab.drop(tmp_path / "text.png")
        await tab.until("document.getElementById('problem').textContent.includes('is no picture')")
        tab.problems.clear()  # the browser complains of the status 422
        (tmp_path / "large.png").write_bytes(bytes(UPLOAD_BYTES + 1))
        await tab.drop(tmp_path / "large.png")
        await tab.until("document.getElementById('problem').textContent.includes('too large')")
        await tab.click("#q")
        await tab.write("red")
        await tab.until(f"{FIRST_HIT} === 'red.png'")
        assert await tab.evaluate("document.getElementById('problem').hidden")

    browse(steps)


def test_names_are_text(browse):
    async def steps(tab):
        names = "[...document.querySelectorAll('#hits .name')].map((name) => name.textContent)"
        await tab.click("#more")
        await tab.until("document.querySelectorAll('#hits li').length === 37")
        found = await tab.evaluate(names)
        assert EVIL in found
        await tab.click(f"#hits li:nth-child({found.index(EVIL) + 1}) button")
        await tab.until(
            f"document.getElementById('subject-title').innerText === {json.dumps(EVIL)}"
        )
        assert await tab.evaluate("document.title") == EVIL + " – bigclip demo"
        assert not await tab.evaluate("document.querySelectorAll('img[src=x]').length")

    browse(steps)


def test_the_keyboard_is_enough(browse):
    async def steps(tab):
        focused = "[...document.querySelectorAll('#hits button')].indexOf(document.activeElement)"
        await tab.evaluate("document.querySelector('#hits button').focus()")
        style = "getComputedStyle(document.getElementById('hits'))"
        columns = await tab.evaluate(f"{style}.gridTemplateColumns.split(' ').length")
        for key, place in (
            ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns),
            ("ArrowUp", 0), ("ArrowUp", 0),
        ):  # fmt: skip
            await tab.press(key)
            assert await tab.evaluate(focused) == place
        await tab.press("Enter", 13, "\r")
        await tab.until("!document.getElementById('subject').hidden")
        # Every control says what it is.
        tree = await tab.call("Accessibility.getFullAXTree")
        roles = ("button", "textbox", "searchbox", "link", "image", "DisclosureTriangle")
        controls = [n for n in tree["nodes"] if n.get("role", {}).get("value") in roles]
        assert len(controls) > 30
        assert all(n["name"]["value"].strip() for n in controls if not n["ignored"])

    browse(steps)


CONTRAST = """(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    while (e && getComputedStyle(e).backgroundColor === "rgba(0, 0, 0, 0)") e = e.parentElement;
    return getComputedStyle(e || document.body).backgroundColor;
  };
  const seen = {};
  for (const e of document.querySelectorAll("body *")) {
    const said = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!said || !e.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    seen[e.tagName + "." + e.className + "#" + e.id] = (a + 0.05) / (b + 0.05);
  }
  return seen;
})()"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1180, 360])
def test_it_is_readable_in_light_and_dark_and_on_a_phone(browse, pink, dark, width):
    async def steps(tab):
        await tab.look(dark=dark, width=width)
        await tab.drop(pink)
        await shown(tab)
        await tab.evaluate("document.getElementById('editor').open = true")
        found = await tab.evaluate(CONTRAST)
        assert len(found) > 15
        # WCAG 2.1, 1.4.3: at least 4.5 for text.
        assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
        background = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 22, 26)") == dark
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await tab.evaluate(overflow) <= 0

    browse(steps)
