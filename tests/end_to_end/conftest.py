"""Both transports against real servers through real proxies, on real sockets and in real time."""

from __future__ import annotations

import gc
import json
import os

import attrs
import pytest
import trio

import moored


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """What was there before the first test is not searched again for each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left_open(_quick_collections):
    """Every test: no descriptor stays open.  (Warnings of collected generators are errors.)"""
    gc.collect()
    before = open_descriptors()
    yield
    gc.collect()
    assert open_descriptors() == before


@pytest.fixture
def quick():
    """Call it with settings: a policy that retries within hundredths of a second."""

    def make(**settings):
        reconnect = {"initial": 0.01, "maximum": 0.02, "attempts": 5}
        reconnect.update(settings.pop("reconnect", {}))
        return moored.Policy(
            **{"connect_timeout": 5.0, "heartbeat": None, **settings},
            reconnect=moored.Reconnect(**reconnect),
        )

    return make


@attrs.frozen
class Feed:
    """The numbered feed over one transport."""

    name: str

    def url(self, peer, path="/feed"):
        """The URL at ``peer``: a mock server, a proxy or a plain port."""
        if isinstance(peer, int):
            scheme = "ws" if self.name == "websocket" else "http"
            return f"{scheme}://127.0.0.1:{peer}{path}"
        base = getattr(peer, "http_url", None) or peer.url
        if self.name == "websocket":
            base = peer.ws_url
        return base + path

    def open(self, peer, query="", **options):
        url = self.url(peer) + query
        if self.name == "websocket":
            return moored.open_websocket(
                url,
                cursor=lambda text: json.loads(text).get("id"),
                resume=lambda position: json.dumps({"resume": position}),
                **options,
            )
        options.setdefault("terminator", '{"end":true}')
        return moored.open_sse(url, **options)

    def number(self, message):
        """The number of a message, or ``None`` for the one that says that the feed is over."""
        data = message if self.name == "websocket" else message.data
        return json.loads(data).get("id")

    async def numbers(self, stream):
        found = [self.number(message) async for message in stream]
        return [number for number in found if number is not None]


@pytest.fixture(params=["websocket", "sse"])
def feed(request):
    """The feed, once over each transport."""
    return Feed(request.param)


async def causes_of(stream):
    """Every cause that a stream had, in order, once it is closed."""
    return [each.cause async for each in stream.transitions() if each.cause is not None]


@pytest.fixture
def causes():
    """The function that gives every cause that a closed stream had."""
    return causes_of


@pytest.fixture
async def serve(nursery):
    """Call it with ``async def handler(stream)``: a plain server, whose port it returns."""

    async def serve(handler):
        async def handle(stream):
            async with stream:
                await handler(stream)

        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        return listeners[0].socket.getsockname()[1]

    return serve


@pytest.fixture
def descriptors():
    """The function that counts open descriptors."""
    return open_descriptors
