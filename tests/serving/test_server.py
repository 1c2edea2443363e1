"""The server's answers over real sockets, and questions that make no sense."""

import base64
import io
import threading

import numpy as np
import PIL.Image
import pytest
import stand_ins
from stand_ins import COLOURS, Running

from bigclip.serving.server import MAX_COUNT


def encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def test_search_gives_names_scores_and_pages(server):
    answer = server.ask("/api/search?q=a+blue+thing&count=2").json()
    assert answer["hits"][0]["name"] == "blue.webp"
    assert answer["total"] == 7
    rest = server.ask("/api/search?q=a+blue+thing&start=2&count=96").json()
    numbers = [hit["picture"] for hit in answer["hits"] + rest["hits"]]
    assert sorted(numbers) == list(range(7))
    assert server.ask("/api/search?q=blue&start=7").json()["hits"] == []


def test_a_text_of_unknown_words_alone_is_refused(server):
    answer = server.ask("/api/search?q=zorgle")
    assert answer.status == 400
    assert "knows none of its words" in answer.json()["error"]
    assert server.ask("/api/search?q=zorgle+blue&count=1").json()["hits"][0]["name"] == "blue.webp"


def test_without_a_text_all_pictures_are_dealt_once(server):
    dealt = [
        hit
        for start in range(0, 9, 3)
        for hit in server.ask(f"/api/search?q=+&start={start}&count=3").json()["hits"]
    ]
    assert sorted(hit["picture"] for hit in dealt) == list(range(7))
    assert {hit["score"] for hit in dealt} == {None}


def test_a_picture_of_ones_own_gets_labels_and_neighbours(server):
    body = {"image": encoded(stand_ins.picture(COLOURS["pink"], kind="JPEG")), "count": 3}
    answer = server.ask("/api/look", body).json()
    assert answer["labels"][0]["label"] == "pink"
    assert sum(label["share"] for label in answer["labels"]) == pytest.approx(1)
    assert answer["hits"][0]["name"].startswith("pink")
    assert (len(answer["hits"]), answer["total"], answer["subject"]) == (3, 7, None)
    own = {**body, "labels": [" red ", "", "blue", "red"], "templates": ["{} thing", "a {}"]}
    answer = server.ask("/api/look", own).json()
    assert {label["label"] for label in answer["labels"]} == {"red", "blue"}


def test_a_picture_that_was_found_is_not_its_own_neighbour(server):
    found = server.ask("/api/search?q=green&count=1").json()["hits"][0]
    answer = server.ask("/api/look", {"picture": found["picture"]}).json()
    assert answer["subject"]["name"] == found["name"]
    assert answer["labels"][0]["label"] == "green"
    assert found["picture"] not in [hit["picture"] for hit in answer["hits"]]
    assert (len(answer["hits"]), answer["total"]) == (6, 6)


def test_thumbnails_are_small_copies_made_of_pixels(tmp_path):
    photo = PIL.Image.effect_noise((3000, 2000), 40).convert("RGB")
    exif = photo.getexif()
    exif[0x0112], exif[0x010E] = 6, "where I live"  # turned, and a description
    photo.save(tmp_path / "photo.jpg", quality=80, exif=exif)
    icon = PIL.Image.new("RGBA", (40, 30), (255, 0, 0, 0))
    icon.putpixel((5, 5), (10, 200, 30, 255))
    icon.save(tmp_path / "icon.png")
    with Running(stand_ins.search_in(tmp_path)) as server:
        small, large = (server.ask(f"/{kind}/1") for kind in ("thumbnails", "pictures"))
        for answer, size in ((small, (213, 320)), (large, (853, 1280))):
            assert answer.headers["Content-Type"] == "image/webp"
            assert PIL.Image.open(io.BytesIO(answer.body)).size == size
            assert b"where I live" not in answer.body
        # Icons keep every pixel, on white.
        found = PIL.Image.open(io.BytesIO(server.ask("/thumbnails/0").body)).convert("RGB")
        assert (found.getpixel((5, 5)), found.getpixel((0, 0))) == ((10, 200, 30), (255,) * 3)
        # The browser keeps it, and asks.
        again = server.ask("/thumbnails/1", If_None_Match=small.headers["ETag"])
        assert (again.status, again.body) == (304, b"")
        assert server.ask("/thumbnails/1", If_None_Match='"other"').status == 200
        (tmp_path / "icon.png").unlink()
        assert server.ask("/pictures/0").status == 404


def test_pictures_that_are_none_or_too_large(server):
    small = stand_ins.picture((0, 0, 0))
    bomb = small[:16] + (40_000).to_bytes(4, "big") * 2 + small[24:]
    rng = np.random.default_rng(0)
    noise = io.BytesIO()
    PIL.Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8)).save(noise, "PNG")
    for image, status, reason in (
        (bomb, 422, "40000 x 40000 pixels"),
        (small[:50], 422, "cannot be"),
        (b"", 422, "has no bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, "is no picture"),
        (noise.getvalue(), 400, "too large"),
    ):
        answer = server.ask("/api/look", {"image": encoded(image)})
        assert answer.status == status
        assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        (b"[1]", "JSON object"),
        ({}, "in base64"),
        ({"image": 5}, "in base64"),
        ({"image": "no base64!"}, "in base64"),
        ({"picture": -1}, "no picture -1"),
        ({"picture": 7}, "no picture 7"),
        ({"picture": 10**30}, "no picture"),
        ({"picture": True}, "no picture True"),
        ({"picture": "0"}, "no picture '0'"),
        ({"picture": 0.0}, "no picture 0.0"),
        ({"picture": 0, "labels": []}, "no label"),
        ({"picture": 0, "labels": "red"}, "list of labels"),
        ({"picture": 0, "labels": [1]}, "must be text"),
        ({"picture": 0, "labels": ["x" * 301]}, "301 characters"),
        ({"picture": 0, "labels": [str(i) for i in range(1001)]}, "1,001 labels"),
        ({"picture": 0, "templates": ["no place"]}, "exactly one {}"),
        ({"picture": 0, "templates": ["{} {}"]}, "exactly one {}"),
        ({"picture": 0, "count": 97}, "count must be"),
        ({"picture": 0, "count": None}, "count must be"),
        ({"picture": 0, "start": "٣"}, "start must be"),
    ],
)
def test_questions_that_make_no_sense(server, body, reason):
    answer = server.ask("/api/look", body)
    assert answer.status == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"count={MAX_COUNT}", 200),
        (f"count={MAX_COUNT + 1}", 400),
        ("count=0", 400),
        ("start=-1", 400),
        ("start=" + "9" * 5000, 400),
        ("q=" + "x" * 301, 400),
        ("q=%ff%fe", 200),  # no UTF-8
        ("q=%00%1b", 200),
        ("q=%ed%a0%80", 200),  # half a character
        ("q=%F0%9F%A6%8A", 200),
    ],
)
def test_queries_at_their_limits(server, query, status):
    assert server.ask(f"/api/search?{query}").status == status


def test_half_characters_in_json_reach_no_tokenizer(server):
    body = b'{"picture": 0, "labels": ["\\ud83e", "red"]}'
    labels = [label["label"] for label in server.ask("/api/look", body).json()["labels"]]
    assert sorted(labels) == ["?", "red"]


def test_many_browsers_at_once(server):
    """`ColourModel` fails when two threads are in it."""
    wrong = []

    def browse(number):
        for turn in range(8):
            colour = list(COLOURS)[(number + turn) % 6]
            hit = server.ask(f"/api/search?q={colour}+{number}+{turn}&count=1").json()["hits"][0]
            picture = encoded(stand_ins.picture(COLOURS[colour], noise=8 * number + turn))
            label = server.ask("/api/look", {"image": picture}).json()["labels"][0]["label"]
            thumbnail = server.ask(f"/thumbnails/{hit['picture']}")
            if colour not in hit["name"] or label != colour or thumbnail.status != 200:
                wrong.append((colour, hit, label))

    threads = [threading.Thread(target=browse, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_more_questions_than_can_wait(folder, monkeypatch):
    search = stand_ins.search_in(folder)
    inside, go_on = threading.Semaphore(0), threading.Event()

    def by_text(text, start, count):
        inside.release()
        assert go_on.wait(60)
        return []

    monkeypatch.setattr(search, "by_text", by_text)
    monkeypatch.setattr("bigclip.serving.server._MAX_ASKED", 2)
    with Running(search) as server:
        asking = [
            threading.Thread(target=server.ask, args=(f"/api/search?q={i}",)) for i in range(2)
        ]
        for thread in asking:
            thread.start()
            assert inside.acquire(timeout=60)
        answer = server.ask("/api/search?q=more")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert server.ask("/thumbnails/0").status == 200  # pictures have threads of their own
        go_on.set()
        for thread in asking:
            thread.join()
        assert server.ask("/api/search?q=more").status == 200


def test_more_thumbnails_than_can_wait(folder, monkeypatch):
    inside, go_on = threading.Semaphore(0), threading.Event()

    def get(thumbnails, number, side):
        inside.release()
        assert go_on.wait(60)
        return b"webp"

    monkeypatch.setattr("bigclip.serving.server._MAX_PAINTED", 2)
    monkeypatch.setattr("bigclip.serving.server.Thumbnails.get", get)
    with Running(stand_ins.search_in(folder)) as server:
        asking = [threading.Thread(target=server.ask, args=(f"/thumbnails/{i}",)) for i in range(2)]
        for thread in asking:
            thread.start()
            assert inside.acquire(timeout=60)
        assert server.ask("/thumbnails/2").status == 503
        assert server.ask("/api/search?q=blue").status == 200
        go_on.set()
        for thread in asking:
            thread.join()
        assert server.ask("/thumbnails/2").status == 200


def test_what_fails_inside_is_no_secret_and_no_end(folder, monkeypatch, caplog):
    search = stand_ins.search_in(folder)
    with Running(search) as server:
        monkeypatch.setattr(search, "by_text", lambda *args: 1 / 0)
        answer = server.ask("/api/search?q=red")
        assert answer.status == 500
        assert b"ZeroDivision" not in answer.body
        assert "ZeroDivision" in caplog.text
        assert server.ask("/api/search").status == 200
