"""Holding messages back changes no byte, however they come."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored.faults import Cut, Drop, Duplicate, Fragment, LatePongs, Spoil, Swap
from moored.faults.editing import Editing
from moored.faults.message_formats import EventFormat, FrameFormat, PieceFormat
from moored.faults.raw_frames import RawFrame, frames_of, join_frames

lines = st.sampled_from(
    b"\n|\r|\r\n|data|data: x|: c|id: 1|event: e|dat|\xef\xbb\xbf|data: [DONE]".split(b"|")
)
event_streams = st.lists(lines, max_size=30).map(b"".join)
cuts = st.lists(st.integers(0, 500), max_size=6)
sizes = st.sampled_from([0, 1, 125, 126, 200])


@st.composite
def frame_streams(draw):
    """Frames as a server might send them, and as it should not."""
    frames = []
    for _ in range(draw(st.integers(0, 8))):
        first = draw(st.sampled_from([0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8A, 0xC1]))
        key = draw(st.sampled_from([b"", b"abcd"]))
        frames.append(RawFrame(first, draw(st.binary(max_size=3)) * draw(sizes), key))
    return join_frames(frames) + draw(st.sampled_from([b"", b"\x81", b"\x82\x7e\x01"]))


def pieces(data, edges):
    edges = [0, *sorted(edge % (len(data) + 1) for edge in edges), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def editing(form, *faults):
    left = [fault.times for fault in faults]

    def take(index):
        if left[index] == 0:
            return False
        if left[index] is not None:
            left[index] -= 1
        return True

    return Editing(
        "to_client",
        form,
        enumerate(faults),
        take=take,
        is_spent=lambda index: left[index] == 0,
        elapsed=lambda: 0.0,
    )


def edited(form, data, edges, *faults):
    """What comes out: the bytes, what struck, and what was injected."""
    stage, out, injected = editing(form, *faults), b"", []
    for piece in pieces(data, edges):
        for output in stage.feed(piece):
            out += output.data
            injected += output.injected
            if output.strike is not None:
                return out, output.strike, injected
    out += b"".join(output.data for output in stage.flush())
    return out, None, injected


NEVER = [Drop(message=10**6), Cut(at="inside_message", message=10**6), Spoil(after_bytes=10**9)]


@given(event_streams, cuts)
def test_events_that_no_fault_wants_pass_as_they_came(data, edges):
    assert edited(EventFormat(), data, edges, *NEVER) == (data, None, [])


@given(frame_streams(), cuts)
def test_frames_that_no_fault_wants_pass_as_they_came(data, edges):
    assert edited(FrameFormat(), data, edges, *NEVER) == (data, None, [])


FAULTS = [
    [Drop(message=2)],
    [Duplicate()],
    [Swap(message=1)],
    [Swap()],
    [Spoil(message=(1, 2), how="garbled")],
    [Cut(at="inside_message", message=2)],
    [Drop(message=1), Cut(at="before_done")],
    [Duplicate(times=1), Cut(at="inside_character")],
]


@pytest.mark.parametrize("faults", FAULTS, ids=repr)
@given(event_streams, cuts)
def test_edits_of_events_do_not_depend_on_how_the_bytes_come(faults, data, edges):
    # A CR that is cut from its LF ends a line all the same, and the LF is a part by itself.
    data = re.sub(rb"\r+\n", b"\n", data)
    assert edited(EventFormat(), data, edges, *faults) == edited(EventFormat(), data, [], *faults)


@pytest.mark.parametrize("faults", [*FAULTS, [Fragment()], [Cut(at="between_fragments")]], ids=repr)
@given(frame_streams(), cuts)
def test_edits_of_frames_do_not_depend_on_how_the_bytes_come(faults, data, edges):
    assert edited(FrameFormat(), data, edges, *faults) == edited(FrameFormat(), data, [], *faults)


@given(frame_streams())
def test_frames_are_taken_apart_and_put_together(data):
    frames = frames_of(data)
    assert data.startswith(join_frames(frames))
    assert all(RawFrame.parse(frame.to_bytes()) == frame for frame in frames)


@pytest.mark.parametrize(
    ("fault", "over"),
    [
        (Drop(message=2), [False, False, True]),
        (Drop(message=(1, 3)), [False, False, False]),
        (Drop(times=1), [False, True, True]),
        (Swap(message=1), [False, False, True]),
        (Cut(at="inside_message", message=1), [False, True, True]),
        (Cut(at="inside_character"), [False, False, False]),
        (LatePongs(), [False, False, False]),
    ],
)
def test_bytes_pass_as_they_come_once_no_fault_can_want_them(fault, over):
    stage = editing(FrameFormat(), fault)
    seen = []
    for _ in range(3):
        seen.append(stage.is_over)
        list(stage.feed(b"\x81\x01x"))
    assert seen == over


def test_a_length_in_more_bytes_than_it_needs():
    fragments = b"\x01\x7f\0\0\0\0\0\0\0\x02ab" + b"\x80\xfe\0\x02abcd" + b"\x02\x02"
    for place, end in (("between_fragments", 12), ("inside_message", 11)):
        assert edited(FrameFormat(), fragments, [], Cut(at=place))[0] == fragments[:end]
    text = b"\x81\x7e\0\x04a" + "€".encode()
    assert edited(FrameFormat(), text, [], Cut(at="inside_character"))[0] == text[:6]


def test_a_body_without_messages_is_not_held():
    assert edited(PieceFormat(), b"abcdef", [2], Cut(at="inside_chunk", message=2)) == (
        b"abcd",
        Cut(at="inside_chunk", message=2),
        [],
    )


def test_copies_of_copies_of_copies_have_an_end():
    edit = editing(EventFormat(), *[Duplicate(copies=1000)] * 3)
    out = list(edit.feed(b"data: x\n\n"))
    assert 100_000 < len(out) <= 1001**2
    assert edit.unedited == 1
