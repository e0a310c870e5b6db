"""Raw proxies over our own routes: what is told of them, and what strikes them."""

import json

import pytest
import trio


@pytest.fixture
async def api(opened):
    async with opened() as api:
        yield api


@pytest.fixture
async def connected(api, echo_server, dial):
    """Call it: a client through the raw proxy ``p``, which has been echoed once."""
    made = []

    async def connect():
        if not made:
            made.append(await api.proxy(upstream=echo_server))
        client = await dial(int(made[0]["listen"].rpartition(":")[2]))
        await client.send(b"hello")
        assert await client.exactly(5) == b"hello"
        return client

    return connect


async def connections(api, name="p"):
    return (await api.call("GET", f"/moored/raw/{name}/connections")).json()


async def test_they_are_told_of_with_their_connections(api, connected):
    assert (await api.call("GET", "/moored/raw")).json() == []
    await connected()
    await connected()
    await api.call("POST", "/proxies/p/toxics", {"type": "noop"})
    [told] = (await api.call("GET", "/moored/raw")).json()
    assert (told["name"], told["enabled"]) == ("p", True)
    assert told["connections"] == {"open": 2, "accepted": 2}
    assert [toxic["type"] for toxic in told["toxics"]] == ["noop"]
    assert (await api.call("GET", "/moored/raw/p")).json() == told
    first, second = await connections(api)
    assert (first["number"], second["number"]) == (1, 2)
    assert (first["state"], first["transport"]) == ("open", "tcp")
    assert (first["bytes"], first["bytes_to_server"]) == (5, 5)
    assert first["bytes_per_second"] > 0
    assert first["bytes_to_server_per_second"] > 0


@pytest.mark.parametrize(("how", "seen"), [("rst", "rst"), ("fin", "fin")])
async def test_one_connection_is_cut(api, connected, how, seen):
    first, second = await connected(), await connected()
    body = {"fault": "cut", "how": how, "connection": 1}
    answer = await api.call("POST", "/moored/raw/p/strike", body)
    assert answer.json()["struck"] == 1
    assert await first.rest() == (b"", seen)
    await first.aclose()
    await second.send(b"still")
    assert await second.exactly(5) == b"still"
    with trio.fail_after(3):
        await api.control.proxies.changes.wait_until(
            lambda: api.control.proxies.get("p").tcp.open_connections == 1
        )
    told = (await connections(api))[0]
    assert (told["state"], told["outcome"]) == ("ended", "reset" if how == "rst" else "complete")


async def test_all_are_stalled_until_they_are_cut(api, connected):
    clients = [await connected(), await connected()]
    answer = await api.call("POST", "/moored/raw/p/strike", {"fault": "stall"})
    assert answer.json()["struck"] == 2
    assert [each["state"] for each in await connections(api)] == ["stalled", "stalled"]
    for client in clients:
        await client.send(b"anybody?")
        await client.silence(0.05)
    await api.call("POST", "/reset")  # which takes away toxics, and this is none
    await clients[0].silence(0.05)
    third = await connected()  # The next is not stalled.
    answer = await api.call("POST", "/moored/raw/p/strike", {"fault": "stall", "connection": [1]})
    assert answer.json()["struck"] == 0  # It is so already.
    answer = await api.call("POST", "/moored/raw/p/strike", {"fault": "cut"})
    assert answer.json()["struck"] == 3
    for client in (*clients, third):
        assert (await client.rest())[0] == b""


async def test_those_who_come_are_refused_and_the_others_go_on(api, connected, dial):
    client = await connected()
    answer = await api.call("PUT", "/moored/raw/p/accepting", b"false")
    assert not answer.json()["enabled"]
    with pytest.raises(OSError, match=r"refused|failed"):
        await connected()
    await client.send(b"still")
    assert await client.exactly(5) == b"still"
    assert (await api.call("PUT", "/moored/raw/p/accepting", b"true")).json()["enabled"]
    await connected()  # at the same address


@pytest.mark.parametrize(
    ("method", "tail", "body", "status", "words"),
    [
        ("POST", "/strike", {"fault": "refuse"}, 400, "fault must be cut, with how and conn"),
        ("POST", "/strike", {"fault": "cut", "path": "/x"}, 400, "it knows bytes alone"),
        ("POST", "/strike", {"fault": "cut", "after_messages": 3}, 400, "it knows bytes alone"),
        ("POST", "/strike", {"fault": "cut", "how": "x"}, 400, "how must be 'fin' or 'rst'"),
        ("POST", "/strike", {"fault": "cut", "connection": 2}, 404, "there is no connection 2"),
        ("POST", "/strike", [], 400, ""),
        ("PUT", "/accepting", 1, 400, "accepting must be true or false, not 1"),
        ("PUT", "/accepting", b"{", 400, ""),
    ],
)
async def test_what_is_wrong_is_told(api, connected, method, tail, body, status, words):
    await connected()
    answer = await api.call(method, f"/moored/raw/p{tail}", body)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    [connection] = await connections(api)
    assert connection["state"] == "open"


async def test_unknown_ones_and_closed_ones(api, connected):
    await connected()
    for method, tail in [
        *(("GET", ""), ("DELETE", ""), ("GET", "/connections")),
        *(("POST", "/strike"), ("PUT", "/accepting")),
    ]:
        body = b"true" if method == "PUT" else {"fault": "cut"} if method == "POST" else None
        answer = await api.call(method, f"/moored/raw/nobody{tail}", body)
        assert (answer.status_code, answer.json()) == (404, {"error": "proxy not found"})
    assert (await api.call("DELETE", "/moored/raw/p")).status_code == 204
    assert (await api.call("GET", "/proxies")).json() == {}


async def test_the_feed_tells_of_them(api, connected, dial):
    reader = await dial(api.control.port)
    await reader.send(b"GET /moored/feed HTTP/1.0\r\nHost: localhost\r\n\r\n")
    await reader.head()

    async def event(name, condition):
        while True:
            block = (await reader.until(b"\n\n")).decode()
            if block.startswith(f"event: raw_{name}\n"):
                data = json.loads(block.split("data: ", 1)[1])
                if condition(data):
                    return data

    client = await connected()
    await event("proxies", lambda data: data["proxies"][0]["connections"]["open"] == 1)
    data = await event("connections", lambda data: data["connections"][0]["bytes"] == 5)
    assert (data["proxy"], data["connections"][0]["samples"][-1][1:]) == ("p", [0, 5, 0, 5])
    await client.send(b"more")
    data = await event("connections", lambda data: data["connections"][0]["bytes"] == 9)
    assert len(data["connections"][0]["samples"]) == 1
    await api.call("POST", "/proxies/p/toxics", {"type": "latency"})
    await event("proxies", lambda data: data["proxies"][0]["toxics"])
    await api.call("POST", "/moored/raw/p/strike", {"fault": "cut", "how": "rst"})
    await event("connections", lambda data: data["connections"][0]["outcome"] == "reset")
    await api.call("DELETE", "/proxies/p")
    await event("proxies", lambda data: data["proxies"] == [])


async def test_they_are_guarded(opened):
    async with opened(token="secret") as api:
        assert (await api.call("GET", "/moored/raw")).status_code == 401
        evil = {"Authorization": "Bearer secret", "Origin": "http://evil.test"}
        assert (await api.call("GET", "/moored/raw", headers=evil)).status_code == 403
