"""No secret of the user's is in anything that a failing stream leaves for a log."""

from __future__ import annotations

import logging
import traceback
from contextlib import suppress

import pytest
import trio
import trio.testing

import moored

SECRETS = ["s3cretheader", "s3cretquery", "s3cretpass", "s3cretkey", "czNjcmV0cGFzcw"]
HEADERS = {"Authorization": "Bearer s3cretheader", "X-Api-Key": "s3cretkey"}


def answer(data):
    async def script(peer):
        await peer.head()
        await peer.send(data)
        await peer.fin()

    return script


async def accept_and_break(peer):
    _, fields = await peer.head()
    if "upgrade" in fields:
        peer.buffer = b"GET / HTTP/1.1\r\nsec-websocket-key: "
        peer.buffer += fields["sec-websocket-key"][0] + b"\r\n\r\n"
        await peer.accept(extra=b"\x81\x01a\xff\xff")
    else:
        await peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\nbroken\r\n"
        )
    await peer.fin()


async def hang_up(peer):
    await peer.head()
    await peer.fin()


FAILURES = {
    "401": answer(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
    "429": answer(b"HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"),
    "html": answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"),
    "garbage": answer(b"\x00\xff\r\n\r\n"),
    "bad redirect": answer(
        b"HTTP/1.1 302 F\r\nLocation: javascript:x\r\nContent-Length: 0\r\n\r\n"
    ),
    "loop": answer(b"HTTP/1.1 302 F\r\nLocation: ?s3cretquery\r\nContent-Length: 0\r\n\r\n"),
    "hang-up": hang_up,
    "broken": accept_and_break,
    "no dial": None,
}


def every_text(error):
    """What could reach a log of an exception and everything on the way to it."""
    pending, seen = [error], set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), repr(each))
        yield "".join(traceback.format_exception(each))
        pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
        for cause in getattr(each, "causes", ()):
            yield from (str(cause), repr(cause))
            pending.append(getattr(cause, "exception", None))


def task_names():
    pending = [trio.lowlevel.current_root_task()]
    while pending:
        task = pending.pop()
        yield task.name
        for nursery in task.child_nurseries:
            pending += nursery.child_tasks


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("transport", ["websocket", "sse", "post"])
async def test_no_secret_is_shown(dialled, caplog, transport, failure):
    caplog.set_level(logging.DEBUG)

    async def no_dial(host, port):
        raise OSError("no route")

    dialled.script = FAILURES[failure]
    policy = moored.Policy(reconnect=moored.Reconnect(initial=0.001, maximum=0.001, attempts=2))
    options = {
        "headers": HEADERS,
        "policy": policy,
        "dial": no_dial if failure == "no dial" else dialled,
    }
    rest = "user:s3cretpass@peer.test/path?token=s3cretquery#s3cretquery"
    if transport == "websocket":
        opened = moored.open_websocket("ws://" + rest, **options)
    elif transport == "sse":
        opened = moored.open_sse("http://" + rest, **options)
    else:
        opened = moored.open_sse("http://" + rest, json={"key": "s3cretkey"}, **options)
    texts = [repr(opened)]
    with trio.fail_after(5):
        async with opened as stream:
            texts += [repr(stream), str(stream), *task_names()]
            with pytest.raises(moored.StreamError) as caught:
                await exhaust(stream)
            texts += [repr(stream), str(stream.cause), repr(stream.cause), repr(stream.stats)]
            texts += [repr(each) async for each in stream.transitions()]
    texts += every_text(caught.value)
    texts += [record.getMessage() for record in ours(caplog)]
    for text in texts:
        for secret in SECRETS:
            assert secret not in text, text


def ours(caplog):
    """The log records but those of the HTTP libraries at their level for debugging."""
    for record in caplog.records:
        if not record.name.startswith(("httpcore", "hpack")):
            yield record


async def exhaust(stream):
    async for _ in stream:
        pass


async def test_the_values_of_a_cause_hide_what_may_be_secret():
    """An answer may hold a token too: its headers and body are facts, but not text."""
    cause = moored.HandshakeRejected(401, (("set-cookie", "s3cret"),), b"s3cret")
    assert "s3cret" not in repr(cause) + str(cause)


async def test_a_task_of_the_stream_is_named_without_secrets(dialled):
    with suppress(moored.StreamError):
        async with moored.open_websocket(
            "ws://user:s3cretpass@peer.test/?s3cretquery", dial=dialled
        ):
            await trio.testing.wait_all_tasks_blocked()
            names = list(task_names())
    assert "reconnect" in names
    assert not any(secret in name for secret in SECRETS for name in names)
