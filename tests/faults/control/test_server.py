"""Who may talk to the control server, and how it starts and stops."""

import json
import os
import socket

import httpx
import pytest
import trio
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from moored.faults import ScheduleError
from moored.faults.control import ApiError, open_control
from moored.faults.control.guard import is_loopback


async def status(api, path="/proxies", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await api.call("GET", path, headers=headers)).status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("localhost", 200), ("localhost:1", 200), ("LOCALHOST", 200), ("127.0.0.1", 200)),
        *(("[::1]:80", 200), ("evil.test", 403), ("evil.test:8474", 403), ("", 403)),
        *(("127.0.0.1.evil.test", 403), ("192.168.0.1", 403), ("[", 403), ("localhost.", 403)),
    ],
)
async def test_only_its_own_names_are_served(opened, host, expected):
    async with opened() as api:
        assert await status(api, Host=host) == expected
        assert await status(api, "/nothing", Host=host) == (404 if expected == 200 else 403)


async def test_a_request_without_a_host_is_refused(opened, dial):
    async with opened() as api:
        client = await dial(api.control.port)
        await client.send(b"GET /proxies HTTP/1.0\r\n\r\n")
        assert (await client.head())[0].split()[1] == "403"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        *((None, 200), ("http://localhost:99", 200), ("http://evil.test", 403), ("null", 403)),
        *(("http://localhost:98", 403), ("https://localhost:99", 403), ("", 403)),
    ],
)
async def test_pages_from_elsewhere_are_refused(opened, origin, expected):
    async with opened() as api:
        headers = {} if origin is None else {"Origin": origin}
        assert await status(api, Host="localhost:99", **headers) == expected


async def test_elsewhere_than_on_loopback_it_wants_a_token(opened):
    for host in ("", "0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ScheduleError, match="token"):
            async with open_control(host):
                pass  # pragma: no cover
    async with opened(host="0.0.0.0", token="secret", allowed_hosts=["Box.test"]) as api:
        assert await status(api) == 401
        assert await status(api, Authorization="Bearer wrong") == 401
        assert await status(api, Authorization="Basic secret") == 401
        assert await status(api, Authorization="Bearer secret") == 200
        assert await status(api, Authorization="bearer secret", Host="box.test:1") == 200
        assert await status(api, Authorization="Bearer secret", Host="192.0.2.7") == 200
        assert await status(api, Authorization="Bearer secret", Host="evil.test") == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")),
        ("127.0.0.1", "http://127.0.0.1:"),
    ],
)
async def test_its_url_is_of_the_kind_that_was_asked_for(opened, host, expected):
    async with opened(host=host, token="secret") as api:
        assert api.control.url == f"{expected}{api.control.port}"
        assert await status(api, "/version", Authorization="Bearer secret") == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("", False),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.test", False)],
)  # fmt: skip
def test_what_is_loopback(host, expected):
    assert is_loopback(host) is expected


async def test_more_routes_stand_beside_the_api(opened, dial):
    async def page(request):
        return PlainTextResponse("hello")

    async def live(websocket):
        await websocket.accept()
        await websocket.send_text("live")
        await websocket.close()

    routes = [Route("/moored/page", page), WebSocketRoute("/moored/live", live)]
    async with opened(routes=routes) as api:
        answer = await api.call("GET", "/moored/page", headers={"User-Agent": "Mozilla/5.0"})
        assert (answer.status_code, answer.text) == (200, "hello")
        assert await status(api) == 200
        for host, expected in (("localhost", 101), ("evil.test", 403)):
            client = await dial(api.control.port)
            got, _ = await client.upgrade("/moored/live", "X: y")  # its own Host is proxy.test
            assert got == 403
            client = await dial(api.control.port)
            await client.send(
                f"GET /moored/live HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert int((await client.head())[0].split()[1]) == expected
        assert (await client.rest())[1] in ("fin", "rst")


async def test_it_begins_with_the_proxies_that_it_is_given():
    entries = [{"name": "p", "upstream": "127.0.0.1:1", "listen": "127.0.0.1:0"}]
    async with open_control(populate=entries) as control:
        assert [proxy.tcp.name for proxy in control.proxies] == ["p"]
    with pytest.raises(ApiError, match="missing required field: upstream at proxy 1"):
        async with open_control(populate=[{"name": "p"}]):
            pass  # pragma: no cover


async def test_changes_are_told(opened):
    async with opened() as api:
        proxies = api.control.proxies

        async def wait(condition, task_status):
            task_status.started()
            with trio.fail_after(2):
                await proxies.changes.wait_until(condition)

        async with trio.open_nursery() as waiting:
            await waiting.start(wait, lambda: [each.tcp.name for each in proxies] == ["p"])
            await waiting.start(wait, lambda: [len(each.toxics) for each in proxies] == [1])
            await api.proxy()
            await api.call("POST", "/proxies/p/toxics", {"type": "noop"})
        async with trio.open_nursery() as waiting:
            await waiting.start(wait, lambda: list(proxies) == [])
            await api.call("DELETE", "/proxies/p")


@pytest.mark.parametrize("path", ["/populate", "/moored/proxies"])
async def test_a_body_that_is_too_long_is_refused_before_it_comes(opened, dial, path):
    async with opened() as api:
        client = await dial(api.control.port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1099511627776\r\n\r\n"
        await client.send(head.encode())
        with trio.fail_after(1):
            line, fields = await client.head()
            body = json.loads(await client.exactly(int(fields["content-length"])))
        assert (line.split()[1], fields["connection"]) == ("413", "close")
        assert body == {"error": "body of more than 16777216 bytes", "status": 413}
        await client.send(bytes(1 << 20))  # It had begun to send, and still gets the answer.
        await client.stream.send_eof()
        with trio.fail_after(1):
            assert await client.rest() == (b"", "fin")


@pytest.mark.parametrize("path", ["/populate", "/moored/proxies"])
async def test_a_client_that_leaves_inside_its_body_is_no_failure(opened, dial, caplog, path):
    async with opened() as api:
        client = await dial(api.control.port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n"
        await client.send(head.encode() + b"{")
        await client.stream.send_eof()
        await client.rest()
    assert caplog.records == []  # It is over when the server has ended.


async def test_nothing_is_left_when_the_block_is_left(echo_server, dial):
    files = len(os.listdir("/proc/self/fd"))
    tasks = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(5):
        async with open_control() as control:
            port = control.port
            async with httpx.AsyncClient(base_url=control.url) as http:
                body = {"name": "p", "upstream": echo_server, "listen": "127.0.0.1:0"}
                made = (await http.post("/proxies", json=body)).json()
                client = await dial(int(made["listen"].rpartition(":")[2]))
                await client.send(b"x")
                assert await client.exactly(1) == b"x"
            idle = await dial(port)
            await trio.sleep(0.01)
        assert await client.rest() == (b"", "fin")
        assert (await idle.rest())[1] in ("fin", "rst")
        await client.aclose()
        await idle.aclose()
        for address in (port, int(made["listen"].rpartition(":")[2])):
            with pytest.raises(OSError):
                await dial(address)
        while (  # noqa: ASYNC110 - the upstream's tasks and files end with their connections
            trio.lowlevel.current_statistics().tasks_living > tasks
            or len(os.listdir("/proc/self/fd")) > files
        ):
            await trio.sleep(0.005)


async def test_what_the_block_raises_comes_out_as_itself():
    with pytest.raises(ZeroDivisionError):
        async with open_control():
            raise ZeroDivisionError


async def test_an_address_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        async with open_control(port=other.getsockname()[1]):
            pass  # pragma: no cover
