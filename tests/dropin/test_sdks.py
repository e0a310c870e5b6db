"""The SDKs of OpenAI and Anthropic, as they come, on Trio through the transport."""

from __future__ import annotations

import contextlib

import anthropic
import anthropic.resources.messages
import httpx2
import openai
import openai.resources.chat
import openai.resources.responses
import pytest
import trio

import moored.dropin.httpx2
from moored import faults
from moored.dropin import (
    AnswerFailed,
    AnswerInterrupted,
    AnswerTruncated,
    FirstTokenTimeout,
    ProgressTimeout,
    Retry,
    TransportPolicy,
)

from .support import (
    ANSWER,
    COMMENT,
    CUT,
    DONE,
    HANG,
    LIBRARIES,
    ROLE,
    Script,
    event,
    refuses,
    says,
)

# Both SDKs, and the clients above the transport, leave generators of their own to the garbage
# collector when a stream is left, even behind [DONE].  Those below it would still be errors.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Async generator '(openai|anthropic|httpx2?\._(models|client))\.:ResourceWarning",
    r"ignore:.*AsyncStream\.__|BoundAsyncStream|Response\.aiter_|SSE.*Decoder\.aiter:"
    "pytest.PytestUnraisableExceptionWarning",
)

MESSAGES = [{"role": "user", "content": "hi"}]
TEXT = "Hello"


@pytest.fixture
def make_openai(make_client):
    """Call it with a server: OpenAI's client, on the transport."""

    def make(server, *, max_retries=0, **parameters):
        client = openai.AsyncOpenAI(
            base_url="http://server.test/v1",
            api_key="sk-x",
            max_retries=max_retries,
            http_client=make_client(server, **parameters),
        )
        # It asks for this in a thread, for which a virtual clock does not wait.
        client._platform = "Linux"
        return client

    return make


async def stream(client, into=None, **parameters) -> str:
    """The text of a streamed answer, also in ``into``, for when it fails."""
    pieces = [] if into is None else into
    answer = await client.chat.completions.create(
        model="m", messages=MESSAGES, stream=True, **parameters
    )
    async for part in answer:
        if part.choices:
            pieces.append(part.choices[0].delta.content or "")
    return "".join(pieces)


async def test_a_whole_answer(make_openai, autojump_clock):
    assert await stream(make_openai(Script(says(*ANSWER)))) == TEXT


async def test_an_answer_in_one_piece(make_openai, autojump_clock):
    body = '{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[]}'
    server = Script(refuses(429, Retry_After="2"), says(body, content_type="application/json"))
    answer = await make_openai(server).chat.completions.create(model="m", messages=MESSAGES)
    assert answer.id == "x"


async def test_limited_three_times(make_openai, autojump_clock):
    server = Script(*[refuses(429, Retry_After="2")] * 3, says(*ANSWER))
    assert await stream(make_openai(server)) == TEXT
    assert server.times == [0, 2.5, 5.5, 9.5]


async def test_truncated_is_no_success(make_openai, autojump_clock):
    got = []
    with pytest.raises(openai.APIConnectionError) as info:
        await stream(make_openai(Script(says(*ANSWER[:3]))), got)
    cause = info.value.__cause__
    assert isinstance(cause, AnswerTruncated)
    assert cause.text == "".join(got) == TEXT


async def test_cut(make_openai, autojump_clock):
    with pytest.raises(openai.APIConnectionError) as info:
        await stream(make_openai(Script(says(*ANSWER[:2], CUT))))
    assert isinstance(info.value.__cause__, AnswerInterrupted)
    assert info.value.__cause__.text == "Hel"


@pytest.mark.parametrize("quiet", [(HANG,), (*(10, COMMENT) * 100, HANG)])
async def test_a_stall_is_a_timeout(make_openai, quiet, autojump_clock):
    with pytest.raises(openai.APITimeoutError) as info:
        await stream(make_openai(Script(says(*ANSWER[:2], *quiet))))
    assert isinstance(info.value.__cause__, ProgressTimeout)
    assert trio.current_time() == 60


async def test_nothing_but_comments(make_openai, autojump_clock):
    policy = TransportPolicy(first_token_timeout=30, retry=Retry(attempts=2))
    server = Script(says(*(10, COMMENT) * 100))
    with pytest.raises(openai.APITimeoutError) as info:
        await stream(make_openai(server, policy=policy))
    assert isinstance(info.value.__cause__, FirstTokenTimeout)
    assert info.value.__cause__.attempts == len(server.requests) == 2


async def test_ten_minutes_of_thought(make_openai, autojump_clock):
    steps = (ROLE, *(15, COMMENT) * 39, 14, *ANSWER[1:])
    assert await stream(make_openai(Script(says(*steps)))) == TEXT


@pytest.mark.parametrize(
    "error", [event({"error": {"message": "no"}}), event({"error": {"message": "no"}}, "error")]
)
async def test_an_error_in_band_is_the_sdks(make_openai, error, autojump_clock):
    with pytest.raises(openai.APIError, match="no") as info:
        await stream(make_openai(Script(says(*ANSWER[:2], error))))
    assert type(info.value) is openai.APIError
    assert info.value.__cause__ is None


@pytest.mark.parametrize("together", [True, False])
async def test_an_error_inside_a_choice_is_no_success(make_openai, together, autojump_clock):
    choice = {
        "index": 0,
        "delta": {"content": ""},
        "finish_reason": "error",
        "error": {"code": 502},
    }
    pieces = (*ANSWER[:2], event({"choices": [choice]}), DONE)
    got = []
    with pytest.raises(openai.APIConnectionError) as info:
        await stream(make_openai(Script(says(*(["".join(pieces)] if together else pieces)))), got)
    assert isinstance(info.value.__cause__, AnswerFailed)
    assert info.value.__cause__.body == {"code": 502}
    assert got == ["", "Hel", ""]


async def test_a_byte_order_mark_costs_no_event(make_openai, autojump_clock):
    server = Script(says("\ufeff", *ANSWER[1:]))
    assert await stream(make_openai(server)) == TEXT


@pytest.mark.parametrize("tail", [(), (CUT,), (HANG,), (COMMENT, CUT), (1, COMMENT) * 100])
async def test_after_done(make_openai, tail, autojump_clock):
    assert await stream(make_openai(Script(says(*ANSWER, *tail)))) == TEXT
    assert trio.current_time() <= 5


@pytest.mark.parametrize(
    ("server", "requests"),
    [
        (Script(refuses(503)), 7),
        (Script(says(CUT)), 7),
        (Script(says(CUT, head=False)), 7),
        (Script(refuses(401)), 1),
        (Script(refuses(429, x_should_retry="false")), 1),
        (Script(*[refuses(503)] * 4, says(*ANSWER)), 5),
    ],
)
async def test_the_sdks_own_retries_do_not_multiply(make_openai, server, requests, autojump_clock):
    """Five of the transport's and, left at its default, two of the SDK's: 7, and not 15."""
    server.requests.clear()
    with contextlib.suppress(openai.APIConnectionError, openai.APIStatusError):
        await stream(make_openai(server, max_retries=2))
    assert len(server.requests) == requests


async def test_without_the_sdks_own_retries(make_openai, autojump_clock):
    server = Script(refuses(503))
    with pytest.raises(openai.InternalServerError):
        await stream(make_openai(server))
    assert len(server.requests) == 5


async def test_left_early_the_server_sees_it(make_openai, autojump_clock):
    server = Script(says(*ANSWER[:2], HANG))
    answer = await make_openai(server).chat.completions.create(
        model="m", messages=MESSAGES, stream=True
    )
    async with answer:
        async for _ in answer:
            break
        assert server.open == 1
    await trio.testing.wait_all_tasks_blocked()
    assert (server.open, server.left) == (0, 1)


async def test_many_at_once(make_openai, autojump_clock):
    server = Script(*[refuses(429, Retry_After="1")] * 30, says(*ANSWER))
    client, got = make_openai(server), []

    async def one():
        got.append(await stream(client))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert got == [TEXT] * 20


async def test_responses(make_openai, autojump_clock):
    events = [
        {"type": "response.created", "response": {"id": "r", "error": None}},
        {"type": "response.output_text.delta", "delta": "Hello", "output_index": 0},
    ]
    last = {"type": "response.completed", "response": {"id": "r", "error": None}}
    server = Script(
        *(says(*(event(e, e["type"]) for e in each)) for each in ([*events, last], events))
    )
    client, got = make_openai(server), []

    async def read():
        async for each in await client.responses.create(model="m", input="hi", stream=True):
            got.append(each.type)

    await read()
    with pytest.raises(openai.APIConnectionError) as info:
        await read()
    assert info.value.__cause__.text == "Hello"
    assert got == [e["type"] for e in (*events, last, *events)]


THINKING = [
    {"type": "response.created", "response": {"id": "r", "error": None}},
    {"type": "response.in_progress", "response": {"id": "r"}},
    {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "rs"}},
    90,
    {"type": "response.output_item.done", "item": {"type": "reasoning", "id": "rs"}},
    {"type": "response.output_item.added", "item": {"type": "message", "id": "i"}},
    {"type": "response.output_text.delta", "delta": "Let me look."},
    {"type": "response.output_item.added", "item": {"type": "web_search_call", "id": "w"}},
    {"type": "response.web_search_call.searching", "item_id": "w"},
    90,
    {"type": "response.output_item.done", "item": {"type": "web_search_call", "id": "w"}},
    {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "rs2"}},
    {"type": "response.reasoning_summary_text.delta", "delta": "Hm."},
    90,
    {"type": "response.output_text.delta", "delta": "Hello"},
    {"type": "response.completed", "response": {"id": "r", "error": None}},
]


async def test_responses_may_think_in_silence(make_openai, autojump_clock):
    steps = [step if step == 90 else event(step, step["type"]) for step in THINKING]
    client, got = make_openai(Script(says(*steps))), []
    async for each in await client.responses.create(model="m", input="hi", stream=True):
        got.append(each.type)
    assert got == [step["type"] for step in THINKING if step != 90]
    assert trio.current_time() == 270


ANTHROPIC = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "m",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


@pytest.mark.parametrize("library", [LIBRARIES["httpx2"]], ids=["httpx2"])
async def test_anthropic(make_client, autojump_clock):
    pieces = [event(e, e["type"]) for e in ANTHROPIC]
    server = Script(refuses(529, Retry_After="1"), says(*pieces), says(*pieces[:5]))
    client = anthropic.AsyncAnthropic(
        base_url="http://server.test",
        api_key="sk-x",
        max_retries=0,
        http_client=make_client(server),
    )
    client._platform = "Linux"
    messages = [{"role": "user", "content": "hi"}]
    text = []

    async def read():
        async for each in await client.messages.create(
            model="m", max_tokens=9, messages=messages, stream=True
        ):
            if each.type == "content_block_delta":
                text.append(each.delta.text)

    await read()
    with pytest.raises(AnswerTruncated) as info:
        await read()
    # This SDK lets the exceptions of its HTTP library through.
    assert isinstance(info.value, httpx2.RemoteProtocolError)
    assert info.value.text == "Hello"
    assert text == ["Hello"] * 2
    assert len(server.requests) == 3


def anthropic_block(index, block, *deltas):
    head = {"type": "content_block_start", "index": index, "content_block": block}
    yield event(head, head["type"])
    for delta in deltas:
        if isinstance(delta, tuple):
            yield from delta
        else:
            body = {"type": "content_block_delta", "index": index, "delta": delta}
            yield event(body, body["type"])
    yield event({"type": "content_block_stop", "index": index}, "content_block_stop")


@pytest.mark.parametrize("library", [LIBRARIES["httpx2"]], ids=["httpx2"])
async def test_anthropic_may_think_in_silence(make_client, autojump_clock):
    pings = (10, event({"type": "ping"}, "ping")) * 9
    tool = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    steps = [
        event(ANTHROPIC[0], "message_start"),
        *anthropic_block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            pings,
            {"type": "signature_delta", "signature": "x"},
        ),
        *anthropic_block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hel"}),
        *anthropic_block(
            2,
            tool,
            {"type": "input_json_delta", "partial_json": "{"},
            pings,
            {"type": "input_json_delta", "partial_json": "}"},
        ),
        *pings,
        *anthropic_block(3, found),
        *pings,
        *anthropic_block(4, {"type": "text", "text": ""}, {"type": "text_delta", "text": "lo"}),
        *(event(each, each["type"]) for each in ANTHROPIC[5:]),
    ]
    client = anthropic.AsyncAnthropic(
        base_url="http://server.test",
        api_key="sk-x",
        max_retries=0,
        http_client=make_client(Script(says(*steps))),
    )
    client._platform = "Linux"
    messages = [{"role": "user", "content": "hi"}]
    async with client.messages.stream(model="m", max_tokens=9, messages=messages) as answer:
        assert "".join([text async for text in answer.text_stream]) == TEXT
    assert trio.current_time() == 360


async def test_on_real_sockets(nothing_left_open):
    """As users have it: nothing of ours but the transport, and the proxy's faults."""
    schedule = [
        faults.Refuse(times=2, retry_after=0.05),
        faults.Cut(at="after_head", attempt=3),
        faults.CommentsOnly(after_messages=5, interval=0.02, attempt=5),
        faults.Cut(after_messages=5, how="rst", attempt=6),
    ]
    policy = TransportPolicy(progress_timeout=0.3, retry=Retry(initial=0.01, maximum=0.01))
    async with (
        faults.open_server() as server,
        faults.open_proxy(server.url, schedule=schedule) as proxy,
        openai.AsyncOpenAI(
            base_url=f"{proxy.url}/v1",
            api_key="sk-x",
            max_retries=0,
            http_client=httpx2.AsyncClient(
                transport=moored.dropin.httpx2.ResilientTransport(policy=policy)
            ),
        ) as client,
    ):
        text = await stream(client)
        assert len(proxy.connections) == 4
        got = []
        with pytest.raises(openai.APITimeoutError) as timeout:
            await stream(client, got)
        with pytest.raises(openai.APIConnectionError) as cut:
            await stream(client)
        assert await stream(client) == text
        for error in (timeout, cut):
            assert error.value.__cause__.text == "".join(got)
        assert text.startswith("".join(got))
        await server.wait_until(lambda: all(r.ended is not None for r in server.requests))
