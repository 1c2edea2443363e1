"""The recipe's pure parts: names, families, splits, duplicates, and byte-equal shards."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from bigclip.data.embedded.recipe import duplicates, fetch, rasterise, shards, split
from bigclip.data.embedded.recipe.clipart import clean_title
from bigclip.data.embedded.recipe.emoji import family, is_flag, sequence, slug
from bigclip.data.embedded.recipe.packages import PACKAGES, STYLES, Package


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Éclairs!", "eclair"),
        ("T-Rex", "t rex"),
        ("the fox", "Fox"),
        ("horse riding", "Horse  Riding"),
        ("狐狸", "狐狸"),
    ],
)
def test_equal_captions_share_a_key(one, other):
    assert split.key(one) == split.key(other)


def test_different_captions_keep_different_keys():
    texts = ["glass", "glad", "man", "woman", "A", "カキ", "カギ", "अग्नि", "अग्ने", "!", "?"]
    assert len({split.key(t) for t in texts}) == len(texts)


def test_spaces_do_not_make_a_caption_another():
    assert split.spelling("Floppy disks") == split.spelling("floppydisk")


def test_fraction_is_fixed_and_even():
    # Recomputed by hand; another value would move committed records between splits.
    digest = hashlib.sha256(b"bigclip/concept/fox").digest()
    assert split.fraction("concept", "fox") == int.from_bytes(digest[:7], "big") / 2**56
    drawn = np.array([split.fraction("concept", str(i)) for i in range(4000)])
    # The standard error of a share of 0.12 over 4,000 draws is 0.005.
    assert abs((drawn < split.CONCEPT_FRACTION).mean() - split.CONCEPT_FRACTION) < 0.02


def test_strict_captions_drop_held_out_names_only():
    captions = {"name": ["grinning cat"], "keywords": ["Cats", "smile"], "de": ["Katze"]}
    left = split.strict_captions(captions, {"en": {"cat"}, "de": {"katze"}})
    assert left == {"name": ["grinning cat"], "keywords": ["smile"]}


@pytest.mark.parametrize(
    "members",
    [
        {"1f468-200d-1f692": "man firefighter", "1f9d1-200d-1f692": "firefighter"},
        {"1f46e": "police officer", "1f46e-200d-2640-fe0f": "woman police officer"},
        {"1f478": "princess", "1f934": "prince", "1fac5": "person with crown"},
        {"1f431": "cat face", "1f408": "cat"},
        {"1f46a": "family", "1f468-200d-1f466": "family: man, boy"},
        {"1f491": "couple with heart", "1f469-200d-2764-fe0f-200d-1f469": "couple: woman, woman"},
        {"1f93c": "people wrestling", "1f93c-200d-2642-fe0f": "men wrestling"},
        {"1f474": "old man", "1f475": "old woman"},
    ],
)
def test_variants_of_one_idea_are_one_family(members):
    names = set(members.values())
    found = {family(sequence(code), name, names) for code, name in members.items()}
    assert len(found) == 1


def test_different_ideas_are_different_families():
    members = {
        "1f468-200d-1f692": "man firefighter",
        "1f468-200d-1f33e": "man farmer",
        "1f98a": "fox",
        "1f408-200d-2b1b": "black cat",
        "1f408": "cat",
    }
    found = {family(sequence(c), n, set(members.values())) for c, n in members.items()}
    assert len(found) == len(members)


def test_flags_of_countries_are_told_from_other_flags():
    assert is_flag(sequence("1f1eb-1f1f7"))
    assert is_flag(sequence("1f3f4-e0067-e0062-e0073-e0063-e0074-e007f"))
    assert not is_flag(sequence("1f3f3-fe0f-200d-1f308"))


def test_names_are_spelt_as_icon_sets_do():
    assert slug("Mrs. Claus") == "mrs-claus"
    assert slug("piñata") == "pinata"
    assert slug("man’s shoe", glue="") == "mansshoe"


@pytest.mark.parametrize(
    ("raw", "artist", "title"),
    [
        ("cloud_jon_phillips_01", "Jon Phillips", "cloud"),
        ("police_traffic_cop_ger_02", "Gerald G.", "police traffic cop"),
        ("barn_0_symbol_1m_bwh", "Bryce Harrington", "barn"),
        ("contour_fox", "Nicu Buculei", "fox silhouette"),
        ("Ice Cream Cone (2 scoop)", "Gerald G.", "ice cream cone scoop"),
        ("boy_astrid_graeber_", "Astrid Graeber", "boy"),
    ],
)
def test_clip_art_titles_lose_artists_and_numbers(raw, artist, title):
    assert clean_title(raw, artist=artist) == title


def test_pictures_are_centred_on_white_and_trimmed_on_request():
    image = Image.new("RGBA", (200, 100))
    image.paste((255, 0, 0, 255), (150, 40, 170, 60))
    loose = np.asarray(rasterise.picture(image, trim=False)).astype(int)
    tight = np.asarray(rasterise.picture(image, trim=True)).astype(int)
    assert loose.shape == tight.shape == (64, 64, 3)
    assert (loose[0] == 255).all()
    assert tight[32, 32].tolist() == [255, 0, 0]
    red = (tight[..., 1] < 128).mean()
    assert red > 0.8  # a margin of 4 % of the side is left on each side
    assert 0.005 < (loose[..., 1] < 128).mean() < 0.02


def test_blank_pictures_are_refused():
    with pytest.raises(rasterise.RenderError, match="blank"):
        rasterise.picture(Image.new("RGBA", (64, 64)), trim=False)


def test_duplicates_leave_training_and_never_the_held_out_splits():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (4, 64, 64, 3), np.uint8)
    nearly = np.clip(noise[1].astype(int) + 2, 0, 255).astype(np.uint8)
    images = [Image.fromarray(a) for a in (noise[0], noise[1], nearly, noise[2], noise[2])]
    splits = ["train", "heldout_style", "train", "train", "heldout_concepts"]
    stay = duplicates.kept(
        [duplicates.digest(i) for i in images],
        np.stack([duplicates.fingerprint(i) for i in images]),
        splits,
    )
    assert stay == [0, 1, 4]


def test_near_pairs_equal_brute_force():
    rng = np.random.default_rng(1)
    left = rng.integers(0, 12, (30, 48)).astype(np.uint8)
    right = rng.integers(0, 12, (40, 48)).astype(np.uint8)
    gaps = np.abs(left[:, None].astype(int) - right[None].astype(int)).mean(2)
    expected = [tuple(pair) for pair in np.argwhere(gaps <= 3.4).tolist()]
    assert expected
    assert duplicates.near_pairs(left, right, levels=3.4) == expected


def _records(count):
    return [
        shards.PackRecord("train", bytes([i]) * 700, f"füchse {i}", {"origin": f"a:{i}"})
        for i in range(count)
    ]


def test_shards_are_equal_byte_for_byte_and_independent_of_order(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_RECORDS", 7)
    for name, records in (("one", _records(20)), ("two", _records(20)[::-1])):
        (tmp_path / name).mkdir()
        written = shards.write(records, tmp_path / name)
        assert sum(w["records"] for w in written.values()) == 20
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 3


def test_shards_are_plain_tars_without_traces_of_the_machine():
    data = shards.shard_bytes(_records(2), start=10)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        assert tar.extractfile("000011.txt").read().decode() == "füchse 1"
    names = [f"{stem}.{ext}" for stem in ("000010", "000011") for ext in ("webp", "txt", "json")]
    assert [m.name for m in members] == names
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}


def test_missing_clients_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for package, client in ((PACKAGES[0], "npm"), (PACKAGES[-1], "apt-get")):
        with pytest.raises(fetch.FetchError, match=client):
            fetch.fetch(package, tmp_path / "cache")


def test_another_archive_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    def download(package, folder):
        (folder / "x.tgz").write_bytes(b"not the pinned archive")
        return folder / "x.tgz"

    monkeypatch.setattr(fetch, "_download", download)
    with pytest.raises(fetch.FetchError, match="SHA-256"):
        fetch.fetch(Package("x", "1", "npm", "0" * 64), tmp_path)


def test_every_style_comes_from_a_pinned_package():
    pinned = {p.name: p for p in PACKAGES}
    assert {s.package for s in STYLES.values()} <= set(pinned)
    assert all(len(p.sha256) == 64 and p.version[0].isdigit() for p in PACKAGES)
