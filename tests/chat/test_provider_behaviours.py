"""What providers do, and exactly what comes of it: one row for each behaviour, over each transport.

The clock is virtual, so that ten minutes of keep-alive take none.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from moored import chat

from .support import (
    ASK,
    CUT,
    DONE,
    END,
    HANG,
    ROLE,
    STOP,
    USAGE,
    Comments,
    Event,
    Status,
    Wait,
    chunk,
    say,
)

BOTH = ("sse", "websocket")
SSE = ("sse",)
HELLO = [ROLE, say("Hel"), say("lo")]
CLEAN = [*HELLO, STOP, USAGE, DONE, END]
REPORTED = chat.Usage(5, 2)
ERROR = {"message": "boom", "type": "invalid_request_error", "code": None}
BUSY = {"message": "busy", "type": "server_error", "code": None}


def call(index, id=None, name=None, arguments="", choice=0):
    """A chunk with a fragment of a tool call."""
    body: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        body["index"] = index
    if id is not None:
        body |= {"id": id, "type": "function"}
    if name is not None:
        body["function"]["name"] = name
    return chunk({"tool_calls": [body]}, choice=choice)


WEATHER = '{"city": "Oslo", "unit": "°C"}'
CALLS = chunk(finish="tool_calls")


def split_at(place):
    """A tool call whose arguments are split at ``place``."""
    pieces = [WEATHER[:place], WEATHER[place:]]
    return [ROLE, call(0, "t1", "weather"), *(call(0, arguments=p) for p in pieces), CALLS, DONE]


@attrs.frozen(kw_only=True)
class Row:
    """A behaviour, and what is expected of the reply.

    :ivar scripts: what the provider does, one script for each connection.
    :ivar error: the error, or ``None`` for a complete answer.
    :ivar fields: attributes of the error.
    :ivar at: the virtual time at which the reply ended; ``None`` where jitter decides.
    """

    name: str
    scripts: list[Any]
    over: tuple[str, ...] = BOTH
    text: str = "Hello"
    finish: str | None = "stop"
    usage: chat.Usage | None = None
    error: type[Exception] | None = None
    fields: dict[str, Any] = attrs.field(factory=dict)
    attempts: int = 1
    at: float | None = None
    answer: dict[str, Any] = attrs.field(factory=dict)
    tools: list[tuple[str, str, str]] = attrs.field(factory=list)
    endpoint: dict[str, Any] = attrs.field(factory=dict)
    settings: dict[str, Any] = attrs.field(factory=dict)
    ask: dict[str, Any] = attrs.field(factory=dict)


TRUNCATED = {"error": chat.StreamTruncated, "finish": None}

ROWS = [
    # ------------------------------------------------------------------ good ends
    Row(name="clean", scripts=[CLEAN], usage=REPORTED, at=0),
    Row(
        name="no end of the body after [DONE]", scripts=[[*CLEAN[:-1], HANG]], usage=REPORTED, at=0
    ),
    Row(name="cut after [DONE]", scripts=[[*CLEAN[:-1], CUT]], usage=REPORTED, at=0),
    Row(name="no [DONE]", scripts=[[*HELLO, STOP, END]], at=0),
    Row(name="no [DONE], and the connection stays", scripts=[[*HELLO, STOP, HANG]], at=5),
    Row(name="cut after the finish reason", scripts=[[*HELLO, STOP, CUT]], at=0),
    Row(name="no finish reason", scripts=[[*HELLO, DONE, END]], finish=None, at=0),
    Row(name="[DONE] alone", scripts=[[DONE, END]], text="", finish=None, at=0),
    Row(
        name="the finish reason together with the last text",
        scripts=[[ROLE, say("Hello", finish="length"), DONE]],
        finish="length",
    ),
    Row(name="an empty finish reason is none", scripts=[[*HELLO, chunk(finish=""), STOP, DONE]]),
    Row(
        name="a finish reason nobody knows",
        scripts=[[*HELLO, chunk(finish="ran_aground"), DONE]],
        finish="ran_aground",
    ),
    Row(name="white space around [DONE]", scripts=[[*HELLO, STOP, " [DONE] "]], over=SSE, at=0),
    # ------------------------------------------------------------------ truncation
    Row(
        name="truncated before content, then fine",
        scripts=[[ROLE, CUT], CLEAN],
        usage=REPORTED,
        attempts=2,
    ),
    Row(
        name="truncated before content, always",
        scripts=[[ROLE, CUT]],
        text="",
        attempts=5,
        **TRUNCATED,
    ),
    Row(
        name="truncated before content, and no reconnecting",
        scripts=[[ROLE, CUT], CLEAN],
        text="",
        settings={"reconnect_before_content": False},
        **TRUNCATED,
    ),
    Row(name="truncated after content by a cut", scripts=[[*HELLO, CUT]], at=0, **TRUNCATED),
    Row(name="truncated after content in good order", scripts=[[*HELLO, END]], at=0, **TRUNCATED),
    Row(
        name="truncated inside of a chunk",
        scripts=[[*HELLO, b'data: {"choices": [{"in', CUT]],
        over=SSE,
        **TRUNCATED,
    ),
    Row(
        name="an empty answer in good order",
        scripts=[[END]],
        text="",
        attempts=5,
        **TRUNCATED,
    ),
    Row(
        name="the finish reason alone does not do where both are asked for",
        scripts=[[*HELLO, STOP, END]],
        endpoint={"end": "both"},
        error=chat.StreamTruncated,
    ),
    Row(
        name="[DONE] alone does not do where both are asked for",
        scripts=[[*HELLO, DONE, END]],
        endpoint={"end": "both"},
        **TRUNCATED,
    ),
    Row(
        name="[DONE] alone does not do where the finish reason is asked for",
        scripts=[[*HELLO, DONE, END]],
        endpoint={"end": "finish_reason"},
        **TRUNCATED,
    ),
    Row(
        name="one of two choices unfinished",
        scripts=[[say("a"), say("b", choice=1), STOP, END]],
        text="a",
        ask={"n": 2},
        error=chat.StreamTruncated,
    ),
    # ------------------------------------------------------------------ stalls
    Row(
        name="stall before content, then fine",
        scripts=[[ROLE, HANG], CLEAN],
        usage=REPORTED,
        attempts=2,
    ),
    Row(
        name="stall before content, with comments",
        scripts=[[Comments(3600)]],
        text="",
        finish=None,
        error=chat.FirstTokenTimeout,
        fields={"seconds": 600.0},
        attempts=5,
    ),
    Row(
        name="no answer at all",
        scripts=[[HANG]],
        text="",
        finish=None,
        error=chat.FirstTokenTimeout,
        settings={"first_token_timeout": 30.0},
        fields={"seconds": 30.0},
        attempts=5,
    ),
    Row(
        name="stall after content, without comments",
        scripts=[[*HELLO, HANG]],
        finish=None,
        error=chat.ProgressTimeout,
        fields={"seconds": 60.0},
        at=60,
    ),
    Row(
        name="stall after content, with comments",
        scripts=[[*HELLO, Comments(3600)]],
        finish=None,
        error=chat.ProgressTimeout,
        fields={"seconds": 60.0},
        at=60,
    ),
    Row(
        name="stall after content, with chunks that say nothing",
        scripts=[[*HELLO, *[Wait(10), chunk()] * 30]],
        finish=None,
        error=chat.ProgressTimeout,
        at=60,
    ),
    Row(
        name="ten minutes less a little of keep-alive before the first token",
        scripts=[[ROLE, Comments(590), *CLEAN[1:]]],
        usage=REPORTED,
        at=590,
    ),
    Row(
        name="ten minutes of keep-alive, where it may take twenty",
        scripts=[[Comments(600), *CLEAN]],
        usage=REPORTED,
        settings={"first_token_timeout": 1200.0},
        at=600,
    ),
    Row(
        name="comments keep the peer alive",
        scripts=[[ROLE, Comments(100, every=15), *CLEAN[1:]]],
        over=SSE,
        usage=REPORTED,
        settings={"liveness_timeout": 20.0},
        at=105,
    ),
    Row(
        name="not a byte",
        scripts=[[*HELLO, HANG]],
        over=SSE,
        finish=None,
        error=chat.LivenessTimeout,
        settings={"liveness_timeout": 20.0},
        at=20,
    ),
    Row(
        name="not even an answer's head",
        scripts=[[HANG]],
        over=SSE,
        text="",
        finish=None,
        error=chat.LivenessTimeout,
        settings={"liveness_timeout": 20.0},
        attempts=5,
    ),
    Row(
        name="slow but sure",
        scripts=[[ROLE, *[Wait(50), say("x")] * 10, STOP, DONE]],
        text="x" * 10,
        at=500,
    ),
    Row(
        name="slow, and bounded in all",
        scripts=[[ROLE, *[Wait(50), say("x")] * 10, STOP, DONE]],
        text="x" * 4,
        finish=None,
        error=chat.TotalTimeout,
        settings={"total_timeout": 225.0},
        fields={"seconds": 225.0},
        at=225,
    ),
    # ------------------------------------------------------------------ errors in the stream
    Row(
        name="an error without a name",
        scripts=[[*HELLO, json.dumps({"error": ERROR}), DONE]],
        finish=None,
        error=chat.ProviderStreamError,
        fields={"body": ERROR, "type": "invalid_request_error"},
        at=0,
    ),
    Row(
        name="an error with a name",
        scripts=[[*HELLO, Event(json.dumps({"error": ERROR}), "error"), DONE]],
        finish=None,
        error=chat.ProviderStreamError,
        fields={"body": ERROR},
    ),
    Row(
        name="an error with a name and no JSON",
        scripts=[[*HELLO, Event("upstream went away", "error"), DONE]],
        over=SSE,
        finish=None,
        error=chat.ProviderStreamError,
        fields={"body": "upstream went away"},
    ),
    Row(
        name="an error of its own type",
        scripts=[[*HELLO, json.dumps({"type": "error", "error": ERROR})]],
        finish=None,
        error=chat.ProviderStreamError,
        fields={"body": ERROR},
    ),
    Row(
        name="vLLM's error",
        scripts=[[*HELLO, json.dumps({"object": "error", "message": "boom", "code": 400})]],
        finish=None,
        error=chat.ProviderStreamError,
        fields={"code": 400},
    ),
    Row(
        name="an error inside of a choice",
        scripts=[
            [
                *HELLO,
                json.dumps({"choices": [{"index": 0, "delta": {}, "error": {"code": 502}}]}),
            ]
        ],
        finish=None,
        error=chat.ProviderStreamError,
        fields={"code": 502},
    ),
    Row(name="an error that is null", scripts=[[*HELLO, chunk(finish="stop", error=None), DONE]]),
    Row(
        name="a passing error before content, then fine",
        scripts=[[ROLE, json.dumps({"error": BUSY})], CLEAN],
        usage=REPORTED,
        attempts=2,
    ),
    Row(
        name="a lasting error before content",
        scripts=[[ROLE, json.dumps({"error": ERROR})], CLEAN],
        text="",
        finish=None,
        error=chat.ProviderStreamError,
    ),
    Row(
        name="an error after the end",
        scripts=[[*HELLO, STOP, json.dumps({"error": ERROR})]],
    ),
    # ------------------------------------------------------------------ bad JSON
    Row(
        name="bad JSON in one chunk",
        scripts=[[*HELLO, '{"choices": [', say("!"), STOP, DONE]],
        finish=None,
        error=chat.MalformedChunk,
        fields={"chunk": '{"choices": ['},
    ),
    Row(
        name="bad JSON in one chunk, skipped",
        scripts=[[*HELLO, '{"choices": [', say("!"), STOP, DONE]],
        endpoint={"malformed": "skip"},
        text="Hello!",
        answer={"malformed_chunks": 1},
    ),
    Row(
        name="JSON that is no object",
        scripts=[[*HELLO, "[1, 2]", STOP, DONE]],
        finish=None,
        error=chat.MalformedChunk,
    ),
    # ------------------------------------------------------------------ usage
    Row(
        name="usage early, and again late",
        scripts=[[ROLE, USAGE.replace("2}", "0}"), *CLEAN[1:]]],
        usage=REPORTED,
    ),
    Row(
        name="usage in every chunk",
        scripts=[
            [
                say("Hel", usage={"prompt_tokens": 5, "completion_tokens": 1}),
                say("lo", usage={"prompt_tokens": 5, "completion_tokens": 2}),
                STOP,
                DONE,
            ]
        ],
        usage=REPORTED,
    ),
    Row(
        name="usage late",
        scripts=[[*HELLO, STOP, Wait(3), USAGE, DONE]],
        usage=REPORTED,
        at=3,
    ),
    Row(name="usage absent", scripts=[[*HELLO, STOP, DONE]], usage=None),
    Row(name="usage null", scripts=[[*HELLO, chunk(finish="stop", usage=None), DONE]]),
    # ------------------------------------------------------------------ tool calls
    *(
        Row(
            name=f"a tool call split at {place}",
            scripts=[split_at(place)],
            over=SSE,
            text="",
            finish="tool_calls",
            tools=[("t1", "weather", WEATHER)],
        )
        for place in range(len(WEATHER) + 1)
    ),
    Row(
        name="two tool calls, interleaved",
        scripts=[
            [
                call(0, "t1", "a", "{"),
                call(1, "t2", "b", "["),
                call(0, arguments="}"),
                call(1, arguments="]"),
                CALLS,
                DONE,
            ]
        ],
        text="",
        finish="tool_calls",
        tools=[("t1", "a", "{}"), ("t2", "b", "[]")],
    ),
    Row(
        name="tool calls without an index",
        scripts=[
            [
                call(None, "t1", "a", "{"),
                call(None, arguments="}"),
                call(None, "t2", "b", "[]"),
                CALLS,
                DONE,
            ]
        ],
        text="",
        finish="tool_calls",
        tools=[("t1", "a", "{}"), ("t2", "b", "[]")],
    ),
    Row(
        name="every tool call with index 0",
        scripts=[[call(0, "t1", "a", "{}"), call(0, "t2", "b", "[]"), CALLS, DONE]],
        text="",
        finish="tool_calls",
        tools=[("t1", "a", "{}"), ("t2", "b", "[]")],
    ),
    Row(
        name="the id in every fragment",
        scripts=[[call(0, "t1", "a", "{"), call(0, "t1", None, "}"), CALLS, DONE]],
        text="",
        finish="tool_calls",
        tools=[("t1", "a", "{}")],
    ),
    Row(
        name="a tool call cut",
        scripts=[[ROLE, call(0, "t1", "weather", '{"city": "Os'), CUT]],
        text="",
        tools=[("t1", "weather", '{"city": "Os')],
        **TRUNCATED,
    ),
    Row(
        name="a call by the old name",
        scripts=[
            [
                chunk({"function_call": {"name": "a", "arguments": "{"}}),
                chunk({"function_call": {"arguments": "}"}}),
                chunk(finish="function_call"),
                DONE,
            ]
        ],
        text="",
        finish="function_call",
        tools=[("", "a", "{}")],
    ),
    # ------------------------------------------------------------------ choices, reasoning, refusal
    Row(
        name="two choices, interleaved",
        scripts=[
            [
                say("a", choice=1),
                say("A"),
                say("b", choice=1),
                say("B"),
                STOP,
                chunk(finish="length", choice=1),
                DONE,
            ]
        ],
        text="AB",
        ask={"n": 2},
    ),
    Row(
        name="reasoning first",
        scripts=[
            [chunk({"reasoning_content": "Hm"}), Wait(50), chunk({"reasoning": "m."}), *CLEAN]
        ],
        usage=REPORTED,
        answer={"reasoning": "Hmm."},
        at=50,
    ),
    Row(
        name="reasoning by both names counts once",
        scripts=[[chunk({"reasoning_content": "Hm", "reasoning": "Hm"}), *CLEAN]],
        usage=REPORTED,
        answer={"reasoning": "Hm"},
    ),
    Row(
        name="reasoning as parts",
        scripts=[
            [
                chunk(
                    {
                        "content": [
                            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                            {"type": "text", "text": "Hello"},
                        ]
                    }
                ),
                STOP,
                DONE,
            ]
        ],
        answer={"reasoning": "Hm"},
    ),
    Row(
        name="a refusal",
        scripts=[[chunk({"refusal": "I "}), chunk({"refusal": "won't."}), STOP, DONE]],
        text="",
        answer={"refusal": "I won't."},
    ),
    Row(
        name="filtered",
        scripts=[[say("Hello"), chunk(finish="content_filter"), DONE]],
        finish="content_filter",
    ),
    Row(
        name="Azure's first chunk",
        scripts=[[json.dumps({"choices": [], "prompt_filter_results": []}), *CLEAN]],
        usage=REPORTED,
    ),
    # ------------------------------------------------------------------ statuses
    Row(
        name="429 twice, then fine",
        scripts=[Status(429), Status(429), CLEAN],
        usage=REPORTED,
        attempts=3,
    ),
    Row(
        name="429 thrice, then fine",
        scripts=[Status(429), Status(429), Status(429), CLEAN],
        usage=REPORTED,
        attempts=4,
    ),
    Row(
        name="429 for ever",
        scripts=[Status(429, ("Retry-After: 7",))],
        text="",
        finish=None,
        error=chat.RequestRejected,
        fields={"status": 429, "retry_after": 7.0},
        attempts=5,
    ),
    Row(name="503, then fine", scripts=[Status(503), CLEAN], usage=REPORTED, attempts=2),
    *(
        Row(name=f"{s}, then fine", scripts=[Status(s), CLEAN], usage=REPORTED, attempts=2)
        for s in (408, 409, 425, 500, 502, 504, 529)
    ),
    *(
        Row(
            name=f"{s}",
            scripts=[Status(s, body=b'{"error": {"message": "no"}}'), CLEAN],
            text="",
            finish=None,
            error=chat.RequestRejected,
            fields={"status": s, "body": b'{"error": {"message": "no"}}'},
        )
        for s in (400, 401, 403, 404, 422)
    ),
    Row(
        name="400 that should be retried",
        scripts=[Status(400, ("x-should-retry: true",)), CLEAN],
        usage=REPORTED,
        attempts=2,
    ),
    Row(
        name="500 that should not be retried",
        scripts=[Status(500, ("x-should-retry: false",)), CLEAN],
        text="",
        finish=None,
        error=chat.RequestRejected,
    ),
    Row(
        name="an answer that is no stream",
        scripts=[Status(200, ("Content-Type: text/html",), b"<html>"), CLEAN],
        text="",
        finish=None,
        error=chat.RequestRejected,
        over=SSE,
    ),
]

CASES = [
    pytest.param(row, transport, id=f"{transport}: {row.name}")
    for row in ROWS
    for transport in row.over
]


@pytest.mark.parametrize(("row", "transport"), CASES)
async def test_the_outcome(clock, provider, row, transport):
    provider.plays(*row.scripts)
    error = None
    text = ""
    settings = chat.Settings(**row.settings)
    async with (
        provider.client(settings=settings, **row.endpoint) as client,
        client.stream(**ASK, **row.ask) as reply,
    ):
        try:
            async for piece in reply.text():
                text += piece
        except chat.ChatError as exc:
            error = exc
        ended = clock.current_time()
    assert type(error) is (row.error or type(None)), error
    assert text == reply.answer.text == row.text
    assert reply.finish_reason == row.finish
    assert reply.usage == row.usage
    assert reply.attempts == row.attempts
    assert [(c.id, c.name, c.arguments) for c in reply.answer.tool_calls] == row.tools
    assert {name: getattr(reply.answer, name) for name in row.answer} == row.answer
    if error is not None:
        assert {name: getattr(error, name) for name in row.fields} == row.fields
        assert error.answer is reply.answer
        assert len(error.earlier) == row.attempts - 1
    if row.at is not None:
        assert ended == pytest.approx(row.at, abs=0.01)
    assert "sk-secret" not in f"{error!r} {error} {reply!r} {client!r}"


def test_there_are_forty_of_them():
    assert len({row.name for row in ROWS}) >= 40
