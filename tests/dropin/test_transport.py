"""The transport under a client of its library, in memory and under a virtual clock."""

from __future__ import annotations

import contextlib
import random
import ssl
import subprocess
import sys

import attrs
import pytest
import trio

from moored import limits
from moored.dropin import (
    AnswerError,
    AnswerFailed,
    AnswerInterrupted,
    AnswerTruncated,
    FirstTokenTimeout,
    LivenessTimeout,
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
    STOP,
    USAGE,
    Answer,
    NoJitter,
    Script,
    chunk,
    event,
    refuses,
    says,
    zipped,
)

REQUEST = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
ONCE = TransportPolicy(retry=Retry(attempts=1))


@contextlib.asynccontextmanager
async def asked(client, json=REQUEST):
    async with client.stream("POST", "/v1/chat/completions", json=json) as response:
        yield response


async def read(client, json=REQUEST) -> bytes:
    """The bytes of a whole answer."""
    async with asked(client, json) as response:
        return await rest(response)


async def rest(response, into=None) -> bytes:
    """Its bytes, also in ``into``, for when it fails."""
    pieces = [] if into is None else into
    async for piece in response.aiter_raw():
        pieces.append(piece)
    return b"".join(pieces)


def whole(*pieces) -> bytes:
    return "".join(p for p in pieces if isinstance(p, str)).encode()


def test_httpx2_is_imported_by_its_own_module_only():
    code = "import sys, moored.dropin; print('httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("policy", 3, "a TransportPolicy or None"),
        ("policy", 0, "a TransportPolicy or None"),
        ("policy", {"first_token_timeout": 1}, "a TransportPolicy or None"),
        ("policy", TransportPolicy, "a TransportPolicy or None"),
        ("limiter", 3, "a limiter, with reserve() and observe(), or None"),
        ("limiter", trio.CapacityLimiter(1), "a limiter, with reserve() and observe(), or None"),
        ("limiter", limits.Limiter, "a limiter, with reserve() and observe(), or None"),
        ("estimate", 3, "callable"),
        ("estimate", None, "callable"),
        ("rng", 3, "a random.Random or None"),
        ("rng", random, "a random.Random or None"),
        ("wall_clock", 3.5, "callable"),
        ("inner", 3, "an AsyncBaseTransport or None"),
    ],
)
def test_a_wrong_parameter_is_named(library, name, value, kind):
    with pytest.raises(TypeError) as info:
        library.transport(**{name: value})
    assert str(info.value) == f"ResilientTransport.{name} must be {kind}, not {value!r}"


def test_a_transport_of_the_other_library_is_refused(library):
    other = next(each for each in LIBRARIES.values() if each is not library)
    with pytest.raises(TypeError, match=r"ResilientTransport\.inner must be an AsyncBaseTransport"):
        library.transport(other.module.MockTransport(lambda request: None))


# ---------------------------------------------------------------------------- what passes


async def test_the_bytes_are_the_servers(make_client, autojump_clock):
    pieces = (": hi\r\n", ROLE[:7], ROLE[7:], COMMENT, *ANSWER[1:-1], "data: [DO", "NE]\n\n")
    server = Script(says(*pieces))
    assert await read(make_client(server)) == whole(*pieces)
    assert "accept-encoding: identity" in server.requests[0][0].lower()


async def test_other_bodies_are_left_alone(make_client, autojump_clock):
    body = zipped('{"choices": []}')
    answer = Answer((body,), headers={"Content-Encoding": "gzip"}, content_type="application/json")
    server = Script(answer)
    client = make_client(server)
    response = await client.post("/v1/x", json={"model": "m"})
    assert response.json() == {"choices": []}
    assert "gzip" in server.requests[0][0].lower().partition("accept-encoding: ")[2]


async def test_what_is_compressed_is_watched_and_passes_as_it_is(make_client, autojump_clock):
    for text, fine in ((whole(*ANSWER), True), (whole(*ANSWER[:3]), False)):
        body = zipped(text.decode())
        server = Script(says(body[:20], body[20:], headers={"Content-Encoding": "gzip"}))
        client = make_client(server, policy=ONCE)
        if fine:
            assert await read(client) == body
        else:
            with pytest.raises(AnswerTruncated) as info:
                await read(client)
            assert info.value.text == "Hello"


async def test_a_coding_that_is_not_known_passes_unwatched(make_client, caplog, autojump_clock):
    server = Script(says(b"\1\2\3", headers={"Content-Encoding": "zpaq"}))
    assert await read(make_client(server)) == b"\1\2\3"
    assert "unwatched" in caplog.text


async def test_an_error_in_band_is_an_end(make_client, autojump_clock):
    for last in (event({"error": {"message": "no"}}), event({"type": "error"}, "error")):
        server = Script(says(ROLE, last))
        assert await read(make_client(server)) == whole(ROLE, last)


CHOICE_ERROR = {"code": 502, "message": "upstream is down"}


def failing(**fields) -> str:
    choice = {"index": 0, "delta": {"content": "!"}, **fields}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})


@pytest.mark.parametrize(
    ("fields", "body", "words"),
    [
        ({"finish_reason": "error", "error": CHOICE_ERROR}, CHOICE_ERROR, ": upstream is down"),
        ({"error": CHOICE_ERROR}, CHOICE_ERROR, ": upstream is down"),
        ({"finish_reason": "error", "error": "why"}, "why", ": why"),
        ({"finish_reason": "error", "error": None}, None, ""),
        ({"finish_reason": "error"}, None, ""),
    ],
)
@pytest.mark.parametrize("done", ["data: [DONE]\n\n", "data:[DONE]\r\n\r\n", ""])
@pytest.mark.parametrize("together", [True, False])
async def test_an_error_inside_a_choice(
    make_client, library, fields, body, words, done, together, autojump_clock
):
    pieces = (ROLE, chunk("a"), failing(**fields), COMMENT, done)
    pieces = ("".join(pieces),) if together else tuple(piece for piece in pieces if piece)
    server = Script(says(*pieces, HANG))
    got = []
    async with asked(make_client(server)) as response:
        with pytest.raises(AnswerFailed) as info:
            await rest(response, got)
        assert (info.value.body, info.value.text) == (body, "a!")
        assert str(info.value).endswith(f"s{words}")
        assert isinstance(info.value, library.module.ReadError)
        await trio.testing.wait_all_tasks_blocked()
        assert (server.open, len(server.requests), trio.current_time()) == (0, 1, 0)
    # All but [DONE], at which an SDK would stop to read.
    comment = COMMENT if together else ""
    assert b"".join(got) == whole(ROLE, chunk("a"), failing(**fields), comment)


async def test_an_error_inside_a_choice_of_what_is_compressed(make_client, autojump_clock):
    body = zipped(ROLE + failing(error=CHOICE_ERROR) + DONE)
    client = make_client(Script(says(body, headers={"Content-Encoding": "gzip"})))
    with pytest.raises(AnswerFailed, match="upstream is down"):
        await read(client)


async def test_no_error_inside_a_choice(make_client, autojump_clock):
    pieces = (failing(error=None, finish_reason=None), STOP, DONE)
    assert await read(make_client(Script(says(*pieces)))) == whole(*pieces)


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 1000])
async def test_a_byte_order_mark_before_the_first_event_is_left_out(
    make_client, size, autojump_clock
):
    sent = BOM + whole(ROLE, chunk("\ufeff"), STOP) + BOM + whole(DONE)
    pieces = [sent[i : i + size] for i in range(0, len(sent), size)]
    assert await read(make_client(Script(says(*pieces)))) == sent.removeprefix(BOM)


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        (BOM, b""),
        (BOM * 2, BOM),
        (BOM[:2], BOM[:2]),
        (BOM[:1], BOM[:1]),
        (b"\xef\xbb ", b"\xef\xbb "),
        (b"", b""),
    ],
)
async def test_what_is_no_byte_order_mark_is_handed_over(make_client, sent, left, autojump_clock):
    policy = TransportPolicy(required_end="anything")
    for cut in (1, 2, len(sent)):
        pieces = [piece for piece in (sent[:cut], sent[cut:]) if piece]
        assert await read(make_client(Script(says(*pieces)), policy=policy)) == left


async def test_bad_json_passes(make_client, autojump_clock):
    pieces = (ROLE, 'data: {"cho\n\n', STOP)
    assert await read(make_client(Script(says(*pieces)))) == whole(*pieces)


# ---------------------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("pieces", "required_end", "complete"),
    [
        ((ROLE, chunk("a"), STOP, DONE), "finish", True),
        ((ROLE, chunk("a"), STOP), "finish", True),
        ((ROLE, chunk("a"), DONE), "finish", True),
        ((ROLE, chunk("a")), "finish", False),
        ((ROLE, chunk("a"), STOP), "terminator", False),
        ((ROLE, chunk("a"), STOP, "data: [DONE]\n"), "terminator", False),
        ((ROLE, chunk("a"), DONE), "terminator", True),
        ((ROLE, chunk("a")), "anything", True),
    ],
)
async def test_the_end_has_to_be_the_answers_own(
    make_client, library, pieces, required_end, complete, autojump_clock
):
    policy = TransportPolicy(required_end=required_end, retry=Retry(attempts=1))
    got = []
    async with asked(make_client(Script(says(*pieces)), policy=policy)) as response:
        if complete:
            await rest(response, got)
        else:
            with pytest.raises(AnswerTruncated) as info:
                await rest(response, got)
            assert isinstance(info.value, library.module.RemoteProtocolError)
            assert info.value.text == "a"
            assert info.value.received_events == len(pieces) - (pieces[-1] == "data: [DONE]\n")
    assert b"".join(got) == whole(*pieces)


async def test_each_choice_has_to_finish(make_client, autojump_clock):
    first = (chunk("a"), chunk(finish="stop"))
    both = (*first, chunk("b", index=1), chunk(finish="stop", index=1))
    client = make_client(Script(says(*first), says(*both)), policy=ONCE)
    with pytest.raises(AnswerTruncated):
        await read(client, {**REQUEST, "n": 2})
    assert await read(client, {**REQUEST, "n": 2}) == whole(*both)


@pytest.mark.parametrize("tail", [(CUT,), (HANG,), (COMMENT, CUT)])
async def test_after_the_end_the_connection_may_do_as_it_likes(make_client, tail, autojump_clock):
    start = trio.current_time()
    assert await read(make_client(Script(says(*ANSWER, *tail)))) == whole(*ANSWER, *tail[:-1])
    assert trio.current_time() - start == (5 if tail == (HANG,) else 0)


async def test_comments_do_not_prolong_the_end(make_client, autojump_clock):
    start = trio.current_time()
    got = await read(make_client(Script(says(*ANSWER, *(1, COMMENT) * 60))))
    assert got == whole(*ANSWER, *[COMMENT] * (got.count(COMMENT.encode())))
    assert trio.current_time() - start == 5


async def test_the_usage_behind_the_finish_reason_is_waited_for(make_client, autojump_clock):
    answer = (ROLE, STOP, 4, USAGE, 0.5, DONE)
    assert await read(make_client(Script(says(*answer)))) == whole(*answer)


# ---------------------------------------------------------------------------- the type


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "text/plain; charset=utf-8", "application/octet-stream"]
)
async def test_what_was_asked_for_as_a_stream_is_watched(
    make_client, content_type, caplog, autojump_clock
):
    stalls = (*ANSWER[:2], *(10, COMMENT) * 400)
    answers = (ANSWER[:3], stalls, ANSWER)
    server = Script(*(says(*each, content_type=content_type) for each in answers))
    client = make_client(server)
    with pytest.raises(AnswerTruncated) as info:
        await read(client)
    assert info.value.text == "Hello"
    with pytest.raises(ProgressTimeout):
        await read(client)
    assert trio.current_time() == 60
    assert await read(client) == whole(*ANSWER)
    words = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(words) == 1
    assert repr(content_type) in words[0] or (not content_type and "of no type" in words[0])


@pytest.mark.parametrize(
    ("answer", "request_body"),
    [
        (says("{}", content_type="application/json; charset=utf-8"), REQUEST),
        (says("{}", content_type="application/problem+json"), REQUEST),
        (says("{}\n", content_type="application/x-ndjson"), REQUEST),
        (says("RIFF", content_type="audio/wav"), REQUEST),
        (says("data: x", content_type="text/plain", status=400), REQUEST),
        (says("", content_type="", status=202), REQUEST),
        (says("data: x", content_type="text/plain"), {"model": "m"}),
        (says("data: x", content_type="text/plain"), {"model": "m", "stream": False}),
        (says("data: x", content_type="text/plain"), {"model": "m", "stream": "true"}),
    ],
)
async def test_what_says_that_it_is_something_else_is_not(
    make_client, answer, request_body, caplog, autojump_clock
):
    server = Script(attrs.evolve(answer, steps=tuple(step for step in answer.steps if step)))
    assert await read(make_client(server), request_body) == whole(*answer.steps)
    assert len(server.requests) == 1
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_by_accept_alone_nothing_but_event_streams_is_watched(make_client, autojump_clock):
    """As clients of MCP ask, for either kind of answer."""
    server = Script(says("hello", content_type="text/plain"))
    headers = {"Accept": "application/json, text/event-stream"}
    response = await make_client(server).post("/mcp", json={"id": 1}, headers=headers)
    assert response.text == "hello"


# ---------------------------------------------------------------------------- the connection


async def test_a_cut_tells_what_had_come(make_client, library, autojump_clock):
    server = Script(says(ROLE, chunk("Hel"), chunk("lo"), CUT))
    with pytest.raises(AnswerInterrupted) as info:
        await read(make_client(server))
    assert isinstance(info.value, library.module.ReadError)
    assert isinstance(info.value.__cause__, library.module.RemoteProtocolError)
    assert (info.value.text, info.value.received_events, info.value.attempts) == ("Hello", 3, 1)
    assert "Hello" not in str(info.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "first",
    [
        says(CUT, head=False),
        says(CUT),
        says(COMMENT, 300, COMMENT, CUT),
        says(COMMENT, "data: {", CUT),
        says(),
        says(COMMENT),
    ],
)
async def test_before_the_first_event_a_drop_is_not_seen(make_client, first, autojump_clock):
    server = Script(first, says(*ANSWER))
    assert await read(make_client(server)) == whole(*ANSWER)
    assert len(server.requests) == 2
    assert server.requests[0] == server.requests[1]


async def test_attempts_are_bounded(make_client, library, autojump_clock):
    server = Script(says(CUT))
    policy = TransportPolicy(retry=Retry(attempts=3, initial=1, maximum=1.5))
    with pytest.raises(library.module.ReadError) as info:
        await read(make_client(server, policy=policy))
    assert info.value.attempts == len(server.requests) == 3
    first, second, third = server.times
    assert (second - first, third - second) == (1, 1.5)


async def test_an_endless_preface_is_not_held_back(make_client, autojump_clock):
    comment = ":" + "x" * 10_000 + "\n\n"
    server = Script(says(*[comment] * 20, HANG))
    got = []
    async with asked(make_client(server)) as response:
        with trio.move_on_after(1):
            await rest(response, got)
    assert b"".join(got) == whole(*[comment] * 20)


async def test_an_event_over_the_bound_is_an_error(make_client, autojump_clock):
    policy = TransportPolicy(max_event_bytes=1000)
    server = Script(says(ROLE, chunk("x" * 1000), *ANSWER))
    with pytest.raises(AnswerInterrupted, match="max_event_bytes=1000"):
        await read(make_client(server, policy=policy))


# ---------------------------------------------------------------------------- clocks

CREATED, REASONING, SUMMARY, WRITTEN, KEEP_ALIVE = (
    event({"type": kind, **fields}, kind)
    for kind, fields in (
        ("response.created", {"response": {}}),
        ("response.output_item.added", {"item": {"type": "reasoning"}}),
        ("response.reasoning_summary_text.delta", {"delta": "a"}),
        ("response.output_text.delta", {"delta": "a"}),
        ("keepalive", {}),
    )
)
QUICK = TransportPolicy(
    first_token_timeout=100,
    liveness_timeout=30,
    progress_timeout=20,
    retry=Retry(attempts=1),
)


@pytest.mark.parametrize(
    ("steps", "error", "after"),
    [
        ((HANG,), LivenessTimeout, 30),
        ((*(10, COMMENT) * 60, HANG), FirstTokenTimeout, 100),
        ((ROLE, *(10, COMMENT) * 60, HANG), FirstTokenTimeout, 100),
        ((ROLE, *(10, event({"type": "ping"}, "ping")) * 60, HANG), FirstTokenTimeout, 100),
        ((15, chunk("a"), HANG), ProgressTimeout, 35),
        ((15, chunk("a"), *(1, COMMENT) * 60, HANG), ProgressTimeout, 35),
        ((15, chunk("a"), *(1, chunk()) * 60, HANG), ProgressTimeout, 35),
        ((chunk("a"), 15, chunk("b"), 15, chunk("c"), HANG), ProgressTimeout, 50),
        ((CREATED, REASONING, *(15, KEEP_ALIVE) * 60, HANG), FirstTokenTimeout, 100),
        ((CREATED, REASONING, 25, WRITTEN, *(1, KEEP_ALIVE) * 60, HANG), ProgressTimeout, 45),
        ((WRITTEN, REASONING, *(15, KEEP_ALIVE) * 60, HANG), ProgressTimeout, 100),
        ((WRITTEN, 15, REASONING, 29, SUMMARY, *(15, KEEP_ALIVE) * 60, HANG), ProgressTimeout, 144),
        ((REASONING, 15, SUMMARY, 29, WRITTEN, *(1, KEEP_ALIVE) * 60, HANG), ProgressTimeout, 64),
    ],
)
async def test_each_clock_has_its_own_error(
    make_client, library, steps, error, after, autojump_clock
):
    server = Script(says(*steps))
    start = trio.current_time()
    with pytest.raises(error) as info:
        await read(make_client(server, policy=QUICK))
    assert trio.current_time() - start == pytest.approx(after)
    assert isinstance(info.value, library.module.ReadTimeout)
    assert isinstance(info.value, AnswerError)
    assert f"={info.value.seconds:g} s" in str(info.value)
    await trio.testing.wait_all_tasks_blocked()
    assert server.open == 0


@pytest.mark.parametrize(
    ("first_token", "progress", "after"),
    [(100, 20, 100), (20, 100, 100), (None, 20, None), (20, None, None)],
)
async def test_in_silence_the_longer_clock_holds(
    make_client, first_token, progress, after, autojump_clock
):
    policy = TransportPolicy(
        first_token_timeout=first_token, progress_timeout=progress, retry=Retry(attempts=1)
    )
    server = Script(says(WRITTEN, REASONING, HANG))
    with trio.move_on_after(10_000) as scope:
        with pytest.raises(ProgressTimeout) as info:
            await read(make_client(server, policy=policy))
        assert trio.current_time() == info.value.seconds == after
        name = "first_token" if after == first_token else "progress"
        assert f"a tool ran, and no more came within {name}_timeout=100 s" in str(info.value)
    assert scope.cancelled_caught is (after is None)


async def test_no_head_is_no_first_token(make_client, library, autojump_clock):
    server = Script(says(HANG, head=False), says(80, head=False), says(HANG))
    with pytest.raises(FirstTokenTimeout, match="not even a head"):
        await read(make_client(server, policy=QUICK))
    assert trio.current_time() == 100


async def test_ten_minutes_of_thought_are_no_stall(make_client, autojump_clock):
    steps = (ROLE, *(15, COMMENT) * 39, 14, *ANSWER[1:])
    assert await read(make_client(Script(says(*steps)))) == whole(*steps)


async def test_a_slow_consumer_is_no_stall(make_client, autojump_clock):
    server = Script(says(chunk("a"), chunk("b"), STOP, USAGE, DONE))
    got = []
    async with asked(make_client(server, policy=QUICK)) as response:
        async for piece in response.aiter_raw():
            got.append(piece)
            await trio.sleep(1000)
    assert b"".join(got).endswith(DONE.encode())


async def test_the_librarys_read_timeout_is_one_of_liveness(make_client, library, autojump_clock):
    client = make_client(Script(says(chunk("a"), HANG)))
    client.timeout = library.module.Timeout(7)
    with pytest.raises(LivenessTimeout, match="7 s") as info:
        await read(client)
    assert (info.value.seconds, info.value.text) == (7, "a")
    assert isinstance(info.value, library.module.ReadTimeout)


async def test_a_stall_before_the_first_event_is_retried(make_client, autojump_clock):
    server = Script(says(COMMENT, HANG), says(HANG, head=False), says(*ANSWER))
    assert await read(make_client(server, policy=TransportPolicy())) == whole(*ANSWER)
    assert [round(time) for time in server.times] == [0, 600, 1202]


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503, 529])
async def test_refusals_are_retried(make_client, status, autojump_clock):
    server = Script(refuses(status), refuses(status), says(*ANSWER))
    assert await read(make_client(server)) == whole(*ANSWER)
    assert server.times == [0, 0.5, 1.5]


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"Retry_After": "20"}, 20),
        ({"Retry_After": "9", "retry_after_ms": "1500"}, 1.5),
        ({"Retry_After": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10),
        ({"Retry_After": "60"}, 60),
        ({"Retry_After": "soon"}, 0),
    ],
)
async def test_the_delay_is_what_the_server_asks_for(make_client, headers, after, autojump_clock):
    server = Script(refuses(429, **headers), says(*ANSWER))
    assert await read(make_client(server, wall_clock=lambda: 1000.0)) == whole(*ANSWER)
    assert server.times[1] - server.times[0] == after + 0.5


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry_After": "61"},
        {"Retry_After": "86400"},
        {"Retry_After": "2", "retry_after_ms": "60001"},
        {"Retry_After": "Thu, 01 Jan 1970 01:00:00 GMT"},
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_never_before_what_the_server_asks_for(make_client, status, headers, autojump_clock):
    server = Script(refuses(status, **headers), says(*ANSWER))
    async with asked(make_client(server, wall_clock=lambda: 1000.0)) as response:
        assert response.status_code == status
        assert await response.aread() == b'{"error":{"message":"no"}}'
    assert server.times == [0]
    assert trio.current_time() == 0


async def test_the_server_may_say_whether_to_retry(make_client, autojump_clock):
    server = Script(refuses(429, x_should_retry="false"), says(*ANSWER))
    async with asked(make_client(server)) as response:
        assert response.status_code == 429
    server = Script(refuses(400, x_should_retry="true"), says(*ANSWER))
    assert await read(make_client(server)) == whole(*ANSWER)


async def test_the_last_refusal_is_handed_over(make_client, autojump_clock):
    server = Script(refuses(503, Retry_After="1"))
    async with asked(make_client(server)) as response:
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert await response.aread() == b'{"error":{"message":"no"}}'
    assert len(server.requests) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_other_refusals_are_not_retried(make_client, status, autojump_clock):
    server = Script(refuses(status))
    async with asked(make_client(server)) as response:
        assert response.status_code == status
    assert len(server.requests) == 1


async def test_a_body_from_a_generator_is_sent_once(make_client, autojump_clock):
    async def body():
        yield b'{"stream": true}'

    server = Script(refuses(503), says(*ANSWER))
    response = await make_client(server).post("/v1/x", content=body())
    assert response.status_code == 503
    assert len(server.requests) == 1


async def test_what_an_sdk_sends_again_is_sent_once(make_client, autojump_clock):
    server = Script(refuses(503))
    client = make_client(server)
    for count, requests in (("0", 5), ("1", 6), ("2", 7)):
        headers = {"x-stainless-retry-count": count}
        assert (await client.post("/x", json=REQUEST, headers=headers)).status_code == 503
        assert len(server.requests) == requests


@pytest.mark.parametrize("fatal", ["certificate", "protocol", "scheme"])
async def test_what_no_attempt_would_mend_is_not_retried(library, fatal, autojump_clock):
    module, attempts = library.module, []

    class Broken(module.AsyncBaseTransport):
        async def handle_async_request(self, request):
            attempts.append(request)
            if fatal == "protocol":
                raise module.LocalProtocolError("bad header")
            if fatal == "scheme":
                raise module.UnsupportedProtocol("gopher")
            raise module.ConnectError("tls") from ssl.SSLCertVerificationError("untrusted")

    async with module.AsyncClient(transport=library.transport(Broken())) as client:
        with pytest.raises(module.TransportError):
            await client.post("http://x.test", json=REQUEST)
    assert len(attempts) == 1


async def test_a_failed_connect_is_retried(library, autojump_clock):
    module, attempts = library.module, []

    class Down(module.AsyncBaseTransport):
        async def handle_async_request(self, request):
            attempts.append(trio.current_time())
            raise module.ConnectError("refused")

    transport = library.transport(Down(), rng=NoJitter())
    async with module.AsyncClient(transport=transport) as client:
        with pytest.raises(module.ConnectError):
            await client.get("http://x.test")
    assert attempts == [0, 0.5, 1.5, 3.5, 7.5]


# ---------------------------------------------------------------------------- leaving


async def test_leaving_early_closes_the_connection(make_client, autojump_clock):
    server = Script(says(*ANSWER[:2], HANG))
    async with asked(make_client(server)) as response:
        await response.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (server.left, server.open) == (1, 0)


@pytest.mark.parametrize("steps", [(HANG,), (COMMENT, HANG), (*ANSWER[:2], HANG)])
async def test_cancellation_closes_the_connection(make_client, steps, autojump_clock):
    for head in (True, False):
        server = Script(says(*(steps if head else (HANG,)), head=head))
        with trio.move_on_after(10) as scope:
            await read(make_client(server))
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert (server.left, server.open) == (1, 0)


async def test_cancelled_while_it_waits_to_retry(make_client, autojump_clock):
    server = Script(refuses(429, Retry_After="30"))
    with trio.move_on_after(10) as scope:
        await read(make_client(server))
    assert scope.cancelled_caught
    assert len(server.requests) == 1


async def test_a_cancelled_read_is_no_end(make_client, autojump_clock):
    server = Script(says(ROLE, chunk("a"), HANG))
    async with asked(make_client(server)) as response:
        with trio.move_on_after(10):
            await rest(response)
        with pytest.raises(AnswerInterrupted, match="cancelled"):
            await anext(aiter(response.stream))


async def test_what_failed_fails_again(make_client, autojump_clock):
    async with asked(make_client(Script(says(ROLE, CUT)))) as response:
        with pytest.raises(AnswerInterrupted):
            await rest(response)
        with pytest.raises(AnswerInterrupted):
            await anext(aiter(response.stream))


async def test_a_connection_is_used_again(make_client, autojump_clock):
    server = Script(says(*ANSWER))
    client = make_client(server)
    for _ in range(3):
        await read(client)
        await trio.testing.wait_all_tasks_blocked()
        assert (server.open, server.left) == (1, 0)
