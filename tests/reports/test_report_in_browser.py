"""The pages in a real browser: readings and maps by the keyboard, narrow and dark."""

import asyncio
import contextlib
import json

import pytest
from pages import write_run
from serving import browser

from bigclip.reports import write_comparison, write_report

pytestmark = pytest.mark.skipif(
    browser.executable() is None, reason="needs Chromium (apt-get install chromium)"
)
READING = "document.getElementById('reading')"
PICKED = "document.querySelector('.picked').textContent"
VIEW = "document.querySelector('.atlas svg').getAttribute('viewBox')"


def add_health(run):
    """Add a suite with a map of the three pictures to a run."""
    places = [(0, 0.0, 0.0), (1, 1.0, 0.0), (2, 0.0, 1.0)]
    points = [
        {"record": n, "key": f"test.tar/{n}", "x": x, "y": y, "label": ""} for n, x, y in places
    ]
    line = {"step": 20, "suite": "health", "kind": "health", "run_id": "a", "definition": "d"}
    numbers = {"metrics": {"alignment": 1.0}, "chance": {}, "counts": {"images": 3}}
    with open(run / "evaluations.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line | numbers) + "\n")
    (run / "evaluations" / "health-20.json").write_text(json.dumps({"map": points}))
    config = json.loads((run / "config.json").read_text())
    config["evals"]["health"] = {"suite": "health", "source": config["data"]["source"]}
    (run / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = [write_run(folder / "first", "a"), write_run(folder / "second", "b", boost=1.5)]
    add_health(runs[0])
    return {
        "report": write_report(runs[0]),
        "comparison": write_comparison(runs, folder / "comparison.html"),
    }


@pytest.fixture(scope="module")
def visit(pages):
    """Returns a function that runs steps on a page: visit("report", lambda tab: ...)."""
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        opened = browser.open_tab()
        tab = runner.run(opened.__aenter__())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))

        async def run(name, steps, look):
            tab.problems.clear()
            await tab.look(**look)
            await tab.call("Page.navigate", url=pages[name].as_uri())
            await tab.until(
                f"document.readyState === 'complete' && location.href === {pages[name].as_uri()!r}"
            )
            await steps(tab)
            assert tab.problems == []

        yield lambda name, steps, **look: runner.run(run(name, steps, look))


def test_a_chart_is_read_by_arrow_keys(visit):
    async def steps(tab):
        await tab.evaluate("document.querySelector('#curves svg').focus({focusVisible: true})")
        await tab.press("ArrowLeft", 37)
        await tab.until(f"!{READING}.hidden")
        first = await tab.evaluate(f"{READING}.innerText")
        assert first.splitlines() == ["step 10", "25 image \u2192 text", "25 text \u2192 image"]
        await tab.press("End", 35)
        await tab.until(f"{READING}.innerText.startsWith('step 20')")
        await tab.press("Escape", 27)
        assert await tab.evaluate(f"{READING}.hidden")

    visit("report", steps)


def test_the_map_is_walked_zoomed_and_searched_without_a_mouse(visit):
    async def steps(tab):
        await tab.evaluate("document.querySelector('.atlas svg').focus()")
        await tab.press("ArrowRight", 39)
        assert (await tab.evaluate(PICKED)).startswith("green")
        await tab.press("ArrowLeft", 37)
        assert not (await tab.evaluate(PICKED)).startswith("green")
        await tab.press("ArrowRight", 39)
        whole = await tab.evaluate(VIEW)
        await tab.press("+", 187, "+")
        assert await tab.evaluate(VIEW) != whole
        inside = (
            "(() => { const inner = document.querySelector('.chosen').getBoundingClientRect();"
            " const outer = document.querySelector('.atlas svg').getBoundingClientRect();"
            " return inner.right > outer.left && inner.left < outer.right"
            " && inner.bottom > outer.top && inner.top < outer.bottom; })()"
        )
        assert await tab.evaluate(inside)
        await tab.press("0", 48, "0")
        assert await tab.evaluate(VIEW) == whole
        await tab.evaluate("document.querySelector('.atlas input').focus()")
        await tab.write("blue")
        assert await tab.evaluate("document.querySelectorAll('.spot.dim').length") == 2
        assert await tab.evaluate("document.querySelector('.controls [role=status]').textContent")

    visit("report", steps)


def test_the_map_is_zoomed_by_its_buttons(visit):
    async def steps(tab):
        whole = await tab.evaluate(VIEW)
        await tab.click("[data-zoom=in]")
        assert await tab.evaluate(VIEW) != whole
        await tab.click("[data-zoom=whole]")
        assert await tab.evaluate(VIEW) == whole
        assert await tab.evaluate("document.querySelector('[data-zoom=out]').disabled")

    visit("report", steps)


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_phone_shows_the_whole_width_in_light_and_dark(visit, name):
    paper = []

    async def steps(tab):
        for part in ("html", "main"):
            width = await tab.evaluate(f"document.querySelector('{part}').scrollWidth")
            assert width <= 390
        paper.append(await tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    visit(name, steps, width=390)
    visit(name, steps, width=390, dark=True)
    assert len(set(paper)) == 2


def test_every_part_of_the_page_is_reached_from_its_list(visit):
    async def steps(tab):
        lost = (
            "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href'))"
            ".filter((href) => !document.getElementById(href.slice(1)))"
        )
        assert await tab.evaluate(lost) == []
        assert await tab.evaluate("document.querySelectorAll('nav a').length") >= 4

    visit("report", steps)
    visit("comparison", steps)
