"""Pictures of successes and failures: the ranked examples of every suite."""

from bigclip.reports import gallery
from bigclip.reports.curves import suite_title
from bigclip.reports.details import guarded
from bigclip.reports.details.atlas import draw_map
from bigclip.reports.markup import Safe, element, join
from bigclip.reports.pictures import Books, PictureBook
from bigclip.reports.run import Run, SuiteHistory


def examples(run: Run, books: Books) -> Safe | None:
    """Ranked examples of every suite; the first open, the others folded away."""
    parts = []
    for suite in run.suites:
        shown = guarded("ranked examples", _suite_examples, suite, books.of(suite))
        if not shown:
            continue
        if not parts:
            parts.append(element("div", element("h3", suite_title(suite)), shown))
        else:
            parts.append(element("details", element("summary", suite_title(suite)), shown))
    if not parts:
        return None
    return element("section", element("h2", "What the model put first"), parts, id="pictures")


def maps(run: Run, books: Books) -> Safe | None:
    """The maps of the embeddings, of every suite that has one."""
    parts = []
    for suite in run.suites:
        if shown := guarded("map", draw_map, suite, books.of(suite)):
            parts.append(shown)
    if not parts:
        return None
    return element("section", element("h2", "A map of the embeddings"), parts, id="map")


def _suite_examples(suite: SuiteHistory, book: PictureBook) -> Safe | None:
    details = suite.details
    texts = details.get("texts") or {}
    what = "text" if suite.kind == "retrieval" else "class"
    parts = []
    drawn = (
        f"Drawn by seed {details.get('seed')} from all {{}} of the set without a look at any "
        f"score; the same at every step. Step {suite.last['step']:,}.{{}}"
    )
    if details.get("text_to_image"):
        parts += [
            element("h4", "Pictures for a text", class_="kind"),
            element("p", drawn.format("texts", ""), class_="muted"),
            gallery.pictures_for_texts(details["text_to_image"], texts, book),
        ]
    if details.get("image_to_text"):
        parts += [
            element("h4", f"A {what} for a picture", class_="kind"),
            element("p", drawn.format("pictures", " Figures are scores."), class_="muted"),
            gallery.texts_for_pictures(details["image_to_text"], texts, book),
        ]
    if details.get("mistakes"):
        chosen = (
            "No fair choice: the pictures of the whole set whose first answer is wrong by the "
            f"widest margin over the right one, at most one picture for a {what}."
        )
        parts += [
            element("h4", "Most confident mistakes", class_="kind"),
            element("p", chosen, class_="muted"),
            gallery.texts_for_pictures(details["mistakes"], texts, book),
        ]
    if parts and not book.is_open:
        lost = "The pictures are not shown: their source cannot be opened on this machine."
        parts.insert(0, element("p", lost, class_="muted"))
    return join(parts) if parts else None
