"""Many fault proxies in one process: their file, and watching them."""

import pytest
import trio

from moored.faults import Cut, Proxy, ScheduleFileError, Stall
from moored.faults.proxies import (
    Activity,
    FaultProxies,
    ProxyExists,
    ProxySettings,
    UnknownProxy,
    activity,
    load_proxies,
)
from moored.faults.record import Changes

CONFIG = """
- name: feed
  upstream: http://127.0.0.1:8000
  port: 8001
  seed: 7
  schedule: flaky.json
- name: chat
  upstream: ws://127.0.0.1:8002/chat
  listen: "[::1]:0"
  schedule:
    - {fault: stall, after_seconds: 1}
- {name: plain, upstream: https://example.test, listen: ":9"}
"""


def test_one_port_is_had_on_two_addresses_and_a_free_one_by_many(tmp_path):
    file = tmp_path / "proxies.yaml"
    listens = ["127.0.0.1:9", "127.0.0.2:9", "[::]:9", ":0", ":0", "127.0.0.1:0"]
    entries = enumerate(listens)
    file.write_text(
        "".join(f'- {{name: p{n}, upstream: "http://x", listen: "{at}"}}\n' for n, at in entries)
    )
    assert len(load_proxies(file)) == 6


def test_proxies_from_a_file(tmp_path):
    (tmp_path / "flaky.json").write_text('[{"fault": "cut", "after_messages": 3}]')
    file = tmp_path / "proxies.yaml"
    file.write_text(CONFIG)
    assert load_proxies(file) == (
        ProxySettings(
            "feed", "http://127.0.0.1:8000", "127.0.0.1", 8001, (Cut(after_messages=3),), 7
        ),
        ProxySettings("chat", "ws://127.0.0.1:8002/chat", "::1", 0, (Stall(after_seconds=1),)),
        ProxySettings("plain", "https://example.test", "0.0.0.0", 9),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "proxies.json: proxies must be a list of at least one proxy, not {}"),
        ("[]", "proxies must be a list of at least one proxy"),
        ("[1]", "proxies.json: [0].proxy must be an object, not 1"),
        ('[{"name": "a"}]', "[0].upstream must be a URL"),
        ('[{"upstream": "http://x"}]', "[0].name must be 1 to 100 letters"),
        ('[{"name": "a", "upstream": "http://x", "x": 1}]', "[0].field must be one of name"),
        (
            '[{"name": "a", "upstream": "http://x"}, {"name": "a", "upstream": "http://y"}]',
            "[1].name must be another one than those before, not 'a'",
        ),
        (
            '[{"name": "a", "upstream": "http://x", "port": 9}, '
            '{"name": "b", "upstream": "http://y"}, '
            '{"name": "c", "upstream": "http://y", "port": 9}]',
            "[2].port must be another address than that of 'a', not 9",
        ),
        (
            '[{"name": "a", "upstream": "http://x", "port": 9}, '
            '{"name": "b", "upstream": "http://y", "listen": "localhost:9"}]',
            "[1].listen must be another address than that of 'a', not 'localhost:9'",
        ),
        (
            '[{"name": "a", "upstream": "http://x", "listen": "127.0.0.2:9"}, '
            '{"name": "b", "upstream": "http://y", "listen": ":9"}]',
            "[1].listen must be another address than that of 'a', not ':9'",
        ),
        (
            '[{"name": "a", "upstream": "http://x", "schedule": [{"fault": "cut"}]}]',
            "[0].schedule[0].after_messages/after_bytes/after_seconds/at must be given",
        ),
        (
            '[{"name": "a", "upstream": "http://x", "schedule": {"faults": 1}}]',
            "[0].schedule.faults must be a list of faults, not 1",
        ),
        ("[", "proxies.json: not JSON"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(tmp_path, text, words):
    file = tmp_path / "proxies.json"
    file.write_text(text)
    with pytest.raises(ScheduleFileError) as caught:
        load_proxies(file)
    assert words in str(caught.value)


def test_what_is_wrong_in_a_file_that_it_names(tmp_path):
    file = tmp_path / "proxies.json"
    file.write_text('[{"name": "a", "upstream": "http://x", "schedule": "s.yaml"}]')
    with pytest.raises(FileNotFoundError):
        load_proxies(file)
    (tmp_path / "s.yaml").write_text("- {fault: cut, after_messages: -1}")
    with pytest.raises(ScheduleFileError, match=r"s\.yaml: \[0\]\.after_messages must be"):
        load_proxies(file)


async def test_proxies_are_opened_and_closed(nursery, serve, dial):
    upstream = await serve(lambda plain: plain.rest())
    proxies = FaultProxies(nursery)
    first = await proxies.open(ProxySettings("a", upstream.url))
    second = await proxies.open(ProxySettings("b", upstream.url))
    assert [each.name for each in proxies] == ["a", "b"]
    assert (proxies.get("a"), len(proxies)) == (first, 2)
    with pytest.raises(ProxyExists):
        await proxies.open(ProxySettings("a", upstream.url))
    with pytest.raises(OSError, match="in use"):
        await proxies.open(ProxySettings("c", upstream.url, port=first.proxy.port))
    client = await dial(first.proxy.port)
    await first.proxy.wait_until(lambda: first.proxy.connection_count == 1)
    await proxies.close("a")
    assert await client.rest() == (b"", "fin")
    assert first.activity.connections[1].record.outcome == "proxy closed"
    with pytest.raises(UnknownProxy):
        proxies.get("a")
    with pytest.raises(UnknownProxy):
        await proxies.close("a")
    await proxies.close_all()
    assert [each.name for each in proxies] == ["b"]
    for closed in (first, second):
        with pytest.raises(OSError):
            await dial(closed.proxy.port)


# ---------------------------------------------------------------------------- watching


@pytest.fixture
async def watched(nursery):
    """A proxy on memory streams, its activity, and a server that is told what to send."""
    send, receive = trio.open_memory_channel(10)

    async def connect():
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_one, theirs)
        return ours

    async def serve_one(stream):
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        async for count in receive:
            await stream.send_all(b"data: x\n\n" * count)

    proxy = Proxy("http://upstream.test", connect_upstream=connect, controlled=True)
    changes = Changes()
    watching = Activity(proxy, changes)
    nursery.start_soon(watching.run)
    return proxy, watching, send, changes


async def test_counts_become_samples_and_rates(watched, memory, autojump_clock):
    proxy, watching, send, changes = watched
    client = await memory(proxy)
    await client.get("/feed")
    for _ in range(4):
        await send.send(2)
        await trio.sleep(1)
    connection = watching.connections[1]
    assert [sample.messages for sample in connection.samples] == [2, 4, 6, 8]
    now = trio.current_time()
    assert connection.rate("messages", now) == pytest.approx(2)
    assert connection.rate("bytes", now) == pytest.approx(18)
    before = changes.count
    await trio.sleep(10)
    assert changes.count == before  # Nothing changed, so nobody was told.
    assert connection.rate("messages", trio.current_time()) == 0
    assert activity.state_of(connection.record) == "open"


async def test_states_follow_each_other(watched, memory, autojump_clock):
    proxy, watching, _, _ = watched
    client = await memory(proxy)
    states = []

    async def note():
        await trio.sleep(1)
        states.append(activity.state_of(watching.connections[1].record))

    await note()
    await client.get("/feed")
    await note()
    proxy.stall()
    await note()
    proxy.cut()
    await trio.sleep(0.5)
    states.append(activity.state_of(watching.connections[1].record))
    await trio.sleep(5)
    await note()
    assert states == ["accepted", "open", "stalled", "closing", "ended"]


async def test_what_is_kept_is_bounded(watched, memory, monkeypatch, autojump_clock):
    monkeypatch.setattr(activity, "CONNECTIONS", 3)
    proxy, watching, _, _ = watched

    async def client():
        client = await memory(proxy)
        await trio.sleep(0.01)  # Now it has its number.
        return client

    clients = [await client() for _ in range(3)]
    await trio.sleep(1)
    await clients[1].aclose()
    await trio.sleep(1)
    await client()
    await trio.sleep(1)
    assert sorted(watching.connections) == [1, 3, 4]  # The one that had ended made room.
    await client()
    await trio.sleep(1)
    assert sorted(watching.connections) == [3, 4, 5]
    for _ in range(5):
        await client()
    await trio.sleep(1)
    assert sorted(watching.connections) == [8, 9, 10]
