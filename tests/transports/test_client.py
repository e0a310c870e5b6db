"""A caller's own httpx client: used as it is, never closed, and nothing of it left hanging."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest
import trio

import moored
from moored.core.causes import AbnormalClosure, ConnectFailed

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_RETRY = moored.Policy(reconnect=moored.Reconnect(attempts=0))


@pytest.fixture
async def numbers(tcp):
    """A server that sends an event each hundredth of a second, and its count of open answers."""

    async def script(peer):
        script.open += 1
        try:
            with suppress(AssertionError):  # a client that was cancelled may ask for nothing
                await peer.request()
            await peer.send(HEAD)
            for number in range(1000):
                data = b"id: %d\ndata: %d\n\n" % (number, number)
                await peer.send(b"%x\r\n%b\r\n" % (len(data), data))
                await trio.sleep(0.01)
        finally:
            script.open -= 1

    script.open = 0
    script.port = await tcp(script)
    script.url = f"http://127.0.0.1:{script.port}/"
    return script


async def test_breaking_off_closes_the_answer_and_not_the_client(numbers):
    async with httpx.AsyncClient() as client:
        for _ in range(3):
            async with moored.open_sse(numbers.url, client=client) as stream:
                async for event in stream:
                    if event.data == "2":
                        break
            assert not client.is_closed
        with trio.fail_after(2):
            while numbers.open:  # noqa: ASYNC110 - the server tells nobody
                await trio.sleep(0.01)


@pytest.mark.parametrize("delay", [0, 0.001, 0.02])
async def test_cancelling_leaves_nothing_and_does_not_harm_the_client(numbers, delay):
    """No slot of its pool is left behind: it has only one, and still works."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
        for _ in range(3):
            with trio.move_on_after(delay):
                async with moored.open_sse(numbers.url, client=client) as stream:
                    async for _ in stream:
                        pass
        with trio.fail_after(2):
            async with moored.open_sse(numbers.url, client=client) as stream:
                assert (await stream.receive()).data == "0"
        assert not client.is_closed


async def test_its_read_timeout_does_not_race_our_clocks(tcp):
    async def script(peer):
        await peer.request()
        await trio.sleep(0.15)
        await peer.send(HEAD)
        await trio.sleep(0.15)
        await peer.send(b"9\r\ndata: a\n\n\r\n")
        await peer.rest()

    port = await tcp(script)
    async with (
        httpx.AsyncClient(timeout=0.05) as client,
        moored.open_sse(f"http://127.0.0.1:{port}/", client=client, policy=NO_RETRY) as stream,
    ):
        assert (await stream.receive()).data == "a"


async def test_its_defaults_are_used(tcp):
    requests = []

    async def script(peer):
        requests.append(await peer.request())
        await peer.send(HEAD)
        await peer.rest()

    port = await tcp(script)
    async with (
        httpx.AsyncClient(
            base_url="http://unused.test/", headers={"X-Default": "yes"}, auth=("user", "pw")
        ) as client,
        moored.open_sse(f"http://127.0.0.1:{port}/", client=client) as stream,
    ):
        await stream.wait_for(moored.State.OPEN)
    (_, fields, _) = requests[0]
    assert fields["x-default"] == [b"yes"]
    assert fields["authorization"] == [b"Basic dXNlcjpwdw=="]
    assert fields["accept"] == [b"text/event-stream"]
    assert fields["accept-encoding"] == [b"identity"]


async def test_it_reconnects(tcp):
    asked = []

    async def script(peer):
        _, fields, _ = await peer.request()
        asked.append(fields.get("last-event-id"))
        await peer.send(HEAD)
        if len(asked) == 1:
            await peer.send(b"f\r\nid: 1\ndata: a\n\n\r\n")
            await trio.sleep(0.02)
            peer.rst()
        else:
            await peer.send(b"9\r\ndata: b\n\n\r\n")
            await peer.rest()

    port = await tcp(script)
    policy = moored.Policy(reconnect=moored.Reconnect(initial=0.01, maximum=0.01))
    async with (
        httpx.AsyncClient() as client,
        moored.open_sse(f"http://127.0.0.1:{port}/", client=client, policy=policy) as stream,
    ):
        assert [(await stream.receive()).data for _ in range(2)] == ["a", "b"]
        causes = []
        async for transition in stream.transitions():
            causes.append(transition.cause)
            if len(causes) == 3:
                break
    assert asked == [None, [b"1"]]
    assert causes[2] == AbnormalClosure()


async def test_a_refused_port(sse, refused, tcp):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with httpx.AsyncClient() as client:
        cause = await refused(
            sse(f"http://127.0.0.1:{port}/", memory=False, transport={"client": client})
        )
    assert cause == ConnectFailed("tcp")


async def test_a_name_that_does_not_resolve(sse, refused):
    async with httpx.AsyncClient() as client:
        cause = await refused(
            sse("http://does-not-exist.invalid/", memory=False, transport={"client": client})
        )
    assert cause == ConnectFailed("dns")


async def test_a_mock_transport():
    def answer(request):
        return httpx.Response(
            200, headers={"Content-Type": "text/event-stream"}, content=b"data: a\n\ndata: b\n\n"
        )

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        async with moored.open_sse("http://peer.test/", client=client, method="POST") as stream:
            assert [event.data async for event in stream] == ["a", "b"]
        assert not client.is_closed


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadError, httpx.PoolTimeout])
async def test_a_transport_that_fails(failure, sse, refused):
    def answer(request):
        raise failure("no luck")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        cause = await refused(sse(memory=False, transport={"client": client}))
    assert isinstance(cause, ConnectFailed)


async def test_a_transport_that_breaks_off(sse, drain):
    class Body(httpx.AsyncByteStream):
        async def __aiter__(self):
            yield b"data: a\n\n"
            raise httpx.ReadError("cut")

    def answer(request):
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Body())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        events, cause = await drain(await sse(memory=False, transport={"client": client}))
    assert [event.data for event in events] == ["a"]
    assert cause == AbnormalClosure()


async def test_a_closed_client_is_one_clear_error():
    client = httpx.AsyncClient()
    await client.aclose()
    with pytest.raises(moored.MooredError):
        async with moored.open_sse("http://peer.test/", client=client, policy=NO_RETRY) as stream:
            await stream.receive()


@pytest.mark.parametrize("own", [False, True], ids=["callers", "ours"])
async def test_150_streams_at_once(numbers, own):
    """No pool caps them, but for the caller's own limits."""
    opened = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits) as client:

        async def one():
            async with moored.open_sse(numbers.url, client=None if own else client) as stream:
                await stream.receive()
                opened.append(stream)
                await trio.sleep_forever()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(150):
                    nursery.start_soon(one)
                while len(opened) < 150:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
