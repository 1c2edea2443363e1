"""The table of kinds: what is shown of which metrics, and in which order."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bigclip.evals.suites import SUITES
from bigclip.reports.columns import Column, expand, natural
from bigclip.reports.kinds import KINDS, columns_of, compared_columns, kind_of

FORMS = {"percent", "rank", "number"}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_names_each_metric_once_and_in_a_known_form(name):
    kind = KINDS[name]
    metrics = [column.metric for column in kind.columns]
    assert len(metrics) == len(set(metrics))
    for column in (*kind.columns, *kind.main, *kind.compared):
        assert column.form in FORMS
        assert column.better in ("higher", "lower", "")
    for chart in kind.charts:
        assert 1 <= len(chart.columns) <= 8
        assert len({column.form for column in chart.columns}) == 1, "one axis, one form"
        assert {column.metric for column in chart.columns} <= set(metrics)


def test_every_suite_has_a_place_in_the_table():
    assert set(SUITES) <= set(KINDS)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8, unique=True))
def test_a_star_stands_for_every_number_in_order(shots):
    metrics = {f"shots={n}/top1": 0.5 for n in shots} | {"shots=3/std": 0.1, "top1": 0.2}
    found = expand([Column("shots=*/top1", "{}-shot")], metrics)
    assert [column.metric for column in found] == [f"shots={n}/top1" for n in sorted(shots)]
    assert [column.label for column in found] == [f"{n}-shot" for n in sorted(shots)]


@given(st.lists(st.text(max_size=8), max_size=6))
@example(["\u00b2", "2"])
def test_natural_order_is_an_order_for_any_text(texts):
    ordered = sorted(texts, key=natural)
    assert sorted(ordered, key=natural) == ordered


def test_numbers_within_names_count():
    assert sorted(["k=20", "k=5", "k=100", "block_10", "block_9"], key=natural) == [
        "block_9",
        "block_10",
        "k=5",
        "k=20",
        "k=100",
    ]


def test_a_plain_metric_that_the_table_does_not_know_is_shown_at_the_end():
    columns = columns_of("knn", {"novelty": 1.0, "top1": 0.5, "k=5/top1": 0.5, "a/b": 0.1})
    assert [column.metric for column in columns] == ["top1", "k=5/top1", "novelty"]
    assert columns[-1].form == "number"


def test_an_unknown_kind_shows_all_it_has():
    metrics = {"mIoU": 0.3, "style=a/mIoU": 0.2, "per/class": 0.1}
    assert [column.metric for column in columns_of("dense", metrics)] == list(metrics)
    assert kind_of("dense", metrics).charts[0].columns[0].metric == "mIoU"
    assert kind_of("dense", {}).charts == ()
    assert [column.metric for column in compared_columns("dense", metrics)] == list(metrics)


def test_a_multi_label_probe_is_led_by_its_mean_average_precision():
    main = expand(KINDS["linear_probe"].main, {"mAP": 0.5, "roc_auc": 0.8})
    assert [column.metric for column in main] == ["mAP"]
