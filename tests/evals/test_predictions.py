"""Means per class, and who is first by lot, against loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigclip.evals.predictions import class_means, first_by_lot


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=30))
def test_means_per_class_equal_a_loop(rows):
    class_of, values = np.array([c for c, _ in rows]), np.array([v for _, v in rows])
    found = class_means(values, class_of, 7)
    for c in range(7):
        own = values[class_of == c]
        if len(own):
            np.testing.assert_allclose(found[c], own.mean(), atol=1e-12)
        else:
            assert np.isnan(found[c])


def test_the_first_is_drawn_among_equals():
    nan, inf = np.nan, np.inf
    scores = np.array(
        [[1, 3, 2], [5, 5, 1], [2, 2, 2], [nan, 1, 0], [nan, nan, nan], [-inf, -inf, -inf]],
    )
    expected = [[0, 1, 0], [0.5, 0.5, 0], [1 / 3] * 3, [0, 1, 0], [0] * 3, [0] * 3]
    np.testing.assert_allclose(first_by_lot(scores), expected)
