"""Redirects, followed one by one: what goes where, and what goes nowhere."""

from __future__ import annotations

import json

import httpx
import pytest
import trio

import moored
from moored.core.causes import HandshakeRejected, ProtocolViolation
from moored.transports.base import Attempt
from moored.transports.redirects import MAX_REDIRECTS, Redirect

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"9\r\ndata: a\n\n\r\n0\r\n\r\n"
)


def found(location, status=302, body=b""):
    return b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        location.encode(),
        len(body),
        body,
    )


class Site:
    """Answers each request with the next answer; after the last, with a stream."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def __call__(self, peer):
        self.requests.append(await peer.request())
        await peer.send(self.answers.pop(0) if self.answers else STREAM)
        await peer.rest()


@pytest.fixture
def site(dialled):
    """Call it with answers: they are given one after the other."""

    def make(*answers):
        dialled.script = Site(*answers)
        return dialled.script

    return make


SECRETS = {
    "Authorization": "Bearer s3cret",
    "X-Api-Key": "s3cret",
    "Cookie": "session=s3cret",
    "Proxy-Authorization": "Basic s3cret",
    "X-Anything": "s3cret",
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_methods_and_bodies(sse, site, dialled, status, method):
    """RFC 9110, section 15.4."""
    visits = site(found("/next?x=1", status))
    options = {} if method == "GET" else {"json": {"a": 1}}
    await sse(method=method, **options)
    (_, (line, fields, body)) = visits.requests
    to_get = status == 303 or (status in (301, 302) and method == "POST")
    expected = "GET" if to_get else method
    assert line == f"{expected} /next?x=1 HTTP/1.1"
    if expected == "GET":
        assert body == b""
        assert "content-type" not in fields
        assert "content-length" not in fields
        assert "transfer-encoding" not in fields
    else:
        assert json.loads(body) == {"a": 1}
        assert fields["content-type"] == [b"application/json"]
        assert fields["content-length"] == [b"%d" % len(body)]
    assert fields["accept"] == [b"text/event-stream"]
    assert fields["accept-encoding"] == [b"identity"]
    assert fields["host"] == [b"peer.test"]


@pytest.mark.parametrize(
    "location",
    ["/next", "next", "http://peer.test/next", "http://peer.test:80/next", "//peer.test/next#part"],
)
async def test_the_same_origin_keeps_every_header(sse, site, dialled, location):
    visits = site(found(location))
    connection = await sse(headers=SECRETS, attempt=Attempt(cursor="7"))
    line, fields, _ = visits.requests[1]
    assert line == "GET /next HTTP/1.1"
    for name, value in SECRETS.items():
        assert fields[name.lower()] == [value.encode()]
    assert fields["last-event-id"] == [b"7"]
    assert connection.resumed


@pytest.mark.parametrize(
    "location",
    [
        "http://other.test/next",
        "//other.test/next",
        "http://peer.test:8080/next",
        "http://sub.peer.test/next",
    ],
)
@pytest.mark.parametrize("url", ["http://peer.test/a", "http://user:s3cret@peer.test/a"])
async def test_another_origin_gets_nothing_of_the_users(sse, site, dialled, location, url):
    visits = site(found(location, 307))
    connection = await sse(
        url, headers=SECRETS, attempt=Attempt(cursor="s3cret"), method="POST", json={"a": 1}
    )
    line, fields, body = visits.requests[1]
    assert line == "POST /next HTTP/1.1"
    assert json.loads(body) == {"a": 1}
    assert b"s3cret" not in b"\n".join(value for values in fields.values() for value in values)
    for name in [*SECRETS, "Last-Event-ID"]:
        assert name.lower() not in fields
    assert fields["accept"] == [b"text/event-stream"]
    assert fields["content-type"] == [b"application/json"]
    assert not connection.resumed  # so the stream will not claim continuity


async def test_credentials_do_not_come_back_with_the_origin(sse, site, dialled):
    """To another origin and back again: by then, the address is another's choice."""
    visits = site(found("http://other.test/"), found("http://peer.test/back"))
    await sse(headers=SECRETS, attempt=Attempt(cursor="7"))
    _, fields, _ = visits.requests[2]
    assert "authorization" not in fields
    assert "last-event-id" not in fields


async def test_user_info_is_kept_on_the_same_origin(sse, site, dialled):
    visits = site(found("/next"))
    await sse("http://user:pw@peer.test/a")
    assert visits.requests[1][1]["authorization"] == visits.requests[0][1]["authorization"]


async def test_a_redirects_own_user_info_is_not_ours(sse, site, dialled):
    """Nobody else chooses whom we log in as with what we hold."""
    visits = site(found("http://them:theirs@other.test/"))
    await sse("http://user:s3cret@peer.test/a")
    assert b"s3cret" not in b"".join(visits.requests[1][1].get("authorization", []))


async def test_cookies_of_a_redirect_are_kept_on_the_same_origin(sse, site, dialled):
    visits = site(found("/next", 302).replace(b"Location", b"Set-Cookie: a=b\r\nLocation"))
    await sse()
    assert visits.requests[1][1]["cookie"] == [b"a=b"]


async def test_every_redirect_is_a_connection_of_its_own(sse, site, dialled):
    site(found("/a"), found("http://other.test:81/b"))
    await sse()
    assert dialled.where == [("peer.test", 80), ("peer.test", 80), ("other.test", 81)]
    assert [stream.closed for stream in dialled.streams] == [True, True, False]


async def test_a_reconnection_starts_at_the_first_url_again(dialled, site, autojump_clock):
    visits = site(found("/next"), STREAM, found("/later"))
    visits.answers += [b"HTTP/1.1 204 Done\r\n\r\n"]
    async with moored.open_sse("http://peer.test/first", dial=dialled) as stream:
        async for _ in stream:
            pass
    lines = [line.split()[1] for line, *_ in visits.requests]
    assert lines == ["/first", "/next", "/first", "/later"]


async def test_loops_end(sse, site, dialled, refused):
    visits = site(*[found("/again", body=b"why")] * 100)
    cause = await refused(sse())
    assert isinstance(cause, HandshakeRejected)
    assert (cause.status, cause.body) == (302, b"why")
    assert "redirects" in cause.detail
    assert len(visits.requests) == MAX_REDIRECTS + 1


async def test_as_many_redirects_as_are_allowed(sse, site, dialled):
    visits = site(*[found("/again")] * MAX_REDIRECTS)
    await sse()
    assert len(visits.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("location", ["", "ftp://peer.test/", "mailto://a@peer.test", "ws://x/"])
@pytest.mark.parametrize("status", [301, 308])
async def test_what_cannot_be_followed_is_a_refusal(sse, site, dialled, refused, location, status):
    site(found(location, status))
    cause = await refused(sse())
    assert isinstance(cause, HandshakeRejected)
    assert cause.status == status


@pytest.mark.parametrize("location", ["javascript:alert(1)", "http://[::/", "http://a.test:x/"])
@pytest.mark.parametrize("own", [False, True], ids=["callers", "ours"])
async def test_a_location_that_is_no_url(sse, site, dialled, refused, location, own):
    """A caller's client raises for these although it is not to follow them."""
    if own:
        site(found(location))
        cause = await refused(sse())
        assert isinstance(cause, HandshakeRejected)
        assert cause.status == 302
        return
    answer = httpx.Response(302, headers={"Location": location})
    transport = httpx.MockTransport(lambda request: answer)
    async with httpx.AsyncClient(transport=transport) as client:
        cause = await refused(sse(memory=False, transport={"client": client}))
    assert isinstance(cause, ProtocolViolation)


@pytest.mark.parametrize("status", [300, 304, 305, 306])
async def test_other_3xx_are_not_followed(sse, site, dialled, refused, status):
    visits = site(found("/next", status))
    assert (await refused(sse())).status == status
    assert len(visits.requests) == 1


async def test_a_redirect_with_an_endless_body_is_followed_at_once(sse, dialled):
    async def script(peer):
        line, *_ = await peer.request()
        if "next" in line:
            await peer.send(STREAM)
        else:
            await peer.send(b"HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\nnever ends")
        await peer.rest()

    dialled.script = script
    with trio.fail_after(1):
        await sse()


# ------------------------------------------------------------------ with a caller's client


@pytest.mark.parametrize("location", ["/next", "http://other.test/next"])
async def test_a_callers_client_leaks_nothing_either(sse, location):
    """Its default headers, its cookies and its auth are as secret as the user's own."""
    requests = []

    def answer(request):
        requests.append(request)
        if request.url.path == "/next":
            return httpx.Response(
                200, headers={"Content-Type": "text/event-stream"}, content=b"data: a\n\n"
            )
        return httpx.Response(302, headers={"Location": location, "Set-Cookie": "x=fresh"})

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(answer),
        headers={"X-Api-Key": "s3cret", "User-Agent": "mine"},
        cookies={"session": "s3cret"},
        auth=("user", "s3cret"),
        params={"token": "s3cret"},
        follow_redirects=True,
    ) as client:
        await sse(
            memory=False,
            transport={"client": client},
            headers={"Authorization-Extra": "s3cret"},
            attempt=Attempt(cursor="s3cret"),
        )
    first, second = requests
    assert first.headers["x-api-key"] == "s3cret"
    assert first.headers["authorization"].startswith("Basic ")
    names = {"x-api-key", "cookie", "authorization", "authorization-extra", "last-event-id"}
    if location == "/next":
        assert names <= set(second.headers)
    else:
        assert not names & set(second.headers)
        assert "s3cret" not in str(second.headers.raw)
    assert second.headers["host"] == second.url.host
    assert str(second.url) == str(first.url.copy_with(query=None).join(location))  # as it is


# ------------------------------------------------------------------ the decision itself


def redirect(url, location, status=302):
    response = httpx.Response(
        status, headers={"Location": location}, request=httpx.Request("GET", url)
    )
    return Redirect.of(response)


def test_relative_locations_are_resolved():
    assert str(redirect("http://a.test/x/y?q=1", "z").url) == "http://a.test/x/z"
    assert str(redirect("http://a.test/x/y?q=1", "?r=2").url) == "http://a.test/x/y?r=2"
    assert str(redirect("https://a.test/x", "//b.test/y").url) == "https://b.test/y"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a.test/", "http://a.test:80/x", True),
        ("https://a.test/", "https://a.test:443/x", True),
        ("http://A.test/", "http://a.TEST/x", True),
        ("http://a.test/", "https://a.test/", False),
        ("http://a.test/", "http://a.test:81/", False),
        ("http://a.test/", "http://b.test/", False),
        ("http://u:p@a.test/", "http://a.test/", True),
    ],
)
def test_origins(one, other, same):
    assert redirect(one, other).same_origin(httpx.URL(one)) == same


def test_leaving_https():
    assert redirect("https://a.test/", "http://a.test/").insecure_after(
        httpx.URL("https://a.test/")
    )
    assert not redirect("http://a.test/", "https://a.test/").insecure_after(
        httpx.URL("http://a.test/")
    )
