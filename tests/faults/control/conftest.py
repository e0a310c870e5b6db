"""The control server with a client that speaks HTTP, and servers to put proxies before."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import trio

from moored.faults.control import open_control


class Api:
    """A control server, and what asks it."""

    def __init__(self, control, http):
        self.control = control
        self.http = http

    async def call(self, method, path, body=None, **options):
        """The answer; ``body`` is sent as JSON, or as it is if it is bytes."""
        kind = "content" if isinstance(body, bytes) else "json"
        options |= {} if body is None else {kind: body}
        return await self.http.request(method, path, **options)

    async def proxy(self, name="p", **fields):
        fields = {"upstream": "127.0.0.1:1", "listen": "127.0.0.1:0", **fields}
        answer = await self.call("POST", "/proxies", {"name": name, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def opened():
    """Call it with the settings of the server: a context that gives the server and a client."""

    @asynccontextmanager
    async def opened(**settings):
        async with (
            open_control(**settings) as control,
            httpx.AsyncClient(base_url=control.url, verify=False) as http,
        ):
            yield Api(control, http)

    return opened


@pytest.fixture
async def echo_server(nursery):
    """The address of a server that sends back what it gets."""

    async def echo(stream):
        while data := await stream.receive_some():
            await stream.send_all(data)

    async def tolerant(stream):
        with suppress(trio.BrokenResourceError):
            await echo(stream)

    listeners = await nursery.start(trio.serve_tcp, tolerant, 0)
    return f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
