"""What is read out of the events of each provider."""

from __future__ import annotations

import pytest

from moored.core.sse import EventTooLarge
from moored.dropin.answer import MAX_TEXT_CHARACTERS, AnswerWatch, total_tokens
from moored.transports.content_coding import UnknownCoding

from .support import ANSWER, COMMENT, DONE, ROLE, STOP, USAGE, chunk, event, zipped


def watch(*pieces, choices=1, coding="", max_event_bytes=1 << 20) -> AnswerWatch:
    made = AnswerWatch(coding=coding, choices=choices, max_event_bytes=max_event_bytes)
    for piece in pieces:
        made.feed(piece.encode() if isinstance(piece, str) else piece)
    return made


def typed(kind, **fields) -> str:
    return event({"type": kind, **fields}, kind)


@pytest.mark.parametrize(
    "piece",
    [
        COMMENT,
        ROLE,
        chunk(),
        chunk(content=None, tool_calls=None, refusal=""),
        event({"choices": [], "prompt_filter_results": [{"x": 1}]}),
        event({"choices": [7]}),
        typed("ping"),
        "event: ping\ndata: {\n\n",
        typed("keepalive"),
        typed("message_start", message={"usage": {"input_tokens": 3}}),
        typed("response.created", response={"error": None, "usage": None}),
        typed("response.in_progress"),
        "data: {",
        "id: 7\n\n",
    ],
)
def test_without_content(piece):
    assert not watch(piece).has_content


@pytest.mark.parametrize(
    "piece",
    [
        chunk("a"),
        chunk(reasoning_content="a"),
        chunk(refusal="no"),
        chunk(tool_calls=[{"index": 0}]),
        STOP,
        USAGE,
        DONE,
        event({"choices": [{"index": 0, "text": "a"}]}),
        event({"error": {"message": "no"}}),
        typed("content_block_start"),
        typed("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{"}),
        typed("response.reasoning_summary_text.delta", delta="a"),
        typed("response.output_item.added"),
        "data: not JSON\n\n",
        "data: 7\n\n",
        "data: " + "[" * 100_000 + "\n\n",
    ],
)
def test_with_content(piece):
    assert watch(piece).has_content


@pytest.mark.parametrize(
    "piece",
    [
        DONE,
        "data:[DONE]\n\n",
        "event: done\ndata: [DONE]\n\n",
        event({"error": {"message": "no"}}),
        event({"message": "no"}, "error"),
        event({"type": "error", "code": "x", "message": "no"}),
        event({"choices": [], "error": {"code": 502}}),
        "event: error\ndata: no JSON\n\n",
        typed("message_stop"),
        typed("response.completed", response={"error": None}),
        typed("response.incomplete"),
        typed("response.failed", response={"error": {"code": "x"}}),
    ],
)
def test_terminators(piece):
    assert watch(piece).terminated


@pytest.mark.parametrize(
    "piece",
    [
        *ANSWER[:-1],
        typed("message_delta", delta={"stop_reason": "end_turn"}),
        typed("response.output_text.done", text="x"),
        typed("content_block_stop"),
        chunk("[DONE]"),
        chunk('{"error": 1}'),
        event({"choices": [], "error": None}),
    ],
)
def test_no_terminators(piece):
    assert not watch(piece).terminated


def test_a_finish_reason_for_each_choice():
    first, second = (chunk(finish="stop", index=i) for i in (0, 1))
    assert watch(ROLE, STOP).finished
    assert not watch(ROLE, chunk("a")).finished
    assert not watch(first, choices=2).finished
    assert watch(first, second, choices=2).finished
    # Also where fewer were asked for than come.
    assert not watch(first, chunk("b", index=1)).finished
    assert watch(second, chunk("b", index=1)).finished
    assert watch(first, chunk("b", index=1), second).finished


@pytest.mark.parametrize(
    ("piece", "finished"),
    [
        (typed("message_delta", delta={"stop_reason": "max_tokens"}), True),
        (typed("message_delta", delta={"stop_reason": None}), False),
        (typed("message_delta"), False),
        (typed("transcript.text.done", text="x"), True),
        (typed("image_generation.completed"), True),
        (event({"choices": [{"text": "", "finish_reason": "length"}]}), True),
    ],
)
def test_other_finishes(piece, finished):
    assert watch(piece).finished is finished


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (ANSWER, "Hello"),
        ((chunk("a"), chunk("x", index=1), chunk("b")), "ab"),
        ((event({"choices": [{"text": "a"}]}), event({"choices": [{"text": "b"}]})), "ab"),
        (
            (
                typed("content_block_delta", delta={"type": "text_delta", "text": "a"}),
                typed("content_block_delta", delta={"type": "thinking_delta", "thinking": "x"}),
                typed("content_block_delta", delta={"type": "text_delta", "text": "b"}),
            ),
            "ab",
        ),
        ((typed("response.output_text.delta", delta="a"), typed("x", delta="c")), "a"),
        ((chunk(reasoning_content="hm"), chunk(["a"]), typed("content_block_delta")), ""),
    ],
)
def test_the_text(pieces, text):
    assert watch(*pieces).text == text


def test_the_text_is_bounded():
    made = AnswerWatch(max_event_bytes=1 << 30)
    for _ in range(3):
        made.feed(chunk("x" * (MAX_TEXT_CHARACTERS // 2 + 1)).encode())
    assert len(made.text) == MAX_TEXT_CHARACTERS


@pytest.mark.parametrize(
    ("pieces", "tokens"),
    [
        ((ROLE, STOP, USAGE, DONE), 7),
        ((chunk("a", usage={"prompt_tokens": 1, "completion_tokens": 1}), USAGE), 7),
        ((ROLE, STOP, DONE), None),
        ((chunk("a", usage={}),), None),
        ((event({"choices": [], "usage": "many"}),), None),
        (
            (
                typed("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}}),
                typed("message_delta", usage={"output_tokens": 5}),
            ),
            14,
        ),
        ((typed("response.completed", response={"usage": {"total_tokens": 12}}),), 12),
    ],
)
def test_the_usage(pieces, tokens):
    assert watch(*pieces).tokens == tokens


@pytest.mark.parametrize("usage", [None, [], {}, {"total_tokens": True}, {"total_tokens": -1}])
def test_no_usage(usage):
    assert total_tokens(usage) is None


def test_any_cut_gives_the_same():
    text = "".join(ANSWER).encode()
    for size in (1, 2, 3, 7, 50):
        made = watch(*(text[i : i + size] for i in range(0, len(text), size)))
        assert (made.events, made.text, made.tokens) == (6, "Hello", 7)
        assert made.terminated
        assert made.finished
        assert not made.inside_event


def test_inside_an_event():
    assert watch(ROLE, 'data: {"x').inside_event
    assert not watch(ROLE, COMMENT[:-1]).inside_event
    body = zipped("".join(ANSWER))
    assert watch(body[:-9], coding="gzip").inside_event
    assert not watch(body, coding="gzip").inside_event


def test_what_inflates_is_read_whole():
    made = watch(zipped("".join([chunk("x" * 1000)] * 3000)), coding="gzip")
    assert made.events == 3000
    with pytest.raises(UnknownCoding):
        watch(coding="br")


def test_the_bound_on_an_event():
    with pytest.raises(EventTooLarge):
        watch(chunk("x" * 1000), max_event_bytes=1000)
