"""What a consumer sees of a reply, and what is left when it leaves."""

from __future__ import annotations

import json

import pytest
import trio

import moored
from moored import chat

from ..stream.support import our_tasks, settled
from .support import ASK, CUT, DONE, END, HANG, ROLE, STOP, USAGE, Status, Wait, chunk, say

CLEAN = [ROLE, say("Hel"), say("lo"), STOP, USAGE, DONE, END]


async def test_the_events_in_order(clock, provider):
    provider.plays([chunk({"reasoning": "Hm"}), *CLEAN])
    async with provider.client() as client, client.stream(**ASK) as reply:
        assert [event async for event in reply] == [
            chat.Reasoning("Hm"),
            chat.Text("Hel"),
            chat.Text("lo"),
            chat.Finished("stop"),
            chat.UsageReported(chat.Usage(5, 2)),
        ]
        assert [event async for event in reply] == []  # and again
    assert (reply.answer.id, reply.answer.model) == ("c-1", "m-1")


async def test_what_no_other_event_carries(clock, provider):
    logprobs = {"content": [{"token": "a", "logprob": -0.1}]}
    body = {"index": 0, "delta": {"content": "a"}, "logprobs": logprobs, "finish_reason": None}
    provider.plays([json.dumps({"choices": [body]}), chunk({"audio": {"id": "x"}}), STOP, DONE])
    async with provider.client() as client, client.stream(**ASK) as reply:
        others = [event async for event in reply if isinstance(event, chat.Other)]
    assert others == [chat.Other({"logprobs": logprobs}), chat.Other({"audio": {"id": "x"}})]


async def test_the_answer_grows_as_it_comes(clock, provider):
    provider.plays([ROLE, say("a"), Wait(1), say("b"), STOP, DONE])
    async with provider.client() as client, client.stream(**ASK) as reply:
        texts = reply.text()
        assert await texts.__anext__() == "a"
        assert (reply.answer.text, reply.finish_reason, reply.usage) == ("a", None, None)
        assert await texts.__anext__() == "b"
        answer = await reply.complete()
    assert answer is reply.answer
    assert answer.message() == {"role": "assistant", "content": "ab"}


async def test_the_conversation_goes_on_with_the_answer(clock, provider):
    call = {"index": 0, "id": "t1", "function": {"name": "f", "arguments": "{}"}}
    provider.plays([chunk({"tool_calls": [call]}), chunk(finish="tool_calls"), DONE], CLEAN)
    async with provider.client() as client:
        answer = await client.complete(**ASK)
        result = chat.Message("tool", "42", {"tool_call_id": "t1"})
        await client.complete(model="m", messages=[*ASK["messages"], answer.message(), result])
    function = {"name": "f", "arguments": "{}"}
    assert provider.requests[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "t1"},
    ]


# ---------------------------------------------------------------------------- the request


async def test_every_other_field_passes_through(clock, provider):
    provider.plays(CLEAN)
    fields = {"temperature": 0.2, "seed": 7, "vendor": {"x": [1]}, "n": 1, "stop": None}
    async with provider.client() as client:
        await client.complete(**ASK, **fields)
    del fields["stop"]
    assert provider.requests == [
        {**ASK, **fields, "stream": True, "stream_options": {"include_usage": True}}
    ]
    assert provider.headers[0]["authorization"] == "Bearer sk-secret"
    assert provider.targets == ["POST /v1/chat/completions"]


async def test_the_user_decides_about_the_usage(clock, provider):
    provider.plays(CLEAN)
    async with provider.client() as client:
        await client.complete(**ASK, stream_options={"include_usage": False})
    assert provider.requests[0]["stream_options"] == {"include_usage": False}


async def test_a_query_of_the_base_url_stays(clock, provider, network):
    provider.plays(CLEAN)
    url = "https://ai.test/openai/?api-version=1"
    async with chat.Client(url.replace("https", "http"), dial=network.dial) as client:
        await client.complete(**ASK)
    assert provider.targets == ["POST /openai/chat/completions?api-version=1"]
    assert "authorization" not in provider.headers[0]


async def test_the_key_and_the_headers_are_asked_for_before_every_attempt(clock, provider, network):
    keys = iter(["one", "two"])

    async def key():
        return next(keys)

    provider.plays(Status(500), CLEAN)
    client = chat.Client(
        "http://ai.test/v1", key, dial=network.dial, headers=lambda: {"X-Org": "o"}
    )
    async with client:
        await client.complete(**ASK)
    assert [each["authorization"] for each in provider.headers] == ["Bearer one", "Bearer two"]
    assert [each["x-org"] for each in provider.headers] == ["o", "o"]


async def test_a_key_that_cannot_be_had_is_said_so(clock, provider, network):
    def key():
        raise KeyError("vault")

    async with chat.Client("http://ai.test/v1", key, dial=network.dial) as client:
        with pytest.raises(moored.HookFailed, match="api_key"):
            await client.complete(**ASK)


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        ({"model": ""}, ValueError, "model must not be empty"),
        ({"model": 7}, TypeError, "model must be text, not int"),
        ({"messages": []}, ValueError, "at least one message"),
        ({"messages": "hello"}, TypeError, "messages must be a sequence of messages, not str"),
        ({"messages": [7]}, TypeError, r"messages\[0\] must be a mapping"),
        ({"messages": [{"content": "x"}]}, ValueError, r"messages\[0\] must have a role"),
        ({"n": 0}, ValueError, "n must be a whole number of at least 1, not 0"),
        ({"stream": False}, ValueError, "stream cannot be given"),
        ({"seed": {1, 2}}, ValueError, "JSON can hold"),
        ({"temperature": float("nan")}, ValueError, "JSON can hold"),
        ({"messages": None}, TypeError, "messages must be a sequence of messages, not NoneType"),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, ValueError, "JSON can hold"),
        ({"budget": 5}, TypeError, "budget must be a chat.Budget or several, not int"),
        ({"on_interrupt": "hope"}, ValueError, "on_interrupt"),
        ({"settings": 7}, TypeError, "settings must be a chat.Settings, not int"),
    ],
)
async def test_a_bad_request_is_refused_at_once(clock, provider, ask, error, words):
    async with provider.client() as client:
        with pytest.raises(error, match=words):
            client.stream(**{**ASK, **ask})
    assert provider.times == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"base_url": None}, TypeError, "base_url"),
        ({"base_url": "ftp://x"}, ValueError, "Endpoint.base_url must be an http"),
        ({"base_url": 7}, TypeError, "Endpoint.base_url must be text, not int"),
        ({"api_key": "a b"}, ValueError, "Endpoint.api_key"),
        ({"api_key": "k\n"}, ValueError, "Endpoint.api_key"),
        ({"api_key": 7}, TypeError, "Endpoint.api_key"),
        ({"transport": "smoke"}, ValueError, "must be 'sse' or 'websocket', not 'smoke'"),
        ({"end": "soon"}, ValueError, "'finish_reason' or 'both', not 'soon'"),
        ({"malformed": "eat"}, ValueError, "Endpoint.malformed must be 'raise' or 'skip'"),
        ({"base_url": "http://x:99999"}, ValueError, "Endpoint.base_url"),
        ({"models": ["m", 3]}, TypeError, "Endpoint.models must hold names, not 3"),
        ({"headers": 3}, TypeError, "Endpoint.headers must be a mapping"),
        ({"headers": {"a": 1}}, TypeError, "Endpoint.headers must hold pairs of text"),
        ({"limits": "x"}, TypeError, "limits must be a moored.limits.Limiter or None"),
        ({"pool": "x"}, TypeError, r"pool must have a method slot\(\)"),
        ({"counter": 3}, TypeError, r"counter must have a method count\(\)"),
        ({"rng": 3}, TypeError, r"rng must have a method uniform\(\)"),
        ({"dial": 3}, TypeError, "dial must be callable or None"),
        ({"wall_clock": 3}, TypeError, "wall_clock must be callable"),
        ({"ssl_context": 3}, TypeError, "ssl_context must be an ssl.SSLContext"),
        ({"api": "responses", "transport": "websocket"}, ValueError, "api"),
        ({"models": "gpt"}, TypeError, "Endpoint.models must be a sequence"),
        ({"colour": "red"}, TypeError, "no parameter 'colour'"),
    ],
)
def test_a_bad_client_is_refused(options, error, words):
    with pytest.raises(error, match=words) as caught:
        chat.Client(**{"base_url": "http://ai.test/v1", **options})
    assert "a b" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("connect_timeout", 0),
        ("first_token_timeout", -1),
        ("liveness_timeout", 0),
        ("progress_timeout", float("nan")),
        ("total_timeout", float("inf")),
        ("drain_timeout", -1),
        ("max_chunk_bytes", 0),
        ("buffered_events", 0),
    ],
)
def test_a_bad_setting_names_itself_and_its_bound(setting, value):
    with pytest.raises(ValueError, match=f"Settings.{setting} must be"):
        chat.Settings(**{setting: value})


# ---------------------------------------------------------------------------- the consumer


async def test_a_slow_consumer_is_no_stall(clock, provider):
    provider.plays([ROLE, *[say("x")] * 50, STOP, DONE])
    settings = chat.Settings(buffered_events=4, progress_timeout=10)
    async with (
        provider.client(settings=settings) as client,
        client.stream(**ASK) as reply,
    ):
        count = 0
        async for _ in reply.text():
            count += 1
            await trio.sleep(30)
    assert count == 50


async def test_what_waits_is_bounded(clock, provider):
    provider.plays([say("x" * 1000) for _ in range(20_000)])
    settings = chat.Settings(buffered_events=16)
    async with (
        provider.client(settings=settings) as client,
        client.stream(**ASK) as reply,
    ):
        await reply.__anext__()
        await trio.sleep(10)
        assert len(reply.answer.text) < 5_000_000  # a read, an inbox and 16 events


async def test_a_reply_that_was_left_is_not_complete(clock, provider):
    provider.plays([ROLE, say("part"), HANG])
    ends = []

    async def another(reply):
        try:
            await reply.complete()
        except moored.StreamClosed as exc:
            ends.append(exc)

    async with provider.client() as client, trio.open_nursery() as nursery:
        async with client.stream(**ASK) as reply:
            async for _ in reply.text():
                break
            nursery.start_soon(another, reply)
            await trio.sleep(1)
        with pytest.raises(moored.StreamClosed, match="left before it was complete"):
            await reply.complete()
    assert len(ends) == 1
    assert reply.answer.text == "part"


async def test_a_reply_that_was_complete_when_it_was_left_is(clock, provider):
    provider.plays(CLEAN)
    async with provider.client() as client, client.stream(**ASK) as reply:
        await trio.sleep(1)
    assert (await reply.complete()).text == "Hello"


async def test_the_total_timeout_takes_no_complete_answer_away(clock, provider):
    provider.plays([ROLE, say("Hello"), STOP, HANG])
    settings = chat.Settings(total_timeout=2)
    async with provider.client(settings=settings) as client:
        assert (await client.complete(**ASK)).text == "Hello"
    assert clock.current_time() == pytest.approx(2, abs=1)


async def test_the_usage_is_asked_for_beside_other_options(clock, provider):
    provider.plays(CLEAN)
    async with provider.client() as client:
        await client.complete(**ASK, stream_options={"include_obfuscation": False})
        await client.complete(**ASK, stream_options=None)
    first, second = provider.requests
    assert first["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert "stream_options" not in second


async def test_fields_that_could_be_taken_for_ours_are_sent(clock, provider):
    provider.plays(CLEAN)
    async with provider.client() as client:
        await client.complete(**ASK, conversation="conv_9", tags=["a"], metadata={"k": "v"})
    sent = provider.requests[0]
    assert (sent["conversation"], sent["tags"], sent["metadata"]) == ("conv_9", ["a"], {"k": "v"})


async def test_a_retry_after_longer_than_anybody_waits_ends_it_at_once(clock, provider):
    provider.plays(Status(429, ("Retry-After: 3600",)), CLEAN)
    async with provider.client() as client:
        with pytest.raises(chat.RequestRejected, match="retry_after_maximum"):
            await client.complete(**ASK)
    assert clock.current_time() < 1


async def test_a_chunk_too_large_is_not_ordered_again(clock, provider):
    provider.plays([ROLE, say("x" * 2000)], CLEAN)
    settings = chat.Settings(max_chunk_bytes=1000)
    async with provider.client(settings=settings) as client:
        with pytest.raises(chat.StreamTruncated, match="protocol violation"):
            await client.complete(**ASK)
    assert len(provider.times) == 1


async def test_a_body_that_is_no_text_is_not_shown(clock, provider):
    provider.plays(Status(400, body=b"\x1f\x8b\x08\x00\xff\xfe"))
    async with provider.client() as client:
        with pytest.raises(chat.RequestRejected) as caught:
            await client.complete(**ASK)
    assert str(caught.value) == "rejected with status 400"


@pytest.mark.parametrize("transport", ["sse", "websocket"])
@pytest.mark.parametrize("leave", ["break", "raise", "cancel"])
async def test_leaving_early_hangs_up(clock, provider, transport, leave):
    provider.plays([ROLE, say("a"), HANG])
    error, raised = ValueError("mine"), None
    with trio.CancelScope() as scope:
        try:
            async with provider.client() as client, client.stream(**ASK) as reply:
                async for _ in reply:
                    break
                if leave == "raise":
                    raise error
                if leave == "cancel":
                    scope.cancel()
                    await trio.sleep_forever()
        except ValueError as exc:
            raised = exc
    assert (raised is error) == (leave == "raise")
    await settled()
    assert our_tasks() == []
    assert provider.left == [pytest.approx(0, abs=1)]
    assert reply.answer.text == "a"


@pytest.mark.parametrize("script", [HANG, [ROLE, HANG], Status(503), [CUT]])
async def test_cancellation_in_every_state_leaves_nothing(clock, provider, script):
    provider.plays(script if isinstance(script, list | Status) else [script])
    settings = chat.Settings(reconnect=moored.Reconnect(initial=100, maximum=100, attempts=None))
    with trio.move_on_after(50) as scope:
        async with provider.client(settings=settings) as client:
            await client.complete(**ASK)
    assert scope.cancelled_caught
    await settled()
    assert our_tasks() == []


async def test_many_replies_of_one_client_do_not_meet(clock, provider):
    provider.plays(*([say(str(n)), Wait(1), STOP, DONE] for n in range(20)))
    answers = []

    async def ask():
        answers.append((await client.complete(**ASK)).text)

    async with provider.client() as client, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert sorted(answers, key=int) == [str(n) for n in range(20)]


async def test_a_closed_client_takes_no_requests(clock, provider):
    async with provider.client() as client:
        pass
    with pytest.raises(moored.StreamClosed):
        await client.complete(**ASK)


async def test_retry_after_is_obeyed(clock, provider):
    provider.plays(Status(429, ("Retry-After: 20",)), Status(429, ("retry-after-ms: 1500",)), CLEAN)
    async with provider.client() as client:
        await client.complete(**ASK)
    first, second, third = provider.times
    assert 20 <= second - first < 20.5
    assert 1.5 <= third - second < 2.5


async def test_the_answers_headers_are_there(clock, provider):
    provider.plays(Status(429, ("x-request-id: r-1",)))
    async with provider.client() as client, client.stream(**ASK) as reply:
        with pytest.raises(chat.RequestRejected) as caught:
            await reply.complete()
    assert ("x-request-id", "r-1") in caught.value.headers


async def test_an_unanswered_connection_has_an_error_of_its_own(clock, provider, network):
    async def dial(host, port):
        await trio.sleep_forever()

    async with chat.Client("http://ai.test/v1", dial=dial) as client:
        with pytest.raises(chat.ConnectTimeout) as caught:
            await client.complete(**ASK)
    assert caught.value.seconds == 10
    assert len(caught.value.earlier) == 4


async def test_a_refused_connection_too(clock, provider, network):
    network.serve(ConnectionRefusedError(111, "refused"))
    async with provider.client() as client:
        with pytest.raises(chat.ConnectionFailed) as caught:
            await client.complete(**ASK)
    assert caught.value.cause.stage == "tcp"
