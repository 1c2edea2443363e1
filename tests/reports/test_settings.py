"""Settings as rows, and how configurations differ."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.reports.settings import as_cell, differences, flatten

keys = st.text("abc", min_size=1, max_size=2)
blocks = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.none(), st.just({}), st.lists(st.integers())),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(keys, blocks, max_size=4)


@settings(max_examples=40, deadline=None)
@given(configs)
def test_flattening_loses_nothing(config):
    built = {}
    for name, value in flatten(config).items():
        *path, last = name.split(".")
        at = built
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    assert built == config


@settings(max_examples=40, deadline=None)
@given(st.lists(configs, min_size=2, max_size=3))
def test_what_differs_is_exactly_what_is_listed(blocks):
    found = differences(blocks)
    flat = [flatten(block) for block in blocks]
    for name in {name for rows in flat for name in rows}:
        alike = all(name in rows for rows in flat) and all(
            rows[name] == flat[0][name] for rows in flat
        )
        assert (name in found) != alike
    assert all(len(cells) == len(blocks) for cells in found.values())
    assert (found == {}) == all(rows == flat[0] for rows in flat)


def test_a_missing_setting_is_told_from_none():
    (cells,) = differences([{"a": None}, {}]).values()
    assert cells == ["<code>null</code>", "\u2013"]


def test_long_lists_fold_away():
    assert as_cell([1, 2]) == "<code>[1, 2]</code>"
    assert "5 values" in as_cell([1, 2, 3, 4, 5])
