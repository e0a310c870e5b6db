"""What the openers refuse, before anything is opened: the name, the value, the bound."""

import importlib.util

import pytest

import moored

WS, SSE = "ws://feed.test/", "http://feed.test/"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"cursor": 5}, TypeError, "cursor must be callable or None, not 5"),
        ({"resume": "x"}, TypeError, "resume must be callable or None, not 'x'"),
        ({"acknowledged": 1}, TypeError, "acknowledged must be callable or None, not 1"),
        ({"on_gap": []}, TypeError, r"on_gap must be callable or None, not \[\]"),
        ({"dial": "tcp"}, TypeError, "dial must be callable or None, not 'tcp'"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a sequence of names"),
        ({"subprotocols": ["a b"]}, ValueError, "subprotocols must hold HTTP tokens, not 'a b'"),
        ({"subprotocols": ["a", "a"]}, ValueError, "subprotocols must name each only once"),
        ({"headers": {"Upgrade": "x"}}, ValueError, "'Upgrade', which the protocol sets itself"),
        ({"headers": {"Sec-WebSocket-Key": "x"}}, ValueError, "which the protocol sets itself"),
        ({"headers": {"X": 5}}, TypeError, "a value of 'X' that is int, not text"),
        ({"headers": [("X",)]}, TypeError, "headers must hold pairs of name and value"),
        ({"headers": "X: 5"}, TypeError, "headers must be a mapping or pairs, not str"),
        ({"policy": {}}, TypeError, "policy must be a moored.Policy, not dict"),
    ],
)
def test_open_websocket_refuses(options, error, words):
    with pytest.raises(error, match=words):
        moored.open_websocket(WS, **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "GE T"}, ValueError, "method must be an HTTP token, not 'GE T'"),
        ({"method": ""}, ValueError, "method must be an HTTP token, not ''"),
        ({"method": 5}, TypeError, "method must be text, not 5"),
        ({"json": object()}, ValueError, "json must be a value that JSON can hold"),
        ({"json": float("nan")}, ValueError, "json must be a value that JSON can hold"),
        ({"json": {"a": b"x"}}, ValueError, "json must be a value that JSON can hold"),
        ({"json": "\ud800"}, ValueError, "json must be a value that JSON can hold"),
        ({"content": "text"}, TypeError, "content must be bytes, not str"),
        ({"json": 1, "content": b""}, ValueError, "a request has one body"),
        ({"terminator": 5}, TypeError, "terminator must be text, callable or None, not 5"),
        ({"identity": 5}, TypeError, "identity must be callable or None, not 5"),
        ({"last_event_id": 5}, TypeError, "last_event_id must be text, not 5"),
        ({"last_event_id": "a\nb"}, ValueError, "last_event_id must hold no NUL and no line end"),
        ({"headers": {"content-length": "5"}}, ValueError, "which the protocol sets itself"),
    ],
)
def test_open_sse_refuses(options, error, words):
    with pytest.raises(error, match=words):
        moored.open_sse(SSE, **options)


def test_http2_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"install moored\[http2\]"):
        moored.open_sse("https://feed.test/", http2=True)


async def test_a_body_is_what_it_was_when_the_stream_was_opened(clock, network):
    bodies = []

    async def server(stream):
        data = b""
        while b"}" not in data:
            data += await stream.receive_some()
        bodies.append(data[data.index(b"{") :])
        await stream.send_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    network.serve(server)
    value = {"prompt": "one"}
    policy = moored.Policy(reconnect=moored.Reconnect(attempts=2))
    async with network.sse(json=value, policy=policy) as stream:
        value["prompt"] = "two"
        with pytest.raises(moored.StreamError):
            await stream.receive()
    assert bodies == [b'{"prompt":"one"}'] * 2
