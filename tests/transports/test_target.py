"""URLs and headers: what is fit to be sent, what is asked for anew, and what is never shown."""

from __future__ import annotations

import httpx
import pytest
import trio

import moored
from moored.core.causes import ConnectFailed
from moored.errors import HookFailed
from moored.transports.base import ConnectionEnded
from moored.transports.target import Target, shown

HTTP = ("http", "https")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://s3cret@host/?s3cret", "http:// or https://"),
        ("ws://host/?token=s3cret", "http:// or https://"),
        ("host/s3cret", "http:// or https://"),
        ("//host/s3cret", "http:// or https://"),
        ("", "http:// or https://"),
        ("http://", "host"),
        ("http:///path?token=s3cret", "host"),
        ("http://user:s3cret@", "host"),
        ("http://host:s3cret/", "valid URL"),
        ("http://host:99999/?token=s3cret", "port from 1 to 65535, not 99999"),
        ("http://host:0/?token=s3cret", "port from 1 to 65535, not 0"),
        ("http://[::1/?token=s3cret", "valid URL"),
        ("http://host/\x00s3cret", "valid URL"),
        ("http://host/" + "s3cret" * 20_000, "valid URL"),
        ([], "empty"),
        (["http://good.test/", "http://host:s3cret/"], "valid URL"),
    ],
)
def test_bad_urls_are_one_clear_error(url, says):
    with pytest.raises(ValueError, match=says) as caught:
        Target(url, HTTP)
    error = caught.value
    assert type(error) is ValueError
    assert "s3cret" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert "url" in str(error)


@pytest.mark.parametrize("opener", [moored.open_websocket, moored.open_sse])
def test_bad_urls_are_told_where_they_are_given(opener):
    """By the opener itself, not by the first attempt."""
    with pytest.raises(ValueError, match="url must begin with"):
        opener("gopher://host/")


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Bad Name": "s3cret"}, "Bad Name"),
        ({"": "s3cret"}, "token"),
        ({"Bad:": "s3cret"}, "Bad:"),
        ({"Näme": "s3cret"}, "token"),
        ({"Authorization": "Bearer s3cret\n"}, "control character"),
        ({"Authorization": "s3cret\r\nX-Injected: yes"}, "control character"),
        ({"Authorization": "s3cret\x00"}, "control character"),
        ({"Authorization": "s3cret\x7f"}, "control character"),
        ([("X", "1"), ("Y\r\nZ", "s3cret")], "token"),
    ],
)
def test_bad_headers_are_one_clear_error(headers, says):
    with pytest.raises(ValueError, match=says) as caught:
        Target("http://host/", HTTP, headers)
    assert "s3cret" not in str(caught.value)
    assert "headers" in str(caught.value)


async def test_headers_as_they_go_over_the_wire():
    given = {"X-Text": "grüße", "X-Bytes": b"\xff", b"X-Name": " trimmed\t", "X-Tab": "a\tb"}
    _, raw = await Target("http://host/", HTTP, given).resolve(0)
    assert raw == [
        (b"X-Text", "grüße".encode()),
        (b"X-Bytes", b"\xff"),
        (b"X-Name", b"trimmed"),
        (b"X-Tab", b"a\tb"),
    ]
    _, raw = await Target("http://host/", HTTP, [("A", "1"), ("A", "2")]).resolve(0)
    assert raw == [(b"A", b"1"), (b"A", b"2")]


async def test_urls_take_turns_and_lose_their_fragment():
    target = Target(["http://a.test/#x", "http://b.test/"], HTTP)
    urls = [str((await target.resolve(turn))[0]) for turn in range(3)]
    assert urls == ["http://a.test/", "http://b.test/", "http://a.test/"]


async def test_callables_are_asked_each_time():
    urls = iter(["http://a.test/", "http://b.test/"])

    async def headers():
        await trio.lowlevel.checkpoint()
        return [("A", "1")]

    target = Target(lambda: next(urls), HTTP, headers)
    assert await target.resolve(0) == (httpx.URL("http://a.test/"), [(b"A", b"1")])
    assert (await target.resolve(0))[0] == httpx.URL("http://b.test/")


@pytest.mark.parametrize("failure", [OSError("away"), httpx.ConnectError("away"), TimeoutError()])
@pytest.mark.parametrize("which", ["url", "headers"])
async def test_a_callable_that_fails_as_a_network_does_is_tried_again(failure, which):
    def fail():
        raise failure

    target = Target(fail, HTTP) if which == "url" else Target("http://a.test/", HTTP, fail)
    with pytest.raises(ConnectionEnded) as caught:
        await target.resolve(0)
    assert caught.value.cause == ConnectFailed("credentials", detail=type(failure).__name__)
    assert caught.value.cause.exception is failure


@pytest.mark.parametrize("which", ["url", "headers"])
async def test_a_callable_that_fails_otherwise_is_a_failed_hook(which):
    failure = KeyError("bug")

    def fail():
        raise failure

    target = Target(fail, HTTP) if which == "url" else Target("http://a.test/", HTTP, fail)
    with pytest.raises(HookFailed) as caught:
        await target.resolve(0)
    assert caught.value.hook == which
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize(
    ("url", "headers", "hook"),
    [
        (lambda: "ftp://a/", None, "url"),
        (lambda: None, None, "url"),
        ("http://a/", lambda: {"Bad Name": "x"}, "headers"),
        ("http://a/", lambda: None, "headers"),
        ("http://a/", lambda: 7, "headers"),
        ("http://a/", lambda: {"A": None}, "headers"),
    ],
)
async def test_a_callable_that_gives_what_cannot_be_sent(url, headers, hook):
    with pytest.raises(HookFailed) as caught:
        await Target(url, HTTP, headers).resolve(0)
    assert caught.value.hook == hook


async def test_a_callable_that_is_cancelled_is_cancelled():
    target = Target("http://a/", HTTP, trio.sleep_forever)
    with trio.move_on_after(0.01) as scope:
        await target.resolve(0)
    assert scope.cancelled_caught


def test_what_is_shown_of_a_url():
    url = "http://user:s3cret@host.test:81/path?token=s3cret#s3cret"
    assert shown(httpx.URL(url)) == "http://host.test:81/path"
    target = Target(url, HTTP, {"Authorization": "s3cret"})
    assert target.name == "http://host.test:81/path"
    assert "s3cret" not in repr(target)
    assert Target(lambda: url, HTTP).name == "url from a callable"
