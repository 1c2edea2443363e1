"""What all formats share: import and export array by array, whole or not at all, with a proof."""

import jax
import numpy as np
import pytest
from saved_model import STEP, save_run
from toy_format import Reference, read, rows, toy

import bigclip
from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.interop import exporting
from bigclip.interop.exporting import export_model
from bigclip.interop.files import open_weights, write_npz
from bigclip.interop.format import ReadOptions
from bigclip.interop.importing import import_model
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.verify import check, compare
from bigclip.models.layers import unstack

ORIGIN = {"format": "toy", "source": "toy.npz"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    save_run(workdir)
    return workdir


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    dest = tmp_path_factory.mktemp("out") / "toy.npz"
    export_model(Outgoing(run), toy(), dest)
    return dest


def leaves(params):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(unstack(params))
    }


@pytest.mark.parametrize("scan", [True, False])
def test_out_and_in_again(run, exported, tmp_path, scan):
    notes = import_model(read(exported, ReadOptions()), tmp_path / "m", origin=ORIGIN, scan=scan)
    assert notes == ("read a toy",)
    before, after = bigclip.load(run), bigclip.load(tmp_path / "m")
    assert ("blocks" in after.params["image"]) == scan
    expected = leaves(before.params)
    found = leaves(after.params)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    assert after.tokenizer == before.tokenizer
    assert after.manifest["origin"] == ORIGIN
    assert after.step == 0


def test_the_average_and_the_step(run, exported, tmp_path):
    """save_run's average is half of the parameters."""
    export_model(Outgoing(run, step=STEP, ema=True), toy(), tmp_path / "ema.npz")
    raw, ema = open_weights(exported), open_weights(tmp_path / "ema.npz")
    np.testing.assert_array_equal(ema["image.conv"].read(), 0.5 * raw["image.conv"].read())
    with pytest.raises(ConfigError, match="no checkpoint of step 8"):
        Outgoing(run, step=8)


def test_one_tower(exported, run, tmp_path):
    notes = import_model(read(exported, ReadOptions(tower="image")), tmp_path / "m", origin=ORIGIN)
    model = bigclip.load(tmp_path / "m")
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    ours = model.embed_images(images)
    np.testing.assert_allclose(ours, bigclip.load(run).embed_images(images), atol=1e-6)
    with pytest.raises(ConfigError, match="no text tower"):
        model.embed_texts("a")
    assert notes == ("read a toy",)  # the scale is in the file


def test_positions_are_resized_on_request_and_told(exported, tmp_path):
    notes = import_model(
        read(exported, ReadOptions()),
        tmp_path / "m",
        origin=ORIGIN,
        image_size=32,
        context_length=7,
    )
    assert [note for note in notes if "image/position: resized from 10 to 17 rows" in note]
    assert [note for note in notes if "text/position: resized from 11 to 7 rows" in note]
    model = bigclip.load(tmp_path / "m")
    assert model.preprocess.size == 32
    assert model.tokenize(["a"]).shape == (1, 7)
    assert model.embed_images(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 32)
    theirs = open_weights(exported)
    np.testing.assert_array_equal(
        model.params["image"]["position"][0], theirs["image.pos"].read()[0]
    )  # the class token's row stays
    np.testing.assert_array_equal(model.params["text"]["position"], theirs["text.pos"].read()[:7])


def test_half_precision_is_read_as_float32(exported, tmp_path):
    weights = open_weights(exported)
    half = {name: tensor.read().astype(np.float16) for name, tensor in weights.items()}
    specs = {name: (array.shape, array.dtype) for name, array in half.items()}
    write_npz(tmp_path / "half.npz", specs, half.items())
    import_model(read(tmp_path / "half.npz", ReadOptions()), tmp_path / "m", origin=ORIGIN)
    model = bigclip.load(tmp_path / "m")
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(
        model.params["text"]["token_embedding"], half["text.embed"].astype(np.float32)
    )


def test_a_proven_export_tells_its_figures_in_the_card(run, tmp_path):
    model = bigclip.load(run, dtype="float32")

    def proof(path):
        assert path.exists()
        figures = compare(model, Reference(model), num_pictures=2)
        check(figures, "x")
        return figures

    figures = export_model(Outgoing(run), toy(), tmp_path / "t.npz", verify=proof)
    told = (tmp_path / "t.md").read_text()
    assert [one.what for one in figures] == [
        *("pixels", "ids", "awkward ids", "image embeddings", "text embeddings", "logits")
    ]
    assert all(one.passes for one in figures)
    assert "| logits | 2 pictures and 2 of noise x 11 texts | " in told
    assert "toy t.npz" in told
    assert f"| step, examples seen | {STEP}, 56 |" in told


def test_an_export_that_disagrees_is_not_written(run, tmp_path):
    model = bigclip.load(run, dtype="float32")

    def proof(path):
        check(compare(model, Reference(model, error=1e-3), num_pictures=2), "there")

    with pytest.raises(ConfigError, match="image embeddings: 0.00"):
        export_model(Outgoing(run), toy(), tmp_path / "t.npz", verify=proof)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("part", "wrong", "told"),
    [
        ("pixels", lambda found: found + 0.06, "pixels: "),  # about four grey levels
        ("pixels", lambda found: found[:, ::2], "pixels: inf"),
        ("ids", lambda found: np.roll(found, 1, axis=1), "ids: 5 texts differ"),
    ],
)
def test_a_wrong_processor_is_no_proof(run, monkeypatch, part, wrong, told):
    model = bigclip.load(run, dtype="float32")
    real = getattr(Reference, part)
    monkeypatch.setattr(Reference, part, lambda self, given: wrong(real(self, given)))
    with pytest.raises(ConfigError, match=told):
        check(compare(model, Reference(model), num_pictures=2), "there")


def test_what_is_cut_otherwise_is_told(run, monkeypatch):
    model = bigclip.load(run, dtype="float32")
    real = Reference.ids

    def ids(self, texts):
        return real(self, [text.replace("&eacute;", "e") for text in texts])

    monkeypatch.setattr(Reference, "ids", ids)
    figures = compare(model, Reference(model), num_pictures=2)
    check(figures, "there")
    (awkward,) = (one for one in figures if one.what == "awkward ids")
    assert "caf&eacute;" in awkward.note


def test_no_card_without_its_file(run, tmp_path, monkeypatch):
    """Another process takes the name at the last moment: then the card does not appear either."""

    def take_the_name(path):
        (tmp_path / "t.npz").write_bytes(b"another's")
        return []

    with pytest.raises(ConfigError, match="exists"):
        export_model(Outgoing(run), toy(), tmp_path / "t.npz", verify=take_the_name)
    assert [path.name for path in tmp_path.iterdir()] == ["t.npz"]


@pytest.mark.parametrize("where", ["write", "card"])
def test_an_interrupted_export_leaves_nothing(run, tmp_path, monkeypatch, where):
    def interrupt(*args):
        raise KeyboardInterrupt

    format = toy()
    if where == "write":
        format = format._replace(write=lambda path, model: (path.write_bytes(b"x"), interrupt()))
    else:
        monkeypatch.setattr(exporting, "model_card", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_model(Outgoing(run), format, tmp_path / "t.npz")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_import_leaves_nothing(exported, tmp_path):
    model = read(exported, ReadOptions())

    def interrupt(read_theirs):
        raise KeyboardInterrupt

    fewer = tuple(row for row in model.rows if row.ours != "image/class_token")
    with pytest.raises(ConfigError, match="lacks 1 arrays: image/class_token"):
        import_model(
            model._replace(rows=fewer, ignored=("image.cls",)), tmp_path / "m", origin=ORIGIN
        )
    with pytest.raises(KeyboardInterrupt):
        import_model(
            model._replace(
                rows=fewer,
                ignored=("image.cls",),
                extra={"image/class_token": interrupt},
            ),
            tmp_path / "m",
            origin=ORIGIN,
        )
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(run, exported, tmp_path):
    with pytest.raises(ConfigError, match="exists"):
        export_model(Outgoing(run), toy(), exported)
    with pytest.raises(ConfigError, match=r"ends in \.npz"):
        export_model(Outgoing(run), toy(), tmp_path / "toy.bin")
    (tmp_path / "m").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        import_model(read(exported, ReadOptions()), tmp_path / "m", origin=ORIGIN)


def test_layers_of_a_scanned_array_are_read_once(run, monkeypatch):
    count = []
    real = checkpoints.read_array
    monkeypatch.setattr(
        checkpoints,
        "read_array",
        lambda *args, **more: count.append(args[1]) or real(*args, **more),
    )
    model = Outgoing(run)
    _, arrays = model.translated(rows(None), where="toy")
    assert len(dict(arrays)) > 20
    assert len(count) == len(set(count)) == len(checkpoints.arrays(run)) // 2  # params and ema
