"""What happens when an answer is cut after its content has begun, as the user chose."""

from __future__ import annotations

import json

import pytest

from moored import chat

from .support import ASK, CUT, DONE, END, HANG, ROLE, STOP, USAGE, Event, Status, chunk, say

HELLO = [ROLE, say("Hel"), say("lo")]
CLEAN = [*HELLO, STOP, USAGE, DONE, END]
PREFILL = chat.Capabilities(prefill="assistant")
RESUMES = chat.Capabilities(resume=True)


async def events_of(reply):
    """The events, and the error that ended them."""
    events = []
    try:
        async for event in reply:
            events.append(event)
    except chat.ReplyError as exc:
        return events, exc
    return events, None


async def outcome(provider, *, ask=None, **options):
    async with provider.client(**options) as client, client.stream(**ASK, **(ask or {})) as reply:
        events, error = await events_of(reply)
    return reply, events, error


# ---------------------------------------------------------------------------- raise


async def test_the_partial_answer_comes_with_the_error(clock, provider):
    provider.plays([*HELLO, CUT], CLEAN)
    reply, events, error = await outcome(provider)
    assert isinstance(error, chat.StreamTruncated)
    assert error.answer.text == "Hello"
    assert events == [chat.Text("Hel"), chat.Text("lo")]
    assert len(provider.requests) == 1
    assert reply.failures == (error,)


# ---------------------------------------------------------------------------- restart


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_restart_says_what_to_discard(clock, provider, transport):
    provider.plays([ROLE, say("Hallo"), CUT], CLEAN)
    reply, events, error = await outcome(provider, on_interrupt="restart")
    assert error is None
    [place] = [n for n, each in enumerate(events) if isinstance(each, chat.Restarted)]
    restarted = events[place]
    assert restarted.discarded.text == "Hallo"
    assert isinstance(restarted.cause, chat.StreamTruncated)
    assert restarted.attempt == 2
    assert "".join(e.text for e in events[place:] if isinstance(e, chat.Text)) == "Hello"
    assert reply.answer.text == "Hello"
    assert provider.requests[0] == provider.requests[1]


async def test_a_restart_after_a_stall(clock, provider):
    provider.plays([*HELLO, HANG], CLEAN)
    reply, _, error = await outcome(provider, on_interrupt="restart")
    assert (error, reply.answer.text) == (None, "Hello")
    assert [type(each) for each in reply.failures] == [chat.ProgressTimeout]


async def test_the_text_iterator_does_not_splice_a_restart(clock, provider):
    provider.plays([*HELLO, CUT], CLEAN)
    got = ""
    async with (
        provider.client(on_interrupt="restart") as client,
        client.stream(**ASK) as reply,
    ):
        with pytest.raises(chat.AnswerRestarted) as caught:
            async for piece in reply.text():
                got += piece
    assert got == "Hello"
    assert caught.value.answer.text == "Hello"


async def test_complete_has_only_the_new_answer(clock, provider):
    provider.plays([ROLE, say("Hallo"), CUT], CLEAN)
    async with provider.client(on_interrupt="restart") as client:
        answer = await client.complete(**ASK)
    assert answer.text == "Hello"


async def test_a_restart_that_is_refused_at_first(clock, provider):
    provider.plays([ROLE, say("Hallo"), CUT], Status(503), [ROLE, CUT], CLEAN)
    reply, events, error = await outcome(provider, on_interrupt="restart")
    assert (error, reply.answer.text) == (None, "Hello")
    [restarted] = [each for each in events if isinstance(each, chat.Restarted)]
    assert (restarted.attempt, restarted.discarded.text) == (4, "Hallo")


async def test_where_no_restart_comes_about_the_partial_answer_stays(clock, provider):
    provider.plays([ROLE, say("Hallo"), CUT], Status(503))
    reply, events, error = await outcome(provider, on_interrupt="restart")
    assert isinstance(error, chat.RequestRejected)
    assert reply.answer.text == error.answer.text == "Hallo"
    assert not any(isinstance(each, chat.Restarted) for each in events)


async def test_restarts_are_bounded(clock, provider):
    provider.plays([*HELLO, CUT])
    reply, events, error = await outcome(provider, on_interrupt="restart")
    assert isinstance(error, chat.StreamTruncated)
    assert reply.attempts == 5
    assert sum(isinstance(each, chat.Restarted) for each in events) == 4
    assert len(error.earlier) == 4
    assert "after 5 attempts" in str(error)


# ---------------------------------------------------------------------------- continue


@pytest.mark.parametrize(
    ("prefill", "message", "fields"),
    [
        ("assistant", {"role": "assistant", "content": "Hello"}, {}),
        ("prefix", {"role": "assistant", "content": "Hello", "prefix": True}, {}),
        (
            "continue_final_message",
            {"role": "assistant", "content": "Hello"},
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
    ],
)
async def test_the_model_goes_on_with_what_had_come(clock, provider, prefill, message, fields):
    provider.plays([*HELLO, CUT], [ROLE, say(", world"), STOP, USAGE, DONE])
    reply, events, error = await outcome(
        provider, on_interrupt="continue", capabilities=chat.Capabilities(prefill=prefill)
    )
    assert error is None
    assert reply.answer.text == "Hello, world"
    [continued] = [each for each in events if isinstance(each, chat.Continued)]
    assert (continued.attempt, continued.position) == (2, 5)
    first, second = provider.requests
    assert second == {**first, "messages": [*first["messages"], message], **fields}


async def test_the_text_iterator_goes_on_too(clock, provider):
    provider.plays([*HELLO, CUT], [ROLE, say(", world"), STOP, DONE])
    async with (
        provider.client(on_interrupt="continue", capabilities=PREFILL) as client,
        client.stream(**ASK) as reply,
    ):
        assert "".join([piece async for piece in reply.text()]) == "Hello, world"


async def test_an_answer_is_continued_again(clock, provider):
    provider.plays([say("a"), CUT], Status(503), [say("b"), STOP, DONE])
    reply, events, error = await outcome(provider, on_interrupt="continue", capabilities=PREFILL)
    assert (error, reply.answer.text) == (None, "ab")
    # Of the attempt that was refused there is nothing to tell: it added nothing.
    assert [each.attempt for each in events if isinstance(each, chat.Continued)] == [3]


@pytest.mark.parametrize(
    ("options", "ask", "script", "why"),
    [
        ({}, {}, HELLO, "not marked as capable of prefill"),
        ({"capabilities": PREFILL}, {"n": 2}, HELLO, "n is 2"),
        ({"capabilities": PREFILL}, {"tools": [{}]}, HELLO, "the request has tools"),
        (
            {"capabilities": PREFILL},
            {"response_format": {"type": "json_object"}},
            HELLO,
            "response_format",
        ),
        ({"capabilities": PREFILL}, {}, [chunk({"refusal": "no"})], "more than text"),
        ({"capabilities": PREFILL}, {}, [chunk({"reasoning": "Hm"})], "no text has come"),
        ({"capabilities": PREFILL, "end": "both"}, {}, [*HELLO, STOP], "its finish reason"),
    ],
)
async def test_where_it_cannot_be_continued_the_error_says_why(
    clock, provider, options, ask, script, why
):
    provider.plays([*script, CUT], CLEAN)
    _, _, error = await outcome(provider, on_interrupt="continue", ask=ask, **options)
    assert isinstance(error, chat.StreamTruncated)
    assert why in error.not_recovered
    assert why in str(error)
    assert len(provider.requests) == 1


# ---------------------------------------------------------------------------- resume


def numbered(*pieces, first=1):
    return [Event(each, id=str(number)) for number, each in enumerate(pieces, first)]


async def test_the_server_goes_on_from_the_last_event_id(clock, provider):
    provider.plays([*numbered(*HELLO), CUT], [*numbered(say("!"), STOP, first=4), DONE])
    reply, events, error = await outcome(provider, on_interrupt="resume", capabilities=RESUMES)
    assert (error, reply.answer.text) == (None, "Hello!")
    assert provider.headers[1]["last-event-id"] == "3"
    assert provider.requests[0] == provider.requests[1]
    [resumed] = [each for each in events if isinstance(each, chat.Resumed)]
    assert (resumed.attempt, resumed.cursor) == (2, "3")


async def test_ids_before_any_content_do_not_hinder_a_silent_reconnect(clock, provider):
    provider.plays([*numbered(ROLE), CUT], CLEAN)
    reply, events, error = await outcome(provider)
    assert (error, reply.answer.text, reply.attempts) == (None, "Hello", 2)
    assert "last-event-id" not in provider.headers[1]
    assert not any(isinstance(each, chat.Resumed) for each in events)


async def test_what_was_ordered_is_not_ordered_twice_where_it_can_be_resumed(clock, provider):
    provider.plays([*numbered(ROLE), CUT], [*numbered(say("Hello"), STOP, first=2), DONE])
    reply, _, error = await outcome(provider, on_interrupt="resume", capabilities=RESUMES)
    assert (error, reply.answer.text) == (None, "Hello")
    assert provider.headers[1]["last-event-id"] == "1"


async def test_what_is_sent_again_is_not_taken_twice(clock, provider):
    again = numbered(*HELLO, say("!"), STOP)
    provider.plays([*again[:3], CUT], [*again[1:], DONE])
    reply, _, error = await outcome(provider, on_interrupt="resume", capabilities=RESUMES)
    assert (error, reply.answer.text) == (None, "Hello!")


async def test_a_server_that_begins_anew_without_ids_is_not_spliced(clock, provider):
    provider.plays([*numbered(*HELLO), CUT], CLEAN)
    reply, _, error = await outcome(provider, on_interrupt="resume", capabilities=RESUMES)
    assert isinstance(error, chat.NotResumed)
    assert len(provider.requests) == 2
    assert "did not resume" in str(error)
    assert reply.answer.text == "Hello"


async def test_a_server_that_begins_another_answer_is_not_spliced(clock, provider):
    other = [
        Event(
            say(
                "There was",
            ).replace("c-1", "c-2"),
            id="x1",
        ),
        DONE,
    ]
    provider.plays([*numbered(*HELLO), CUT], other)
    reply, events, error = await outcome(provider, on_interrupt="resume", capabilities=RESUMES)
    assert isinstance(error, chat.NotResumed)
    assert "began another answer" in str(error)
    assert reply.answer.text == "Hello"
    assert not any(isinstance(each, chat.Resumed) for each in events)


async def test_only_the_end_is_missing(clock, provider):
    provider.plays([*numbered(*HELLO, STOP), CUT], [DONE])
    reply, _, error = await outcome(
        provider, on_interrupt="resume", capabilities=RESUMES, end="both"
    )
    assert (error, reply.answer.text, reply.finish_reason) == (None, "Hello", "stop")


@pytest.mark.parametrize(
    ("options", "script", "why"),
    [
        ({}, numbered(*HELLO), "not marked as capable of resuming"),
        ({"capabilities": RESUMES}, HELLO, "the server gave no cursor"),
    ],
)
async def test_where_it_cannot_be_resumed_the_error_says_why(clock, provider, options, script, why):
    provider.plays([*script, CUT], CLEAN)
    _, _, error = await outcome(provider, on_interrupt="resume", **options)
    assert why in error.not_recovered
    assert len(provider.requests) == 1


# ---------------------------------------------------------------------------- Responses


def response(kind, number, **fields):
    return Event(json.dumps({"type": kind, "sequence_number": number, **fields}), kind)


BEGUN = {"response": {"id": "resp_1", "model": "m-1", "status": "in_progress"}}
FINISHED = {
    "response": {
        "id": "resp_1",
        "status": "completed",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
}


def piece(number, text):
    return response("response.output_text.delta", number, delta=text)


async def test_a_response_is_resumed_after_its_last_sequence_number(clock, provider):
    provider.plays(
        [response("response.created", 0, **BEGUN), piece(1, "Hel"), piece(2, "lo"), CUT],
        [piece(2, "lo"), piece(3, "!"), response("response.completed", 4, **FINISHED)],
    )
    reply, events, error = await outcome(
        provider, on_interrupt="resume", capabilities=RESUMES, api="responses"
    )
    assert (error, reply.answer.text, reply.finish_reason) == (None, "Hello!", "stop")
    assert reply.usage == chat.Usage(5, 2)
    assert provider.targets == [
        "POST /v1/responses",
        "GET /v1/responses/resp_1?stream=true&starting_after=2",
    ]
    assert [each.cursor for each in events if isinstance(each, chat.Resumed)] == [2]


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ([piece(5, "z")], "events 3 to 4 are missing"),
        (
            [response("response.created", 3, response={"id": "resp_2"}), piece(4, "z")],
            "began another response",
        ),
        ([Event(json.dumps({"type": "response.output_text.delta", "delta": "z"}))], "no sequence"),
    ],
)
async def test_a_response_that_does_not_go_on_is_not_spliced(clock, provider, rest, words):
    provider.plays(
        [response("response.created", 0, **BEGUN), piece(1, "a"), piece(2, "b"), CUT], rest
    )
    reply, events, error = await outcome(
        provider, on_interrupt="resume", capabilities=RESUMES, api="responses"
    )
    assert isinstance(error, chat.NotResumed)
    assert words in str(error)
    assert reply.answer.text == "ab"
    assert not any(isinstance(each, chat.Resumed) for each in events)


async def test_a_response_with_tools_reasoning_and_a_bound(clock, provider):
    item = {"type": "function_call", "call_id": "t1", "name": "weather"}
    provider.plays(
        [
            response("response.created", 0, **BEGUN),
            response("response.reasoning_summary_text.delta", 1, delta="Hm"),
            response("response.output_item.added", 2, output_index=1, item=item),
            response("response.function_call_arguments.delta", 3, output_index=1, delta="{"),
            response("response.function_call_arguments.delta", 4, output_index=1, delta="}"),
            response(
                "response.incomplete",
                5,
                response={"incomplete_details": {"reason": "max_output_tokens"}},
            ),
        ]
    )
    reply, _, error = await outcome(provider, api="responses")
    assert error is None
    [call] = reply.answer.tool_calls
    assert (call.id, call.name, call.arguments, call.complete) == ("t1", "weather", "{}", True)
    assert (reply.answer.reasoning, reply.finish_reason) == ("Hm", "length")
    assert provider.requests[0] == {"model": "m", "input": ASK["messages"], "stream": True}


@pytest.mark.parametrize(
    "last",
    [
        response("response.failed", 2, response={"error": {"code": "x", "message": "boom"}}),
        response("error", 2, code="x", message="boom"),
    ],
)
async def test_a_response_that_fails(clock, provider, last):
    provider.plays([response("response.created", 0, **BEGUN), piece(1, "Hel"), last])
    _, _, error = await outcome(provider, api="responses")
    assert isinstance(error, chat.ProviderStreamError)
    assert error.code == "x"
    assert error.answer.text == "Hel"


async def test_a_response_that_is_cut(clock, provider):
    provider.plays([response("response.created", 0, **BEGUN), piece(1, "Hel"), END])
    _, _, error = await outcome(provider, api="responses")
    assert isinstance(error, chat.StreamTruncated)
