from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.evals.limits.dealing import deal, deal_distinct


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 2**32), st.data())
def test_whole_decks_hold_every_value_equally_often_in_every_role(count, rounds, seed, data):
    roles = data.draw(st.integers(1, count))
    values = tuple("abcdefghi"[:count])
    dealt = deal_distinct(values, roles, count * rounds, np.random.default_rng(seed))
    assert all(len(set(row)) == roles for row in dealt)
    for role in range(roles):
        assert Counter(row[role] for row in dealt) == dict.fromkeys(values, rounds)
    alone = deal(values, count * rounds, np.random.default_rng(seed))
    assert Counter(alone) == dict.fromkeys(values, rounds)


def test_part_of_a_deck_holds_none_twice():
    assert max(Counter(deal(range(10), 7, np.random.default_rng(0))).values()) == 1
    assert len(deal(range(3), 8, np.random.default_rng(0))) == 8


def test_more_roles_than_values():
    with pytest.raises(ValueError, match="3 different values cannot be drawn from 2"):
        deal_distinct("ab", 3, 4, np.random.default_rng(0))
