"""Batches of one shape, of decoded and of drawn pictures."""

import fakes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.evals import embedding


class Summing(fakes.Fake):
    """Embeds a picture as [its first value, 1]; sees every batch."""

    def __init__(self, here=None):
        self.preprocess = fakes.FakePreprocess(4)
        self.batches, self._here = [], here

    def rows_here(self, batch_size):
        return np.arange(batch_size) if self._here is None else np.array(self._here)

    def embed_images(self, images):
        self.batches.append(images.copy())
        first = images[:, 0, 0, 0].astype(np.float32)
        return {"emb": np.stack([first, np.ones_like(first)], axis=1)}


def plain_picture(number):
    return np.full((4, 4, 3), number, np.uint8)


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(1, 9))
def test_drawn_pictures_come_in_batches_of_one_shape(count, batch_size):
    model = Summing()
    found = embedding.embed_drawn(model, count, plain_picture, batch_size=batch_size)
    np.testing.assert_array_equal(found["emb"], [[i, 1] for i in range(count)])
    assert {batch.shape for batch in model.batches} == {(batch_size, 4, 4, 3)}
    assert len(model.batches) == -(-count // batch_size)
    assert (np.concatenate(model.batches)[count:] == count - 1).all()  # the last, repeated


def test_a_process_draws_what_it_embeds():
    drawn = []

    def draw(number):
        drawn.append(number)
        return plain_picture(number + 1)

    model = Summing(here=[2, 3])
    embedding.embed_drawn(model, 7, draw, batch_size=4)
    assert sorted(drawn) == [2, 3, 6]
    assert model.batches[0][:, 0, 0, 0].tolist() == [0, 0, 3, 4]
    assert model.batches[1][:, 0, 0, 0].tolist() == [0, 0, 7, 7]


def test_what_drawing_raises_is_raised():
    def draw(number):
        if number == 5:
            raise ConfigError("the fifth is broken")
        return plain_picture(number)

    with pytest.raises(ConfigError, match="the fifth is broken"):
        embedding.embed_drawn(Summing(), 8, draw, batch_size=4)


def test_rows_of_unit_length():
    rng = np.random.default_rng(0)
    emb = rng.normal(size=(5, 3, 8)) * 10.0 ** rng.integers(-6, 6, (5, 3, 1))
    emb[2, 1] = 0
    found = embedding.unit(emb)
    assert found.dtype == np.float32
    length = np.linalg.norm(emb, axis=-1, keepdims=True)
    expected = np.divide(emb, length, out=np.zeros_like(emb), where=length > 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_vectors_are_told_from_other_outputs():
    one = np.zeros((3, 4))
    assert embedding.are_vectors(one)
    assert embedding.are_vectors(one, one)
    for other in (np.zeros((3, 2, 4)), np.zeros(3), {"emb": one}, [one]):
        assert not embedding.are_vectors(one, other)
