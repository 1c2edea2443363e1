"""Bytes and seconds of collectives, against sums by hand."""

import numpy as np
import pytest

from bigclip.planning.hlo import read_program
from bigclip.planning.traffic import Network, collectives, sent, summarise

# 4 x 4 chips, row by row; only the second axis closes.
GRID = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2)
NETWORK = Network(
    coords=GRID,
    shape=(4, 4),
    wraps=(False, True),
    link_bytes_per_second=100.0,
    dcn_bytes_per_second=10.0,
    num_slices=2,
)
ROWS = "replica_groups=[4,4]<=[16]"

PROGRAM = f"""\
%body (p: (s32[], f32[25])) -> (s32[], f32[25]) {{
  %p = (s32[], f32[25]{{0}}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[25]{{0}} get-tuple-element(%p), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %started = (f32[25]{{0}}, f32[100]{{0}}) fusion(%x), kind=kCustom, calls=%start
  %between = (f32[25]{{0}}, f32[100]{{0}}) fusion(%x), kind=kOutput, calls=%meanwhile
  %reduced = f32[25]{{0}} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %t = (s32[], f32[25]{{0}}) tuple(%next, %x)
}}

%start (q: f32[25]) -> (f32[25], f32[100]) {{
  %q = f32[25]{{0}} parameter(0)
  %g.1 = f32[100]{{0}} all-gather(%q), channel_id=5, {ROWS}, dimensions={{0}}
  ROOT %c = (f32[25]{{0}}, f32[100]{{0}}) custom-call(%g.1), custom_call_target="AsyncCollectiveStart"
}}

%meanwhile (r: f32[25]) -> (f32[25], f32[100]) {{
  %r = f32[25]{{0}} parameter(0)
  %g.2 = f32[100]{{0}} all-gather(%r), channel_id=5, {ROWS}, dimensions={{0}}
  ROOT %d = (f32[25]{{0}}, f32[100]{{0}}) tuple(%r, %g.2)
}}

%all-reduce-scatter.1 (s: f32[25]) -> f32[25] {{
  %s = f32[25]{{0}} parameter(0)
  %a.1 = f32[25]{{0}} all-reduce(%s), channel_id=6, {ROWS}, to_apply=%add, metadata={{op_name="jit(step)/while/body/closed_call/blocks/mlp/up/dot"}}
  ROOT %ds = f32[25]{{0}} bitcast(%a.1)
}}

%condition (p.1: (s32[], f32[25])) -> pred[] {{
  %p.1 = (s32[], f32[25]{{0}}) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %twelve = s32[] constant(12)
  ROOT %lt = pred[] compare(%i.1, %twelve), direction=LT
}}

ENTRY %main (x: f32[25]) -> f32[25] {{
  %x.1 = f32[25]{{0}} parameter(0)
  %zero = s32[] constant(0)
  %c.1 = (s32[], f32[25]{{0}}) tuple(%zero, %x.1)
  %w = (s32[], f32[25]{{0}}) while(%c.1), condition=%condition, body=%body
  %whole = f32[25]{{0}} all-reduce(%x.1), channel_id=7, replica_groups={{}}, to_apply=%add
  %alone = f32[25]{{0}} all-reduce(%x.1), channel_id=8, replica_groups=[16,1]<=[16], to_apply=%add
  %ps = (f32[25]{{0}}, f32[25]{{0}}, u32[], u32[]) collective-permute-start(%x.1), channel_id=1, source_target_pairs={{{{0,1}},{{1,2}},{{2,3}},{{3,0}}}}
  %pd = f32[25]{{0}} collective-permute-done(%ps)
  %token = token[] after-all()
  %send = (f32[25]{{0}}, u32[], token[]) send(%x.1, %token), channel_id=9, frontend_attributes={{_xla_megascale_transfer_type="ALL_REDUCE"}}
  %pass = (f32[25]{{0}}, u32[], token[]) send(%x.1, %token), channel_id=10, frontend_attributes={{_xla_megascale_target={{{{100015->200000}},{{200015->100000}}}},_xla_megascale_transfer_type="ONE_TO_ONE"}}
  ROOT %y = f32[25]{{0}} get-tuple-element(%w), index=1
}}
"""  # noqa: E501


@pytest.fixture(scope="module")
def found():
    return {one.kind: one for one in collectives(read_program(PROGRAM), NETWORK)}


def test_each_collective_counts_once_with_all_its_executions(found):
    summary = summarise(list(found.values()))
    assert {kind: one["executions"] for kind, one in summary["by_kind"].items()} == {
        "all-gather": 12,  # in two kernels, of one channel
        "reduce-scatter": 12,
        "all-reduce": 1,  # the one within a single device sends nothing
        "collective-permute": 1,
        "dcn-all-reduce": 1,
        "dcn-one-to-one": 1,
    }


def test_the_largest_come_first_and_are_named(found):
    largest = summarise(list(found.values()))["largest"]
    totals = [one["times"] * one["bytes_sent"] for one in largest]
    assert totals == sorted(totals, reverse=True)
    named = {one["kind"]: one["of"] for one in largest}
    assert named["reduce-scatter"] == "blocks/mlp/up/dot"
    assert named["all-gather"] == ""


def test_what_goes_on_during_a_later_loop_counts_where_it_starts():
    # The all-gather is started before the loop, and goes on meanwhile.
    start = "  %started = (f32[25]{0}, f32[100]{0}) fusion(%x), kind=kCustom, calls=%start\n"
    text = PROGRAM.replace(start, "")
    before = start.replace("%x)", "%x.1)")
    text = text.replace("  %zero = s32[] constant(0)\n", "  %zero = s32[] constant(0)\n" + before)
    found = {one.kind: one for one in collectives(read_program(text), NETWORK)}
    assert (found["all-gather"].times, found["all-gather"].in_loop) == (1, False)
    assert found["reduce-scatter"].times == 12


def test_bytes_are_those_of_a_ring(found):
    assert found["all-gather"].bytes_sent == 100 * 3
    assert found["reduce-scatter"].bytes_sent == 100 * 3 / 4
    assert found["all-reduce"].bytes_sent == pytest.approx(2 * 100 * 15 / 16)
    assert found["collective-permute"].bytes_sent == 100 * 4 / 16  # four of sixteen send
    assert found["dcn-all-reduce"].bytes_sent == 2 * 100 * 1 / 2
    assert found["dcn-one-to-one"].bytes_sent == 100 * 2 / 32  # two of all chips send


def test_asynchronous_is_what_a_kernel_or_a_pair_starts(found):
    assert found["all-gather"].is_async
    assert found["collective-permute"].is_async
    assert found["dcn-all-reduce"].is_async
    assert not found["reduce-scatter"].is_async
    assert not found["all-reduce"].is_async
    assert [one.kind for one in found.values() if one.in_loop] == ["all-gather", "reduce-scatter"]


def test_seconds_are_those_of_the_links_in_use(found):
    assert found["all-gather"].seconds == 300 / (2 * 100)  # the closed axis, both ways
    assert found["all-reduce"].seconds == pytest.approx(187.5 / (3 * 100))  # and the open one
    assert found["collective-permute"].seconds == 100 / 100  # neighbours on a ring
    assert found["dcn-all-reduce"].seconds == 100 / 10
    assert found["dcn-one-to-one"].seconds == 100 / 10  # and the others wait


def test_distance_takes_the_short_way_round():
    pairs = np.array([[0, 3]])  # along the closed axis: next to each other
    assert NETWORK.hops(pairs) == 1
    assert NETWORK.hops(np.array([[0, 12]])) == 3  # along the open one


def test_two_devices_of_one_chip_need_no_link():
    network = NETWORK._replace(coords=np.zeros((2, 2), int))
    assert network.ring_bandwidth(np.array([0, 1])) == float("inf")


def test_a_group_of_one_sends_nothing():
    for kind in ("all-gather", "all-reduce", "reduce-scatter", "all-to-all"):
        assert sent(kind, 100, 1) == 0
