"""How often each instruction of a program runs, on programs small enough to count by hand."""

import pytest

from bigclip.planning.hlo import (
    array_bytes,
    executions,
    operand_bytes,
    read_program,
    shape_bytes,
    trip_count,
    unknown_trip_counts,
)

NESTED = """\
HloModule jit_step, is_scheduled=true

%inner_body (p.1: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %p.1 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  %x.1 = f32[8,128]{1,0:T(8,128)} get-tuple-element(%p.1), index=1
  %one.1 = s32[]{:T(128)} constant(1)
  %next.1 = s32[]{:T(128)} add(%i.1, %one.1)
  %y.1 = f32[8,128]{1,0:T(8,128)} multiply(%x.1, %x.1)
  ROOT %t.1 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) tuple(%next.1, /*index=1*/%y.1)
}

%inner_condition (p.2: (s32[], f32[8,128])) -> pred[] {
  %p.2 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%p.2), index=0
  %three = s32[]{:T(128)} constant(3)
  ROOT %lt.2 = pred[]{:T(512)} compare(%i.2, %three), direction=LT
}

%outer_body (p.3: (s32[], f32[8,128], s32[])) -> (s32[], f32[8,128], s32[]) {
  %p.3 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, s32[]{:T(128)}) parameter(0)
  %i.3 = s32[]{:T(128)} get-tuple-element(%p.3), index=0
  %x.3 = f32[8,128]{1,0:T(8,128)} get-tuple-element(%p.3), index=1
  %limit.3 = s32[]{:T(128)} get-tuple-element(%p.3), index=2
  %two = s32[]{:T(128)} constant(2)
  %next.3 = s32[]{:T(128)} add(%i.3, %two)
  %zero.3 = s32[]{:T(128)} constant(0)
  %c.3 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) tuple(%zero.3, %x.3)
  %w.3 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) while(%c.3), condition=%inner_condition, body=%inner_body
  %y.3 = f32[8,128]{1,0:T(8,128)} get-tuple-element(%w.3), index=1
  ROOT %t.3 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, s32[]{:T(128)}) tuple(%next.3, %y.3, %limit.3)
}

%outer_condition (p.4: (s32[], f32[8,128], s32[])) -> pred[] {
  %p.4 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, s32[]{:T(128)}) parameter(0)
  %i.4 = s32[]{:T(128)} get-tuple-element(%p.4), index=0
  %limit.4 = s32[]{:T(128)} get-tuple-element(%p.4), index=2
  ROOT %lt.4 = pred[]{:T(512)} compare(%i.4, %limit.4), direction=LT
}

%fused (p.5: f32[8,128]) -> f32[8,128] {
  %p.5 = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %sine = f32[8,128]{1,0:T(8,128)} sine(%p.5)
}

ENTRY %main.9_spmd (x: f32[8,128]) -> f32[8,128] {
  %x = f32[8,128]{1,0:T(8,128)} parameter(0), sharding={replicated}, metadata={op_name="x(y)"}
  %four = s32[]{:T(128)} constant(4)
  %ten = s32[]{:T(128)} constant(10)
  %f = f32[8,128]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/sin"}
  %c = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, s32[]{:T(128)}) tuple(%four, %f, %ten)
  %w = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, s32[]{:T(128)}) while(%c), condition=%outer_condition, body=%outer_body
  ROOT %y = f32[8,128]{1,0:T(8,128)} get-tuple-element(%w), index=1
}
"""  # noqa: E501


def times_of(text, opcode):
    return [one.times for one in executions(read_program(text)) if one.instruction.opcode == opcode]


def test_counts_loops_in_loops():
    # The outer counter runs 4, 6, 8: its start and its limit are carried, its step is 2.
    assert times_of(NESTED, "while") == [1, 3]
    assert times_of(NESTED, "multiply") == [9]
    assert times_of(NESTED, "sine") == [1]
    assert unknown_trip_counts(read_program(NESTED)) == 0


def test_says_where_an_instruction_stands():
    found = {one.instruction.name: one for one in executions(read_program(NESTED))}
    assert found["y.1"].loops == ("outer_body", "inner_body")
    assert found["sine"].in_fusion
    assert not found["f"].in_fusion
    assert operand_bytes(found["y.1"].instruction, found["y.1"].computation) == 2 * 8 * 128 * 4


def test_believes_a_trip_count_that_is_written_down():
    text = NESTED.replace(
        "body=%outer_body", 'body=%outer_body, backend_config={"known_trip_count":{"n":"7"}}'
    )
    assert times_of(text, "multiply") == [21]


def test_a_loop_of_unknown_length_counts_once_and_is_told():
    text = NESTED.replace("compare(%i.4, %limit.4)", "compare(%limit.4, %limit.4)")
    program = read_program(
        text.replace("%ten = s32[]{:T(128)} constant(10)", "%ten = s32[] copy(%four)")
    )
    loop = program.computations["main.9_spmd"].instructions["w"]
    assert trip_count(program, loop, program.computations["main.9_spmd"]) == 0  # 4 < 4 is false
    test = text.replace("direction=LT", "direction=GT")
    assert unknown_trip_counts(read_program(test)) == 2
    assert times_of(test, "multiply") == [1]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("f32[8,128]{1,0:T(8,128)}", 4096),
        ("bf16[3]{0}", 6),
        ("pred[7]{0}", 7),
        ("(s4[10]{0}, f8e4m3fn[4]{0}, u32[])", 5 + 4 + 4),
        ("f32[]", 4),
        ("token[]", 0),
    ],
)
def test_bytes_of_types(shape, expected):
    assert shape_bytes(shape) == expected


def test_bytes_of_an_array():
    assert array_bytes("c64", (2, 3)) == 48
