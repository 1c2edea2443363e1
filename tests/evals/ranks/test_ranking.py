"""Tiled ranks against a dense, plainly written reference."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.evals.ranks import ranking, tiles


def dense_ranks(scores, pairs):
    """better, tied, tied_right, right of each row of a score matrix, one by one."""
    rows = []
    for row in range(scores.shape[0]):
        right = sorted({int(t) for i, t in pairs if i == row})
        wrong = [t for t in range(scores.shape[1]) if t not in right]
        best = max((scores[row, t] for t in right), default=-np.inf)
        rows.append(
            (
                sum(scores[row, t] > best for t in wrong),
                sum(scores[row, t] == best for t in wrong),
                sum(scores[row, t] == best for t in right),
                len(right),
            )
        )
    return np.array(rows)


def as_array(ranks):
    return np.stack([ranks.better, ranks.tied, ranks.tied_right, ranks.right], axis=1)


def random_case(seed, num_images, num_texts, num_pairs, dim=8):
    rng = np.random.default_rng(seed)
    # Small integers: all sums are exact in float32, so that ties are ties in every order of
    # summation, and there are many of them.
    image_emb = rng.integers(-2, 3, (num_images, dim)).astype(np.float32)
    text_emb = rng.integers(-2, 3, (num_texts, dim)).astype(np.float32)
    pairs = np.stack(
        [rng.integers(0, num_images, num_pairs), rng.integers(0, num_texts, num_pairs)], axis=1
    )
    return image_emb, text_emb, pairs


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 150),
    num_texts=st.integers(1, 150),
    tile=st.sampled_from([64, 128]),
    num_devices=st.sampled_from([1, 3, 8]),
)
def test_equals_the_dense_count(seed, num_images, num_texts, tile, num_devices):
    image_emb, text_emb, pairs = random_case(seed, num_images, num_texts, max(num_images, 5))
    to_text, to_image = ranking.rank_pairs(
        image_emb, text_emb, pairs, tile=tile, devices=jax.devices()[:num_devices]
    )
    scores = image_emb @ text_emb.T
    np.testing.assert_array_equal(as_array(to_text), dense_ranks(scores, pairs))
    np.testing.assert_array_equal(as_array(to_image), dense_ranks(scores.T, pairs[:, ::-1]))


def test_permuting_the_candidates_changes_no_rank():
    image_emb, text_emb, pairs = random_case(1, 70, 90, 100)
    order = np.random.default_rng(2).permutation(90)
    moved = pairs.copy()
    moved[:, 1] = np.argsort(order)[pairs[:, 1]]
    before, _ = ranking.rank_pairs(image_emb, text_emb, pairs)
    after, _ = ranking.rank_pairs(image_emb, text_emb[order], moved, tile=64)
    np.testing.assert_array_equal(as_array(before), as_array(after))


def test_no_tile_is_larger_than_asked():
    seen = []

    def score(params, images, texts):
        seen.append((images.shape[0], texts.shape[0]))
        return ranking.inner_product(params, images, texts)

    image_emb, text_emb, pairs = random_case(3, 300, 500, 300)
    ranking.rank_pairs(image_emb, text_emb, pairs, tile=128, score_fn=score)
    assert set(seen) == {(128, 128)}


def test_outputs_may_be_trees_and_scores_may_use_parameters():
    image_emb, text_emb, pairs = random_case(4, 40, 30, 50)

    def score(params, images, texts):
        return params["sign"] * (images["a"] @ texts["b"].T) + images["bias"][:, None]

    flipped, _ = ranking.rank_pairs(
        {"a": image_emb, "bias": np.ones(40, np.float32)},
        {"b": text_emb},
        pairs,
        score_fn=score,
        params={"sign": jnp.float32(-1.0)},
    )
    np.testing.assert_array_equal(as_array(flipped), dense_ranks(-(image_emb @ text_emb.T), pairs))


def test_scores_within_rounding_are_ties():
    # The same sum in another order: not equal bit for bit, but no reason to prefer one.
    image_emb = np.ones((1, 3), np.float32)
    text_emb = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2], [0.3, 0.2, 0.1001]], np.float32)
    ranks, _ = ranking.rank_pairs(image_emb, text_emb, np.array([[0, 0]]))
    assert (ranks.better[0], ranks.tied[0]) == (1, 1)


def test_a_score_that_is_no_number_ranks_worst():
    image_emb, text_emb, _ = random_case(5, 6, 6, 1)
    pairs = np.stack([np.arange(6)] * 2, axis=1)
    image_emb[2] = np.nan
    to_text, to_image = ranking.rank_pairs(image_emb, text_emb, pairs)
    assert to_text.better[2] == 5
    assert to_image.better[2] == 5
    # Among the candidates of another query, it beats the right one rather than being overlooked.
    assert (np.delete(to_image.better, 2) >= 1).all()


@pytest.mark.parametrize("by_text", [False, True])
@pytest.mark.parametrize("num_devices", [1, 8])
def test_top_candidates_equal_a_stable_sort(by_text, num_devices):
    image_emb, text_emb, _ = random_case(6, 150, 200, 1)
    scores, indices = ranking.top_candidates(
        image_emb, text_emb, 7, by_text=by_text, tile=64, devices=jax.devices()[:num_devices]
    )
    dense = image_emb @ text_emb.T
    dense = dense.T if by_text else dense
    expected = np.argsort(-dense, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(dense, expected, axis=1))


def test_a_pair_outside_is_an_error():
    image_emb, text_emb, _ = random_case(7, 4, 5, 1)
    with pytest.raises(ValueError, match="outside of 4 images and 5 texts"):
        ranking.rank_pairs(image_emb, text_emb, np.array([[0, 5]]))


def test_devices_hold_no_more_of_the_embeddings_than_they_may(monkeypatch):
    image_emb, text_emb, pairs = random_case(3, 100, 300, 200)
    expected = ranking.rank_pairs(image_emb, text_emb, pairs, tile=64)
    monkeypatch.setattr(tiles, "KEPT_BYTES", 2 * 64 * text_emb[0].nbytes)
    found = ranking.rank_pairs(image_emb, text_emb, pairs, tile=64)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(as_array(one), as_array(other))
    grid = tiles.Grid(image_emb, text_emb, pairs, tile=64, devices=jax.devices())
    first = list(grid.text_tiles)
    alive = [weakref.ref(part) for part in first]
    np.testing.assert_array_equal(np.concatenate(first)[:300], text_emb)
    assert np.concatenate(first)[300:].tolist() == [[0] * 8] * 20
    del first
    # Two are kept, and the last one, which may be asked for again.
    assert [ref() is not None for ref in alive] == [True, True, False, False, True]
    assert grid.text_tiles[1] is alive[1]()
    assert len(list(grid.image_tiles)) == 2  # an eighth of each on each device: all are kept
    assert grid.image_tiles[1] is grid.image_tiles[1]
