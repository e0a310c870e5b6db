"""The fixtures, in tests of each kind."""

import pytest

IMPORTS = """
import asyncio
import json

import httpx
import pytest
from moored.faults import Cut, Refuse, Stall

FEED = "/feed?count=4"
get = httpx.Client(timeout=5).get

def statuses(proxy, count):
    return [get(proxy.http_url + FEED).status_code for _ in range(count)]
"""


def test_on_trio(suite):
    result = suite(
        IMPORTS
        + """
@pytest.mark.trio
@pytest.mark.faults(Refuse(times=1), {"fault": "cut", "after_messages": 2, "connection": 2})
async def test_it(fault_proxy, fault_server):
    async with httpx.AsyncClient() as client:
        assert (await client.get(fault_proxy.url + FEED)).status_code == 429
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(fault_proxy.url + FEED)
        assert (await client.get(fault_proxy.url + FEED)).status_code == 200
    await fault_proxy.wait_until(lambda: fault_proxy.connections[-1].ended is not None)
    assert fault_proxy.injected_counts == {"refuse": 1, "cut": 1}
    assert [request.sent for request in fault_server.requests][1:] == [4]
"""
    )
    result.assert_outcomes(passed=1)


def test_on_trio_in_trio_mode(suite):
    result = suite(
        IMPORTS
        + """
@pytest.mark.faults(Refuse())
async def test_it(fault_proxy):
    async with httpx.AsyncClient() as client:
        assert (await client.get(fault_proxy.url + FEED)).status_code == 429
""",
        "-o",
        "trio_mode=true",
    )
    result.assert_outcomes(passed=1)


def test_without_asynchrony(suite):
    result = suite(
        IMPORTS
        + """
@pytest.mark.faults(Refuse(times=1), Cut(after_messages=2, connection=2))
def test_it(blocking_fault_proxy, blocking_fault_server):
    proxy = blocking_fault_proxy
    assert statuses(proxy, 1) == [429]
    with pytest.raises(httpx.RemoteProtocolError):
        statuses(proxy, 1)
    assert statuses(proxy, 1) == [200]
    proxy.wait_until(lambda: len(proxy.injected) == 2)
    assert proxy.injected_counts == {"refuse": 1, "cut": 1}
    assert len(blocking_fault_server.requests) == 2

def test_the_next_has_none_of_it(blocking_fault_proxy):
    assert statuses(blocking_fault_proxy, 1) == [200]
    assert blocking_fault_proxy.injected == ()
"""
    )
    result.assert_outcomes(passed=2)


def test_on_asyncio(suite):
    result = suite(
        IMPORTS
        + """
@pytest.mark.asyncio
@pytest.mark.faults(Stall(after_messages=1), Cut(after_seconds=0.2))
async def test_it(blocking_fault_proxy):
    proxy = blocking_fault_proxy
    got = []
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            async with client.stream("GET", proxy.url + FEED) as answer:
                async for chunk in answer.aiter_raw():
                    got.append(chunk)
    await asyncio.to_thread(proxy.wait_until, lambda: len(proxy.injected) == 2)
    assert b"".join(got).count(b"data:") == 1
    assert [each.fault.kind for each in proxy.injected] == ["stall", "cut"]
"""
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_on_anyio(suite, backend):
    """On its Trio backend, either kind of fixture serves."""
    fixture = {"asyncio": "blocking_fault_proxy", "trio": "fault_proxy, blocking_fault_proxy"}
    result = suite(
        IMPORTS
        + f"""
@pytest.fixture
def anyio_backend():
    return {backend!r}

@pytest.mark.anyio
@pytest.mark.faults(Refuse(status=503))
async def test_it({fixture[backend]}):
    for proxy in [{fixture[backend]}]:
        async with httpx.AsyncClient() as client:
            assert (await client.get(proxy.url + FEED)).status_code == 503
"""
    )
    result.assert_outcomes(passed=1)


def test_faults_by_hand_from_another_thread(suite):
    result = suite(
        IMPORTS
        + """
def test_it(blocking_fault_proxy):
    proxy = blocking_fault_proxy
    with httpx.stream("GET", proxy.url + "/feed?follow=1&pace=0.01") as answer:
        chunks = answer.iter_raw()
        next(chunks)
        assert proxy.connection_count == 1
        assert proxy.cut("rst", connection=2) == 0
        assert proxy.stall("swallowed") == 1
        proxy.wait_until(lambda: proxy.injected_counts == {"stall": 1})
        with pytest.raises(TimeoutError, match="within 50 ms"):
            proxy.wait_until(lambda: proxy.injected_counts == {"stall": 2}, timeout=0.05)
        with pytest.raises(ZeroDivisionError):
            proxy.wait_until(lambda: 1 / 0)
        assert proxy.cut("rst") == 1
        with pytest.raises(httpx.ReadError):
            list(chunks)
    proxy.set_schedule([Refuse(status=418)])
    with pytest.raises(ValueError, match="status"):
        proxy.set_schedule([{"fault": "refuse", "status": 1}])
    assert proxy.schedule == (Refuse(status=418),)
    assert statuses(proxy, 1) == [418]
"""
    )
    result.assert_outcomes(passed=1)


def test_another_upstream(suite):
    """Named by the marker, or by the fixture, which the marker goes before."""
    result = suite(
        IMPORTS
        + """
from moored.faults import open_blocking_server, open_server

@pytest.fixture
def fault_upstream():
    with open_blocking_server(api_key="k") as server:
        yield server

def post(proxy, **headers):
    return httpx.post(proxy.url + "/v1/chat/completions", json={}, headers=headers).status_code

def test_before_the_fixtures(blocking_fault_proxy, fault_upstream):
    assert post(blocking_fault_proxy) == 401
    assert post(blocking_fault_proxy, authorization="Bearer k") == 400
    assert len(fault_upstream.requests) == 2

@pytest.mark.faults(upstream="http://127.0.0.1:1")
def test_before_the_markers(blocking_fault_proxy):
    assert post(blocking_fault_proxy) == 502

@pytest.mark.trio
@pytest.mark.faults(upstream="ws://127.0.0.1:1/path")
async def test_before_the_markers_on_trio(fault_proxy):
    assert fault_proxy.url.startswith("ws://") and fault_proxy.url.endswith("/path")

class TestOnTrio:
    @pytest.fixture
    async def fault_upstream(self):
        async with open_server(api_key="k") as server:
            yield server.url

    @pytest.mark.trio
    async def test_before_a_fixture_on_trio(self, fault_proxy):
        async with httpx.AsyncClient() as client:
            answer = await client.post(fault_proxy.url + "/v1/chat/completions", json={})
        assert answer.status_code == 401
"""
    )
    result.assert_outcomes(passed=4)


def test_the_nearest_marker_counts(suite):
    result = suite(
        IMPORTS
        + """
pytestmark = pytest.mark.faults(Refuse(status=500))

def test_the_modules(blocking_fault_proxy):
    assert statuses(blocking_fault_proxy, 1) == [500]

@pytest.mark.faults([Refuse(status=501)])
def test_its_own(blocking_fault_proxy):
    assert statuses(blocking_fault_proxy, 1) == [501]

@pytest.mark.parametrize("status", [
    pytest.param(502, marks=pytest.mark.faults(Refuse(status=502))),
    pytest.param(503, marks=pytest.mark.faults(Refuse(status=503))),
])
def test_that_of_its_parameters(blocking_fault_proxy, status):
    assert statuses(blocking_fault_proxy, 1) == [status]
"""
    )
    result.assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "Cut(after_messages=1), 7",
            "schedule[1]: fault must be a fault, or an object with its fields, not 7",
        ),
        (
            '{"fault": "cut", "after_messages": -1}',
            "schedule[0]: after_messages must be an integer of at least 0, not -1",
        ),
        ("times=3", "no argument 'times', but faults, rates, seed, upstream"),
        ("seed='x'", "seed must be an integer, not 'x'"),
        ("seed=True", "seed must be an integer, not True"),
        ("rates={'cut': 2}", "cut must be a number from 0 to 1, not 2"),
        ("rates=[1]", "rates must be a dict: kind of fault, and share, not [1]"),
        ("rates={'cut': 0.6, 'stall': 0.5}", "cut + stall must be at most 1, not 1.1"),
        (
            "upstream='ftp://x'",
            "the upstream's scheme must be one of http, ws, https, wss, not 'ftp'",
        ),
        ("upstream=7", "the upstream must be a URL or have a url, not 7"),
    ],
)
def test_a_wrong_marker_is_told_in_one_line(suite, arguments, words):
    result = suite(
        IMPORTS
        + f"""
@pytest.mark.faults({arguments})
def test_it(blocking_fault_proxy):
    pass
"""
    )
    result.assert_outcomes(errors=1)
    out = result.stdout.str()
    assert f"test_it.py::test_it: faults(): {words}\n" in out
    assert "The above exception" not in out
    assert "def blocking_fault_proxy" not in out


@pytest.mark.parametrize(
    ("marks", "fixture", "words"),
    [
        ("", "fault_proxy", "others use blocking_fault_proxy"),
        ("@pytest.mark.asyncio\nasync ", "fault_server", "others use blocking_fault_proxy"),
        ("@pytest.mark.anyio\nasync ", "fault_proxy", "a test that runs on asyncio uses"),
    ],
)
def test_a_test_of_another_kind_is_told_which_fixture_it_needs(suite, marks, fixture, words):
    result = suite(
        IMPORTS
        + f"""
@pytest.fixture
def anyio_backend():
    return "asyncio"

{marks}def test_it({fixture}):
    pass
"""
    )
    result.assert_outcomes(errors=1)
    assert words in result.stdout.str()
