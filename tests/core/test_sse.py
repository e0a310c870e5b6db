"""The SSE decoder against literal vectors, and against the standard's own text as slow code."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moored.core.sse import (
    DEFAULT_MAX_EVENT_BYTES,
    EventDecoder,
    EventTooLarge,
    ServerSentEvent,
)

deterministic = settings(derandomize=True, deadline=None)

BOM = b"\xef\xbb\xbf"


def decode(*chunks: bytes) -> list[ServerSentEvent]:
    """All events of a body that comes in ``chunks``."""
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def data_of(*chunks: bytes) -> list[str]:
    return [event.data for event in decode(*chunks)]


def bytewise(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


def event(data: str, id: str = "", event: str = "message", retry: int | None = None) -> Any:
    return ServerSentEvent(event=event, data=data, id=id, retry=retry)


# ---------------------------------------------------------------- vectors

# What the body is, and the events that come of it.  Each is fed whole and byte by byte.
VECTORS: dict[str, tuple[bytes, list[ServerSentEvent]]] = {
    # The examples of the HTML standard, sections 9.2.1 and 9.2.6.
    "html: two messages, one of two lines": (
        b"data: This is the first message.\n\n"
        b"data: This is the second message, it\ndata: has two lines.\n\n"
        b"data: This is the third message.\n\n",
        [
            event("This is the first message."),
            event("This is the second message, it\nhas two lines."),
            event("This is the third message."),
        ],
    ),
    "html: named events": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [
            event("73857293", event="add"),
            event("2153", event="remove"),
            event("113411", event="add"),
        ],
    ),
    "html: stock ticker": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [event("YHOO\n+2\n10")]),
    "html: four blocks": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
        b"data:  third event\n\n",
        [event("first event", id="1"), event("second event"), event(" third event")],
    ),
    "html: two events and a discarded one": (
        b"data\n\ndata\ndata\n\ndata:",
        [event(""), event("\n")],
    ),
    "html: with and without a space": (b"data:test\n\ndata: test\n\n", [event("test")] * 2),
    # Cases after those of web-platform-tests, eventsource/format-*.
    "one byte order mark is dropped, at the start": (
        b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n",
        [event("1"), event("3")],
    ),
    "only one byte order mark": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3",
        [event("2")],
    ),
    "comments": (
        b"data:1\r:\0\n:\r\ndata:2\n:" + b"long " * 999 + b"\rdata:3\n:data:fail\r:x\ndata:4\n\n",
        [event("1\n2\n3\n4")],
    ),
    "no blank line at the end": (
        b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
        [event("test1", retry=1000)],
    ),
    "empty data": (
        b"data:\n\ndata\ndata\n\ndata:test\n\n",
        [event(""), event("\n"), event("test")],
    ),
    "empty event type": (b"event: \ndata:data\n\n", [event("data")]),
    "event type": (b"event:test\ndata:x\n\ndata:x\n\n", [event("x", event="test"), event("x")]),
    "field parsing": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\r"
        b"data:\r\n data:32\ndata:4\n\n",
        [event("\0\n 2\n1\n3\n\n4")],
    ),
    "leading spaces": (
        b"data:\ttest\rdata: \ndata:test\ndata:  two\n\n",
        [event("\ttest\n\ntest\n two")],
    ),
    "line ends of all kinds": (
        b"data:test\r\ndata\ndata:test\r\n\r\ndata:cr\r\rdata:lf\n\ndata:mixed\n\rdata:end\r\n\n",
        [event("test\n\ntest"), event("cr"), event("lf"), event("mixed"), event("end")],
    ),
    "LF CR is two line ends": (b"data:1\n\rdata:2\n\n", [event("1"), event("2")]),
    "CR LF CR is two line ends": (b"data:1\r\n\rdata:2\n\n", [event("1"), event("2")]),
    "CR CR LF is two line ends": (b"data:1\r\r\ndata:2\n\n", [event("1"), event("2")]),
    "NUL in data": (b"data:\0\n\n\n\n", [event("\0")]),
    "unknown fields": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n",
        [event("test\n")],
    ),
    "field names keep their case": (b"Data:1\nDATA:2\nEvent:x\nID:7\ndata:3\n\n", [event("3")]),
    "a space before the colon belongs to the name": (b"data :1\ndata:2\n\n", [event("2")]),
    "the value may hold colons": (b"data: a: b::c\n\n", [event("a: b::c")]),
    "trailing blanks stay": (b"data: a \t \n\n", [event("a \t ")]),
    "no event without data": (b"event:x\nid:1\nretry:5\n\n:only a comment\n\n\n\n", []),
    "the type of a block without data is forgotten": (b"event:x\n\ndata:1\n\n", [event("1")]),
    "the last of several types holds": (b"event:x\nevent:y\ndata:1\n\n", [event("1", event="y")]),
    "the order of fields does not matter": (
        b"data:1\nid:7\nevent:x\ndata:2\n\n",
        [event("1\n2", id="7", event="x")],
    ),
    "utf-8": (
        "data:ok…\nevent:é\nid:ü\n\n".encode(),
        [event("ok…", id="ü", event="é")],
    ),
    # Ids.
    "an id stays": (b"id:1\ndata:a\n\ndata:b\n\n", [event("a", id="1"), event("b", id="1")]),
    "an empty id resets": (
        b"id:1\ndata:a\n\nid\ndata:b\n\nid:2\ndata:c\n\nid:\ndata:d\n\n",
        [event("a", id="1"), event("b"), event("c", id="2"), event("d")],
    ),
    "an id with NUL is ignored": (
        b"id:1\ndata:a\n\nid:2\0\ndata:b\n\nid:\0\ndata:c\n\n",
        [event("a", id="1"), event("b", id="1"), event("c", id="1")],
    ),
    "the id of a block without data counts": (b"id:7\n\ndata:a\n\n", [event("a", id="7")]),
    "the last of several ids holds": (b"id:1\ndata:a\nid:2\n\n", [event("a", id="2")]),
    # Characters that other clients take for line ends, or for blanks.
    "only CR and LF end lines": (
        "data:a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\n\n".encode(),
        [event("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei")],
    ),
    "a no-break space is no space": ("data:\xa0x\n\n".encode(), [event("\xa0x")]),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    body, events = VECTORS[name]
    assert decode(body) == events
    assert decode(*bytewise(body)) == events


@pytest.mark.parametrize("name", VECTORS)
def test_vector_by_the_reference(name: str) -> None:
    # Or the comparisons with it below would prove nothing.
    body, events = VECTORS[name]
    assert reference(body).events == events


# ---------------------------------------------------------------- the standard's text, slowly


@attrs.define
class Outcome:
    """Everything that a body comes to."""

    events: list[ServerSentEvent]
    has_id: list[bool]
    comments: list[str]
    last_event_id: str
    retry: int | None


def lines_of(text: str) -> list[str]:
    """The lines that have ended: by CRLF, by LF, or by CR (HTML 9.2.5)."""
    lines = []
    line = ""
    position = 0
    while position < len(text):
        if text[position] == "\r":
            if text[position + 1 : position + 2] == "\n":
                position += 1
            lines.append(line)
            line = ""
        elif text[position] == "\n":
            lines.append(line)
            line = ""
        else:
            line += text[position]
        position += 1
    return lines  # what is left has not ended: it is discarded


def reference(body: bytes, last_event_id: str = "") -> Outcome:
    """HTML 9.2.6, sentence by sentence, on the whole body at once."""
    # "Streams must be decoded using the UTF-8 decode algorithm", which strips one byte order mark.
    text = body.decode("utf-8", "replace")
    if text[:1] == "\ufeff":
        text = text[1:]
    outcome = Outcome([], [], [], last_event_id, None)
    data_buffer = event_type_buffer = ""
    last_event_id_buffer = last_event_id
    block_retry: int | None = None
    block_has_id = False
    for line in lines_of(text):
        if line == "":  # "Dispatch the event"
            outcome.last_event_id = last_event_id_buffer
            if data_buffer != "":
                # "If the data buffer's last character is LF, remove it"
                data = data_buffer[:-1] if data_buffer[-1] == "\n" else data_buffer
                name = event_type_buffer if event_type_buffer != "" else "message"
                outcome.events.append(
                    ServerSentEvent(name, data, last_event_id_buffer, block_retry)
                )
                outcome.has_id.append(block_has_id)
            data_buffer = event_type_buffer = ""
            block_retry, block_has_id = None, False
            continue
        if line[0] == ":":  # "Ignore the line"
            outcome.comments.append(line[1:])
            continue
        if ":" in line:
            colon = line.index(":")
            field, value = line[:colon], line[colon + 1 :]
            if value != "" and value[0] == " ":
                value = value[1:]
        else:
            field, value = line, ""
        if field == "event":
            event_type_buffer = value
        elif field == "data":
            data_buffer += value + "\n"
        elif field == "id":
            if "\0" not in value:
                last_event_id_buffer = value
                block_has_id = True
        elif field == "retry" and value != "" and all(c in "0123456789" for c in value):
            outcome.retry = block_retry = int(value)
    return outcome


def decoded(chunks: Iterable[bytes], last_event_id: str = "") -> Outcome:
    """What the decoder makes of the same body."""
    comments: list[str] = []
    decoder = EventDecoder(last_event_id, on_comment=comments.append)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    assert decoder.comments == len(comments)
    has_id = [event.has_id for event in events]
    return Outcome(events, has_id, comments, decoder.last_event_id, decoder.retry)


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    """``body`` cut at ``places``; where two are equal, an empty chunk is between them."""
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(bounds)]


# Bodies made of what matters to the algorithm, in any order and disorder.
WORDS = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"),
    *(b"data", b"data:", b"data: ", b"data:  x", b"data: y", b"dat", b"a"),
    *(b"id", b"id:", b"id: 7", b"id:\0", b"event: e", b"event:", b"retry: 12", b"retry:", b"9"),
    *(b":", b" ", b": comment", b"\0", b"unknown: 1"),
    *(BOM, b"\xef", b"\xbb", b"\xbf", b"\xff", b"\xc3\xa9", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b"),
    *(b"\xf0\x9f", b"\x98\x80", b"\xed\xa0\x80", b"\xc0\xaf"),
]
bodies = st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join) | st.binary(max_size=40)
cuts = st.lists(st.integers(0, 200), max_size=8)


@settings(deterministic, max_examples=600)
@given(bodies, cuts)
@example(b"data: a\r\n\r\n", [8])
@example(BOM + b"data: a\n\n", [1, 2])
@example(b"data: \xe2\x80\xa8\n\n", [7, 8])
def test_any_bytes_in_any_cut_come_to_what_the_standard_says(
    body: bytes, places: list[int]
) -> None:
    assert decoded(cut(body, places)) == reference(body)


@settings(deterministic, max_examples=200)
@given(bodies)
def test_any_bytes_one_by_one_come_to_what_the_standard_says(body: bytes) -> None:
    assert decoded(bytewise(body)) == reference(body)


@settings(deterministic, max_examples=100)
@given(bodies, cuts, st.text(alphabet="7\xe9", max_size=2))
def test_any_bytes_after_a_reconnection_begin_with_the_last_id(
    body: bytes, places: list[int], last: str
) -> None:
    assert decoded(cut(body, places), last) == reference(body, last)


PIECES = [b"\r", b"\n", b"data:x", b"id:1"]


@pytest.mark.parametrize("length", range(7))
def test_every_order_of_line_ends_and_fields(length: int) -> None:
    for pieces in itertools.product(PIECES, repeat=length):
        assert decoded(pieces) == decoded([b"".join(pieces)]) == reference(b"".join(pieces))


# ---------------------------------------------------------------- chunks


@pytest.mark.parametrize("body", [b"data: a\r\r", b"data: a\r\n\r", b"data: a\n\r", b"data: a\n\n"])
def test_an_event_is_out_with_its_last_line_end(body: bytes) -> None:
    decoder = EventDecoder()
    assert decoder.feed(body[:-1]) == []
    assert decoder.feed(body[-1:]) == [event("a")]


def test_an_lf_after_a_cr_at_the_end_of_a_chunk_is_swallowed() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\ndata: b\r") == []
    assert decoder.feed(b"\n\r") == [event("a\nb")]
    assert decoder.feed(b"\ndata: c\n\n") == [event("c")]


def test_only_the_first_lf_after_a_cr_is_swallowed() -> None:
    assert data_of(b"data: a\r", b"\n\n") == ["a"]
    assert data_of(b"data: a\r", b"\n", b"\n") == ["a"]
    assert data_of(b"data: a\r", b"", b"\n", b"\n") == ["a"]


def test_an_lf_later_than_first_is_not_swallowed() -> None:
    assert data_of(b"data: a\r", b"data: b\n\n") == ["a\nb"]


@pytest.mark.parametrize("places", [(1,), (2,), (1, 2), (3,), (1, 1, 2, 3)])
def test_a_byte_order_mark_is_stripped_however_it_is_split(places: tuple[int, ...]) -> None:
    assert data_of(*cut(BOM + b"data: a\n\n", places)) == ["a"]


@pytest.mark.parametrize("start", [b"\xef", b"\xef\xbb", b"\xef\xbb\xbe", b"\xbb\xbf", b"\xbf"])
def test_what_only_resembles_a_byte_order_mark_stays(start: bytes) -> None:
    body = start + b"data: a\ndata: b\n\n"
    assert data_of(body) == data_of(*bytewise(body)) == ["b"]


def test_a_character_may_be_split_anywhere() -> None:
    body = "data: é…😀\n\n".encode()
    for place in range(len(body) + 1):
        assert data_of(*cut(body, [place])) == ["é…😀"]


@pytest.mark.parametrize(
    "wrong",
    [
        b"\xff",
        b"\x80",
        b"\xc3",
        b"\xe2\x80",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf8",
    ],
)
def test_invalid_bytes_are_replaced_as_in_the_whole_stream(wrong: bytes) -> None:
    for body in (b"data: a" + wrong + b"b\n\n", b"data: " + wrong + b"\n\n"):
        whole = body.decode("utf-8", "replace").removeprefix("data: ").removesuffix("\n\n")
        assert "\N{REPLACEMENT CHARACTER}" in whole
        assert data_of(body) == data_of(*bytewise(body)) == [whole]


def test_empty_chunks_are_nothing() -> None:
    assert data_of(b"", b"data: a\n", b"", b"\n", b"") == ["a"]


def test_one_chunk_may_hold_many_events() -> None:
    assert data_of(b"".join(b"data: %d\n\n" % n for n in range(1000))) == [
        str(n) for n in range(1000)
    ]


# ---------------------------------------------------------------- ids


def test_without_an_id_the_one_given_at_first_is_kept() -> None:
    decoder = EventDecoder("41")
    assert decoder.last_event_id == "41"
    assert decoder.feed(b"data: a\n\n") == [event("a", id="41")]
    assert decoder.last_event_id == "41"


def test_an_id_is_committed_by_the_blank_line() -> None:
    decoder = EventDecoder("41")
    decoder.feed(b"id: 42\ndata: a\n")
    assert decoder.last_event_id == "41"
    decoder.feed(b"\n")
    assert decoder.last_event_id == "42"


def test_the_id_of_a_block_without_data_is_committed() -> None:
    decoder = EventDecoder("41")
    assert decoder.feed(b"id: 42\n\n") == []
    assert decoder.last_event_id == "42"


def test_an_empty_id_is_committed() -> None:
    decoder = EventDecoder("41")
    decoder.feed(b"id\n\n")
    assert decoder.last_event_id == ""


def test_has_id_says_whether_the_block_had_its_own() -> None:
    body = b"data:a\n\nid:1\ndata:b\n\ndata:c\n\nid\ndata:d\n\nid:\0\ndata:e\n\nid:2\n\ndata:f\n\n"
    assert [event.has_id for event in decode(body)] == [False, True, False, True, False, False]


def test_has_id_takes_no_part_in_comparisons() -> None:
    assert ServerSentEvent(data="a", has_id=True) == ServerSentEvent(data="a")


# ---------------------------------------------------------------- retry


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (b"0", 0),
        (b"1500", 1500),
        (b"007", 7),
        (b"000", 0),
        (b"999999999999999999", 10**18 - 1),
    ],
)
def test_retry_is_a_number_of_milliseconds(value: bytes, milliseconds: int) -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"retry: " + value + b"\ndata: a\n\n") == [event("a", retry=milliseconds)]
    assert decoder.retry == milliseconds


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b"-1", b"+1", b"1_000", b"1.5", b"1e3", b"0x10", b"5s", b" 5", b"5 ", b"\t5"),
        *(b"5\0", b"1 000", "\uff15".encode(), "\u0665".encode(), "²".encode(), b"\xff"),
    ],
)
def test_retry_takes_ascii_digits_only(value: bytes) -> None:
    decoder = EventDecoder()
    decoder.feed(b"retry: 7\n\n")
    assert decoder.feed(b"retry: " + value + b"\ndata: a\n\n") == [event("a", retry=None)]
    assert decoder.retry == 7


def test_retry_without_a_colon_is_ignored() -> None:
    decoder = EventDecoder()
    decoder.feed(b"retry\n\n")
    assert decoder.retry is None


def test_retry_takes_effect_with_its_line() -> None:
    decoder = EventDecoder()
    decoder.feed(b"retry: 70")
    assert decoder.retry is None
    decoder.feed(b"0\n")
    assert decoder.retry == 700


def test_an_absurd_retry_is_bounded() -> None:
    decoder = EventDecoder()
    for digits in (b"9" * 19, b"1" + b"0" * 18, b"9" * 5000):  # int() refuses the last
        decoder.feed(b"retry: " + digits + b"\n")
        assert decoder.retry == 10**18


def test_retry_belongs_to_the_event_of_its_block_only() -> None:
    first, second = decode(b"retry: 5\ndata: a\n\ndata: b\n\n")
    assert (first.retry, second.retry) == (5, None)


def test_retry_of_a_block_without_data_does_not_show_in_the_next_event() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"retry: 5\n\ndata: b\n\n") == [event("b", retry=None)]
    assert decoder.retry == 5


# ---------------------------------------------------------------- comments, and what is incomplete


def test_comments_are_told_and_counted_as_they_come() -> None:
    seen: list[str] = []
    decoder = EventDecoder(on_comment=seen.append)
    assert decoder.feed(b": keep") == []
    assert seen == []
    decoder.feed(b"-alive\n:\n:: x\ndata: a\n:\xff\n")
    assert seen == [" keep-alive", "", ": x", "\N{REPLACEMENT CHARACTER}"]
    assert decoder.comments == 4


def test_comments_are_counted_without_anyone_listening() -> None:
    decoder = EventDecoder()
    decoder.feed(b": a\n\n: b\n\n")
    assert decoder.comments == 2


def test_a_comment_inside_a_block_leaves_it_alone() -> None:
    assert data_of(b"data: a\n: comment\ndata: b\n\n") == ["a\nb"]


@pytest.mark.parametrize(
    ("body", "incomplete"),
    [
        (b"", False),
        (b"data: a\n\n", False),
        (b"data: a\r\r", False),
        (b": comment\n", False),
        (b"data: a\n\n\n", False),
        (BOM, False),
        (b"d", True),
        (b"data: a", True),
        (b"data: a\n", True),
        (b"id: 1\n", True),
        (b"unknown\n", True),
        (b"data: a\n\ndata: b\n", True),
        (b"\xef\xbb", True),
    ],
)
def test_incomplete_says_whether_a_block_has_begun(body: bytes, incomplete: bool) -> None:
    decoder = EventDecoder()
    decoder.feed(body)
    assert decoder.incomplete is incomplete


# ---------------------------------------------------------------- limits


def fed(decoder: EventDecoder, *chunks: bytes) -> tuple[list[ServerSentEvent], bool]:
    """The events, those on the error too, and whether there was an error."""
    events: list[ServerSentEvent] = []
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
    except EventTooLarge as error:
        return events + error.events, True
    return events, False


LIMIT = 20
AT_THE_LIMIT = [
    b"data: 34567890123456\n\n",  # one line of 20 bytes
    b"data: 7890\ndata:67890\n\n",  # 10 + 10
    b": 345678901234567890\n",
    b"id: 5678901234567890\n\n",
    b"x2345678901234567890\n\n",
]


@pytest.mark.parametrize("body", AT_THE_LIMIT)
@pytest.mark.parametrize("into", [lambda body: [body], bytewise])
def test_what_is_as_long_as_the_limit_passes(
    body: bytes, into: Callable[[bytes], list[bytes]]
) -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    for _ in range(3):  # it is the length of one event, not of all
        assert fed(decoder, *into(body)) == (reference(body).events, False)


@pytest.mark.parametrize("body", AT_THE_LIMIT)
@pytest.mark.parametrize("into", [lambda body: [body], bytewise])
def test_one_byte_more_is_too_large(body: bytes, into: Callable[[bytes], list[bytes]]) -> None:
    first_line, rest = body.split(b"\n", 1)
    chunks = into(first_line + b"+\n" + rest)
    assert fed(EventDecoder(max_event_bytes=LIMIT), *chunks) == ([], True)


def test_an_unfinished_line_is_too_large_before_its_end() -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    decoder.feed(b"data: 34567890123456")
    with pytest.raises(EventTooLarge):
        decoder.feed(b"7")


def test_an_event_of_many_lines_is_bounded() -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    assert decoder.feed(b"data:\n" * 4) == []
    with pytest.raises(EventTooLarge):
        decoder.feed(b"data:\n")


def test_many_small_events_have_no_bound() -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    assert len(decoder.feed(b"data: 12345\n\n" * 1000)) == 1000


def test_many_short_lines_of_other_kinds_have_no_bound() -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    assert decoder.feed(b": 12345\nid: 12345\nevent: 12345\nunknown: 12345\n" * 1000) == []


def test_a_comment_after_data_is_not_added_to_the_event() -> None:
    body = b"data: 7890123456\n: 345678901\n\n"
    for chunks in ([body], bytewise(body)):
        assert fed(EventDecoder(max_event_bytes=LIMIT), *chunks) == ([event("7890123456")], False)


def test_the_error_carries_the_events_before_it() -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    with pytest.raises(EventTooLarge) as raised:
        decoder.feed(b"id: 1\ndata: a\n\ndata: b\n\ndata: " + b"x" * LIMIT + b"\n\ndata: c\n\n")
    assert raised.value.events == [event("a", id="1"), event("b", id="1")]
    assert raised.value.limit == LIMIT
    assert str(raised.value) == "an event is longer than max_event_bytes=20"
    assert decoder.last_event_id == "1"


@pytest.mark.parametrize("cut_at", [0, 5, 12])
def test_after_the_error_it_holds_nothing(cut_at: int) -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    assert fed(decoder, *cut(b"data: a\ndata: " + b"x" * LIMIT, [cut_at])) == ([], True)
    assert not decoder.incomplete


def test_after_the_error_it_raises_again() -> None:
    decoder = EventDecoder(max_event_bytes=LIMIT)
    for chunk in (b"x" * (LIMIT + 1), b"", b"\n\ndata: a\n\n"):
        with pytest.raises(EventTooLarge) as raised:
            decoder.feed(chunk)
        assert raised.value.events == []


@settings(deterministic, max_examples=300)
@given(bodies, cuts, st.integers(1, 30))
def test_what_is_too_large_does_not_depend_on_the_cut(
    body: bytes, places: list[int], limit: int
) -> None:
    whole, pieces = (EventDecoder(max_event_bytes=limit) for _ in range(2))
    assert fed(whole, body) == fed(pieces, *cut(body, places))


@settings(deterministic, max_examples=100)
@given(bodies, cuts)
def test_under_the_limit_there_is_no_error(body: bytes, places: list[int]) -> None:
    decoder = EventDecoder(max_event_bytes=max(1, len(body)))
    assert fed(decoder, *cut(body, places)) == (reference(body).events, False)


def test_the_default_limit_is_16_mib() -> None:
    assert DEFAULT_MAX_EVENT_BYTES == EventDecoder().max_event_bytes == 16 * 1024 * 1024


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=f"max_event_bytes must be at least 1, not {limit}"):
        EventDecoder(max_event_bytes=limit)


def test_an_event_of_15_mib_may_come_in_128_byte_chunks() -> None:
    # Were each chunk joined to the ones before it, this would copy a terabyte, and the suite's
    # own time limit would end it.
    text = "0123456789abcdef" * 8
    decoder = EventDecoder()
    decoder.feed(b"data: ")
    for _ in range(15 * 1024 * 1024 // len(text)):
        assert not decoder.feed(text.encode())
    [big] = decoder.feed(b"\n\n")
    whole = big.data == text * (15 * 1024 * 1024 // len(text))
    assert whole  # and not the two texts themselves, which would have to be printed


# ---------------------------------------------------------------- the event


def test_an_event_is_a_frozen_value() -> None:
    assert ServerSentEvent() == ServerSentEvent(event="message", data="", id="", retry=None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ServerSentEvent().data = "x"  # type: ignore[misc]
