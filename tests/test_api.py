"""`bigclip.load`: from a path alone, onto any devices, whole or one tower."""

import io
import shutil

import jax
import numpy as np
import PIL.Image
import pytest
import saved_model

import bigclip
from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.parallel import make_mesh

TEXTS = ["a red fox", "an owl", "blue"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir with one checkpoint, saved from a mesh of 2 x 2 x 2."""
    workdir = tmp_path_factory.mktemp("run")
    saved_model.save_run(workdir)
    return workdir


@pytest.fixture(scope="module")
def model(run):
    """It, on one device."""
    return bigclip.load(run, mesh=one_device())


@pytest.fixture(scope="module")
def pictures():
    """Pillow pictures of several sizes and modes."""
    rng = np.random.default_rng(0)
    sizes = [(24, 24), (40, 30), (7, 50), (24, 25)]
    arrays = [rng.integers(0, 256, (height, width, 3), np.uint8) for width, height in sizes]
    return [PIL.Image.fromarray(array) for array in arrays]


def one_device():
    return make_mesh(devices=jax.devices()[:1])


def png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_any_devices_give_the_same(run, model, pictures):
    everywhere = bigclip.load(run)
    image_emb, text_emb = model.embed_images(pictures), model.embed_texts(TEXTS)
    assert len(everywhere.params["image"]["projection"]["kernel"].devices()) == 8
    # float32 sums in another order.
    np.testing.assert_allclose(everywhere.embed_images(pictures), image_emb, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(everywhere.embed_texts(TEXTS), text_emb, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(image_emb, axis=1), 1, rtol=1e-5)


def test_scores_are_scaled_cosines_plus_the_bias(model, pictures):
    image_emb, text_emb = model.embed_images(pictures), model.embed_texts(TEXTS)
    expected = 10 * image_emb @ text_emb.T - 10  # as SigLIP starts
    np.testing.assert_allclose(model.score(image_emb, text_emb), expected, rtol=1e-5, atol=1e-5)
    as_lists = model.score(image_emb.tolist(), text_emb.tolist())
    np.testing.assert_allclose(as_lists, expected, rtol=1e-5, atol=1e-5)
    assert model.score_params.keys() == {"log_logit_scale", "logit_bias"}


def test_pictures_come_in_any_form(model, pictures, tmp_path):
    expected = model.embed_images(pictures)
    paths = [tmp_path / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(png(picture))
    forms = [
        paths,
        [str(path) for path in paths],
        [png(picture) for picture in pictures],
        [np.asarray(picture) for picture in pictures],
        (picture for picture in pictures),
        np.stack([model.preprocess(picture) for picture in pictures]),
        jax.numpy.stack([model.preprocess(picture) for picture in pictures]),
        [jax.numpy.asarray(np.asarray(picture)) for picture in pictures],
        np.array([str(path) for path in paths]),
        [io.BytesIO(png(picture)) for picture in pictures],
    ]
    for form in forms:
        np.testing.assert_array_equal(model.embed_images(form), expected)
    one = pictures[1]
    for form in (one, str(paths[1]), paths[1], png(one), np.asarray(one)):
        emb = model.embed_images(form)
        assert emb.shape == (1, expected.shape[1])
        np.testing.assert_allclose(emb[0], expected[1], rtol=1e-5, atol=1e-6)


def test_batches_of_another_size_are_prepared(model):
    batch = np.random.default_rng(1).integers(0, 256, (4, 30, 40, 3), np.uint8)
    np.testing.assert_array_equal(model.embed_images(batch), model.embed_images(list(batch)))


def test_many_pictures_go_in_batches_of_one_shape(run, model):
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (300, 24, 24, 3), np.uint8)
    whole = model.embed_images(batch)
    assert whole.shape == (300, 32)
    np.testing.assert_allclose(whole[290:], model.embed_images(batch[290:]), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(model.embed_images(iter(batch)), whole)
    assert model.embed_images([]).shape == (0, 32)


def test_what_is_no_picture_is_named(model, pictures, tmp_path):
    with pytest.raises(ValueError, match=r"picture 1 \(.*none.png\) cannot be read"):
        model.embed_images([pictures[0], tmp_path / "none.png"])
    with pytest.raises(ValueError, match="picture 2 cannot be read"):
        model.embed_images([pictures[0], pictures[1], b"no picture"])
    for wrong, message in (
        (np.zeros((2, 24, 24, 3), np.float32), "give uint8"),
        (np.zeros((2, 3, 24, 24), np.uint8), "picture 0 cannot be read.*move channels last"),
        (None, "give a picture or several, not NoneType"),
        ("https://example.org/cat.png", "picture 0 .https://example.org/cat.png. cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            model.embed_images(wrong)


def test_a_picture_is_turned_as_its_camera_says(model):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)
    lying, file = PIL.Image.fromarray(pixels), io.BytesIO()
    exif = lying.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    lying.save(file, "PNG", exif=exif)
    upright = model.embed_images(PIL.Image.fromarray(np.rot90(pixels, -1)))
    for picture in (file.getvalue(), PIL.Image.open(io.BytesIO(file.getvalue()))):
        np.testing.assert_array_equal(model.embed_images(picture), upright)


def test_texts(model):
    assert model.tokenize("a red fox").shape == (1, 11)
    np.testing.assert_array_equal(model.tokenize(TEXTS), model.tokenizer(TEXTS))
    emb = model.embed_texts(TEXTS)
    np.testing.assert_allclose(model.embed_texts(TEXTS[0])[0], emb[0], rtol=1e-5, atol=1e-6)
    assert model.embed_texts([]).shape == (0, 32)
    for wrong in ([None], ["a", 1], b"a", [["a"]]):
        with pytest.raises(ValueError, match="text . is .*, not str"):
            model.embed_texts(wrong)


def test_layers(model, pictures):
    assert model.image_layers[-1] == "block_01"
    found = model.image_features(pictures, ("embedding", "pooled", "tokens", "block_01"))
    np.testing.assert_allclose(
        found["embedding"], model.embed_images(pictures), rtol=1e-5, atol=1e-6
    )
    assert found["tokens"].shape == (4, 9, 48)
    assert found["pooled"].shape == found["block_01"].shape == (4, 48)
    with pytest.raises(ConfigError, match="Did you mean 'pooled'"):
        model.image_features(pictures, ("pool",))
    alone = model.image_features(pictures, "pooled")
    np.testing.assert_allclose(alone["pooled"], found["pooled"], rtol=1e-5, atol=1e-5)


def test_the_average_of_the_parameters(run, model):
    average = bigclip.load(run, ema=True)
    kernel = np.asarray(model.params["text"]["projection"]["kernel"])
    np.testing.assert_allclose(average.params["text"]["projection"]["kernel"], 0.5 * kernel)


def test_saved_folder(model, pictures, tmp_path):
    model.save(tmp_path / "saved")
    again = bigclip.load(tmp_path / "saved", mesh=one_device())
    assert (again.step, again.manifest["run_id"]) == (saved_model.STEP, "r")
    np.testing.assert_array_equal(again.embed_images(pictures), model.embed_images(pictures))
    with pytest.raises(ConfigError, match="exists"):
        model.save(tmp_path / "saved")
    with pytest.raises(ConfigError, match="holds no 'ema'"):
        bigclip.load(tmp_path / "saved", ema=True)


def test_one_tower(run, model, pictures, tmp_path):
    image = bigclip.load(run, tower="image", mesh=one_device())
    assert image.params.keys() == {"image", "log_logit_scale", "logit_bias"}
    np.testing.assert_allclose(
        image.embed_images(pictures), model.embed_images(pictures), rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="no text tower"):
        image.embed_texts("fox")
    image.save(tmp_path / "image")
    alone = bigclip.load(tmp_path / "image")
    assert "text" not in alone.params
    assert "image," in repr(alone)
    with pytest.raises(ConfigError, match="saved with the image tower alone"):
        bigclip.load(tmp_path / "image", tower="text")
    with pytest.raises(ConfigError, match="tower: no choice 'vision'"):
        bigclip.load(run, tower="vision")


def test_each_process_needs_the_pictures_of_its_devices(run, model):
    np.testing.assert_array_equal(model.rows_here(5), np.arange(5))


def test_no_checkpoint_is_told(run, tmp_path):
    (tmp_path / "file").write_text("")
    for path, step, message in (
        (tmp_path, None, "holds no checkpoint"),
        (tmp_path / "file", None, "holds no checkpoint"),
        (None, None, "is a path, not None"),
        (run, "7", "must be a whole number"),
        (run, 8, "has no checkpoint of step 8; it has .7."),
        (run / "checkpoints" / "7", 8, "is one checkpoint, .* leave `step` away"),
    ):
        with pytest.raises(ConfigError, match=message):
            bigclip.load(path, step=step)


@pytest.mark.parametrize("lost", ["manifest", "state", "state/_METADATA"])
def test_a_checkpoint_that_is_half_there_is_none(run, tmp_path, lost):
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(run / "checkpoints" / "7", tmp_path / "run" / "checkpoints" / "9")
    place = tmp_path / "run" / "checkpoints" / "9" / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert checkpoints.steps(tmp_path / "run") == [7]
    assert bigclip.load(tmp_path / "run").step == 7
