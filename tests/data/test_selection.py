"""The filter in front of a random-access source."""

import logging
import pickle

import pytest

from bigclip.config import ConfigError
from bigclip.data.selection import apply_filters
from bigclip.data.sources import open_source


@pytest.fixture
def source(write_shards):
    def change(number, parts):
        if number == 4:
            parts["json"] = b"{"  # broken: the filter leaves it to those who count

    return open_source(kind="webdataset", shards=write_shards(12, 8, change=change))


def test_numbers_what_passes_anew(source, caplog):
    with caplog.at_level(logging.WARNING):
        selected = apply_filters(source, {"scores": {"number": [3, 16]}})
    assert selected.rows.tolist() == list(range(3, 17))
    assert selected.rejected == {"score": 6}
    assert "filters leave 14 of 20 records (score 6)" in caplog.text
    copy = pickle.loads(pickle.dumps(selected))
    assert copy[3] == selected[3] == source[6]
    assert (selected.num_lost, selected.faults) == (0, [])


def test_leaves_captions_away(source):
    selected = apply_filters(source, {"max_words": 2})
    assert len(selected) == 20
    assert set(source[0].captions) == {"txt", "name", "keywords"}
    assert set(selected[0].captions) == {"name", "keywords"}  # the .txt has three words


def test_without_rules_the_source_is_itself(source):
    assert apply_filters(source, {}) is apply_filters(source, None) is source


def test_nothing_left_is_a_mistake(write_shards):
    source = open_source(kind="webdataset", shards=write_shards(5))
    with pytest.raises(ConfigError, match=r"not one of 5 records passes \(min_side 5\)"):
        apply_filters(source, {"min_side": 1000})


def test_a_record_that_changed_meanwhile_is_told(source):
    selected = apply_filters(source, {"scores": {"number": [3, 16]}})
    selected.rows[0] = 19
    with pytest.raises(OSError, match="part-001.tar/000019 has changed"):
        selected[0]


def test_a_mixture_keeps_its_weights(write_shards):
    paths = write_shards(12, 8)
    blocks = {
        name: {"kind": "webdataset", "shards": path, "weight": weight}
        for name, path, weight in zip(("a", "b"), paths, (3.0, 1.0), strict=True)
    }
    mixed = open_source(kind="mixture", sources=blocks)
    selected = apply_filters(mixed, {"scores": {"number": [6, 15]}})
    assert [len(part) for part in selected.sources] == [6, 4]
    order = selected.order(seed=0)
    records = [order.record(k) for k in range(40)]
    assert sum(record < 6 for record in records) == 30
    assert selected[6] == mixed[12]
    with pytest.raises(ConfigError, match="b: not one of 8 records passes"):
        apply_filters(mixed, {"scores": {"number": [0, 11]}})
