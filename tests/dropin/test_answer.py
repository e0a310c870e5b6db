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
        typed("response.output_item.added", item={"type": "reasoning"}),
        typed("response.output_item.added", item={"type": "message"}),
        typed("response.output_item.done", item={"type": ["?"]}),
        typed("response.content_part.added", part={"type": "output_text", "text": ""}),
        typed("response.reasoning_summary_part.added"),
        typed("response.web_search_call.searching"),
        typed("response.output_text.delta", delta=""),
        typed("response.of_a_later_time.begun"),
        typed("content_block_start", content_block={"type": "thinking", "thinking": ""}),
        typed("content_block_start", content_block={"type": "text", "text": ""}),
        typed("content_block_stop"),
        typed("content_block_delta", delta={"type": "signature_delta", "signature": "x"}),
        typed("content_block_delta", delta={"type": "input_json_delta", "partial_json": ""}),
        event({"id": "run_1", "object": "thread.run"}, "thread.run.in_progress"),
        typed("message_start") + typed("of_a_later_time") + "data: not JSON\n\n",
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
        typed("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{"}),
        typed("response.reasoning_summary_text.delta", delta="a"),
        typed("response.output_text.delta", delta="a"),
        typed("response.function_call_arguments.delta", delta="{"),
        typed("response.image_generation_call.partial_image", partial_image_b64="AA"),
        typed("content_block_delta", delta={"type": "thinking_delta", "thinking": "a"}),
        event({"delta": {"content": [{"type": "text"}]}}, "thread.message.delta"),
        typed("speech.audio.delta", audio="AA"),
        typed("one.of.an.unknown.api"),
        event({"type": {"no": "name"}}),
        event({"choices": [{"index": [], "delta": {"content": "a"}}]}),
        "data: not JSON\n\n",
        "data: 7\n\n",
        "data: " + "[" * 100_000 + "\n\n",
    ],
)
def test_with_content(piece):
    assert watch(piece).has_content


TEXT_DELTA = typed("response.output_text.delta", delta="a")
TEXT_BLOCK_DELTA = typed("content_block_delta", delta={"type": "text_delta", "text": "a"})


def added(kind) -> str:
    return typed("response.output_item.added", item={"type": kind})


def block(kind) -> str:
    return typed("content_block_start", content_block={"type": kind})


def delta_of(kind, **fields) -> str:
    return typed("content_block_delta", delta={"type": kind, **fields})


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((TEXT_DELTA,), False),
        ((TEXT_DELTA, added("reasoning")), True),
        ((TEXT_DELTA, added("web_search_call")), True),
        (
            (TEXT_DELTA, added("mcp_call"), typed("response.mcp_call_arguments.delta", delta="{")),
            True,
        ),
        ((TEXT_DELTA, added("of_a_later_time")), True),
        ((TEXT_DELTA, added("message")), False),
        ((TEXT_DELTA, added("function_call")), False),
        ((added("reasoning"), typed("response.output_item.done"), added("message")), True),
        ((added("reasoning"), typed("response.reasoning_summary_text.delta", delta="a")), True),
        ((added("reasoning"), typed("response.reasoning_text.delta", delta="a")), False),
        ((added("reasoning"), typed("response.output_text.delta", delta="")), True),
        ((added("reasoning"), added("message"), TEXT_DELTA), False),
        ((typed("response.reasoning_summary_text.delta", delta="a"),), True),
        ((TEXT_BLOCK_DELTA,), False),
        ((TEXT_BLOCK_DELTA, block("text")), False),
        ((TEXT_BLOCK_DELTA, block("thinking")), True),
        ((block("thinking"), delta_of("thinking_delta", thinking="")), True),
        ((block("thinking"), delta_of("thinking_delta", thinking="a")), False),
        ((block("thinking"), delta_of("signature_delta", signature="a")), True),
        ((block("tool_use"), delta_of("input_json_delta", partial_json="{")), True),
        ((block("server_tool_use"), typed("content_block_stop")), True),
        ((block("web_search_tool_result"), block("text")), True),
        ((block("web_search_tool_result"), block("text"), TEXT_BLOCK_DELTA), False),
        ((block("tool_use"), typed("message_delta", delta={"stop_reason": "tool_use"})), False),
    ],
)
def test_where_silence_is_expected(pieces, expected):
    assert watch(*pieces).silence_expected is expected


def test_what_is_progress():
    made = watch(typed("response.created"))
    assert not made.feed(added("message").encode())  # before any content
    assert made.feed(TEXT_DELTA.encode())
    assert made.feed(added("reasoning").encode())
    assert made.feed(typed("response.web_search_call.searching").encode())
    for piece in (COMMENT, typed("keepalive"), typed("response.output_text.delta", delta="")):
        assert not made.feed(piece.encode())


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
        "event: message_stop\ndata: no JSON\n\n",
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
